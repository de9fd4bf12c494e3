//! Models in 8-bit integers: activations unsigned with a zero point, weights signed with a step per output channel, in the
//! QDQ form ONNX Runtime turns into integer kernels.
//!
//! ```text
//! plan ──> calibrate ──> range, weight ──> correct ──> write
//! (graph)  (histograms)  (codes)           (biases)    (model)
//! ```
//!
//! `plan`, `histogram`, `range`, `weight` and `write` decide and touch nothing; `calibrate`, `correct` and `compare` run
//! sessions, forward only, in memory that does not grow with the data.

mod batch;
mod calibrate;
mod compare;
mod correct;
mod histogram;
mod plan;
mod range;
mod revert;
mod target;
#[cfg(test)]
mod tests;
mod weight;
mod write;

use std::collections::{BTreeMap, BTreeSet};

pub use batch::{Batch, Batches};
pub use plan::LeftAlone;
pub use range::{Affine, Method};
pub use revert::{Reverted, Verdict, quantize_until, rank_sensitivity};
use sentei_onnx::{InitializerError, Model, SaveError, UnknownTensor};
use sentei_runtime::{Dtype, RunError, Runtime, SessionError};
pub use target::TargetCpu;

use self::{
    compare::Reference,
    histogram::Histogram,
    plan::{Plan, plan, quantized_node},
    range::choose,
    weight::{Channels, QuantizedWeight},
    write::{BIAS_LIMIT, CodedWeight, Codes, write},
};

/// How to quantise.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizeOptions {
    /// Ways to choose activation ranges. Of several, the one whose model's answers on calibration data are nearest to
    /// the float model's is taken; none is the same as [`Method::MinMax`] alone.
    pub methods: Vec<Method>,
    /// Names of nodes to leave in float.
    pub keep_float: BTreeSet<String>,
    /// The processor that will serve the model.
    pub target: TargetCpu,
    /// Move biases to undo the shift that rounding puts on means.
    pub correct_biases: bool,
    /// Threads of a session, at least 1.
    pub threads: usize,
}

impl Default for QuantizeOptions {
    fn default() -> Self {
        Self {
            methods: vec![Method::MinMax, Method::Percentile(99.99), Method::MeanSquaredError],
            keep_float: BTreeSet::new(),
            target: TargetCpu::detect(),
            correct_biases: true,
            threads: 1,
        }
    }
}

/// A model in integers, and what was decided on the way.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantized {
    /// The model, in QDQ form, with the same inputs and outputs.
    pub model: Model,
    /// The code of each activation, by tensor name in the float model.
    pub ranges: BTreeMap<String, Affine>,
    /// How ranges were chosen.
    pub method: Method,
    /// The share of the float answers' variance that is wrong on calibration data.
    pub divergence: f64,
    /// The names of the nodes that became integer.
    pub quantized: Vec<String>,
    /// The layers that stayed float.
    pub left_alone: Vec<LeftAlone>,
}

/// Why a model was not quantised.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    /// Weights with a step per channel need `DequantizeLinear` with an axis.
    #[error("the model uses opset {found}, and 8-bit weights need 13 or newer; export it again with a newer opset")]
    Opset {
        /// The version of the default operator set.
        found: i64,
    },
    /// It is quantised already.
    #[error("the model is quantised already: node `{node}` is {op}; start from the float model")]
    AlreadyQuantized {
        /// The node.
        node: String,
        /// Its operator.
        op: String,
    },
    /// No layer can become integer.
    #[error("no layer can be quantised{}", first_reason(left_alone))]
    NothingToDo {
        /// Why, layer by layer.
        left_alone: Vec<LeftAlone>,
    },
    /// There were no batches.
    #[error("no calibration data; ranges of activations are read off at least a few dozen rows")]
    NoData,
    /// An activation overflowed, or the data did.
    #[error("tensor `{tensor}` is infinite or not a number on the calibration data; check the data's preprocessing")]
    NotFinite {
        /// The tensor.
        tensor: String,
    },
    /// An activation that feeds a float layer is no float.
    #[error("tensor `{tensor}` is {found}, expected float")]
    NotFloat {
        /// The tensor.
        tensor: String,
        /// Its type.
        found: Dtype,
    },
    /// A part of the model could not be cut out.
    #[error(transparent)]
    Tensor(#[from] UnknownTensor),
    /// A weight could not be read.
    #[error(transparent)]
    Weight(#[from] InitializerError),
    /// The model could not be written down for a session.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// ONNX Runtime refused the model.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The model did not run on the calibration data.
    #[error(transparent)]
    Run(#[from] RunError),
}

fn first_reason(left_alone: &[LeftAlone]) -> String {
    left_alone.first().map_or_else(String::new, |first| format!(": `{}`, {}", first.node, first.reason))
}

/// Quantises `model` with ranges read off `batches`.
///
/// # Errors
/// [`QuantizeError`], naming what is in the way; the model given is not touched.
pub fn quantize(
    model: &Model,
    runtime: &Runtime,
    batches: &Batches<'_>,
    options: &QuantizeOptions,
) -> Result<Quantized, QuantizeError> {
    Prepared::new(model, runtime, batches, options)?.quantize(&options.keep_float)
}

/// Everything learnt from the data, from which variants that keep this or that in float are cheap.
struct Prepared<'a> {
    model: &'a Model,
    runtime: &'a Runtime,
    reference: Reference,
    method: Method,
    histograms: BTreeMap<String, Histogram>,
    codes: Codes,
    plan: Plan,
}

impl<'a> Prepared<'a> {
    fn new(
        model: &'a Model,
        runtime: &'a Runtime,
        batches: &Batches<'_>,
        options: &QuantizeOptions,
    ) -> Result<Self, QuantizeError> {
        if let Some(node) = quantized_node(model.graph()) {
            let (node, op) = (node.name().to_owned(), node.op_type().to_owned());
            return Err(QuantizeError::AlreadyQuantized { node, op });
        }
        if model.opset() < 13 {
            return Err(QuantizeError::Opset { found: model.opset() });
        }
        let plan = plan(model, &options.keep_float);
        if plan.sites.is_empty() {
            return Err(QuantizeError::NothingToDo { left_alone: plan.left_alone });
        }
        let tensors: Vec<&str> = plan.coded.iter().map(|coded| coded.tensor.as_str()).collect();
        let histograms = calibrate::histograms(model, &tensors, runtime, batches, options.threads)?;
        let reference = Reference::of(model, runtime, batches, options.threads)?;
        let methods = if options.methods.is_empty() { &[Method::MinMax][..] } else { &options.methods };
        let mut best: Option<(f64, Method, Codes)> = None;
        for &method in methods {
            let codes = codes(model, &plan, &histograms, method, options.target)?;
            let divergence = match methods {
                [_] => 0.0,
                _ => reference.divergence(&write(model, &plan, &codes), runtime)?,
            };
            if best.as_ref().is_none_or(|(least, ..)| divergence < *least) {
                best = Some((divergence, method, codes));
            }
        }
        // There is at least one method, and the first is always better than none.
        let (_, method, mut codes) = best.ok_or(QuantizeError::NoData)?;
        if options.correct_biases {
            codes.biases = correct::biases(model, &plan, &codes, runtime, batches, options.threads)?;
        }
        Ok(Self { model, runtime, reference, method, histograms, codes, plan })
    }

    /// The model with these nodes, too, left in float.
    fn quantize(&self, keep_float: &BTreeSet<String>) -> Result<Quantized, QuantizeError> {
        let plan = plan(self.model, keep_float);
        let mut codes = self.codes.clone();
        codes.activations = activations(&plan, &self.histograms, self.method);
        codes.biases.retain(|bias, _| plan.sites.iter().any(|site| site.bias.as_ref() == Some(bias)));
        let model = write(self.model, &plan, &codes);
        let divergence = self.reference.divergence(&model, self.runtime)?;
        Ok(Quantized {
            model,
            ranges: codes.activations,
            method: self.method,
            divergence,
            quantized: plan.sites.into_iter().map(|site| site.name).collect(),
            left_alone: plan.left_alone,
        })
    }
}

/// The code of every activation of the plan.
fn activations(plan: &Plan, histograms: &BTreeMap<String, Histogram>, method: Method) -> BTreeMap<String, Affine> {
    let mut found: BTreeMap<String, Affine> = BTreeMap::new();
    for coded in &plan.coded {
        let same = coded.same_as.as_ref().and_then(|same| found.get(same)).copied();
        let own = || histograms.get(&coded.tensor).map(|histogram| choose(histogram, method));
        if let Some(code) = same.or_else(own) {
            found.insert(coded.tensor.clone(), code);
        }
    }
    found
}

/// Activations and weights in codes.
fn codes(
    model: &Model,
    plan: &Plan,
    histograms: &BTreeMap<String, Histogram>,
    method: Method,
    target: TargetCpu,
) -> Result<Codes, QuantizeError> {
    let activations = activations(plan, histograms, method);
    let mut floors: BTreeMap<&str, Vec<f32>> = BTreeMap::new();
    for site in &plan.sites {
        let floors = floors.entry(&site.weight).or_insert_with(|| vec![0.0; site.out_units()]);
        if let Some(bias) = &site.bias {
            // A bias is added to the sums in their steps, `input step * weight step`, as an int32.
            let step = activations[&site.input].scale;
            let (_, values) = model.weights(bias)?;
            for (floor, value) in floors.iter_mut().zip(values) {
                *floor = floor.max(value.abs() / step / BIAS_LIMIT);
            }
        }
    }
    let mut weights = BTreeMap::new();
    for site in &plan.sites {
        let (shape, values) = model.weights(&site.weight)?;
        let Some(channels) = Channels::along(&shape, site.out_axis()) else { continue };
        let floors = &floors[site.weight.as_str()];
        let weight = QuantizedWeight::nearest(&values, channels, target.weight_limit(), floors);
        weights.insert(site.weight.clone(), CodedWeight { shape, weight });
    }
    Ok(Codes { activations, weights, biases: BTreeMap::new() })
}
