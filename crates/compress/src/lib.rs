//! Makes a model small on the user's own data, stage by stage, with proof.
//!
//! ```text
//! data ──> moments ──> importance ──> search ──> refit ──> evaluate ──> commit | revert
//!            (second moments)  (what can go)  (how much)  (made up for)  (gates)     (stages)
//! ```

pub mod artifacts;
pub mod cuts;
pub mod data;
pub mod evaluate;
pub mod importance;
pub mod latency;
pub mod moments;
pub mod quantize;
pub mod refit;
pub mod search;
pub mod shapes;
pub mod stages;

pub use artifacts::digest;
pub use stages::{CompressError, Event, Job, Progress, Silent, Source, assess, compress, fetch_source, open_data};
