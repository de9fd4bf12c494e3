//! Changing a graph: for what builds or rewrites models. [`crate::check::check`] tells whether the result holds together.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::{
    ElementType, Model, Tensor,
    attributes::{self, Attribute},
    graph::{Circle, Graph, named},
    linear::{LinearOp, Site},
    proto::{
        GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
        ValueInfoProto,
        tensor_shape_proto::{Dimension, dimension},
        type_proto,
    },
};

/// A node of the default operator set, named after its first output.
#[must_use]
pub fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    NodeProto {
        op_type: Some(op.to_owned()),
        name: outputs.first().map(|&name| name.to_owned()),
        input: owned(inputs),
        output: owned(outputs),
        ..NodeProto::default()
    }
}

/// The node with an attribute set.
#[must_use]
pub fn with(mut node: NodeProto, name: &str, value: Attribute) -> NodeProto {
    attributes::set(&mut node, name, value);
    node
}

/// A declared tensor; an axis without a length gets the given name.
#[must_use]
pub fn value_info(name: &str, element: ElementType, dims: &[Result<usize, &str>]) -> ValueInfoProto {
    let dim = |dim: &Result<usize, &str>| Dimension {
        value: Some(match dim {
            Ok(size) => dimension::Value::DimValue(*size as i64),
            Err(name) => dimension::Value::DimParam((*name).to_owned()),
        }),
        ..Dimension::default()
    };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(element as i32), shape: Some(shape) };
    let r#type = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(r#type), ..ValueInfoProto::default() }
}

/// A model made from scratch. Outputs need no type: the runtime infers it.
///
/// # Errors
/// [`crate::LoadError`] when `opset` is none that is known.
pub fn model(
    opset: i64,
    inputs: Vec<ValueInfoProto>,
    outputs: &[&str],
    nodes: Vec<NodeProto>,
    weights: &[(&str, Tensor)],
) -> Result<Model, crate::LoadError> {
    let output = |&name: &&str| ValueInfoProto { name: Some(name.to_owned()), ..ValueInfoProto::default() };
    let graph = GraphProto {
        name: Some("graph".to_owned()),
        node: nodes,
        initializer: weights.iter().map(|(name, tensor)| tensor.to_proto(name)).collect(),
        input: inputs,
        output: outputs.iter().map(output).collect(),
        ..GraphProto::default()
    };
    Model::from_proto(ModelProto {
        ir_version: Some(8),
        producer_name: Some("sentei".to_owned()),
        opset_import: vec![OperatorSetIdProto { version: Some(opset), ..OperatorSetIdProto::default() }],
        graph: Some(graph),
        ..ModelProto::default()
    })
}

/// A tensor or node name that nothing in the model has, made from `stem`.
#[must_use]
pub fn fresh_name(model: &Model, stem: &str) -> String {
    let graph = model.graph();
    let mut taken: HashSet<&str> = graph.initializer.iter().map(TensorProto::name).collect();
    let infos = graph.input.iter().chain(&graph.output).chain(&graph.value_info);
    taken.extend(infos.map(ValueInfoProto::name));
    for node in &graph.node {
        taken.insert(node.name());
        taken.extend(named(&node.input).chain(named(&node.output)));
    }
    let numbered = (1..).map(|n| format!("{stem}_{n}"));
    std::iter::once(stem.to_owned()).chain(numbered).find(|name| !taken.contains(name.as_str())).unwrap_or_default()
}

/// Appends a node; [`sort`] puts it where it belongs.
pub fn add_node(model: &mut Model, node: NodeProto) {
    model.graph_mut().node.push(node);
}

/// Makes every node that reads `from` read `to` instead, but for nodes `except` (by index). Graph outputs keep their
/// names, and graphs nested in nodes are not looked into.
pub fn replace_uses(model: &mut Model, from: &str, to: &str, except: &[usize]) {
    let nodes = model.graph_mut().node.iter_mut().enumerate().filter(|(index, _)| !except.contains(index));
    let inputs = nodes.flat_map(|(_, node)| &mut node.input).filter(|input| *input == from);
    inputs.for_each(|input| to.clone_into(input));
}

/// Removes nodes by index.
pub fn remove_nodes(model: &mut Model, gone: &BTreeSet<usize>) {
    let mut index = 0..;
    model.graph_mut().node.retain(|_| index.next().is_none_or(|index| !gone.contains(&index)));
}

/// Puts nodes in topological order, keeping the present order wherever it is one.
///
/// # Errors
/// [`Circle`] when there is no such order.
pub fn sort(model: &mut Model) -> Result<(), Circle> {
    let order = Graph::new(model).topological_order()?;
    let mut nodes: HashMap<usize, NodeProto> =
        std::mem::take(&mut model.graph_mut().node).into_iter().enumerate().collect();
    model.graph_mut().node = order.iter().filter_map(|index| nodes.remove(index)).collect();
    Ok(())
}

/// Gives a site a bias (of zeros) when it has none, and returns its name: a third input of `Conv` and `Gemm`, an `Add`
/// right behind a `MatMul`. Node indices from before stay valid until [`sort`], which a new `Add` needs; it takes over the
/// product's name, so that readers, and callers when it is a graph output, need no change.
pub fn ensure_bias(model: &mut Model, site: &Site) -> String {
    if let Some(bias) = &site.bias {
        return bias.clone();
    }
    let element = model.initializer(&site.weight).map_or(ElementType::Float as i32, TensorProto::data_type);
    let element = ElementType::try_from(element).unwrap_or(ElementType::Float);
    let name = fresh_name(model, &format!("{}.bias", site.name));
    let zeros = vec![0.0; site.out_units()];
    let zeros = Tensor::from_f32(&[site.out_units()], zeros.clone(), element).unwrap_or_else(|_| Tensor::vector(zeros));
    model.set_initializer(&name, &zeros);
    if matches!(site.op, LinearOp::MatMul) {
        let product = fresh_name(model, &format!("{}.product", site.output));
        let mut add = node("Add", &[&product, &name], &[&site.output]);
        add.name = Some(fresh_name(model, &format!("{}.add_bias", site.name)));
        model.graph_mut().node[site.node].output[0] = product;
        add_node(model, add);
    } else {
        let inputs = &mut model.graph_mut().node[site.node].input;
        inputs.resize(2, String::new());
        inputs.push(name.clone());
    }
    name
}
