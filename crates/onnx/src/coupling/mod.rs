//! Which channels stand or fall together.
//!
//! [`analyse`] gives every axis of every tensor an algebraic description (see `symbols`), lets each operator state what
//! it knows, and reads groups off the result: all weight rows, pass-through parameters and weight columns that share a
//! symbol. What no rule proves is frozen, with the reason.

mod analysis;
mod groups;
mod rules;
pub(crate) mod symbols;

use std::collections::BTreeMap;

use symbols::{Axis, Symbol};

use crate::{Model, Shapes, linear::Site};

/// All groups of a model.
#[derive(Debug, Clone)]
pub struct Coupling {
    /// Groups whose units may be removed, in the order of their first producers.
    pub groups: Vec<Group>,
    /// Channel axes that must stay as they are.
    pub frozen: Vec<Frozen>,
    pub(crate) layout: Layout,
}

/// Units that can be removed exactly: after all reading weights of a unit are zero, the model with the unit and the model
/// without it compute the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The name of its first producer (with `#2`, `#3`.. when that makes several groups): stable across runs and cuts.
    pub name: String,
    /// Number of units, at least 2.
    pub units: usize,
    /// Every part of every weight that goes with the units.
    pub slices: Vec<ParamSlice>,
    /// The layers whose output units these are.
    pub producers: Vec<Link>,
    /// Depthwise convolutions that pass units through, one filter (or several) to each.
    pub through: Vec<Link>,
    /// The layers whose input units these are.
    pub consumers: Vec<Link>,
}

/// A channel axis that is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// The name of its first producer, else of its first consumer.
    pub name: String,
    /// Its length.
    pub units: usize,
    /// Why.
    pub reason: String,
}

/// How a layer meets a group.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// The layer.
    pub site: Site,
    /// Where the units lie on the weight's out axis (producers, pass-through) or in axis (consumers), and likewise on the
    /// channel axis of the activation. More than one entry when a concatenation repeats the group.
    pub maps: Vec<AxisMap>,
}

/// Part of a weight that goes with a group's units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamSlice {
    /// The weight.
    pub initializer: String,
    /// Which of its axes.
    pub axis: usize,
    /// Where the units lie on that axis.
    pub map: AxisMap,
    /// What the weight does to the units.
    pub role: Role,
}

/// What a weight does to a group's units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Makes them: rows and bias of a layer.
    Producer,
    /// Changes each on its own: a depthwise filter, a normalisation's parameters, an added or multiplied constant.
    Through,
    /// Reads them: columns of a layer.
    Consumer,
}

/// Where a group's units lie on an axis: unit `u` of `units` has the indices
/// `offset + (o · units + u) · inner + i` for all `o < outer` and `i < inner`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AxisMap {
    /// Where the group's part of the axis begins.
    pub offset: usize,
    /// How often the units repeat.
    pub outer: usize,
    /// How many neighbouring indices a unit has.
    pub inner: usize,
}

impl AxisMap {
    /// The indices of one unit, ascending.
    pub fn indices(self, unit: usize, units: usize) -> impl Iterator<Item = usize> {
        let Self { offset, outer, inner } = self;
        (0..outer).flat_map(move |o| (0..inner).map(move |i| offset + (o * units + unit) * inner + i))
    }
}

impl Coupling {
    /// The group of that name.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }
}

/// What surgery needs: the description of every axis that can change, and what else says its length.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layout {
    /// The symbol of each prunable group, by name.
    pub(crate) symbols: BTreeMap<String, Symbol>,
    /// Lengths of all symbols of known length.
    pub(crate) lengths: BTreeMap<Symbol, usize>,
    /// Weights and activations with a prunable symbol.
    pub(crate) tensors: BTreeMap<String, Vec<Axis>>,
    /// Attributes and constants that spell a length.
    pub(crate) spellings: Vec<Spelling>,
}

/// A place where a node spells axis lengths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spelling {
    pub(crate) node: usize,
    pub(crate) place: Place,
    pub(crate) extents: Vec<Extent>,
}

/// Where lengths are spelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A whole-number attribute.
    Int(&'static str),
    /// A list attribute.
    Ints(&'static str),
    /// A constant input of one axis, by its slot.
    Input(usize),
}

/// One spelled number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Stays.
    Fixed(i64),
    /// The length of an axis.
    Length(Axis),
}

/// Finds the groups of a model in normal form (see [`crate::normal`]).
///
/// `shapes` are measured by running the model; a tensor they lack freezes what it touches.
#[must_use]
pub fn analyse(model: &Model, shapes: &Shapes) -> Coupling {
    groups::read_off(analysis::run(model, shapes))
}
