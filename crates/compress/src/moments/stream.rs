//! Rows of data through a model, batch by batch.

use std::{borrow::Cow, ops::Range};

use sentei_onnx::{DeclaredDim, Model};
use sentei_runtime::{Data, Runtime, Session, SessionOptions, Tensor};

/// Rows of one run when the model leaves the batch free.
const BATCH: usize = 64;

/// Model inputs for a number of rows, with what each row counts.
#[derive(Debug, Clone)]
pub struct Rows {
    /// Model input name to a tensor whose first axis is the row.
    pub inputs: Vec<(String, Tensor)>,
    /// For each row what it counts, ≥ 0.
    pub weights: Vec<f32>,
    /// For each slice whether each row is in it.
    pub slices: Vec<Vec<bool>>,
}

/// Why a model could not be run over rows.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The graph could not be cut to what is needed.
    #[error("cannot expose `{}`: {reason}", tensors.join("`, `"))]
    Expose {
        /// The tensors asked for.
        tensors: Vec<String>,
        /// Why not.
        reason: String,
    },
    /// ONNX Runtime refused the model.
    #[error(transparent)]
    Session(#[from] sentei_runtime::SessionError),
    /// A run failed.
    #[error(transparent)]
    Run(#[from] sentei_runtime::RunError),
    /// A tensor is not made of real numbers, or not laid out as expected.
    #[error("tensor `{tensor}` is {found}; expected {expected}")]
    Layout {
        /// The tensor.
        tensor: String,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// An input of the model is missing from the data.
    #[error("the data has no values for the model's input `{input}`")]
    Input {
        /// The input.
        input: String,
    },
}

impl Rows {
    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.weights.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    /// The first `count` rows.
    #[must_use]
    pub fn first(&self, count: usize) -> Self {
        let count = count.min(self.len());
        Self {
            inputs: self.inputs.iter().map(|(name, tensor)| (name.clone(), rows_of(tensor, 0..count))).collect(),
            weights: self.weights[..count].to_vec(),
            slices: self.slices.iter().map(|slice| slice[..count].to_vec()).collect(),
        }
    }
}

/// A session of a model that computes given tensors, and the rows it is run over.
pub struct Stream<'a> {
    session: Session,
    rows: &'a Rows,
    batch: usize,
    count: usize,
}

impl<'a> Stream<'a> {
    /// A session that computes `tensors` of the model (its outputs when `None`) from the rows' inputs.
    ///
    /// # Errors
    /// [`StreamError`] when the graph cannot be cut to that or the runtime refuses it.
    pub fn new(
        runtime: &Runtime,
        model: &Model,
        tensors: Option<&[&str]>,
        rows: &'a Rows,
    ) -> Result<Self, StreamError> {
        let named = || tensors.unwrap_or_default().iter().map(|&name| name.to_owned()).collect();
        let refuse = |reason: String| StreamError::Expose { tensors: named(), reason };
        let bytes = match tensors {
            Some(names) => model.with_outputs(names).map_err(|error| refuse(error.to_string()))?.to_bytes(),
            None => model.to_bytes(),
        };
        let bytes = bytes.map_err(|error| refuse(error.to_string()))?;
        let session = runtime.session_from_bytes(&bytes, &options())?;
        let fixed = fixed_batch(model);
        // A model of a fixed batch sees whole batches only; the rows left over are not used.
        let (batch, count) = fixed.map_or((BATCH, rows.len()), |batch| (batch, rows.len() / batch * batch));
        Ok(Self { session, rows, batch, count })
    }

    /// Calls `visit` with each batch's range of rows and tensors, in order.
    ///
    /// # Errors
    /// The first error of a run or of `visit`.
    pub fn each(
        &mut self,
        mut visit: impl FnMut(Range<usize>, &[Tensor]) -> Result<(), StreamError>,
    ) -> Result<(), StreamError> {
        let names: Vec<String> = self.session.inputs().iter().map(|port| port.name.clone()).collect();
        let mut start = 0;
        while start < self.count {
            let range = start..(start + self.batch).min(self.count);
            let inputs = names
                .iter()
                .map(|name| {
                    let found = self.rows.inputs.iter().find(|(input, _)| input == name);
                    let (_, tensor) = found.ok_or_else(|| StreamError::Input { input: name.clone() })?;
                    Ok(rows_of(tensor, range.clone()))
                })
                .collect::<Result<Vec<_>, StreamError>>()?;
            let fed: Vec<(&str, &Tensor)> = names.iter().map(String::as_str).zip(&inputs).collect();
            let outputs = self.session.run(&fed, None)?;
            visit(range.clone(), &outputs)?;
            start = range.end;
        }
        Ok(())
    }
}

/// Every session of the search: all threads, fixed order of additions.
#[must_use]
pub fn options() -> SessionOptions {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    SessionOptions { threads, ..SessionOptions::default() }
}

/// The batch size when the model fixes it.
#[must_use]
pub fn fixed_batch(model: &Model) -> Option<usize> {
    let first = |dims: &Vec<DeclaredDim>| match dims.first() {
        Some(DeclaredDim::Size(size)) => Some(*size),
        _ => None,
    };
    model.inputs().iter().find_map(|input| input.dims.as_ref().and_then(first)).filter(|&size| size > 0)
}

/// Some rows of a tensor.
#[must_use]
pub fn rows_of(tensor: &Tensor, range: Range<usize>) -> Tensor {
    let (first, rest) = tensor.shape().split_first().map_or((1, &[][..]), |(first, rest)| (*first, rest));
    let width = tensor.len() / first.max(1);
    let span = range.start * width..range.end * width;
    macro_rules! cut {
        ($($kind:ident),+) => {
            match tensor.data() { $(Data::$kind(values) => Data::$kind(values[span].to_vec()),)+ }
        };
    }
    let data = cut!(F32, F64, F16, I64, I32, I16, I8, U64, U32, U16, U8, Bool);
    let shape: Vec<usize> = std::iter::once(range.len()).chain(rest.iter().copied()).collect();
    let dtype = tensor.dtype();
    Tensor::new(shape.clone(), data).unwrap_or_else(|_| Tensor::zeros(shape, dtype))
}

/// A tensor's real values as `f32`.
///
/// # Errors
/// [`StreamError::Layout`] when they are not real.
pub fn reals<'t>(tensor: &'t Tensor, name: &str) -> Result<Cow<'t, [f32]>, StreamError> {
    match tensor.data() {
        Data::F32(values) => Ok(Cow::Borrowed(values)),
        Data::F64(values) => Ok(Cow::Owned(values.iter().map(|&value| value as f32).collect())),
        Data::F16(values) => Ok(Cow::Owned(values.iter().map(|value| value.to_f32()).collect())),
        _ => Err(StreamError::Layout {
            tensor: name.to_owned(),
            found: format!("made of {}", tensor.dtype()),
            expected: "real numbers".to_owned(),
        }),
    }
}
