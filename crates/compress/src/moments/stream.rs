//! Rows of data through a model, batch by batch.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use sentei_onnx::{
    DeclaredDim, ElementType, Model,
    graph::Graph,
    proto::{TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto::Dimension, type_proto},
};
use sentei_runtime::{Data, Runtime, Session, SessionOptions, Tensor};

/// Rows of one run when the model leaves the batch free: with every layer's input exposed, still some tens of megabytes
/// for a net of pictures.
const BATCH: usize = 32;

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

/// Activations already computed, batch by batch, that a stream may start from.
#[derive(Debug, Default)]
pub struct Known {
    tensors: BTreeMap<String, Vec<Tensor>>,
}

impl Known {
    /// Whether a tensor is known.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Names of the known tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Keeps a tensor's batches when they are floats, all there, and all that is known then takes at most `room` bytes.
    pub fn keep(&mut self, name: &str, batches: Vec<Tensor>, room: usize) {
        let size = |batches: &Vec<Tensor>| batches.iter().map(|tensor| tensor.len() * size_of::<f32>()).sum::<usize>();
        let held: usize = self.tensors.values().map(size).sum();
        let floats = batches.iter().all(|tensor| matches!(tensor.data(), Data::F32(_)));
        if floats && held + size(&batches) <= room {
            self.tensors.insert(name.to_owned(), batches);
        }
    }

    /// Forgets what is not among `names`.
    pub fn retain(&mut self, names: &BTreeSet<String>) {
        self.tensors.retain(|name, _| names.contains(name));
    }
}

/// A session of a model that computes given tensors, and the rows it is run over.
pub struct Stream<'a> {
    session: Session,
    rows: &'a Rows,
    known: Option<&'a Known>,
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
        Self::build(runtime, model, tensors, rows, None)
    }

    /// The same from where `start` tensors are known, so that only what lies between is computed.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn from_known(
        runtime: &Runtime,
        model: &Model,
        tensors: &[&str],
        rows: &'a Rows,
        known: &'a Known,
        start: &BTreeSet<String>,
    ) -> Result<Self, StreamError> {
        let rank = |name: &str| Some(known.tensors.get(name)?.first()?.shape().len());
        let start: BTreeMap<&str, usize> = start.iter().filter_map(|name| Some((name.as_str(), rank(name)?))).collect();
        Self::build(runtime, &cut_at(model, &start), Some(tensors), rows, Some(known))
    }

    fn build(
        runtime: &Runtime,
        model: &Model,
        tensors: Option<&[&str]>,
        rows: &'a Rows,
        known: Option<&'a Known>,
    ) -> Result<Self, StreamError> {
        let named = || tensors.unwrap_or_default().iter().map(|&name| name.to_owned()).collect();
        let refuse = |reason: String| StreamError::Expose { tensors: named(), reason };
        let bytes = match tensors {
            Some(names) => {
                let mut part = model.with_outputs(names).map_err(|error| refuse(error.to_string()))?;
                if known.is_some() {
                    drop_unread_inputs(&mut part);
                }
                part.to_bytes()
            }
            None => model.to_bytes(),
        };
        let bytes = bytes.map_err(|error| refuse(error.to_string()))?;
        let session = runtime.session_from_bytes(&bytes, &options())?;
        let fixed = fixed_batch(model);
        // A model of a fixed batch sees whole batches only; the rows left over are not used.
        let (batch, count) = fixed.map_or((BATCH, rows.len()), |batch| (batch, rows.len() / batch * batch));
        Ok(Self { session, rows, known, batch, count })
    }

    /// Calls `visit` with each batch's range of rows and tensors, in order.
    ///
    /// # Errors
    /// The first error of a run or of `visit`.
    pub fn each(
        &mut self,
        mut visit: impl FnMut(Range<usize>, Vec<Tensor>) -> Result<(), StreamError>,
    ) -> Result<(), StreamError> {
        let names: Vec<String> = self.session.inputs().iter().map(|port| port.name.clone()).collect();
        for (index, start) in (0..self.count).step_by(self.batch).enumerate() {
            let range = start..(start + self.batch).min(self.count);
            let input = |name: &String| {
                let known = self.known.and_then(|known| known.tensors.get(name)?.get(index));
                if let Some(tensor) = known {
                    return Ok(Cow::Borrowed(tensor));
                }
                let found = self.rows.inputs.iter().find(|(input, _)| input == name);
                let (_, tensor) = found.ok_or_else(|| StreamError::Input { input: name.clone() })?;
                Ok(Cow::Owned(rows_of(tensor, range.clone())))
            };
            let inputs = names.iter().map(input).collect::<Result<Vec<Cow<'_, Tensor>>, StreamError>>()?;
            let fed: Vec<(&str, &Tensor)> =
                names.iter().map(String::as_str).zip(inputs.iter().map(AsRef::as_ref)).collect();
            let outputs = self.session.run(&fed, None)?;
            visit(range, outputs)?;
        }
        Ok(())
    }
}

/// The model in which callers feed the tensors of `start` (float, of these ranks): whoever makes them makes something
/// nobody reads.
fn cut_at(model: &Model, start: &BTreeMap<&str, usize>) -> Model {
    let mut cut = model.clone();
    let graph = cut.graph_mut();
    for output in graph.node.iter_mut().flat_map(|node| &mut node.output) {
        if start.contains_key(output.as_str()) {
            output.push_str(".cut");
        }
    }
    graph.value_info.retain(|info| !start.contains_key(info.name()));
    graph.input.extend(start.iter().map(|(name, &rank)| {
        let dim = vec![Dimension::default(); rank];
        let tensor =
            type_proto::Tensor { elem_type: Some(ElementType::Float as i32), shape: Some(TensorShapeProto { dim }) };
        let value = Some(type_proto::Value::TensorType(tensor));
        ValueInfoProto {
            name: Some((*name).to_owned()),
            r#type: Some(TypeProto { value, ..TypeProto::default() }),
            ..ValueInfoProto::default()
        }
    }));
    cut
}

/// Inputs that no node reads and that are no outputs need not be fed.
fn drop_unread_inputs(model: &mut Model) {
    let graph = Graph::new(model);
    let unread: BTreeSet<String> = model
        .graph()
        .input
        .iter()
        .map(ValueInfoProto::name)
        .filter(|name| graph.readers(name).is_empty() && !graph.is_output(name))
        .map(str::to_owned)
        .collect();
    model.graph_mut().input.retain(|input| !unread.contains(input.name()));
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
