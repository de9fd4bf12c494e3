//! How far a candidate's answers are from the dense model's, row by row. Labels are not needed.

/// What an output means, and so what distance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// Scores before a softmax over the last axis.
    Scores,
    /// Probabilities over the last axis.
    Probabilities,
    /// Numbers.
    Values,
}

impl Answers {
    /// Tells scores from probabilities by looking: probabilities are none below zero and add up to one.
    #[must_use]
    pub fn of_classes(values: &[f32], classes: usize) -> Self {
        let sums_to_one = |row: &[f32]| {
            row.iter().all(|&p| (0.0..=1.001).contains(&p)) && (row.iter().sum::<f32>() - 1.0).abs() < 1e-2
        };
        if classes > 1 && !values.is_empty() && values.chunks_exact(classes).all(sums_to_one) {
            Self::Probabilities
        } else {
            Self::Scores
        }
    }
}

/// The dense model's answers, to be compared with.
#[derive(Debug, Clone)]
pub struct Divergence {
    answers: Answers,
    /// Values, row-major, of `rows` rows.
    dense: Vec<f32>,
    rows: usize,
    /// Length of the last axis.
    classes: usize,
    /// Mean squared value, for [`Answers::Values`].
    scale: f64,
}

impl Divergence {
    /// Keeps the dense answers: `rows` rows, `classes` values on the last axis.
    #[must_use]
    pub fn new(answers: Answers, dense: Vec<f32>, rows: usize, classes: usize) -> Self {
        let mean = dense.iter().map(|&v| f64::from(v)).sum::<f64>() / dense.len().max(1) as f64;
        let scale = dense.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / dense.len().max(1) as f64;
        Self { answers, dense, rows, classes, scale: scale.max(f64::MIN_POSITIVE) }
    }

    /// For each row the divergence of `candidate` (same layout) from the dense answers: Kullback-Leibler in nats,
    /// averaged over the positions of a row; for values the squared error as a share of their variance. Answers that are
    /// not finite, or of another size, are infinitely far.
    #[must_use]
    pub fn of_rows(&self, candidate: &[f32]) -> Vec<f64> {
        if candidate.len() != self.dense.len() || self.rows == 0 {
            return vec![f64::INFINITY; self.rows];
        }
        let width = self.dense.len() / self.rows;
        let rows = self.dense.chunks_exact(width.max(1)).zip(candidate.chunks_exact(width.max(1)));
        rows.map(|(dense, candidate)| self.of_row(dense, candidate)).collect()
    }

    fn of_row(&self, dense: &[f32], candidate: &[f32]) -> f64 {
        if candidate.iter().any(|value| !value.is_finite()) {
            return f64::INFINITY;
        }
        if self.answers == Answers::Values {
            let squares =
                dense.iter().zip(candidate).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum::<f64>();
            return squares / dense.len().max(1) as f64 / self.scale;
        }
        let classes = self.classes.max(1);
        let positions = (dense.len() / classes).max(1) as f64;
        let pairs = dense.chunks_exact(classes).zip(candidate.chunks_exact(classes));
        pairs.map(|(dense, candidate)| self.kullback_leibler(dense, candidate)).sum::<f64>() / positions
    }

    fn kullback_leibler(&self, dense: &[f32], candidate: &[f32]) -> f64 {
        let (p, q) = (self.log_probabilities(dense), self.log_probabilities(candidate));
        p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>().max(0.0)
    }

    fn log_probabilities(&self, row: &[f32]) -> Vec<f64> {
        /// Below this a probability counts as this: nothing is impossible.
        const FLOOR: f64 = 1e-9;
        if self.answers == Answers::Probabilities {
            return row.iter().map(|&p| f64::from(p).max(FLOOR).ln()).collect();
        }
        let largest = row.iter().fold(f64::NEG_INFINITY, |max, &v| max.max(f64::from(v)));
        let total = row.iter().map(|&v| (f64::from(v) - largest).exp()).sum::<f64>().ln() + largest;
        row.iter().map(|&v| (f64::from(v) - total).max(FLOOR.ln())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_answers_are_no_distance_and_scores_may_be_shifted() {
        let dense = vec![1.0, 2.0, 3.0, 0.0, 0.0, 9.0];
        let divergence = Divergence::new(Answers::Scores, dense.clone(), 2, 3);
        let shifted: Vec<f32> = dense.iter().map(|v| v + 5.0).collect();
        assert!(divergence.of_rows(&shifted).iter().all(|d| *d < 1e-9));
    }

    #[test]
    fn the_distance_is_kullback_and_leiblers() {
        let divergence = Divergence::new(Answers::Probabilities, vec![0.5, 0.5], 1, 2);
        let expected = 0.5 * (0.5_f64 / 0.9).ln() + 0.5 * (0.5_f64 / 0.1).ln();
        assert!((divergence.of_rows(&[0.9, 0.1])[0] - expected).abs() < 1e-6);
    }

    #[test]
    fn answers_that_are_not_numbers_are_infinitely_far() {
        let divergence = Divergence::new(Answers::Values, vec![1.0, 3.0], 2, 1);
        assert_eq!(divergence.of_rows(&[2.0, f32::NAN]), [1.0, f64::INFINITY]);
        assert_eq!(divergence.of_rows(&[2.0]), [f64::INFINITY; 2]);
    }

    #[test]
    fn probabilities_are_told_from_scores_by_looking() {
        assert_eq!(Answers::of_classes(&[0.2, 0.8, 1.0, 0.0], 2), Answers::Probabilities);
        assert_eq!(Answers::of_classes(&[0.2, 0.9, 1.0, 0.0], 2), Answers::Scores);
        assert_eq!(Answers::of_classes(&[-1.0, 2.0], 2), Answers::Scores);
    }
}
