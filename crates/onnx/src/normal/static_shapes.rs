//! Shape arithmetic that always comes to the same, as constants.
//!
//! Exporters write `Shape -> Gather -> Add -> Div -> ..` where the lengths are known all along (the thirds of a fused
//! query-key-value product, the target of a `Reshape`). With measured shapes those become constants the analysis reads.

use std::collections::HashMap;

use crate::{ElementType, Model, Shapes, Tensor, attributes, graph::Graph, proto::NodeProto, tensor::element_type};

/// Longest list of lengths followed: shapes have few axes, and nothing else is computed here.
const LONGEST: usize = 64;

/// Whole numbers with their axes: none for a scalar.
#[derive(Debug, Clone, PartialEq)]
struct Numbers {
    scalar: bool,
    /// `None` where the number differs between runs.
    values: Vec<Option<i64>>,
}

/// Replaces whole-number computations on measured lengths by their results, wherever these are the same in every run.
/// Returns the model and how many results became constants.
#[must_use]
pub fn fold_static_shapes(mut model: Model, shapes: &Shapes) -> (Model, usize) {
    let mut known: HashMap<String, Numbers> = HashMap::new();
    let mut constants = Vec::new();
    let graph = Graph::new(&model);
    for index in graph.topological_order().unwrap_or_default() {
        let node = &graph.nodes()[index];
        let (Some(result), [output]) = (evaluate(&graph, &known, shapes, node), node.output.as_slice()) else {
            continue;
        };
        let whole: Option<Vec<i64>> = result.values.iter().copied().collect();
        if let Some(whole) = whole.filter(|_| !graph.is_output(output)) {
            constants.push((output.clone(), index, whole, result.scalar));
        }
        known.insert(output.clone(), result);
    }
    // Only where an operator that is not part of the computation reads the result: the rest falls away with it.
    let folded: std::collections::HashSet<usize> = constants.iter().map(|c| c.1).collect();
    let read_by_others = |name: &str| graph.readers(name).iter().any(|reader| !folded.contains(&reader.node));
    constants.retain(|(name, ..)| read_by_others(name));
    let count = constants.len();
    let gone = constants.iter().map(|c| c.1).collect();
    crate::edit::remove_nodes(&mut model, &gone);
    for (name, _, values, scalar) in constants {
        let tensor = if scalar { Tensor::new([], values).ok() } else { Some(Tensor::vector(values)) };
        if let Some(tensor) = tensor {
            model.set_initializer(&name, &tensor);
        }
    }
    model.drop_unused();
    (model, count)
}

fn evaluate(graph: &Graph<'_>, known: &HashMap<String, Numbers>, shapes: &Shapes, node: &NodeProto) -> Option<Numbers> {
    if !matches!(node.domain(), "" | "ai.onnx") {
        return None;
    }
    let read = |slot: usize| {
        let name = node.input.get(slot)?;
        known.get(name).cloned().or_else(|| constant(graph, name))
    };
    match node.op_type() {
        "Shape" => {
            let dims = shapes.get(node.input.first()?)?;
            if attributes::int(node, "start").or(attributes::int(node, "end")).is_some() {
                return None;
            }
            let values = dims.iter().map(|dim| dim.size().map(|size| size as i64)).collect();
            Some(Numbers { scalar: false, values })
        }
        "Gather" => {
            let (data, indices) = (read(0)?, read(1)?);
            let pick = |index: Option<i64>| {
                let index = index?;
                let index = if index < 0 { index + data.values.len() as i64 } else { index };
                data.values.get(usize::try_from(index).ok()?).copied()
            };
            let values = indices.values.into_iter().map(pick).collect::<Option<_>>()?;
            Some(Numbers { scalar: indices.scalar, values })
        }
        "Concat" => {
            let parts = (0..node.input.len()).map(read).collect::<Option<Vec<_>>>()?;
            let values: Vec<_> = parts.into_iter().flat_map(|part| part.values).collect();
            (values.len() <= LONGEST).then_some(Numbers { scalar: false, values })
        }
        "Squeeze" => read(0).filter(|n| n.values.len() == 1).map(|n| Numbers { scalar: true, ..n }),
        "Unsqueeze" => read(0).filter(|n| n.scalar).map(|n| Numbers { scalar: false, ..n }),
        // All numbers followed are int64 already.
        "Cast" => read(0).filter(|_| attributes::int(node, "to") == Some(ElementType::Int64 as i64)),
        "Add" => binary(&read(0)?, &read(1)?, i64::checked_add),
        "Sub" => binary(&read(0)?, &read(1)?, i64::checked_sub),
        "Mul" => binary(&read(0)?, &read(1)?, i64::checked_mul),
        // Whole-number division rounds towards zero here and in the runtime.
        "Div" => binary(&read(0)?, &read(1)?, i64::checked_div),
        _ => None,
    }
}

fn constant(graph: &Graph<'_>, name: &str) -> Option<Numbers> {
    let proto = graph.initializer(name).filter(|proto| proto.dims.len() <= 1)?;
    let long = proto.dims.first().is_some_and(|&length| length > LONGEST as i64);
    if long || element_type(proto) != Some(ElementType::Int64) {
        return None;
    }
    let values = Tensor::from_proto(proto).ok()?.to_i64()?;
    Some(Numbers { scalar: proto.dims.is_empty(), values: values.into_iter().map(Some).collect() })
}

fn binary(a: &Numbers, b: &Numbers, op: impl Fn(i64, i64) -> Option<i64>) -> Option<Numbers> {
    let length = a.values.len().max(b.values.len());
    let at = |numbers: &Numbers, i: usize| match numbers.values.len() {
        1 => numbers.values.first().copied(),
        n if n == length => numbers.values.get(i).copied(),
        _ => None,
    };
    let value = |i: usize| {
        let (x, y) = (at(a, i)?, at(b, i)?);
        Some(x.zip(y).and_then(|(x, y)| op(x, y)))
    };
    let values = (0..length).map(value).collect::<Option<_>>()?;
    Some(Numbers { scalar: a.scalar && b.scalar, values })
}
