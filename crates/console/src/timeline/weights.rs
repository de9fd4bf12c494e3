//! The upper part: the candidate's weight, asked for and seen, with the phases as bands.

use maud::{Markup, html};
use sentei_api::Phase;

use super::{
    Frame,
    scale::{Band, TimeScale},
};
use crate::{
    format,
    input::Look,
    svg::{Linear, px, stairs},
};

const TOP: f64 = 28.0;
const BOTTOM: f64 = 168.0;
/// Everything down to where the strips begin.
pub const HEIGHT: f64 = 206.0;
/// Pixels a letter of a phase's name takes.
const LETTER: f64 = 6.6;

/// `whole` is the height of the drawing: the bands go through to the last strip.
pub fn draw(looks: &[&Look], scale: &TimeScale, frame: Frame, whole: f64) -> Markup {
    let up = Linear::new((0.0, 100.0), (BOTTOM, TOP));
    let mut desired: Vec<(f64, f64)> =
        looks.iter().map(|look| (scale.at(look.time), up.at(f64::from(look.weight_desired)))).collect();
    desired.extend(desired.last().map(|(_, y)| (frame.right, *y)));
    let seen = looks.iter().filter_map(|look| {
        let weight = look.weight_seen.filter(|weight| weight.is_finite())?;
        Some((scale.at(look.time), up.at(weight)))
    });
    let apart = if frame.slim { 56.0 } else { 72.0 };
    html! {
        @for (index, band) in scale.bands.iter().enumerate() { (phase(index, band, scale, whole)) }
        g.grid {
            @for tick in [0.0, 50.0, 100.0] {
                line x1=(px(frame.left)) x2=(px(frame.right)) y1=(px(up.at(tick))) y2=(px(up.at(tick))) {}
                text.end x=(px(frame.left - 8.0)) y=(px(up.at(tick) + 4.0)) { (tick) "\u{a0}%" }
            }
            @for tick in scale.ticks(apart) {
                @let x = scale.at_seconds(tick);
                @if x < frame.right - 24.0 || tick == 0.0 {
                    line.tick x1=(px(x)) x2=(px(x)) y1=(px(BOTTOM)) y2=(px(BOTTOM + 5.0)) {}
                    text x=(px(x)) y=(px(BOTTOM + 20.0)) .mid[tick > 0.0] { (elapsed(tick)) }
                }
            }
        }
        g.seen { @for (x, y) in seen { circle cx=(px(x)) cy=(px(y)) r="1.6" {} } }
        path.line.cand d=(stairs(&desired)) {}
    }
}

fn phase(index: usize, band: &Band, scale: &TimeScale, whole: f64) -> Markup {
    let (left, right) = (scale.at_seconds(band.from), scale.at_seconds(band.until));
    let name = band.phase.to_string();
    let bad = matches!(band.phase, Phase::RollingBack | Phase::RolledBack);
    let class = if bad {
        "band bad"
    } else if index.is_multiple_of(2) {
        "band"
    } else {
        "band odd"
    };
    html! {
        rect class=(class) x=(px(left)) width=(px(right - left)) y="0" height=(px(whole)) {
            title { (name) ", " (format::duration(band.until - band.from)) }
        }
        @if right - left > name.len() as f64 * LETTER + 8.0 {
            text.phase x=(px(left + 6.0)) y="16" { (name) }
        }
    }
}

/// Whole units only: ticks are round.
fn elapsed(seconds: f64) -> String {
    if seconds == 0.0 {
        return "start".to_owned();
    }
    if seconds < 120.0 {
        return format!("{seconds}\u{a0}s");
    }
    if seconds < 7200.0 { format!("{}\u{a0}min", seconds / 60.0) } else { format!("{}\u{a0}h", seconds / 3600.0) }
}
