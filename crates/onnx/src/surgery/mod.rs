//! Removing units, exactly.
//!
//! Every axis that holds a cut symbol is cut: of weights, of declared shapes, and of the numbers that nodes spell. The
//! result computes what the model computes after all reading weights of the removed units are zero.

mod cut;

use std::collections::{BTreeMap, HashMap, HashSet};

use cut::Cut;

use crate::{
    Model, Tensor, TensorError, attributes, check,
    coupling::{Coupling, Extent, Place, Spelling},
    edit,
    proto::{ValueInfoProto, tensor_shape_proto::dimension, type_proto},
};

/// Why units were not removed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SurgeryError {
    /// No such group.
    #[error("there is no group `{name}`{}", frozen.as_ref().map(|why| format!("; that axis is frozen: {why}")).unwrap_or_default())]
    UnknownGroup {
        /// The name given.
        name: String,
        /// Why an axis of that name is frozen, when there is one.
        frozen: Option<String>,
    },
    /// The kept units are no ascending subset, or none.
    #[error(
        "group `{name}` has units 0 to {last}; kept units must be ascending, without repeats, and at least one, but {why}"
    )]
    Units {
        /// The group.
        name: String,
        /// Its last unit.
        last: usize,
        /// What is wrong.
        why: String,
    },
    /// The model is not the one the groups were found in.
    #[error(
        "weight `{weight}` has shape {found:?}, but the groups were found with {expected:?}; analyse the model again"
    )]
    Stale {
        /// The weight.
        weight: String,
        /// Its shape now.
        found: Vec<usize>,
        /// Its shape then.
        expected: Vec<usize>,
    },
    /// A weight could not be read.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// The result does not hold together; a mistake of the analysis, kept from doing harm.
    #[error("the cut model does not hold together: {defect}")]
    Defect {
        /// The first thing wrong.
        defect: check::Defect,
    },
}

/// The model with only the `kept` units (ascending) of each named group; groups not named stay whole.
///
/// `coupling` must come from this very model. Weights without cut axes are shared with `model`.
///
/// # Errors
/// [`SurgeryError`].
pub fn keep_units(
    model: &Model,
    coupling: &Coupling,
    kept: &BTreeMap<String, Vec<usize>>,
) -> Result<Model, SurgeryError> {
    let cut = Cut::new(&coupling.layout, symbols(coupling, kept)?);
    let mut result = model.clone();
    for (name, axes) in &coupling.layout.tensors {
        if let Some(weight) = result.graph_mut().initializer.iter_mut().find(|weight| weight.name() == name) {
            cut.weight(weight, axes)?;
        }
    }
    let graph = result.graph_mut();
    for info in graph.value_info.iter_mut().chain(&mut graph.input).chain(&mut graph.output) {
        if let Some(axes) = coupling.layout.tensors.get(info.name()) {
            let lengths: Vec<_> = axes.iter().map(|axis| cut.changed(axis)).collect();
            redeclare(info, &lengths);
        }
    }
    for spelling in &coupling.layout.spellings {
        respell(&mut result, &cut, spelling);
    }
    drop_orphans(&mut result, model);
    match check::check(&result) {
        Err(defects) => {
            Err(SurgeryError::Defect { defect: defects.into_iter().next().unwrap_or(check::Defect::NoOutput) })
        }
        Ok(()) => Ok(result),
    }
}

/// The kept units of each symbol.
fn symbols(
    coupling: &Coupling,
    kept: &BTreeMap<String, Vec<usize>>,
) -> Result<HashMap<usize, Vec<usize>>, SurgeryError> {
    let mut symbols = HashMap::new();
    for (name, units) in kept {
        let (Some(group), Some(&symbol)) = (coupling.group(name), coupling.layout.symbols.get(name)) else {
            let frozen = coupling.frozen.iter().find(|frozen| frozen.name == *name);
            return Err(SurgeryError::UnknownGroup {
                name: name.clone(),
                frozen: frozen.map(|frozen| frozen.reason.clone()),
            });
        };
        let wrong = |why: String| SurgeryError::Units { name: name.clone(), last: group.units - 1, why };
        if let Some((first, second)) =
            units.iter().zip(&units[1.min(units.len())..]).find(|(first, second)| first >= second)
        {
            return Err(wrong(format!("{first} comes before {second}")));
        }
        match units.last() {
            None => return Err(wrong("none is kept".to_owned())),
            Some(&last) if last >= group.units => return Err(wrong(format!("{last} is kept"))),
            Some(_) if units.len() < group.units => {
                symbols.insert(symbol, units.clone());
            }
            Some(_) => {}
        }
    }
    Ok(symbols)
}

/// Writes changed lengths into a declared shape.
fn redeclare(info: &mut ValueInfoProto, lengths: &[Option<usize>]) {
    let value = info.r#type.as_mut().and_then(|t| t.value.as_mut());
    let Some(type_proto::Value::TensorType(tensor)) = value else { return };
    let Some(shape) = tensor.shape.as_mut() else { return };
    for (dim, length) in shape.dim.iter_mut().zip(lengths) {
        if let (Some(length), Some(dimension::Value::DimValue(_))) = (length, &dim.value) {
            dim.value = Some(dimension::Value::DimValue(*length as i64));
        }
    }
}

/// Writes changed lengths where a node spells them. A constant may have other readers, so the node gets its own.
fn respell(model: &mut Model, cut: &Cut<'_>, spelling: &Spelling) {
    let changed = |extent: &Extent| matches!(extent, Extent::Length(axis) if cut.changed(axis).is_some());
    if !spelling.extents.iter().any(changed) {
        return;
    }
    let value = |extent: &Extent| match extent {
        Extent::Fixed(value) => *value,
        Extent::Length(axis) => cut.length(axis) as i64,
    };
    let values: Vec<i64> = spelling.extents.iter().map(value).collect();
    match spelling.place {
        Place::Int(name) => {
            attributes::set(&mut model.graph_mut().node[spelling.node], name, attributes::Attribute::Int(values[0]));
        }
        Place::Ints(name) => {
            attributes::set(&mut model.graph_mut().node[spelling.node], name, attributes::Attribute::Ints(values));
        }
        Place::Input(slot) => {
            let present = model.graph().node[spelling.node].input.get(slot).filter(|name| !name.is_empty());
            let stem = present.cloned().unwrap_or_else(|| "sizes".to_owned());
            let name = edit::fresh_name(model, &stem);
            model.set_initializer(&name, &Tensor::vector(values));
            let node = &mut model.graph_mut().node[spelling.node];
            if node.input.len() <= slot {
                node.input.resize(slot + 1, String::new());
            }
            node.input[slot] = name;
            // `Split` allows either sizes or a count.
            attributes::remove(node, "num_outputs");
        }
    }
}

/// Drops constants that only rewritten nodes read.
fn drop_orphans(result: &mut Model, original: &Model) {
    let read = |model: &Model| -> HashSet<String> {
        let nodes = model.graph().node.iter();
        let inputs = nodes.flat_map(|node| {
            node.input.iter().cloned().chain(crate::graph::captured(node).into_iter().map(str::to_owned))
        });
        inputs.chain(model.graph().output.iter().map(|output| output.name().to_owned())).collect()
    };
    let (before, after) = (read(original), read(result));
    let orphan = |name: &str| before.contains(name) && !after.contains(name);
    result.graph_mut().initializer.retain(|weight| !orphan(weight.name()));
}
