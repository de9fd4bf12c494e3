//! Ridge regression on moments, drawn towards the weights the layer had.
//!
//! `W* = (T + λW₀)(H + λI)⁻¹`, `b* = mean(t) − W*·mean(u)`: least squares to the targets, with `λ` times the squared
//! distance from `W₀` added. `λ` is relative to the mean diagonal of `H`.

use faer::{Mat, MatRef, Side, linalg::solvers::Solve};

use crate::moments::{Moments, Sums};

/// Relative ridges tried, weakest first.
pub const RIDGES: [f64; 4] = [1e-4, 1e-3, 1e-2, 1e-1];
/// Times the ridge may grow tenfold before a matrix counts as hopeless.
const RIDGE_TRIES: usize = 8;
/// A column whose variance is below this share of the mean is dead: it gets the weight 0.
const DEAD: f64 = 1e-12;

/// Solved weights.
#[derive(Debug, Clone)]
pub struct Fit {
    /// O × D.
    pub weights: Mat<f64>,
    /// O; zero when the moments are about zero.
    pub bias: Vec<f64>,
}

/// Solves for one ridge. `None` when the moments are not finite.
#[must_use]
pub fn ridge(moments: &Moments, prior: MatRef<'_, f64>, strength: f64) -> Option<Fit> {
    let columns = moments.mean.len();
    let diagonal = |i: usize| moments.covariance[(i, i)];
    let mean = (0..columns).map(diagonal).sum::<f64>() / columns.max(1) as f64;
    if !mean.is_finite() {
        return None;
    }
    let dead: Vec<bool> = (0..columns).map(|i| diagonal(i) <= DEAD * mean || diagonal(i) <= 0.0).collect();
    let mut strength = strength * mean.max(f64::MIN_POSITIVE.sqrt());
    for _ in 0..RIDGE_TRIES {
        let matrix = Mat::from_fn(columns, columns, |i, j| match (i == j, dead[i] || dead[j]) {
            (true, true) => 1.0,
            (false, true) => 0.0,
            (true, false) => moments.covariance[(i, j)] + strength,
            (false, false) => moments.covariance[(i, j)],
        });
        if let Ok(factor) = matrix.llt(Side::Lower) {
            let target = Mat::from_fn(columns, prior.nrows(), |i, row| {
                if dead[i] { 0.0 } else { moments.cross[(row, i)] + strength * prior[(row, i)] }
            });
            let weights = factor.solve(&target).transpose().to_owned();
            let shift = |row: usize| (0..columns).map(|i| weights[(row, i)] * moments.mean[i]).sum::<f64>();
            let bias = moments.target_mean.iter().enumerate().map(|(row, mean)| mean - shift(row)).collect();
            return Some(Fit { weights, bias });
        }
        strength *= 10.0;
    }
    None
}

/// Mean squared distance of the fit's answers from the targets of other rows, summed over the outputs.
#[must_use]
pub fn hold_out_error(fit: &Fit, others: &Sums) -> f64 {
    let other = others.centred();
    let product = &fit.weights * &other.covariance;
    let mut error = 0.0;
    for row in 0..fit.weights.nrows() {
        let mut offset = other.target_mean[row] - fit.bias[row];
        error += other.energy[row];
        for column in 0..fit.weights.ncols() {
            let weight = fit.weights[(row, column)];
            error += weight * (product[(row, column)] - 2.0 * other.cross[(row, column)]);
            offset -= weight * other.mean[column];
        }
        error += offset * offset;
    }
    error
}

/// Solves on `fitted` for each of [`RIDGES`], keeps the ridge whose fit is best on the `held_out` rows, and solves again
/// on all rows with it. `biased` says whether the layer can have a bias.
///
/// `None` when the moments are not finite.
#[must_use]
pub fn choose_ridge(fitted: &Sums, held_out: &Sums, prior: MatRef<'_, f64>, biased: bool) -> Option<Fit> {
    let moments = |sums: &Sums| if biased { sums.centred() } else { sums.raw() };
    let tried = moments(fitted);
    let mut best: Option<(f64, f64)> = None;
    for strength in RIDGES {
        let Some(fit) = ridge(&tried, prior, strength) else { continue };
        let error = hold_out_error(&fit, held_out);
        if best.is_none_or(|(least, _)| error < least) {
            best = Some((error, strength));
        }
    }
    let (_, strength) = best?;
    ridge(&moments(&fitted.joined(held_out)), prior, strength)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::moments::Block;

    /// Sums over rows of four inputs whose last never varies, with targets `W·u + b` and noise.
    fn sums(rows: usize, noise: f32, seed: u64) -> Sums {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut block = Block::new(4, 2);
        for _ in 0..rows {
            let u: [f32; 3] = std::array::from_fn(|_| random.random_range(-1.0..1.0));
            let mut noisy = |value: f32| value + noise * random.random_range(-1.0..1.0);
            let t = [noisy(2.0 * u[0] - u[2] + 0.5), noisy(3.0 * u[1] - 4.0)];
            block.push(1.0, |inputs, targets| {
                inputs[..3].copy_from_slice(&u);
                targets.copy_from_slice(&t);
            });
        }
        let mut sums = Sums::new(4, 2);
        sums.add(&mut block);
        sums
    }

    #[test]
    fn weights_and_bias_are_found_and_a_dead_column_gets_zero() {
        let prior = Mat::from_fn(2, 4, |_, column| if column == 3 { 9.0 } else { 0.0 });
        let fit = choose_ridge(&sums(800, 0.0, 1), &sums(200, 0.0, 2), prior.as_ref(), true).expect("finite");
        let expected = [[2.0, 0.0, -1.0, 0.0], [0.0, 3.0, 0.0, 0.0]];
        for (row, expected) in expected.iter().enumerate() {
            for (column, expected) in expected.iter().enumerate() {
                assert!((fit.weights[(row, column)] - expected).abs() < 1e-3, "{fit:?}");
            }
        }
        assert!((fit.bias[0] - 0.5).abs() < 1e-3 && (fit.bias[1] + 4.0).abs() < 1e-3);
    }

    #[test]
    fn the_identity_stays_the_identity() {
        let prior = Mat::from_fn(2, 4, |row, column| [[2.0, 0.0, -1.0, 0.0], [0.0, 3.0, 0.0, 0.0]][row][column]);
        let fit = choose_ridge(&sums(800, 0.0, 1), &sums(200, 0.0, 2), prior.as_ref(), true).expect("finite");
        assert!((&fit.weights - &prior).norm_max() < 1e-4, "{fit:?}");
    }

    #[test]
    fn few_noisy_rows_choose_a_stronger_ridge_than_none() {
        let prior = Mat::from_fn(2, 4, |row, column| [[2.0, 0.0, -1.0, 0.0], [0.0, 3.0, 0.0, 0.0]][row][column]);
        let truth = sums(5000, 0.0, 9);
        let (few, others) = (sums(8, 2.0, 3), sums(200, 2.0, 4));
        let chosen = choose_ridge(&few, &others, prior.as_ref(), true).expect("finite");
        let weakest = ridge(&few.centred(), prior.as_ref(), RIDGES[0]).expect("finite");
        assert!(hold_out_error(&chosen, &truth) < hold_out_error(&weakest, &truth));
    }

    #[test]
    fn targets_that_belong_to_other_rows_teach_nothing() {
        let mut random = ChaCha8Rng::seed_from_u64(8);
        let rows: Vec<[f32; 3]> = (0..500).map(|_| std::array::from_fn(|_| random.random_range(-1.0..1.0))).collect();
        let sums = |shift: usize| {
            let mut block = Block::new(3, 1);
            for (at, row) in rows.iter().enumerate() {
                block.push(1.0, |inputs, targets| {
                    inputs.copy_from_slice(row);
                    let other = rows[(at + shift) % rows.len()];
                    targets[0] = other[0] - 2.0 * other[1];
                });
            }
            let mut sums = Sums::new(3, 1);
            sums.add(&mut block);
            sums
        };
        let prior = Mat::zeros(1, 3);
        let right = choose_ridge(&sums(0), &sums(0), prior.as_ref(), true).expect("finite");
        let shuffled = choose_ridge(&sums(7), &sums(7), prior.as_ref(), true).expect("finite");
        assert!(hold_out_error(&right, &sums(0)) < 0.01);
        assert!(hold_out_error(&shuffled, &sums(0)) > 0.5);
    }

    #[test]
    fn moments_that_are_not_numbers_are_refused() {
        let mut moments = sums(10, 0.0, 5).centred();
        moments.covariance[(0, 0)] = f64::NAN;
        assert!(ridge(&moments, Mat::zeros(2, 4).as_ref(), 1e-3).is_none());
    }
}
