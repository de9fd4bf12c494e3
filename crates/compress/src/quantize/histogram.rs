//! How a tensor's values are spread, counted as they stream past.
//!
//! Bins are `2^k` wide and aligned at zero, and `k` depends on the extremes alone. So the histogram of a set of values is
//! the same in whatever order and in whatever batches they came, growing the range merges bins in pairs and is exact,
//! and no bin straddles zero.

/// Most bins a histogram keeps: 8 per step of an 8-bit code, as in ONNX Runtime's calibrators.
pub const BINS: usize = 2048;

/// Counts of the values of one tensor. A few kilobytes, however many values it has seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Bin width is `2^exponent`.
    exponent: i32,
    /// Number of the first bin, counting from the one that begins at zero.
    first: i64,
    counts: Vec<u64>,
    /// Exact zeros are kept apart: after a rectifier they are most of the values, and quantise without error.
    zeros: u64,
    total: u64,
    minimum: f32,
    maximum: f32,
}

/// A value that is infinite or not a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a value that is not finite")]
pub struct NotFinite;

impl Default for Histogram {
    fn default() -> Self {
        Self {
            exponent: 0,
            first: 0,
            counts: Vec::new(),
            zeros: 0,
            total: 0,
            minimum: f32::INFINITY,
            maximum: f32::NEG_INFINITY,
        }
    }
}

impl Histogram {
    /// Counts `values`.
    ///
    /// # Errors
    /// [`NotFinite`], with nothing counted, when one of them is infinite or not a number.
    pub fn add(&mut self, values: &[f32]) -> Result<(), NotFinite> {
        let (mut lowest, mut highest, mut sum) = (f32::INFINITY, f32::NEG_INFINITY, 0.0_f64);
        for &value in values {
            lowest = lowest.min(value);
            highest = highest.max(value);
            // Carries any infinity or NaN to the test below, without a branch per value.
            sum += f64::from(value);
        }
        if !sum.is_finite() {
            return Err(NotFinite);
        }
        if values.is_empty() {
            return Ok(());
        }
        self.minimum = self.minimum.min(lowest);
        self.maximum = self.maximum.max(highest);
        self.widen();
        let per_width = scale(-self.exponent);
        for &value in values {
            if value == 0.0 {
                self.zeros += 1;
            } else {
                let bin = (f64::from(value) * per_width).floor() as i64 - self.first;
                self.counts[bin as usize] += 1;
            }
        }
        self.total += values.len() as u64;
        Ok(())
    }

    /// Values counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Values that were exactly zero.
    #[must_use]
    pub fn zeros(&self) -> u64 {
        self.zeros
    }

    /// The smallest value, or 0 if that is smaller: codes must hold zero exactly.
    #[must_use]
    pub fn lowest(&self) -> f32 {
        self.minimum.min(0.0)
    }

    /// The largest value, or 0 if that is larger.
    #[must_use]
    pub fn highest(&self) -> f32 {
        self.maximum.max(0.0)
    }

    /// The width of a bin.
    #[must_use]
    pub fn width(&self) -> f64 {
        if self.counts.is_empty() { 0.0 } else { scale(self.exponent) }
    }

    /// Bins from lowest to highest: (centre, values in it). Exact zeros are in none.
    pub fn bins(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let width = self.width();
        (self.first..).zip(&self.counts).map(move |(bin, &count)| ((bin as f64 + 0.5) * width, count))
    }

    /// Makes the bins cover the extremes.
    fn widen(&mut self) {
        let (lowest, highest) = (f64::from(self.lowest()), f64::from(self.highest()));
        let reach = highest.max(-lowest);
        if reach == 0.0 {
            return;
        }
        let numbers = |exponent: i32| {
            let per_width = scale(-exponent);
            ((lowest * per_width).floor() as i64, (highest * per_width).floor() as i64)
        };
        // The exponent at which the larger side alone takes at most half of the bins surely fits; try finer ones first.
        let fitting = reach.log2().ceil() as i32 - (BINS.ilog2() as i32) + 2;
        let exponent = (fitting - 4..fitting)
            .find(|&exponent| {
                let (first, last) = numbers(exponent);
                last - first < BINS as i64
            })
            .unwrap_or(fitting);
        let (first, last) = numbers(exponent);
        let mut counts = vec![0; (last - first + 1) as usize];
        for (bin, &count) in (self.first..).zip(&self.counts).filter(|(_, count)| **count > 0) {
            // An arithmetic shift rounds down, as merging pairs does.
            counts[((bin >> (exponent - self.exponent).min(63)) - first) as usize] += count;
        }
        (self.exponent, self.first, self.counts) = (exponent, first, counts);
    }
}

fn scale(exponent: i32) -> f64 {
    f64::from(exponent).exp2()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(batches: &[&[f32]]) -> Histogram {
        let mut histogram = Histogram::default();
        for batch in batches {
            histogram.add(batch).expect("finite");
        }
        histogram
    }

    #[test]
    fn a_value_that_is_not_finite_is_refused_and_nothing_is_counted() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut histogram = of(&[&[1.0]]);
            assert_eq!(histogram.add(&[2.0, bad, 3.0]), Err(NotFinite));
            assert_eq!(histogram, of(&[&[1.0]]));
        }
    }

    #[test]
    fn zeros_and_nothing_have_no_width() {
        assert_eq!(of(&[]).bins().count(), 0);
        let zeros = of(&[&[0.0, -0.0]]);
        assert_eq!((zeros.zeros(), zeros.total(), zeros.width()), (2, 2, 0.0));
        assert_eq!((zeros.lowest(), zeros.highest()), (0.0, 0.0));
    }

    #[test]
    fn a_constant_far_from_zero_keeps_zero_in_reach() {
        let histogram = of(&[&[5.0; 4]]);
        assert_eq!((histogram.lowest(), histogram.highest()), (0.0, 5.0));
        assert_eq!(histogram.bins().map(|(_, count)| count).sum::<u64>(), 4);
    }

    proptest! {
        #[test]
        fn the_order_and_the_batches_do_not_matter(
            mut values in proptest::collection::vec(-1e6_f32..1e6, 1..200),
            tiny in proptest::collection::vec(-1e-6_f32..1e-6, 1..200),
            cut in 0_usize..400,
        ) {
            values.extend(tiny);
            let whole = of(&[&values]);
            values.sort_by(f32::total_cmp);
            let (left, right) = values.split_at(cut.min(values.len()));
            let parts = of(&[right, left]);
            prop_assert_eq!(whole, parts);
        }

        #[test]
        fn every_value_is_counted_once_in_at_most_2048_bins_and_at_least_1022(
            values in proptest::collection::vec(-1e3_f32..1e3, 1..300),
            magnitude in -30_i32..30,
        ) {
            let values: Vec<f32> = values.iter().map(|value| value * 2_f32.powi(magnitude)).collect();
            let histogram = of(&[&values]);
            let bins = histogram.bins().count();
            prop_assert!(bins <= BINS);
            prop_assert!(bins >= BINS / 2 - 2 || histogram.width() == 0.0, "{} bins", bins);
            prop_assert_eq!(histogram.bins().map(|(_, count)| count).sum::<u64>() + histogram.zeros(), values.len() as u64);
            for value in values.into_iter().filter(|value| *value != 0.0) {
                let near = |(centre, count): (f64, u64)| count > 0 && (centre - f64::from(value)).abs() <= histogram.width() / 2.0;
                prop_assert!(histogram.bins().any(near), "{value} is in no bin");
            }
        }
    }
}
