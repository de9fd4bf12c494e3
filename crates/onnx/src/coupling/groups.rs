//! From what is known about axes to groups with names.

use std::collections::{BTreeMap, HashMap};

use super::{
    AxisMap, Coupling, Extent, Frozen, Group, Layout, Link, ParamSlice, Role, Spelling,
    analysis::Analysis,
    symbols::{Axis, Symbol},
};
use crate::{
    linear::{Site, site},
    tensor::{bits_of, element_type},
};

/// Everything that shares one symbol.
#[derive(Default)]
struct Class {
    slices: Vec<ParamSlice>,
    producers: Vec<Link>,
    through: Vec<Link>,
    consumers: Vec<Link>,
    /// Why it cannot be cut although its symbol is free.
    obstacle: Option<String>,
}

pub(super) fn read_off(mut analysis: Analysis<'_>) -> Coupling {
    freeze_weights_read_elsewhere(&mut analysis);
    // Resolving may give up on an axis and freeze it, so all are resolved once before any reason is read.
    let names: Vec<String> = analysis.axes.keys().cloned().collect();
    let resolve = |analysis: &mut Analysis<'_>| -> BTreeMap<String, Vec<Axis>> {
        let resolved = names.iter().map(|name| {
            let axes = analysis.axes.get(name).cloned().unwrap_or_default();
            (name.clone(), axes.iter().map(|axis| analysis.symbols.resolve(axis)).collect())
        });
        resolved.collect()
    };
    resolve(&mut analysis);
    let tensors = resolve(&mut analysis);
    let classes = classify(&analysis, &tensors);
    let mut coupling = name_all(&analysis, classes);
    coupling.layout = lay_out(analysis, tensors, &coupling);
    coupling
}

/// A weight that a nested graph captures, or that callers read, is not only what the rules saw.
fn freeze_weights_read_elsewhere(analysis: &mut Analysis<'_>) {
    let captured = |name: &str| analysis.graph.readers(name).iter().any(|reader| reader.slot.is_none());
    let mut reasons: Vec<(String, String)> = Vec::new();
    for name in analysis.axes.keys() {
        if captured(name) {
            reasons.push((name.clone(), format!("a nested graph reads `{name}`")));
        }
        if analysis
            .graph
            .initializer(name)
            .is_some_and(|weight| element_type(weight).and_then(bits_of).is_none_or(|bits| bits < 8))
        {
            reasons.push((name.clone(), format!("`{name}` is stored in less than a byte per value")));
        }
    }
    reasons.sort();
    for (name, reason) in &reasons {
        analysis.freeze(name, reason);
    }
}

fn classify(analysis: &Analysis<'_>, tensors: &BTreeMap<String, Vec<Axis>>) -> BTreeMap<Symbol, Class> {
    let mut classes: BTreeMap<Symbol, Class> = BTreeMap::new();
    for (name, axes) in tensors.iter().filter(|(name, _)| analysis.graph.initializer(name).is_some()) {
        for (axis, description) in axes.iter().enumerate() {
            let role = analysis.roles.get(&(name.clone(), axis)).copied().unwrap_or(Role::Through);
            for (symbol, map) in maps(analysis, description) {
                let class = classes.entry(symbol).or_default();
                match map {
                    Some(map) => class.slices.push(ParamSlice { initializer: name.clone(), axis, map, role }),
                    None => class.obstacle = Some(format!("axis {axis} of `{name}` has it as two factors")),
                }
            }
        }
    }
    for index in analysis.graph.topological_order().unwrap_or_default() {
        if let Some(site) = site(&analysis.graph, index) {
            link(&mut classes, analysis, tensors, &site);
        }
    }
    classes
}

/// Notes a layer with every class its weight's axes belong to.
fn link(
    classes: &mut BTreeMap<Symbol, Class>,
    analysis: &Analysis<'_>,
    tensors: &BTreeMap<String, Vec<Axis>>,
    site: &Site,
) {
    let Some(axes) = tensors.get(&site.weight) else { return };
    for axis in [site.out_axis(), site.in_axis()] {
        let role = analysis.roles.get(&(site.weight.clone(), axis)).copied().unwrap_or(Role::Through);
        let mut found: BTreeMap<Symbol, Vec<AxisMap>> = BTreeMap::new();
        for (symbol, map) in axes.get(axis).map(|axis| maps(analysis, axis)).unwrap_or_default() {
            found.entry(symbol).or_default().extend(map);
        }
        for (symbol, maps) in found {
            let class = classes.entry(symbol).or_default();
            let links = match role {
                Role::Producer => &mut class.producers,
                Role::Through => &mut class.through,
                Role::Consumer => &mut class.consumers,
            };
            links.push(Link { site: site.clone(), maps });
        }
    }
}

/// Where each symbol of a resolved axis lies on it; `None` where it is a factor twice.
fn maps(analysis: &Analysis<'_>, axis: &Axis) -> Vec<(Symbol, Option<AxisMap>)> {
    let mut found = Vec::new();
    let mut offset = 0;
    for segment in &axis.0 {
        let length = |symbols: &[Symbol]| analysis.symbols.segment_length(symbols).unwrap_or(1);
        for (i, &symbol) in segment.iter().enumerate() {
            let twice = segment.iter().filter(|&&other| other == symbol).count() > 1;
            let map = AxisMap { offset, outer: length(&segment[..i]), inner: length(&segment[i + 1..]) };
            found.push((symbol, (!twice).then_some(map)));
        }
        offset += length(segment);
    }
    found
}

/// Groups and frozen axes in the order of their first layers. Classes no layer makes or reads are not spoken of.
fn name_all(analysis: &Analysis<'_>, classes: BTreeMap<Symbol, Class>) -> Coupling {
    let first = |class: &Class| class.producers.iter().chain(&class.consumers).map(|link| link.site.node).next();
    let mut found: Vec<(usize, Symbol, Class)> =
        classes.into_iter().filter_map(|(symbol, class)| Some((first(&class)?, symbol, class))).collect();
    found.sort_by_key(|&(node, symbol, _)| (node, symbol));
    let mut coupling = Coupling { groups: Vec::new(), frozen: Vec::new(), layout: Layout::default() };
    let mut taken: HashMap<String, usize> = HashMap::new();
    for (_, symbol, class) in found {
        let link = class.producers.first().or(class.consumers.first());
        let base = link.map(|link| link.site.name.clone()).unwrap_or_default();
        let base = if class.producers.is_empty() { format!("{base} (input)") } else { base };
        let count = taken.entry(base.clone()).or_default();
        *count += 1;
        let name = if *count == 1 { base } else { format!("{base}#{count}") };
        let units = analysis.symbols.symbol_length(symbol);
        match (obstacle(analysis, symbol, &class), units) {
            (None, Some(units)) => {
                coupling.layout.symbols.insert(name.clone(), symbol);
                let Class { slices, producers, through, consumers, .. } = class;
                coupling.groups.push(Group { name, units, slices, producers, through, consumers });
            }
            (reason, units) => {
                let reason = reason.unwrap_or_else(|| "its length differs between runs".to_owned());
                coupling.frozen.push(Frozen { name, units: units.unwrap_or(0), reason });
            }
        }
    }
    coupling
}

/// Why a class must stay.
fn obstacle(analysis: &Analysis<'_>, symbol: Symbol, class: &Class) -> Option<String> {
    let frozen = analysis.symbols.frozen(symbol).map(str::to_owned);
    frozen.or_else(|| class.obstacle.clone()).or_else(|| {
        if class.producers.is_empty() {
            Some("no layer with weights makes it".to_owned())
        } else if class.consumers.is_empty() {
            Some("no layer with weights reads it".to_owned())
        } else {
            None
        }
    })
}

/// What surgery has to follow, without what cannot change.
fn lay_out(mut analysis: Analysis<'_>, tensors: BTreeMap<String, Vec<Axis>>, coupling: &Coupling) -> Layout {
    let symbols = coupling.layout.symbols.clone();
    let free: std::collections::HashSet<Symbol> = symbols.values().copied().collect();
    let touches = |axis: &Axis| axis.0.iter().flatten().any(|symbol| free.contains(symbol));
    let tensors: BTreeMap<_, _> = tensors.into_iter().filter(|(_, axes)| axes.iter().any(touches)).collect();
    let mut spellings = std::mem::take(&mut analysis.spellings);
    for extent in spellings.iter_mut().flat_map(|spelling| &mut spelling.extents) {
        if let Extent::Length(axis) = extent {
            *axis = analysis.symbols.resolve(axis);
        }
    }
    spellings.retain(|spelling: &Spelling| {
        spelling.extents.iter().any(|extent| matches!(extent, Extent::Length(axis) if touches(axis)))
    });
    let spelled = spellings.iter().flat_map(|spelling| &spelling.extents).filter_map(|extent| match extent {
        Extent::Length(axis) => Some(axis),
        Extent::Fixed(_) => None,
    });
    let used = tensors.values().flatten().chain(spelled).flat_map(|axis| axis.0.iter().flatten());
    let lengths = used.filter_map(|&symbol| Some((symbol, analysis.symbols.symbol_length(symbol)?))).collect();
    Layout { symbols, lengths, tensors, spellings }
}
