//! What one inference costs on this machine.
//!
//! The clock is the CPU time of the calling thread. With one thread per session the runtime computes on that thread,
//! so this is the time an idle machine would take: other processes cannot inflate it by taking the core away, only by
//! sharing its caches. Models are timed in turns, so that a change of clock rate or neighbours meets all of them.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use sentei_api::evidence::Cost;
use sentei_runtime::{RunError, Session};

use crate::data::{Batch, Dataset, Part};

/// How long to time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Rounds before the first that counts: caches fill, the runtime's arena grows.
    pub warm_up: u32,
    /// Rounds that count at least, however long they take.
    pub min_rounds: u32,
    /// Rounds that count at most.
    pub max_rounds: u32,
    /// Wall time after which no further round begins.
    pub budget: Duration,
}

impl Default for Timing {
    /// 1,000 rounds put ten samples above the 99th percentile.
    fn default() -> Self {
        Self { warm_up: 10, min_rounds: 20, max_rounds: 1000, budget: Duration::from_secs(3) }
    }
}

/// Seconds of one inference of one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Inferences timed.
    pub rounds: u32,
}

impl Latency {
    /// With what is known of the file and graph: bytes, weights, and multiply-accumulates of one row.
    #[must_use]
    pub fn cost(self, size: u64, parameters: u64, macs: u64) -> Cost {
        Cost { size, parameters, macs, latency_p50: self.p50, latency_p99: self.p99 }
    }
}

/// Rows to time with, one in each batch: several, since a value can decide how long a kernel takes.
#[must_use]
pub fn single_rows(data: &Dataset, part: Part) -> Vec<Batch> {
    const ROWS: usize = 16;
    (0..data.len(part).min(ROWS)).map(|row| data.batch(part, &[row])).collect()
}

/// Times each session on `rows` (used in turn), all sessions in every round. Each session must have one thread.
///
/// # Errors
/// [`RunError`] when a model fails.
///
/// # Panics
/// When `rows` is empty.
pub fn measure(sessions: &mut [&mut Session], rows: &[Batch], timing: Timing) -> Result<Vec<Latency>, RunError> {
    let feeds: Vec<_> = rows.iter().map(Batch::feed).collect();
    let count = sessions.len();
    let mut seconds: Vec<Vec<f64>> = vec![Vec::new(); count];
    let started = Instant::now();
    for round in 0..timing.warm_up + timing.max_rounds.max(timing.min_rounds) {
        let counted = round.saturating_sub(timing.warm_up);
        if counted >= timing.min_rounds && started.elapsed() > timing.budget {
            break;
        }
        let feed = &feeds[round as usize % feeds.len()];
        for turn in 0..count {
            // A B, B A, A B, ...: whoever goes first finds the other's weights in the cache.
            let at = (turn + round as usize) % count;
            let before = thread_seconds();
            sessions[at].run(feed, None)?;
            let spent = thread_seconds() - before;
            if round >= timing.warm_up {
                seconds[at].push(spent);
            }
        }
    }
    Ok(seconds.iter_mut().map(|seconds| summary(seconds)).collect())
}

fn thread_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

fn summary(seconds: &mut [f64]) -> Latency {
    seconds.sort_unstable_by(f64::total_cmp);
    Latency { p50: quantile(seconds, 0.5), p99: quantile(seconds, 0.99), rounds: seconds.len() as u32 }
}

/// The smallest value that at least this share of the sorted values does not exceed; 0 of none.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let mut seconds: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        let latency = summary(&mut seconds);
        assert_eq!(latency, Latency { p50: 100.0, p99: 198.0, rounds: 200 });
        assert_eq!(quantile(&[], 0.5).to_bits(), 0.0_f64.to_bits());
        assert_eq!(quantile(&[7.0], 0.99).to_bits(), 7.0_f64.to_bits());
    }

    #[test]
    fn the_clock_counts_work_and_not_waiting() {
        let before = thread_seconds();
        std::thread::sleep(Duration::from_millis(50));
        let waited = thread_seconds() - before;
        assert!(waited < 0.02, "{waited} s of CPU time while asleep");
        let mut sum = 0_u64;
        while thread_seconds() - before < waited + 0.001 {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(sum > 0);
    }
}
