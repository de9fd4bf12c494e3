//! Decides: one pure function from what was observed to what is done next. No clock, no socket, no file.
//!
//! ```text
//!  CompressedModelSpec ──Plan::parse──▶ Plan ─┐
//!  CompressedModelStatus (the only memory) ───┼─▶ step ─▶ Decision { status, effects }
//!  Observation (cumulative counters) + now ───┘     │
//!                                     tally ─▶ judge ─▶ statistics
//! ```
//!
//! The candidate's weight is set to 0 in one place: `step/weight.rs`, `set_weight_to_zero`.

mod decision;
mod hypothesis;
mod judge;
pub mod observation;
pub mod plan;
pub mod reasons;
#[cfg(test)]
mod simulation;
pub mod statistics;
mod step;
mod tally;

pub use decision::{Decision, Effect, Event, Server};
pub use observation::Observation;
pub use plan::{Plan, PlanError};
pub use step::step;
