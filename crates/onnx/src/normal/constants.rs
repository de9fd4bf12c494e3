//! Constants where the analysis looks for them: among the weights.

use std::collections::BTreeSet;

use crate::{
    Model, Tensor, TensorData, attributes, edit,
    graph::Graph,
    proto::{NodeProto, TensorProto},
};

/// Turns `Constant` nodes into weights; those of text or sparse values stay.
pub(super) fn promote(model: &mut Model) -> usize {
    let mut gone = BTreeSet::new();
    let mut weights = Vec::new();
    for (index, node) in model.graph().node.iter().enumerate() {
        let constant = node.op_type() == "Constant" && matches!(node.domain(), "" | "ai.onnx");
        if let Some(value) = node.output.first().filter(|_| constant).and_then(|output| value(node, output)) {
            gone.insert(index);
            weights.push(value);
        }
    }
    edit::remove_nodes(model, &gone);
    model.graph_mut().initializer.extend(weights);
    gone.len()
}

fn value(node: &NodeProto, name: &str) -> Option<TensorProto> {
    if let Some(tensor) = attributes::tensor(node, "value") {
        return Some(TensorProto { name: Some(name.to_owned()), ..tensor.clone() });
    }
    let scalar = |data: TensorData| Tensor::new([], data).ok();
    let tensor = attributes::int(node, "value_int")
        .and_then(|i| scalar(vec![i].into()))
        .or_else(|| attributes::float(node, "value_float").and_then(|f| scalar(vec![f].into())))
        .or_else(|| attributes::ints(node, "value_ints").map(|ints| Tensor::vector(ints.to_vec())))
        .or_else(|| attributes::floats(node, "value_floats").map(|floats| Tensor::vector(floats.to_vec())))?;
    Some(tensor.to_proto(name))
}

/// Carries out `Transpose` on matrices of weights (`Linear` layers of some exporters), so that a `MatMul` reads its weight
/// directly.
pub(super) fn transpose(model: &mut Model) -> usize {
    let graph = Graph::new(model);
    let mut done = Vec::new();
    for (index, node) in graph.nodes().iter().enumerate() {
        let weight = node.input.first().and_then(|name| graph.initializer(name));
        let (true, Some(weight), Some(output)) = (node.op_type() == "Transpose", weight, node.output.first()) else {
            continue;
        };
        let swaps = attributes::ints(node, "perm").is_none_or(|perm| perm == [1, 0]);
        let flipped = Tensor::from_proto(weight).ok().and_then(|tensor| flip(&tensor));
        if let (true, false, Some(flipped)) = (swaps, graph.is_output(output), flipped) {
            done.push((index, flipped.to_proto(output)));
        }
    }
    let gone = done.iter().map(|(index, _)| *index).collect();
    edit::remove_nodes(model, &gone);
    model.graph_mut().initializer.extend(done.into_iter().map(|(_, weight)| weight));
    gone.len()
}

/// Carries out `Reshape` on weights by a constant shape: the values stay where they are.
pub(super) fn reshape(model: &mut Model) -> usize {
    let graph = Graph::new(model);
    let mut done = Vec::new();
    for (index, node) in graph.nodes().iter().enumerate() {
        let ([weight, target], [output]) = (node.input.as_slice(), node.output.as_slice()) else { continue };
        let constant = node.op_type() == "Reshape" && !attributes::flag(node, "allowzero") && !graph.is_output(output);
        let weight = graph.initializer(weight).filter(|_| constant);
        let target = graph.initializer(target).and_then(|target| Tensor::from_proto(target).ok()?.to_i64());
        let dims = weight.zip(target).and_then(|(weight, target)| dims(&weight.dims, &target));
        if let (Some(weight), Some(dims)) = (weight, dims) {
            done.push((index, TensorProto { name: Some(output.clone()), dims, ..weight.clone() }));
        }
    }
    let gone = done.iter().map(|(index, _)| *index).collect();
    edit::remove_nodes(model, &gone);
    model.graph_mut().initializer.extend(done.into_iter().map(|(_, weight)| weight));
    gone.len()
}

/// The shape that `target` asks for, with its zeros and its -1 filled in.
fn dims(from: &[i64], target: &[i64]) -> Option<Vec<i64>> {
    let product = |dims: &[i64]| dims.iter().try_fold(1_i64, |product, &dim| product.checked_mul(dim));
    let mut dims = Vec::with_capacity(target.len());
    for (i, &length) in target.iter().enumerate() {
        dims.push(if length == 0 { *from.get(i)? } else { length });
    }
    if let Some(open) = dims.iter().position(|&length| length == -1) {
        dims[open] = 1;
        dims[open] = product(from)?.checked_div(product(&dims)?)?;
    }
    (dims.iter().all(|&length| length >= 0) && product(&dims)? == product(from)?).then_some(dims)
}

/// A matrix of reals with its axes swapped, in its own type.
fn flip(tensor: &Tensor) -> Option<Tensor> {
    let [rows, columns] = *tensor.shape() else { return None };
    let values = tensor.to_f32().filter(|_| !matches!(tensor.data(), TensorData::F64(_)))?;
    let flipped = (0..columns).flat_map(|c| (0..rows).map(move |r| (r, c))).map(|(r, c)| values[r * columns + c]);
    Tensor::from_f32(&[columns, rows], flipped.collect(), tensor.data().element_type()).ok()
}
