//! A model in memory.

pub(crate) mod external;
mod load;
mod save;
mod visit;

pub use external::ExternalError;
pub use load::LoadError;
pub use save::SaveError;

use crate::{
    proto::{GraphProto, ModelProto, TensorProto, ValueInfoProto, tensor_shape_proto::dimension, type_proto},
    tensor::{ElementType, Tensor, TensorError},
};

/// The oldest default-domain operator set read: ONNX Runtime guarantees nothing older.
pub const OLDEST_OPSET: i64 = 7;
/// The newest default-domain operator set the runtime knows.
pub const NEWEST_OPSET: i64 = 26;
/// Protobuf readers refuse messages of this many bytes (2 GiB) and more.
pub const MESSAGE_LIMIT: u64 = 1 << 31;

/// A model with all its weights in memory and a known operator set.
///
/// Weights read from a file share that file's buffer, so a clone is cheap until weights are replaced.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    proto: ModelProto,
    opset: i64,
}

/// A declared graph input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueInfo {
    /// The tensor's name.
    pub name: String,
    /// Its element type, when declared and known.
    pub element: Option<ElementType>,
    /// Its axes, when a rank is declared.
    pub dims: Option<Vec<DeclaredDim>>,
}

/// The length of a declared axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeclaredDim {
    /// A fixed length.
    Size(usize),
    /// A named length, such as `batch`.
    Name(String),
    /// Nothing said.
    Unknown,
}

impl Model {
    /// The graph.
    #[must_use]
    pub fn graph(&self) -> &GraphProto {
        // `load` refuses a model without a graph, and nothing here takes it away.
        static EMPTY: std::sync::LazyLock<GraphProto> = std::sync::LazyLock::new(GraphProto::default);
        self.proto.graph.as_ref().unwrap_or(&EMPTY)
    }

    /// The graph, to change. Invariants are the caller's; run [`crate::check::check`] after.
    pub fn graph_mut(&mut self) -> &mut GraphProto {
        self.proto.graph.get_or_insert_default()
    }

    /// The whole message.
    #[must_use]
    pub fn proto(&self) -> &ModelProto {
        &self.proto
    }

    /// The version of the default operator set.
    #[must_use]
    pub fn opset(&self) -> i64 {
        self.opset
    }

    /// The version of another operator set, when the model imports it.
    #[must_use]
    pub fn opset_of(&self, domain: &str) -> Option<i64> {
        self.proto.opset_import.iter().find(|set| set.domain() == domain).map(crate::proto::OperatorSetIdProto::version)
    }

    /// The graph inputs that callers feed: initializers that are also listed as inputs (opset 8 and older) are left out.
    #[must_use]
    pub fn inputs(&self) -> Vec<ValueInfo> {
        let graph = self.graph();
        let weights: std::collections::HashSet<&str> = graph.initializer.iter().map(TensorProto::name).collect();
        graph.input.iter().filter(|input| !weights.contains(input.name())).map(ValueInfo::from).collect()
    }

    /// The graph outputs.
    #[must_use]
    pub fn outputs(&self) -> Vec<ValueInfo> {
        self.graph().output.iter().map(ValueInfo::from).collect()
    }

    /// The value of a metadata property.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.proto
            .metadata_props
            .iter()
            .find(|entry| entry.key() == key)
            .map(crate::proto::StringStringEntryProto::value)
    }

    /// Sets a metadata property.
    pub fn set_metadata(&mut self, key: &str, value: &str) {
        let entries = &mut self.proto.metadata_props;
        match entries.iter_mut().find(|entry| entry.key() == key) {
            Some(entry) => entry.value = Some(value.to_owned()),
            None => entries.push(crate::proto::StringStringEntryProto {
                key: Some(key.to_owned()),
                value: Some(value.to_owned()),
            }),
        }
    }

    /// A named weight as the file holds it.
    #[must_use]
    pub fn initializer(&self, name: &str) -> Option<&TensorProto> {
        self.graph().initializer.iter().find(|tensor| tensor.name() == name)
    }

    /// A named weight with its values.
    ///
    /// # Errors
    /// [`InitializerError`] when there is none of that name or it cannot be read.
    pub fn tensor(&self, name: &str) -> Result<Tensor, InitializerError> {
        let proto = self.initializer(name).ok_or_else(|| InitializerError::Missing { name: name.to_owned() })?;
        Ok(Tensor::from_proto(proto)?)
    }

    /// A named weight's shape and real values as `f32`, whatever real type the file stores.
    ///
    /// # Errors
    /// As [`Self::tensor`]; also when the values are no real numbers.
    pub fn weights(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), InitializerError> {
        let tensor = self.tensor(name)?;
        let found = crate::tensor::name_of(tensor.data().element_type() as i32);
        let values = tensor.to_f32().ok_or_else(|| TensorError::NotReal { name: name.to_owned(), found })?;
        Ok((tensor.into_parts().0, values))
    }

    /// Replaces a weight, or adds it when there is none of that name.
    pub fn set_initializer(&mut self, name: &str, tensor: &Tensor) {
        let proto = tensor.to_proto(name);
        let weights = &mut self.graph_mut().initializer;
        match weights.iter_mut().find(|weight| weight.name() == name) {
            Some(weight) => *weight = proto,
            None => weights.push(proto),
        }
    }

    /// Replaces a weight by `f32` values, stored in the type it has now (a float16 model stays float16); a new one is
    /// stored as float.
    ///
    /// # Errors
    /// [`InitializerError::Tensor`] when `values` does not fill `shape`, or the present weight holds no real numbers.
    pub fn set_weights(&mut self, name: &str, shape: &[usize], values: Vec<f32>) -> Result<(), InitializerError> {
        let element = self.initializer(name).and_then(crate::tensor::element_type).unwrap_or(ElementType::Float);
        self.set_initializer(name, &Tensor::from_f32(shape, values, element)?);
        Ok(())
    }
}

/// Why a named weight could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InitializerError {
    /// No weight of that name.
    #[error("the model has no weight `{name}`")]
    Missing {
        /// The name asked for.
        name: String,
    },
    /// The weight could not be read or made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl From<&ValueInfoProto> for ValueInfo {
    fn from(info: &ValueInfoProto) -> Self {
        let tensor = match info.r#type.as_ref().and_then(|t| t.value.as_ref()) {
            Some(type_proto::Value::TensorType(tensor)) => Some(tensor),
            _ => None,
        };
        let dims = tensor.and_then(|t| t.shape.as_ref()).map(|shape| {
            let dim = |dim: &crate::proto::tensor_shape_proto::Dimension| match &dim.value {
                Some(dimension::Value::DimValue(size)) => {
                    usize::try_from(*size).map_or(DeclaredDim::Unknown, DeclaredDim::Size)
                }
                Some(dimension::Value::DimParam(name)) if !name.is_empty() => DeclaredDim::Name(name.clone()),
                _ => DeclaredDim::Unknown,
            };
            shape.dim.iter().map(dim).collect()
        });
        let element = tensor.and_then(|t| ElementType::try_from(t.elem_type()).ok());
        Self { name: info.name().to_owned(), element, dims }
    }
}

impl Model {
    /// This model's operator set around another message.
    pub(crate) fn with_proto(&self, proto: ModelProto) -> Self {
        Self { proto, opset: self.opset }
    }
}

impl ModelProto {
    /// Everything but the graph: a copy that leaves the weights where they are.
    pub(crate) fn clone_without_graph(&self) -> Self {
        Self {
            ir_version: self.ir_version,
            opset_import: self.opset_import.clone(),
            producer_name: self.producer_name.clone(),
            producer_version: self.producer_version.clone(),
            domain: self.domain.clone(),
            model_version: self.model_version,
            doc_string: self.doc_string.clone(),
            graph: None,
            metadata_props: self.metadata_props.clone(),
            training_info: self.training_info.clone(),
            functions: self.functions.clone(),
            configuration: self.configuration.clone(),
        }
    }
}
