//! ONNX models in memory: load, save, check, graph view, coupling groups, surgery.
//!
//! ```text
//! file ──> Model ──> normal form ──> (shapes, measured by the caller) ──> coupling ──> surgery ──> Model ──> file
//!                        │                                                  │
//!                        └──> linear sites, cost                            └──> groups, and why the rest is frozen
//! ```
//!
//! Nothing here runs a model or knows of data. Shapes are measured where models run and handed in; what the analysis
//! cannot prove from them it leaves alone, with a reason.

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
