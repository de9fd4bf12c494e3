//! What is kept makes up for what is gone: weights re-solved in closed form.
//!
//! A refit always starts from the original weights ("rewind") and goes front to back: a layer is solved for the dense
//! model's answers on what it will really read, so that each repairs what those before it could not.

mod local;
mod plan;
mod run;
mod solve;

pub use local::own_inputs;
pub use plan::{Step, plan};
pub use run::{DenseTargets, RefitError, Refitter, Remains};
pub use solve::{Fit, RIDGES, choose_ridge, hold_out_error, ridge};
