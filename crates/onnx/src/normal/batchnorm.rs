//! Batch normalisation as part of the layer before it.

use std::collections::BTreeSet;

use crate::{
    Model, attributes, edit,
    graph::Graph,
    linear::{LinearOp, Site, site},
};

/// What a `BatchNormalization` does to each channel while inferring: `y = scale · x + shift`.
struct Affine {
    scale: Vec<f64>,
    shift: Vec<f64>,
}

/// Folds each `BatchNormalization` right behind a `Conv` or `Gemm` that nothing else reads into that layer's weight and
/// bias, computed in `f64` and rounded once.
pub(super) fn fold(model: &mut Model) -> usize {
    let mut folded = 0;
    while let Some((site, norm)) = next(model) {
        if fold_one(model, &site, norm).is_none() {
            break;
        }
        folded += 1;
    }
    folded
}

fn next(model: &Model) -> Option<(Site, usize)> {
    let graph = Graph::new(model);
    (0..graph.nodes().len()).find_map(|index| {
        let node = &graph.nodes()[index];
        let trains = attributes::flag(node, "training_mode");
        if node.op_type() != "BatchNormalization" || trains || affine(model, index).is_none() {
            return None;
        }
        let before = graph.producer(node.input.first()?)?;
        let site = site(&graph, before).filter(|site| foldable(&site.op))?;
        let alone =
            graph.only_reader(&site.output).is_some_and(|reader| reader.node == index && reader.slot == Some(0));
        let has_plain_bias = site.bias.is_some() || graph.nodes()[before].input.len() < 3;
        // The output is a matrix or an image with channels on axis 1 for both kinds of layer.
        (alone && has_plain_bias && model.weights(&site.weight).is_ok()).then_some((site, index))
    })
}

/// Whether scale and shift can go into weight and bias as they are.
fn foldable(op: &LinearOp) -> bool {
    match op {
        LinearOp::Conv(_) => true,
        LinearOp::Gemm { alpha, beta, .. } => (*alpha, *beta) == (1.0, 1.0),
        LinearOp::MatMul => false,
    }
}

fn fold_one(model: &mut Model, site: &Site, norm: usize) -> Option<()> {
    let Affine { scale, shift } = affine(model, norm)?;
    if scale.len() != site.out_units() {
        return None;
    }
    let (shape, mut weight) = model.weights(&site.weight).ok()?;
    let inner: usize = shape[site.out_axis() + 1..].iter().product();
    let units = scale.len();
    for (i, value) in weight.iter_mut().enumerate() {
        *value = (f64::from(*value) * scale[i / inner % units]) as f32;
    }
    let bias = match &site.bias {
        Some(bias) => model.weights(bias).ok()?.1,
        None => vec![0.0; units],
    };
    let bias = bias.iter().zip(&scale).zip(&shift).map(|((&b, a), s)| f64::from(b).mul_add(*a, *s) as f32).collect();

    // Weights may have other readers: those are given to this layer alone.
    let weight_name = own(model, site, 1, &site.weight);
    model.set_weights(&weight_name, &shape, weight).ok()?;
    let bias_name = edit::ensure_bias(model, site);
    let bias_name = own(model, site, 2, &bias_name);
    model.set_weights(&bias_name, &[units], bias).ok()?;

    let graph = model.graph_mut();
    let output = graph.node[norm].output[0].clone();
    graph.node[site.node].output[0] = output;
    edit::remove_nodes(model, &BTreeSet::from([norm]));
    Some(())
}

/// The name of a weight only this layer reads: its own, or that of a copy.
fn own(model: &mut Model, site: &Site, slot: usize, name: &str) -> String {
    if Graph::new(model).only_reader(name).is_some() {
        return name.to_owned();
    }
    let copy = edit::fresh_name(model, name);
    if let Ok(tensor) = model.tensor(name) {
        model.set_initializer(&copy, &tensor);
    }
    model.graph_mut().node[site.node].input[slot].clone_from(&copy);
    copy
}

fn affine(model: &Model, norm: usize) -> Option<Affine> {
    let node = &model.graph().node[norm];
    let parameter = |slot: usize| {
        let values = model.weights(node.input.get(slot)?).ok()?.1;
        Some(values.into_iter().map(f64::from).collect::<Vec<_>>())
    };
    let (gamma, beta, mean, variance) = (parameter(1)?, parameter(2)?, parameter(3)?, parameter(4)?);
    let epsilon = f64::from(attributes::float(node, "epsilon").unwrap_or(1e-5));
    let scale: Vec<f64> = gamma.iter().zip(&variance).map(|(g, v)| g / (v + epsilon).sqrt()).collect();
    let shift = scale.iter().zip(&mean).zip(&beta).map(|((s, m), b)| b - m * s).collect();
    Some(Affine { scale, shift })
}
