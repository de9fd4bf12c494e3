//! Is a bound broken, given counts that are looked at as often as one likes?
//!
//! # The one idea
//! Let `v` be what one outcome says against a hypothesis "the mean of v is at most 0" (for "at most 1 % errors": 0.99 for
//! an error, -0.01 for a success). Whoever doubts it may bet: from wealth 1, stake a fixed part `λ`, so that each outcome
//! multiplies the wealth by `1 + λ v`. If the hypothesis is true, no bet makes the expected wealth grow, whatever the
//! outcomes' order and dependence: the wealth is a non-negative supermartingale, and by Ville's inequality (1939) the
//! chance that it **ever** reaches `1/α` is at most `α`. So a bound is refuted when the wealth reaches `1/α`, at any look.
//! An average of wealths over several `λ` is again one; we average over a fixed geometric grid, so that small and large
//! violations are both caught early (Waudby-Smith & Ramdas, *Estimating means of bounded random variables by betting*,
//! JRSS-B 2023; time-uniformity: Howard, Ramdas, `McAuliffe` & Sekhon, Ann. Stat. 2021). With outcomes of a few kinds the
//! wealth depends on their **counts** alone: a pure function of what the servers export. See [`log_wealth`].
//!
//! # Two models ([`two_sample`])
//! "The candidate's bad share is at most `limit(p)`, where `p` is the baseline's": `p` is not known. For each `p` let
//! `B(p)` be the wealth of a bet against "the baseline's share is at least p", and `C(p)` that of a bet against "the
//! candidate's share is at most limit(p)". At the true `p` both are supermartingales that start at 1, and each grows only
//! with its own model's outcomes, so `(1 + B)/2 · (1 + C)/2` is one too (each puts half of its wealth at stake).
//! Its **minimum over p** is no larger than its value at the true `p`; hence it reaches `1/α` with chance at most `α`,
//! whatever the true `p` is. This is the e-variable of Turner, Ly & Grünwald (2021) for two streams, made free of the
//! order of arrival: it depends on four counts. The half stakes let either model's evidence win alone: with a million
//! baseline outcomes the candidate pays for three bits only. The same works for a quantile, with the minimum over the
//! bucket that holds the baseline's quantile ([`quantile`]).
//! Assumed: one `p` separates the two over the period ("the baseline is never better than p, the candidate never worse
//! than limit(p)"). Both are counted over the same period, so that a drift hits both.
//!
//! # Pairs
//! Both models answered the same input: an outcome is one of four, and `v = bad_c - slope · bad_b - intercept` has a mean
//! of at most 0 when the bound holds. No nuisance is left, and only discordant pairs carry information (`McNemar` 1947).
//!
//! # Going bad late
//! Wealth lost in a long good time would have to be won back first. So the bet is also begun anew at later looks
//! ([`start_penalty`]): the bet begun after look `s` counts with weight `½ · 1/(s(s+1))`, the one from the start with `½`.
//! The weights sum to 1, so their sum is an e-process again, and a breach needs one of them to reach `1/(α · weight)`.
//! The hypothesis is then "within the limit at all times", the candidate that breaks it late is caught a few counts later
//! than one that breaks it at once. Compare the e-detectors of Shin, Ramdas & Rinaldo (2022).
//!
//! # Passing
//! The same bets turned round refute "the mean is at least `margin` beyond the limit"; what is left is a pass.

pub mod quantile;
mod search;
pub mod two_sample;
pub mod wealth;

pub use quantile::QuantileAllowance;
pub use two_sample::{Line, Sample};
pub use wealth::{Outcome, log_wealth};

/// How surely a pass has to be proved: chance of calling a candidate that is `margin` beyond its limit a pass.
pub const PASS_ERROR: f64 = 0.05;

/// How far beyond its limit a share may be for a pass to have to exclude it: the limit again, between 0.2 and 2 points.
/// A candidate exactly at its limit is a good one, and no number of samples tells it from one a hair beyond.
#[must_use]
pub fn pass_margin(limit: f64) -> f64 {
    limit.clamp(0.002, 0.02)
}

/// Natural logarithm by which the threshold is raised for a bet begun after look `look` (0: at the start): the negative
/// logarithm of its weight, where all weights sum to 1.
#[must_use]
pub fn start_penalty(look: u64) -> f64 {
    let look = look as f64;
    let half = std::f64::consts::LN_2;
    if look < 1.0 { half } else { half + look.ln() + (look + 1.0).ln() }
}
