//! A model ready to run: its ports, and one run at a time.

use std::{fmt, sync::Arc};

use ort::{
    environment::Environment,
    session::{
        OutputSelector, RunOptions, SessionInputValue,
        builder::{GraphOptimizationLevel, PrepackedWeights, SessionBuilder},
    },
    value::{DynValue, Outlet, TensorElementType, TensorRef, ValueType},
};

use crate::tensor::{Data, Dtype, Tensor};

/// How much ONNX Runtime may rewrite the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// Not at all: every node runs as written.
    Off,
    /// Constant folding and dropping what is redundant.
    Basic,
    /// Also fusions for the CPU.
    Extended,
    /// Everything, layout changes included: how models are served.
    #[default]
    All,
}

/// How a session runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOptions {
    /// Threads a single run may use, at least 1. They never spin while idle.
    pub threads: usize,
    /// How far the graph may be rewritten.
    pub optimization: Level,
    /// Use only kernels whose answers do not depend on the order of additions.
    pub deterministic: bool,
    /// Keep freed memory for the next run: faster, but the peak stays resident.
    pub arena: bool,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self { threads: 1, optimization: Level::All, deterministic: true, arena: true }
    }
}

/// Why a model did not become a session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// ONNX Runtime refused the model.
    #[error("ONNX Runtime refused the model: {0}")]
    Model(String),
    /// An input or output is not a tensor of a type Sentei handles.
    #[error("`{port}` is {found}; only tensors of numbers and booleans are supported, export the model without it")]
    Port {
        /// The input or output.
        port: String,
        /// What it is.
        found: String,
    },
}

/// Why a run gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An input the model does not have.
    #[error("unknown input `{name}`; the model has {}", known.join(", "))]
    UnknownInput {
        /// The name given.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// An input the model needs.
    #[error("input `{name}` is missing; expected {dtype} of shape {shape}")]
    MissingInput {
        /// The input.
        name: String,
        /// Its type.
        dtype: Dtype,
        /// Its shape.
        shape: Dims,
    },
    /// An input given twice.
    #[error("input `{name}` was given twice")]
    RepeatedInput {
        /// The input.
        name: String,
    },
    /// An input of the wrong type.
    #[error("input `{name}` is {found}, expected {expected}")]
    InputType {
        /// The input.
        name: String,
        /// The type given.
        found: Dtype,
        /// The type the model wants.
        expected: Dtype,
    },
    /// An input of the wrong shape.
    #[error("input `{name}` has shape {found:?}, expected {expected}")]
    InputShape {
        /// The input.
        name: String,
        /// The shape given.
        found: Vec<usize>,
        /// The shape the model wants.
        expected: Dims,
    },
    /// An output the model does not have.
    #[error("unknown output `{name}`; the model has {}", known.join(", "))]
    UnknownOutput {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// ONNX Runtime failed while running.
    #[error("the model failed while running: {0}")]
    Failed(String),
}

impl RunError {
    /// Whether the caller's request was at fault rather than the model.
    #[must_use]
    pub fn is_callers(&self) -> bool {
        !matches!(self, Self::Failed(_))
    }
}

/// Dimensions as a model declares them; `None` is free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dims(Vec<Option<usize>>);

impl Dims {
    /// The dimensions, outermost first.
    #[must_use]
    pub fn as_slice(&self) -> &[Option<usize>] {
        &self.0
    }

    /// Whether a tensor of `shape` fits.
    #[must_use]
    pub fn accept(&self, shape: &[usize]) -> bool {
        self.0.len() == shape.len()
            && self.0.iter().zip(shape).all(|(want, have)| want.is_none_or(|want| want == *have))
    }
}

impl fmt::Display for Dims {
    /// `[?, 1, 28, 28]`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, dim) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            match dim {
                Some(dim) => write!(f, "{comma}{dim}")?,
                None => write!(f, "{comma}?")?,
            }
        }
        f.write_str("]")
    }
}

/// An input or output of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name in the graph.
    pub name: String,
    /// The type of its values.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Dims,
}

/// A loaded model. Runs one request at a time; see [`crate::Pool`] for more.
#[derive(Debug)]
pub struct Session {
    inner: ort::session::Session,
    inputs: Arc<[Port]>,
    outputs: Arc<[Port]>,
}

impl Session {
    pub(crate) fn build(
        environment: &Environment,
        options: &SessionOptions,
        shared: Option<&PrepackedWeights>,
        commit: impl FnOnce(&mut SessionBuilder) -> ort::Result<ort::session::Session>,
    ) -> Result<Self, SessionError> {
        let refused = |error: ort::Error| SessionError::Model(error.to_string());
        let inner =
            builder(environment, options, shared).and_then(|mut builder| commit(&mut builder)).map_err(refused)?;
        let inputs = inner.inputs().iter().map(port).collect::<Result<_, _>>()?;
        let outputs = inner.outputs().iter().map(port).collect::<Result<_, _>>()?;
        Ok(Self { inner, inputs, outputs })
    }

    /// The inputs, in the graph's order.
    #[must_use]
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// The outputs, in the graph's order.
    #[must_use]
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// Runs the model on `inputs` (each of the model's inputs once, any order) and gives the `outputs` asked for, in
    /// that order; `None` gives all. Outputs not asked for, and what only they need, are not computed.
    ///
    /// # Errors
    /// [`RunError`], naming the input or output at fault.
    pub fn run(&mut self, inputs: &[(&str, &Tensor)], outputs: Option<&[&str]>) -> Result<Vec<Tensor>, RunError> {
        check_inputs(&self.inputs, inputs)?;
        if let Some(names) = outputs {
            check_outputs(&self.outputs, names)?;
        }
        // All of them in order is what ONNX Runtime does when told nothing, and cheaper.
        let outputs = outputs.filter(|names| !names.iter().eq(self.outputs.iter().map(|port| &port.name)));
        self.run_checked(inputs, outputs).map_err(|error| RunError::Failed(error.to_string()))
    }

    fn run_checked(&mut self, inputs: &[(&str, &Tensor)], outputs: Option<&[&str]>) -> ort::Result<Vec<Tensor>> {
        let values: Vec<(&str, SessionInputValue<'_>)> =
            inputs.iter().map(|(name, tensor)| Ok((*name, lend(tensor)?))).collect::<ort::Result<_>>()?;
        let ports = Arc::clone(&self.outputs);
        match outputs {
            None => {
                let found = self.inner.run(values)?;
                ports.iter().map(|port| take(&found[port.name.as_str()], port.dtype)).collect()
            }
            Some(names) => {
                let selector = names.iter().fold(OutputSelector::no_default(), |all, name| all.with(*name));
                let options = RunOptions::new()?.with_outputs(selector);
                let found = self.inner.run_with_options(values, &options)?;
                let dtype = |name: &str| ports.iter().find(|port| port.name == name).map(|port| port.dtype);
                names.iter().filter_map(|name| Some(take(&found[*name], dtype(name)?))).collect()
            }
        }
    }
}

fn builder(
    environment: &Environment,
    options: &SessionOptions,
    shared: Option<&PrepackedWeights>,
) -> ort::Result<SessionBuilder> {
    let level = match options.optimization {
        Level::Off => GraphOptimizationLevel::Disable,
        Level::Basic => GraphOptimizationLevel::Level1,
        Level::Extended => GraphOptimizationLevel::Level2,
        Level::All => GraphOptimizationLevel::All,
    };
    let builder = ort::session::Session::builder(environment)?
        .with_optimization_level(level)?
        .with_intra_threads(options.threads.max(1))?
        .with_intra_op_spinning(false)?
        .with_deterministic_compute(options.deterministic)?;
    // Registering the CPU provider by hand is how `ort` turns the arena off; left alone, ONNX Runtime turns it on.
    let builder = if options.arena {
        builder
    } else {
        let cpu = ort::ep::CPU::default().with_arena_allocator(false).build();
        builder.with_memory_pattern(false)?.with_execution_providers([cpu])?
    };
    match shared {
        Some(weights) => Ok(builder.with_prepacked_weights(weights)?),
        None => Ok(builder),
    }
}

fn port(outlet: &Outlet) -> Result<Port, SessionError> {
    let unsupported = |found: String| SessionError::Port { port: outlet.name().to_owned(), found };
    let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
        return Err(unsupported("a sequence, map or optional".to_owned()));
    };
    let dtype = dtype(*ty).ok_or_else(|| unsupported(format!("a tensor of {ty}")))?;
    // -1 stands for a free dimension.
    let shape = Dims(shape.iter().map(|&dim| usize::try_from(dim).ok()).collect());
    Ok(Port { name: outlet.name().to_owned(), dtype, shape })
}

fn check_inputs(ports: &[Port], inputs: &[(&str, &Tensor)]) -> Result<(), RunError> {
    for (i, (name, tensor)) in inputs.iter().enumerate() {
        let name = (*name).to_owned();
        let Some(port) = ports.iter().find(|port| port.name == name) else {
            return Err(RunError::UnknownInput { name, known: names(ports) });
        };
        if inputs[..i].iter().any(|(earlier, _)| *earlier == name) {
            return Err(RunError::RepeatedInput { name });
        }
        if tensor.dtype() != port.dtype {
            return Err(RunError::InputType { name, found: tensor.dtype(), expected: port.dtype });
        }
        if !port.shape.accept(tensor.shape()) {
            return Err(RunError::InputShape { name, found: tensor.shape().to_vec(), expected: port.shape.clone() });
        }
    }
    match ports.iter().find(|port| !inputs.iter().any(|(name, _)| *name == port.name)) {
        None => Ok(()),
        Some(port) => {
            Err(RunError::MissingInput { name: port.name.clone(), dtype: port.dtype, shape: port.shape.clone() })
        }
    }
}

fn check_outputs(ports: &[Port], wanted: &[&str]) -> Result<(), RunError> {
    match wanted.iter().find(|name| !ports.iter().any(|port| port.name == **name)) {
        None => Ok(()),
        Some(name) => Err(RunError::UnknownOutput { name: (*name).to_owned(), known: names(ports) }),
    }
}

fn names(ports: &[Port]) -> Vec<String> {
    ports.iter().map(|port| format!("`{}`", port.name)).collect()
}

macro_rules! conversions {
    ($($variant:ident: $type:ty = $theirs:ident,)+) => {
        fn dtype(theirs: TensorElementType) -> Option<Dtype> {
            match theirs { $(TensorElementType::$theirs => Some(Dtype::$variant),)+ _ => None }
        }

        /// Lends a tensor to ONNX Runtime without copying it.
        fn lend(tensor: &Tensor) -> ort::Result<SessionInputValue<'_>> {
            Ok(match tensor.data() {
                $(Data::$variant(values) => TensorRef::from_array_view((tensor.shape(), values.as_slice()))?.into(),)+
            })
        }

        /// Copies a result out of ONNX Runtime's memory.
        fn take(value: &DynValue, dtype: Dtype) -> ort::Result<Tensor> {
            let (shape, data) = match dtype {
                $(Dtype::$variant => {
                    let (shape, values) = value.try_extract_tensor::<$type>()?;
                    (shape, Data::$variant(values.to_vec()))
                })+
            };
            let shape: Vec<usize> = shape.iter().map(|&dim| usize::try_from(dim).unwrap_or(0)).collect();
            Tensor::new(shape, data).map_err(ort::Error::wrap)
        }
    };
}

conversions! {
    F32: f32 = Float32,
    F64: f64 = Float64,
    F16: half::f16 = Float16,
    I64: i64 = Int64,
    I32: i32 = Int32,
    I16: i16 = Int16,
    I8: i8 = Int8,
    U64: u64 = Uint64,
    U32: u32 = Uint32,
    U16: u16 = Uint16,
    U8: u8 = Uint8,
    Bool: bool = Bool,
}
