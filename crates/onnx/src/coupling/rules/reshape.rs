//! Operators that read the same elements under other axes.

use super::super::{
    Extent, Place,
    analysis::{Analysis, At, Verdict, front},
    symbols::{Axis, Segment},
};
use crate::{Dim, attributes};

/// `Reshape`: where the shape is a constant, its numbers follow a cut.
pub(super) fn reshape(a: &mut Analysis<'_>, at: At<'_>) -> Verdict {
    let input = a.input(at, 0)?;
    let measured = a.measured_output(at, 0)?;
    let target = a.constant(at, 1);
    if attributes::flag(at.node, "allowzero") {
        return Err("a zero in its shape means zero".to_owned());
    }
    let copied = target.iter().flatten().flatten().take_while(|&&length| length == 0).count().min(input.len());
    let mut out = input[..copied].to_vec();
    out.extend(regroup(a, at, &input[copied..], &measured[copied.min(measured.len())..]));
    match target {
        Ok(Some(target)) if target.len() == out.len() => {
            let extent = |(&length, axis): (&i64, &Axis)| {
                if length > 0 { Extent::Length(axis.clone()) } else { Extent::Fixed(length) }
            };
            let extents = target.iter().zip(&out).map(extent).collect();
            a.spell(at, Place::Input(1), extents);
        }
        _ => out.iter().for_each(|axis| a.symbols.freeze(axis, &format!("{} computes its shape", at.label()))),
    }
    a.set_output(at, 0, out)
}

/// `Flatten`: all axes before `axis`, and all from it on, become one each.
pub(super) fn flatten(a: &mut Analysis<'_>, at: At<'_>) -> Verdict {
    let input = a.input(at, 0)?;
    let axis = attributes::int(at.node, "axis").unwrap_or(1);
    let axis = if axis == input.len() as i64 { input.len() } else { front(axis, input.len())? };
    let measured = a.measured_output(at, 0)?;
    let [rows, columns] = measured.as_slice() else { return Err("an output that is no matrix".to_owned()) };
    let sides = [(&input[..axis], *rows), (&input[axis..], *columns)];
    let out = sides.map(|(axes, dim)| regroup(a, at, axes, &[dim]));
    a.set_output(at, 0, out.concat())
}

/// `Squeeze`: axes of length 1 go.
pub(super) fn squeeze(a: &mut Analysis<'_>, at: At<'_>) -> Verdict {
    let input = a.input(at, 0)?;
    let gone: Vec<usize> = match a.list(at, "axes", 1)? {
        Some(axes) => axes.into_iter().map(|axis| front(axis, input.len())).collect::<Result<_, _>>()?,
        None => (0..input.len()).filter(|&i| a.symbols.length(&input[i]) == Some(1)).collect(),
    };
    let left = input.into_iter().enumerate().filter(|(i, _)| !gone.contains(i)).map(|(_, axis)| axis).collect();
    a.set_output(at, 0, left)
}

/// `Unsqueeze`: axes of length 1 come.
pub(super) fn unsqueeze(a: &mut Analysis<'_>, at: At<'_>) -> Verdict {
    let input = a.input(at, 0)?;
    let axes = a.list(at, "axes", 1)?.ok_or("no axes")?;
    let rank = input.len() + axes.len();
    let new = axes.into_iter().map(|axis| front(axis, rank)).collect::<Result<Vec<_>, _>>()?;
    let mut old = input.into_iter();
    let axis = |i: usize| if new.contains(&i) { Some(Axis::one()) } else { old.next() };
    let out = (0..rank).map_while(axis).collect();
    a.set_output(at, 0, out)
}

/// The axes of lengths `to` over the elements of `from`. Runs of axes with equal products are matched from the last and
/// then from the first; what is left between cannot be matched and is frozen.
fn regroup(a: &mut Analysis<'_>, at: At<'_>, from: &[Axis], to: &[Dim]) -> Vec<Axis> {
    let reason = format!("{} mixes it with other axes", at.label());
    let lengths: Vec<_> = from.iter().map(|axis| a.symbols.length(axis)).collect();
    let sizes: Vec<_> = to.iter().map(|dim| dim.size()).collect();
    let mut out: Vec<Option<Axis>> = vec![None; to.len()];
    let (mut from_range, mut to_range) = (0..from.len(), 0..to.len());
    for back in [true, false] {
        while let Some((f, t)) = equal_run(&lengths[from_range.clone()], &sizes[to_range.clone()], back) {
            let (fs, ts) = if back {
                (from_range.end - f..from_range.end, to_range.end - t..to_range.end)
            } else {
                (from_range.start..from_range.start + f, to_range.start..to_range.start + t)
            };
            let made = run(a, &from[fs.clone()], &to[ts.clone()], &reason);
            out[ts.clone()].iter_mut().zip(made).for_each(|(out, made)| *out = Some(made));
            if back {
                (from_range.end, to_range.end) = (fs.start, ts.start);
            } else {
                (from_range.start, to_range.start) = (fs.end, ts.end);
            }
        }
    }
    let (left, open) = (&from[from_range], to_range);
    match left {
        // Whatever its length is, it is what remains on both sides.
        [axis] if open.len() == 1 => out[open.start] = Some(axis.clone()),
        _ => left.iter().for_each(|axis| a.symbols.freeze(axis, &reason)),
    }
    let fill = |(axis, &dim): (Option<Axis>, &Dim)| axis.unwrap_or_else(|| a.symbols.fresh_frozen(dim, &reason));
    out.into_iter().zip(to).map(fill).collect()
}

/// How many axes at the end (or the beginning) of both lists have the same product; the shortest run there is.
fn equal_run(from: &[Option<usize>], to: &[Option<usize>], back: bool) -> Option<(usize, usize)> {
    let pick = |list: &[Option<usize>], i: usize| if back { list[list.len() - 1 - i] } else { list[i] };
    let (mut f, mut t, mut left, mut right) = (0, 0, 1_usize, 1_usize);
    loop {
        if left == right && f + t > 0 {
            return Some((f, t));
        }
        let take_left = left < right || (left == right && f < from.len());
        if take_left && f < from.len() {
            left = left.checked_mul(pick(from, f)?)?;
            f += 1;
        } else if t < to.len() && (!take_left || left == right) {
            right = right.checked_mul(pick(to, t)?)?;
            t += 1;
        } else {
            return None;
        }
    }
}

/// Regroups a run whose product is the same on both sides.
fn run(a: &mut Analysis<'_>, from: &[Axis], to: &[Dim], reason: &str) -> Vec<Axis> {
    let long: Vec<&Axis> = from.iter().filter(|axis| a.symbols.length(axis) != Some(1)).collect();
    let targets: Vec<usize> = to.iter().filter_map(|dim| dim.size()).filter(|&size| size != 1).collect();
    let made = match (long.as_slice(), targets.as_slice()) {
        ([], _) => Some(Vec::new()),
        ([axis], [_]) => Some(vec![(*axis).clone()]),
        (_, [_]) => merge(a, &long).map(|axis| vec![axis]),
        _ => part(a, &long, &targets),
    };
    let made = made.unwrap_or_else(|| {
        for axis in long {
            a.symbols.freeze(axis, reason);
        }
        targets.iter().map(|&size| a.symbols.fresh_frozen(Dim::Static(size), reason)).collect()
    });
    let mut made = made.into_iter();
    let fill = |dim: &Dim| if *dim == Dim::Static(1) { Some(Axis::one()) } else { made.next() };
    to.iter().map_while(fill).collect()
}

/// Several axes as one; only the outermost may be a sum.
fn merge(a: &mut Analysis<'_>, axes: &[&Axis]) -> Option<Axis> {
    let (outer, rest) = axes.split_first()?;
    let mut inner = Segment::new();
    for axis in rest {
        let resolved = a.symbols.resolve(axis);
        let [segment] = resolved.0.as_slice() else { return None };
        inner.extend(segment);
    }
    let outer = a.symbols.resolve(outer);
    Some(Axis(outer.0.into_iter().map(|segment| [segment, inner.clone()].concat()).collect()))
}

/// Axes cut into `sizes`, refining symbols where a size ends inside one.
fn part(a: &mut Analysis<'_>, axes: &[&Axis], sizes: &[usize]) -> Option<Vec<Axis>> {
    let whole = merge(a, axes)?;
    'again: loop {
        let resolved = a.symbols.resolve(&whole);
        let [factors] = resolved.0.as_slice() else { return None };
        let mut factors = factors.iter().copied();
        let mut out = Vec::with_capacity(sizes.len());
        for &size in sizes {
            let (mut segment, mut filled) = (Segment::new(), 1);
            while filled < size {
                let symbol = factors.next()?;
                let length = a.symbols.symbol_length(symbol)?;
                if size % (filled * length) == 0 {
                    segment.push(symbol);
                    filled *= length;
                    continue;
                }
                let missing = size / filled;
                if length % missing != 0 {
                    return None;
                }
                a.symbols.split_product(symbol, missing);
                continue 'again;
            }
            out.push(Axis(vec![segment]));
        }
        return Some(out);
    }
}
