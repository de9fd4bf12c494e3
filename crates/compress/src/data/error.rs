//! What can be wrong with domain data. Each message names the file, the array or field, what was found, what was
//! expected, and what to do.

use std::{fmt, io, path::PathBuf};

use super::Part;

/// An array or column, by name and file: reads "array `x` in `data.npz`".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(String);

impl Place {
    pub(crate) fn array(name: &str, path: &std::path::Path) -> Self {
        Self(format!("array `{name}` in `{}`", path.display()))
    }

    pub(crate) fn column(name: &str, path: &std::path::Path) -> Self {
        Self(format!("column `{name}` in `{}`", path.display()))
    }

    pub(crate) fn file(path: &std::path::Path) -> Self {
        Self(format!("`{}`", path.display()))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names as a message lists them, at most twenty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names(Vec<String>);

impl Names {
    pub(crate) fn new<T: ToString>(names: impl IntoIterator<Item = T>) -> Self {
        Self(names.into_iter().map(|name| name.to_string()).collect())
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 20;
        let shown: Vec<String> = self.0.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
        match self.0.len() {
            0 => f.write_str("none"),
            n if n > SHOWN => write!(f, "{} and {} more", shown.join(", "), n - SHOWN),
            _ => f.write_str(&shown.join(", ")),
        }
    }
}

/// A shape with free axes: reads `[?, 28, 28]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape(pub Vec<Option<usize>>);

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims: Vec<String> = self.0.iter().map(|dim| dim.map_or("?".to_owned(), |dim| dim.to_string())).collect();
        write!(f, "[{}]", dims.join(", "))
    }
}

/// Why the data cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A URI that is not a file on this machine.
    #[error("{field}.uri `{uri}` is not on this machine; copy the data here and give its path")]
    Remote {
        /// Field of the manifest.
        field: &'static str,
        /// What it says.
        uri: String,
    },
    /// A file that is not there or may not be read.
    #[error("cannot read `{}` ({field}): {source}; check the path, which is relative to the manifest", path.display())]
    Read {
        /// Field of the manifest.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of a kind that is not read.
    #[error("`{}` ({field}) is not data Sentei reads; expected an .npz, an .npy, a .csv with a `file` column, or a folder holding labels.csv", path.display())]
    Format {
        /// Field of the manifest.
        field: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A damaged archive.
    #[error("`{}` ({field}) is not a readable npz archive: {reason}; it may be truncated, copy or save it again", path.display())]
    Archive {
        /// Field of the manifest.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A damaged or unsupported array.
    #[error("{place} {reason}")]
    Array {
        /// The array.
        place: Place,
        /// What is wrong and what to do.
        reason: String,
    },
    /// An array the manifest names that the archive lacks.
    #[error("`{}` holds no array `{array}`, wanted by {field}; it holds {known}; name one of these there", path.display())]
    NoArray {
        /// Field of the manifest.
        field: String,
        /// The archive.
        path: PathBuf,
        /// The array.
        array: String,
        /// Those there are.
        known: Names,
    },
    /// A column that a selector or `labels` names and the data lacks.
    #[error("`{}` has no column `{column}`, wanted by {field}; it has {known}; name one of these, or map an array to it in {set}.columns", path.display())]
    NoColumn {
        /// Field of the manifest.
        field: String,
        /// The data set.
        set: &'static str,
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// Those there are.
        known: Names,
    },
    /// A name under `inputs` that the model lacks.
    #[error("{field}.inputs names `{name}`, which the model does not have; its inputs are {known}")]
    NoInput {
        /// Field of the manifest.
        field: &'static str,
        /// The name.
        name: String,
        /// Those there are.
        known: Names,
    },
    /// A format that feeds one input, and a model with more or none.
    #[error("`{}` feeds one model input, but the model has {known}; give an .npz with an array for each and map them in {field}.inputs", path.display())]
    OneInput {
        /// Field of the manifest.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// The model's inputs.
        known: Names,
    },
    /// Rows of a shape the model does not take.
    #[error("{place} has rows of shape {found}, but model input `{input}` takes {expected} for each row; {remedy}")]
    RowShape {
        /// The array.
        place: Place,
        /// Shape of a row after preprocessing.
        found: Shape,
        /// The model's input.
        input: String,
        /// Its shape without the batch axis.
        expected: Shape,
        /// What to do.
        remedy: &'static str,
    },
    /// Values of a type the model does not take.
    #[error("{place} holds {found}, but model input `{input}` takes {expected}; {remedy}")]
    Dtype {
        /// The array.
        place: Place,
        /// Type found.
        found: String,
        /// The model's input.
        input: String,
        /// Type expected.
        expected: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A model that takes several rows at once and no other number.
    #[error("model input `{input}` takes exactly {batch} rows at a time; export the model with a free batch axis")]
    FixedBatch {
        /// The model's input.
        input: String,
        /// Its first dimension.
        batch: usize,
    },
    /// A model input without a batch axis.
    #[error("model input `{input}` is a scalar; expected a first axis that counts rows")]
    NoBatchAxis {
        /// The model's input.
        input: String,
    },
    /// NaN or infinity.
    #[error(
        "{place} has {value} in row {row} (value {index} of the row, counting from 0), and {others} more like it; remove or repair these rows"
    )]
    NotFinite {
        /// The array.
        place: Place,
        /// What was found.
        value: f64,
        /// Row, counting from 0.
        row: usize,
        /// Position in the row.
        index: usize,
        /// How many further values are not finite.
        others: usize,
    },
    /// Arrays of one set with different numbers of rows.
    #[error("{place} has {found} rows, but {other} has {expected}; they must belong together row by row")]
    RowCount {
        /// One array.
        place: Place,
        /// Its rows.
        found: usize,
        /// Another.
        other: Place,
        /// Its rows.
        expected: usize,
    },
    /// A column that is not one value for each row.
    #[error("{place} has shape {found:?}, expected one value for each row")]
    NotAColumn {
        /// The array.
        place: Place,
        /// Its shape.
        found: Vec<usize>,
    },
    /// No labels where answers must be judged.
    #[error("the rows of `{}` ({field}) have no labels, and the task needs them; {remedy}", path.display())]
    NoLabels {
        /// Field of the manifest.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// What to do.
        remedy: &'static str,
    },
    /// A label that is no class.
    #[error(
        "{place}: the label of row {row} is `{found}`, expected {expected}; correct the label or task.classification.classes"
    )]
    Label {
        /// The labels.
        place: Place,
        /// Row, counting from 0.
        row: usize,
        /// The label.
        found: String,
        /// What would have been right.
        expected: String,
    },
    /// Labels of a kind the task cannot use.
    #[error("{place} holds {found}, but the task needs {expected}")]
    LabelKind {
        /// The labels.
        place: Place,
        /// What they are.
        found: String,
        /// What they should be.
        expected: String,
    },
    /// A set without rows.
    #[error("no rows are left in `{}` ({field}){why}", path.display())]
    NoRows {
        /// Field of the manifest.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// Why, beginning with a semicolon when known.
        why: String,
    },
    /// A slice with too few rows to say anything.
    #[error(
        "slice `{slice}` has {found} rows in the {part} part of data.evaluation, expected at least {expected}; its selector looks at column `{column}`, which holds {known}"
    )]
    EmptySlice {
        /// The slice.
        slice: String,
        /// Verification or report.
        part: Part,
        /// Rows there.
        found: usize,
        /// Rows needed.
        expected: usize,
        /// Column of the selector.
        column: String,
        /// Values that occur in it.
        known: Names,
    },
    /// Slice weights that leave nothing.
    #[error("every calibration row is in a slice of weight 0; give at least one slice a weight above 0")]
    NoWeight,
    /// Evaluation on what was calibrated on.
    #[error(
        "{overlap} of {rows} rows of data.evaluation are rows of data.calibration too; give rows of their own for evaluation, or tell the sets apart with `where`"
    )]
    Overlap {
        /// Rows in both.
        overlap: usize,
        /// Rows in evaluation.
        rows: usize,
    },
    /// A CSV file that does not parse.
    #[error("`{}` ({field}) is not a readable table: {reason}; every line needs as many cells as the header", path.display())]
    Table {
        /// Field of the manifest.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line.
        reason: String,
    },
    /// A picture that does not decode.
    #[error("picture `{}` (row {row} of `{}`) cannot be read: {reason}; replace it or remove its row", path.display(), table.display())]
    Picture {
        /// The picture.
        path: PathBuf,
        /// Row, counting from 0 without the header.
        row: usize,
        /// The table naming it.
        table: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Pictures without a size to bring them to.
    #[error("the pictures of `{}` need a size, and the model's input has none; set data.preprocess.image.height, width and channels", path.display())]
    NoLayout {
        /// The table naming them.
        path: PathBuf,
    },
    /// More than fits in memory.
    #[error("the pictures of `{}` would take {bytes} bytes of memory, more than {limit}; take fewer with {field}.limit", path.display())]
    TooLarge {
        /// Field of the manifest.
        field: &'static str,
        /// The table naming them.
        path: PathBuf,
        /// Bytes needed.
        bytes: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// Preprocessing that cannot be carried out.
    #[error("data.preprocess.{field} {reason}")]
    Preprocess {
        /// Field below `data.preprocess`.
        field: &'static str,
        /// What was found and what was expected.
        reason: String,
    },
}
