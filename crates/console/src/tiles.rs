//! The row of big numbers: before → after.

use maud::{Markup, html};

use crate::{
    format::{self, MISSING},
    view::View,
    words::{shown, term},
};

/// One big number.
struct Tile {
    label: Markup,
    before: Option<String>,
    after: Option<String>,
    /// What the change amounts to.
    change: Option<String>,
    /// Where the figures come from.
    source: &'static str,
}

/// Size, latency, memory, CPU and the worst slice.
pub fn row(view: &View<'_>) -> Markup {
    let tiles = tiles(view);
    html! {
        ul.tiles aria-label="Before and after" {
            @for tile in &tiles {
                li {
                    p.label { (tile.label) }
                    @match (&tile.before, &tile.after) {
                        (before, Some(after)) => {
                            p.big { (after) }
                            p.was { "was " (before.as_deref().unwrap_or(MISSING)) }
                        }
                        (Some(before), None) => {
                            p.big.absent { "not measured" }
                            p.was { "was " (before) }
                        }
                        (None, None) => p.big.absent { "not measured" }
                    }
                    @if let Some(change) = &tile.change { p.change { (change) } }
                    @if tile.after.is_some() { p.source { (tile.source) } }
                }
            }
        }
    }
}

fn tiles(view: &View<'_>) -> Vec<Tile> {
    let candidate = view.chosen.map(|candidate| &candidate.cost);
    let baseline = view.baseline_cost();
    let live = view.live_pair();
    let less =
        |label: Markup, pair: (Option<f64>, Option<f64>), write: fn(f64) -> String, words: (&str, &str), source| {
            let known = |value: Option<f64>| value.filter(|value| value.is_finite() && *value > 0.0);
            let (before, after) = (known(pair.0), known(pair.1));
            let factor = before.zip(after).and_then(|(before, after)| format::factor(before, after));
            Tile {
                label,
                before: before.map(write),
                after: after.map(write),
                change: factor.map(|factor| format::change(factor, words.0, words.1)),
                source,
            }
        };
    // Live latency includes the server and the network; a pair is never mixed from both kinds.
    let latency = |word: &str, live: Option<(f64, f64)>, alone: (Option<f64>, Option<f64>)| match live {
        Some((before, after)) => {
            let pair = (Some(before), Some(after));
            less(
                shown(word, &format::sentence_start(word)),
                pair,
                format::seconds,
                ("faster", "slower"),
                "live requests",
            )
        }
        None => less(
            shown(word, &format::sentence_start(word)),
            alone,
            format::seconds,
            ("faster", "slower"),
            "one row, one thread",
        ),
    };
    vec![
        less(
            html! { "File size" },
            (baseline.map(|cost| cost.size as f64), candidate.map(|cost| cost.size as f64)),
            format::bytes,
            ("smaller", "larger"),
            "on disk",
        ),
        latency(
            "latency p50",
            live.and_then(|(before, after)| before.latency_p50.zip(after.latency_p50)),
            (baseline.map(|cost| cost.latency_p50), candidate.map(|cost| cost.latency_p50)),
        ),
        latency(
            "latency p99",
            live.and_then(|(before, after)| before.latency_p99.zip(after.latency_p99)),
            (baseline.map(|cost| cost.latency_p99), candidate.map(|cost| cost.latency_p99)),
        ),
        less(
            html! { "Memory" },
            (
                live.and_then(|(before, _)| before.resident_memory_bytes).map(|bytes| bytes as f64),
                live.and_then(|(_, after)| after.resident_memory_bytes).map(|bytes| bytes as f64),
            ),
            format::bytes,
            ("smaller", "larger"),
            "server process",
        ),
        less(
            html! { (term("CPU seconds")) br; "per 1,000 requests" },
            (
                live.and_then(|(before, _)| before.cpu_seconds_per1k_requests),
                live.and_then(|(_, after)| after.cpu_seconds_per1k_requests),
            ),
            cpu_seconds,
            ("less", "more"),
            "live requests",
        ),
        worst_slice(view),
    ]
}

fn cpu_seconds(value: f64) -> String {
    format!("{value:.2}\u{a0}s")
}

fn worst_slice(view: &View<'_>) -> Tile {
    let metric = view.written();
    let worst = view.chosen.and_then(|candidate| view.worst_slice(candidate));
    let slice = worst.and_then(|it| it.slice.as_deref());
    Tile {
        label: html! { (shown("worst slice", "Worst slice")) @if let Some(slice) = slice { br; (slice) } },
        before: worst.map(|it| metric.value(it.baseline.value)),
        after: worst.map(|it| metric.value(it.candidate.value)),
        change: worst.map(|it| metric.difference(it.difference.value)),
        source: "rows kept for the report",
    }
}
