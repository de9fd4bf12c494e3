//! How the figures came about.

use maud::{Markup, html};

use crate::{format, view::View, words::term};

/// Splits, seed, intervals, versions, CPU seconds, digests.
pub fn section(view: &View<'_>) -> Markup {
    html! {
        section #measured aria-labelledby="measured-title" {
            h2 #measured-title { "How it was measured" }
            dl.facts.wide {
                @if let Some(evidence) = view.input.evidence {
                    div { dt { "Original model" } dd.long { (evidence.source.uri) } }
                    div { dt { "Its " (term("digest")) } dd.long { code { (evidence.source.digest) } } }
                    @if let Some(candidate) = view.chosen {
                        div { dt { (format::sentence_start(view.chosen_word())) " candidate" } dd.long { code { (candidate.digest) } } }
                    }
                    div { dt { "Calibration rows" } dd { (format::count(evidence.splits.calibration.into())) span.range { "for importance and refits; labels unused" } } }
                    div { dt { "Verification rows" } dd { (format::count(evidence.splits.verification.into())) span.range { "judge each stage" } } }
                    div { dt { "Report rows" } dd { (format::count(evidence.splits.report.into())) span.range { "seen once, for the figures above" } } }
                    div { dt { "Seed" } dd { (evidence.seed) } }
                    div { dt { "Started" } dd { (evidence.started.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()) } }
                    div { dt { "Took" } dd { (format::duration(evidence.seconds)) span.range { (format::duration(evidence.cpu_seconds)) " of processor time" } } }
                    div { dt { "Sentei" } dd { (evidence.version) } }
                } @else {
                    div { dt { "Compression" } dd { (format::MISSING) } }
                }
                @if let (Some(first), Some(last)) = (view.input.timeline.first(), view.input.timeline.last()) {
                    div { dt { "Rollout began" } dd { (first.time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()) } }
                    div { dt { "Looks of the analysis" } dd { (format::count(view.input.timeline.len() as u64)) span.range { "over " (format::duration(last.time.duration_since(first.time).as_secs_f64())) } } }
                }
                div {
                    dt { "Chance of a false rollback" }
                    dd { "at most " (format::percent(view.input.spec.rollout.analysis.false_rollback_rate)) span.range { "over the whole rollout and all metrics" } }
                }
            }
            p.small {
                "Intervals are 95 % intervals. Offline, the difference comes from the two models' answers to the same rows, so it is sharper than the "
                "two values apart. Under live requests a limit counts as broken, or as kept, only once the counts so far prove it; looking often does not make "
                "a false alarm more likely. Inconclusive means that neither is proven yet. Latency offline is one inference of one row on one thread."
            }
        }
    }
}
