//! ONNX models in memory: load, save, check, graph view, coupling groups, surgery.

mod model;
pub mod proto;
mod tensor;

pub use model::{
    DeclaredDim, ExternalError, InitializerError, LoadError, MESSAGE_LIMIT, Model, NEWEST_OPSET, OLDEST_OPSET,
    SaveError, ValueInfo,
};
pub use tensor::{ElementType, Tensor, TensorData, TensorError};
