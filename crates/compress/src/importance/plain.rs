//! Orders that do not compensate: for comparison, and for users who ask for them.

use faer::{Mat, MatRef};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::{Consumer, Removal, output_energy, trace_of_form};

/// What each unit carries on its own: `tr(W_c·H_cc·W_cᵀ) / tr(W·H·Wᵀ)`, smallest first.
#[must_use]
pub fn marginal(consumers: &[Consumer<'_>]) -> Vec<Removal> {
    let units = consumers.first().map_or(0, |consumer| consumer.columns.len());
    let mut scores = vec![0.0; units];
    for consumer in consumers {
        let energy = output_energy(consumer);
        for (score, columns) in scores.iter_mut().zip(consumer.columns) {
            let weights = Mat::from_fn(consumer.weights.nrows(), columns.len(), |row, column| {
                consumer.weights[(row, columns[column])]
            });
            let form = Mat::from_fn(columns.len(), columns.len(), |row, column| {
                consumer.covariance[(columns[row], columns[column])]
            });
            *score += trace_of_form(weights.as_ref(), form.as_ref()) / energy;
        }
    }
    ascending(&scores)
}

/// Squared weights of each unit, rows of its producers and columns of its consumers (Li et al., *Pruning Filters for
/// Efficient `ConvNets`*, 2017), as a share of all; smallest first. `producers` are O × D, `rows` lists each unit's rows.
#[must_use]
pub fn magnitude(producers: &[(MatRef<'_, f64>, &[Vec<usize>])], consumers: &[Consumer<'_>]) -> Vec<Removal> {
    let units = consumers.first().map_or(0, |consumer| consumer.columns.len());
    let mut scores = vec![0.0; units];
    for (weights, rows) in producers {
        for (score, rows) in scores.iter_mut().zip(*rows) {
            *score += rows.iter().map(|&row| weights.row(row).iter().map(|w| w * w).sum::<f64>()).sum::<f64>();
        }
    }
    for consumer in consumers {
        for (score, columns) in scores.iter_mut().zip(consumer.columns) {
            let column = |&column: &usize| consumer.weights.col(column).iter().map(|w| w * w).sum::<f64>();
            *score += columns.iter().map(column).sum::<f64>();
        }
    }
    let total = scores.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    for score in &mut scores {
        *score /= total;
    }
    ascending(&scores)
}

/// A seeded shuffle; every loss is unknown, written as an equal share.
#[must_use]
pub fn random(units: usize, seed: u64) -> Vec<Removal> {
    let mut order: Vec<usize> = (0..units).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    order.into_iter().map(|unit| Removal { unit, loss: 1.0 / units as f64 }).collect()
}

/// All units, cheapest first; equal scores in the order of their index.
fn ascending(scores: &[f64]) -> Vec<Removal> {
    let mut order: Vec<Removal> = scores.iter().enumerate().map(|(unit, &loss)| Removal { unit, loss }).collect();
    order.sort_by(|a, b| a.loss.total_cmp(&b.loss));
    order
}
