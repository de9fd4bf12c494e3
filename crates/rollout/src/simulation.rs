//! Thousands of rollouts with candidates whose true quality is known: how often is a good one brought back, how soon a
//! bad one? The counts go through the same tallies, marks and verdicts as in a real look.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sentei_api::status::{AnalysisMemory, Verdict};

use crate::{
    hypothesis::{Counter, Hypothesis, Scale, Test},
    judge,
    observation::{Feedback, Observation, Scrape},
    statistics::Line,
    tally,
};

/// Chance of a false rollback in these simulations.
const ALPHA: f64 = 0.01;
/// Rollouts of each kind.
const ROLLOUTS: usize = 2000;
/// Rollbacks of good candidates that are allowed among them: 2000 · 0.01 = 20 expected at most, plus 2.33 standard
/// deviations of the binomial (√(2000 · 0.01 · 0.99) = 4.4), so that a sound rule fails the test once in a hundred.
const MOST_FALSE_ROLLBACKS: usize = 30;

fn hypothesis(counter: Counter, test: Test, alpha: f64) -> Hypothesis {
    Hypothesis {
        metric: "simulated".to_owned(),
        slice: None,
        counter,
        test,
        alpha,
        min_samples: 0,
        critical: true,
        query: None,
    }
}

fn errors(limit: f64, alpha: f64) -> Hypothesis {
    hypothesis(Counter::Requests, Test::Share { limit, scale: Scale::Bad }, alpha)
}

fn accuracy(points: f64, alpha: f64) -> Hypothesis {
    let limit = Line { slope: 1.0, intercept: points };
    hypothesis(Counter::Feedback, Test::ShareAgainstBaseline { limit, scale: Scale::Good }, alpha)
}

/// Successes before the next failure, at a share `p` of failures.
fn gap(rng: &mut ChaCha8Rng, p: f64) -> u64 {
    if p >= 1.0 {
        return 0;
    }
    let uniform: f64 = rng.random();
    ((1.0 - uniform).ln() / (1.0 - p).ln()) as u64
}

/// A stream of outcomes, of which `p` fail.
struct Stream {
    p: f64,
    until_failure: u64,
}

impl Stream {
    fn new(p: f64, rng: &mut ChaCha8Rng) -> Self {
        Self { p, until_failure: gap(rng, p) }
    }

    /// Failures among the next `n`.
    fn failures(&mut self, n: u64, rng: &mut ChaCha8Rng) -> u64 {
        let (mut left, mut failures) = (n, 0);
        while self.until_failure < left {
            left -= self.until_failure + 1;
            failures += 1;
            self.until_failure = gap(rng, self.p);
        }
        self.until_failure -= left;
        failures
    }
}

/// True shares and traffic of one rollout.
#[derive(Clone, Copy)]
struct Truth {
    candidate: f64,
    baseline: f64,
    /// Samples between two looks, for each of the two.
    per_look: u64,
    looks: u64,
}

/// The candidate's samples at the breach; none when there was none.
fn samples_to_breach(hypothesis: &Hypothesis, truth: Truth, rng: &mut ChaCha8Rng) -> Option<u64> {
    let mut seen = Observation::default();
    seen.candidate.scrapes.push(Scrape::default());
    seen.baseline.scrapes.push(Scrape::default());
    let mut memory = AnalysisMemory::default();
    let hypotheses = std::slice::from_ref(hypothesis);
    tally::count(&mut memory, hypotheses, &seen);
    let (mut candidate, mut baseline) = (Stream::new(truth.candidate, rng), Stream::new(truth.baseline, rng));
    for look in 1..=truth.looks {
        let bad = candidate.failures(truth.per_look, rng);
        let baseline_bad = baseline.failures(truth.per_look, rng);
        for (role, bad) in [(&mut seen.candidate, bad), (&mut seen.baseline, baseline_bad)] {
            let all = &mut role.scrapes[0].counters.all;
            *all.requests.entry(500).or_default() += bad;
            *all.requests.entry(200).or_default() += truth.per_look - bad;
            let Feedback { correct, incorrect } = all.feedback;
            all.feedback = Feedback { correct: correct + truth.per_look - bad, incorrect: incorrect + bad };
        }
        tally::count(&mut memory, hypotheses, &seen);
        // A wealth that did not reach the threshold cannot reach it by successes of the candidate alone, nor by failures
        // of the baseline.
        let may_breach = bad > 0 || (hypothesis.needs_baseline() && baseline_bad < truth.per_look);
        if may_breach && judge::judge(hypotheses, &memory, &seen, false)[0].result.verdict == Verdict::Breach {
            return Some(look * truth.per_look);
        }
        tally::mark(&mut memory, look);
    }
    None
}

fn false_rollbacks(hypothesis: &Hypothesis, truth: Truth, seed: u64) -> usize {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..ROLLOUTS).filter(|_| samples_to_breach(hypothesis, truth, &mut rng).is_some()).count()
}

/// A look a second, for as long as 20 minutes at low rates.
const TRAFFIC: [(u64, u64); 3] = [(1, 1200), (10, 300), (100, 100)];

#[test]
fn candidates_within_their_error_limit_are_rolled_back_no_more_often_than_promised() {
    for (per_look, looks) in TRAFFIC {
        for share in [0.005, 0.01] {
            let truth = Truth { candidate: share, baseline: share, per_look, looks };
            let found = false_rollbacks(&errors(0.01, ALPHA), truth, per_look);
            println!("errors at {share} of 0.01, {per_look}/s: {found} of {ROLLOUTS} rolled back");
            assert!(found <= MOST_FALSE_ROLLBACKS, "{found} at {per_look}/s");
        }
    }
}

#[test]
fn candidates_as_accurate_as_the_baseline_are_rolled_back_no_more_often_than_promised() {
    for (per_look, looks) in TRAFFIC {
        for (candidate, points) in [(0.05, 0.01), (0.06, 0.01), (0.05, 0.0)] {
            let truth = Truth { candidate, baseline: 0.05, per_look, looks: looks / 4 };
            let found = false_rollbacks(&accuracy(points, ALPHA), truth, per_look);
            println!("wrong {candidate} against 0.05 + {points}, {per_look}/s: {found} of {ROLLOUTS} rolled back");
            assert!(found <= MOST_FALSE_ROLLBACKS, "{found} at {per_look}/s");
        }
    }
}

#[test]
fn a_hard_failure_is_proved_by_eight_samples_among_six_metrics() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let alpha = ALPHA / 6.0;
    let truth = |baseline| Truth { candidate: 1.0, baseline, per_look: 1, looks: 100 };
    for limit in [0.001, 0.01, 0.05, 0.1, 0.2] {
        let samples = samples_to_breach(&errors(limit, alpha), truth(0.0), &mut rng).unwrap();
        println!("all fail, limit {limit}: {samples} samples");
        assert!(samples <= 8, "{samples} at {limit}");
    }
}

#[test]
fn bad_candidates_are_caught_and_the_worse_the_sooner() {
    /// Looks 250 ms apart at 100 requests a second.
    const PER_LOOK: u64 = 25;
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut before = u64::MAX;
    for (name, share) in [("2x", 0.02), ("5x", 0.05), ("20 %", 0.2), ("100 %", 1.0)] {
        let truth = Truth { candidate: share, baseline: 0.0, per_look: PER_LOOK, looks: 4 * 1200 };
        let hypothesis = errors(0.01, ALPHA / 6.0);
        let mut samples: Vec<u64> =
            (0..200).map(|_| samples_to_breach(&hypothesis, truth, &mut rng).unwrap()).collect();
        samples.sort_unstable();
        let (median, p95) = (samples[100], samples[190]);
        println!(
            "{name} of a limit of 1 %: {median} samples ({} s) to a breach, p95 {p95} ({} s)",
            median as f64 / 100.0,
            p95 as f64 / 100.0
        );
        assert!(median <= before);
        before = median;
    }
    assert_eq!(before, PER_LOOK, "a hard failure takes one look");
}
