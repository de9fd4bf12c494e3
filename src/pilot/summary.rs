//! What was saved and what it cost, from the servers' own counters; and the last thing a person reads.

use std::path::Path;

use jiff::Timestamp;
use sentei_api::{
    CompressedModelStatus, Phase,
    evidence::{Candidate, Estimate},
    status::{Breach, Role, Savings},
};
use sentei_console::{LiveAccuracy, LiveRole, LiveSummary, Look, RollbackFacts};
use sentei_rollout::{
    Observation,
    observation::{Counters, Histogram, Outcomes, Scrape},
};
use serde_json::json;

use super::{
    hands::{Hands, Watched},
    traffic::BadAnswer,
};
use crate::terminal::Terminal;

/// The live side of both models, kept up to date look by look.
#[derive(Default)]
pub struct Live {
    baseline: RoleSoFar,
    candidate: RoleSoFar,
    /// Both were marked when the candidate first got traffic: from then on they are compared over the same period.
    exposed: bool,
    /// The candidate's share of what was answered since the look before, in percent.
    seen: Option<f64>,
    baseline_size: Option<u64>,
}

/// One role's cumulative figures, and as they stood when the compared period began.
#[derive(Default)]
struct RoleSoFar {
    now: Figures,
    mark: Figures,
    live: LiveRole,
}

#[derive(Default, Clone)]
struct Figures {
    counters: Counters,
    cpu_seconds: f64,
}

impl Live {
    /// Takes in one look.
    pub fn look(&mut self, hands: &Hands, observation: &Observation, status: &CompressedModelStatus) {
        let begins = !self.exposed && status.weights.candidate > 0;
        self.exposed |= begins;
        let [baseline, candidate] = [Role::Baseline, Role::Candidate].map(|role| {
            let figures = match role {
                Role::Baseline => &mut self.baseline,
                Role::Candidate => &mut self.candidate,
            };
            figures.look(hands.watched(role), &observation.role(role).scrapes, begins)
        });
        let all = baseline + candidate;
        self.seen = (all > 0).then(|| 100.0 * candidate as f64 / all as f64);
        self.baseline_size =
            self.baseline_size.or_else(|| std::fs::metadata(&hands.setup.source.0).ok().map(|file| file.len()));
    }

    /// One line of the timeline, while there is a rollout to show.
    pub fn line(&self, status: &CompressedModelStatus) -> Option<Look> {
        let rolling = status.phase.is_exposed()
            || matches!(status.phase, Phase::Shadowing | Phase::RollingBack | Phase::RolledBack);
        rolling.then(|| Look {
            time: Timestamp::now(),
            phase: status.phase,
            step: status.current_step_index,
            weight_desired: status.weights.candidate,
            weight_seen: self.seen,
            metrics: status.analysis.results.clone(),
        })
    }

    /// What was gained so far, as people read it.
    pub fn savings(&self, status: &CompressedModelStatus) -> Option<Savings> {
        let selected = selected(status)?;
        let (before, after) = (&self.baseline.live, &self.candidate.live);
        let ratio = |before: Option<f64>, after: Option<f64>| match (before, after) {
            (Some(before), Some(after)) if after > before => format!("{:.2}x", before / after),
            (Some(before), Some(after)) if after > 0.0 => format!("{:.1}x", before / after),
            _ => String::new(),
        };
        let bytes = |role: &LiveRole| role.resident_memory_bytes.map(|bytes| bytes as f64);
        let cpu = |role: &LiveRole| role.cpu_seconds_per1k_requests;
        Some(Savings {
            size: ratio(self.baseline_size.map(|bytes| bytes as f64), Some(selected.cost.size as f64)),
            latency: ratio(before.latency_p50, after.latency_p50),
            memory: ratio(bytes(before), bytes(after)),
            cpu_seconds_per1k_requests: match (cpu(before), cpu(after)) {
                (Some(before), Some(after)) => format!("{before:.2} → {after:.2}"),
                _ => String::new(),
            },
            drop: selected
                .measurements
                .iter()
                .find(|measurement| measurement.slice.is_none() && measurement.metric.higher_is_better())
                .map_or_else(String::new, |measurement| format!("{:+.2} pp", 100.0 * measurement.difference.value)),
        })
    }

    /// Both models as last seen.
    pub fn finish(self, rollback: Option<RollbackFacts>) -> LiveSummary {
        LiveSummary { baseline: self.baseline.live, candidate: self.candidate.live, rollback }
    }
}

impl RoleSoFar {
    /// Takes in one look, and says how many requests were answered since the one before.
    fn look(&mut self, watched: &Watched, scrapes: &[Scrape], begins: bool) -> u64 {
        // A server that is down keeps what it showed last.
        let Some(page) = &watched.page else { return 0 };
        let before = std::mem::replace(
            &mut self.now,
            Figures { counters: total(scrapes), cpu_seconds: page.cpu_seconds.unwrap_or_default() },
        );
        if begins {
            self.mark = self.now.clone();
        }
        self.live = self.now.since(&self.mark).live(page.resident_bytes);
        answered(&self.now.counters.all).saturating_sub(answered(&before.counters.all))
    }
}

impl Figures {
    /// What came since a mark; all of it when the counters began anew meanwhile.
    fn since(&self, mark: &Self) -> Self {
        if answered(&self.counters.all) < answered(&mark.counters.all) {
            return self.clone();
        }
        let mut counters = self.counters.clone();
        subtract(&mut counters.all, &mark.counters.all);
        for (slice, outcomes) in &mut counters.slices {
            if let Some(mark) = mark.counters.slices.get(slice) {
                subtract(outcomes, mark);
            }
        }
        Self { counters, cpu_seconds: self.cpu_seconds - mark.cpu_seconds }
    }

    fn live(&self, resident_bytes: Option<f64>) -> LiveRole {
        let all = &self.counters.all;
        let requests = answered(all);
        // The candidate also works on shadow copies: they cost CPU, so they count.
        let worked = requests + all.agreement.agree + all.agreement.disagree;
        let slices = self.counters.slices.iter().map(|(name, slice)| (Some(name), slice));
        let accuracy = std::iter::once((None, all)).chain(slices).filter_map(|(slice, outcomes)| {
            let samples = outcomes.feedback.correct + outcomes.feedback.incorrect;
            let estimate = Estimate::of_share(outcomes.feedback.correct, samples)?;
            Some(LiveAccuracy { slice: slice.cloned(), estimate })
        });
        LiveRole {
            requests,
            latency_p50: quantile(&all.latency, 0.5),
            latency_p99: quantile(&all.latency, 0.99),
            resident_memory_bytes: resident_bytes.map(|bytes| bytes as u64),
            cpu_seconds_per1k_requests: (worked > 0).then(|| 1000.0 * self.cpu_seconds / worked as f64),
            accuracy: accuracy.collect(),
        }
    }
}

fn selected(status: &CompressedModelStatus) -> Option<&Candidate> {
    let digest = status.selected.as_ref()?;
    status.candidates.iter().find(|candidate| candidate.digest == *digest)
}

/// All sources of one role added up.
fn total(scrapes: &[Scrape]) -> Counters {
    let mut sum = Counters::default();
    for scrape in scrapes {
        add(&mut sum.all, &scrape.counters.all);
        for (slice, outcomes) in &scrape.counters.slices {
            add(sum.slices.entry(slice.clone()).or_default(), outcomes);
        }
    }
    sum
}

fn add(sum: &mut Outcomes, more: &Outcomes) {
    for (code, count) in &more.requests {
        *sum.requests.entry(*code).or_default() += count;
    }
    sum.feedback.correct += more.feedback.correct;
    sum.feedback.incorrect += more.feedback.incorrect;
    sum.agreement.agree += more.agreement.agree;
    sum.agreement.disagree += more.agreement.disagree;
    // One server per role has durations; the other sources leave theirs empty.
    if !more.latency.bounds.is_empty() {
        sum.latency = more.latency.clone();
    }
}

fn subtract(sum: &mut Outcomes, less: &Outcomes) {
    for (code, count) in &mut sum.requests {
        *count = count.saturating_sub(less.requests.get(code).copied().unwrap_or_default());
    }
    for (count, less) in sum.latency.counts.iter_mut().zip(&less.latency.counts) {
        *count = count.saturating_sub(*less);
    }
    sum.feedback.correct = sum.feedback.correct.saturating_sub(less.feedback.correct);
    sum.feedback.incorrect = sum.feedback.incorrect.saturating_sub(less.feedback.incorrect);
    sum.agreement.agree = sum.agreement.agree.saturating_sub(less.agreement.agree);
    sum.agreement.disagree = sum.agreement.disagree.saturating_sub(less.agreement.disagree);
}

fn answered(outcomes: &Outcomes) -> u64 {
    outcomes.requests.values().sum()
}

/// A quantile in seconds, by linear interpolation inside its bucket; none without samples or above the last bound.
fn quantile(histogram: &Histogram, q: f64) -> Option<f64> {
    let total: u64 = histogram.counts.iter().sum();
    if total == 0 {
        return None;
    }
    let rank = q * total as f64;
    let mut below = 0.0;
    let mut low = 0.0;
    for (bound, count) in histogram.bounds.iter().zip(&histogram.counts) {
        let count = *count as f64;
        if count > 0.0 && below + count >= rank {
            return Some(low + (bound - low) * (rank - below) / count);
        }
        below += count;
        low = *bound;
    }
    None
}

/// From the first to the last bad answer of the candidate, of the kind that the breach is about: even a good model is
/// wrong now and then, and that is not what a rollback stops.
pub fn rollback_facts(bad: &[BadAnswer], breach: &Breach) -> Option<RollbackFacts> {
    let about_answers = matches!(breach.metric.as_str(), "accuracy" | "agreement");
    let counts = |answer: &&BadAnswer| {
        if about_answers { breach.slice.is_none() || answer.slice == breach.slice } else { answer.error }
    };
    let mut times = bad.iter().filter(counts).map(|answer| answer.time);
    let first = times.next()?;
    let (last, after_first) = times.fold((first, 0), |(_, count), time| (time, count + 1));
    Some(RollbackFacts {
        first_bad: first,
        last_bad: last,
        bad_answers: after_first + 1,
        seconds: last.duration_since(first).as_secs_f64(),
    })
}

/// What the rollout is doing, in one line for the spinner.
pub fn one_line(look: &Look) -> String {
    let metrics = look.metrics.iter().filter(|result| result.samples > 0).take(4).map(|result| {
        let value = result.candidate.map_or_else(|| "–".to_owned(), |estimate| format!("{:.3}", estimate.value));
        let slice = result.slice.as_ref().map_or_else(String::new, |slice| format!("[{slice}]"));
        format!(" · {}{slice} {value} ({:?}, n {})", result.metric, result.verdict, result.samples)
    });
    format!("{} · candidate at {} %{}", look.phase, look.weight_desired, metrics.collect::<String>())
}

/// The last thing a person reads.
pub fn print(terminal: &Terminal, status: &CompressedModelStatus, live: &LiveSummary, report: &Path) {
    terminal.heading("result");
    let fields = json!({
        "phase": status.phase,
        "savings": status.savings,
        "lastBreach": status.last_breach,
        "live": live,
        "report": report,
    });
    let mut lines = Vec::new();
    lines.push(format!("  {}", status.phase));
    if let (Some(breach), Phase::RolledBack) = (&status.last_breach, status.phase) {
        lines.push(format!("    {breach}"));
        if let Some(facts) = &live.rollback {
            lines.push(format!(
                "    {} bad answers reached clients, {:.2} s from the first to the last",
                facts.bad_answers, facts.seconds
            ));
        }
    } else if let Some(last) = status.decisions.last() {
        lines.push(format!("    {}: {}", last.reason, last.message));
    }
    if let Some(savings) = &status.savings {
        lines.push(format!(
            "  baseline over candidate: size {} · latency p50 {} · memory {}; CPU s per 1,000 requests {}; accuracy {}",
            savings.size, savings.latency, savings.memory, savings.cpu_seconds_per1k_requests, savings.drop
        ));
    }
    lines.extend(table(live));
    lines.push(format!("  report: {}", report.display()));
    terminal.event("PilotEnded", &lines.join("\n"), fields);
}

fn table(live: &LiveSummary) -> Vec<String> {
    let milliseconds = |seconds: Option<f64>| seconds.map_or_else(|| "–".to_owned(), |s| format!("{:.2} ms", 1e3 * s));
    let mut lines = vec![format!("  {:<30} {:>22} {:>22}", "", "baseline", "candidate")];
    let mut row = |name: &str, value: &dyn Fn(&LiveRole) -> String| {
        lines.push(format!("  {name:<30} {:>22} {:>22}", value(&live.baseline), value(&live.candidate)));
    };
    row("live requests", &|role| role.requests.to_string());
    row("latency p50", &|role| milliseconds(role.latency_p50));
    row("latency p99", &|role| milliseconds(role.latency_p99));
    row("resident memory", &|role| {
        role.resident_memory_bytes.map_or_else(|| "–".to_owned(), |bytes| format!("{:.1} MB", bytes as f64 / 1e6))
    });
    row("CPU s per 1,000 requests", &|role| {
        role.cpu_seconds_per1k_requests.map_or_else(|| "–".to_owned(), |seconds| format!("{seconds:.2}"))
    });
    let slices: Vec<Option<String>> = live.baseline.accuracy.iter().map(|accuracy| accuracy.slice.clone()).collect();
    for slice in slices {
        let name = slice.as_ref().map_or_else(|| "accuracy".to_owned(), |slice| format!("accuracy on {slice}"));
        row(&name, &|role| {
            let found = role.accuracy.iter().find(|accuracy| accuracy.slice == slice);
            found.map_or_else(
                || "–".to_owned(),
                |accuracy| {
                    let Estimate { value, low, high, .. } = accuracy.estimate;
                    format!("{:.1} % [{:.1}, {:.1}]", 100.0 * value, 100.0 * low, 100.0 * high)
                },
            )
        });
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_inside_its_bucket() {
        let histogram = Histogram { bounds: vec![1.0, 2.0], counts: vec![50, 50, 0] };
        assert_eq!(quantile(&histogram, 0.5), Some(1.0));
        assert_eq!(quantile(&histogram, 0.75), Some(1.5));
        assert_eq!(quantile(&Histogram::default(), 0.5), None);
    }

    fn breach(metric: &str, slice: Option<&str>) -> Breach {
        Breach {
            metric: metric.to_owned(),
            slice: slice.map(str::to_owned),
            value: Estimate { value: 1.0, low: 0.5, high: 1.0, samples: 3 },
            limit: 0.01,
            samples: 3,
            bad: 3,
            window_seconds: 1.0,
            phase: Phase::Progressing,
            weight: 5,
            time: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_exposure_runs_over_the_answers_that_the_breach_is_about() {
        let at = |millis, error, slice: &str| BadAnswer {
            time: Timestamp::from_millisecond(millis).unwrap(),
            error,
            slice: Some(slice.to_owned()),
        };
        let bad = [at(0, false, "a"), at(1000, true, "a"), at(1250, true, "b"), at(1400, true, "a")];
        let facts = rollback_facts(&bad, &breach("errorRate", None)).unwrap();
        assert!((facts.seconds - 0.4).abs() < 1e-9);
        assert_eq!(facts.bad_answers, 3);
        assert_eq!(rollback_facts(&bad, &breach("accuracy", Some("b"))).unwrap().bad_answers, 1);
        assert_eq!(rollback_facts(&[], &breach("errorRate", None)), None);
    }
}
