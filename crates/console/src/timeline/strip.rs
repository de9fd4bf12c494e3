//! One watched metric over time: candidate with its interval, baseline, limit, and under them what the counts prove.

use maud::{Markup, html};
use sentei_api::{
    evidence::Estimate,
    status::{MetricResult, Verdict},
};

use super::{Frame, scale::TimeScale};
use crate::{
    format,
    input::Look,
    metric::Metric,
    svg::{Linear, path, px},
};

const PLOT: f64 = 64.0;
const LANE: f64 = 6.0;
const GAP: f64 = 22.0;

const fn head(frame: Frame) -> f64 {
    if frame.slim { 40.0 } else { 24.0 }
}

/// Pixels one strip takes.
pub fn height(frame: Frame) -> f64 {
    head(frame) + PLOT + LANE + 6.0 + GAP
}

/// Which strip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    metric: &'a str,
    slice: Option<&'a str>,
}

impl<'a> Key<'a> {
    /// Every metric and slice the looks speak of, in the order of their first word.
    pub fn all(looks: &[&'a Look], most: usize) -> Vec<Self> {
        let mut keys: Vec<Self> = Vec::new();
        for result in looks.iter().flat_map(|look| &look.metrics) {
            let key = Self { metric: &result.metric, slice: result.slice.as_deref() };
            if keys.len() < most && !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    fn of(self, look: &'a Look) -> Option<&'a MetricResult> {
        look.metrics.iter().find(|result| result.metric == self.metric && result.slice.as_deref() == self.slice)
    }

    /// How it ended, in words.
    pub fn last(self, looks: &[&'a Look]) -> String {
        let name = Metric(self.metric).on(self.slice);
        let Some(result) = looks.iter().rev().find_map(|look| self.of(look)) else { return name };
        format!("{name}: {}", ending(result))
    }
}

/// `97.0 % (limit 95.0 %), within the limit`.
fn ending(result: &MetricResult) -> String {
    let metric = Metric(&result.metric);
    let value = result.candidate.as_ref().map_or_else(|| format::MISSING.to_owned(), |it| metric.value(it.value));
    let limit = result.limit.map(|limit| format!(" (limit {})", metric.value(limit))).unwrap_or_default();
    format!("{value}{limit}, {}", verdict_words(result))
}

fn verdict_words(result: &MetricResult) -> String {
    match (result.verdict, result.samples_needed) {
        (Verdict::Pass, _) => "✓ within the limit".to_owned(),
        (Verdict::Breach, _) => "✕ breach".to_owned(),
        (Verdict::Inconclusive, Some(more)) => {
            format!("inconclusive, about {} more samples", format::count(more))
        }
        (Verdict::Inconclusive, None) => "inconclusive".to_owned(),
        (Verdict::NoData, _) => "no data".to_owned(),
    }
}

/// The strip at `top`.
pub fn draw<'a>(looks: &[&'a Look], key: Key<'a>, scale: &TimeScale, frame: Frame, top: f64) -> Markup {
    let metric = Metric(key.metric);
    let points: Vec<(f64, &MetricResult)> =
        looks.iter().filter_map(|look| Some((scale.at(look.time), key.of(look)?))).collect();
    let plot = (top + head(frame), top + head(frame) + PLOT);
    let last = points.last().map(|(_, result)| *result);
    let samples = last.map(|result| result.samples).unwrap_or_default();
    let up = vertical(metric, &points).map(|domain| Linear::new(domain, (plot.1, plot.0)));
    html! {
        g {
            text.striphead x=(px(if frame.slim { 4.0 } else { frame.left })) y=(px(top + 14.0)) {
                (format::sentence_start(&metric.on(key.slice)))
            }
            @if let Some(last) = last {
                text.stripend.end[!frame.slim] x=(px(if frame.slim { 4.0 } else { frame.right })) y=(px(top + if frame.slim { 31.0 } else { 14.0 })) {
                    (ending(last)) " · n\u{a0}=\u{a0}" (format::count(samples))
                }
            }
            @if let Some(up) = up { (lines(metric, &points, &up, frame)) }
            @else { text.absenttext x=(px(frame.left)) y=(px(f64::midpoint(plot.0, plot.1))) { (format::MISSING) } }
            (lane(&points, plot.1 + 4.0, frame))
        }
    }
}

/// The range drawn: what the candidate, the baseline and the limit do once there are counts. The wild first values of a
/// handful of samples are cut off at the edge.
fn vertical(metric: Metric<'_>, points: &[(f64, &MetricResult)]) -> Option<(f64, f64)> {
    let values = |pick: fn(&MetricResult) -> Option<f64>| {
        let mut all: Vec<f64> = points.iter().filter_map(|(_, it)| pick(it)).filter(|it| it.is_finite()).collect();
        all.sort_by(f64::total_cmp);
        let skip = all.len() / 20;
        let last = points.iter().rev().find_map(|(_, it)| pick(it)).filter(|it| it.is_finite());
        let ends = [all.get(skip).copied(), all.get(all.len().saturating_sub(1 + skip)).copied(), last];
        ends.into_iter().flatten()
    };
    // The interval as it was in the end: it tells how sure the verdict is.
    let ended = points.iter().rev().find_map(|(_, it)| it.candidate).map(|it| [it.low, it.high]);
    let ended = ended.into_iter().flatten().filter(|end| end.is_finite());
    let all = values(|it| it.candidate.map(|it| it.value))
        .chain(values(|it| it.baseline.map(|it| it.value)))
        .chain(values(|it| it.limit))
        .chain(ended);
    let (low, high) = all.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), it| (low.min(it), high.max(it)));
    if low > high {
        return None;
    }
    let room = ((high - low) * 0.25).max(high.abs() * 0.01).max(1e-9);
    let (least, most) = metric.range();
    Some(((low - room).max(least), (high + room).min(most)))
}

fn lines(metric: Metric<'_>, points: &[(f64, &MetricResult)], up: &Linear, frame: Frame) -> Markup {
    let trace = |pick: fn(&MetricResult) -> Option<f64>| {
        path(points.iter().map(|(x, it)| pick(it).filter(|value| value.is_finite()).map(|value| (*x, up.at(value)))))
    };
    let limit = points.iter().rev().find_map(|(_, it)| it.limit).filter(|limit| limit.is_finite());
    // The limit's name stands on the side where the candidate is not.
    let candidate = points.iter().rev().find_map(|(_, it)| it.candidate).map(|it| it.value);
    // Close under the heading there is no room above the line.
    let cramped = |limit: f64| up.at(limit) < up.at(f64::INFINITY) + 8.0;
    let below = limit.is_some_and(|limit| candidate.is_some_and(|candidate| candidate > limit) || cramped(limit));
    html! {
        g.grid {
            @for tick in up.ticks(3) {
                line x1=(px(frame.left)) x2=(px(frame.right)) y1=(px(up.at(tick))) y2=(px(up.at(tick))) {}
                text.end x=(px(frame.left - 8.0)) y=(px(up.at(tick) + 4.0)) { (axis_label(metric, tick)) }
            }
        }
        @for run in runs(points) { path.ci d=(ribbon(&run, up)) {} }
        path.line.limit d=(trace(|it| it.limit)) {}
        path.line.base d=(trace(|it| it.baseline.map(|it| it.value))) {}
        path.line.cand d=(trace(|it| it.candidate.map(|it| it.value))) {}
        @if let Some(limit) = limit {
            @let y = up.at(limit) + if below { 13.0 } else { -5.0 };
            text.limitname.end x=(px(frame.right - 2.0)) y=(px(y)) { "limit " (metric.value(limit)) }
        }
    }
}

/// Stretches of looks with an interval.
fn runs(points: &[(f64, &MetricResult)]) -> Vec<Vec<(f64, Estimate)>> {
    let mut runs: Vec<Vec<(f64, Estimate)>> = vec![Vec::new()];
    for (x, result) in points {
        let known = result.candidate.filter(|it| it.low.is_finite() && it.high.is_finite());
        match (known, runs.last_mut()) {
            (Some(estimate), Some(run)) => run.push((*x, estimate)),
            _ => runs.push(Vec::new()),
        }
    }
    runs.retain(|run| run.len() > 1);
    runs
}

/// The interval as an area: along the upper ends and back along the lower.
fn ribbon(run: &[(f64, Estimate)], up: &Linear) -> String {
    let there = run.iter().map(|(x, it)| Some((*x, up.at(it.high))));
    let back = run.iter().rev().map(|(x, it)| Some((*x, up.at(it.low))));
    path(there.chain(back)) + "Z"
}

/// What the counts prove, as a lane; each kind has its own height, filling or mark beside its colour.
fn lane(points: &[(f64, &MetricResult)], y: f64, frame: Frame) -> Markup {
    let mut stretches: Vec<(Verdict, f64, f64)> = Vec::new();
    for (index, (x, result)) in points.iter().enumerate() {
        let until = points.get(index + 1).map_or((x + 2.0).min(frame.right), |(next, _)| *next);
        match stretches.last_mut() {
            Some((verdict, _, end)) if *verdict == result.verdict => *end = until,
            _ => stretches.push((result.verdict, *x, until)),
        }
    }
    html! {
        @for (verdict, from, until) in stretches {
            @let (class, name, height) = look_of(verdict);
            rect class=(class) x=(px(from)) y=(px(y + (LANE - height) / 2.0)) width=(px((until - from).max(0.8))) height=(px(height)) {
                title { (name) }
            }
            @if verdict == Verdict::Breach { text.cross.mid x=(px(from.min(frame.right - 6.0))) y=(px(y + LANE + 12.0)) { "✕" } }
        }
    }
}

const fn look_of(verdict: Verdict) -> (&'static str, &'static str, f64) {
    match verdict {
        Verdict::Pass => ("lane pass", "within the limit", LANE),
        Verdict::Breach => ("lane fail", "breach", LANE),
        Verdict::Inconclusive => ("lane open", "inconclusive", 2.0),
        Verdict::NoData => ("lane nodata", "no data", LANE),
    }
}

/// A tick of the axis. Zero is where an axis begins, not a value that nobody measured.
fn axis_label(metric: Metric<'_>, tick: f64) -> String {
    if tick == 0.0 { "0".to_owned() } else { format::round(&metric.value(tick)) }
}
