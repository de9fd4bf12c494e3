//! Who makes a tensor, who reads it, and in which order.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
};

use crate::{
    Model,
    proto::{GraphProto, NodeProto, TensorProto},
};

/// An index over a model's outermost graph.
#[derive(Debug)]
pub struct Graph<'a> {
    proto: &'a GraphProto,
    producers: HashMap<&'a str, usize>,
    readers: HashMap<&'a str, Vec<Reader>>,
    initializers: HashMap<&'a str, &'a TensorProto>,
    inputs: HashSet<&'a str>,
    outputs: HashSet<&'a str>,
}

/// One reading of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reader {
    /// Index of the node.
    pub node: usize,
    /// Which of its inputs; `None` when a graph nested in the node captures the tensor by name.
    pub slot: Option<usize>,
}

/// The nodes form a circle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node `{node}` waits for its own result; a graph must have no circle")]
pub struct Circle {
    /// A node on (or behind) the circle.
    pub node: String,
}

impl<'a> Graph<'a> {
    /// Indexes `model`.
    #[must_use]
    pub fn new(model: &'a Model) -> Self {
        let proto = model.graph();
        let (mut producers, mut readers) = (HashMap::new(), HashMap::<_, Vec<_>>::new());
        for (index, node) in proto.node.iter().enumerate() {
            for output in named(&node.output) {
                producers.insert(output, index);
            }
            for (slot, input) in node.input.iter().enumerate().filter(|(_, input)| !input.is_empty()) {
                readers.entry(input.as_str()).or_default().push(Reader { node: index, slot: Some(slot) });
            }
            for captured in captured(node) {
                readers.entry(captured).or_default().push(Reader { node: index, slot: None });
            }
        }
        Self {
            proto,
            producers,
            readers,
            initializers: proto.initializer.iter().map(|tensor| (tensor.name(), tensor)).collect(),
            inputs: proto.input.iter().map(crate::proto::ValueInfoProto::name).collect(),
            outputs: proto.output.iter().map(crate::proto::ValueInfoProto::name).collect(),
        }
    }

    /// The nodes, in file order.
    #[must_use]
    pub fn nodes(&self) -> &'a [NodeProto] {
        &self.proto.node
    }

    /// The node that makes a tensor.
    #[must_use]
    pub fn producer(&self, tensor: &str) -> Option<usize> {
        self.producers.get(tensor).copied()
    }

    /// Every reading of a tensor, in node order.
    #[must_use]
    pub fn readers(&self, tensor: &str) -> &[Reader] {
        self.readers.get(tensor).map_or(&[], Vec::as_slice)
    }

    /// The one node that reads a tensor, when there is just one reading and the tensor is no graph output.
    #[must_use]
    pub fn only_reader(&self, tensor: &str) -> Option<Reader> {
        match self.readers(tensor) {
            [reader] if !self.is_output(tensor) => Some(*reader),
            _ => None,
        }
    }

    /// A weight of that name.
    #[must_use]
    pub fn initializer(&self, name: &str) -> Option<&'a TensorProto> {
        self.initializers.get(name).copied()
    }

    /// Whether callers feed this tensor.
    #[must_use]
    pub fn is_input(&self, tensor: &str) -> bool {
        self.inputs.contains(tensor) && !self.initializers.contains_key(tensor)
    }

    /// Whether callers read this tensor.
    #[must_use]
    pub fn is_output(&self, tensor: &str) -> bool {
        self.outputs.contains(tensor)
    }

    /// Node indices such that each comes after what it reads; file order wherever that is allowed.
    ///
    /// # Errors
    /// [`Circle`] when there is no such order.
    pub fn topological_order(&self) -> Result<Vec<usize>, Circle> {
        let nodes = self.nodes();
        let mut waiting: Vec<usize> = vec![0; nodes.len()];
        for readers in self.producers.keys().map(|tensor| self.readers(tensor)) {
            for reader in readers {
                waiting[reader.node] += 1;
            }
        }
        let mut ready: BinaryHeap<_> = (0..nodes.len()).filter(|&node| waiting[node] == 0).map(Reverse).collect();
        let mut order = Vec::with_capacity(nodes.len());
        while let Some(Reverse(node)) = ready.pop() {
            order.push(node);
            for output in named(&nodes[node].output).filter(|output| self.producers.get(output) == Some(&node)) {
                for reader in self.readers(output) {
                    waiting[reader.node] -= 1;
                    if waiting[reader.node] == 0 {
                        ready.push(Reverse(reader.node));
                    }
                }
            }
        }
        match waiting.iter().position(|&count| count > 0) {
            Some(node) => Err(Circle { node: label(&nodes[node], node) }),
            None => Ok(order),
        }
    }
}

/// A node's name as people know it: its own, else its first output's, else its number.
#[must_use]
pub fn label(node: &NodeProto, index: usize) -> String {
    let name = Some(node.name()).filter(|name| !name.is_empty());
    let output = || named(&node.output).next();
    name.or_else(output).map_or_else(|| format!("#{index}"), str::to_owned)
}

/// The names that are not empty: an empty one stands for an optional value left out.
pub(crate) fn named(names: &[String]) -> impl Iterator<Item = &str> {
    names.iter().map(String::as_str).filter(|name| !name.is_empty())
}

/// The outer tensors that graphs nested in `node` read by name.
pub(crate) fn captured(node: &NodeProto) -> Vec<&str> {
    let mut found = Vec::new();
    for graph in node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs)) {
        let mut known: HashSet<&str> = graph.input.iter().map(crate::proto::ValueInfoProto::name).collect();
        known.extend(graph.initializer.iter().map(TensorProto::name));
        known.extend(graph.node.iter().flat_map(|node| named(&node.output)));
        let mut read: Vec<&str> = graph.output.iter().map(crate::proto::ValueInfoProto::name).collect();
        for node in &graph.node {
            read.extend(named(&node.input));
            read.extend(captured(node));
        }
        found.extend(read.into_iter().filter(|name| !known.contains(name)));
    }
    found.sort_unstable();
    found.dedup();
    found
}
