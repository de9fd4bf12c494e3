//! Why a unit could go: how well the kept units reconstruct it, and which of them stand in for it.

use faer::{Mat, Side, linalg::solvers::Solve};

/// Second moments of a group's units about their means: on all rows, and on each slice.
#[derive(Debug, Clone)]
pub struct ChannelGram {
    /// C × C.
    pub all: Mat<f64>,
    /// For each slice, C × C.
    pub slices: Vec<Mat<f64>>,
}

/// How the kept units stand in for a removed one.
#[derive(Debug, Clone, PartialEq)]
pub struct Reconstruction {
    /// Share of the unit's variance that the kept units explain (R², in [0, 1]), on all rows and then for each slice,
    /// with the same coefficients.
    pub shares: Vec<f64>,
    /// Kept units, strongest first.
    pub substitutes: Vec<usize>,
}

/// Substitutes named for each removed unit.
const SUBSTITUTES: usize = 3;
/// Ridge of the regression, relative to the mean diagonal.
const RIDGE: f64 = 1e-6;

/// Regresses each of `removed` on `kept`. A unit that never varies counts as fully explained.
#[must_use]
pub fn reconstruction(gram: &ChannelGram, kept: &[usize], removed: &[usize]) -> Vec<Reconstruction> {
    let mean = kept.iter().map(|&unit| gram.all[(unit, unit)]).sum::<f64>() / kept.len().max(1) as f64;
    let ridge = (RIDGE * mean).max(f64::MIN_POSITIVE.sqrt());
    let among =
        Mat::from_fn(kept.len(), kept.len(), |i, j| gram.all[(kept[i], kept[j])] + if i == j { ridge } else { 0.0 });
    let with = Mat::from_fn(kept.len(), removed.len(), |i, j| gram.all[(kept[i], removed[j])]);
    let coefficients =
        among.llt(Side::Lower).map_or_else(|_| Mat::zeros(kept.len(), removed.len()), |f| f.solve(&with));
    let explain = |(index, &unit): (usize, &usize)| {
        let coefficient = |i: usize| coefficients[(i, index)];
        let share = |gram: &Mat<f64>| {
            let mut residual = gram[(unit, unit)];
            for (i, &a) in kept.iter().enumerate() {
                residual -= 2.0 * coefficient(i) * gram[(a, unit)];
                for (j, &b) in kept.iter().enumerate() {
                    residual += coefficient(i) * coefficient(j) * gram[(a, b)];
                }
            }
            let variance = gram[(unit, unit)];
            if variance > f64::MIN_POSITIVE { (1.0 - residual / variance).clamp(0.0, 1.0) } else { 1.0 }
        };
        let strength = |i: usize| coefficient(i).abs() * gram.all[(kept[i], kept[i])].max(0.0).sqrt();
        let mut strongest: Vec<usize> = (0..kept.len()).collect();
        strongest.sort_by(|&a, &b| strength(b).total_cmp(&strength(a)));
        let substitutes = strongest.into_iter().take(SUBSTITUTES).filter(|&i| strength(i) > 0.0);
        Reconstruction {
            shares: std::iter::once(&gram.all).chain(&gram.slices).map(share).collect(),
            substitutes: substitutes.map(|i| kept[i]).collect(),
        }
    };
    removed.iter().enumerate().map(explain).collect()
}
