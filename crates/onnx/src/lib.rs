//! ONNX models in memory: load, save, check, graph view, coupling groups, surgery.

pub mod attributes;
pub mod check;
pub mod cost;
pub mod coupling;
pub mod edit;
mod extract;
pub mod graph;
pub mod linear;
mod model;
pub mod normal;
pub mod proto;
pub mod shapes;
pub mod surgery;
mod tensor;

pub use extract::UnknownTensor;
pub use model::{
    DeclaredDim, ExternalError, InitializerError, LoadError, MESSAGE_LIMIT, Model, NEWEST_OPSET, OLDEST_OPSET,
    SaveError, ValueInfo,
};
pub use shapes::{Dim, Shapes};
pub use tensor::{ElementType, Tensor, TensorData, TensorError};
