//! The layers that multiply by a weight: what importance, refit and quantisation work on.

use crate::{
    Model, attributes,
    graph::{Graph, label},
    proto::NodeProto,
    tensor::shape_of,
};

/// A layer `output = weight · input + bias` whose weight is a constant of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    /// Index of the node in the model this was read from.
    pub node: usize,
    /// The node's name, else its first output's.
    pub name: String,
    /// What kind of product, with its geometry.
    pub op: LinearOp,
    /// Name of the weight.
    pub weight: String,
    /// Shape of the weight as stored.
    pub weight_shape: Vec<usize>,
    /// Name of the bias, one value per output unit: the node's own, or that of the `Add` right behind a `MatMul` when
    /// nothing else reads the product.
    pub bias: Option<String>,
    /// The activation read.
    pub input: String,
    /// The activation made, bias included.
    pub output: String,
}

/// A product with a constant, and where its weight keeps outputs and inputs.
#[derive(Debug, Clone, PartialEq)]
pub enum LinearOp {
    /// Convolution over 1 to 3 spatial axes; weight `[out, in / group, kernel..]`, input `[N, in, spatial..]`.
    Conv(ConvGeometry),
    /// `alpha · A' · B' + beta · C` with `B` the weight: `[in, out]`, or `[out, in]` when transposed.
    Gemm {
        /// The activation is `[in, N]` instead of `[N, in]`.
        trans_a: bool,
        /// The weight is `[out, in]`.
        trans_b: bool,
        /// Factor on the product.
        alpha: f32,
        /// Factor on the bias.
        beta: f32,
    },
    /// `input · weight` with input `[.., in]` and weight `[in, out]`.
    MatMul,
}

/// How a convolution's window moves. All vectors have one entry per spatial axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Window lengths.
    pub kernel: Vec<usize>,
    /// Steps.
    pub strides: Vec<usize>,
    /// Distances between taps.
    pub dilations: Vec<usize>,
    /// Zeros added around the input.
    pub padding: Padding,
    /// Number of independent groups of channels.
    pub group: usize,
}

/// Zeros around a convolution's input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Padding {
    /// So many before and after, per spatial axis.
    Explicit {
        /// Before the first element.
        begin: Vec<usize>,
        /// After the last.
        end: Vec<usize>,
    },
    /// As many as make `output = ceil(input / stride)`, the odd one at the end.
    SameUpper,
    /// The same, the odd one at the beginning.
    SameLower,
}

impl Site {
    /// Which axis of the weight counts output units.
    #[must_use]
    pub fn out_axis(&self) -> usize {
        match self.op {
            LinearOp::Conv(_) | LinearOp::Gemm { trans_b: true, .. } => 0,
            LinearOp::Gemm { .. } | LinearOp::MatMul => 1,
        }
    }

    /// Which axis of the weight counts input units (of one group).
    #[must_use]
    pub fn in_axis(&self) -> usize {
        1 - self.out_axis()
    }

    /// Number of output units.
    #[must_use]
    pub fn out_units(&self) -> usize {
        self.weight_shape[self.out_axis()]
    }

    /// Number of input units (of one group).
    #[must_use]
    pub fn in_units(&self) -> usize {
        self.weight_shape[self.in_axis()]
    }
}

/// Every `Conv`, `Gemm` and `MatMul` whose weight is a constant of known shape, in topological order. A product whose
/// constant stands on the left, or has more than two axes in a `MatMul`, is not listed.
#[must_use]
pub fn linear_sites(model: &Model) -> Vec<Site> {
    let graph = Graph::new(model);
    let order = graph.topological_order().unwrap_or_default();
    order.into_iter().filter_map(|index| site(&graph, index)).collect()
}

/// The site at a node, when there is one.
pub(crate) fn site(graph: &Graph<'_>, index: usize) -> Option<Site> {
    let node = &graph.nodes()[index];
    if !matches!(node.domain(), "" | "ai.onnx") {
        return None;
    }
    let input = node.input.first()?;
    let weight = node.input.get(1)?;
    let weight_shape = shape_of(graph.initializer(weight)?).ok()?;
    if graph.initializer(input).is_some() {
        return None;
    }
    let op = match node.op_type() {
        "Conv" => LinearOp::Conv(conv_geometry(node, &weight_shape)?),
        "Gemm" if weight_shape.len() == 2 => LinearOp::Gemm {
            trans_a: attributes::flag(node, "transA"),
            trans_b: attributes::flag(node, "transB"),
            alpha: attributes::float(node, "alpha").unwrap_or(1.0),
            beta: attributes::float(node, "beta").unwrap_or(1.0),
        },
        "MatMul" if weight_shape.len() == 2 => LinearOp::MatMul,
        _ => return None,
    };
    let mut site = Site {
        node: index,
        name: label(node, index),
        op,
        weight: weight.clone(),
        weight_shape,
        bias: None,
        input: input.clone(),
        output: node.output.first()?.clone(),
    };
    if site.op == LinearOp::MatMul {
        if let Some((bias, output)) = added_bias(graph, &site) {
            (site.bias, site.output) = (Some(bias), output);
        }
    } else {
        let bias = node.input.get(2).filter(|bias| !bias.is_empty());
        site.bias = bias.filter(|bias| is_vector(graph, bias, site.out_units())).cloned();
    }
    Some(site)
}

/// The constant an `Add` puts on a product that nothing else reads, and the sum.
fn added_bias(graph: &Graph<'_>, site: &Site) -> Option<(String, String)> {
    let reader = graph.only_reader(&site.output)?;
    let add = &graph.nodes()[reader.node];
    if add.op_type() != "Add" {
        return None;
    }
    let other = add.input.get(1 - reader.slot?)?;
    is_vector(graph, other, site.out_units()).then(|| (other.clone(), add.output[0].clone()))
}

/// Whether a tensor is a constant of one axis and that length.
fn is_vector(graph: &Graph<'_>, name: &str, length: usize) -> bool {
    graph.initializer(name).is_some_and(|tensor| tensor.dims == [length as i64])
}

fn conv_geometry(node: &NodeProto, weight: &[usize]) -> Option<ConvGeometry> {
    let kernel = weight.get(2..).filter(|kernel| (1..=3).contains(&kernel.len()))?.to_vec();
    let rank = kernel.len();
    let list = |name: &str, length: usize, default: usize| match attributes::ints(node, name) {
        None => Some(vec![default; length]),
        Some(list) if list.len() == length => list.iter().map(|&x| usize::try_from(x).ok()).collect(),
        Some(_) => None,
    };
    let pads = list("pads", 2 * rank, 0)?;
    let padding = match attributes::text(node, "auto_pad").unwrap_or("NOTSET") {
        "SAME_UPPER" => Padding::SameUpper,
        "SAME_LOWER" => Padding::SameLower,
        "VALID" => Padding::Explicit { begin: vec![0; rank], end: vec![0; rank] },
        _ => Padding::Explicit { begin: pads[..rank].to_vec(), end: pads[rank..].to_vec() },
    };
    Some(ConvGeometry {
        kernel,
        strides: list("strides", rank, 1)?,
        dilations: list("dilations", rank, 1)?,
        padding,
        group: usize::try_from(attributes::int(node, "group").unwrap_or(1)).ok().filter(|&group| group > 0)?,
    })
}
