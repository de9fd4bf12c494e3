//! The rollout drawn over time: weight and phases above, one strip for each watched metric below.

mod scale;
mod strip;
mod weights;

use maud::{Markup, html};

use crate::{
    format,
    input::Look,
    svg::px,
    timeline::{scale::TimeScale, strip::Key},
};

/// Metrics drawn; the manifest allows 32.
const STRIPS: usize = 32;
/// Looks drawn; more would fall on the same pixels.
const LOOKS_DRAWN: usize = 1200;

/// Places inside one drawing.
#[derive(Clone, Copy)]
pub struct Frame {
    pub width: f64,
    pub left: f64,
    pub right: f64,
    /// A narrow screen: headings take two lines, labels are fewer.
    pub slim: bool,
}

impl Frame {
    const WIDE: Self = Self { width: 1080.0, left: 56.0, right: 1068.0, slim: false };
    const SLIM: Self = Self { width: 380.0, left: 56.0, right: 374.0, slim: true };
}

/// The drawing in two widths, of which the style shows one, and its legend.
pub fn figure(looks: &[Look]) -> Markup {
    let drawn = thin(looks);
    html! {
        (legend())
        figure.timeline {
            .wide { (draw(&drawn, Frame::WIDE)) }
            .slim { (draw(&drawn, Frame::SLIM)) }
        }
    }
}

fn draw(looks: &[&Look], frame: Frame) -> Markup {
    let scale = TimeScale::new(looks, (frame.left, frame.right));
    let keys = Key::all(looks, STRIPS);
    let height = weights::HEIGHT + keys.len() as f64 * strip::height(frame);
    html! {
        svg.chart viewBox=(format!("0 0 {} {}", frame.width, px(height))) role="img" aria-label=(summary(looks, &keys)) {
            (weights::draw(looks, &scale, frame, height))
            @for (index, key) in keys.iter().enumerate() {
                (strip::draw(looks, *key, &scale, frame, weights::HEIGHT + index as f64 * strip::height(frame)))
            }
        }
    }
}

fn legend() -> Markup {
    let key = |class: &str, shape: Markup| {
        html! { svg.key.long viewBox="0 0 26 14" width="26" height="14" aria-hidden="true" { g class=(class) { (shape) } } }
    };
    let line = || html! { line x1="1" x2="25" y1="7" y2="7" {} };
    let lane = || html! { rect x="1" y="4" width="24" height="6" {} };
    html! {
        ul.legend aria-label="Legend" {
            li { (key("line cand", line())) "candidate" }
            li { (key("line base", line())) "baseline" }
            li { (key("line limit", line())) "limit" }
            li { (key("seen", html! { circle cx="5" cy="7" r="1.6" {} circle cx="13" cy="7" r="1.6" {} circle cx="21" cy="7" r="1.6" {} })) "weight seen in the counters" }
            li { (key("lane pass", lane())) "✓ within the limit" }
            li { (key("lane open", lane())) (crate::words::term("inconclusive")) }
            li { (key("lane nodata", lane())) "no data" }
            li { (key("lane fail", lane())) "✕ " (crate::words::term("breach")) }
        }
    }
}

/// Keeps every change and its neighbour, the ends, and an even sample of the rest.
fn thin(looks: &[Look]) -> Vec<&Look> {
    let every = looks.len().div_ceil(LOOKS_DRAWN).max(1);
    let changes = |one: &Look, other: &Look| {
        one.phase != other.phase
            || one.weight_desired != other.weight_desired
            || one.metrics.len() != other.metrics.len()
            || one.metrics.iter().zip(&other.metrics).any(|(one, other)| one.verdict != other.verdict)
    };
    let kept = |index: usize| {
        let differs = |neighbour: Option<&Look>| neighbour.is_some_and(|neighbour| changes(&looks[index], neighbour));
        index.is_multiple_of(every)
            || index + 1 == looks.len()
            || differs(looks.get(index + 1))
            || (index > 0 && differs(looks.get(index - 1)))
    };
    looks.iter().enumerate().filter(|(index, _)| kept(*index)).map(|(_, look)| look).collect()
}

/// What the picture says, for those who do not see it.
fn summary(looks: &[&Look], keys: &[Key<'_>]) -> String {
    let mut weights: Vec<u8> = looks.iter().map(|look| look.weight_desired).collect();
    weights.dedup();
    let weights: Vec<String> = weights.iter().map(ToString::to_string).collect();
    let span =
        looks.first().zip(looks.last()).map_or(0.0, |(one, last)| last.time.duration_since(one.time).as_secs_f64());
    let phase = looks.last().map(|look| look.phase.to_string()).unwrap_or_default();
    let metrics: Vec<String> = keys.iter().map(|key| key.last(looks)).collect();
    format!(
        "The candidate's weight over {}: {} percent, ending in phase {phase}. {}.",
        format::duration(span),
        weights.join(", "),
        metrics.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use jiff::{Timestamp, ToSpan};
    use sentei_api::Phase;

    use super::*;

    fn look(second: i64, weight: u8) -> Look {
        Look {
            time: Timestamp::UNIX_EPOCH + second.seconds(),
            phase: Phase::Progressing,
            step: 0,
            weight_desired: weight,
            weight_seen: None,
            metrics: Vec::new(),
        }
    }

    #[test]
    fn a_day_of_looks_is_thinned_but_no_change_is_lost() {
        let looks: Vec<Look> = (0..86_400).map(|second| look(second, if second == 40_001 { 7 } else { 5 })).collect();
        let drawn = thin(&looks);
        assert!(drawn.len() < LOOKS_DRAWN + 10, "{}", drawn.len());
        assert!(drawn.iter().any(|look| look.weight_desired == 7));
        assert_eq!(drawn.last().map(|look| look.time), looks.last().map(|look| look.time));
    }
}
