//! Small drawing code: scales, ticks, paths. A chart library would bring its own look, fonts and size.

use std::fmt::Write as _;

/// A straight line from values to pixels.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    domain: (f64, f64),
    pixels: (f64, f64),
}

impl Linear {
    /// Maps `domain` onto `pixels`; an empty domain is widened so that nothing is divided by zero.
    pub fn new(domain: (f64, f64), pixels: (f64, f64)) -> Self {
        let empty = (domain.1 - domain.0).abs() < f64::EPSILON;
        let domain = if empty { (domain.0 - 0.5, domain.1 + 0.5) } else { domain };
        Self { domain, pixels }
    }

    /// Where a value lies; values outside the domain are drawn at its edge.
    pub fn at(&self, value: f64) -> f64 {
        let share = ((value - self.domain.0) / (self.domain.1 - self.domain.0)).clamp(0.0, 1.0);
        self.pixels.0 + share * (self.pixels.1 - self.pixels.0)
    }

    /// About `count` round values inside the domain.
    pub fn ticks(&self, count: usize) -> Vec<f64> {
        let (low, high) = self.domain;
        let raw = (high - low) / count.max(1) as f64;
        let power = 10_f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * power).find(|step| *step >= raw * 0.999);
        let Some(step) = step.filter(|step| step.is_finite() && *step > 0.0) else { return Vec::new() };
        let first = (low / step - 1e-9).ceil() as i64;
        let last = (high / step + 1e-9).floor() as i64;
        (first..=last).take(64).map(|index| index as f64 * step).collect()
    }
}

/// Round values in the range: as many digits of each power of ten as make no crowd.
pub fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let usable = |value: f64| value.is_finite() && value > 0.0;
    if !usable(low) || !usable(high) {
        return Vec::new();
    }
    let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let of = |digits: &[f64]| -> Vec<f64> {
        let all = powers.clone().flat_map(|power| digits.iter().map(move |digit| digit * 10_f64.powi(power)));
        all.filter(|value| (low..=high).contains(value)).collect()
    };
    let finer: [&[f64]; 3] = [&[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], &[1.0, 2.0, 5.0], &[1.0, 3.0]];
    finer.into_iter().map(of).find(|ticks| ticks.len() <= 6).unwrap_or_else(|| of(&[1.0]))
}

/// A coordinate, to a tenth of a pixel.
pub fn px(value: f64) -> String {
    format!("{value:.1}")
}

/// A path through the points, lifted where one is missing.
pub fn path(points: impl IntoIterator<Item = Option<(f64, f64)>>) -> String {
    let mut drawn = String::new();
    let mut down = false;
    for point in points {
        match point {
            Some((x, y)) => {
                let _ = write!(drawn, "{}{} {}", if down { "L" } else { "M" }, px(x), px(y));
                down = true;
            }
            None => down = false,
        }
    }
    drawn
}

/// A path of treads and risers: each value holds until the next point.
pub fn stairs(points: &[(f64, f64)]) -> String {
    let mut drawn = String::new();
    for (index, (x, y)) in points.iter().enumerate() {
        let _ =
            if index == 0 { write!(drawn, "M{} {}", px(*x), px(*y)) } else { write!(drawn, "H{}V{}", px(*x), px(*y)) };
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let ticks = Linear::new((0.931, 0.987), (0.0, 100.0)).ticks(5);
        let read: Vec<String> = ticks.iter().map(|tick| format!("{tick:.2}")).collect();
        assert_eq!(read, ["0.94", "0.96", "0.98"]);
        assert_eq!(log_ticks(90e3, 1.2e6), [100e3, 200e3, 500e3, 1e6]);
    }

    #[test]
    fn an_empty_domain_draws_in_the_middle() {
        assert!((Linear::new((3.0, 3.0), (0.0, 100.0)).at(3.0) - 50.0).abs() < 1e-9);
    }

    #[test]
    fn a_path_is_lifted_where_a_point_is_missing() {
        let points = [Some((0.0, 0.0)), Some((1.0, 1.0)), None, Some((3.0, 0.5))];
        assert_eq!(path(points), "M0.0 0.0L1.0 1.0M3.0 0.5");
        assert_eq!(stairs(&[(0.0, 9.0), (4.0, 5.0)]), "M0.0 9.0H4.0V5.0");
    }
}
