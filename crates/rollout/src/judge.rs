//! What the counts say about each hypothesis at one look.

use sentei_api::{
    evidence::Estimate,
    status::{AnalysisMemory, MetricResult, Role, Tally, Verdict},
};

use crate::{
    hypothesis::{Counter, Hypothesis, Scale, Test},
    observation::Observation,
    statistics::{
        Line, Outcome, PASS_ERROR, QuantileAllowance, Sample, pass_margin, quantile, start_penalty, two_sample,
        wealth::{Stakes, above, below, outcomes_needed, reaches},
    },
    tally,
};

/// One hypothesis at one look.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Judgement {
    pub result: MetricResult,
    /// Bad outcomes among the candidate's samples.
    pub bad: u64,
    pub critical: bool,
    pub min_samples: u64,
    pub counter: Counter,
}

/// Judges every hypothesis on the tallies, which already hold this look's counts. `all_traffic`: the candidate has had all
/// of the traffic for a while, so that the baseline's outcomes of later periods are those of the whole period.
pub(crate) fn judge(
    hypotheses: &[Hypothesis],
    memory: &AnalysisMemory,
    seen: &Observation,
    all_traffic: bool,
) -> Vec<Judgement> {
    hypotheses.iter().map(|hypothesis| judge_one(hypothesis, memory, seen, all_traffic)).collect()
}

fn judge_one(hypothesis: &Hypothesis, memory: &AnalysisMemory, seen: &Observation, all_traffic: bool) -> Judgement {
    let mut judgement = match hypothesis.test {
        Test::Value { min, max } => value(hypothesis, seen, min, max),
        _ => counted(hypothesis, memory, seen, all_traffic),
    };
    let result = &mut judgement.result;
    if hypothesis.counter != Counter::Query && result.verdict != Verdict::NoData {
        if result.samples < hypothesis.min_samples {
            result.verdict = Verdict::Inconclusive;
            result.samples_needed = Some(hypothesis.min_samples - result.samples);
        } else if result.verdict != Verdict::Inconclusive {
            result.samples_needed = None;
        }
    }
    judgement
}

fn blank(hypothesis: &Hypothesis) -> Judgement {
    Judgement {
        result: MetricResult {
            metric: hypothesis.metric.clone(),
            slice: hypothesis.slice.clone(),
            verdict: Verdict::NoData,
            candidate: None,
            baseline: None,
            limit: None,
            samples: 0,
            samples_needed: None,
        },
        bad: 0,
        critical: hypothesis.critical,
        min_samples: hypothesis.min_samples,
        counter: hypothesis.counter,
    }
}

/// A query's number is held against its range as it is: what it averages over is its author's business.
fn value(hypothesis: &Hypothesis, seen: &Observation, min: f64, max: f64) -> Judgement {
    let mut judgement = blank(hypothesis);
    let found = seen.prometheus.get(&hypothesis.metric).copied().filter(|value| value.is_finite());
    let limit = if max.is_finite() && found.is_none_or(|value| value >= min) { max } else { min };
    judgement.result.limit = Some(limit);
    let Some(value) = found else { return judgement };
    let within = (min..=max).contains(&value);
    judgement.result.verdict = if within { Verdict::Pass } else { Verdict::Breach };
    judgement.result.candidate = Some(Estimate { value, low: value, high: value, samples: 1 });
    judgement.result.samples = 1;
    judgement.bad = u64::from(!within);
    judgement
}

fn counted(hypothesis: &Hypothesis, memory: &AnalysisMemory, seen: &Observation, all_traffic: bool) -> Judgement {
    let mut judgement = blank(hypothesis);
    let slice = hypothesis.slice.as_deref();
    let tally = |role| tally::find(memory, hypothesis.counter, slice, role);
    let scraped = |role| tally::is_scraped(hypothesis.counter, slice, seen.role(role));
    let candidate = tally(Role::Candidate);
    let baseline = tally(Role::Baseline);
    let bounds = bucket_bounds(seen, slice);
    let present = Counts {
        candidate: candidate.map_or(&[], |tally| &tally.counts),
        baseline: baseline.map_or(&[], |tally| &tally.counts),
        bounds,
    };
    show(&mut judgement, hypothesis, &present);
    // With all traffic on the candidate nothing new is expected of the baseline; what it counted still stands.
    let baseline_known = !hypothesis.needs_baseline()
        || (baseline.is_some_and(|tally| tally.counts.iter().any(|count| *count > 0))
            && (all_traffic || scraped(Role::Baseline)));
    if judgement.result.samples == 0 || !scraped(Role::Candidate) || !baseline_known {
        return judgement;
    }
    let threshold = -hypothesis.alpha.ln();
    let from_start = present.refutes_within(&hypothesis.test, threshold + start_penalty(0));
    let refuted = from_start
        || candidate.is_some_and(|tally| {
            tally.marks.iter().any(|mark| {
                let later = |tally: Option<&Tally>| since(tally, mark.look);
                let (candidate, mut baseline) = (later(candidate), later(baseline));
                if all_traffic && baseline.iter().all(|count| *count == 0) {
                    baseline = present.baseline.to_vec();
                }
                let counts = Counts { candidate: &candidate, baseline: &baseline, bounds };
                counts.refutes_within(&hypothesis.test, threshold + start_penalty(mark.look))
            })
        });
    judgement.result.verdict = if refuted {
        Verdict::Breach
    } else if present.refutes_beyond(&hypothesis.test, -PASS_ERROR.ln()) {
        Verdict::Pass
    } else {
        Verdict::Inconclusive
    };
    judgement
}

/// Counts since the mark of that look; since the start when there is none.
fn since(tally: Option<&Tally>, look: u64) -> Vec<u64> {
    let Some(tally) = tally else { return Vec::new() };
    match tally.marks.iter().find(|mark| mark.look == look) {
        Some(mark) => tally.counts.iter().zip(&mark.counts).map(|(now, then)| now.saturating_sub(*then)).collect(),
        None => tally.counts.clone(),
    }
}

fn bucket_bounds<'a>(seen: &'a Observation, slice: Option<&str>) -> &'a [f64] {
    let scrapes = seen.candidate.scrapes.iter().chain(&seen.baseline.scrapes);
    scrapes
        .filter_map(|scrape| match slice {
            None => Some(&scrape.counters.all),
            Some(name) => scrape.counters.slices.get(name),
        })
        .map(|outcomes| outcomes.latency.bounds.as_slice())
        .find(|bounds| !bounds.is_empty())
        .unwrap_or(&[])
}

/// Counts by kind over one period.
struct Counts<'a> {
    candidate: &'a [u64],
    baseline: &'a [u64],
    bounds: &'a [f64],
}

fn sample(counts: &[u64]) -> Sample {
    match counts {
        [bad, good] => Sample { bad: *bad, good: *good },
        // Pairs as the candidate's own outcomes: wrong when only the baseline was right, or neither.
        [both, baseline_only, candidate_only, neither] => {
            Sample { bad: baseline_only + neither, good: both + candidate_only }
        }
        _ => Sample::default(),
    }
}

/// What each kind of pair says against "the candidate's bad share is at most `limit` over the baseline's".
fn pair_outcomes(counts: &[u64], limit: Line) -> Option<[Outcome; 4]> {
    let &[both, baseline_only, candidate_only, neither] = counts else { return None };
    let value = |candidate_bad: f64, baseline_bad: f64| candidate_bad - limit.at(baseline_bad);
    Some([
        Outcome { value: value(0.0, 0.0), count: both },
        Outcome { value: value(1.0, 0.0), count: baseline_only },
        Outcome { value: value(0.0, 1.0), count: candidate_only },
        Outcome { value: value(1.0, 1.0), count: neither },
    ])
}

fn largest_loss(outcomes: &[Outcome]) -> f64 {
    outcomes.iter().map(|outcome| -outcome.value).fold(0.0, f64::max)
}

impl Counts<'_> {
    /// Whether the bound is broken, with wealth of at least `exp(threshold)`.
    fn refutes_within(&self, test: &Test, threshold: f64) -> bool {
        match *test {
            Test::Share { limit, .. } => {
                let Sample { bad, good } = sample(self.candidate);
                reaches(&above(bad, good, limit), &Stakes::for_loss(limit), threshold)
            }
            Test::ShareAgainstBaseline { limit, .. } => match pair_outcomes(self.candidate, limit) {
                Some(outcomes) => reaches(&outcomes, &Stakes::for_loss(largest_loss(&outcomes)), threshold),
                None => two_sample::refutes_within(sample(self.candidate), sample(self.baseline), limit, threshold),
            },
            Test::Quantile { quantile, limit } => {
                let tail = 1.0 - quantile;
                let (longer, within) = quantile::slower_than(self.bounds, self.candidate, limit);
                reaches(&above(longer, within, tail), &Stakes::for_loss(tail), threshold)
            }
            Test::QuantileAgainstBaseline { quantile, allowance } => {
                self.has_buckets()
                    && quantile::refutes_within(
                        self.bounds,
                        self.candidate,
                        self.baseline,
                        quantile,
                        allowance,
                        threshold,
                    )
            }
            Test::Value { .. } => false,
        }
    }

    /// Whether "a margin beyond the bound" is refuted, with wealth of at least `exp(threshold)`.
    fn refutes_beyond(&self, test: &Test, threshold: f64) -> bool {
        match *test {
            Test::Share { .. } | Test::Quantile { .. } => {
                let (outcomes, stakes) = self.pass_outcomes(test);
                reaches(&outcomes, &stakes, threshold)
            }
            Test::ShareAgainstBaseline { limit, .. } => {
                let beyond = Line { intercept: limit.intercept + pass_margin(limit.intercept), ..limit };
                match pair_outcomes(self.candidate, beyond) {
                    Some(outcomes) => {
                        let turned = outcomes.map(|outcome| Outcome { value: -outcome.value, ..outcome });
                        reaches(&turned, &Stakes::for_loss(largest_loss(&turned)), threshold)
                    }
                    None => {
                        two_sample::refutes_beyond(sample(self.candidate), sample(self.baseline), beyond, threshold)
                    }
                }
            }
            Test::QuantileAgainstBaseline { quantile, allowance } => {
                self.has_buckets()
                    && quantile::refutes_beyond(
                        self.bounds,
                        self.candidate,
                        self.baseline,
                        quantile,
                        allowance,
                        pass_margin(1.0 - quantile),
                        threshold,
                    )
            }
            Test::Value { .. } => false,
        }
    }

    /// For a bound on the candidate alone: what each outcome says against "a margin beyond the bound".
    fn pass_outcomes(&self, test: &Test) -> ([Outcome; 2], Stakes) {
        let (bad, good, limit) = match *test {
            Test::Quantile { quantile, limit } => {
                let (longer, within) = quantile::perhaps_slower_than(self.bounds, self.candidate, limit);
                (longer, within, 1.0 - quantile)
            }
            Test::Share { limit, .. } => {
                let Sample { bad, good } = sample(self.candidate);
                (bad, good, limit)
            }
            _ => (0, 0, 0.0),
        };
        let beyond = (limit + pass_margin(limit)).min(1.0);
        (below(bad, good, beyond), Stakes::for_loss(1.0 - beyond))
    }

    fn has_buckets(&self) -> bool {
        let buckets = self.bounds.len() + 1;
        buckets > 1 && self.candidate.len() == buckets && self.baseline.len() == buckets
    }
}

/// Fills in the numbers that people see.
fn show(judgement: &mut Judgement, hypothesis: &Hypothesis, counts: &Counts<'_>) {
    let result = &mut judgement.result;
    match hypothesis.test {
        Test::Share { limit, scale } => {
            let candidate = sample(counts.candidate);
            judgement.bad = candidate.bad;
            result.samples = candidate.total();
            result.candidate = share_estimate(candidate, scale);
            result.limit = Some(scale.value(limit));
        }
        Test::ShareAgainstBaseline { limit, scale } => {
            let candidate = sample(counts.candidate);
            let baseline = match *counts.candidate {
                [both, baseline_only, candidate_only, neither] => {
                    Sample { bad: candidate_only + neither, good: both + baseline_only }
                }
                _ => sample(counts.baseline),
            };
            judgement.bad = candidate.bad;
            result.samples = candidate.total();
            result.candidate = share_estimate(candidate, scale);
            result.baseline = share_estimate(baseline, scale);
            result.limit = (baseline.total() > 0).then(|| scale.value(limit.at(baseline.share()).min(1.0)));
        }
        Test::Quantile { quantile, limit } => {
            show_quantile(judgement, counts, quantile);
            judgement.result.limit = Some(limit);
            judgement.bad = quantile::slower_than(counts.bounds, counts.candidate, limit).0;
        }
        Test::QuantileAgainstBaseline { quantile, allowance } => {
            show_quantile(judgement, counts, quantile);
            show_quantile_limit(judgement, counts, quantile, allowance);
        }
        Test::Value { .. } => {}
    }
    if matches!(hypothesis.test, Test::Share { .. } | Test::Quantile { .. }) {
        let (outcomes, stakes) = counts.pass_outcomes(&hypothesis.test);
        judgement.result.samples_needed = outcomes_needed(&outcomes, &stakes, -PASS_ERROR.ln());
    }
}

fn show_quantile(judgement: &mut Judgement, counts: &Counts<'_>, quantile: f64) {
    judgement.result.samples = counts.candidate.iter().sum();
    judgement.result.candidate = quantile_estimate(counts.bounds, counts.candidate, quantile);
}

fn show_quantile_limit(judgement: &mut Judgement, counts: &Counts<'_>, quantile: f64, allowance: QuantileAllowance) {
    judgement.result.baseline = quantile_estimate(counts.bounds, counts.baseline, quantile);
    judgement.result.limit = judgement.result.baseline.map(|baseline| allowance.at(baseline.value));
    if let Some(limit) = judgement.result.limit {
        judgement.bad = quantile::slower_than(counts.bounds, counts.candidate, limit).0;
    }
}

fn share_estimate(sample: Sample, scale: Scale) -> Option<Estimate> {
    let Estimate { value, low, high, samples } = Estimate::of_share(sample.bad, sample.total())?;
    let (one, other) = (scale.value(low), scale.value(high));
    Some(Estimate { value: scale.value(value), low: one.min(other), high: one.max(other), samples })
}

fn quantile_estimate(bounds: &[f64], counts: &[u64], quantile: f64) -> Option<Estimate> {
    if counts.len() != bounds.len() + 1 {
        return None;
    }
    let (value, low, high) = quantile::estimate(bounds, counts, quantile)?;
    Some(Estimate { value, low, high, samples: counts.iter().sum() })
}
