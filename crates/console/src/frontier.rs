//! The candidates: what each would save and what it would cost, as two charts and a table.

use maud::{Markup, html};
use sentei_api::{
    evidence::{Candidate, Cost, Estimate},
    spec::compression::Objective,
};

use crate::{
    format,
    frontier_chart::{self, Panel},
    metric::Metric,
    view::{View, on_slice},
    words::{shown, term},
};

/// Charts and table.
pub fn section(view: &View<'_>) -> Markup {
    html! {
        section #candidates aria-labelledby="candidates-title" {
            h2 #candidates-title { "Candidates" }
            @if view.candidates.is_empty() {
                p.empty { "No candidate yet." }
            } @else {
                p.intro {
                    "Each point is one compressed version. Further left is smaller or faster, further up is more often right. "
                    "The vertical lines are the " (shown("95 % interval", "95 % intervals")) "." (objective(&view.input.spec.compression.objective))
                }
                (legend(view))
                .charts {
                    @for panel in [Panel::SIZE, Panel::LATENCY] { (frontier_chart::draw(view, panel)) }
                }
                (table(view))
            }
        }
    }
}

fn objective(objective: &Objective) -> String {
    let parts: Vec<String> = [("size", objective.size), ("latency", objective.latency), ("MACs", objective.macs)]
        .into_iter()
        .filter_map(|(name, factor)| factor.map(|factor| format!("{name} {factor}")))
        .collect();
    if parts.is_empty() { String::new() } else { format!(" The manifest asks for {}.", format::listed(&parts)) }
}

fn legend(view: &View<'_>) -> Markup {
    html! {
        ul.legend aria-label="Legend" {
            li { (frontier_chart::sample("dot all", &html! { circle cx="7" cy="7" r="4.5" {} })) "all rows" }
            li { (frontier_chart::sample("dot worst", &html! { path d="M7 1.5L12.5 7L7 12.5L1.5 7Z" {} })) "worst slice" }
            li { (frontier_chart::sample("dot base", &html! { rect x="2.5" y="2.5" width="9" height="9" {} })) "baseline" }
            @if view.chosen.is_some() {
                li { (frontier_chart::sample("ring", &html! { circle cx="7" cy="7" r="6" {} })) (view.chosen_word()) }
            }
        }
    }
}

fn table(view: &View<'_>) -> Markup {
    let slices = view.slice_names();
    let metric = view.written();
    html! {
        .scroll tabindex="0" role="region" aria-label="All candidates" {
            table.figures {
                caption.sr { "All candidates with their costs and results" }
                thead { tr {
                    th scope="col" { "#" }
                    th.text scope="col" { "What was done" }
                    th scope="col" { "Size" }
                    th scope="col" { "Latency p50" }
                    th scope="col" { (term("MACs")) }
                    th scope="col" { (shown("parameters", "Parameters")) }
                    th scope="col" { (format::sentence_start(&metric.label())) }
                    @for slice in &slices { th scope="col" { (slice) } }
                    th.text scope="col" { (shown("gate", "Gates")) br; (shown("objective", "Objective")) }
                } }
                tbody {
                    @if let Some(cost) = view.baseline_cost() { (baseline_row(view, cost, &slices)) }
                    @for (index, candidate) in view.candidates.iter().enumerate() {
                        (candidate_row(view, index + 1, candidate, &slices))
                    }
                }
            }
        }
    }
}

fn baseline_row(view: &View<'_>, cost: &Cost, slices: &[&str]) -> Markup {
    let metric = view.written();
    let measured = |slice: Option<&str>| {
        let all = view.candidates.iter().flat_map(|candidate| &candidate.measurements);
        all.clone().find(|it| it.metric == view.metric && it.slice.as_deref() == slice).map(|it| &it.baseline)
    };
    html! {
        tr.base {
            td { "–" }
            th.text scope="row" { "Baseline" }
            (costs(cost))
            td { (estimate(metric, measured(None))) }
            @for slice in slices { td { (estimate(metric, measured(Some(slice)))) } }
            td.text { "–" }
        }
    }
}

fn candidate_row(view: &View<'_>, number: usize, candidate: &Candidate, slices: &[&str]) -> Markup {
    let metric = view.written();
    let chosen = view.is_chosen(candidate);
    let measured = |slice| on_slice(&candidate.measurements, view.metric, slice).map(|it| &it.candidate);
    html! {
        tr.chosen[chosen] {
            td { (number) }
            th.text scope="row" {
                (format::sentence_start(&candidate.summary))
                @if chosen { " " span.pick { (view.chosen_word()) } }
                code.digest title=(candidate.digest) { (candidate.digest.short()) }
            }
            (costs(&candidate.cost))
            td { (estimate(metric, measured(None))) }
            @for slice in slices { td { (estimate(metric, measured(Some(slice)))) } }
            td.text {
                (mark(candidate.gates_passed, "passed", "failed"))
                span.range { @if candidate.objective_met { "✓\u{a0}met" } @else { "–\u{a0}not met" } }
            }
        }
    }
}

fn costs(cost: &Cost) -> Markup {
    html! {
        td { (format::bytes(cost.size as f64)) }
        td { (format::seconds(cost.latency_p50)) }
        td { (format::magnitude(cost.macs)) }
        td { (format::magnitude(cost.parameters)) }
    }
}

/// A value over its interval.
pub fn estimate(metric: Metric<'_>, estimate: Option<&Estimate>) -> Markup {
    html! {
        @if let Some(estimate) = estimate {
            (metric.value(estimate.value)) span.range { (metric.interval(estimate)) }
        } @else { span.absent { (format::MISSING) } }
    }
}

/// A yes or no that is not told by colour alone.
fn mark(yes: bool, good: &str, bad: &str) -> Markup {
    html! {
        @if yes { span.yes { "✓\u{a0}" (good) } } @else { span.no { "✕\u{a0}" (bad) } }
    }
}
