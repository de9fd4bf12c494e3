//! What to quantise: a pure decision from the graph alone.
//!
//! ONNX Runtime replaces a node by its integer kernel when the node reads dequantised tensors and what it gives is
//! quantised at once. So an activation is coded once, where it is produced, after a rectifier if one follows, and
//! whoever computes in integers reads the code.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use sentei_onnx::{
    ElementType, Model,
    graph::{Graph, label},
    linear::{LinearOp, Site, linear_sites},
    proto::{GraphProto, NodeProto},
};

/// A layer that stays in float.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftAlone {
    /// The node's name, or its first output when it has none.
    pub node: String,
    /// Why.
    pub reason: String,
}

/// An activation that is carried as an 8-bit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Coded {
    pub tensor: String,
    /// The tensor whose code this one takes, when it holds the same values in another order.
    pub same_as: Option<String>,
    pub readers: Readers,
}

/// Who reads the code instead of the float values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Readers {
    /// Everyone: the producer computes in integers, and would have to compute twice to serve both.
    All,
    /// These nodes.
    Nodes(Vec<usize>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    /// Products that become integer ones.
    pub sites: Vec<Site>,
    /// In an order in which a tensor stands after the one it is `same_as`.
    pub coded: Vec<Coded>,
    pub left_alone: Vec<LeftAlone>,
}

/// Layers with weights for which there is no integer kernel on the CPU.
const FLOAT_ONLY: [&str; 5] = ["ConvTranspose", "Einsum", "GRU", "LSTM", "RNN"];

/// Nodes a quantised model has and a float one has not.
const QUANTIZED: [&str; 12] = [
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "QLinearConv",
    "QLinearMatMul",
    "ConvInteger",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
    "MatMulNBits",
    "QGemm",
    "QLinearAdd",
];

/// The first node that shows the model is quantised already.
pub(super) fn quantized_node(graph: &GraphProto) -> Option<&NodeProto> {
    graph.node.iter().find(|node| QUANTIZED.contains(&node.op_type()))
}

/// Decides what becomes integer, leaving the nodes named in `keep_float` as they are.
pub(super) fn plan(model: &Model, keep_float: &BTreeSet<String>) -> Plan {
    let graph = Graph::new(model);
    let (sites, left_alone) = sites(model, &graph, keep_float);
    let coded = coded(&graph, &sites);
    Plan { sites, coded, left_alone }
}

fn sites(model: &Model, graph: &Graph<'_>, keep_float: &BTreeSet<String>) -> (Vec<Site>, Vec<LeftAlone>) {
    let mut known: HashMap<usize, Site> = linear_sites(model).into_iter().map(|site| (site.node, site)).collect();
    let mut sites = Vec::new();
    let mut left_alone = BTreeMap::new();
    for (index, node) in graph.nodes().iter().enumerate() {
        let verdict = match (node.op_type(), known.remove(&index)) {
            (_, Some(site)) if keep_float.contains(&site.name) => Err("kept in float as asked".to_owned()),
            (_, Some(site)) => suits(graph, node, &site).map(|()| site),
            ("Conv" | "Gemm" | "MatMul", None) => {
                Err("its weight is no constant matrix or kernel on the right".to_owned())
            }
            (op, None) if FLOAT_ONLY.contains(&op) => Err(format!("the CPU has no integer kernel for {op}")),
            _ => continue,
        };
        match verdict {
            Ok(site) => sites.push(site),
            Err(reason) => {
                left_alone.insert(index, reason);
            }
        }
    }
    // A weight coded for one reader and kept for another would be stored twice. Dropping a site can strand another.
    while let Some(stranded) = sites.iter().position(|site| !agreed(graph, &sites, site)) {
        let site = sites.remove(stranded);
        let reason = format!("its weight `{}` is also used in float, or along another axis", site.weight);
        left_alone.insert(site.node, reason);
    }
    let named = |(index, reason)| LeftAlone { node: label(&graph.nodes()[index], index), reason };
    (sites, left_alone.into_iter().map(named).collect())
}

/// Whether every reader of the site's weight is a site that codes it the same way.
fn agreed(graph: &Graph<'_>, sites: &[Site], site: &Site) -> bool {
    let same = |node: usize| {
        sites
            .iter()
            .any(|other| other.node == node && other.weight == site.weight && other.out_axis() == site.out_axis())
    };
    !graph.is_output(&site.weight)
        && graph.readers(&site.weight).iter().all(|reader| reader.slot == Some(1) && same(reader.node))
}

/// Whether ONNX Runtime has an integer kernel for just this product.
fn suits(graph: &Graph<'_>, node: &NodeProto, site: &Site) -> Result<(), String> {
    let element = graph.initializer(&site.weight).map(|weight| ElementType::try_from(weight.data_type()));
    if element != Some(Ok(ElementType::Float)) {
        return Err("its weight is not float32".to_owned());
    }
    if let LinearOp::Gemm { trans_a, alpha, beta, .. } = site.op {
        if trans_a {
            return Err("its input is transposed".to_owned());
        }
        if [alpha, beta].map(f32::to_bits) != [1.0_f32; 2].map(f32::to_bits) {
            return Err(format!("it scales its product by {alpha} and its bias by {beta}"));
        }
    }
    match node.input.get(2) {
        Some(bias) if !bias.is_empty() && site.bias.is_none() => {
            Err(format!("its bias `{bias}` is not one constant per output"))
        }
        _ => Ok(()),
    }
}

fn coded(graph: &Graph<'_>, sites: &[Site]) -> Vec<Coded> {
    let by_node: HashMap<usize, &Site> = sites.iter().map(|site| (site.node, site)).collect();
    let mut wanted: HashSet<&str> = sites.iter().map(|site| site.input.as_str()).collect();
    // What a node that computes in integers gives is coded too; nodes with float answers besides are not among these.
    let mut produced: HashMap<&str, Option<&str>> = HashMap::new();
    let mut integer: BTreeSet<usize> = by_node.keys().copied().collect();
    for (index, node) in graph.nodes().iter().enumerate() {
        let Some(output) = node.output.first() else { continue };
        let coded = |input: Option<&String>| input.is_some_and(|input| wanted.contains(input.as_str()));
        let kind = match (node.op_type(), by_node.get(&index)) {
            (_, Some(site)) if matches!(site.op, LinearOp::Conv(_)) => Kind::Own,
            ("Add" | "Concat", None) if node.input.iter().all(|input| coded(Some(input))) => Kind::Own,
            ("AveragePool" | "GlobalAveragePool", None) if coded(node.input.first()) => Kind::Own,
            ("MaxPool", None) if node.output.len() == 1 && coded(node.input.first()) => Kind::Reordered,
            ("Reshape" | "Transpose" | "Flatten" | "Squeeze" | "Unsqueeze", None) if coded(node.input.first()) => {
                Kind::Reordered
            }
            _ => continue,
        };
        integer.insert(index);
        match kind {
            Kind::Own => {
                let settled = settled(graph, output);
                wanted.insert(settled);
                produced.insert(settled, None);
            }
            Kind::Reordered => {
                wanted.insert(output);
                produced.insert(output, Some(&node.input[0]));
            }
        }
    }
    in_order(graph, &wanted)
        .into_iter()
        .map(|tensor| {
            let (same_as, readers) = if let Some(same_as) = produced.get(tensor) {
                (same_as.map(str::to_owned), Readers::All)
            } else {
                // A node reading a tensor twice is one reader.
                let readers: BTreeSet<usize> = graph.readers(tensor).iter().map(|reader| reader.node).collect();
                (None, Readers::Nodes(readers.intersection(&integer).copied().collect()))
            };
            Coded { tensor: tensor.to_owned(), same_as, readers }
        })
        .collect()
}

enum Kind {
    Own,
    Reordered,
}

/// `tensor`, or what the rectifier makes of it when nobody else reads it: the kernels rectify while they requantise.
fn settled<'a>(graph: &Graph<'a>, tensor: &'a str) -> &'a str {
    let Some(reader) = graph.only_reader(tensor) else { return tensor };
    let node = &graph.nodes()[reader.node];
    // A tensor can also be the bound of a Clip; then the Clip is no rectifier of it.
    if matches!(node.op_type(), "Relu" | "Clip") && reader.slot == Some(0) { &node.output[0] } else { tensor }
}

/// Graph inputs first, then tensors as the nodes give them.
fn in_order<'a>(graph: &Graph<'a>, wanted: &HashSet<&'a str>) -> Vec<&'a str> {
    let given: Vec<&str> = graph.nodes().iter().flat_map(|node| &node.output).map(String::as_str).collect();
    let known: HashSet<&str> = given.iter().copied().collect();
    let mut outside: Vec<&str> = wanted.iter().copied().filter(|tensor| !known.contains(tensor)).collect();
    outside.sort_unstable();
    outside.into_iter().chain(given.into_iter().filter(|tensor| wanted.contains(tensor))).collect()
}

#[cfg(test)]
mod tests {
    use sentei_onnx::{
        Tensor,
        edit::{model, node, value_info},
    };

    use super::*;

    /// A model of these nodes with input `x`, outputs `outputs`, and a 4-by-4 weight for each name in `weights`.
    fn decide(nodes: Vec<NodeProto>, outputs: &[&str], weights: &[&str], convolve: bool, keep: &[&str]) -> Plan {
        let shape: &[usize] = if convolve { &[4, 4, 1, 1] } else { &[4, 4] };
        let weight = || Tensor::new(shape, vec![0.5_f32; 16]).expect("fits");
        let weights: Vec<(&str, Tensor)> = weights.iter().map(|&name| (name, weight())).collect();
        let input = value_info("x", ElementType::Float, &[]);
        let model = model(17, vec![input], outputs, nodes, &weights).expect("a model");
        plan(&model, &keep.iter().map(|&name| name.to_owned()).collect())
    }

    fn coded(plan: &Plan) -> Vec<(&str, Option<Vec<usize>>)> {
        let readers = |coded: &Coded| match &coded.readers {
            Readers::All => None,
            Readers::Nodes(nodes) => Some(nodes.clone()),
        };
        plan.coded.iter().map(|coded| (coded.tensor.as_str(), readers(coded))).collect()
    }

    fn residual() -> Vec<NodeProto> {
        vec![
            node("Conv", &["x", "w1"], &["c1"]),
            node("Relu", &["c1"], &["r1"]),
            node("Conv", &["r1", "w2"], &["c2"]),
            node("Add", &["c2", "r1"], &["sum"]),
            node("Relu", &["sum"], &["out"]),
            node("GlobalMaxPool", &["out"], &["y"]),
        ]
    }

    #[test]
    fn a_residual_block_is_coded_once_per_tensor_behind_its_rectifiers() {
        let plan = decide(residual(), &["y"], &["w1", "w2"], true, &[]);
        assert_eq!(coded(&plan), [("x", Some(vec![0])), ("r1", None), ("c2", None), ("out", None)]);
    }

    #[test]
    fn a_sum_with_a_float_part_stays_float() {
        let plan = decide(residual(), &["y"], &["w1", "w2"], true, &["c2"]);
        // Only the first convolution is left: what it gives is a code, and the sum reads the decoded one.
        assert_eq!(coded(&plan), [("x", Some(vec![0])), ("r1", None)]);
        assert_eq!(plan.left_alone, [LeftAlone { node: "c2".into(), reason: "kept in float as asked".into() }]);
    }

    #[test]
    fn a_rectifier_is_not_absorbed_when_its_input_is_read_elsewhere() {
        let nodes = vec![node("Conv", &["x", "w"], &["c"]), node("Relu", &["c"], &["r"])];
        let plan = decide(nodes, &["r", "c"], &["w"], true, &[]);
        assert_eq!(coded(&plan), [("x", Some(vec![0])), ("c", None)]);
    }

    #[test]
    fn a_product_gives_floats_to_those_who_want_floats() {
        let nodes = vec![
            node("MatMul", &["x", "w1"], &["a"]),
            node("MatMul", &["a", "w2"], &["b"]),
            node("Softmax", &["a"], &["s"]),
        ];
        let plan = decide(nodes, &["b", "s"], &["w1", "w2"], false, &[]);
        assert_eq!(coded(&plan), [("x", Some(vec![0])), ("a", Some(vec![1]))]);
    }

    #[test]
    fn a_reordered_tensor_takes_the_code_it_had() {
        let nodes = vec![
            node("Conv", &["x", "w1"], &["c"]),
            node("Transpose", &["c"], &["t"]),
            node("Conv", &["t", "w2"], &["y"]),
        ];
        let plan = decide(nodes, &["y"], &["w1", "w2"], true, &[]);
        let same: Vec<Option<&str>> = plan.coded.iter().map(|coded| coded.same_as.as_deref()).collect();
        assert_eq!(same, [None, None, Some("c"), None]);
    }
}
