//! In which order layers are solved again, and where each should arrive. Derived from the graph alone.

use std::collections::{BTreeSet, HashMap};

use sentei_onnx::{Model, Shapes, graph::Graph};

use crate::moments::Layer;

/// One layer to solve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Index of the layer.
    pub layer: usize,
    /// The tensor whose dense value is the goal: the layer's output, or the sum it is the last to enter.
    pub goal: String,
    /// The other operand of that sum.
    pub less: Option<String>,
    /// Layers whose weights the layer's input, and that operand, depend on.
    pub upstream: BTreeSet<usize>,
}

/// Orders the layers front to back. Of layers that could come next the narrowest comes first, so that the last to enter a
/// sum, which repairs what the whole sum has lost, is the one with most inputs to do it with.
#[must_use]
pub fn plan(model: &Model, layers: &[Layer], shapes: &Shapes) -> Vec<Step> {
    let graph = Graph::new(model);
    let upstream = upstream_layers(&graph, layers);
    let empty = BTreeSet::new();
    let above = |tensor: &str| upstream.get(tensor).unwrap_or(&empty);
    let mut done = BTreeSet::new();
    let mut steps = Vec::with_capacity(layers.len());
    while done.len() < layers.len() {
        let ready = (0..layers.len())
            .filter(|index| !done.contains(index) && above(&layers[*index].site.input).is_subset(&done))
            .min_by_key(|&index| (layers[index].columns(), index));
        let Some(index) = ready else { break };
        let site = &layers[index].site;
        let sum = residual_sum(&graph, &site.output).filter(|(sum, other)| {
            above(other).is_subset(&done) && shapes.contains_key(sum) && shapes.get(other) == shapes.get(&site.output)
        });
        let mut needs = above(&site.input).clone();
        let (goal, less) = match sum {
            Some((sum, other)) => {
                needs.extend(above(&other));
                (sum, Some(other))
            }
            None => (site.output.clone(), None),
        };
        steps.push(Step { layer: index, goal, less, upstream: needs });
        done.insert(index);
    }
    steps
}

/// The sum of two activations that a tensor enters and nothing else reads it, and the other operand.
fn residual_sum(graph: &Graph<'_>, tensor: &str) -> Option<(String, String)> {
    let reader = graph.only_reader(tensor)?;
    let node = &graph.nodes()[reader.node];
    if !matches!(node.op_type(), "Add" | "Sum") || node.input.len() != 2 {
        return None;
    }
    let other = node.input.get(1 - reader.slot?)?;
    if graph.initializer(other).is_some() || other == tensor {
        return None;
    }
    Some((node.output.first()?.clone(), other.clone()))
}

/// For each tensor, the layers it depends on.
fn upstream_layers<'a>(graph: &Graph<'a>, layers: &[Layer]) -> HashMap<&'a str, BTreeSet<usize>> {
    let at: HashMap<usize, usize> = layers.iter().enumerate().map(|(index, layer)| (layer.site.node, index)).collect();
    let mut found: HashMap<&str, BTreeSet<usize>> = HashMap::new();
    for node_index in graph.topological_order().unwrap_or_default() {
        let node = &graph.nodes()[node_index];
        let mut above: BTreeSet<usize> =
            node.input.iter().filter_map(|input| found.get(input.as_str())).flatten().copied().collect();
        above.extend(at.get(&node_index));
        for output in &node.output {
            found.insert(output, above.clone());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sentei_onnx::Dim;

    use super::*;

    fn digits() -> (Model, Vec<Layer>) {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/digits/digits_resnet20.onnx");
        let model = Model::load(Path::new(file)).expect("loads");
        let layers = Layer::all(&model);
        (model, layers)
    }

    /// Shapes in which all tensors are alike.
    fn alike(model: &Model) -> Shapes {
        let outputs = model.graph().node.iter().flat_map(|node| &node.output);
        outputs.map(|name| (name.clone(), vec![Dim::Dynamic])).collect()
    }

    #[test]
    fn the_widest_layer_into_a_sum_comes_last_and_repairs_it() {
        let (model, layers) = digits();
        let steps = plan(&model, &layers, &alike(&model));
        assert_eq!(steps.len(), layers.len());
        let position = |name: &str| steps.iter().position(|step| layers[step.layer].site.name == name).expect(name);
        let (shortcut, second) =
            (position("/layers/layers.3/down/down.0/Conv"), position("/layers/layers.3/conv2/Conv"));
        assert!(shortcut < second);
        assert_eq!(steps[second].goal, "/layers/layers.3/Add_output_0");
        assert_eq!(steps[second].less.as_deref(), Some("/layers/layers.3/down/down.0/Conv_output_0"));
        assert_eq!(steps[shortcut].less, None);
        let plain = &steps[position("/layers/layers.0/conv1/Conv")];
        assert_eq!((plain.goal.as_str(), &plain.less), ("/layers/layers.0/conv1/Conv_output_0", &None));
    }

    #[test]
    fn every_layer_comes_after_what_it_depends_on() {
        let (model, layers) = digits();
        let mut done = BTreeSet::new();
        for step in plan(&model, &layers, &alike(&model)) {
            assert!(step.upstream.is_subset(&done), "{}", step.goal);
            done.insert(step.layer);
        }
    }

    #[test]
    fn a_sum_that_broadcasts_is_not_repaired() {
        let (model, layers) = digits();
        let mut shapes = alike(&model);
        shapes.insert("/layers/layers.0/conv2/Conv_output_0".to_owned(), vec![Dim::Static(1)]);
        let steps = plan(&model, &layers, &shapes);
        let step = steps.iter().find(|step| layers[step.layer].site.name == "/layers/layers.0/conv2/Conv");
        assert_eq!(step.expect("planned").less, None);
    }
}
