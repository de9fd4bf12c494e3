//! What users may write and what Sentei answers: [`CompressedModel`], its rules, its status, and the evidence
//! behind a candidate. No I/O: nothing here opens a file or a socket.
//!
//! ```text
//!  YAML ──yaml──▶ JSON ──lint──▶ CompressedModel { spec, status }        crds/ ◀──crd── the same types
//!                                     │spec                 ▲status
//!                              compress, rollout ──────────▶ Evidence
//! ```

mod crd;
pub mod evidence;
mod finding;
mod lint;
pub mod quantity;
pub mod rules;
mod schema;
pub mod spec;
pub mod status;
pub mod yaml;

pub use crd::{crd, crd_yaml};
pub use finding::{Finding, Position};
pub use lint::lint;
pub use spec::{CompressedModel, CompressedModelSpec};
pub use status::{CompressedModelStatus, Phase};
