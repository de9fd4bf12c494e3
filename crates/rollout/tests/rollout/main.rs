//! The rollout from outside: manifests in, decisions out.

mod breaches;
mod model;
mod plans;
mod properties;
mod transitions;
mod world;
