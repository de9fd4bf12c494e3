//! How much to take from which group: damage measured group by group, then shared out against what each cut saves.

mod allocate;
mod costs;
mod divergence;
mod levels;
mod probe;
mod structure;

pub use allocate::{Allocation, allocate};
pub use costs::{Measure, structure};
pub use divergence::{Answers, Divergence};
pub use levels::{Grain, levels};
pub use probe::{ProbeError, Subject, Survey, answers_of};
pub use structure::{Axis, Part, Structure};
