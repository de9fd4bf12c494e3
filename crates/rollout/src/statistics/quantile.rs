//! Quantiles of durations from bucket counts: "p99 is at most L" says that at most 1 % take longer than L.
//!
//! A limit between two bucket bounds is moved to the bound that makes the answer safe: up for a breach, down for a pass.
//! So buckets should be close to each other near the limits that matter.

use super::{
    two_sample::half_at_stake,
    wealth::{Stakes, above, below, log_wealth},
};

/// How much slower than the baseline's quantile the candidate's may be: `factor · q + extra` seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuantileAllowance {
    /// At least 1.
    pub factor: f64,
    /// In seconds, at least 0.
    pub extra: f64,
}

impl QuantileAllowance {
    /// The candidate's limit in seconds for a baseline's quantile of `seconds`.
    #[must_use]
    pub fn at(self, seconds: f64) -> f64 {
        self.factor * seconds + self.extra
    }
}

/// How many took longer than the bound at `index` and how many did not; an index past the last bound means "infinitely
/// long", which none is.
fn split(counts: &[u64], index: usize) -> (u64, u64) {
    let within: u64 = counts.iter().take(index + 1).sum();
    let longer: u64 = counts.iter().skip(index + 1).sum();
    (longer, within)
}

/// Index of the smallest bound that is at least `seconds`; past the end when there is none.
fn bound_at_or_above(bounds: &[f64], seconds: f64) -> usize {
    // A bound that differs from a written limit by rounding is that limit.
    bounds.partition_point(|bound| *bound < seconds * (1.0 - 1e-9))
}

/// Index of the largest bound that is at most `seconds`.
fn bound_at_or_below(bounds: &[f64], seconds: f64) -> Option<usize> {
    bounds.partition_point(|bound| *bound <= seconds * (1.0 + 1e-9)).checked_sub(1)
}

/// Counts that speak about "at most `1 - quantile` take longer than `limit` seconds" for a breach: (longer, not longer).
#[must_use]
pub fn slower_than(bounds: &[f64], counts: &[u64], limit: f64) -> (u64, u64) {
    split(counts, bound_at_or_above(bounds, limit))
}

/// The same for a pass: what may have been longer counts as longer.
#[must_use]
pub fn perhaps_slower_than(bounds: &[f64], counts: &[u64], limit: f64) -> (u64, u64) {
    match bound_at_or_below(bounds, limit) {
        Some(index) => split(counts, index),
        None => (counts.iter().sum(), 0),
    }
}

/// Whether the counts refute "the candidate's quantile is at most what `allowance` makes of the baseline's", with wealth
/// of at least `exp(threshold)`. Both histograms have the same bounds.
///
/// The baseline's true quantile lies in one of the buckets, after bound `j - 1` and not after bound `j`. Then more than
/// `1 - quantile` of its durations are longer than bound `j - 1`, and at most `1 - quantile` of the candidate's are longer
/// than the allowance on bound `j`. For each `j` bets against both are made; the smallest product counts.
#[must_use]
pub fn refutes_within(
    bounds: &[f64],
    candidate: &[u64],
    baseline: &[u64],
    quantile: f64,
    allowance: QuantileAllowance,
    threshold: f64,
) -> bool {
    let tail = 1.0 - quantile;
    let (for_candidate, for_baseline) = (Stakes::for_loss(tail), Stakes::for_loss(quantile));
    (0..=bounds.len()).all(|bucket| {
        let baseline_is_faster = bucket.checked_sub(1).map_or(0.0, |lower| {
            let (longer, within) = split(baseline, lower);
            half_at_stake(log_wealth(&below(longer, within, tail), &for_baseline))
        });
        let candidate_is_slower = bounds.get(bucket).map_or_else(
            || half_at_stake(f64::NEG_INFINITY),
            |upper| {
                let (longer, within) = slower_than(bounds, candidate, allowance.at(*upper));
                half_at_stake(log_wealth(&above(longer, within, tail), &for_candidate))
            },
        );
        baseline_is_faster + candidate_is_slower >= threshold
    })
}

/// Whether the counts refute "more than `1 - quantile + margin` of the candidate's durations are beyond what `allowance`
/// makes of the baseline's quantile", with wealth of at least `exp(threshold)`.
#[must_use]
pub fn refutes_beyond(
    bounds: &[f64],
    candidate: &[u64],
    baseline: &[u64],
    quantile: f64,
    allowance: QuantileAllowance,
    margin: f64,
    threshold: f64,
) -> bool {
    let tail = 1.0 - quantile;
    let beyond = tail + margin;
    let (for_candidate, for_baseline) = (Stakes::for_loss(1.0 - beyond), Stakes::for_loss(tail));
    (0..=bounds.len()).all(|bucket| {
        let baseline_is_slower = if bucket < bounds.len() {
            let (longer, within) = split(baseline, bucket);
            half_at_stake(log_wealth(&above(longer, within, tail), &for_baseline))
        } else {
            half_at_stake(f64::NEG_INFINITY)
        };
        let lower = bucket.checked_sub(1).map_or(0.0, |lower| bounds[lower]);
        let (longer, within) = perhaps_slower_than(bounds, candidate, allowance.at(lower));
        let candidate_is_faster = half_at_stake(log_wealth(&below(longer, within, beyond), &for_candidate));
        baseline_is_slower + candidate_is_faster >= threshold
    })
}

/// The quantile in seconds by interpolation inside its bucket, with a 95 % interval from order statistics (the bounds
/// of the buckets that hold the ranks `n q ± 1.96 √(n q (1 - q))`); none without durations. For display only.
#[must_use]
pub fn estimate(bounds: &[f64], counts: &[u64], quantile: f64) -> Option<(f64, f64, f64)> {
    let total: u64 = counts.iter().sum();
    if total == 0 || bounds.is_empty() {
        return None;
    }
    let (n, last) = (total as f64, bounds.len() - 1);
    let spread = 1.96 * (n * quantile * (1.0 - quantile)).sqrt();
    let bucket_of = |rank: f64| {
        let mut so_far = 0;
        let found = counts.iter().position(|count| {
            so_far += count;
            so_far as f64 >= rank.clamp(1.0, n)
        });
        (found.unwrap_or(counts.len() - 1), so_far)
    };
    let lower_end = |bucket: usize| bucket.checked_sub(1).map_or(0.0, |below| bounds[below.min(last)]);
    let upper_end = |bucket: usize| bounds[bucket.min(last)];
    let rank = (n * quantile).max(1.0);
    let (bucket, up_to) = bucket_of(rank);
    let inside = counts.get(bucket).copied().unwrap_or(0).max(1) as f64;
    let part = 1.0 - ((up_to as f64 - rank) / inside).clamp(0.0, 1.0);
    let value = lower_end(bucket) + part * (upper_end(bucket) - lower_end(bucket));
    Some((value, lower_end(bucket_of(rank - spread).0), upper_end(bucket_of(rank + spread).0).max(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [f64; 5] = [0.001, 0.002, 0.004, 0.008, 0.016];

    #[test]
    fn a_limit_between_bounds_is_moved_to_the_safe_side() {
        let counts = [10, 10, 10, 10, 10, 10];
        assert_eq!(slower_than(&BOUNDS, &counts, 0.003), (30, 30));
        assert_eq!(perhaps_slower_than(&BOUNDS, &counts, 0.003), (40, 20));
        assert_eq!(slower_than(&BOUNDS, &counts, 0.004), (30, 30));
        assert_eq!(perhaps_slower_than(&BOUNDS, &counts, 0.004), (30, 30));
        assert_eq!(slower_than(&BOUNDS, &counts, 1.0), (0, 60));
        assert_eq!(perhaps_slower_than(&BOUNDS, &counts, 0.0001), (60, 0));
    }

    #[test]
    fn a_candidate_four_times_slower_is_refuted_and_an_equal_one_passes() {
        let allowance = QuantileAllowance { factor: 1.2, extra: 0.0 };
        let baseline = [9000, 990, 10, 0, 0, 0];
        let slow = [0, 0, 180, 19, 1, 0];
        let threshold = 600_f64.ln();
        assert!(refutes_within(&BOUNDS, &slow, &baseline, 0.99, allowance, threshold));
        assert!(!refutes_within(&BOUNDS, &baseline, &baseline, 0.99, allowance, threshold));
        assert!(!refutes_within(&BOUNDS, &[0; 6], &baseline, 0.99, allowance, threshold));
        // With whole buckets between the bounds a pass needs a candidate clearly inside.
        let fast = [1000, 0, 0, 0, 0, 0];
        let spread = [700, 200, 100, 0, 0, 0];
        assert!(refutes_beyond(&BOUNDS, &fast, &spread, 0.99, allowance, 0.01, 20_f64.ln()));
        assert!(!refutes_beyond(&BOUNDS, &slow, &baseline, 0.99, allowance, 0.01, 20_f64.ln()));
    }

    #[test]
    fn the_estimate_lies_in_its_bucket_and_interval() {
        let (value, low, high) = estimate(&BOUNDS, &[900, 95, 5, 0, 0, 0], 0.99).unwrap();
        assert!((0.001..=0.002).contains(&value) && low <= value && value <= high);
        assert!(estimate(&BOUNDS, &[0; 6], 0.99).is_none());
    }
}
