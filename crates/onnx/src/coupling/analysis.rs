//! The walk over the graph, and what rules may ask and state.

use std::collections::{BTreeMap, HashMap};

use super::{
    Extent, Place, Role, Spelling,
    rules::rule_for,
    symbols::{Axis, Symbols},
};
use crate::{
    Dim, Model, Shapes, Tensor, attributes,
    graph::{Graph, captured, label, named},
    proto::NodeProto,
    tensor::shape_of,
};

/// Everything known so far.
pub(super) struct Analysis<'a> {
    pub(super) graph: Graph<'a>,
    pub(super) shapes: &'a Shapes,
    pub(super) opset: i64,
    pub(super) symbols: Symbols,
    /// The axes of each tensor seen.
    pub(super) axes: HashMap<String, Vec<Axis>>,
    /// What a weight's axis is to the layer that reads it; axes not here are [`Role::Through`].
    pub(super) roles: BTreeMap<(String, usize), Role>,
    pub(super) spellings: Vec<Spelling>,
}

/// What a rule says of a node: nothing more, or why all it touches must stay.
pub(super) type Verdict = Result<(), String>;

/// A node under a rule, with its index.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) node: &'a NodeProto,
    pub(super) index: usize,
}

impl At<'_> {
    /// The node as people know it.
    pub(super) fn label(&self) -> String {
        format!("{} `{}`", self.node.op_type(), label(self.node, self.index))
    }

    pub(super) fn has_input(&self, slot: usize) -> bool {
        self.node.input.get(slot).is_some_and(|name| !name.is_empty())
    }
}

pub(super) fn run<'a>(model: &'a Model, shapes: &'a Shapes) -> Analysis<'a> {
    let mut analysis = Analysis {
        graph: Graph::new(model),
        shapes,
        opset: model.opset(),
        symbols: Symbols::default(),
        axes: HashMap::new(),
        roles: BTreeMap::new(),
        spellings: Vec::new(),
    };
    for input in model.inputs() {
        analysis.make_opaque(&input.name, &format!("graph input `{}`", input.name));
    }
    let order = analysis.graph.topological_order();
    for index in order.unwrap_or_default() {
        analysis.visit(At { node: &model.graph().node[index], index });
    }
    for output in &model.graph().output {
        analysis.freeze(output.name(), &format!("graph output `{}`", output.name()));
    }
    analysis
}

impl Analysis<'_> {
    fn visit(&mut self, at: At<'_>) {
        let standard = matches!(at.node.domain(), "" | "ai.onnx");
        let rule = Some(at.node.op_type()).filter(|_| standard).and_then(rule_for);
        let verdict = match rule {
            Some(rule) => rule(self, at),
            None => Err("no rule for this operator".to_owned()),
        };
        if let Err(why) = verdict {
            let reason = format!("{}: {why}", at.label());
            for tensor in named(&at.node.input).chain(captured(at.node)) {
                self.freeze(tensor, &reason);
            }
            for output in named(&at.node.output) {
                self.make_opaque(output, &reason);
            }
        }
        for output in named(&at.node.output) {
            // A second output a rule says nothing about.
            if !self.axes.contains_key(output) {
                self.make_opaque(output, &format!("{}: side output", at.label()));
            }
        }
    }

    /// The axes of a tensor.
    pub(super) fn axes(&mut self, tensor: &str) -> Result<Vec<Axis>, String> {
        if let Some(axes) = self.axes.get(tensor) {
            return Ok(axes.clone());
        }
        let weight = self.graph.initializer(tensor).and_then(|weight| shape_of(weight).ok());
        let shape = weight.ok_or_else(|| format!("the shape of `{tensor}` was not measured"))?;
        let axes: Vec<_> = shape.into_iter().map(|length| self.symbols.fresh(Dim::Static(length))).collect();
        self.axes.insert(tensor.to_owned(), axes.clone());
        Ok(axes)
    }

    /// The axes of a node's input.
    pub(super) fn input(&mut self, at: At<'_>, slot: usize) -> Result<Vec<Axis>, String> {
        let name = at.node.input.get(slot).filter(|name| !name.is_empty());
        self.axes(name.ok_or_else(|| format!("input {slot} is missing"))?)
    }

    /// States a node's output axes; refused when they contradict what was measured.
    pub(super) fn set_output(&mut self, at: At<'_>, slot: usize, axes: Vec<Axis>) -> Verdict {
        let Some(output) = at.node.output.get(slot).filter(|name| !name.is_empty()) else { return Ok(()) };
        let measured = self.measured(output)?;
        let lengths: Vec<_> = axes.iter().map(|axis| self.symbols.length(axis)).collect();
        let agree = |(length, dim): (&Option<usize>, &Dim)| match (length, dim) {
            (Some(length), Dim::Static(measured)) => length == measured,
            (None, Dim::Static(_)) | (_, Dim::Dynamic) => length.is_none(),
        };
        if lengths.len() != measured.len() || !lengths.iter().zip(&measured).all(agree) {
            return Err(format!("`{output}` was measured as {measured:?}, which its rule does not explain"));
        }
        self.axes.insert(output.clone(), axes);
        Ok(())
    }

    /// The measured shape of a tensor.
    pub(super) fn measured(&self, tensor: &str) -> Result<Vec<Dim>, String> {
        self.shapes.get(tensor).cloned().ok_or_else(|| format!("the shape of `{tensor}` was not measured"))
    }

    /// The measured shape of a node's output.
    pub(super) fn measured_output(&self, at: At<'_>, slot: usize) -> Result<Vec<Dim>, String> {
        self.measured(at.node.output.get(slot).map_or("", String::as_str))
    }

    fn make_opaque(&mut self, tensor: &str, reason: &str) {
        if let Some(dims) = self.shapes.get(tensor) {
            let axes = dims.iter().map(|&dim| self.symbols.fresh_frozen(dim, reason)).collect();
            self.axes.insert(tensor.to_owned(), axes);
        } else {
            self.axes.remove(tensor);
        }
    }

    /// Keeps all axes of a tensor as they are.
    pub(super) fn freeze(&mut self, tensor: &str, reason: &str) {
        self.axes(tensor).unwrap_or_default().iter().for_each(|axis| self.symbols.freeze(axis, reason));
    }

    /// Notes what a weight's axis is to a layer; activations have no role.
    pub(super) fn set_role(&mut self, weight: &str, axis: usize, role: Role) {
        if self.graph.initializer(weight).is_some() {
            self.roles.insert((weight.to_owned(), axis), role);
        }
    }

    /// Notes that a node spells lengths which must follow a cut.
    pub(super) fn spell(&mut self, at: At<'_>, place: Place, extents: Vec<Extent>) {
        if extents.iter().any(|extent| matches!(extent, Extent::Length(_))) {
            self.spellings.push(Spelling { node: at.index, place, extents });
        }
    }

    /// The whole numbers of a constant input; `None` when the input is absent, an error when it is computed.
    pub(super) fn constant(&self, at: At<'_>, slot: usize) -> Result<Option<Vec<i64>>, String> {
        let Some(name) = at.node.input.get(slot).filter(|name| !name.is_empty()) else { return Ok(None) };
        let tensor = self.graph.initializer(name).and_then(|proto| Tensor::from_proto(proto).ok());
        let values = tensor.and_then(|tensor| tensor.to_i64());
        values.map(Some).ok_or_else(|| format!("`{name}` is computed while running"))
    }

    /// A list that older operator sets write as an attribute and newer ones as an input.
    pub(super) fn list(&self, at: At<'_>, attribute: &str, slot: usize) -> Result<Option<Vec<i64>>, String> {
        match attributes::ints(at.node, attribute) {
            Some(list) => Ok(Some(list.to_vec())),
            None => self.constant(at, slot),
        }
    }
}

/// An axis number from the front.
pub(super) fn front(axis: i64, rank: usize) -> Result<usize, String> {
    let counted = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(counted).ok().filter(|&axis| axis < rank).ok_or_else(|| format!("axis {axis} of {rank} axes"))
}
