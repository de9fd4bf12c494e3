//! How far a model's answers are from another's.

use sentei_onnx::Model;
use sentei_runtime::{Runtime, Tensor};

use super::{
    QuantizeError,
    batch::{Batch, Batches, Feed, PORTION, rows},
};

/// Rows looked at, unless they are so large that fewer must do: relative errors of whole tensors are steady by then.
const ROWS: usize = 256;

/// The answers of a model on the first rows of the calibration data, to compare others with.
pub(super) struct Reference {
    batches: Vec<Batch>,
    outputs: Vec<Vec<Tensor>>,
    threads: usize,
}

impl Reference {
    pub(super) fn of(
        model: &Model,
        runtime: &Runtime,
        batches: &Batches<'_>,
        threads: usize,
    ) -> Result<Self, QuantizeError> {
        let (mut seen, mut values) = (0, 0);
        let batches: Vec<Batch> = batches()
            .take_while(|batch| {
                let more = seen < ROWS && values < PORTION;
                seen += rows(batch);
                values += batch.iter().map(|(_, tensor)| tensor.len()).sum::<usize>();
                more
            })
            .collect();
        let outputs = answers(model, runtime, &batches, threads)?;
        Ok(Self { batches, outputs, threads })
    }

    /// The share of the answers' variance that `model` gets wrong, the mean over the outputs; 0 for the same answers,
    /// 1 for answers no better than the mean. Outputs of whole numbers count the share that differs.
    pub(super) fn divergence(&self, model: &Model, runtime: &Runtime) -> Result<f64, QuantizeError> {
        let found = answers(model, runtime, &self.batches, self.threads)?;
        let outputs = self.outputs.first().map_or(0, Vec::len);
        let each = |output: usize| {
            let mut sums = Sums::default();
            for (expected, found) in self.outputs.iter().zip(&found) {
                sums.add(&expected[output], &found[output]);
            }
            sums.share()
        };
        Ok((0..outputs).map(each).sum::<f64>() / outputs.max(1) as f64)
    }
}

/// Every portion's outputs.
fn answers(
    model: &Model,
    runtime: &Runtime,
    batches: &[Batch],
    threads: usize,
) -> Result<Vec<Vec<Tensor>>, QuantizeError> {
    let mut feed = Feed::new(runtime, &model.to_bytes()?, threads)?;
    let mut answers = Vec::new();
    for batch in batches {
        feed.each(batch, |_, outputs| {
            answers.push(outputs.to_vec());
            Ok::<_, QuantizeError>(())
        })?;
    }
    Ok(answers)
}

/// Sums over an output.
#[derive(Default)]
struct Sums {
    count: f64,
    sum: f64,
    squares: f64,
    wrong: f64,
    /// Whole numbers are right or wrong; there is no near.
    whole: bool,
}

impl Sums {
    fn add(&mut self, expected: &Tensor, found: &Tensor) {
        if let (Some(expected), Some(found)) = (expected.values::<f32>(), found.values::<f32>()) {
            for (&expected, &found) in expected.iter().zip(found) {
                let expected = f64::from(expected);
                self.sum += expected;
                self.squares += expected * expected;
                self.wrong += (expected - f64::from(found)).powi(2);
            }
            self.count += expected.len() as f64;
        } else {
            self.whole = true;
            self.count += 1.0;
            self.wrong += f64::from(u8::from(expected != found));
        }
    }

    fn share(&self) -> f64 {
        let all = if self.whole { self.count } else { self.squares - self.sum * self.sum / self.count.max(1.0) };
        if self.wrong == 0.0 {
            0.0
        } else if self.wrong.is_finite() && all > 0.0 {
            self.wrong / all
        } else {
            f64::INFINITY
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(expected: &[f32], found: &[f32]) -> f64 {
        let of = |values: &[f32]| Tensor::new([values.len()], values.to_vec()).expect("fits");
        let mut sums = Sums::default();
        sums.add(&of(expected), &of(found));
        sums.share()
    }

    #[test]
    fn the_mean_as_an_answer_is_wholly_wrong_and_the_same_answer_not_at_all() {
        assert!((share(&[1.0, 2.0, 3.0], &[2.0, 2.0, 2.0]) - 1.0).abs() < 1e-12);
        assert!(share(&[1.0, 2.0], &[1.0, 2.0]).abs() <= 0.0);
        assert!(share(&[1.0, 2.0], &[1.0, f32::NAN]).is_infinite());
    }
}
