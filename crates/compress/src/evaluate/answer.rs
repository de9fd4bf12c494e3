//! From a model's raw outputs to one answer for each row.

use sentei_api::spec::Task;
use sentei_runtime::{Session, Tensor};

use super::{EvaluateError, text::Alphabet};
use crate::data::{Dataset, Part};

/// Rows in one run: enough to keep the kernels busy, few enough for any model's activations.
pub(crate) const BATCH: usize = 64;

/// One model's answers on the rows of a part, in order. An answer that holds NaN is `None`: never right.
#[derive(Debug, Clone, PartialEq)]
pub enum Answers {
    /// The class with the largest score.
    Classes {
        /// How many classes the model tells apart.
        of: usize,
        /// One for each row.
        rows: Vec<Option<usize>>,
    },
    /// Numbers (regression) or a vector (embedding).
    Vectors {
        /// Numbers in one row's answer.
        width: usize,
        /// One for each row.
        rows: Vec<Option<Vec<f32>>>,
    },
    /// Text, greedily decoded.
    Texts(Vec<Option<String>>),
}

impl Answers {
    /// Rows answered.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Classes { rows, .. } => rows.len(),
            Self::Vectors { rows, .. } => rows.len(),
            Self::Texts(rows) => rows.len(),
        }
    }
}

/// The output a task reads: the one it names, or the first.
pub(crate) fn output_name(task: &Task, session: &Session) -> Result<String, EvaluateError> {
    let mut names = session.outputs().iter().map(|port| port.name.clone());
    let found = match task.output() {
        Some(wanted) => names.find(|name| name == wanted),
        None => names.next(),
    };
    found.ok_or_else(|| EvaluateError::NoOutput {
        wanted: task.output().unwrap_or("any").to_owned(),
        known: session.outputs().iter().map(|port| format!("`{}`", port.name)).collect::<Vec<_>>().join(", "),
    })
}

/// Runs a model over a part and hands on each row's raw output: its shape without the batch axis, and its values.
pub(crate) fn each_row(
    session: &mut Session,
    data: &Dataset,
    part: Part,
    output: &str,
    mut row: impl FnMut(&[usize], &[f32]) -> Result<Next, EvaluateError>,
) -> Result<(), EvaluateError> {
    for batch in data.batches(part, BATCH) {
        let tensors = session.run(&batch.feed(), Some(&[output]))?;
        let Some(tensor) = tensors.first() else { continue };
        let shape = tensor.shape();
        if shape.first() != Some(&batch.rows.len()) {
            let (expected, found) = (format!("[{}, ...] for {0} rows", batch.rows.len()), shape.to_vec());
            return Err(EvaluateError::Output { output: output.to_owned(), found, expected });
        }
        let values = reals(tensor);
        let width = values.len() / batch.rows.len().max(1);
        for values in values.chunks(width.max(1)) {
            if row(&shape[1..], values)? == Next::Stop {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Whether to go on to the next row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Row,
    Stop,
}

fn reals(tensor: &Tensor) -> Vec<f32> {
    use crate::data::values::{Real, each};
    fn cast<T: Real>(values: &[T]) -> Vec<f32> {
        values.iter().map(|value| value.real() as f32).collect()
    }
    each!(tensor.data(), values => cast(values))
}

/// Runs a model over a part and reads its answers as the task does.
pub(crate) fn answers(
    session: &mut Session,
    data: &Dataset,
    part: Part,
    task: &Task,
    alphabet: Option<&Alphabet>,
) -> Result<Answers, EvaluateError> {
    let output = output_name(task, session)?;
    let refuse = |shape: &[usize], expected: &str| EvaluateError::Output {
        output: output.clone(),
        found: shape.to_vec(),
        expected: expected.to_owned(),
    };
    match task {
        Task::Classification(_) => {
            let (mut of, mut rows) = (0, Vec::new());
            each_row(session, data, part, &output, |shape, scores| {
                of = shape.last().copied().unwrap_or(1);
                if of < 2 || scores.len() != of {
                    return Err(refuse(shape, "one score for each of two or more classes"));
                }
                rows.push(largest(scores));
                Ok(Next::Row)
            })?;
            Ok(Answers::Classes { of, rows })
        }
        Task::Regression(_) | Task::Embedding(_) => {
            let (mut width, mut rows) = (0, Vec::new());
            each_row(session, data, part, &output, |shape, values| {
                if !rows.is_empty() && values.len() != width {
                    return Err(refuse(shape, "as many numbers as in the rows before"));
                }
                width = values.len();
                rows.push(values.iter().all(|value| value.is_finite()).then(|| values.to_vec()));
                Ok(Next::Row)
            })?;
            Ok(Answers::Vectors { width, rows })
        }
        Task::Ctc(_) => {
            let alphabet = alphabet.ok_or(EvaluateError::NoAlphabet)?;
            let (mut fitted, mut rows) = (None, Vec::new());
            each_row(session, data, part, &output, |shape, scores| {
                let [_, classes] = *shape else {
                    return Err(refuse(shape, "steps by scores for each row"));
                };
                if fitted.is_none() {
                    fitted = Some(alphabet.clone().fit(classes)?);
                }
                rows.push(fitted.as_ref().and_then(|alphabet| alphabet.decode(scores, classes)));
                Ok(Next::Row)
            })?;
            Ok(Answers::Texts(rows))
        }
    }
}

/// The first of the largest scores; `None` when one is NaN.
pub(crate) fn largest(scores: &[f32]) -> Option<usize> {
    let mut best = 0;
    for (at, score) in scores.iter().enumerate() {
        if score.is_nan() {
            return None;
        }
        if *score > scores[best] {
            best = at;
        }
    }
    Some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_that_is_nan_is_no_answer() {
        assert_eq!(largest(&[0.5, 2.0, 2.0]), Some(1));
        assert_eq!(largest(&[0.5, f32::NAN]), None);
        assert_eq!(largest(&[f32::NEG_INFINITY; 3]), Some(0));
    }
}
