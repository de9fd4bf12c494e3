//! The staged search: propose, check, judge, keep or undo.

mod pruner;
mod rows;

pub use pruner::{PruneError, Pruner, Settings, State, Ticket};
pub use rows::calibration_rows;
