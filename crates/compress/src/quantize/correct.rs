//! Bias correction: rounding a layer's weights and input moves the mean of what it gives; its bias moves it back.
//!
//! `b' = b - E[Q(W) Q(x) - W x]` per output unit (Nagel et al., "Data-free quantization through weight equalization and
//! bias correction", 2019, measured on data instead of derived). Each layer is measured on the float model's inputs, so
//! one pass serves all layers, and what a layer does not correct is not corrected twice behind it.

use std::collections::{BTreeMap, HashMap};

use sentei_onnx::{
    Model,
    attributes::{Attribute, set},
    graph::Graph,
    linear::{LinearOp, Site},
    proto::{NodeProto, TensorProto},
};
use sentei_runtime::Runtime;

use super::{
    QuantizeError,
    batch::{Batches, Feed},
    plan::Plan,
    write::{Codes, Names, constant, node},
};

/// From this opset on `ReduceMean` takes its axes as an input.
const AXES_ARE_AN_INPUT: i64 = 18;

/// New values for the biases of the plan's sites, by initializer. Sites without a bias of their own are left out.
pub(super) fn biases(
    model: &Model,
    plan: &Plan,
    codes: &Codes,
    runtime: &Runtime,
    batches: &Batches<'_>,
    threads: usize,
) -> Result<BTreeMap<String, Vec<f32>>, QuantizeError> {
    let graph = Graph::new(model);
    let own = |site: &&Site| site.bias.as_deref().is_some_and(|bias| graph.readers(bias).len() == 1);
    let sites: Vec<&Site> = plan.sites.iter().filter(own).collect();
    if sites.is_empty() {
        return Ok(BTreeMap::new());
    }
    let (probed, outputs) = probe(model, &sites, codes);
    let wanted: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let mut feed = Feed::new(runtime, &probed.with_outputs(&wanted)?.to_bytes()?, threads)?;
    let order = feed.outputs();
    let mut sums: HashMap<String, Vec<f64>> = HashMap::new();
    let mut total = 0;
    for batch in batches() {
        feed.each(&batch, |rows, means| {
            total += rows;
            for (name, mean) in order.iter().zip(means) {
                let values = mean.values::<f32>().unwrap_or_default();
                let sum = sums.entry(name.clone()).or_insert_with(|| vec![0.0; values.len()]);
                sum.iter_mut().zip(values).for_each(|(sum, &value)| *sum += f64::from(value) * rows as f64);
            }
            Ok::<_, QuantizeError>(())
        })?;
    }
    let mut corrected = BTreeMap::new();
    for (site, output) in sites.iter().zip(&outputs) {
        let (Some(bias), Some(sum)) = (&site.bias, sums.get(output)) else { continue };
        let (_, values) = model.weights(bias)?;
        let moved = values.iter().zip(sum).map(|(&bias, sum)| (f64::from(bias) - sum / total as f64) as f32).collect();
        corrected.insert(bias.clone(), moved);
    }
    Ok(corrected)
}

/// The model with a coded twin beside each site, and the names of the mean differences, one value per output unit.
fn probe(model: &Model, sites: &[&Site], codes: &Codes) -> (Model, Vec<String>) {
    let opset = model.opset();
    let mut probed = model.clone();
    let mut names = Names::of(model);
    let mut outputs = Vec::new();
    for site in sites {
        let code = codes.activations[&site.input];
        let (step, zero) = (names.fresh('s'), names.fresh('z'));
        let graph = probed.graph_mut();
        graph.initializer.push(constant(&step, &[], vec![code.scale]));
        graph.initializer.push(constant(&zero, &[], vec![code.zero_point]));
        let (coded, rounded) = (names.fresh('q'), names.fresh('d'));
        let mut added = vec![
            node("QuantizeLinear", vec![site.input.clone(), step.clone(), zero.clone()], &coded, None),
            node("DequantizeLinear", vec![coded, step, zero], &rounded, None),
        ];
        let (weight, twin_output) = (names.fresh('w'), names.fresh('y'));
        let mut twin: NodeProto = graph.node[site.node].clone();
        twin.name = None;
        twin.input[0] = rounded;
        twin.input[1].clone_from(&weight);
        // The site's own output, before a bias that is added by the next node: a bias inside is in both.
        let plain = std::mem::replace(&mut twin.output, vec![twin_output.clone()]).swap_remove(0);
        let (difference, mean) = (names.fresh('e'), names.fresh('m'));
        added.extend([twin, node("Sub", vec![twin_output, plain], &difference, None)]);
        graph.node.extend(added);
        graph.initializer.push(codes.weights[&site.weight].to_float(&weight, site.out_axis()));
        let means = unit_means(site, difference, &mean, opset, &mut names, &mut graph.initializer);
        graph.node.extend(means);
        outputs.push(mean);
    }
    (probed, outputs)
}

/// Averages a site's output over everything but its units. Returns the nodes; a constant they need goes to `constants`.
fn unit_means(
    site: &Site,
    tensor: String,
    mean: &str,
    opset: i64,
    names: &mut Names,
    constants: &mut Vec<TensorProto>,
) -> Vec<NodeProto> {
    let (mut nodes, mut tensor) = (Vec::new(), tensor);
    let axes: Vec<i64> = match site.op {
        LinearOp::Conv(_) => (0..site.weight_shape.len() as i64).filter(|&axis| axis != 1).collect(),
        LinearOp::Gemm { .. } => vec![0],
        LinearOp::MatMul => {
            // The rank is not known; one row per vector of units is what it comes to.
            let flat = names.fresh('f');
            nodes.push(node("Flatten", vec![tensor], &flat, Some(-1)));
            tensor = flat;
            vec![0]
        }
    };
    let mut inputs = vec![tensor];
    let mut reduce = if opset >= AXES_ARE_AN_INPUT {
        let name = names.fresh('a');
        constants.push(sentei_onnx::Tensor::vector(axes).to_proto(&name));
        inputs.push(name);
        node("ReduceMean", inputs, mean, None)
    } else {
        let mut reduce = node("ReduceMean", inputs, mean, None);
        set(&mut reduce, "axes", Attribute::Ints(axes));
        reduce
    };
    set(&mut reduce, "keepdims", Attribute::Int(0));
    nodes.push(reduce);
    nodes
}
