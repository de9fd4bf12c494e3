//! The candidate's bad share against the baseline's. The proof is in [`crate::statistics`].

use super::{
    search::exceeds_everywhere,
    wealth::{Stakes, above, below, log_wealth},
};

/// Outcomes of one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Bad ones.
    pub bad: u64,
    /// Good ones.
    pub good: u64,
}

impl Sample {
    /// All of them.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.bad + self.good
    }

    /// Share of bad ones in [0, 1]; 0 when there are none.
    #[must_use]
    pub fn share(self) -> f64 {
        if self.total() == 0 { 0.0 } else { self.bad as f64 / self.total() as f64 }
    }
}

/// The candidate's limit as a function of the baseline's bad share p: `slope · p + intercept`, slope > 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// 1 for a difference in points.
    pub slope: f64,
    /// 0 for a ratio.
    pub intercept: f64,
}

impl Line {
    /// The limit at `share`; above 1 it bounds nothing.
    #[must_use]
    pub fn at(self, share: f64) -> f64 {
        self.slope * share + self.intercept
    }
}

/// Stakes against the baseline's share: any share above 0.1 can be doubted with the best stake, smaller ones with enough.
const BASELINE_LOSS: f64 = 0.1;
/// A limit that starts at 0 would ask for endless stakes; below this share of bad outcomes they make no difference.
const SMALLEST_LIMIT: f64 = 1e-4;

/// Logarithm of a wealth of which half was never at stake.
pub(super) fn half_at_stake(log_wealth: f64) -> f64 {
    let grown = if log_wealth > 30.0 { log_wealth } else { log_wealth.exp().ln_1p() };
    grown - std::f64::consts::LN_2
}

/// Whether the counts refute "the candidate's bad share is at most `limit` of the baseline's", with wealth of at least
/// `exp(threshold)`.
#[must_use]
pub fn refutes_within(candidate: Sample, baseline: Sample, limit: Line, threshold: f64) -> bool {
    // At the baseline's own share neither bet has won anything then.
    if candidate.share() <= limit.at(baseline.share()) {
        return false;
    }
    let against_candidate = Stakes::for_loss(limit.at(0.0).max(SMALLEST_LIMIT));
    let against_baseline = Stakes::for_loss(BASELINE_LOSS);
    let baseline_is_better =
        |share: f64| half_at_stake(log_wealth(&below(baseline.bad, baseline.good, share), &against_baseline));
    let candidate_is_worse = |share: f64| {
        half_at_stake(log_wealth(&above(candidate.bad, candidate.good, limit.at(share)), &against_candidate))
    };
    exceeds_everywhere(baseline_is_better, candidate_is_worse, baseline.share(), threshold)
}

/// Whether the counts refute "the candidate's bad share is at least `limit` of the baseline's" (the line for a pass has
/// its margin in the intercept), with wealth of at least `exp(threshold)`.
#[must_use]
pub fn refutes_beyond(candidate: Sample, baseline: Sample, limit: Line, threshold: f64) -> bool {
    if candidate.total() == 0 || candidate.share() >= limit.at(baseline.share()) {
        return false;
    }
    // The largest loss is 1 - limit, smallest for the largest limit of interest.
    let against_candidate = Stakes::for_loss(BASELINE_LOSS);
    let against_baseline = Stakes::for_loss(SMALLEST_LIMIT);
    let baseline_is_worse =
        |share: f64| half_at_stake(log_wealth(&above(baseline.bad, baseline.good, share), &against_baseline));
    let candidate_is_better = |share: f64| {
        half_at_stake(log_wealth(&below(candidate.bad, candidate.good, limit.at(share)), &against_candidate))
    };
    exceeds_everywhere(candidate_is_better, baseline_is_worse, baseline.share(), threshold)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINT: Line = Line { slope: 1.0, intercept: 0.01 };

    fn sample(bad: u64, total: u64) -> Sample {
        Sample { bad, good: total - bad }
    }

    #[test]
    fn equal_models_refute_nothing() {
        assert!(!refutes_within(sample(50, 1000), sample(500, 10_000), POINT, 100_f64.ln()));
        assert!(!refutes_within(sample(0, 0), sample(500, 10_000), POINT, 100_f64.ln()));
        assert!(!refutes_within(sample(50, 1000), sample(0, 0), POINT, 100_f64.ln()));
    }

    #[test]
    fn a_candidate_without_one_right_answer_is_caught_within_eight() {
        let threshold = (2.0 * 6.0 / 0.01_f64).ln();
        let first = (1..100).find(|&n| refutes_within(sample(n, n), sample(50, 1000), POINT, threshold)).unwrap();
        assert!(first <= 8, "{first}");
    }

    #[test]
    fn a_clear_regression_is_refuted_and_a_clear_equality_passes() {
        assert!(refutes_within(sample(300, 3000), sample(500, 10_000), POINT, 600_f64.ln()));
        let margin = Line { intercept: 0.02, ..POINT };
        assert!(refutes_beyond(sample(150, 3000), sample(500, 10_000), margin, 20_f64.ln()));
        assert!(!refutes_beyond(sample(210, 3000), sample(500, 10_000), margin, 20_f64.ln()));
    }

    #[test]
    fn counts_of_a_billion_are_judged() {
        let n = 1_000_000_000;
        assert!(refutes_within(sample(n / 10, n), sample(n / 20, n), POINT, 600_f64.ln()));
        assert!(!refutes_within(sample(n / 20, n), sample(n / 20, n), POINT, 600_f64.ln()));
    }
}
