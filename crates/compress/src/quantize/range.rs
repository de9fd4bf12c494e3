//! From a histogram to an 8-bit code: which range to spend the 256 levels on.

use super::histogram::Histogram;

/// How the range of an activation is chosen from what calibration saw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// All of it: nothing seen is clipped.
    MinMax,
    /// All but a share of the values, cut evenly from both ends; in percent, (50, 100]. 99.99 is customary.
    Percentile(f64),
    /// The range whose clipped and coded distribution has the least Kullback-Leibler divergence from the true one
    /// (Migacz, "8-bit inference with `TensorRT`", 2017). It clips hard: meant for long tails, and not among the defaults.
    Entropy,
    /// The range with the least mean squared error of the coded values, rounding and clipping together.
    MeanSquaredError,
}

/// A code `value = scale * (code - zero_point)` with `code` in 0..=255. Zero has a code of its own: padding is exact.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    /// The step between neighbouring codes, positive.
    pub scale: f32,
    /// The code of zero.
    pub zero_point: u8,
}

/// An end of a range is moved inwards in this many steps, at most to an eighth of where it was.
const STEPS: u32 = 112;

impl Affine {
    /// The code that spreads 256 levels over `lowest ..= highest`, extended to hold zero.
    #[must_use]
    pub fn covering(lowest: f32, highest: f32) -> Self {
        let (lowest, highest) = (lowest.min(0.0), highest.max(0.0));
        // Subnormal steps would make `1 / scale` infinite.
        let scale = (highest / 255.0 - lowest / 255.0).max(f32::MIN_POSITIVE);
        if highest <= lowest {
            return Self { scale: 1.0, zero_point: 0 };
        }
        Self { scale, zero_point: (-lowest / scale).round_ties_even().clamp(0.0, 255.0) as u8 }
    }

    /// The value that stands for `value`.
    #[must_use]
    pub fn round_trip(self, value: f64) -> f64 {
        let (scale, zero) = (f64::from(self.scale), f64::from(self.zero_point));
        scale * ((value / scale).round_ties_even().clamp(-zero, 255.0 - zero))
    }

    /// Mean squared difference between the values counted and what stands for them.
    #[must_use]
    pub fn squared_error(self, histogram: &Histogram) -> f64 {
        if histogram.total() == 0 {
            return 0.0;
        }
        let sum: f64 = histogram
            .bins()
            .filter(|&(_, count)| count > 0)
            .map(|(centre, count)| count as f64 * (centre - self.round_trip(centre)).powi(2))
            .sum();
        sum / histogram.total() as f64
    }
}

/// The code for the values counted, by `method`.
#[must_use]
pub fn choose(histogram: &Histogram, method: Method) -> Affine {
    let full = (histogram.lowest(), histogram.highest());
    let (lowest, highest) = match method {
        Method::MinMax => full,
        Method::Percentile(percent) => percentile(histogram, percent),
        Method::Entropy => narrowed(full, |lowest, highest| divergence(histogram, lowest, highest)),
        Method::MeanSquaredError => {
            narrowed(full, |lowest, highest| Affine::covering(lowest, highest).squared_error(histogram))
        }
    };
    Affine::covering(lowest, highest)
}

/// The ends that leave `(100 - percent) / 2` percent of the values beyond each, to the nearest bin, inside the extremes.
fn percentile(histogram: &Histogram, percent: f64) -> (f32, f32) {
    let cut = (1.0 - (percent / 100.0).clamp(0.5, 1.0)) / 2.0 * histogram.total() as f64;
    let half = histogram.width() / 2.0;
    let (mut below, mut above) = (0.0, histogram.total() as f64);
    let (mut lowest, mut highest) = (0.0_f64, 0.0_f64);
    // Zeros sit between the bins on its two sides; zero itself is always in the range, so they only count.
    let mut zeros = histogram.zeros() as f64;
    for (centre, count) in histogram.bins() {
        if centre > 0.0 {
            below += std::mem::take(&mut zeros);
        }
        let edge = below + count as f64;
        if below <= cut && edge > cut {
            lowest = (centre - half).min(0.0);
        }
        above = histogram.total() as f64 - edge;
        if above <= cut && histogram.total() as f64 - below > cut {
            highest = (centre + half).max(0.0);
        }
        below = edge;
    }
    debug_assert!(above >= 0.0, "no more values above than in all");
    ((lowest as f32).max(histogram.lowest()), (highest as f32).min(histogram.highest()))
}

/// Moves one end inwards, then the other, to where `cost` is least; twice, because each depends on the other.
fn narrowed(full: (f32, f32), cost: impl Fn(f32, f32) -> f64) -> (f32, f32) {
    let (mut lowest, mut highest) = full;
    let mut least = cost(lowest, highest);
    for _ in 0..2 {
        for upper in [true, false] {
            for step in 1..STEPS {
                let share = 1.0 - step as f32 / 128.0;
                let candidate = if upper { (lowest, full.1 * share) } else { (full.0 * share, highest) };
                if candidate.0 >= candidate.1 {
                    continue;
                }
                let found = cost(candidate.0, candidate.1);
                if found < least {
                    (least, lowest, highest) = (found, candidate.0, candidate.1);
                }
            }
        }
    }
    (lowest, highest)
}

/// Kullback-Leibler divergence of the values clipped to a range from the same coded in 256 levels. Within a level the
/// code knows only the sum, so it spreads it evenly over the bins that were not empty.
fn divergence(histogram: &Histogram, lowest: f32, highest: f32) -> f64 {
    let code = Affine::covering(lowest, highest);
    let (scale, zero) = (f64::from(code.scale), f64::from(code.zero_point));
    let level = |centre: f64| ((centre / scale).round_ties_even() + zero).clamp(0.0, 255.0) as usize;
    let inside = |centre: f64| centre > f64::from(lowest) && centre < f64::from(highest);
    let (mut sums, mut kept) = ([0.0_f64; 256], [0_u32; 256]);
    let mut clipped = [0.0_f64; 2];
    for (centre, count) in histogram.bins().filter(|&(_, count)| count > 0) {
        if inside(centre) {
            sums[level(centre)] += count as f64;
            kept[level(centre)] += 1;
        } else {
            clipped[usize::from(centre > 0.0)] += count as f64;
        }
    }
    let total = (histogram.total() - histogram.zeros()) as f64;
    let coded: f64 = sums.iter().sum();
    if coded <= 0.0 {
        return f64::INFINITY;
    }
    // What is clipped lands in the outermost bin kept on its side; the code does not know it was more.
    let outermost = |side: f64| {
        let kept = histogram.bins().filter(|&(centre, count)| count > 0 && inside(centre) && centre * side > 0.0);
        kept.map(|(centre, _)| centre).max_by(|a, b| a.abs().total_cmp(&b.abs()))
    };
    let ends = [outermost(-1.0), outermost(1.0)];
    if ends.iter().zip(clipped).any(|(end, clipped)| end.is_none() && clipped > 0.0) {
        return f64::INFINITY;
    }
    let mut sum = 0.0;
    for (centre, count) in histogram.bins().filter(|&(centre, count)| count > 0 && inside(centre)) {
        let extra: f64 =
            ends.iter().zip(clipped).filter(|(end, _)| **end == Some(centre)).map(|(_, extra)| extra).sum();
        let p = (count as f64 + extra) / total;
        let q = sums[level(centre)] / f64::from(kept[level(centre)]) / coded;
        sum += p * (p / q).ln();
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Method; 4] = [Method::MinMax, Method::Percentile(99.99), Method::Entropy, Method::MeanSquaredError];

    fn of(values: &[f32]) -> Histogram {
        let mut histogram = Histogram::default();
        histogram.add(values).expect("finite");
        histogram
    }

    /// Numbers that fall like a bell around zero, the same each time: the sum of twelve uniform ones.
    fn bell(count: usize) -> Vec<f32> {
        let mut state = 1_u64;
        let mut uniform = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1_u64 << 24) as f32
        };
        (0..count).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect()
    }

    fn ends(code: Affine) -> (f64, f64) {
        (code.round_trip(f64::MIN), code.round_trip(f64::MAX))
    }

    #[test]
    fn what_is_never_negative_spends_all_levels_above_zero() {
        let values: Vec<f32> = bell(10_000).into_iter().map(|value| value.max(0.0)).collect();
        for method in ALL {
            assert_eq!(choose(&of(&values), method).zero_point, 0, "{method:?}");
        }
    }

    #[test]
    fn a_lone_outlier_stretches_what_counts_its_error() {
        let mut values = bell(50_000);
        values.push(100.0);
        let histogram = of(&values);
        // One value in fifty thousand is rare, but clipping it to 6 costs more squared error than all the rounding.
        for method in [Method::MinMax, Method::MeanSquaredError] {
            assert!(ends(choose(&histogram, method)).1 > 80.0, "{method:?}");
        }
        for method in [Method::Percentile(99.99), Method::Entropy] {
            let highest = ends(choose(&histogram, method)).1;
            assert!(highest > 2.5 && highest < 20.0, "{method:?}: {highest}");
        }
    }

    #[test]
    fn a_percentile_is_within_a_bin_of_the_sorted_values() {
        let mut values = bell(100_000);
        let histogram = of(&values);
        let (lowest, highest) = percentile(&histogram, 99.0);
        values.sort_by(f32::total_cmp);
        assert!((f64::from(lowest) - f64::from(values[500])).abs() <= histogram.width());
        assert!((f64::from(highest) - f64::from(values[99_499])).abs() <= histogram.width());
        // numpy.percentile(values, [0.5, 99.5]) of a standard bell: -+2.576.
        assert!((f64::from(highest) - 2.576).abs() < 0.06, "{highest}");
    }

    #[test]
    fn the_counted_error_is_the_true_one() {
        let values = bell(20_000);
        let histogram = of(&values);
        for highest in [1.0_f32, 3.0, 6.0] {
            let code = Affine::covering(-highest, highest);
            let true_error =
                values.iter().map(|&v| (f64::from(v) - code.round_trip(f64::from(v))).powi(2)).sum::<f64>()
                    / values.len() as f64;
            let counted = code.squared_error(&histogram);
            assert!((counted / true_error - 1.0).abs() < 0.05, "{counted} for {true_error}");
        }
    }

    #[test]
    fn nothing_seen_gets_a_usable_code() {
        for method in ALL {
            for histogram in [Histogram::default(), of(&[0.0; 3])] {
                assert_eq!(choose(&histogram, method), Affine { scale: 1.0, zero_point: 0 });
            }
        }
    }

    proptest! {
        #[test]
        fn zero_is_exact_and_the_least_error_is_not_above_the_full_ranges(
            values in proptest::collection::vec(-1e3_f32..1e3, 1..400),
            magnitude in -20_i32..20,
        ) {
            let values: Vec<f32> = values.into_iter().map(|value| value * 2_f32.powi(magnitude)).collect();
            let histogram = of(&values);
            let full = choose(&histogram, Method::MinMax);
            for method in ALL {
                let code = choose(&histogram, method);
                prop_assert!(code.scale > 0.0 && code.scale <= full.scale * 1.001);
                prop_assert!(code.round_trip(0.0).abs() <= 0.0);
            }
            let least = choose(&histogram, Method::MeanSquaredError).squared_error(&histogram);
            prop_assert!(least <= full.squared_error(&histogram) * (1.0 + 1e-9));
            for value in values {
                prop_assert!((full.round_trip(f64::from(value)) - f64::from(value)).abs() <= f64::from(full.scale) * 1.01);
            }
        }
    }
}
