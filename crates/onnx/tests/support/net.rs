//! A net built line by line, with random weights.

use sentei_onnx::{
    ElementType, Model, Tensor, TensorData,
    attributes::Attribute,
    check,
    edit::{model, node, value_info, with},
    proto::NodeProto,
};

use super::Random;

pub struct Net {
    nodes: Vec<NodeProto>,
    weights: Vec<(String, Tensor)>,
    random: Random,
    pub opset: i64,
    input: Vec<usize>,
}

impl Net {
    /// A net whose input `x` is `[batch, shape..]`.
    pub fn new(shape: &[usize]) -> Self {
        Self { nodes: Vec::new(), weights: Vec::new(), random: Random(11), opset: 17, input: shape.to_vec() }
    }

    pub fn weight(&mut self, name: &str, shape: &[usize]) -> String {
        let values = self.random.reals(shape.iter().product());
        self.constant(name, shape, values)
    }

    pub fn constant(&mut self, name: &str, shape: &[usize], values: impl Into<TensorData>) -> String {
        self.weights.push((name.to_owned(), Tensor::new(shape, values).expect("fits")));
        name.to_owned()
    }

    pub fn ints(&mut self, name: &str, values: &[i64]) -> String {
        self.constant(name, &[values.len()], values.to_vec())
    }

    /// A node with one output named `name`.
    pub fn op(&mut self, name: &str, op: &str, inputs: &[&str]) -> String {
        self.op_with(name, op, inputs, &[])
    }

    pub fn op_with(&mut self, name: &str, op: &str, inputs: &[&str], attributes: &[(&str, Attribute)]) -> String {
        self.many(&[name], op, inputs, attributes);
        name.to_owned()
    }

    pub fn many(&mut self, outputs: &[&str], op: &str, inputs: &[&str], attributes: &[(&str, Attribute)]) {
        let node = node(op, inputs, outputs);
        self.nodes.push(attributes.iter().fold(node, |node, (name, value)| with(node, name, value.clone())));
    }

    /// A convolution with a bias; `kernel` gives its spatial rank, padding keeps odd kernels' lengths.
    pub fn conv(&mut self, name: &str, input: &str, from: usize, to: usize, kernel: &[usize]) -> String {
        self.grouped(name, input, [to, from], kernel, 1)
    }

    pub fn grouped(&mut self, name: &str, input: &str, weight: [usize; 2], kernel: &[usize], group: i64) -> String {
        let w = self.weight(&format!("{name}.w"), &[&weight[..], kernel].concat());
        let b = self.weight(&format!("{name}.b"), &weight[..1]);
        let pads: Vec<i64> = kernel.iter().chain(kernel).map(|k| (k / 2) as i64).collect();
        let attributes = [("pads", Attribute::Ints(pads)), ("group", Attribute::Int(group))];
        self.op_with(name, "Conv", &[input, &w, &b], &attributes)
    }

    /// `MatMul` and `Add`.
    pub fn dense(&mut self, name: &str, input: &str, from: usize, to: usize) -> String {
        let w = self.weight(&format!("{name}.w"), &[from, to]);
        let b = self.weight(&format!("{name}.b"), &[to]);
        let product = self.op(&format!("{name}.product"), "MatMul", &[input, &w]);
        self.op(name, "Add", &[&product, &b])
    }

    pub fn build(self, outputs: &[&str]) -> Model {
        let mut dims = vec![Err("batch")];
        dims.extend(self.input.iter().map(|&size| Ok(size)));
        let weights: Vec<(&str, Tensor)> =
            self.weights.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
        let input = value_info("x", ElementType::Float, &dims);
        let model = model(self.opset, vec![input], outputs, self.nodes, &weights).expect("known opset");
        check::check(&model).expect("the net holds together");
        model
    }
}
