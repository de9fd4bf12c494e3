//! The top of the page: what happened, in plain words.

use maud::{Markup, html};
use sentei_api::{
    Phase,
    evidence::{Measurement, Outcome},
    status::{Breach, Role},
};

use crate::{
    format::{self, sentence_start},
    metric::Metric,
    tiles,
    view::View,
    words::term,
};

/// How the news feels; decides colour and mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Good,
    Bad,
    Ask,
    Busy,
}

impl Tone {
    const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Ask => "ask",
            Self::Busy => "busy",
        }
    }

    /// Says the same as the colour.
    const fn mark(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Bad => "✕",
            Self::Ask => "?",
            Self::Busy => "…",
        }
    }
}

/// The verdict as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headline {
    pub tone: Tone,
    /// A word or two.
    pub tag: &'static str,
    /// One sentence.
    pub title: String,
    /// The sentences behind it.
    pub lede: Vec<String>,
}

/// The verdict and the big numbers.
pub fn section(view: &View<'_>) -> Markup {
    let Headline { tone, tag, title, lede } = headline(view);
    let broken = view.is_rolled_back();
    let place = view.input.namespace.map_or_else(String::new, |namespace| format!("{namespace} / "));
    html! {
        header.verdict {
            p.eyebrow { span.where { (place) (view.input.name) } span.tag.(tone.class()) { span aria-hidden="true" { (tone.mark()) } " " (tag) } }
            h1 { (title) }
            @if !lede.is_empty() { p.lede { @for sentence in &lede { (sentence) " " } } }
            (tiles::row(view))
            p.note {
                "Before is the " (term("baseline")) ", the original model; after is the " (term("candidate"))
                ", the compressed one."
                @if broken { " This is what the candidate offered; the baseline answers again." }
                " Words with a dotted line are explained when you point at them, and in "
                a href="#words" { "the list at the end" } "."
            }
        }
    }
}

/// The verdict, decided from the phase.
pub fn headline(view: &View<'_>) -> Headline {
    let name = view.input.name;
    let weight = view.input.status.weights.candidate;
    let shadow = view.input.status.shadow_percent;
    let say = |tone, tag, title: String, lede: Vec<String>| Headline { tone, tag, title, lede };
    match view.input.status.phase {
        Phase::Pending => {
            say(Tone::Busy, "Not started", format!("{name} is waiting to be compressed"), last_message(view))
        }
        Phase::Compressing | Phase::Evaluating => {
            say(Tone::Busy, "Compressing", format!("{name} is being compressed"), progress(view))
        }
        Phase::AwaitingApproval => {
            let mut lede = quality(view);
            lede.push(
                "Nothing has been exposed. Look at the candidates below, then approve one or reject them.".to_owned(),
            );
            say(Tone::Ask, "Waiting for approval", format!("{name} can be {}", gains(view)), lede)
        }
        Phase::Shadowing => {
            let title = format!("{name} is being tried on copies of {shadow}{NBSP}% of live requests");
            let unseen = "Users see the baseline's answers only.".to_owned();
            say(Tone::Busy, "Shadowing", title, quality(view).into_iter().chain([unseen]).collect())
        }
        Phase::Progressing => {
            let title = format!("{name} is being tried on {weight}{NBSP}% of live requests");
            say(Tone::Busy, "Rolling out", title, quality(view))
        }
        Phase::Promoting => {
            say(Tone::Busy, "Promoting", format!("{name} is taking over all live requests"), quality(view))
        }
        Phase::Paused => {
            let title = format!("{name} is holding at {weight}{NBSP}% of live requests");
            let ask = "It goes on when a person promotes it.".to_owned();
            say(Tone::Ask, "Paused", title, quality(view).into_iter().chain([ask]).collect())
        }
        Phase::Watching => {
            let mut lede = quality(view);
            lede.push("The original stays loaded, and the limits still hold.".to_owned());
            say(Tone::Good, "Promoted, being watched", format!("{name} is now {}", gains(view)), lede)
        }
        Phase::Succeeded => say(Tone::Good, "Promoted", format!("{name} is now {}", gains(view)), quality(view)),
        Phase::RollingBack | Phase::RolledBack => rolled_back(view),
        Phase::Failed => say(Tone::Bad, "Stopped", format!("{name} was left as it is"), failure(view)),
    }
}

const NBSP: char = '\u{a0}';

/// `10.6x smaller and 2.0x faster`.
fn gains(view: &View<'_>) -> String {
    let Some(candidate) = view.chosen else { return "compressed".to_owned() };
    let baseline = view.baseline_cost();
    let size = baseline.and_then(|cost| format::factor(cost.size as f64, candidate.cost.size as f64));
    let live = view.live_pair().and_then(|(before, after)| format::factor(before.latency_p50?, after.latency_p50?));
    let alone = || baseline.and_then(|cost| format::factor(cost.latency_p50, candidate.cost.latency_p50));
    let size = size.map(|factor| format::change(factor, "smaller", "larger").replace("unchanged", "the same size"));
    let speed =
        live.or_else(alone).map(|factor| format::change(factor, "faster", "slower").replace("unchanged", "as fast"));
    match (size, speed) {
        (Some(size), Some(speed)) => format!("{size} and {speed}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => "compressed".to_owned(),
    }
}

/// What it costs in quality: on all rows, then on the worst slice.
fn quality(view: &View<'_>) -> Vec<String> {
    let Some(candidate) = view.chosen else { return Vec::new() };
    let metric = view.written();
    let whole = view.overall(candidate).map(|it| {
        format!(
            "{} {} → {}: a difference of {} (95{NBSP}% interval {}, n{NBSP}={NBSP}{}).",
            sentence_start(&metric.label()),
            metric.value(it.baseline.value),
            metric.value(it.candidate.value),
            metric.difference(it.difference.value),
            metric.difference_interval(&it.difference),
            format::count(it.difference.samples),
        )
    });
    let worst = view.worst_slice(candidate).map(|it| worst_sentence(metric, it));
    whole.into_iter().chain(worst).collect()
}

fn worst_sentence(metric: Metric<'_>, measurement: &Measurement) -> String {
    format!(
        "Worst slice: {}, {} → {}.",
        measurement.slice.as_deref().unwrap_or_default(),
        metric.value(measurement.baseline.value),
        metric.value(measurement.candidate.value)
    )
}

fn rolled_back(view: &View<'_>) -> Headline {
    let rolling = view.input.status.phase == Phase::RollingBack;
    let tag = if rolling { "Rolling back" } else { "Rolled back" };
    let after = view.input.live.and_then(|live| live.rollback);
    let opening =
        after.map_or_else(|| tag.to_owned(), |facts| format!("{tag} after {}", format::duration(facts.seconds)));
    let Some(breach) = &view.input.status.last_breach else {
        let state = if rolling { "is being" } else { "was" };
        let title = format!("{} {state} rolled back", view.input.name);
        return Headline { tone: Tone::Bad, tag, title, lede: last_message(view) };
    };
    let mut lede = vec![
        format!(
            "{} among {}, at {}{NBSP}% of live requests.",
            format::plural(usize::try_from(breach.bad).unwrap_or(usize::MAX), "bad answer", "bad answers"),
            format::count(breach.samples),
            breach.weight,
        ),
        if rolling {
            "The traffic is on its way back to the baseline.".to_owned()
        } else {
            "All traffic is on the baseline, which was loaded all the time and never changed.".to_owned()
        },
    ];
    if let Some(facts) = after {
        let bad = usize::try_from(facts.bad_answers).unwrap_or(usize::MAX);
        lede.push(format!(
            "In all, {} reached clients within {}.",
            format::plural(bad, "bad answer", "bad answers"),
            format::duration(facts.seconds)
        ));
    }
    Headline { tone: Tone::Bad, tag, title: format!("{opening}: {}", broke(breach)), lede }
}

/// `accuracy on slice sevens fell to 61.0 % (limit 95.0 %)`.
pub fn broke(breach: &Breach) -> String {
    if breach.metric == "availability" {
        return format!("the {} stopped answering", Role::Candidate);
    }
    let metric = Metric(&breach.metric);
    let verb = if breach.value.value < breach.limit { "fell to" } else { "rose to" };
    format!(
        "{} {verb} {} (limit {})",
        metric.on(breach.slice.as_deref()),
        metric.value(breach.value.value),
        metric.value(breach.limit)
    )
}

fn progress(view: &View<'_>) -> Vec<String> {
    let Some(evidence) = view.input.evidence else { return Vec::new() };
    let kept = evidence.stages.iter().filter(|stage| matches!(stage.outcome, Outcome::Committed { .. })).count();
    let undone = evidence.stages.len() - kept;
    vec![format!("{} kept, {undone} undone so far.", format::plural(kept, "stage", "stages"))]
}

fn last_message(view: &View<'_>) -> Vec<String> {
    view.input.status.decisions.last().map(|decision| sentence(&decision.message)).into_iter().collect()
}

/// Why it ended: the condition people are told to read, else the last decision.
fn failure(view: &View<'_>) -> Vec<String> {
    let stalled = view.input.status.conditions.iter().find(|it| it.type_ == "Stalled" && it.status == "True");
    let mut lede = stalled.map_or_else(|| last_message(view), |condition| vec![sentence(&condition.message)]);
    lede.push("Nothing was exposed to live traffic.".to_owned());
    lede
}

/// A message with its capital and its full stop.
fn sentence(message: &str) -> String {
    let text = sentence_start(message.trim());
    if text.is_empty() || text.ends_with(['.', '!', '?']) { text } else { format!("{text}.") }
}
