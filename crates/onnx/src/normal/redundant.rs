//! Nodes that pass their input on unchanged while inferring.

use std::collections::BTreeSet;

use crate::{Model, Tensor, TensorData, edit, graph::Graph, proto::NodeProto};

/// Removes `Identity`, and `Dropout` outside training; readers read the input instead.
pub(super) fn strip(model: &mut Model) -> usize {
    let mut removed = 0;
    // One at a time where a graph output is renamed, since the next may read what was renamed.
    while let Some(index) = next(model) {
        let node = &model.graph().node[index];
        let (input, output) = (node.input[0].clone(), node.output[0].clone());
        if Graph::new(model).is_output(&output) {
            rename(model, &input, &output);
        } else {
            edit::replace_uses(model, &output, &input, &[]);
        }
        edit::remove_nodes(model, &BTreeSet::from([index]));
        removed += 1;
    }
    removed
}

/// The first node that can go.
fn next(model: &Model) -> Option<usize> {
    let graph = Graph::new(model);
    graph.nodes().iter().position(|node| {
        let [input, ..] = node.input.as_slice() else { return false };
        let [output, side @ ..] = node.output.as_slice() else { return false };
        let captured = |name: &str| graph.readers(name).iter().any(|reader| reader.slot.is_none());
        let side_read = side.iter().any(|side| !graph.readers(side).is_empty() || graph.is_output(side));
        // An output must keep its name: then the name moves to the node before, if that is free to take it.
        let movable = !graph.is_output(output) || (graph.producer(input).is_some() && !graph.is_output(input));
        does_nothing(&graph, node) && !side_read && movable && !captured(output) && !captured(input)
    })
}

fn does_nothing(graph: &Graph<'_>, node: &NodeProto) -> bool {
    if !matches!(node.domain(), "" | "ai.onnx") {
        return false;
    }
    match (node.op_type(), node.input.get(2).filter(|mode| !mode.is_empty())) {
        ("Identity", _) | ("Dropout", None) => true,
        ("Dropout", Some(training)) => {
            let mode = graph.initializer(training).and_then(|mode| Tensor::from_proto(mode).ok());
            mode.is_some_and(|mode| *mode.data() == TensorData::Bool(vec![false]))
        }
        _ => false,
    }
}

/// Gives the tensor `from` the name `to` wherever it is made or read.
fn rename(model: &mut Model, from: &str, to: &str) {
    for node in &mut model.graph_mut().node {
        let names = node.input.iter_mut().chain(&mut node.output);
        names.filter(|name| *name == from).for_each(|name| to.clone_into(name));
    }
    model.graph_mut().value_info.retain(|info| info.name() != from);
}
