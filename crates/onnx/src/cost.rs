//! How much a model multiplies and how much it holds.

use crate::{
    Dim, Model, Shapes,
    graph::{Graph, label},
    tensor::{ElementType, element_type, product, shape_of},
};

/// The work of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeCost {
    /// Index of the node.
    pub node: usize,
    /// Its name, else its first output's.
    pub name: String,
    /// Its operator.
    pub op: String,
    /// Multiply-accumulates for one sample.
    pub macs: u64,
}

/// Multiply-accumulates of each `Conv`, `ConvTranspose`, `Gemm` and `MatMul`, for one sample: axes that differ between
/// runs count once, so a dynamic batch is a batch of one (and a dynamic sequence a single position). Nodes whose shapes
/// were not measured are left out.
#[must_use]
pub fn macs(model: &Model, shapes: &Shapes) -> Vec<NodeCost> {
    let graph = Graph::new(model);
    let nodes = graph.nodes().iter().enumerate();
    nodes
        .filter_map(|(index, node)| {
            let op = node.op_type();
            let output = count(&lengths(&graph, shapes, node.output.first()?)?);
            let left = lengths(&graph, shapes, node.input.first()?)?;
            let right = lengths(&graph, shapes, node.input.get(1)?)?;
            let macs = match op {
                // Each output element takes one product per weight of its filter: all axes but the first.
                "Conv" => output * count(right.get(1..)?),
                "ConvTranspose" => count(&left) * count(right.get(1..)?),
                "Gemm" => {
                    output * if crate::attributes::flag(node, "transA") { *left.first()? } else { *left.last()? }
                }
                "MatMul" => output * left.last()?,
                _ => return None,
            };
            Some(NodeCost { node: index, name: label(node, index), op: op.to_owned(), macs })
        })
        .collect()
}

/// The number of real values among the weights.
#[must_use]
pub fn parameters(model: &Model) -> usize {
    use ElementType as E;
    let real = |tensor: &&crate::proto::TensorProto| {
        matches!(element_type(tensor), Some(E::Float | E::Float16 | E::Bfloat16 | E::Double))
    };
    model.graph().initializer.iter().filter(real).filter_map(|t| shape_of(t).ok()).map(|shape| product(&shape)).sum()
}

/// Axis lengths with 1 for each dynamic one.
fn lengths(graph: &Graph<'_>, shapes: &Shapes, tensor: &str) -> Option<Vec<u64>> {
    match graph.initializer(tensor) {
        Some(weight) => Some(shape_of(weight).ok()?.into_iter().map(|length| length as u64).collect()),
        None => Some(shapes.get(tensor)?.iter().map(|dim| Dim::size(*dim).unwrap_or(1) as u64).collect()),
    }
}

fn count(lengths: &[u64]) -> u64 {
    lengths.iter().fold(1, |product, &length| product.saturating_mul(length))
}
