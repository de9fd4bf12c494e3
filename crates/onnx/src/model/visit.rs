//! Every constant of a model, wherever the format lets one stand.

use crate::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto};

/// Calls `see` with each tensor: weights, sparse weights, attribute values, and those of nested graphs and functions.
/// Nesting is bounded by the decoder's own recursion limit.
pub(crate) fn each_tensor<E>(
    model: &mut ModelProto,
    see: &mut impl FnMut(&mut TensorProto) -> Result<(), E>,
) -> Result<(), E> {
    if let Some(graph) = &mut model.graph {
        in_graph(graph, see)?;
    }
    for training in &mut model.training_info {
        for graph in training.initialization.iter_mut().chain(&mut training.algorithm) {
            in_graph(graph, see)?;
        }
    }
    for function in &mut model.functions {
        in_nodes(&mut function.node, see)?;
        in_attributes(&mut function.attribute_proto, see)?;
    }
    Ok(())
}

fn in_graph<E>(graph: &mut GraphProto, see: &mut impl FnMut(&mut TensorProto) -> Result<(), E>) -> Result<(), E> {
    graph.initializer.iter_mut().try_for_each(&mut *see)?;
    graph.sparse_initializer.iter_mut().try_for_each(|sparse| in_sparse(sparse, see))?;
    in_nodes(&mut graph.node, see)
}

fn in_nodes<E>(nodes: &mut [NodeProto], see: &mut impl FnMut(&mut TensorProto) -> Result<(), E>) -> Result<(), E> {
    nodes.iter_mut().try_for_each(|node| in_attributes(&mut node.attribute, see))
}

fn in_attributes<E>(
    attributes: &mut [AttributeProto],
    see: &mut impl FnMut(&mut TensorProto) -> Result<(), E>,
) -> Result<(), E> {
    for attribute in attributes {
        attribute.t.iter_mut().chain(&mut attribute.tensors).try_for_each(&mut *see)?;
        for sparse in attribute.sparse_tensor.iter_mut().chain(&mut attribute.sparse_tensors) {
            in_sparse(sparse, see)?;
        }
        for graph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
            in_graph(graph, see)?;
        }
    }
    Ok(())
}

fn in_sparse<E>(
    sparse: &mut SparseTensorProto,
    see: &mut impl FnMut(&mut TensorProto) -> Result<(), E>,
) -> Result<(), E> {
    sparse.values.iter_mut().chain(&mut sparse.indices).try_for_each(see)
}
