//! One panel of the frontier: a cost across, the main metric up.

use maud::{Markup, html};
use sentei_api::evidence::{Candidate, Cost, Estimate};

use crate::{
    format,
    svg::{Linear, log_ticks, px},
    view::View,
};

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 18.0;
const BOTTOM: f64 = 52.0;
/// Pixels between a candidate's two points, so that their intervals do not hide each other.
const APART: f64 = 5.0;

/// Which cost a panel shows.
#[derive(Clone, Copy)]
pub struct Panel {
    axis: &'static str,
    cost: fn(&Cost) -> f64,
    write: fn(f64) -> String,
}

impl Panel {
    pub const SIZE: Self = Self { axis: "File size", cost: |cost| cost.size as f64, write: format::bytes };
    pub const LATENCY: Self =
        Self { axis: "Latency p50, one row, one thread", cost: |cost| cost.latency_p50, write: format::seconds };
}

/// A key of the legend.
pub fn sample(class: &str, shape: &Markup) -> Markup {
    html! { svg.key viewBox="0 0 14 14" width="14" height="14" aria-hidden="true" { g class=(class) { (shape) } } }
}

/// One candidate's place.
struct Point<'a> {
    number: usize,
    cost: f64,
    all: Option<&'a Estimate>,
    worst: Option<&'a Estimate>,
    candidate: &'a Candidate,
}

/// The panel, or a sentence when there is nothing to draw.
pub fn draw(view: &View<'_>, panel: Panel) -> Markup {
    let points: Vec<Point<'_>> = view.candidates.iter().enumerate().map(|(i, it)| point(view, panel, i, it)).collect();
    let drawable = |point: &&Point<'_>| point.cost.is_finite() && point.cost > 0.0 && point.all.is_some();
    let points: Vec<&Point<'_>> = points.iter().filter(drawable).collect();
    if points.is_empty() {
        return html! { figure { figcaption { (panel.axis) } p.empty { (format::MISSING) } } };
    }
    let baseline = view.baseline_cost().map(panel.cost).filter(|cost| cost.is_finite() && *cost > 0.0);
    let metric = view.written();
    let reference = view.candidates.iter().find_map(|it| view.overall(it)).map(|it| it.baseline.value);

    let costs = || points.iter().map(|point| point.cost).chain(baseline);
    let low_cost = costs().fold(f64::INFINITY, f64::min) / 1.2;
    let high_cost = costs().fold(0.0, f64::max) * 1.2;
    let across = Linear::new((low_cost.ln(), high_cost.ln()), (LEFT, WIDTH - RIGHT));
    let x = |cost: f64| across.at(cost.ln());

    let estimates = || points.iter().flat_map(|point| [point.all, point.worst]).flatten();
    let ends = || estimates().flat_map(|it| [it.low, it.high, it.value]).chain(reference).filter(|end| end.is_finite());
    let (low, high) = ends().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), end| (low.min(end), high.max(end)));
    let (least, most) = metric.range();
    let room = (high - low).max(1e-6) * 0.08;
    let up = Linear::new(((low - room).max(least), (high + room).min(most)), (HEIGHT - BOTTOM, TOP));

    html! {
        figure {
            figcaption { (format::sentence_start(&metric.label())) " against " (lower_first(panel.axis)) }
            svg.chart viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(summary(view, panel, &points)) {
                g.grid {
                    @for tick in up.ticks(5) {
                        line x1=(px(LEFT)) x2=(px(WIDTH - RIGHT)) y1=(px(up.at(tick))) y2=(px(up.at(tick))) {}
                        text.end x=(px(LEFT - 8.0)) y=(px(up.at(tick) + 4.0)) { (format::round(&metric.value(tick))) }
                    }
                    @for tick in log_ticks(low_cost, high_cost) {
                        line.tick x1=(px(x(tick))) x2=(px(x(tick))) y1=(px(HEIGHT - BOTTOM)) y2=(px(HEIGHT - BOTTOM + 5.0)) {}
                        text.mid x=(px(x(tick))) y=(px(HEIGHT - BOTTOM + 20.0)) { (format::round(&(panel.write)(tick))) }
                    }
                    line.axis x1=(px(LEFT)) x2=(px(WIDTH - RIGHT)) y1=(px(HEIGHT - BOTTOM)) y2=(px(HEIGHT - BOTTOM)) {}
                    text.mid.name x=(px(f64::midpoint(LEFT, WIDTH - RIGHT))) y=(px(HEIGHT - 8.0)) { (panel.axis) " (log scale)" }
                }
                @if let Some(value) = reference {
                    line.reference x1=(px(LEFT)) x2=(px(WIDTH - RIGHT)) y1=(px(up.at(value))) y2=(px(up.at(value))) {}
                    @if let Some(cost) = baseline {
                        rect.base x=(px(x(cost) - 5.0)) y=(px(up.at(value) - 5.0)) width="10" height="10" {}
                    }
                }
                @for point in &points { (marks(view, point, x(point.cost), &up)) }
            }
        }
    }
}

fn point<'a>(view: &View<'_>, panel: Panel, index: usize, candidate: &'a Candidate) -> Point<'a> {
    let finite = |estimate: &&Estimate| estimate.value.is_finite();
    Point {
        number: index + 1,
        cost: (panel.cost)(&candidate.cost),
        all: view.overall(candidate).map(|it| &it.candidate).filter(finite),
        worst: view.worst_slice(candidate).map(|it| &it.candidate).filter(finite),
        candidate,
    }
}

fn marks(view: &View<'_>, point: &Point<'_>, x: f64, up: &Linear) -> Markup {
    let whisker = |class: &str, x: f64, estimate: &Estimate| {
        html! {
            @if estimate.low.is_finite() && estimate.high.is_finite() {
                line class=(class) x1=(px(x)) x2=(px(x)) y1=(px(up.at(estimate.low))) y2=(px(up.at(estimate.high))) {}
            }
        }
    };
    let chosen = view.is_chosen(point.candidate);
    let shift = if point.worst.is_some() { APART } else { 0.0 };
    html! {
        @if let Some(worst) = point.worst {
            @let (x, y) = (x + shift, up.at(worst.value));
            (whisker("whisker worst", x, worst))
            path.dot.worst d=(format!("M{} {}l5.5 5.5l-5.5 5.5l-5.5 -5.5Z", px(x), px(y - 5.5))) {}
        }
        @if let Some(all) = point.all {
            @let (x, y) = (x - shift, up.at(all.value));
            (whisker("whisker all", x, all))
            @if chosen { circle.ring cx=(px(x)) cy=(px(y)) r="8.5" {} }
            circle.dot.all cx=(px(x)) cy=(px(y)) r="4.5" {}
            text.mid.number.chosen[chosen] x=(px(x)) y=(px((up.at(all.high) - 6.0).min(y - 12.0).max(10.0))) {
                (point.number)
            }
        }
    }
}

/// What the picture says, for those who do not see it.
fn summary(view: &View<'_>, panel: Panel, points: &[&Point<'_>]) -> String {
    let metric = view.written();
    let each = points.iter().filter_map(|point| {
        let all = point.all?;
        let name = if view.is_chosen(point.candidate) { view.chosen_word() } else { "candidate" };
        Some(format!("{name} {}: {} at {}", point.number, (panel.write)(point.cost), metric.value(all.value)))
    });
    let each: Vec<String> = each.collect();
    format!("{} against {}. {}. The table below has every figure.", metric.label(), panel.axis, each.join("; "))
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}
