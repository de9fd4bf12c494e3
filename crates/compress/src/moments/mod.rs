//! Second moments of what a layer sees, streamed through ONNX Runtime (compression by second moments: Hassibi & Stork,
//! *Optimal Brain Surgeon*, 1993; Frantar & Alistarh, *Optimal Brain Compression*, 2022).
//!
//! Activations are never kept: each batch's tensors are read at a few seeded positions per row of data, unfolded, and
//! added to sums.

mod collect;
mod layer;
mod patches;
mod stream;
mod sums;

pub use collect::{Goal, Inputs, Sampling, Targets, cross_moments, input_moments, sample_targets};
pub use layer::Layer;
pub use patches::{Place, Reach, View, sampled_positions};
pub use stream::{Known, Rows, Stream, StreamError, fixed_batch, options, reals, rows_of};
pub use sums::{BLOCK_ROWS, Block, Moments, Sums};
