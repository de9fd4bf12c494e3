//! The stages: what was proposed, what it did, whether it was kept, and why.

use maud::{Markup, html};
use sentei_api::evidence::{Evidence, LeftAlone, Outcome, StageKind, StageRecord};

use crate::{
    cuts, format,
    metric::Metric,
    view::View,
    words::{shown, term},
};

/// Names of one reason shown before the rest is folded away.
const NAMES_SHOWN: usize = 8;

/// All stages in order.
pub fn section(view: &View<'_>) -> Markup {
    let Some(evidence) = view.input.evidence else { return html! {} };
    let kept = evidence.stages.iter().filter(|stage| is_kept(stage)).count();
    html! {
        section #stages aria-labelledby="stages-title" {
            h2 #stages-title { (shown("stage", "Stages")) }
            @if evidence.stages.is_empty() {
                p.empty { "No stage has run." }
            } @else {
                p.intro {
                    (format::plural(kept, "stage", "stages")) " kept, " (evidence.stages.len() - kept)
                    " undone. Each stage cuts a copy of the model, makes up for the cut in what is left, and is then held against every gate on "
                    (format::count(evidence.splits.verification.into())) " rows it has not seen."
                }
                ol.stages {
                    @for (index, stage) in evidence.stages.iter().enumerate() { (entry(view, evidence, index, stage)) }
                }
            }
        }
    }
}

fn is_kept(stage: &StageRecord) -> bool {
    matches!(stage.outcome, Outcome::Committed { .. })
}

fn entry(view: &View<'_>, evidence: &Evidence, index: usize, stage: &StageRecord) -> Markup {
    let kept = is_kept(stage);
    // Costs are compared with the last state that was kept, which is what the stage started from.
    let before = evidence.stages.iter().take(index).rev().find(|stage| is_kept(stage)).map(|stage| &stage.cost);
    let before = before.unwrap_or(&evidence.source.cost);
    let metric = Metric(view.metric.as_str());
    let lost = view.largest_loss(&stage.measurements);
    let from = |was: String, now: String| html! { (now) span.range { "from " (was) } };
    html! {
        li.undone[!kept] {
            .head {
                span.index aria-hidden="true" { (index + 1) }
                h3 { (format::sentence_start(&stage.title)) }
                @if kept { span.tag.good { span aria-hidden="true" { "✓" } " Kept" } }
                @else { span.tag.bad { span aria-hidden="true" { "↩" } " Undone" } }
            }
            p.why { (why(stage)) }
            dl.facts {
                div { dt { "Size" } dd { (from(format::bytes(before.size as f64), format::bytes(stage.cost.size as f64))) } }
                div { dt { "Latency p50" } dd { (from(format::seconds(before.latency_p50), format::seconds(stage.cost.latency_p50))) } }
                div { dt { "MACs" } dd { (from(format::magnitude(before.macs), format::magnitude(stage.cost.macs))) } }
                div { dt { @if index == 0 { (shown("divergence", "Divergence")) } @else { "Divergence" } } dd { (format::plain(stage.divergence)) } }
                div {
                    dt { "Largest loss of a slice" }
                    dd {
                        @if let Some(lost) = lost {
                            (metric.difference(lost.difference.value)) span.range { (lost.slice.as_deref().unwrap_or_default()) }
                        } @else { span.absent { (format::MISSING) } }
                    }
                }
                div { dt { "Time" } dd { (format::duration(stage.seconds)) } }
            }
            (cuts::details(stage, &evidence.slices, index == 0))
        }
    }
}

/// One sentence.
fn why(stage: &StageRecord) -> String {
    match &stage.outcome {
        Outcome::Committed { .. } => {
            let checked = stage.measurements.len();
            let measured = if checked == 0 {
                String::new()
            } else {
                format!(" ({} checked)", format::plural(checked, "figure", "figures"))
            };
            match stage.kind {
                StageKind::Prune => format!(
                    "{} removed; every gate passed{measured}.",
                    format::plural(cuts::removed(stage), "unit", "units")
                ),
                StageKind::Quantize => format!("Stored and computed in fewer bits; every gate passed{measured}."),
                StageKind::Brought => {
                    format!("Brought along and measured like any other; every gate passed{measured}.")
                }
            }
        }
        Outcome::Reverted { reasons } if reasons.is_empty() => "Undone; no reason was recorded.".to_owned(),
        Outcome::Reverted { reasons } => {
            let reasons = reasons.join("; ");
            format!("Undone because {}{}", reasons.trim_end_matches('.'), ".")
        }
    }
}

/// What was not cut, grouped by reason.
pub fn left_alone(view: &View<'_>) -> Markup {
    let Some(evidence) = view.input.evidence else { return html! {} };
    html! {
        section #left-alone aria-labelledby="left-alone-title" {
            h2 #left-alone-title { "Left alone" }
            @if evidence.left_alone.is_empty() {
                p.empty { "Nothing: every part could be cut." }
            } @else {
                p.intro { "Parts of the network that were not cut, because no cut there could be proven safe or because the manifest protects them." }
                dl.reasons {
                    @for (reason, names) in by_reason(&evidence.left_alone) {
                        div {
                            dt { (format::sentence_start(reason)) " " span.number { (format::plural(names.len(), "part", "parts")) } }
                            dd { (names_list(&names)) }
                        }
                    }
                }
            }
        }
    }
}

fn names_list(names: &[&str]) -> Markup {
    let (shown, folded) = names.split_at(names.len().min(NAMES_SHOWN));
    let codes = |names: &[&str]| html! { @for name in names { code { (name) } " " } };
    html! {
        (codes(shown))
        @if !folded.is_empty() {
            details { summary { "and " (folded.len()) " more" } (codes(folded)) }
        }
    }
}

/// Reasons by how many parts they hold, most first.
fn by_reason(left: &[LeftAlone]) -> Vec<(&str, Vec<&str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for LeftAlone { name, reason } in left {
        match groups.iter_mut().find(|(known, _)| known == reason) {
            Some((_, names)) => names.push(name),
            None => groups.push((reason, vec![name])),
        }
    }
    groups.sort_by_key(|(_, names)| std::cmp::Reverse(names.len()));
    groups
}

/// The terms the stages' details use; each is explained where the first opened stage shows it.
pub fn unit_terms(first: bool) -> (Markup, Markup, Markup) {
    if first {
        (shown("unit", "Unit"), shown("loss", "Loss"), shown("reconstructed", "Reconstructed"))
    } else {
        (html! { "Unit" }, html! { "Loss" }, html! { "Reconstructed" })
    }
}

/// `group`, explained the first time.
pub fn group_term(first: bool) -> Markup {
    if first {
        term("group")
    } else {
        html! { "group" }
    }
}
