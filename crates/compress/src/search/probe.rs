//! Cuts one group at a time in the model as it stands, and looks at what the answers lose.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use faer::{Mat, MatRef};
use sentei_api::spec::{Importance, Refit};
use sentei_onnx::{
    Model,
    coupling::{Coupling, Group},
    graph::Graph,
    surgery,
};
use sentei_runtime::Runtime;

use super::divergence::Divergence;
use crate::{
    cuts::{self, Kept},
    importance::{self, Consumer, Removal},
    moments::{Inputs, Known, Layer, Rows, Sampling, Stream, StreamError, input_moments, reals},
    refit::{RefitError, own_inputs},
};

/// Ridge of the importance, relative to the mean diagonal.
const RIDGE: f64 = 1e-3;
/// A slice with fewer rows than this among those probed has no say in the damage: it would be noise.
const SLICE_ROWS: usize = 24;
/// Activations held in memory at a time, in bytes, so that a probe runs only what its cut changes.
const KNOWN_BYTES: usize = 96 << 20;

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// A model could not be run or solved.
    #[error(transparent)]
    Refit(#[from] RefitError),
    /// Units could not be removed.
    #[error("cannot remove units of group `{group}`: {reason}")]
    Surgery {
        /// The group.
        group: String,
        /// Why not.
        reason: String,
    },
}

impl From<StreamError> for ProbeError {
    fn from(error: StreamError) -> Self {
        Self::Refit(error.into())
    }
}

impl From<sentei_onnx::InitializerError> for ProbeError {
    fn from(error: sentei_onnx::InitializerError) -> Self {
        Self::Refit(error.into())
    }
}

/// The dense model, and what cuts of it are compared with.
pub struct Subject<'a> {
    /// Runs the models.
    pub runtime: &'a Runtime,
    /// The dense model.
    pub model: &'a Model,
    /// Its groups.
    pub coupling: &'a Coupling,
    /// Its layers.
    pub layers: &'a [Layer],
    /// How units are ranked.
    pub importance: Importance,
    /// Whether consumers make up for what is cut.
    pub refit: Refit,
    /// Which positions are read.
    pub sampling: Sampling,
    /// Rows the answers are compared on.
    pub probed: &'a Rows,
    /// Its answers on them.
    pub answers: &'a Divergence,
    /// The output the answers are read from.
    pub output: &'a str,
}

/// What is known about the subject's groups: moments, orders, and the damage of every cut looked at so far.
pub struct Survey<'a> {
    subject: Subject<'a>,
    /// By index of the layer.
    inputs: HashMap<usize, Inputs>,
    orders: Vec<Option<Vec<Removal>>>,
    damage: HashMap<(usize, usize), f64>,
    known: Known,
}

impl<'a> Survey<'a> {
    /// Collects, over `rows`, the moments of everything that reads a group.
    ///
    /// # Errors
    /// [`ProbeError`] when the model cannot be run.
    pub fn new(subject: Subject<'a>, rows: &Rows) -> Result<Self, ProbeError> {
        let reads = |layer: &Layer| subject.coupling.groups.iter().any(|group| reads(group, layer));
        let wanted: Vec<usize> = (0..subject.layers.len()).filter(|&index| reads(&subject.layers[index])).collect();
        let layers: Vec<&Layer> = wanted.iter().map(|&index| &subject.layers[index]).collect();
        let inputs = input_moments(subject.runtime, subject.model, &layers, rows, subject.sampling)?;
        let orders = vec![None; subject.coupling.groups.len()];
        let inputs = wanted.into_iter().zip(inputs).collect();
        Ok(Self { subject, inputs, orders, damage: HashMap::new(), known: Known::default() })
    }

    /// Gives back the memory that only makes probes fast.
    pub fn rest(&mut self) {
        self.known = Known::default();
    }

    /// Whether there is a plain layer that reads the group, so that its units can be ranked and made up for.
    #[must_use]
    pub fn can_rank(&self, group: usize) -> bool {
        self.consumers(group).next().is_some()
    }

    /// The moments of the units of a group, from the first layer that reads it.
    #[must_use]
    pub fn gram(&self, group: usize) -> Option<&importance::ChannelGram> {
        let group = &self.subject.coupling.groups[group];
        let mut layers = (0..self.subject.layers.len()).filter(|index| {
            let layer = &self.subject.layers[*index];
            reads(group, layer) && layer.site.in_units() == group.units
        });
        self.inputs.get(&layers.next()?)?.gram.as_ref()
    }

    /// In which order the units of a group go.
    ///
    /// # Errors
    /// [`ProbeError`] when a weight is missing.
    pub fn order(&mut self, group: usize) -> Result<&[Removal], ProbeError> {
        if self.orders[group].is_none() {
            self.orders[group] = Some(self.ranked(group)?);
        }
        Ok(self.orders[group].as_deref().unwrap_or_default())
    }

    fn ranked(&self, index: usize) -> Result<Vec<Removal>, ProbeError> {
        /// A layer that reads the group.
        struct Read {
            covariance: Mat<f64>,
            weights: Mat<f64>,
            columns: Vec<Vec<usize>>,
        }
        let group = &self.subject.coupling.groups[index];
        let mut parts: Vec<Read> = Vec::new();
        for (layer, inputs) in self.consumers(index) {
            let Some(sums) = inputs.sums.first() else { continue };
            let moments = if layer.can_have_bias() { sums.centred() } else { sums.raw() };
            let weights = layer.matrices(self.subject.model)?.swap_remove(0);
            parts.push(Read { covariance: moments.covariance, weights, columns: cuts::columns(group, layer) });
        }
        let consumers: Vec<Consumer<'_>> = parts
            .iter()
            .map(|read| Consumer {
                covariance: read.covariance.as_ref(),
                weights: read.weights.as_ref(),
                columns: &read.columns,
            })
            .collect();
        Ok(match self.subject.importance {
            Importance::Conditional => importance::conditional(&consumers, RIDGE),
            Importance::Marginal => importance::marginal(&consumers),
            Importance::Magnitude => {
                let mut producers: Vec<(Mat<f64>, Vec<Vec<usize>>)> = Vec::new();
                for layer in self.subject.layers.iter().filter(|layer| layer.reach.groups() == 1) {
                    let rows = cuts::rows(group, layer);
                    if rows.iter().any(|rows| !rows.is_empty()) {
                        producers.push((layer.matrices(self.subject.model)?.swap_remove(0), rows));
                    }
                }
                let producers: Vec<(MatRef<'_, f64>, &[Vec<usize>])> =
                    producers.iter().map(|(weights, rows)| (weights.as_ref(), rows.as_slice())).collect();
                importance::magnitude(&producers, &consumers)
            }
            Importance::Random => importance::random(group.units, self.subject.sampling.seed ^ index as u64),
        })
    }

    fn consumers(&self, group: usize) -> impl Iterator<Item = (&Layer, &Inputs)> {
        let group = &self.subject.coupling.groups[group];
        let layers = self.subject.layers.iter().enumerate().filter(move |(_, layer)| reads(group, layer));
        layers.filter_map(|(index, layer)| Some((layer, self.inputs.get(&index)?)))
    }

    /// The units a group keeps at a width, ascending.
    ///
    /// # Errors
    /// As [`Self::order`].
    pub fn kept(&mut self, group: usize, width: usize) -> Result<Vec<usize>, ProbeError> {
        let order = self.order(group)?;
        let mut kept: Vec<usize> = order.iter().rev().take(width).map(|removal| removal.unit).collect();
        kept.sort_unstable();
        Ok(kept)
    }

    /// How far from the dense model's answers it is when one group is cut to `width` and its consumers make up for it:
    /// over all probed rows, or over the slice that suffers most.
    ///
    /// # Errors
    /// [`ProbeError`] when the cut model cannot be made or run.
    pub fn damage(&mut self, group: usize, width: usize) -> Result<f64, ProbeError> {
        if let Some(damage) = self.damage.get(&(group, width)) {
            return Ok(*damage);
        }
        let kept = self.kept(group, width)?;
        let model = self.cut(group, kept)?;
        let start = self.boundary(group)?;
        let damage = self.divergence(&model, &start)?.into_iter().fold(0.0, f64::max);
        self.damage.insert((group, width), damage);
        Ok(damage)
    }

    /// The tensors that cutting a group leaves as they are and that everything it changes is computed from; known from
    /// now on where there is room.
    fn boundary(&mut self, group: usize) -> Result<BTreeSet<String>, ProbeError> {
        let Subject { runtime, model, probed, .. } = self.subject;
        let names = boundary(model, &self.subject.coupling.groups[group]);
        let missing: Vec<&str> = names.iter().map(String::as_str).filter(|name| !self.known.has(name)).collect();
        if !missing.is_empty() {
            let mut batches: Vec<Vec<sentei_runtime::Tensor>> = vec![Vec::new(); missing.len()];
            let mut bytes = 0;
            Stream::new(runtime, model, Some(&missing), probed)?.each(|_, tensors| {
                for (batches, tensor) in batches.iter_mut().zip(tensors) {
                    bytes += tensor.len() * size_of::<f32>();
                    // Once it cannot fit, there is no use in holding it.
                    if bytes <= KNOWN_BYTES {
                        batches.push(tensor);
                    }
                }
                Ok(())
            })?;
            if bytes <= KNOWN_BYTES {
                for (name, batches) in missing.iter().zip(batches) {
                    self.known.keep(name, batches, KNOWN_BYTES);
                }
            }
        }
        // All or nothing: a tensor computed anew beside one that is known would cost as much as none known.
        if names.iter().all(|name| self.known.has(name)) { Ok(names) } else { Ok(BTreeSet::new()) }
    }

    fn cut(&self, index: usize, units: Vec<usize>) -> Result<Model, ProbeError> {
        let Subject { model, coupling, .. } = self.subject;
        let group = &coupling.groups[index];
        let kept = Kept::from([(group.name.clone(), units)]);
        let refuse = |reason: String| ProbeError::Surgery { group: group.name.clone(), reason };
        let mut cut = surgery::keep_units(model, coupling, &kept).map_err(|error| refuse(error.to_string()))?;
        if self.subject.refit == Refit::None {
            return Ok(cut);
        }
        let layers: BTreeMap<String, Layer> =
            Layer::all(&cut).into_iter().map(|layer| (layer.site.output.clone(), layer)).collect();
        for (layer, inputs) in self.consumers(index) {
            let remains = cuts::remains(coupling, &kept, layer);
            let columns: Vec<usize> = remains.units.iter().flat_map(|&unit| layer.columns_of(unit)).collect();
            let (weights, bias) = (layer.matrices(model)?, layer.bias(model)?);
            let (Some(sums), Some(weights)) = (inputs.sums.first(), weights.first()) else { continue };
            let fit = own_inputs(sums, weights.as_ref(), &bias, &columns, &remains.rows, layer.can_have_bias());
            if let (Some(fit), Some(now)) = (fit, layers.get(&layer.site.output)) {
                now.write(&mut cut, &[fit])?;
            }
        }
        Ok(cut)
    }

    /// Mean divergence over all probed rows, and over each slice that has enough of them.
    fn divergence(&self, model: &Model, start: &BTreeSet<String>) -> Result<Vec<f64>, ProbeError> {
        let Subject { runtime, output, probed, answers, .. } = self.subject;
        let stream = Stream::from_known(runtime, model, &[output], probed, &self.known, start)?;
        let rows = answers.of_rows(&gather(stream, output)?);
        let mean = |member: &dyn Fn(usize) -> bool| {
            let rows = rows.iter().enumerate().filter(|(row, _)| member(*row));
            let weighted = rows.map(|(row, value)| (f64::from(probed.weights[row]), value));
            let (sum, weight) = weighted.fold((0.0, 0.0), |(sum, total), (w, value)| (sum + w * value, total + w));
            sum / f64::max(weight, f64::MIN_POSITIVE)
        };
        let slices = probed.slices.iter().filter(|slice| slice.iter().filter(|member| **member).count() >= SLICE_ROWS);
        let slices = slices.map(|slice| mean(&|row| slice[row]));
        Ok(std::iter::once(mean(&|_| true)).chain(slices).collect())
    }
}

/// The values of one output over rows.
///
/// # Errors
/// [`StreamError`] when the model cannot be run.
pub fn answers_of(runtime: &Runtime, model: &Model, output: &str, rows: &Rows) -> Result<Vec<f32>, StreamError> {
    gather(Stream::new(runtime, model, Some(&[output]), rows)?, output)
}

fn gather(mut stream: Stream<'_>, output: &str) -> Result<Vec<f32>, StreamError> {
    let mut answers = Vec::new();
    stream.each(|_, tensors| {
        for tensor in &tensors {
            answers.extend_from_slice(&reals(tensor, output)?);
        }
        Ok(())
    })?;
    Ok(answers)
}

/// The activations that nodes changed by a cut of the group read from nodes that are not.
fn boundary(model: &Model, group: &Group) -> BTreeSet<String> {
    let graph = Graph::new(model);
    let weights: BTreeSet<&str> = group.slices.iter().map(|slice| slice.initializer.as_str()).collect();
    let mut changed = BTreeSet::new();
    let mut names = BTreeSet::new();
    let mut tensors: BTreeSet<&str> = BTreeSet::new();
    for index in graph.topological_order().unwrap_or_default() {
        let node = &graph.nodes()[index];
        if node.input.iter().any(|input| weights.contains(input.as_str()) || tensors.contains(input.as_str())) {
            changed.insert(index);
            tensors.extend(node.output.iter().map(String::as_str));
        }
    }
    for &index in &changed {
        let read = graph.nodes()[index].input.iter().filter(|input| !input.is_empty());
        let outside = read.filter(|input| !tensors.contains(input.as_str()) && graph.initializer(input).is_none());
        names.extend(outside.filter(|input| graph.producer(input).is_some()).cloned());
    }
    names
}

/// Whether a plain layer has columns that belong to the group.
fn reads(group: &Group, layer: &Layer) -> bool {
    layer.reach.groups() == 1
        && group.slices.iter().any(|slice| slice.initializer == layer.site.weight && slice.axis == layer.site.in_axis())
}
