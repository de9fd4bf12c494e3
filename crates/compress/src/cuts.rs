//! Which units are left, and what that means for each weight.

use std::collections::BTreeMap;

use sentei_onnx::coupling::{Coupling, Group};

use crate::{moments::Layer, refit::Remains};

/// For each group that was cut, its remaining units by their index in the uncompressed model, ascending.
pub type Kept = BTreeMap<String, Vec<usize>>;

/// The indices left on an axis of a weight.
#[must_use]
pub fn kept_along(coupling: &Coupling, kept: &Kept, initializer: &str, axis: usize, length: usize) -> Vec<usize> {
    let mut there = vec![true; length];
    for group in &coupling.groups {
        let Some(units) = kept.get(&group.name) else { continue };
        for slice in group.slices.iter().filter(|slice| slice.initializer == initializer && slice.axis == axis) {
            for unit in (0..group.units).filter(|unit| units.binary_search(unit).is_err()) {
                for index in slice.map.indices(unit, group.units) {
                    if let Some(there) = there.get_mut(index) {
                        *there = false;
                    }
                }
            }
        }
    }
    (0..length).filter(|&index| there[index]).collect()
}

/// What is left of a layer.
#[must_use]
pub fn remains(coupling: &Coupling, kept: &Kept, layer: &Layer) -> Remains {
    let site = &layer.site;
    Remains {
        rows: kept_along(coupling, kept, &site.weight, site.out_axis(), site.out_units()),
        units: kept_along(coupling, kept, &site.weight, site.in_axis(), site.in_units()),
    }
}

/// For each unit of a group, its columns in a layer that reads the group; empty when the layer does not.
#[must_use]
pub fn columns(group: &Group, layer: &Layer) -> Vec<Vec<usize>> {
    along(group, layer, layer.site.in_axis(), |index| layer.columns_of(index).collect())
}

/// For each unit of a group, its rows in a layer that makes the group.
#[must_use]
pub fn rows(group: &Group, layer: &Layer) -> Vec<Vec<usize>> {
    along(group, layer, layer.site.out_axis(), |index| vec![index])
}

fn along(group: &Group, layer: &Layer, axis: usize, spread: impl Fn(usize) -> Vec<usize>) -> Vec<Vec<usize>> {
    let slices = group.slices.iter().filter(|slice| slice.initializer == layer.site.weight && slice.axis == axis);
    let mut found = vec![Vec::new(); group.units];
    for slice in slices {
        for (unit, found) in found.iter_mut().enumerate() {
            found.extend(slice.map.indices(unit, group.units).flat_map(&spread));
        }
    }
    found
}
