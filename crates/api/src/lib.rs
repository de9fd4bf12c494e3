//! What users may write and what Sentei answers: [`CompressedModel`], its rules, its status, and the evidence
//! behind a candidate. No I/O: nothing here opens a file or a socket.
//!
//! ```text
//!  YAML ──yaml──▶ JSON ──lint──▶ CompressedModel { spec, status }        crds/ ◀──crd── the same types
//!                                     │spec                 ▲status
//!                              compress, rollout ──────────▶ Evidence
//! ```

pub mod evidence;
pub mod quantity;
pub mod spec;
pub mod status;

pub use spec::{CompressedModel, CompressedModelSpec};
pub use status::{CompressedModelStatus, Phase};
