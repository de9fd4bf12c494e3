//! The staged search: propose, check, judge, keep or undo.
//!
//! ```text
//! fetch_source, open_data ──> Judge (baseline) ──> Pruner::propose ──> apply ──> Judge ──> commit | revert
//!                                                      ^                                      │
//!                                                      └──────────── Memory <─────────────────┘
//! ```

mod job;
mod judge;
mod memory;
mod objective;
mod progress;
mod protect;
mod pruner;
mod rows;
mod run;

pub use job::{CompressError, Job, Source, fetch_source, open_data};
pub use progress::{Event, Progress, Silent};
pub use pruner::{Ground, PruneError, Pruner, Settings, Ticket};
pub use rows::calibration_rows;
pub use run::{assess, compress};
