//! From outputs to predictions, and from predictions and labels to right or wrong.

use std::cmp::Ordering;

use half::f16;
use sentei_runtime::{Data, Port, Tensor};
use serde::{Deserialize, Serialize};

use crate::config::Task;

/// What a model predicted, one entry a row of the batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Predicted {
    /// Class indices.
    Classes(Vec<u32>),
    /// Numbers, and the largest error that counts as right.
    Values {
        /// One number a row.
        values: Vec<f64>,
        /// In the label's unit.
        tolerance: f64,
    },
}

impl Predicted {
    /// The number of rows.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Classes(classes) => classes.len(),
            Self::Values { values, .. } => values.len(),
        }
    }

    /// Whether `row` was right, given its label; `None` past the last row.
    #[must_use]
    pub(crate) fn is_correct(&self, row: usize, label: f64) -> Option<bool> {
        match self {
            Self::Classes(classes) => {
                classes.get(row).map(|&class| f64::from(class).partial_cmp(&label).is_some_and(Ordering::is_eq))
            }
            Self::Values { values, tolerance } => values.get(row).map(|value| (value - label).abs() <= *tolerance),
        }
    }

    /// Whether two models said the same of `row`; `None` where either has no such row or they are of different kinds.
    #[must_use]
    pub(crate) fn agrees(&self, other: &Self, row: usize) -> Option<bool> {
        match (self, other) {
            (Self::Classes(a), Self::Classes(b)) => Some(a.get(row)? == b.get(row)?),
            (Self::Values { values: a, tolerance }, Self::Values { values: b, .. }) => {
                Some((a.get(row)? - b.get(row)?).abs() <= *tolerance)
            }
            _ => None,
        }
    }
}

/// The task does not fit the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// The output named is not there.
    #[error("task output `{name}` is not an output of the model, which has {}", known.join(", "))]
    UnknownOutput {
        /// The name configured.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// No output named, and not exactly one to choose from.
    #[error("the model has {} outputs ({}); name the one that holds the predictions in the task", known.len(), known.join(", "))]
    Ambiguous {
        /// The names there are.
        known: Vec<String>,
    },
}

/// A task that fits a model: the output's position is known.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reader {
    pub(crate) output: usize,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Classification,
    Regression { tolerance: f64 },
}

impl Reader {
    /// Resolves `task` against the model's outputs; `None` for a model without a task.
    pub(crate) fn new(task: &Task, outputs: &[Port]) -> Result<Option<Self>, TaskError> {
        let (name, kind) = match task {
            Task::None => return Ok(None),
            Task::Classification { output } => (output, Kind::Classification),
            Task::Regression { output, tolerance } => (output, Kind::Regression { tolerance: *tolerance }),
        };
        let known = || outputs.iter().map(|port| format!("`{}`", port.name)).collect();
        let output = match name {
            Some(name) => outputs
                .iter()
                .position(|port| port.name == *name)
                .ok_or_else(|| TaskError::UnknownOutput { name: name.clone(), known: known() })?,
            None if outputs.len() == 1 => 0,
            None => return Err(TaskError::Ambiguous { known: known() }),
        };
        Ok(Some(Self { output, kind }))
    }

    /// Reads the predictions off the task's output; `None` when it has no axis of scores or is not numeric.
    pub(crate) fn read(&self, output: &Tensor) -> Option<Predicted> {
        match self.kind {
            Kind::Classification => {
                let classes = *output.shape().last().filter(|&&classes| classes > 0)?;
                let predicted = match output.data() {
                    Data::F32(scores) => argmax(scores, classes, |a, b| a > b),
                    Data::F64(scores) => argmax(scores, classes, |a, b| a > b),
                    Data::F16(scores) => argmax::<f16>(scores, classes, |a, b| a > b),
                    _ => argmax(&numbers(output)?, classes, |a, b| a > b),
                };
                Some(Predicted::Classes(predicted))
            }
            Kind::Regression { tolerance } => Some(Predicted::Values { values: numbers(output)?, tolerance }),
        }
    }
}

/// The index of the highest score of each row; the first of equals, as numpy has it.
fn argmax<T: Copy>(scores: &[T], classes: usize, above: impl Fn(T, T) -> bool) -> Vec<u32> {
    let best = |row: &[T]| (1..row.len()).fold(0, |best, i| if above(row[i], row[best]) { i } else { best });
    scores.chunks_exact(classes).map(|row| best(row) as u32).collect()
}

fn numbers(tensor: &Tensor) -> Option<Vec<f64>> {
    Some(match tensor.data() {
        Data::F32(values) => values.iter().map(|&value| f64::from(value)).collect(),
        Data::F64(values) => values.clone(),
        Data::F16(values) => values.iter().map(|value| value.to_f64()).collect(),
        Data::I64(values) => values.iter().map(|&value| value as f64).collect(),
        Data::U64(values) => values.iter().map(|&value| value as f64).collect(),
        Data::I32(values) => values.iter().map(|&value| f64::from(value)).collect(),
        Data::U32(values) => values.iter().map(|&value| f64::from(value)).collect(),
        Data::I16(values) => values.iter().map(|&value| f64::from(value)).collect(),
        Data::U16(values) => values.iter().map(|&value| f64::from(value)).collect(),
        Data::I8(values) => values.iter().map(|&value| f64::from(value)).collect(),
        Data::U8(values) => values.iter().map(|&value| f64::from(value)).collect(),
        Data::Bool(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classification() -> Reader {
        Reader { output: 0, kind: Kind::Classification }
    }

    #[test]
    fn a_class_is_the_highest_score_of_its_row_and_the_first_of_equals() {
        let scores = Tensor::new([3, 3], vec![0.1_f32, 0.9, 0.2, 5.0, 5.0, 1.0, -3.0, -2.0, -1.0]).expect("fits");
        assert_eq!(classification().read(&scores), Some(Predicted::Classes(vec![1, 0, 2])));
        let integers = Tensor::new([1, 3], vec![1_i64, 7, 7]).expect("fits");
        assert_eq!(classification().read(&integers), Some(Predicted::Classes(vec![1])));
        let scalar = Tensor::new([], vec![1.0_f32]).expect("fits");
        assert_eq!(classification().read(&scalar), None);
    }

    #[test]
    fn a_number_is_right_within_its_tolerance() {
        let reader = Reader { output: 0, kind: Kind::Regression { tolerance: 0.5 } };
        let predicted = reader.read(&Tensor::new([2, 1], vec![10.0_f32, 20.0]).expect("fits")).expect("numbers");
        assert_eq!(predicted.is_correct(0, 10.5), Some(true));
        assert_eq!(predicted.is_correct(1, 20.6), Some(false));
        assert_eq!(predicted.is_correct(2, 0.0), None);
        assert_eq!(predicted.is_correct(0, f64::NAN), Some(false));
    }

    #[test]
    fn predictions_of_different_kinds_or_lengths_do_not_compare() {
        let classes = Predicted::Classes(vec![1, 2]);
        assert_eq!(classes.agrees(&Predicted::Classes(vec![1, 3]), 0), Some(true));
        assert_eq!(classes.agrees(&Predicted::Classes(vec![1, 3]), 1), Some(false));
        assert_eq!(classes.agrees(&Predicted::Classes(vec![1]), 1), None);
        assert_eq!(classes.agrees(&Predicted::Values { values: vec![1.0], tolerance: 0.0 }, 0), None);
    }
}
