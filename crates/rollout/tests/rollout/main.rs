//! The rollout from outside: manifests in, decisions out.

// The helpers of tests stand outside of test functions; manifests are handed over as they are written.
#![allow(clippy::unwrap_used, clippy::panic, clippy::needless_pass_by_value, clippy::missing_panics_doc)]

mod breaches;
mod model;
mod plans;
mod properties;
mod transitions;
mod world;
