//! From batches of activations to sums: what a layer reads, what it should answer, and both together.

use std::{borrow::Cow, collections::BTreeSet, ops::Range};

use faer::Mat;
use sentei_onnx::Model;
use sentei_runtime::{Runtime, Tensor};

use super::{
    layer::Layer,
    patches::{Place, View, sampled_positions},
    stream::{Known, Rows, Stream, StreamError, reals},
    sums::{Block, Sums},
};
use crate::importance::ChannelGram;

/// Floats waiting in the blocks of one layer at most.
const BLOCK_VALUES: usize = 4 << 20;
/// Every so many rows of data one is held out to choose the ridge on.
const HOLD_OUT: usize = 5;
/// Above this many units a group's slices are not explained one by one: their moments would not fit.
const SLICE_UNITS: usize = 1024;

/// How many positions are read, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// Rows wanted for each column of a layer.
    pub rows_per_column: usize,
    /// Rows wanted at least.
    pub least: usize,
    /// Fixes the choice.
    pub seed: u64,
}

impl Sampling {
    /// Positions wanted of each of `samples` samples.
    fn wanted(&self, layer: &Layer, samples: usize) -> usize {
        (self.rows_per_column * layer.columns()).max(self.least).div_ceil(samples.max(1))
    }

    /// About how many rows are read of a layer in all.
    #[must_use]
    pub fn rows(&self, layer: &Layer, samples: usize) -> usize {
        self.wanted(layer, samples) * samples
    }

    /// The positions of a sample for a layer: the same in the dense and in the pruned model.
    fn positions(&self, layer: &Layer, positions: usize, samples: usize, sample: usize) -> Vec<usize> {
        // FNV-1a of the layer's output, which keeps its name when the model is pruned.
        let name = layer.site.output.bytes();
        let hash =
            name.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        sampled_positions(positions, self.wanted(layer, samples), self.seed ^ hash, sample)
    }
}

/// What a layer reads.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// For each channel group, moments of its columns.
    pub sums: Vec<Sums>,
    /// Moments of the input units themselves (a kernel's middle tap), for explanations; plain layers only.
    pub gram: Option<ChannelGram>,
}

/// What a layer should answer, at the sampled positions: sample by sample, positions ascending.
#[derive(Debug, Clone)]
pub struct Targets {
    values: Vec<f32>,
    width: usize,
}

impl Targets {
    /// Memory taken.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.values.len() * size_of::<f32>()
    }
}

/// Moments of what `layers` read in `model`, in one pass.
///
/// # Errors
/// [`StreamError`] when the model cannot be run or a tensor is not laid out as its layer needs.
pub fn input_moments(
    runtime: &Runtime,
    model: &Model,
    layers: &[&Layer],
    rows: &Rows,
    sampling: Sampling,
) -> Result<Vec<Inputs>, StreamError> {
    let names = distinct(layers.iter().map(|layer| layer.site.input.as_str()));
    let mut gatherers: Vec<Gatherer> = layers.iter().map(|layer| Gatherer::new(layer, rows)).collect();
    if layers.is_empty() {
        return Ok(Vec::new());
    }
    Stream::new(runtime, model, Some(&names), rows)?.each(|range, tensors| {
        for (layer, gatherer) in layers.iter().zip(&mut gatherers) {
            let tensor = named(&names, &tensors, &layer.site.input);
            gatherer.add(layer, tensor, range.clone(), rows, sampling)?;
        }
        Ok(())
    })?;
    Ok(gatherers.into_iter().map(Gatherer::finish).collect())
}

/// Sums under way for one layer.
struct Gatherer {
    parts: Vec<(Block, Sums)>,
    /// All rows, then each slice; empty when no gram is wanted.
    units: Vec<(Block, Sums)>,
    taps: usize,
}

impl Gatherer {
    fn new(layer: &Layer, rows: &Rows) -> Self {
        let groups = layer.reach.groups();
        let capacity = BLOCK_VALUES / (groups * (layer.columns() + 1)).max(1);
        let pair = |columns: usize| (Block::new(columns, 0).holding(capacity), Sums::new(columns, 0));
        let units = layer.site.in_units();
        let slices = if units > SLICE_UNITS { 0 } else { rows.slices.len() };
        let grams = if layer.reach.groups() == 1 { 1 + slices } else { 0 };
        Self {
            parts: (0..layer.reach.groups()).map(|_| pair(layer.columns())).collect(),
            units: (0..grams).map(|_| pair(units)).collect(),
            taps: layer.taps(),
        }
    }

    fn add(
        &mut self,
        layer: &Layer,
        tensor: &Tensor,
        range: Range<usize>,
        rows: &Rows,
        sampling: Sampling,
    ) -> Result<(), StreamError> {
        let values = input_view(layer, tensor)?;
        let view = View { values: &values, shape: tensor.shape() };
        let positions = layer.reach.positions(tensor.shape(), range.len());
        let middle = self.taps / 2;
        let taps = self.taps;
        for (sample, row) in range.enumerate() {
            let weight = rows.weights[row];
            for position in sampling.positions(layer, positions, rows.len(), row) {
                let place = Place { sample, position, row: sample * positions + position };
                let mut seen: Vec<f32> = Vec::new();
                let wants_units = !self.units.is_empty();
                for (group, (block, sums)) in self.parts.iter_mut().enumerate() {
                    block.push(weight, |inputs, _| {
                        layer.reach.read(view, place, group, inputs);
                        if wants_units {
                            seen.extend(inputs.chunks_exact(taps).map(|unit| unit[middle]));
                        }
                    });
                    flush(block, sums);
                }
                for (index, (block, sums)) in self.units.iter_mut().enumerate() {
                    // The first is for all rows.
                    if index == 0 || rows.slices[index - 1][row] {
                        block.push(weight, |inputs, _| inputs.copy_from_slice(&seen));
                        flush(block, sums);
                    }
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> Inputs {
        let total = |(mut block, mut sums): (Block, Sums)| {
            sums.add(&mut block);
            sums
        };
        let mut units = self.units.into_iter().map(|pair| total(pair).centred().covariance);
        let gram = units.next().map(|all: Mat<f64>| ChannelGram { all, slices: units.collect() });
        Inputs { sums: self.parts.into_iter().map(total).collect(), gram }
    }
}

/// The values of `tensors` at the positions their layers are sampled at: `(tensor, layer)` pairs, in one pass.
///
/// # Errors
/// As [`input_moments`].
pub fn sample_targets(
    runtime: &Runtime,
    model: &Model,
    wanted: &[(&str, &Layer)],
    rows: &Rows,
    sampling: Sampling,
) -> Result<Vec<Targets>, StreamError> {
    let names = distinct(wanted.iter().map(|(tensor, _)| *tensor));
    let mut found: Vec<Targets> =
        wanted.iter().map(|(_, layer)| Targets { values: Vec::new(), width: layer.site.out_units() }).collect();
    if wanted.is_empty() {
        return Ok(found);
    }
    Stream::new(runtime, model, Some(&names), rows)?.each(|range, tensors| {
        for ((name, layer), targets) in wanted.iter().zip(&mut found) {
            let tensor = named(&names, &tensors, name);
            let values = layout(layer, name, tensor, targets.width)?;
            let view = View { values: &values, shape: tensor.shape() };
            let positions = layer.reach.output_positions(tensor.shape(), range.len());
            for (sample, row) in range.clone().enumerate() {
                for position in sampling.positions(layer, positions, rows.len(), row) {
                    let start = targets.values.len();
                    targets.values.resize(start + targets.width, 0.0);
                    let place = Place { sample, position, row: sample * positions + position };
                    layer.reach.write(view, place, 0..targets.width, &mut targets.values[start..]);
                }
            }
        }
        Ok(())
    })?;
    Ok(found)
}

/// Where a layer of a pruned model should arrive.
#[derive(Debug, Clone, Copy)]
pub struct Goal<'a> {
    /// The dense model's values.
    pub targets: &'a Targets,
    /// Which of the dense outputs the layer still has, ascending.
    pub kept: &'a [usize],
    /// A tensor of the pruned model, laid out like the layer's output, that will be added to it and so is subtracted
    /// from the goal first.
    pub less: Option<&'a str>,
}

/// Moments of what `layer` reads in `model` with where it should arrive, for each channel group: on the rows to fit, and
/// on those held out. Starts from what is known of the model's activations, and adds what it had to compute while all of
/// it takes at most `room` bytes.
///
/// # Errors
/// As [`input_moments`].
pub fn cross_moments(
    runtime: &Runtime,
    model: &Model,
    layer: &Layer,
    goal: Goal<'_>,
    rows: &Rows,
    sampling: Sampling,
    (known, room): (&mut Known, usize),
) -> Result<Vec<[Sums; 2]>, StreamError> {
    let names = distinct(std::iter::once(layer.site.input.as_str()).chain(goal.less));
    let (columns, outputs) = (layer.columns(), layer.outputs());
    let capacity = BLOCK_VALUES / (layer.reach.groups() * (columns + outputs + 1)).max(1);
    let pair = || (Block::new(columns, outputs).holding(capacity), Sums::new(columns, outputs));
    let mut parts: Vec<[(Block, Sums); 2]> = (0..layer.reach.groups()).map(|_| [pair(), pair()]).collect();
    let mut dense = goal.targets.values.chunks_exact(goal.targets.width.max(1));
    let mut computed: Vec<Vec<Tensor>> = vec![Vec::new(); names.len()];
    let start: BTreeSet<String> = known.names().map(str::to_owned).collect();
    Stream::from_known(runtime, model, &names, rows, known, &start)?.each(|range, tensors| {
        let tensor = named(&names, &tensors, &layer.site.input);
        let values = input_view(layer, tensor)?;
        let view = View { values: &values, shape: tensor.shape() };
        let less = goal.less.map(|name| (name, named(&names, &tensors, name)));
        let less_values = less.map(|(name, tensor)| layout(layer, name, tensor, layer.site.out_units())).transpose()?;
        let positions = layer.reach.positions(tensor.shape(), range.len());
        for (sample, row) in range.enumerate() {
            let held_out = usize::from(row % HOLD_OUT == HOLD_OUT - 1);
            for position in sampling.positions(layer, positions, rows.len(), row) {
                let place = Place { sample, position, row: sample * positions + position };
                let Some(dense) = dense.next() else { return Ok(()) };
                for (group, part) in parts.iter_mut().enumerate() {
                    let (block, sums) = &mut part[held_out];
                    block.push(rows.weights[row], |inputs, targets| {
                        layer.reach.read(view, place, group, inputs);
                        let channels = group * outputs..(group + 1) * outputs;
                        if let (Some(values), Some((_, tensor))) = (&less_values, less) {
                            let other = View { values, shape: tensor.shape() };
                            layer.reach.write(other, place, channels.clone(), targets);
                        }
                        for (target, channel) in targets.iter_mut().zip(channels) {
                            *target = dense[goal.kept[channel]] - *target;
                        }
                    });
                    flush(block, sums);
                }
            }
        }
        drop((values, less_values));
        let size = |tensor: &Tensor| tensor.len() * size_of::<f32>();
        for ((name, batches), tensor) in names.iter().zip(&mut computed).zip(tensors) {
            if known.has(name) || batches.iter().map(size).sum::<usize>() > room {
                continue;
            }
            batches.push(tensor);
        }
        Ok(())
    })?;
    for (name, batches) in names.iter().zip(computed) {
        if !known.has(name) {
            known.keep(name, batches, room);
        }
    }
    let total = |(mut block, mut sums): (Block, Sums)| {
        sums.add(&mut block);
        sums
    };
    Ok(parts.into_iter().map(|part| part.map(total)).collect())
}

fn flush(block: &mut Block, sums: &mut Sums) {
    if block.is_full() {
        sums.add(block);
    }
}

fn input_view<'t>(layer: &Layer, tensor: &'t Tensor) -> Result<Cow<'t, [f32]>, StreamError> {
    layout(layer, &layer.site.input, tensor, layer.site.in_units() * layer.reach.groups())
}

fn layout<'t>(layer: &Layer, name: &str, tensor: &'t Tensor, units: usize) -> Result<Cow<'t, [f32]>, StreamError> {
    if layer.reach.accepts(tensor.shape(), units) {
        return reals(tensor, name);
    }
    Err(StreamError::Layout {
        tensor: name.to_owned(),
        found: format!("of shape {:?}", tensor.shape()),
        expected: format!("{units} channels as layer `{}` reads or writes them", layer.site.name),
    })
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut found = Vec::new();
    for name in names {
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

fn named<'t>(names: &[&str], tensors: &'t [Tensor], name: &str) -> &'t Tensor {
    // Streams give their tensors in the order asked for, and `name` is one of those.
    let index = names.iter().position(|known| *known == name).unwrap_or(0);
    &tensors[index]
}
