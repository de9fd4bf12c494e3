//! ONNX Runtime: found, loaded, and wrapped in sessions.
//!
//! ```text
//! locate ──> Library ──> Runtime ──> Session ──> Tensor
//!  (wheel: pip, SHA-256)   (one per process)  └─> Pool (N sessions, weights packed once)
//! ```
//!
//! The only room that names `ort`. The rooms above see tensors, ports and errors, so another binding, or another
//! runtime, would be a change here alone.

mod library;
mod locate;
mod pool;
mod runtime;
mod session;
mod tensor;
mod wheel;

pub use library::{Found, Library, MINIMUM, Version};
pub use locate::{AcquireError, locate};
pub use pool::Pool;
pub use runtime::{LoadError, Runtime};
pub use session::{Dims, Level, Port, RunError, Session, SessionError, SessionOptions};
pub use tensor::{Data, Dtype, Element, Tensor, TensorError};
