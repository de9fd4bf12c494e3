//! Solves a pruned model's layers again, front to back, from the original weights.

use std::collections::{BTreeSet, HashMap};

use sentei_onnx::{InitializerError, Model, graph::Graph};
use sentei_runtime::Runtime;

use super::{
    local::own_inputs,
    plan::Step,
    solve::{Fit, choose_ridge},
};
use crate::moments::{
    Goal, Known, Layer, Rows, Sampling, StreamError, Targets, cross_moments, input_moments, sample_targets,
};

/// Dense targets held in memory at a time, in bytes; more are recomputed when their turn comes.
const TARGET_BYTES: usize = 64 << 20;
/// Activations of the pruned model held in memory at a time, in bytes; without them a layer's input is computed from the
/// model's inputs again.
const KNOWN_BYTES: usize = 96 << 20;

/// Why a refit failed.
#[derive(Debug, thiserror::Error)]
pub enum RefitError {
    /// The model could not be run.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// A weight is missing.
    #[error(transparent)]
    Weight(#[from] InitializerError),
}

/// What of a layer's original weight is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remains {
    /// Output units, ascending.
    pub rows: Vec<usize>,
    /// Input units (of one channel group), ascending.
    pub units: Vec<usize>,
}

/// The dense model, the rows to fit on, and the plan.
pub struct Refitter<'a> {
    /// Runs the models.
    pub runtime: &'a Runtime,
    /// The uncompressed model.
    pub dense: &'a Model,
    /// Its layers.
    pub layers: &'a [Layer],
    /// Where each of them should arrive, front to back.
    pub steps: &'a [Step],
    /// Calibration rows.
    pub rows: &'a Rows,
    /// Which positions are read.
    pub sampling: Sampling,
}

impl Refitter<'_> {
    /// Residual-aware refit of `pruned`, the dense model with units removed and its weights otherwise untouched.
    /// `remains[i]` says what of layer `i` is left. Layers that read exactly what they did are left alone.
    ///
    /// # Errors
    /// [`RefitError`] when a model cannot be run.
    pub fn residual_aware(
        &self,
        pruned: &mut Model,
        remains: &[Remains],
        dense: &mut DenseTargets,
    ) -> Result<(), RefitError> {
        let changed = self.changed(remains);
        let mut known = Known::default();
        let order: Vec<&Step> = self.steps.iter().filter(|step| changed.contains(&step.layer)).collect();
        for (at, step) in order.iter().enumerate() {
            dense.provide(self, &order[at..])?;
            known.retain(&self.still_needed(pruned, &known, &order[at..]));
            let Some(layer) = layer_named(pruned, &self.layers[step.layer]) else { continue };
            let Some(targets) = dense.found.get(&step.layer) else { continue };
            let goal = Goal { targets, kept: &remains[step.layer].rows, less: step.less.as_deref() };
            let room = (&mut known, KNOWN_BYTES);
            let parts = cross_moments(self.runtime, pruned, &layer, goal, self.rows, self.sampling, room)?;
            let priors = layer.matrices(pruned)?;
            let biased = layer.can_have_bias();
            let fits: Option<Vec<Fit>> = parts
                .iter()
                .zip(&priors)
                .map(|([fitted, held_out], prior)| choose_ridge(fitted, held_out, prior.as_ref(), biased))
                .collect();
            if let Some(fits) = fits {
                layer.write(pruned, &fits)?;
            }
        }
        Ok(())
    }

    /// Least squares on the dense model's inputs, for the layers that lost columns.
    ///
    /// # Errors
    /// [`RefitError`] when a model cannot be run.
    pub fn least_squares(&self, pruned: &mut Model, remains: &[Remains]) -> Result<(), RefitError> {
        let lost = |index: &usize| {
            let layer = &self.layers[*index];
            layer.reach.groups() == 1 && remains[*index].units.len() < layer.site.in_units()
        };
        let indices: Vec<usize> = (0..self.layers.len()).filter(lost).collect();
        let layers: Vec<&Layer> = indices.iter().map(|&index| &self.layers[index]).collect();
        let inputs = input_moments(self.runtime, self.dense, &layers, self.rows, self.sampling)?;
        for ((&index, layer), inputs) in indices.iter().zip(&layers).zip(&inputs) {
            let Some(now) = layer_named(pruned, layer) else { continue };
            let (weights, bias) = (layer.matrices(self.dense)?, layer.bias(self.dense)?);
            let kept: Vec<usize> = remains[index].units.iter().flat_map(|&unit| layer.columns_of(unit)).collect();
            let rows = &remains[index].rows;
            let (Some(sums), Some(weights)) = (inputs.sums.first(), weights.first()) else { continue };
            if let Some(fit) = own_inputs(sums, weights.as_ref(), &bias, &kept, rows, layer.can_have_bias()) {
                now.write(pruned, &[fit])?;
            }
        }
        Ok(())
    }

    /// Of the known activations, those that the layers still to come are computed from.
    fn still_needed(&self, model: &Model, known: &Known, steps: &[&Step]) -> BTreeSet<String> {
        let graph = Graph::new(model);
        let inputs = steps.iter().map(|step| self.layers[step.layer].site.input.as_str());
        let mut wanted: Vec<&str> = inputs.chain(steps.iter().filter_map(|step| step.less.as_deref())).collect();
        let (mut seen, mut needed) = (BTreeSet::new(), BTreeSet::new());
        while let Some(tensor) = wanted.pop() {
            if known.has(tensor) {
                needed.insert(tensor.to_owned());
            } else if let Some(node) = graph.producer(tensor).filter(|node| seen.insert(*node)) {
                wanted.extend(graph.nodes()[node].input.iter().map(String::as_str));
            }
        }
        needed
    }

    /// Layers that lost columns, and all behind them.
    fn changed(&self, remains: &[Remains]) -> BTreeSet<usize> {
        let mut changed: BTreeSet<usize> =
            (0..self.layers.len()).filter(|&i| remains[i].units.len() < self.layers[i].site.in_units()).collect();
        for step in self.steps {
            if !step.upstream.is_disjoint(&changed) {
                changed.insert(step.layer);
            }
        }
        changed
    }
}

/// The dense model's sampled answers, as many as fit in memory, kept from one refit to the next.
#[derive(Debug, Default)]
pub struct DenseTargets {
    found: HashMap<usize, Targets>,
}

impl DenseTargets {
    /// Makes sure that the first of `steps` is known; while there is room, those behind it too.
    fn provide(&mut self, refitter: &Refitter<'_>, steps: &[&Step]) -> Result<(), StreamError> {
        let Some(first) = steps.first() else { return Ok(()) };
        if self.found.contains_key(&first.layer) {
            return Ok(());
        }
        let bytes = |step: &Step| {
            let layer = &refitter.layers[step.layer];
            refitter.sampling.rows(layer, refitter.rows.len()) * layer.site.out_units() * size_of::<f32>()
        };
        let held: usize = self.found.values().map(Targets::bytes).sum();
        let missing: Vec<&&Step> = steps.iter().filter(|step| !self.found.contains_key(&step.layer)).collect();
        let needed: usize = missing.iter().map(|step| bytes(step)).sum();
        let mut room = TARGET_BYTES.saturating_sub(held);
        if needed > room {
            self.found.clear();
            room = TARGET_BYTES;
        }
        let mut chunk: Vec<&Step> = vec![first];
        room = room.saturating_sub(bytes(first));
        for step in missing.into_iter().skip(1) {
            let size = bytes(step);
            if size > room {
                break;
            }
            room -= size;
            chunk.push(step);
        }
        let wanted: Vec<(&str, &Layer)> =
            chunk.iter().map(|step| (step.goal.as_str(), &refitter.layers[step.layer])).collect();
        let targets = sample_targets(refitter.runtime, refitter.dense, &wanted, refitter.rows, refitter.sampling)?;
        self.found.extend(chunk.iter().map(|step| step.layer).zip(targets));
        Ok(())
    }
}

/// The layer of `model` that makes the same tensor as `layer` does in another model.
fn layer_named(model: &Model, layer: &Layer) -> Option<Layer> {
    Layer::all(model).into_iter().find(|found| found.site.output == layer.site.output)
}
