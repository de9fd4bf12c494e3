//! Cuts one group at a time in the model as it stands, and looks at what the answers lose.

use std::collections::{BTreeMap, HashMap};

use faer::{Mat, MatRef};
use sentei_api::spec::{Importance, Refit};
use sentei_onnx::{Model, coupling::Coupling, surgery};
use sentei_runtime::Runtime;

use super::divergence::Divergence;
use crate::{
    cuts::{self, Kept},
    importance::{self, Consumer, Removal},
    moments::{Inputs, Layer, Rows, Sampling, Stream, StreamError, input_moments, reals},
    refit::{RefitError, own_inputs},
};

/// Ridge of the importance, relative to the mean diagonal.
const RIDGE: f64 = 1e-3;
/// A slice with fewer rows than this among those probed has no say in the damage: it would be noise.
const SLICE_ROWS: usize = 24;

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

/// The model under the knife, and what it is compared with.
pub struct Subject<'a> {
    /// Runs the models.
    pub runtime: &'a Runtime,
    /// The model as it stands.
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
    /// The uncompressed model's answers on them.
    pub answers: &'a Divergence,
    /// The output the answers are read from.
    pub output: &'a str,
}

/// What is known about the subject's groups.
pub struct Survey<'a> {
    subject: Subject<'a>,
    /// By index of the layer.
    inputs: HashMap<usize, Inputs>,
    orders: Vec<Option<Vec<Removal>>>,
    /// Divergence of the subject as it stands: all probed rows, then the slices that count.
    now: Vec<f64>,
}

impl<'a> Survey<'a> {
    /// Collects, over `rows`, the moments of everything that reads one of `groups` (indices into the coupling).
    ///
    /// # Errors
    /// [`ProbeError`] when the model cannot be run.
    pub fn new(subject: Subject<'a>, groups: &[usize], rows: &Rows) -> Result<Self, ProbeError> {
        let reads = |layer: &Layer| groups.iter().any(|&group| reads(&subject.coupling.groups[group], layer));
        let wanted: Vec<usize> = (0..subject.layers.len()).filter(|&index| reads(&subject.layers[index])).collect();
        let layers: Vec<&Layer> = wanted.iter().map(|&index| &subject.layers[index]).collect();
        let inputs = input_moments(subject.runtime, subject.model, &layers, rows, subject.sampling)?;
        let orders = vec![None; subject.coupling.groups.len()];
        let mut survey = Self { subject, inputs: wanted.into_iter().zip(inputs).collect(), orders, now: Vec::new() };
        survey.now = survey.divergence(survey.subject.model)?;
        Ok(survey)
    }

    /// Divergence of the subject as it stands, over all probed rows.
    #[must_use]
    pub fn divergence_now(&self) -> f64 {
        self.now.first().copied().unwrap_or(0.0)
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
        let group = &self.subject.coupling.groups[index];
        let mut parts: Vec<(Mat<f64>, Mat<f64>, Vec<Vec<usize>>)> = Vec::new();
        for (layer, inputs) in self.consumers(index) {
            let Some(sums) = inputs.sums.first() else { continue };
            let moments = if layer.can_have_bias() { sums.centred() } else { sums.raw() };
            let weights = layer.matrices(self.subject.model)?.swap_remove(0);
            parts.push((moments.covariance, weights, cuts::columns(group, layer)));
        }
        let consumers: Vec<Consumer<'_>> = parts
            .iter()
            .map(|(covariance, weights, columns)| Consumer {
                covariance: covariance.as_ref(),
                weights: weights.as_ref(),
                columns,
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

    /// How much further from the uncompressed model's answers the subject is when one group is cut to `width` and its
    /// consumers make up for it: over all probed rows, or over the slice that suffers most.
    ///
    /// # Errors
    /// [`ProbeError`] when the cut model cannot be made or run.
    pub fn damage(&mut self, group: usize, width: usize) -> Result<f64, ProbeError> {
        let kept = self.kept(group, width)?;
        let model = self.cut(group, kept)?;
        let then = self.divergence(&model)?;
        let worst = then.iter().zip(&self.now).map(|(then, now)| then - now).fold(f64::NEG_INFINITY, f64::max);
        Ok(worst.max(0.0))
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
    fn divergence(&self, model: &Model) -> Result<Vec<f64>, ProbeError> {
        let Subject { runtime, output, probed, answers, .. } = self.subject;
        let rows = answers.of_rows(&answers_of(runtime, model, output, probed)?);
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
    let mut answers = Vec::new();
    Stream::new(runtime, model, Some(&[output]), rows)?.each(|_, tensors| {
        for tensor in tensors {
            answers.extend_from_slice(&reals(tensor, output)?);
        }
        Ok(())
    })?;
    Ok(answers)
}

/// Whether a plain layer has columns that belong to the group.
fn reads(group: &sentei_onnx::coupling::Group, layer: &Layer) -> bool {
    layer.reach.groups() == 1
        && group.slices.iter().any(|slice| slice.initializer == layer.site.weight && slice.axis == layer.site.in_axis())
}
