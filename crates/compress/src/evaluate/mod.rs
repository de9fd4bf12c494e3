//! What a model is worth on the domain's data: its answers, held against the truth and against the baseline's, for
//! all rows and for each slice.
//!
//! ```text
//! session ──answers──▶ Answers ──┐
//! dataset ──truth────▶ Truth ────┴─▶ scores for each row ──intervals──▶ Measurement ──judge──▶ GateResult
//! ```

mod answer;
mod divergence;
mod gates;
mod interval;
mod score;
#[cfg(test)]
mod tests;
mod text;

use sentei_api::{evidence::Measurement, spec::Task};
use sentei_runtime::{RunError, Session};

pub use answer::Answers;
pub use divergence::Reference;
pub use gates::{GateResult, baseline_violations, judge};
pub use text::{Alphabet, AlphabetError};

use crate::data::{DataError, Dataset, Part};

/// Why a model could not be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The labels do not fit.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A run failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The model has no such output.
    #[error("the model has no output `{wanted}` (task.*.output); it has {known}")]
    NoOutput {
        /// The output wanted.
        wanted: String,
        /// Those there are.
        known: String,
    },
    /// An output of a shape the task cannot read.
    #[error("output `{output}` has shape {found:?}, expected {expected}; name another output in task.*.output")]
    Output {
        /// The output.
        output: String,
        /// Its shape.
        found: Vec<usize>,
        /// What the task needs.
        expected: String,
    },
    /// A regression with other labels.
    #[error(
        "the model gives {found} numbers for each row, but the labels have {labels}; correct task.regression.output or data.evaluation.labels"
    )]
    Width {
        /// Numbers given.
        found: usize,
        /// Numbers in a label.
        labels: usize,
    },
    /// Text without characters.
    #[error(
        "the task reads text, but no characters are known: set task.ctc.alphabet (the model has no metadata property `character`)"
    )]
    NoAlphabet,
    /// Characters that do not fit the model.
    #[error(transparent)]
    Alphabet(#[from] AlphabetError),
    /// Answers of different tasks or rows.
    #[error("the answers are not of this task and part; take baseline and candidate from one evaluator")]
    Mismatch,
}

/// Judges models on one part of the data.
#[derive(Debug, Clone)]
pub struct Evaluator<'a> {
    data: &'a Dataset,
    part: Part,
    task: &'a Task,
    alphabet: Option<Alphabet>,
}

impl<'a> Evaluator<'a> {
    /// For a text task, `character` is the model's metadata property of that name, used when the task has no alphabet.
    #[must_use]
    pub fn new(data: &'a Dataset, part: Part, task: &'a Task, character: Option<&str>) -> Self {
        let spelled = match task {
            Task::Ctc(task) => task.alphabet.as_deref().map(Alphabet::from_spec),
            _ => None,
        };
        Self { data, part, task, alphabet: spelled.or_else(|| character.map(Alphabet::from_metadata)) }
    }

    /// Runs a model over the part. The session decides the threads.
    ///
    /// # Errors
    /// [`EvaluateError`] when a run fails or the task cannot read the output.
    pub fn answers(&self, session: &mut Session) -> Result<Answers, EvaluateError> {
        answer::answers(session, self.data, self.part, self.task, self.alphabet.as_ref())
    }

    /// Every metric of the task, on all rows and then on each slice. Values carry 95 % intervals: Wilson's for shares
    /// and Student's t for means; differences come from pairs (Bonett and Price 2012 for shares, t for means).
    ///
    /// # Errors
    /// [`EvaluateError`] when labels are missing or do not fit the task, or the answers are of other rows.
    pub fn measure(&self, baseline: &Answers, candidate: &Answers) -> Result<Vec<Measurement>, EvaluateError> {
        let rows = self.data.len(self.part);
        if baseline.len() != rows || candidate.len() != rows {
            return Err(EvaluateError::Mismatch);
        }
        let classes = if let Answers::Classes { of, .. } = baseline { *of } else { 0 };
        let truth = self.data.truth(self.part, self.task, classes)?;
        let scores = score::scores(self.task, &truth, baseline, candidate)?;
        let all: Vec<usize> = (0..rows).collect();
        let mut measurements: Vec<Measurement> = scores.iter().map(|scores| scores.measure(None, &all)).collect();
        for (slice, name) in self.data.slice_names().enumerate() {
            let rows = self.data.slice_rows(self.part, slice);
            measurements.extend(scores.iter().map(|scores| scores.measure(Some(name), &rows)));
        }
        Ok(measurements)
    }
}
