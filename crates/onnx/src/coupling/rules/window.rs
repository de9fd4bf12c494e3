//! Operators on space: channels pass through, spatial axes are made anew.

use super::super::{
    Extent, Place,
    analysis::{Analysis, At, Verdict, front},
    symbols::Axis,
};
use crate::{Dim, attributes};

/// Freezes the spatial axes (all from the third) that a window slides over, and makes those of the output.
pub(super) fn slide(a: &mut Analysis<'_>, at: At<'_>, input: &[Axis]) -> Result<Vec<Axis>, String> {
    let reason = format!("the window of {} slides over it", at.label());
    let measured = a.measured_output(at, 0)?;
    input.iter().skip(2).for_each(|axis| a.symbols.freeze(axis, &reason));
    Ok(measured.iter().skip(2).map(|&dim| a.symbols.fresh_frozen(dim, &reason)).collect())
}

/// Pooling with a window.
pub(super) fn pool(a: &mut Analysis<'_>, at: At<'_>) -> Verdict {
    if at.node.output.get(1).is_some_and(|indices| !a.graph.readers(indices).is_empty()) {
        return Err("its indices are read, and they count across channels".to_owned());
    }
    global_pool(a, at)
}

/// Pooling over all of space.
pub(super) fn global_pool(a: &mut Analysis<'_>, at: At<'_>) -> Verdict {
    let input = a.input(at, 0)?;
    let spatial = slide(a, at, &input)?;
    a.set_output(at, 0, input.into_iter().take(2).chain(spatial).collect())
}

/// `Pad`: padded axes change, the others pass.
pub(super) fn pad(a: &mut Analysis<'_>, at: At<'_>) -> Verdict {
    let input = a.input(at, 0)?;
    let pads = a.list(at, "pads", 1)?.ok_or("no pads")?;
    let axes = match a.constant(at, 3)? {
        Some(axes) => axes.into_iter().map(|axis| front(axis, input.len())).collect::<Result<Vec<_>, _>>()?,
        None => (0..input.len()).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(format!("{} pads for {} axes", pads.len(), axes.len()));
    }
    let padded =
        |axis: usize| axes.iter().position(|&a| a == axis).is_some_and(|i| pads[i] != 0 || pads[axes.len() + i] != 0);
    remake(a, at, &input, padded, "pads it")
}

/// `Resize` and `Upsample`: axes that keep their length pass.
pub(super) fn resize(a: &mut Analysis<'_>, at: At<'_>) -> Verdict {
    let input = a.input(at, 0)?;
    let measured = a.measured_output(at, 0)?;
    let lengths: Vec<_> = input.iter().map(|axis| a.symbols.length(axis)).collect();
    if lengths.len() != measured.len() {
        return Err("an output of another rank".to_owned());
    }
    // The first two axes pass when equal; a spatial axis of equal length may still be interpolated.
    let resized = |axis: usize| axis >= 2 || lengths[axis] != measured[axis].size();
    remake(a, at, &input, resized, "resizes it")?;
    if at.node.op_type() == "Resize" && at.has_input(3) && attributes::ints(at.node, "axes").is_none() {
        let Some(sizes) = a.constant(at, 3).ok().flatten().filter(|sizes| sizes.len() == input.len()) else {
            input.iter().take(2).for_each(|axis| a.symbols.freeze(axis, &format!("{} computes its sizes", at.label())));
            return Ok(());
        };
        let extent = |(i, &size): (usize, &i64)| match (i, a.symbols.length(&input[i])) {
            (1, Some(_)) => Extent::Length(input[i].clone()),
            _ => Extent::Fixed(size),
        };
        let extents = sizes.iter().enumerate().map(extent).collect();
        a.spell(at, Place::Input(3), extents);
    }
    Ok(())
}

/// Passes each axis through, but for those that are `made` anew.
fn remake(a: &mut Analysis<'_>, at: At<'_>, input: &[Axis], made: impl Fn(usize) -> bool, how: &str) -> Verdict {
    let reason = format!("{} {how}", at.label());
    let measured: Vec<Dim> = a.measured_output(at, 0)?;
    if measured.len() != input.len() {
        return Err("an output of another rank".to_owned());
    }
    let mut axis = |(i, axis): (usize, &Axis)| {
        if made(i) {
            a.symbols.freeze(axis, &reason);
            a.symbols.fresh_frozen(measured[i], &reason)
        } else {
            axis.clone()
        }
    };
    let out = input.iter().enumerate().map(&mut axis).collect();
    a.set_output(at, 0, out)
}
