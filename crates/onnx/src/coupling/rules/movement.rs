//! Operators that move elements about without changing them.

use super::super::{
    Extent, Place,
    analysis::{Analysis, At, Verdict, front},
    symbols::Axis,
};
use crate::{Dim, attributes};

/// `Transpose`: axes in another order.
pub(super) fn transpose(a: &mut Analysis<'_>, at: At<'_>) -> Verdict {
    let input = a.input(at, 0)?;
    let order = match attributes::ints(at.node, "perm") {
        Some(order) => order.iter().map(|&axis| front(axis, input.len())).collect::<Result<Vec<_>, _>>()?,
        None => (0..input.len()).rev().collect(),
    };
    a.set_output(at, 0, order.into_iter().map(|axis| input[axis].clone()).collect())
}

/// `Concat`: a sum on one axis, the same on the others.
pub(super) fn concat(a: &mut Analysis<'_>, at: At<'_>) -> Verdict {
    let inputs = (0..at.node.input.len()).map(|slot| a.input(at, slot)).collect::<Result<Vec<_>, _>>()?;
    let (first, rest) = inputs.split_first().ok_or("no inputs")?;
    let axis = front(attributes::int(at.node, "axis").ok_or("no axis")?, first.len())?;
    if rest.iter().any(|other| other.len() != first.len()) {
        return Err("inputs of unequal ranks".to_owned());
    }
    let mut out = first.clone();
    for other in rest {
        for (i, (one, another)) in first.iter().zip(other).enumerate() {
            if i == axis {
                out[i] = out[i].clone().then(another.clone());
            } else {
                a.symbols.unify(one, another, &format!("{} joins unequal lengths", at.label()));
            }
        }
    }
    if a.symbols.length(&out[axis]).is_none() {
        let reason = format!("{} joins lengths that differ between runs", at.label());
        for input in &inputs {
            a.symbols.freeze(&input[axis], &reason);
        }
        let measured = a.measured_output(at, 0)?;
        out[axis] = a.symbols.fresh_frozen(*measured.get(axis).ok_or("an output of another rank")?, &reason);
    }
    a.set_output(at, 0, out)
}

/// `Split`: the inverse of `Concat`; the sizes follow a cut.
pub(super) fn split(a: &mut Analysis<'_>, at: At<'_>) -> Verdict {
    let input = a.input(at, 0)?;
    let axis = front(attributes::int(at.node, "axis").unwrap_or(0), input.len())?;
    a.list(at, "split", 1)?;
    let reason = format!("{} parts it", at.label());
    let mut parts = Vec::new();
    for slot in 0..at.node.output.len() {
        let length = *a.measured_output(at, slot)?.get(axis).ok_or("an output of another rank")?;
        parts.push(a.symbols.fresh(length));
    }
    let whole = parts.iter().cloned().reduce(Axis::then).ok_or("no outputs")?;
    if a.symbols.length(&whole).is_none() {
        return Err("its parts differ between runs".to_owned());
    }
    a.symbols.unify(&input[axis], &whole, &reason);
    let place = if a.opset >= 13 { Place::Input(1) } else { Place::Ints("split") };
    a.spell(at, place, parts.iter().cloned().map(Extent::Length).collect());
    for (slot, part) in parts.into_iter().enumerate() {
        let mut out = input.clone();
        out[axis] = part;
        a.set_output(at, slot, out)?;
    }
    Ok(())
}

/// `Slice` with constant bounds and step 1: one part of three; the bounds follow a cut.
pub(super) fn slice(a: &mut Analysis<'_>, at: At<'_>) -> Verdict {
    let input = a.input(at, 0)?;
    let measured = a.measured_output(at, 0)?;
    if measured.len() != input.len() {
        return Err("an output of another rank".to_owned());
    }
    let old = a.opset < 10;
    let axes = if old { a.list(at, "axes", 3)? } else { a.constant(at, 3)? };
    let bounds = a.list(at, "starts", 1).and_then(|starts| Ok((starts, a.list(at, "ends", 2)?)));
    let steps = a.constant(at, 4);
    let count = match &bounds {
        Ok((Some(starts), _)) => starts.len(),
        _ => axes.as_ref().map_or(input.len(), Vec::len),
    };
    let axes = match axes {
        Some(axes) => axes.into_iter().map(|axis| front(axis, input.len())).collect::<Result<Vec<_>, _>>()?,
        None => (0..count.min(input.len())).collect(),
    };
    let mut out = input.clone();
    let known = match (bounds, steps) {
        (Ok((Some(starts), Some(ends))), Ok(steps)) if starts.len() == axes.len() && ends.len() == axes.len() => {
            Some((starts, ends, steps.unwrap_or_else(|| vec![1; axes.len()])))
        }
        _ => None,
    };
    let Some((starts, ends, steps)) = known else {
        let reason = format!("{} computes its bounds", at.label());
        for &axis in &axes {
            a.symbols.freeze(&input[axis], &reason);
            out[axis] = a.symbols.fresh_frozen(measured[axis], &reason);
        }
        return a.set_output(at, 0, out);
    };
    let mut spelled = (
        starts.iter().map(|&s| Extent::Fixed(s)).collect::<Vec<_>>(),
        ends.iter().map(|&e| Extent::Fixed(e)).collect::<Vec<_>>(),
    );
    for (i, &axis) in axes.iter().enumerate() {
        let step = steps.get(i).copied().unwrap_or(1);
        let Some(length) = a.symbols.length(&input[axis]).filter(|_| step == 1) else {
            let reason = format!("{} takes a part of it", at.label());
            a.symbols.freeze(&input[axis], &reason);
            out[axis] = a.symbols.fresh_frozen(measured[axis], &reason);
            continue;
        };
        let (start, end) = (clamp(starts[i], length), clamp(ends[i], length));
        if (start, end) == (0, length) {
            continue;
        }
        let end = end.max(start);
        let [before, part, after] = [start, end - start, length - end].map(|n| match n {
            0 => Axis(Vec::new()),
            n => a.symbols.fresh(Dim::Static(n)),
        });
        let whole = before.clone().then(part.clone()).then(after);
        a.symbols.unify(&input[axis], &whole, &format!("{} takes a part of it", at.label()));
        spelled.0[i] = Extent::Length(before.clone());
        spelled.1[i] = Extent::Length(before.then(part.clone()));
        out[axis] = part;
    }
    let places = if old { [Place::Ints("starts"), Place::Ints("ends")] } else { [Place::Input(1), Place::Input(2)] };
    for (place, extents) in places.into_iter().zip([spelled.0, spelled.1]) {
        a.spell(at, place, extents);
    }
    a.set_output(at, 0, out)
}

/// A bound as an index from the front.
fn clamp(bound: i64, length: usize) -> usize {
    let length = length as i64;
    let bound = if bound < 0 { bound.saturating_add(length) } else { bound };
    bound.clamp(0, length) as usize
}

/// `Gather`: the indexed axis stays; the others pass.
pub(super) fn gather(a: &mut Analysis<'_>, at: At<'_>) -> Verdict {
    let (data, indices) = (a.input(at, 0)?, a.input(at, 1)?);
    let axis = front(attributes::int(at.node, "axis").unwrap_or(0), data.len())?;
    a.symbols.freeze(&data[axis], &format!("{} indexes it", at.label()));
    a.set_output(at, 0, [&data[..axis], &indices, &data[axis + 1..]].concat())
}

/// `Expand`: repeats axes of length 1; the others pass, and a constant shape follows a cut.
pub(super) fn expand(a: &mut Analysis<'_>, at: At<'_>) -> Verdict {
    let input = a.input(at, 0)?;
    let shape = a.constant(at, 1)?.ok_or("no shape")?;
    let measured = a.measured_output(at, 0)?;
    let reason = format!("{} repeats it", at.label());
    let own = |i: usize| (i + input.len()).checked_sub(measured.len()).map(|i| input[i].clone());
    let mut out = Vec::with_capacity(measured.len());
    for (i, &dim) in measured.iter().enumerate() {
        match own(i).filter(|axis| a.symbols.length(axis) != Some(1)) {
            Some(axis) => out.push(axis),
            None => out.push(a.symbols.fresh_frozen(dim, &reason)),
        }
    }
    let skipped = measured.len().saturating_sub(shape.len());
    let extent = |(i, &length): (usize, &i64)| match out.get(skipped + i) {
        Some(axis) if length > 1 => Extent::Length(axis.clone()),
        _ => Extent::Fixed(length),
    };
    let extents = shape.iter().enumerate().map(extent).collect();
    a.spell(at, Place::Input(1), extents);
    a.set_output(at, 0, out)
}
