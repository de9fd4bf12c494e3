//! What the activations look like on the user's data: one pass, histograms only.

use std::collections::BTreeMap;

use sentei_onnx::Model;
use sentei_runtime::{Runtime, Tensor};

use super::{
    QuantizeError,
    batch::{Batches, Feed, rows},
    histogram::Histogram,
};

/// Streams the batches through the part of the model that computes `tensors` and counts the values of each. A graph
/// input is counted as fed.
pub(super) fn histograms(
    model: &Model,
    tensors: &[&str],
    runtime: &Runtime,
    batches: &Batches<'_>,
    threads: usize,
) -> Result<BTreeMap<String, Histogram>, QuantizeError> {
    let mut found: BTreeMap<String, Histogram> =
        tensors.iter().map(|&tensor| (tensor.to_owned(), Histogram::default())).collect();
    let inputs: Vec<String> = model.inputs().into_iter().map(|input| input.name).collect();
    let computed: Vec<&str> =
        tensors.iter().copied().filter(|tensor| !inputs.iter().any(|input| input == tensor)).collect();
    let mut feed = Feed::new(runtime, &model.with_outputs(&computed)?.to_bytes()?, threads)?;
    let outputs = feed.outputs();
    let mut total = 0;
    for batch in batches() {
        total += rows(&batch);
        for (name, tensor) in &batch {
            if let Some(histogram) = found.get_mut(name) {
                count(histogram, name, tensor)?;
            }
        }
        feed.each(&batch, |_, tensors| {
            for (name, tensor) in outputs.iter().zip(tensors) {
                if let Some(histogram) = found.get_mut(name) {
                    count(histogram, name, tensor)?;
                }
            }
            Ok::<_, QuantizeError>(())
        })?;
    }
    if total == 0 {
        return Err(QuantizeError::NoData);
    }
    Ok(found)
}

fn count(histogram: &mut Histogram, name: &str, tensor: &Tensor) -> Result<(), QuantizeError> {
    let not_finite = || QuantizeError::NotFinite { tensor: name.to_owned() };
    match tensor.values::<f32>() {
        Some(values) => histogram.add(values).map_err(|_| not_finite()),
        None => Err(QuantizeError::NotFloat { tensor: name.to_owned(), found: tensor.dtype() }),
    }
}
