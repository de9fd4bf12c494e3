//! The plan carried out: a copy of the model with codes instead of floats, in QDQ form.
//!
//! Written for a small file that ONNX Runtime 1.24 and newer fuse whole. What those versions were seen to need: zero
//! points of activations present even when zero; those of a Conv or `MatMul` weight may be absent, a Gemm's may not; a
//! float bias of a Conv is coded when the session is made, a Gemm's has to come as int32.

use std::collections::{BTreeMap, HashMap, HashSet};

use sentei_onnx::{
    Model, Tensor, TensorData,
    attributes::{Attribute, set},
    linear::{LinearOp, Site},
    proto::{GraphProto, NodeProto, TensorProto, ValueInfoProto},
};

use super::{
    plan::{Coded, Plan, Readers},
    range::Affine,
    weight::{Channels, QuantizedWeight},
};

/// A weight in codes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CodedWeight {
    pub shape: Vec<usize>,
    pub weight: QuantizedWeight,
}

impl CodedWeight {
    /// The rounded weight as a float constant called `name`.
    pub(super) fn to_float(&self, name: &str, axis: usize) -> TensorProto {
        let channels = Channels { count: self.weight.steps.len(), inner: self.shape[axis + 1..].iter().product() };
        constant(name, &self.shape, self.weight.values(channels))
    }
}

/// What the floats become.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Codes {
    /// By tensor; of every tensor coded.
    pub activations: BTreeMap<String, Affine>,
    /// By initializer; of every site's weight.
    pub weights: BTreeMap<String, CodedWeight>,
    /// By initializer: new values of biases.
    pub biases: BTreeMap<String, Vec<f32>>,
}

/// The largest bias in steps of its sums: an eighth of what 32 bits hold leaves room for the sum itself.
pub(super) const BIAS_LIMIT: f32 = 268_435_456.0;

/// Writes the quantised model.
pub(super) fn write(model: &Model, plan: &Plan, codes: &Codes) -> Model {
    let mut model = model.clone();
    for (name, values) in &codes.biases {
        model.set_initializer(name, &Tensor::vector(values.clone()));
    }
    let mut writer = Writer::new(&model);
    let mut nodes = model.graph().node.clone();
    let weights = writer.weights(plan, codes);
    let mut before: BTreeMap<usize, Vec<NodeProto>> = weights.before;
    for site in &plan.sites {
        nodes[site.node].input[1].clone_from(&weights.floats[&site.weight]);
        if let (LinearOp::Gemm { .. }, Some(bias)) = (&site.op, &site.bias) {
            let (name, node) = writer.bias(&model, site, bias, codes);
            nodes[site.node].input[2] = name;
            before.entry(site.node).or_default().push(node);
        }
    }
    let mut at_start = Vec::new();
    let mut after: BTreeMap<usize, Vec<NodeProto>> = BTreeMap::new();
    let producers: HashMap<String, usize> = nodes
        .iter()
        .enumerate()
        .flat_map(|(index, node)| node.output.iter().map(move |output| (output.clone(), index)))
        .collect();
    for coded in &plan.coded {
        let pair = writer.pair(coded, &mut nodes, &producers, codes);
        match producers.get(&coded.tensor) {
            Some(&producer) => after.entry(producer).or_default().extend(pair),
            None => at_start.extend(pair),
        }
    }
    let mut ordered = at_start;
    for (index, node) in nodes.into_iter().enumerate() {
        ordered.extend(before.remove(&index).unwrap_or_default());
        ordered.push(node);
        ordered.extend(after.remove(&index).unwrap_or_default());
    }
    let added = writer.added;
    let graph = model.graph_mut();
    graph.node = ordered;
    let used: HashSet<&str> = graph.node.iter().flat_map(|node| &node.input).map(String::as_str).collect();
    let public: HashSet<&str> = graph.output.iter().map(ValueInfoProto::name).collect();
    let gone: HashSet<String> = plan
        .sites
        .iter()
        .flat_map(|site| [Some(&site.weight), site.bias.as_ref()])
        .flatten()
        .filter(|name| !used.contains(name.as_str()) && !public.contains(name.as_str()))
        .cloned()
        .collect();
    graph.initializer.retain(|weight| !gone.contains(weight.name()));
    graph.input.retain(|input| !gone.contains(input.name()));
    graph.initializer.extend(added);
    model
}

struct Writer {
    names: Names,
    added: Vec<TensorProto>,
    /// Scalars written already, by type and bits.
    scalars: HashMap<(bool, u32), String>,
}

struct Weights {
    /// The name of the dequantised weight, by initializer.
    floats: HashMap<String, String>,
    before: BTreeMap<usize, Vec<NodeProto>>,
}

impl Writer {
    fn new(model: &Model) -> Self {
        Self { names: Names::of(model), added: Vec::new(), scalars: HashMap::new() }
    }

    /// Adds a constant; `data` holds as many values as `shape` says.
    fn add(&mut self, prefix: char, shape: &[usize], data: impl Into<TensorData>) -> String {
        let name = self.names.fresh(prefix);
        self.added.push(constant(&name, shape, data));
        name
    }

    fn scalar(&mut self, key: (bool, u32), data: impl Into<TensorData>) -> String {
        if let Some(name) = self.scalars.get(&key) {
            return name.clone();
        }
        let name = self.add('s', &[], data);
        self.scalars.insert(key, name.clone());
        name
    }

    /// Each weight once, before the first node that reads it.
    fn weights(&mut self, plan: &Plan, codes: &Codes) -> Weights {
        let mut found = Weights { floats: HashMap::new(), before: BTreeMap::new() };
        for site in &plan.sites {
            if found.floats.contains_key(&site.weight) {
                continue;
            }
            let CodedWeight { shape, weight } = &codes.weights[&site.weight];
            let channels = [weight.steps.len()];
            let mut inputs =
                vec![self.add('w', shape, weight.codes.clone()), self.add('s', &channels, weight.steps.clone())];
            if plan.sites.iter().any(|other| other.weight == site.weight && matches!(other.op, LinearOp::Gemm { .. })) {
                inputs.push(self.add('z', &channels, vec![0_i8; weight.steps.len()]));
            }
            let output = self.names.fresh('d');
            let node = node("DequantizeLinear", inputs, &output, Some(site.out_axis() as i64));
            found.before.entry(site.node).or_default().push(node);
            found.floats.insert(site.weight.clone(), output);
        }
        found
    }

    /// A Gemm's bias in steps of its sums.
    fn bias(&mut self, model: &Model, site: &Site, bias: &str, codes: &Codes) -> (String, NodeProto) {
        let values = model.weights(bias).map(|(_, values)| values).unwrap_or_default();
        let input = codes.activations[&site.input].scale;
        let steps: Vec<f32> = codes.weights[&site.weight].weight.steps.iter().map(|step| step * input).collect();
        let coded: Vec<i32> =
            values.iter().zip(&steps).map(|(value, step)| (value / step).round_ties_even() as i32).collect();
        let units = [steps.len()];
        let inputs = vec![self.add('b', &units, coded), self.add('s', &units, steps)];
        let output = self.names.fresh('d');
        let node = node("DequantizeLinear", inputs, &output, Some(0));
        (output, node)
    }

    /// Codes a tensor and decodes it again. When everyone is to read the decoded one it takes over the tensor's name, so
    /// that graph outputs and nested graphs see it too, and the producer gets another.
    fn pair(
        &mut self,
        coded: &Coded,
        nodes: &mut [NodeProto],
        producers: &HashMap<String, usize>,
        codes: &Codes,
    ) -> [NodeProto; 2] {
        let Affine { scale, zero_point } = codes.activations[&coded.tensor];
        let scale = self.scalar((true, scale.to_bits()), vec![scale]);
        let zero_point = self.scalar((false, u32::from(zero_point)), vec![zero_point]);
        let (code, fresh) = (self.names.fresh('q'), self.names.fresh('d'));
        let (float, decoded) = match &coded.readers {
            Readers::All => {
                if let Some(&producer) = producers.get(&coded.tensor) {
                    rename(&mut nodes[producer].output, &coded.tensor, &fresh);
                }
                (fresh, coded.tensor.clone())
            }
            Readers::Nodes(readers) => {
                for &reader in readers {
                    rename(&mut nodes[reader].input, &coded.tensor, &fresh);
                }
                (coded.tensor.clone(), fresh)
            }
        };
        [
            node("QuantizeLinear", vec![float, scale.clone(), zero_point.clone()], &code, None),
            node("DequantizeLinear", vec![code.clone(), scale, zero_point], &decoded, None),
        ]
    }
}

/// Names nothing in the model has, as short as they come: in a small model names are a good part of the file.
pub(super) struct Names {
    taken: HashSet<String>,
    next: usize,
}

impl Names {
    pub(super) fn of(model: &Model) -> Self {
        let graph = model.graph();
        let mut taken: HashSet<String> = graph.initializer.iter().map(|weight| weight.name().to_owned()).collect();
        taken.extend(graph.input.iter().chain(&graph.output).map(|port| port.name().to_owned()));
        taken.extend(graph.node.iter().flat_map(|node| node.output.iter().chain(&node.input)).cloned());
        let nested = graph.node.iter().flat_map(|node| &node.attribute);
        nested.for_each(|attribute| attribute.g.iter().chain(&attribute.graphs).for_each(|g| inner(g, &mut taken)));
        Self { taken, next: 0 }
    }

    pub(super) fn fresh(&mut self, prefix: char) -> String {
        loop {
            let name = format!("{prefix}{}", self.next);
            self.next += 1;
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }
}

/// A nested graph's names live beside those around it.
fn inner(graph: &GraphProto, taken: &mut HashSet<String>) {
    taken.extend(graph.initializer.iter().map(|weight| weight.name().to_owned()));
    taken.extend(graph.input.iter().map(|port| port.name().to_owned()));
    for node in &graph.node {
        taken.extend(node.output.iter().chain(&node.input).cloned());
        node.attribute.iter().for_each(|a| a.g.iter().chain(&a.graphs).for_each(|nested| inner(nested, taken)));
    }
}

fn rename(names: &mut [String], from: &str, to: &str) {
    names.iter_mut().filter(|name| *name == from).for_each(|name| to.clone_into(name));
}

/// A constant; `data` holds as many values as `shape` says.
pub(super) fn constant(name: &str, shape: &[usize], data: impl Into<TensorData>) -> TensorProto {
    let mut proto = Tensor::vector(data).to_proto(name);
    proto.dims = shape.iter().map(|&length| length as i64).collect();
    proto
}

/// A node without a name: nobody refers to these.
pub(super) fn node(op: &str, inputs: Vec<String>, output: &str, axis: Option<i64>) -> NodeProto {
    let mut node = NodeProto {
        op_type: Some(op.to_owned()),
        input: inputs,
        output: vec![output.to_owned()],
        ..NodeProto::default()
    };
    if let Some(axis) = axis {
        set(&mut node, "axis", Attribute::Int(axis));
    }
    node
}
