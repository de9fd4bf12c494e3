//! Least squares on a layer's own inputs: what is kept of them answers as all of them did.

use faer::{Mat, MatRef};

use super::solve::{Fit, ridge};
use crate::moments::{Moments, Sums};

/// Relative ridge; its own inputs are known exactly, so little is needed.
const RIDGE: f64 = 1e-3;

/// Solves for the `kept` columns (ascending) and the `rows` still there, so that `W'·u_kept + b' ≈ W·u + b` on the
/// layer's own inputs (He et al., *Channel Pruning*, 2017). `None` when the moments are not finite.
#[must_use]
pub fn own_inputs(
    inputs: &Sums,
    weights: MatRef<'_, f64>,
    bias: &[f64],
    kept: &[usize],
    rows: &[usize],
    biased: bool,
) -> Option<Fit> {
    let full = if biased { inputs.centred() } else { inputs.raw() };
    let weights = Mat::from_fn(rows.len(), weights.ncols(), |row, column| weights[(rows[row], column)]);
    let with = Mat::from_fn(full.mean.len(), kept.len(), |row, column| full.covariance[(row, kept[column])]);
    let answer =
        |row: usize| (0..full.mean.len()).map(|column| weights[(row, column)] * full.mean[column]).sum::<f64>();
    let moments = Moments {
        mean: kept.iter().map(|&column| full.mean[column]).collect(),
        target_mean: (0..rows.len()).map(answer).collect(),
        covariance: Mat::from_fn(kept.len(), kept.len(), |i, j| full.covariance[(kept[i], kept[j])]),
        cross: &weights * with,
        energy: vec![0.0; rows.len()],
    };
    let prior = Mat::from_fn(rows.len(), kept.len(), |row, column| weights[(row, kept[column])]);
    let mut fit = ridge(&moments, prior.as_ref(), RIDGE)?;
    for (value, &row) in fit.bias.iter_mut().zip(rows) {
        *value += bias[row];
    }
    Some(fit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moments::Block;

    /// Four columns of which the third is the sum of the first two and the fourth constant.
    fn inputs() -> Sums {
        let mut block = Block::new(4, 0);
        for i in 0..200_u8 {
            let (a, b) = (f32::from(i % 7), f32::from(i % 11));
            block.push(1.0, |columns, _| columns.copy_from_slice(&[a, b, a + b, 2.0]));
        }
        let mut sums = Sums::new(4, 0);
        sums.add(&mut block);
        sums
    }

    #[test]
    fn keeping_all_keeps_the_weights() {
        let weights = Mat::from_fn(2, 4, |row, column| (row * 4 + column) as f64 - 3.0);
        let fit = own_inputs(&inputs(), weights.as_ref(), &[1.0, 2.0], &[0, 1, 2, 3], &[0, 1], false).expect("finite");
        assert!((&fit.weights - &weights).norm_max() < 1e-4, "{fit:?}");
        assert_eq!(fit.bias, [1.0, 2.0]);
    }

    #[test]
    fn what_is_lost_is_made_up_by_the_kept_columns_and_the_bias() {
        let weights = Mat::from_fn(1, 4, |_, column| [1.0, 0.0, 5.0, 3.0][column]);
        let fit = own_inputs(&inputs(), weights.as_ref(), &[0.5], &[0, 1], &[0], true).expect("finite");
        assert!((fit.weights[(0, 0)] - 6.0).abs() < 0.02 && (fit.weights[(0, 1)] - 5.0).abs() < 0.02, "{fit:?}");
        assert!((fit.bias[0] - 6.5).abs() < 0.1, "{fit:?}");
    }
}
