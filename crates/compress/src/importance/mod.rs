//! Which units can go: an order of removal for a whole group, and what each removal costs.
//!
//! One pass gives every width of the group. The consumers of a group are judged together: each pays for a lost unit in
//! its own outputs, and each outweighs another only by the share of its output energy it loses.

mod conditional;
mod explain;
mod plain;

use faer::MatRef;

pub use conditional::conditional;
pub use explain::{ChannelGram, Reconstruction, reconstruction};
pub use plain::{magnitude, marginal, random};

/// A layer that reads the group.
#[derive(Debug, Clone)]
pub struct Consumer<'a> {
    /// Second moments of its inputs, D × D.
    pub covariance: MatRef<'a, f64>,
    /// Its weights, O × D.
    pub weights: MatRef<'a, f64>,
    /// For each unit of the group, its columns among the D.
    pub columns: &'a [Vec<usize>],
}

/// One removal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Removal {
    /// Index of the unit in the group.
    pub unit: usize,
    /// Share of the consumers' output energy lost by this removal, added up over the consumers.
    pub loss: f64,
}

/// The output energy `tr(W·H·Wᵀ)` of a consumer, never zero.
fn output_energy(consumer: &Consumer<'_>) -> f64 {
    trace_of_form(consumer.weights, consumer.covariance).max(f64::MIN_POSITIVE)
}

/// `tr(W·H·Wᵀ)`.
fn trace_of_form(weights: MatRef<'_, f64>, form: MatRef<'_, f64>) -> f64 {
    let product = weights * form;
    let rows = 0..weights.nrows();
    rows.map(|row| (0..weights.ncols()).map(|column| product[(row, column)] * weights[(row, column)]).sum::<f64>())
        .sum()
}

#[cfg(test)]
mod tests;
