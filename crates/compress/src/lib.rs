//! Makes a model small on the user's own data, stage by stage, with proof.

pub mod data;
