//! The part of a model that some tensors need.

use std::collections::{HashMap, HashSet};

use crate::{
    Model,
    graph::{Graph, captured, named},
    proto::{NodeProto, TensorProto, ValueInfoProto},
};

/// A tensor was asked for that the model does not compute.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the model computes no tensor `{name}`")]
pub struct UnknownTensor {
    /// The name asked for.
    pub name: String,
}

impl Model {
    /// The sub-model that computes just the tensors `names` from the same graph inputs. What they do not need (nodes,
    /// weights, annotations) is left out; all graph inputs stay, so that callers feed every sub-model alike.
    ///
    /// # Errors
    /// [`UnknownTensor`] for a name that no node makes and no caller feeds.
    pub fn with_outputs(&self, names: &[&str]) -> Result<Self, UnknownTensor> {
        let graph = Graph::new(self);
        for &name in names {
            let known = graph.producer(name).is_some() || graph.is_input(name) || graph.initializer(name).is_some();
            if !known {
                return Err(UnknownTensor { name: name.to_owned() });
            }
        }
        let declared: HashMap<&str, &ValueInfoProto> =
            self.graph().value_info.iter().chain(&self.graph().output).map(|info| (info.name(), info)).collect();
        // The runtime infers the type of an output that has none declared.
        let bare = |name: &str| ValueInfoProto { name: Some(name.to_owned()), ..ValueInfoProto::default() };
        let output = names.iter().map(|&name| declared.get(name).map_or_else(|| bare(name), |&info| info.clone()));
        let output = output.collect();
        let mut part = self.shell();
        part.graph_mut().output = output;
        part.keep_live_of(self, &graph);
        Ok(part)
    }

    /// Drops nodes whose results nobody reads, and weights and annotations without a reader.
    pub fn drop_unused(&mut self) {
        let mut part = self.shell();
        part.graph_mut().output.clone_from(&self.graph().output);
        part.keep_live_of(self, &Graph::new(self));
        *self = part;
    }

    /// This model with an empty graph but for its inputs.
    fn shell(&self) -> Self {
        let mut proto = self.proto().clone_without_graph();
        let graph = self.graph();
        proto.graph = Some(crate::proto::GraphProto {
            name: graph.name.clone(),
            doc_string: graph.doc_string.clone(),
            input: graph.input.clone(),
            metadata_props: graph.metadata_props.clone(),
            ..crate::proto::GraphProto::default()
        });
        self.with_proto(proto)
    }

    /// Fills this shell with what of `whole` its outputs need.
    fn keep_live_of(&mut self, whole: &Self, graph: &Graph<'_>) {
        let names: Vec<String> = self.graph().output.iter().map(|info| info.name().to_owned()).collect();
        let nodes = live_nodes(graph, &names);
        let from = whole.graph();
        let mut live: HashSet<&str> = names.iter().map(String::as_str).collect();
        for node in from.node.iter().enumerate().filter(|(index, _)| nodes.contains(index)).map(|(_, node)| node) {
            live.extend(named(&node.input).chain(named(&node.output)).chain(captured(node)));
        }
        let kept = |index: &usize| nodes.contains(index);
        let to = self.graph_mut();
        to.node = (0..from.node.len()).filter(kept).map(|index| from.node[index].clone()).collect();
        to.initializer = from.initializer.iter().filter(|weight| live.contains(weight.name())).cloned().collect();
        to.sparse_initializer =
            from.sparse_initializer.iter().filter(|sparse| live.contains(name_of_sparse(sparse))).cloned().collect();
        to.value_info = from.value_info.iter().filter(|info| live.contains(info.name())).cloned().collect();
        to.quantization_annotation =
            from.quantization_annotation.iter().filter(|note| live.contains(note.tensor_name())).cloned().collect();
        let weights: HashSet<&str> = from.initializer.iter().map(TensorProto::name).collect();
        to.input.retain(|input| !weights.contains(input.name()) || live.contains(input.name()));
    }
}

fn name_of_sparse(sparse: &crate::proto::SparseTensorProto) -> &str {
    sparse.values.as_ref().map_or("", TensorProto::name)
}

/// The nodes that `names` need, found backwards.
fn live_nodes(graph: &Graph<'_>, names: &[String]) -> HashSet<usize> {
    let mut live = HashSet::new();
    let mut wanted: Vec<usize> = names.iter().filter_map(|name| graph.producer(name)).collect();
    while let Some(index) = wanted.pop() {
        if live.insert(index) {
            let node: &NodeProto = &graph.nodes()[index];
            wanted.extend(named(&node.input).chain(captured(node)).filter_map(|name| graph.producer(name)));
        }
    }
    live
}
