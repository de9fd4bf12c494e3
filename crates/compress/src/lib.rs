//! Makes a model small on the user's own data, stage by stage, with proof.

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
