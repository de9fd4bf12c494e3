//! The wealth of someone who bets against "the mean is at most 0".

/// Outcomes of one kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// What one of them says against the hypothesis; negative speaks for it.
    pub value: f64,
    /// How many there were.
    pub count: u64,
}

/// A grid of stakes. Each is at most 0.99 / (largest loss), so that a wealth never falls below a hundredth of itself by
/// one outcome on the tightest hypothesis of the family.
#[derive(Clone, Debug, PartialEq)]
pub struct Stakes(Vec<f64>);

impl Stakes {
    /// Ratio of neighbouring stakes: between two of them a bet loses less than a twentieth of its growth.
    const RATIO: f64 = 1.6;
    /// Stakes below this win against violations of a hundredth of the spread only.
    const SMALLEST: f64 = 0.02;
    /// Keeps the grid finite where a hypothesis allows no bad outcome at all.
    const SMALLEST_LOSS: f64 = 1e-9;

    /// The grid for hypotheses whose largest loss, `-min(value)`, is at least `loss`. The weights must not change along a
    /// family (see [`crate::statistics::two_sample`]), so that one grid serves all of it; stakes too high for a member
    /// lose everything there and count as 0.
    #[must_use]
    pub fn for_loss(loss: f64) -> Self {
        let mut stake = 0.99 / loss.max(Self::SMALLEST_LOSS);
        let mut stakes = Vec::new();
        while stake >= Self::SMALLEST {
            stakes.push(stake);
            stake /= Self::RATIO;
        }
        if stakes.is_empty() {
            stakes.push(stake);
        }
        Self(stakes)
    }

    /// Number of stakes.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = f64> + '_ {
        self.0.iter().copied()
    }
}

/// Natural logarithm of the wealth after these outcomes, averaged over the stakes; -∞ when all is lost. Sums of logarithms
/// only, so that 10⁹ outcomes are no different from ten.
#[must_use]
pub fn log_wealth(outcomes: &[Outcome], stakes: &Stakes) -> f64 {
    let mut highest = f64::NEG_INFINITY;
    // log(Σ exp(x)) in one pass: `sum` is relative to `highest`.
    let mut sum = 0.0;
    for stake in stakes.iter() {
        let wealth = log_wealth_at(outcomes, stake);
        if wealth == f64::NEG_INFINITY {
            continue;
        }
        if wealth > highest {
            sum = sum * (highest - wealth).exp() + 1.0;
            highest = wealth;
        } else {
            sum += (wealth - highest).exp();
        }
    }
    if sum > 0.0 { highest + sum.ln() - (stakes.count() as f64).ln() } else { f64::NEG_INFINITY }
}

/// Whether the wealth is at least `exp(threshold)`, threshold > 0. While the outcomes' mean is at most 0 no stake has won
/// anything (the logarithm is concave), and nothing is computed.
#[must_use]
pub fn reaches(outcomes: &[Outcome], stakes: &Stakes, threshold: f64) -> bool {
    let gain: f64 = outcomes.iter().map(|outcome| outcome.value * outcome.count as f64).sum();
    gain > 0.0 && log_wealth(outcomes, stakes) >= threshold
}

/// The same for one stake.
fn log_wealth_at(outcomes: &[Outcome], stake: f64) -> f64 {
    // A stake that could lose more than everything is no bet, also while that outcome has not come: gains before it would
    // be paid for by nobody.
    if outcomes.iter().any(|outcome| stake * outcome.value <= -1.0) {
        return f64::NEG_INFINITY;
    }
    outcomes.iter().map(|outcome| outcome.count as f64 * (stake * outcome.value).ln_1p()).sum()
}

/// A forecast beyond this only says that the mix is next to the limit.
const MOST_NEEDED: f64 = 1e6;

/// Outcomes still needed, at the present mix, until the wealth's logarithm reaches `threshold`; none when the mix does not
/// make it grow. An estimate for people, from the best single stake.
#[must_use]
pub fn outcomes_needed(outcomes: &[Outcome], stakes: &Stakes, threshold: f64) -> Option<u64> {
    let total: u64 = outcomes.iter().map(|outcome| outcome.count).sum();
    if total == 0 {
        return None;
    }
    let best = stakes.iter().map(|stake| log_wealth_at(outcomes, stake)).fold(f64::NEG_INFINITY, f64::max);
    let growth = best / total as f64;
    let whole = (threshold + (stakes.count() as f64).ln()) / growth;
    (growth > 0.0 && whole < MOST_NEEDED).then(|| (whole.ceil() as u64).saturating_sub(total).max(1))
}

/// The outcomes of "the share of bad ones is at most `limit`".
pub(crate) fn above(bad: u64, good: u64, limit: f64) -> [Outcome; 2] {
    [Outcome { value: 1.0 - limit, count: bad }, Outcome { value: -limit, count: good }]
}

/// The outcomes of "the share of bad ones is at least `limit`".
pub(crate) fn below(bad: u64, good: u64, limit: f64) -> [Outcome; 2] {
    [Outcome { value: limit - 1.0, count: bad }, Outcome { value: limit, count: good }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_one_stake_the_wealth_is_the_product() {
        let outcomes = above(2, 3, 0.1);
        let expected = (1.0_f64 + 0.5 * 0.9).powi(2) * (1.0_f64 - 0.5 * 0.1).powi(3);
        assert!((log_wealth_at(&outcomes, 0.5).exp() - expected).abs() < 1e-12);
    }

    #[test]
    fn the_expected_wealth_at_the_limit_is_one() {
        // Over all results of twelve outcomes at exactly the limit: Σ binomial · wealth = 1, for every grid.
        let (n, p) = (12_u64, 0.07_f64);
        let stakes = Stakes::for_loss(p);
        let mut expected = 0.0;
        let mut ways = 1.0;
        for bad in 0..=n {
            let chance = ways * p.powi(bad as i32) * (1.0 - p).powi((n - bad) as i32);
            expected += chance * log_wealth(&above(bad, n - bad, p), &stakes).exp();
            ways *= (n - bad) as f64 / (bad + 1) as f64;
        }
        assert!((expected - 1.0).abs() < 1e-9, "{expected}");
        // A grid made for a tighter member of the family wastes stakes and wins nothing by it.
        let tighter = Stakes::for_loss(p / 10.0);
        assert!(log_wealth(&above(0, 0, p), &tighter) < 0.0);
        assert!(log_wealth(&above(n, 0, p), &tighter) < log_wealth(&above(n, 0, p / 10.0), &tighter));
    }

    #[test]
    fn a_billion_outcomes_give_finite_and_ordered_wealth() {
        let stakes = Stakes::for_loss(0.001);
        let n = 1_000_000_000;
        let at = |bad: u64| log_wealth(&above(bad, n - bad, 0.001), &stakes);
        assert!(at(1_000_000).is_finite() && at(1_000_000) < 0.0);
        assert!(at(1_100_000) > 1000.0);
        assert!(at(900_000) < at(1_000_000));
        assert!(at(n).is_finite());
    }

    #[test]
    fn one_bad_outcome_refutes_a_bound_that_allows_none() {
        let stakes = Stakes::for_loss(0.0);
        assert!(log_wealth(&above(1, 1_000_000, 0.0), &stakes) > 1000_f64.ln());
    }

    #[test]
    fn the_outcomes_needed_are_enough() {
        let stakes = Stakes::for_loss(0.98);
        let now = below(0, 20, 0.02);
        let needed = outcomes_needed(&now, &stakes, 20_f64.ln()).unwrap();
        assert!(log_wealth(&below(0, 20 + needed, 0.02), &stakes) >= 20_f64.ln());
        assert!(outcomes_needed(&below(9, 1, 0.02), &stakes, 3.0).is_none());
    }
}
