//! From time to pixels. Long phases are drawn shorter and the shortest stay visible: a rollback of half a second after a
//! day of watching must not vanish.

use jiff::Timestamp;
use sentei_api::Phase;

use crate::input::Look;

/// The most of the width that one phase may take beside others.
const MOST: f64 = 0.4;
/// The least.
const LEAST: f64 = 0.025;

/// A stretch of looks in one phase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Band {
    pub phase: Phase,
    /// Seconds since the first look.
    pub from: f64,
    /// Seconds since the first look.
    pub until: f64,
}

/// Time to pixels, straight within each phase.
#[derive(Clone, Debug)]
pub struct TimeScale {
    start: Timestamp,
    pub bands: Vec<Band>,
    /// Seconds since the first look, and their pixel; rising.
    knots: Vec<(f64, f64)>,
}

impl TimeScale {
    /// A scale over all looks.
    pub fn new(looks: &[&Look], pixels: (f64, f64)) -> Self {
        let start = looks.first().map_or(Timestamp::UNIX_EPOCH, |look| look.time);
        let bands = bands(looks, start);
        let whole: f64 = bands.iter().map(|band| band.until - band.from).sum();
        let alone = bands.len() == 1;
        let share = |band: &Band| {
            let share = (band.until - band.from) / whole.max(1e-9);
            if alone { 1.0 } else { share.clamp(LEAST, MOST) }
        };
        let total: f64 = bands.iter().map(share).sum();
        let mut knots = vec![(0.0, pixels.0)];
        let mut x = pixels.0;
        for band in &bands {
            x += share(band) / total * (pixels.1 - pixels.0);
            knots.push((band.until, x));
        }
        Self { start, bands, knots }
    }

    /// Seconds since the first look.
    pub fn seconds(&self, time: Timestamp) -> f64 {
        time.duration_since(self.start).as_secs_f64()
    }

    /// The pixel of a moment.
    pub fn at(&self, time: Timestamp) -> f64 {
        self.at_seconds(self.seconds(time))
    }

    /// The pixel of a moment in seconds since the first look; moments outside are drawn at the edge.
    pub fn at_seconds(&self, seconds: f64) -> f64 {
        let first = self.knots.first().map_or(0.0, |knot| knot.1);
        let pair = self.knots.windows(2).find(|pair| seconds <= pair[1].0);
        match pair {
            Some([(from, left), (until, right)]) if until > from => {
                left + ((seconds - from) / (until - from)).clamp(0.0, 1.0) * (right - left)
            }
            Some(pair) => pair[0].1,
            None => self.knots.last().map_or(first, |knot| knot.1),
        }
    }

    /// Round moments, at least `apart` pixels from each other, as seconds since the first look.
    pub fn ticks(&self, apart: f64) -> Vec<f64> {
        const STEPS: [f64; 17] = [
            0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 21600.0,
            86400.0,
        ];
        let whole = self.bands.last().map_or(0.0, |band| band.until);
        let width = self.at_seconds(whole) - self.at_seconds(0.0);
        let Some(step) = STEPS.into_iter().find(|step| whole / step * apart <= width).or(STEPS.last().copied()) else {
            return Vec::new();
        };
        let mut kept: Vec<f64> = Vec::new();
        for tick in (0..).map(|index| f64::from(index) * step).take_while(|tick| *tick <= whole).take(4096) {
            if kept.last().is_none_or(|last| self.at_seconds(tick) - self.at_seconds(*last) >= apart) {
                kept.push(tick);
            }
        }
        kept
    }
}

fn bands(looks: &[&Look], start: Timestamp) -> Vec<Band> {
    let mut bands: Vec<Band> = Vec::new();
    for look in looks {
        let now = look.time.duration_since(start).as_secs_f64();
        match bands.last_mut() {
            Some(band) if band.phase == look.phase => band.until = band.until.max(now),
            Some(band) => {
                band.until = band.until.max(now);
                let from = band.until;
                bands.push(Band { phase: look.phase, from, until: from });
            }
            None => bands.push(Band { phase: look.phase, from: now, until: now }),
        }
    }
    // A phase entered at the last look would have no length, and so no place.
    if let Some(band) = bands.last_mut() {
        band.until = band.until.max(band.from + (band.from * 0.01).max(1e-3));
    }
    bands
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::*;

    fn look(second: i64, phase: Phase) -> Look {
        let time = Timestamp::UNIX_EPOCH + second.seconds();
        Look { time, phase, step: 0, weight_desired: 0, weight_seen: None, metrics: Vec::new() }
    }

    #[test]
    fn a_long_watch_leaves_room_for_the_steps_before_it() {
        let looks = [
            look(0, Phase::Progressing),
            look(100, Phase::Watching),
            look(86_400, Phase::Watching),
            look(86_401, Phase::RolledBack),
        ];
        let looks: Vec<&Look> = looks.iter().collect();
        let scale = TimeScale::new(&looks, (0.0, 1000.0));
        let steps = scale.at_seconds(100.0);
        assert!(steps > 50.0, "the steps keep {steps} pixels");
        let (watched, back) = (scale.at_seconds(86_400.0), scale.at_seconds(86_401.0));
        assert!(watched < back && back < 999.0, "the rollback at {back} has a place after {watched}");
    }

    #[test]
    fn a_single_look_has_a_place() {
        let only = look(0, Phase::Shadowing);
        assert!(TimeScale::new(&[&only], (10.0, 20.0)).at(only.time).is_finite());
    }
}
