//! A model's costs as functions of its groups' widths, read off the graph.

use std::collections::{BTreeMap, HashMap};

use sentei_onnx::{Model, Shapes, coupling::Coupling};

use super::structure::{Axis, Part, Structure};
use crate::moments::Layer;

/// What a cut is to save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Multiply-accumulates of one sample.
    Macs,
    /// Bytes of the weights.
    Bytes,
    /// Multiply-accumulates as the hardware does them: convolutions in blocks of 16 channels.
    Time,
}

/// Channels a convolution's kernel works on at a time (ONNX Runtime's blocked layout on AVX-512; measured).
const BLOCK: usize = 16;

/// The structure of a model whose groups are `coupling`.
#[must_use]
pub fn structure(model: &Model, coupling: &Coupling, shapes: &Shapes, layers: &[Layer], measure: Measure) -> Structure {
    let widths = coupling.groups.iter().map(|group| group.units).collect();
    let mut found = Structure { widths, fixed: 0.0, parts: Vec::new() };
    let axes = axes_by_weight(coupling);
    let mut add = |weight: Option<(&str, &[usize])>, cost: f64, block: usize| {
        let axes = weight.and_then(|(name, shape)| Some((axes.get(name)?, shape)));
        match axes {
            None => found.fixed += cost,
            Some((axes, shape)) => {
                let axis = |(&axis, groups): (&usize, &Vec<(usize, usize)>)| {
                    Some(Axis { length: *shape.get(axis)?, block, groups: groups.clone() })
                };
                found.parts.push(Part { cost, axes: axes.iter().filter_map(axis).collect() });
            }
        }
    };
    if measure == Measure::Bytes {
        for tensor in &model.graph().initializer {
            let shape: Vec<usize> = tensor.dims.iter().map(|&dim| usize::try_from(dim).unwrap_or(0)).collect();
            let bytes = tensor.raw_data.as_deref().map_or(0, <[u8]>::len) + 4 * tensor.float_data.len();
            add(Some((tensor.name(), &shape)), bytes as f64, 1);
        }
        return found;
    }
    let by_node: HashMap<usize, &Layer> = layers.iter().map(|layer| (layer.site.node, layer)).collect();
    for node in sentei_onnx::cost::macs(model, shapes) {
        let layer = by_node.get(&node.node);
        let weight = layer.map(|layer| (layer.site.weight.as_str(), layer.site.weight_shape.as_slice()));
        let block = if measure == Measure::Time && node.op == "Conv" { BLOCK } else { 1 };
        add(weight, node.macs as f64, block);
    }
    found
}

/// For each axis of a weight, the groups on it and the length of one unit.
type GroupsByAxis = BTreeMap<usize, Vec<(usize, usize)>>;

/// The axes of each weight that groups shorten.
fn axes_by_weight(coupling: &Coupling) -> HashMap<&str, GroupsByAxis> {
    let mut found: HashMap<&str, GroupsByAxis> = HashMap::new();
    for (index, group) in coupling.groups.iter().enumerate() {
        for slice in &group.slices {
            let axes = found.entry(&slice.initializer).or_default();
            axes.entry(slice.axis).or_default().push((index, slice.map.outer * slice.map.inner));
        }
    }
    found
}
