//! What is lost after the best compensation: block Optimal Brain Surgeon, joint over a group's consumers.
//!
//! For a unit with columns `c`, removing it and re-solving what is kept costs `tr(W_c·[(H⁻¹)_cc]⁻¹·W_cᵀ)` (Hassibi &
//! Stork 1993; for blocks, Kurtic et al., *`ZipLM`*, 2023). After each removal weights and inverse are brought up to date
//! in place, so that one pass orders all units.

use faer::{Accum, Mat, Par, Side, linalg::matmul::matmul, linalg::solvers::DenseSolveCore};

use super::{Consumer, Removal, output_energy};

/// Removals after which the inverse is computed afresh: downdates in place lose digits.
const REFRESH: usize = 64;
/// Times the ridge may grow tenfold before a matrix counts as hopeless.
const RIDGE_TRIES: usize = 8;

/// The order in which units go and the loss of each removal, cheapest first; the last unit standing comes last with
/// what it still carries. `ridge` is relative to the mean diagonal (1e-3 is usual).
///
/// A consumer whose moments cannot be inverted even with a large ridge (not finite) has no say.
#[must_use]
pub fn conditional(consumers: &[Consumer<'_>], ridge: f64) -> Vec<Removal> {
    let units = consumers.first().map_or(0, |consumer| consumer.columns.len());
    let mut states: Vec<State<'_>> = consumers.iter().filter_map(|consumer| State::new(consumer, ridge)).collect();
    let mut alive = vec![true; units];
    let mut order = Vec::with_capacity(units);
    while order.len() < units {
        let mut best: Option<Removal> = None;
        for unit in (0..units).filter(|&unit| alive[unit]) {
            let loss = states.iter().map(|state| state.loss(unit)).sum::<f64>();
            if best.is_none_or(|best| loss < best.loss) {
                best = Some(Removal { unit, loss });
            }
        }
        let Some(removal) = best else { break };
        alive[removal.unit] = false;
        order.push(removal);
        for state in &mut states {
            state.remove(removal.unit);
            if order.len().is_multiple_of(REFRESH) {
                state.refresh(&alive);
            }
        }
    }
    order
}

/// A consumer under removal.
struct State<'a> {
    consumer: &'a Consumer<'a>,
    /// `H + λI`, dead columns decoupled.
    ridged: Mat<f64>,
    /// Its inverse over the columns still there; zero elsewhere.
    inverse: Mat<f64>,
    /// O × D, brought up to date after each removal.
    weights: Mat<f64>,
    energy: f64,
}

impl<'a> State<'a> {
    fn new(consumer: &'a Consumer<'a>, ridge: f64) -> Option<Self> {
        let columns = consumer.covariance.nrows();
        let mean = (0..columns).map(|i| consumer.covariance[(i, i)]).sum::<f64>() / columns.max(1) as f64;
        if !mean.is_finite() {
            return None;
        }
        let mut strength = ridge * mean.max(f64::MIN_POSITIVE.sqrt());
        for _ in 0..RIDGE_TRIES {
            let ridged = Mat::from_fn(columns, columns, |i, j| {
                consumer.covariance[(i, j)] + if i == j { strength } else { 0.0 }
            });
            if let Ok(factor) = ridged.llt(Side::Lower) {
                let inverse = factor.inverse();
                let weights = consumer.weights.to_owned();
                return Some(Self { consumer, ridged, inverse, weights, energy: output_energy(consumer) });
            }
            strength *= 10.0;
        }
        None
    }

    /// What removing `unit` now would cost, as a share of the consumer's output energy.
    fn loss(&self, unit: usize) -> f64 {
        let columns = &self.consumer.columns[unit];
        if let [column] = columns[..] {
            let energy = self.weights.col(column).iter().map(|w| w * w).sum::<f64>();
            return energy / self.inverse[(column, column)].max(f64::MIN_POSITIVE) / self.energy;
        }
        // With (H⁻¹)_cc = L·Lᵀ the loss is the squared size of L⁻¹·W_cᵀ.
        let Some(factor) = lower_factor(&self.block(columns)) else { return 0.0 };
        let size = columns.len();
        let mut solved = vec![0.0; size];
        let mut loss = 0.0;
        for row in 0..self.weights.nrows() {
            for i in 0..size {
                let mut value = self.weights[(row, columns[i])];
                for j in 0..i {
                    value -= factor[i * size + j] * solved[j];
                }
                solved[i] = value / factor[i * size + i];
                loss += solved[i] * solved[i];
            }
        }
        loss / self.energy
    }

    /// Row-major `(H⁻¹)_cc`.
    fn block(&self, columns: &[usize]) -> Vec<f64> {
        columns.iter().flat_map(|&i| columns.iter().map(move |&j| (i, j))).map(|at| self.inverse[at]).collect()
    }

    /// Takes the unit out: `W ← W − W_c·[(H⁻¹)_cc]⁻¹·(H⁻¹)_c,:` and `H⁻¹` likewise.
    fn remove(&mut self, unit: usize) {
        let columns = self.consumer.columns[unit].as_slice();
        let (size, width) = (columns.len(), self.inverse.ncols());
        let Some(factor) = lower_factor(&self.block(columns)) else { return };
        // L⁻¹·(H⁻¹)_c,: and L⁻¹·W_cᵀ: their product is the update.
        let mut rows = Mat::from_fn(size, width, |i, j| self.inverse[(columns[i], j)]);
        let mut weights = Mat::from_fn(size, self.weights.nrows(), |i, row| self.weights[(row, columns[i])]);
        solve_lower(&factor, &mut rows);
        solve_lower(&factor, &mut weights);
        let subtract = -1.0;
        matmul(self.weights.as_mut(), Accum::Add, weights.transpose(), rows.as_ref(), subtract, Par::Seq);
        matmul(self.inverse.as_mut(), Accum::Add, rows.transpose(), rows.as_ref(), subtract, Par::rayon(0));
        for &column in columns {
            self.weights.col_mut(column).fill(0.0);
            self.inverse.col_mut(column).fill(0.0);
            self.inverse.row_mut(column).fill(0.0);
        }
    }

    /// Computes inverse and weights afresh for the units still there.
    fn refresh(&mut self, alive: &[bool]) {
        let mut there = vec![true; self.ridged.ncols()];
        for (columns, _) in self.consumer.columns.iter().zip(alive).filter(|(_, alive)| !**alive) {
            for &column in columns {
                there[column] = false;
            }
        }
        let kept: Vec<usize> = (0..there.len()).filter(|&column| there[column]).collect();
        let small = Mat::from_fn(kept.len(), kept.len(), |i, j| self.ridged[(kept[i], kept[j])]);
        // The matrix is a principal block of one that had a factor, so this one has too.
        let Ok(factor) = small.llt(Side::Lower) else { return };
        let inverse = factor.inverse();
        let original = self.consumer.weights;
        let target = original * Mat::from_fn(there.len(), kept.len(), |i, j| self.ridged[(i, kept[j])]);
        let weights = target * &inverse;
        self.inverse.fill(0.0);
        self.weights.fill(0.0);
        for (j, &column) in kept.iter().enumerate() {
            for (i, &row) in kept.iter().enumerate() {
                self.inverse[(row, column)] = inverse[(i, j)];
            }
            for row in 0..original.nrows() {
                self.weights[(row, column)] = weights[(row, j)];
            }
        }
    }
}

/// Row-major Cholesky factor of a small row-major matrix; `None` when it is not positive definite.
fn lower_factor(matrix: &[f64]) -> Option<Vec<f64>> {
    let size = matrix.len().isqrt();
    let mut factor = vec![0.0; size * size];
    for i in 0..size {
        for j in 0..=i {
            let dot = (0..j).map(|k| factor[i * size + k] * factor[j * size + k]).sum::<f64>();
            let rest = matrix[i * size + j] - dot;
            if i == j {
                if rest.is_nan() || rest <= 0.0 {
                    return None;
                }
                factor[i * size + i] = rest.sqrt();
            } else {
                factor[i * size + j] = rest / factor[j * size + j];
            }
        }
    }
    Some(factor)
}

/// `right ← L⁻¹·right`.
fn solve_lower(factor: &[f64], right: &mut Mat<f64>) {
    let size = right.nrows();
    for column in 0..right.ncols() {
        for i in 0..size {
            let dot = (0..i).map(|j| factor[i * size + j] * right[(j, column)]).sum::<f64>();
            right[(i, column)] = (right[(i, column)] - dot) / factor[i * size + i];
        }
    }
}
