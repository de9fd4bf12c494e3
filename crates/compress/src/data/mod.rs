//! Domain data: rows of model inputs with their labels and slices, in three parts that share no row.
//!
//! ```text
//! DataSource ──read──▶ rows ──where, limit──▶ calibration ────────────▶ Part::Calibration
//!  npz, npy, CSV + pictures        │           evaluation ──halves──┬─▶ Part::Verification
//!                                  └─ checked once, here            └─▶ Part::Report
//! ```
//!
//! Rows stay in memory as they are stored (a byte stays a byte) and become floats one batch at a time.

mod error;
#[cfg(test)]
pub(crate) mod fixtures;
mod npy;
mod npz;
mod picture;
mod preprocess;
mod source;
mod split;
mod table;
#[cfg(test)]
mod tests;
mod truth;
pub(crate) mod values;

use std::{
    collections::HashSet,
    fmt,
    hash::{DefaultHasher, Hasher},
    path::Path,
};

use sentei_api::spec::{Data, Slice, Task};
use sentei_runtime::Tensor;

pub use error::{DataError, Names, Place, Shape};
pub use preprocess::Input;
use source::{Reading, Rows, Set};
pub use truth::Truth;

/// A slice with fewer rows than this in a part has no spread, so no interval.
const MIN_SLICE_ROWS: usize = 2;
/// Labels are evened out between verification and report only when each value has this many rows on average.
const ROWS_PER_LABEL: usize = 4;

/// The three parts of the data. No row is in two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// For importance, refits and quantisation ranges; labels unused.
    Calibration,
    /// Judges each stage.
    Verification,
    /// Seen once, by the final report.
    Report,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Calibration => "calibration",
            Self::Verification => "verification",
            Self::Report => "report",
        })
    }
}

/// The domain's data, read and checked.
#[derive(Debug)]
pub struct Dataset {
    inputs: Vec<Input>,
    slices: Vec<Slice>,
    calibration: Side,
    evaluation: Side,
    verification: Vec<usize>,
    report: Vec<usize>,
    notes: Vec<String>,
}

/// One of the two sets, with the slices its rows are in.
#[derive(Debug)]
struct Side {
    rows: Rows,
    /// For each slice, whether each row is in it.
    members: Vec<Vec<bool>>,
    /// Rows that are used.
    kept: Vec<usize>,
}

/// Some rows of a part, ready to run.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Their numbers in the part, counting from 0.
    pub rows: Vec<usize>,
    /// The tensor for each model input, batch axis first.
    pub inputs: Vec<(String, Tensor)>,
}

impl Batch {
    /// The inputs as a session takes them.
    #[must_use]
    pub fn feed(&self) -> Vec<(&str, &Tensor)> {
        self.inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect()
    }
}

impl Dataset {
    /// Reads calibration and evaluation data, paths relative to `base`, for a model that takes `inputs`; `seed` fixes
    /// which rows a `limit` keeps and which half of the evaluation rows judges stages.
    ///
    /// Evaluation rows that also are calibration rows are left out (see [`Self::notes`]).
    ///
    /// # Errors
    /// [`DataError`], naming the file, the array or field, what was found and what to do.
    pub fn open(data: &Data, base: &Path, seed: u32, inputs: &[Input]) -> Result<Self, DataError> {
        let wanted: Vec<&str> = data.slices.iter().map(|slice| slice.selector.column.as_str()).collect();
        let side = |set| {
            let source = if set == Set::Calibration { &data.calibration } else { &data.evaluation };
            let (preprocess, wanted, seed) = (&data.preprocess, wanted.as_slice(), u64::from(seed));
            let rows = Reading { set, source, base, inputs, preprocess, wanted, seed }.rows()?;
            let members = data.slices.iter().map(|slice| members(&rows, slice)).collect();
            Ok::<_, DataError>(Side { kept: (0..rows.origin.len()).collect(), rows, members })
        };
        let calibration = side(Set::Calibration)?;
        let mut evaluation = side(Set::Evaluation)?;
        slices_exist(&evaluation.rows, &data.slices)?;
        let mut notes = Vec::new();
        notes.extend(unseen_slices(&calibration, &data.slices));
        let content = content(&evaluation.rows);
        notes.extend(drop_overlap(&calibration, &mut evaluation, &content)?);
        let [verification, report] = split_evaluation(&evaluation, &content, seed);
        let dataset = Self {
            inputs: inputs.to_vec(),
            slices: data.slices.clone(),
            calibration,
            evaluation,
            verification,
            report,
            notes,
        };
        dataset.slices_have_rows()?;
        dataset.weights_remain()?;
        Ok(dataset)
    }

    /// Rows in a part.
    #[must_use]
    pub fn len(&self, part: Part) -> usize {
        self.part(part).1.len()
    }

    /// What the reader decided that a user should know, in sentences.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Names of the slices, in the manifest's order. Slices are numbered by it.
    #[must_use]
    pub fn slice_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.slices.iter().map(|slice| slice.name.as_str())
    }

    /// Whether a row of a part is in a slice. A row may be in several, or in none.
    #[must_use]
    pub fn in_slice(&self, part: Part, slice: usize, row: usize) -> bool {
        let (side, rows) = self.part(part);
        side.members[slice][rows[row]]
    }

    /// The rows of a part that are in a slice, ascending.
    #[must_use]
    pub fn slice_rows(&self, part: Part, slice: usize) -> Vec<usize> {
        (0..self.len(part)).filter(|&row| self.in_slice(part, slice, row)).collect()
    }

    /// How much each row of a part counts in second moments; 1 on average.
    ///
    /// A row counts in proportion to its slice's `weight` (1 outside every slice). A row of k slices gives each of
    /// them 1/k of itself, so it counts in proportion to their mean weight. With m rows counted that way in slice s
    /// and H(s) its moments, Σ wᵢ uᵢuᵢᵀ / Σ wᵢ = Σₛ αₛ H(s) with αₛ ∝ weight·m: the slice's share of the data times
    /// its weight. Weights left at 1 are the plain mean over rows.
    #[must_use]
    pub fn row_weights(&self, part: Part) -> Vec<f64> {
        let raw: Vec<f64> = (0..self.len(part)).map(|row| self.raw_weight(part, row)).collect();
        let mean = raw.iter().sum::<f64>() / raw.len().max(1) as f64;
        if mean > 0.0 { raw.iter().map(|weight| weight / mean).collect() } else { vec![1.0; raw.len()] }
    }

    /// The label of a row as text, when there is one value of it.
    #[must_use]
    pub fn label(&self, part: Part, row: usize) -> Option<String> {
        let (side, rows) = self.part(part);
        let labels = side.rows.labels.as_ref().filter(|labels| labels.width == 1)?;
        labels.values.select(1, &[rows[row]]).texts().pop()
    }

    /// The right answers of a part for this task, whose model has `classes` classes (classification only).
    ///
    /// # Errors
    /// [`DataError`] when labels are missing, are none of the classes, or are of a kind the task cannot use.
    pub fn truth(&self, part: Part, task: &Task, classes: usize) -> Result<Truth, DataError> {
        let (side, rows) = self.part(part);
        truth::parse(&side.rows, rows, task, classes)
    }

    /// These rows of a part as model inputs.
    ///
    /// # Panics
    /// When a row is not below [`Self::len`].
    #[must_use]
    pub fn batch(&self, part: Part, rows: &[usize]) -> Batch {
        let (side, kept) = self.part(part);
        let stored: Vec<usize> = rows.iter().map(|&row| kept[row]).collect();
        let inputs = self.inputs.iter().zip(&side.rows.inputs);
        let inputs = inputs.map(|(input, rows)| (input.name.clone(), rows.transform.apply(&rows.data, &stored)));
        Batch { rows: rows.to_vec(), inputs: inputs.collect() }
    }

    /// A part in order, at most `size` rows at a time; one at a time when the model takes no more.
    #[must_use]
    pub fn batches(&self, part: Part, size: usize) -> impl ExactSizeIterator<Item = Batch> + '_ {
        let one = self.inputs.iter().any(|input| input.shape.first() == Some(&Some(1)));
        let size = if one { 1 } else { size.max(1) };
        let rows = self.len(part);
        (0..rows.div_ceil(size)).map(move |at| {
            let rows: Vec<usize> = (at * size..((at + 1) * size).min(rows)).collect();
            self.batch(part, &rows)
        })
    }

    fn part(&self, part: Part) -> (&Side, &[usize]) {
        match part {
            Part::Calibration => (&self.calibration, &self.calibration.kept),
            Part::Verification => (&self.evaluation, &self.verification),
            Part::Report => (&self.evaluation, &self.report),
        }
    }

    fn raw_weight(&self, part: Part, row: usize) -> f64 {
        let slices = self.slices.iter().enumerate().filter(|(slice, _)| self.in_slice(part, *slice, row));
        let (sum, count) = slices.fold((0.0, 0), |(sum, count), (_, slice)| (sum + slice.weight, count + 1));
        if count == 0 { 1.0 } else { sum / f64::from(count) }
    }

    fn slices_have_rows(&self) -> Result<(), DataError> {
        for part in [Part::Verification, Part::Report] {
            if self.len(part) < MIN_SLICE_ROWS {
                let why = format!("; {} for the {part} part, expected at least {MIN_SLICE_ROWS}", self.len(part));
                let (field, path) = (Set::Evaluation.field(), self.evaluation.rows.path.clone());
                return Err(DataError::NoRows { field, path, why });
            }
            for (at, slice) in self.slices.iter().enumerate() {
                let found = self.slice_rows(part, at).len();
                if found < MIN_SLICE_ROWS {
                    let column = slice.selector.column.clone();
                    let values = self.evaluation.rows.columns.get(&column).map(|values| split::distinct(values));
                    return Err(DataError::EmptySlice {
                        slice: slice.name.clone(),
                        part,
                        found,
                        expected: MIN_SLICE_ROWS,
                        column,
                        known: Names::new(values.unwrap_or_default()),
                    });
                }
            }
        }
        Ok(())
    }

    fn weights_remain(&self) -> Result<(), DataError> {
        let part = Part::Calibration;
        let some = (0..self.len(part)).any(|row| self.raw_weight(part, row) > 0.0);
        if some { Ok(()) } else { Err(DataError::NoWeight) }
    }
}

/// Whether each row is in the slice; none is when the column is absent.
fn members(rows: &Rows, slice: &Slice) -> Vec<bool> {
    match rows.columns.get(&slice.selector.column) {
        Some(values) => values.iter().map(|value| slice.selector.takes(value)).collect(),
        None => vec![false; rows.origin.len()],
    }
}

fn slices_exist(rows: &Rows, slices: &[Slice]) -> Result<(), DataError> {
    match slices.iter().find(|slice| !rows.columns.contains_key(&slice.selector.column)) {
        None => Ok(()),
        Some(slice) => Err(DataError::NoColumn {
            field: format!("data.slices `{}`", slice.name),
            set: Set::Evaluation.field(),
            path: rows.path.clone(),
            column: slice.selector.column.clone(),
            known: rows.known.clone(),
        }),
    }
}

/// Calibration data need not be labelled, and a slice may be one that calibration has never seen.
fn unseen_slices(calibration: &Side, slices: &[Slice]) -> Option<String> {
    let unseen = slices.iter().zip(&calibration.members).filter(|(_, members)| !members.contains(&true));
    let unseen = Names::new(unseen.map(|(slice, _)| &slice.name));
    (unseen != Names::new([""; 0])).then(|| {
        format!(
            "no calibration row is in slice {unseen}: its weight has no effect, and it is judged as new to the model"
        )
    })
}

/// One number for what each row feeds the model; equal for equal rows.
fn content(rows: &Rows) -> Vec<u64> {
    let hash = |row| {
        let mut hasher = DefaultHasher::new();
        for stored in &rows.inputs {
            values::hash_row(&stored.data, stored.transform.width(), row, &mut hasher);
        }
        hasher.finish()
    };
    (0..rows.origin.len()).map(hash).collect()
}

fn drop_overlap(calibration: &Side, evaluation: &mut Side, hashes: &[u64]) -> Result<Option<String>, DataError> {
    let known: HashSet<u64> = content(&calibration.rows).into_iter().collect();
    let rows = evaluation.kept.len();
    evaluation.kept.retain(|&row| !known.contains(&hashes[row]));
    let overlap = rows - evaluation.kept.len();
    // A few equal rows are chance (a sensor at rest); half of them is one set used twice.
    if overlap * 2 > rows {
        return Err(DataError::Overlap { overlap, rows });
    }
    let note = format!("{overlap} of {rows} evaluation rows are calibration rows too; they are left out of evaluation");
    Ok((overlap > 0).then_some(note))
}

/// Verification and report rows: the same mixture of slices and labels in both.
fn split_evaluation(evaluation: &Side, content: &[u64], seed: u32) -> [Vec<usize>; 2] {
    let kept = &evaluation.kept;
    let labels = evaluation.rows.labels.as_ref().filter(|labels| labels.width == 1);
    let labels = labels.map(|labels| labels.values.texts());
    let labels = labels.filter(|labels| split::distinct(labels).len() * ROWS_PER_LABEL <= kept.len());
    let stratum = |&row: &usize| {
        let slices: Vec<bool> = evaluation.members.iter().map(|members| members[row]).collect();
        (slices, labels.as_ref().map(|labels| labels[row].clone()))
    };
    let strata: Vec<_> = kept.iter().map(stratum).collect();
    let content: Vec<u64> = kept.iter().map(|&row| content[row]).collect();
    split::halves(&strata, &content, u64::from(seed)).map(|half| half.iter().map(|&at| kept[at]).collect())
}
