//! Whether a model holds together, before the runtime is asked.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use crate::{
    Model,
    graph::{Graph, captured, label, named},
    linear::{LinearOp, linear_sites},
    tensor::{bits_of, element_type, product, shape_of},
};

/// One thing wrong with a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Defect {
    /// The graph has no output.
    NoOutput,
    /// A tensor is made twice.
    DefinedTwice {
        /// The tensor.
        tensor: String,
    },
    /// A node reads a tensor nobody makes.
    Dangling {
        /// The node.
        node: String,
        /// The tensor.
        tensor: String,
    },
    /// A node stands before the node it reads from.
    Order {
        /// The node.
        node: String,
        /// The tensor it reads too early.
        tensor: String,
    },
    /// A graph output nobody makes.
    MissingOutput {
        /// The output.
        tensor: String,
    },
    /// A node of an operator set that is not imported.
    NoOperatorSet {
        /// The node.
        node: String,
        /// The domain of its operator.
        domain: String,
    },
    /// A weight whose bytes do not fill its shape.
    WeightSize {
        /// The weight.
        weight: String,
        /// Its shape.
        shape: Vec<i64>,
        /// Bytes (or entries of a typed field) the shape needs.
        expected: usize,
        /// What is there.
        found: usize,
    },
    /// Two lengths that must be equal are not.
    Lengths {
        /// The node.
        node: String,
        /// What the first length is.
        what: String,
        /// The first length.
        first: usize,
        /// What the second length is.
        against: String,
        /// The second length.
        second: usize,
    },
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoOutput => write!(f, "the graph has no output"),
            Self::DefinedTwice { tensor } => write!(f, "tensor `{tensor}` is made twice"),
            Self::Dangling { node, tensor } => write!(f, "node `{node}` reads `{tensor}`, which nothing makes"),
            Self::Order { node, tensor } => write!(f, "node `{node}` stands before the node that makes `{tensor}`"),
            Self::MissingOutput { tensor } => write!(f, "graph output `{tensor}` is made by nothing"),
            Self::NoOperatorSet { node, domain } => {
                write!(f, "node `{node}` is of operator set `{domain}`, which the model does not import")
            }
            Self::WeightSize { weight, shape, expected, found } => {
                write!(f, "weight `{weight}` of shape {shape:?} needs {expected} bytes or values, but has {found}")
            }
            Self::Lengths { node, what, first, against, second } => {
                write!(f, "at node `{node}`, {what} is {first}, but {against} is {second}")
            }
        }
    }
}

/// Checks names, order, operator sets, weight sizes, and the lengths layers must agree on.
///
/// # Errors
/// Every defect found, in graph order.
pub fn check(model: &Model) -> Result<(), Vec<Defect>> {
    let graph = Graph::new(model);
    let mut defects = Vec::new();
    names(model, &graph, &mut defects);
    weights(model, &mut defects);
    lengths(model, &graph, &mut defects);
    if defects.is_empty() { Ok(()) } else { Err(defects) }
}

fn names(model: &Model, graph: &Graph<'_>, defects: &mut Vec<Defect>) {
    let proto = model.graph();
    let inputs = model.inputs();
    let mut known: HashSet<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
    let sparse = proto.sparse_initializer.iter().filter_map(|sparse| sparse.values.as_ref());
    for weight in proto.initializer.iter().chain(sparse) {
        if !known.insert(weight.name()) {
            defects.push(Defect::DefinedTwice { tensor: weight.name().to_owned() });
        }
    }
    for (index, node) in proto.node.iter().enumerate() {
        let name = label(node, index);
        for tensor in named(&node.input).chain(captured(node)).filter(|tensor| !known.contains(tensor)) {
            let (node, tensor) = (name.clone(), tensor.to_owned());
            let late = graph.producer(&tensor).is_some();
            defects.push(if late { Defect::Order { node, tensor } } else { Defect::Dangling { node, tensor } });
        }
        for output in named(&node.output) {
            if !known.insert(output) {
                defects.push(Defect::DefinedTwice { tensor: output.to_owned() });
            }
        }
        let domain = node.domain();
        let local = model.proto().functions.iter().any(|f| f.domain() == domain && f.name() == node.op_type());
        if !matches!(domain, "" | "ai.onnx") && model.opset_of(domain).is_none() && !local {
            defects.push(Defect::NoOperatorSet { node: name, domain: domain.to_owned() });
        }
    }
    if proto.output.is_empty() {
        defects.push(Defect::NoOutput);
    }
    let missing = proto.output.iter().map(crate::proto::ValueInfoProto::name).filter(|name| !known.contains(name));
    defects.extend(missing.map(|tensor| Defect::MissingOutput { tensor: tensor.to_owned() }));
}

fn weights(model: &Model, defects: &mut Vec<Defect>) {
    for weight in &model.graph().initializer {
        let Ok(shape) = shape_of(weight) else { continue };
        let count = product(&shape);
        let (expected, found) = match (&weight.raw_data, element_type(weight).and_then(bits_of)) {
            (Some(raw), Some(bits)) => (count.saturating_mul(bits).div_ceil(8), raw.len()),
            _ => continue,
        };
        if expected != found {
            let (weight, shape) = (weight.name().to_owned(), weight.dims.clone());
            defects.push(Defect::WeightSize { weight, shape, expected, found });
        }
    }
}

/// Follows channel lengths from layer to layer through operators that keep them.
fn lengths(model: &Model, graph: &Graph<'_>, defects: &mut Vec<Defect>) {
    let mut channels: HashMap<&str, (usize, String)> = HashMap::new();
    let sites = linear_sites(model);
    let by_node: HashMap<usize, _> = sites.iter().map(|site| (site.node, site)).collect();
    for (index, node) in graph.nodes().iter().enumerate() {
        let Some(first) = node.input.first() else { continue };
        let arrived = channels.get(first.as_str()).cloned();
        let left = match by_node.get(&index) {
            Some(site) => {
                let group = if let LinearOp::Conv(conv) = &site.op { conv.group } else { 1 };
                let reads = site.in_units() * group;
                if let Some((length, from)) = arrived.filter(|(length, _)| *length != reads) {
                    defects.push(Defect::Lengths {
                        node: site.name.clone(),
                        what: format!("the channel count read by `{}`", site.weight),
                        first: reads,
                        against: format!("that of `{first}` from `{from}`"),
                        second: length,
                    });
                }
                let convolves = matches!(site.op, LinearOp::Conv(_));
                if let Some(bias) = node.input.get(2).and_then(|bias| graph.initializer(bias)).filter(|_| convolves) {
                    let length = product(&shape_of(bias).unwrap_or_default());
                    if length != site.out_units() {
                        defects.push(Defect::Lengths {
                            node: site.name.clone(),
                            what: format!("the length of `{}`", bias.name()),
                            first: length,
                            against: format!("the number of filters in `{}`", site.weight),
                            second: site.out_units(),
                        });
                    }
                }
                // Only convolutions keep channels on an axis that the operators below leave alone.
                convolves.then(|| (site.out_units(), site.name.clone()))
            }
            None => arrived.filter(|_| keeps_channels(node.op_type())),
        };
        if let (Some(left), Some(output)) = (left, node.output.first()) {
            channels.insert(output, left);
        }
    }
}

/// Operators of one data input that leave axis 1 as it is.
fn keeps_channels(op: &str) -> bool {
    matches!(
        op,
        "Relu"
            | "LeakyRelu"
            | "Clip"
            | "Elu"
            | "Sigmoid"
            | "Tanh"
            | "HardSwish"
            | "HardSigmoid"
            | "MaxPool"
            | "AveragePool"
            | "GlobalAveragePool"
            | "BatchNormalization"
            | "Identity"
            | "Dropout"
    )
}
