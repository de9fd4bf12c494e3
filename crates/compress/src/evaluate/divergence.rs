//! How far a model's outputs are from the dense model's on the same rows.

use sentei_api::spec::Task;
use sentei_runtime::Session;

use super::{
    EvaluateError,
    answer::{Next, each_row, output_name},
};
use crate::data::{Dataset, Part};

/// Outputs remembered at most; a recogniser's scores over a large alphabet would fill the memory.
const MAX_VALUES: usize = 32 << 20;

/// The dense model's outputs on the first rows of a part, to hold others against.
#[derive(Debug, Clone)]
pub struct Reference {
    part: Part,
    output: String,
    /// Values in one row.
    width: usize,
    /// Scores over which one distribution runs; `None` for outputs that are no scores.
    classes: Option<usize>,
    values: Vec<f32>,
}

impl Reference {
    /// Runs the dense model over at most `rows` rows of a part and keeps what it gives, up to 128 MiB.
    ///
    /// # Errors
    /// [`EvaluateError`] when a run fails or the output is not one row for each input row.
    pub fn record(
        dense: &mut Session,
        data: &Dataset,
        part: Part,
        task: &Task,
        rows: usize,
    ) -> Result<Self, EvaluateError> {
        let output = output_name(task, dense)?;
        let (mut width, mut classes, mut values) = (0, None, Vec::new());
        let mut count = 0;
        each_row(dense, data, part, &output, |shape, row| {
            if count == rows || (count > 0 && (row.len() != width || values.len() + row.len() > MAX_VALUES)) {
                return Ok(Next::Stop);
            }
            if matches!(task, Task::Classification(_)) {
                classes = shape.last().copied();
            }
            width = row.len();
            count += 1;
            values.extend_from_slice(row);
            Ok(Next::Row)
        })?;
        Ok(Self { part, output, width, classes, values })
    }

    /// Rows remembered.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.values.len() / self.width.max(1)
    }

    /// How far `model` is from the dense model on the remembered rows, at least 0.
    ///
    /// Classification: mean Kullback-Leibler divergence KL(dense ‖ model) in nats, after a softmax over the last axis
    /// (outputs that already are probabilities are taken as they are). Other tasks: Σ(dense − model)² / Σ dense².
    /// Infinite when the model gives NaN.
    ///
    /// # Errors
    /// [`EvaluateError`] when a run fails or the outputs differ in shape.
    pub fn divergence(&self, model: &mut Session, data: &Dataset) -> Result<f64, EvaluateError> {
        let (mut at, mut total, mut energy, mut parts) = (0, 0.0, 0.0, 0_u32);
        each_row(model, data, self.part, &self.output, |shape, row| {
            let Some(dense) = self.values.get(at..at + self.width).filter(|dense| !dense.is_empty()) else {
                return Ok(Next::Stop);
            };
            if row.len() != self.width {
                let expected = format!("{} values for each row, as in the dense model", self.width);
                return Err(EvaluateError::Output { output: self.output.clone(), found: shape.to_vec(), expected });
            }
            if let Some(classes) = self.classes {
                for (dense, model) in dense.chunks(classes).zip(row.chunks(classes)) {
                    total += kl(dense, model);
                    parts += 1;
                }
            } else {
                total += dense.iter().zip(row).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>();
                energy += dense.iter().map(|a| f64::from(*a).powi(2)).sum::<f64>();
            }
            at += self.width;
            Ok(Next::Row)
        })?;
        let scale = if self.classes.is_some() { f64::from(parts) } else { energy };
        let divergence = if scale > 0.0 { total / scale } else { total };
        Ok(if divergence.is_nan() { f64::INFINITY } else { divergence.max(0.0) })
    }
}

/// Kullback-Leibler divergence of two rows of scores, in nats (Kullback and Leibler 1951).
fn kl(dense: &[f32], model: &[f32]) -> f64 {
    let (dense, model) = (log_probabilities(dense), log_probabilities(model));
    // 0 · ln 0 is 0.
    dense.iter().zip(&model).filter(|(p, _)| **p > f64::NEG_INFINITY).map(|(p, q)| p.exp() * (p - q)).sum()
}

fn log_probabilities(scores: &[f32]) -> Vec<f64> {
    let sum: f64 = scores.iter().map(|score| f64::from(*score)).sum();
    let are_probabilities = scores.iter().all(|score| *score >= 0.0) && (sum - 1.0).abs() < 1e-3;
    if are_probabilities {
        return scores.iter().map(|score| (f64::from(*score) / sum).ln()).collect();
    }
    let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shifted = || scores.iter().map(|score| f64::from(*score) - f64::from(top));
    let log_sum = shifted().map(f64::exp).sum::<f64>().ln();
    shifted().map(|score| score - log_sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divergence_of_known_distributions() {
        // KL((1/2, 1/2) ‖ (1/4, 3/4)) = ln 2 - ln(3)/2.
        let expected = 2.0_f64.ln() - 3.0_f64.ln() / 2.0;
        assert!((kl(&[0.5, 0.5], &[0.25, 0.75]) - expected).abs() < 1e-9);
        assert!((kl(&[0.0, 0.0], &[0.0, 3.0_f32.ln()]) - expected).abs() < 1e-6);
        assert!(kl(&[1.0, -2.0, 0.3], &[1.0, -2.0, 0.3]).abs() < 1e-12);
        assert!((kl(&[1.0, 0.0], &[0.5, 0.5]) - 2.0_f64.ln()).abs() < 1e-9);
        assert!(kl(&[0.5, 0.5], &[f32::NAN, 0.0]).is_nan());
    }
}
