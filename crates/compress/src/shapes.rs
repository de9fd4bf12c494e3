//! Tensor shapes, measured by running the model on two batch sizes: what agrees is static.

use std::collections::BTreeMap;

use sentei_onnx::{Model, Shapes, graph::Graph, shapes::agree};
use sentei_runtime::Runtime;

use crate::moments::{Rows, Stream, StreamError, fixed_batch};

/// Measures the shape of every tensor that nodes make or callers feed.
///
/// A model whose batch is fixed is run once, and all its axes count as static.
///
/// # Errors
/// [`StreamError`] when the model does not run, or has fewer rows than a batch.
pub fn measure(runtime: &Runtime, model: &Model, rows: &Rows) -> Result<Shapes, StreamError> {
    if let Some(batch) = fixed_batch(model) {
        let once = run(runtime, model, &rows.first(batch))?;
        return Ok(agree(&once, &once));
    }
    let (one, two) = (run(runtime, model, &rows.first(1))?, run(runtime, model, &rows.first(2))?);
    Ok(agree(&one, &two))
}

fn run(runtime: &Runtime, model: &Model, rows: &Rows) -> Result<BTreeMap<String, Vec<usize>>, StreamError> {
    let graph = Graph::new(model);
    let made = graph.nodes().iter().flat_map(|node| &node.output).filter(|name| !name.is_empty());
    let names: Vec<&str> = made.map(String::as_str).collect();
    let mut shapes: BTreeMap<String, Vec<usize>> =
        rows.inputs.iter().map(|(name, tensor)| (name.clone(), tensor.shape().to_vec())).collect();
    Stream::new(runtime, model, Some(&names), rows)?.each(|_, tensors| {
        let found = names.iter().zip(&tensors);
        shapes.extend(found.map(|(name, tensor)| ((*name).to_owned(), tensor.shape().to_vec())));
        Ok(())
    })?;
    Ok(shapes)
}
