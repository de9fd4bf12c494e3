//! The rollout: how the weight moved, what was watched, what was decided, and what broke.

use jiff::Timestamp;
use maud::{Markup, html};
use sentei_api::status::{Breach, DecisionRecord};

use crate::{
    format::{self, MISSING},
    input::{LiveRole, LiveSummary},
    metric::Metric,
    timeline,
    view::View,
    words::{shown, term},
};

/// Decisions shown before the log is folded away.
const LOG_OPEN: usize = 16;
const NBSP: char = '\u{a0}';

/// Breach, timeline, decisions, live figures.
pub fn section(view: &View<'_>) -> Markup {
    let status = view.input.status;
    let looks = view.input.timeline;
    html! {
        section #rollout aria-labelledby="rollout-title" {
            h2 #rollout-title { "Rollout" }
            @if let Some(breach) = &status.last_breach { (breach_box(view, breach)) }
            @if looks.is_empty() {
                p.empty { "Nothing has been exposed to live requests yet." }
            } @else {
                p.intro {
                    "The " (term("weight")) " is the share of live requests that the candidate answers. Below it, each watched metric with its limit: the "
                    "shaded band is the interval, the strip under it what the counts prove."
                }
                (timeline::figure(looks))
            }
            @if !status.decisions.is_empty() { (log(&status.decisions, looks.first().map(|look| look.time))) }
            @if let Some(live) = view.input.live { (side_by_side(live)) }
        }
    }
}

fn breach_box(view: &View<'_>, breach: &Breach) -> Markup {
    let metric = Metric(&breach.metric);
    let slice = breach.slice.as_deref().unwrap_or("all requests");
    let rollback = view.input.live.and_then(|live| live.rollback);
    let facts: Vec<(&str, String)> = vec![
        ("Metric", format::sentence_start(&metric.label())),
        ("Slice", slice.to_owned()),
        ("Value", metric.value(breach.value.value)),
        ("95 % interval", metric.interval(&breach.value)),
        ("Limit", metric.value(breach.limit)),
        ("Samples", format::count(breach.samples)),
        ("Bad answers among them", format::count(breach.bad)),
        ("Judged period", format::duration(breach.window_seconds)),
        ("Phase", breach.phase.to_string()),
        ("Weight", format!("{}{NBSP}%", breach.weight)),
        ("Seen at", clock(breach.time)),
    ];
    html! {
        aside.breach aria-labelledby="breach-title" {
            h3 #breach-title { span aria-hidden="true" { "✕ " } "Why it was rolled back" }
            p { (format::sentence_start(&crate::verdict::broke(breach))) "." }
            dl.facts {
                @for (name, value) in facts { div { dt { (name) } dd { (value) } } }
                @if let Some(facts) = rollback {
                    div { dt { "First bad answer" } dd { (clock(facts.first_bad)) } }
                    div { dt { "Last bad answer" } dd { (clock(facts.last_bad)) } }
                    div { dt { "Bad answers in all" } dd { (format::count(facts.bad_answers)) } }
                    div { dt { "From first to last" } dd { (format::duration(facts.seconds)) } }
                }
            }
        }
    }
}

fn log(decisions: &[DecisionRecord], start: Option<Timestamp>) -> Markup {
    html! {
        details.log open[decisions.len() <= LOG_OPEN] {
            summary { "Decisions: " (format::count(decisions.len() as u64)) }
            .scroll tabindex="0" role="region" aria-label="Decisions" {
                table.figures {
                    caption.sr { "Every decision with its time, phase, step, weight and reason" }
                    thead { tr {
                        th scope="col" { "Time (UTC)" }
                        th scope="col" { "After" }
                        th.text scope="col" { (shown("phase", "Phase")) }
                        th scope="col" { (shown("step", "Step")) }
                        th scope="col" { "Weight" }
                        th.text scope="col" { "Decision" }
                    } }
                    tbody {
                        @for decision in decisions {
                            tr {
                                td { (clock(decision.time)) }
                                td { (elapsed(start, decision.time)) }
                                td.text { (decision.phase) }
                                td { (decision.step) }
                                td { (decision.weight) (NBSP) "%" }
                                td.text.message { strong { (decision.reason) } " " (decision.message) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn elapsed(start: Option<Timestamp>, time: Timestamp) -> String {
    let Some(start) = start else { return "–".to_owned() };
    let seconds = time.duration_since(start).as_secs_f64();
    if seconds < 0.0 { format!("−{}", format::duration(-seconds)) } else { format::duration(seconds) }
}

/// `14:03:07.250`, in UTC; the date stands in the section on how it was measured.
fn clock(time: Timestamp) -> String {
    time.strftime("%H:%M:%S.%3f").to_string()
}

fn side_by_side(live: &LiveSummary) -> Markup {
    let optional = |value: Option<f64>, write: fn(f64) -> String| value.map_or_else(|| MISSING.to_owned(), write);
    let row = |name: &str, write: &dyn Fn(&LiveRole) -> String| {
        html! { tr { th.text scope="row" { (name) } td { (write(&live.baseline)) } td { (write(&live.candidate)) } } }
    };
    let slices = live.baseline.accuracy.iter().chain(&live.candidate.accuracy).map(|it| it.slice.as_deref());
    let mut keys: Vec<Option<&str>> = Vec::new();
    for slice in slices {
        if !keys.contains(&slice) {
            keys.push(slice);
        }
    }
    html! {
        h3.sub { "Under live requests" }
        .scroll tabindex="0" role="region" aria-label="Under live requests" {
            table.figures.narrow {
                caption.sr { "Baseline and candidate under live requests" }
                thead { tr { td {} th scope="col" { "Baseline" } th scope="col" { "Candidate" } } }
                tbody {
                    (row("Requests answered", &|role| format::count(role.requests)))
                    (row("Latency p50", &|role| optional(role.latency_p50, format::seconds)))
                    (row("Latency p99", &|role| optional(role.latency_p99, format::seconds)))
                    (row("Resident memory", &|role| optional(role.resident_memory_bytes.map(|it| it as f64), format::bytes)))
                    (row("CPU seconds per 1,000 requests", &|role| optional(role.cpu_seconds_per1k_requests, |it| format!("{it:.2}{NBSP}s"))))
                    @for slice in keys {
                        tr {
                            th.text scope="row" { (format::sentence_start(&Metric("accuracy").on(slice))) }
                            @for role in [&live.baseline, &live.candidate] {
                                td { (crate::frontier::estimate(Metric("accuracy"), role.accuracy.iter().find(|it| it.slice.as_deref() == slice).map(|it| &it.estimate))) }
                            }
                        }
                    }
                }
            }
        }
    }
}
