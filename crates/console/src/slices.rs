//! Slice by slice: the baseline against the candidate on the same rows.

use maud::{Markup, html};
use sentei_api::{evidence::Measurement, spec::OfflineMetric};

use crate::{
    format,
    frontier::estimate,
    metric::Metric,
    svg::{Linear, px},
    view::{View, is_cost, on_slice},
    words::term,
};

const WIDTH: f64 = 260.0;
const HEIGHT: f64 = 24.0;

/// One table for each metric of quality.
pub fn section(view: &View<'_>) -> Markup {
    let Some(candidate) = view.chosen else { return html! {} };
    let mut metrics: Vec<OfflineMetric> = Vec::new();
    for measurement in &candidate.measurements {
        if !is_cost(measurement.metric) && !metrics.contains(&measurement.metric) {
            metrics.push(measurement.metric);
        }
    }
    html! {
        section #slices aria-labelledby="slices-title" {
            h2 #slices-title { "Slice by slice" }
            @if metrics.is_empty() {
                p.empty { "Quality: " (format::MISSING) "." }
            } @else {
                p.intro {
                    "The " (view.chosen_word()) " candidate and the baseline on the same rows, which no stage has seen. "
                    "A " (term("slice")) " whose interval reaches 0 has no proven change. Differences of percentages are in " (term("points")) "."
                }
                @for metric in metrics { (table(view, metric, &candidate.measurements)) }
            }
        }
    }
}

fn table(view: &View<'_>, metric: OfflineMetric, all: &[Measurement]) -> Markup {
    let slices = view.slice_names();
    let whole = on_slice(all, metric, None);
    let named: Vec<&Measurement> = slices.iter().filter_map(|slice| on_slice(all, metric, Some(slice))).collect();
    let reach = whole.iter().chain(&named).flat_map(|it| [it.difference.low, it.difference.high]);
    let reach = reach.filter(|end| end.is_finite()).fold(1e-9_f64, |reach, end| reach.max(end.abs()));
    let written = Metric(metric.as_str());
    html! {
        .scroll tabindex="0" role="region" aria-label=(format!("{} for each slice", written.label())) {
            table.figures.compact {
                caption { (format::sentence_start(&written.label())) }
                thead { tr {
                    th.text scope="col" { "Rows" }
                    th scope="col" { (term("n")) }
                    th scope="col" { "Baseline" }
                    th scope="col" { "Candidate" }
                    th scope="col" { "Difference" }
                    th.text.bar scope="col" { "Worse " span aria-hidden="true" { "← → " } "better" }
                } }
                tbody {
                    @for measurement in whole.into_iter().chain(named) { (row(written, measurement, reach)) }
                }
            }
        }
    }
}

fn row(metric: Metric<'_>, measurement: &Measurement, reach: f64) -> Markup {
    let difference = &measurement.difference;
    html! {
        tr {
            th.text scope="row" {
                @if let Some(slice) = &measurement.slice { (slice) } @else { "All rows" }
            }
            td { (format::count(difference.samples)) }
            td { (estimate(metric, Some(&measurement.baseline))) }
            td { (estimate(metric, Some(&measurement.candidate))) }
            td { (metric.difference(difference.value)) span.range { (metric.difference_interval(difference)) } }
            td.text.bar { (bar(measurement, reach)) }
        }
    }
}

/// The difference with its interval around zero, worse to the left.
fn bar(measurement: &Measurement, reach: f64) -> Markup {
    let way = if measurement.metric.higher_is_better() { 1.0 } else { -1.0 };
    let scale = Linear::new((-reach * 1.05, reach * 1.05), (4.0, WIDTH - 4.0));
    let difference = &measurement.difference;
    let known = [difference.value, difference.low, difference.high].iter().all(|end| end.is_finite());
    let x = |value: f64| scale.at(value * way);
    let middle = HEIGHT / 2.0;
    html! {
        svg.forest viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) width=(WIDTH) height=(HEIGHT) aria-hidden="true" {
            line.zero x1=(px(scale.at(0.0))) x2=(px(scale.at(0.0))) y1="0" y2=(px(HEIGHT)) {}
            @if known {
                line.whisker.all x1=(px(x(difference.low))) x2=(px(x(difference.high))) y1=(px(middle)) y2=(px(middle)) {}
                circle.dot.all cx=(px(x(difference.value))) cy=(px(middle)) r="4" {}
            }
        }
    }
}
