//! Operators that take an axis away.

use super::super::{
    analysis::{Analysis, At, Verdict, front},
    symbols::Axis,
};
use crate::attributes;

/// `Reduce*`: the reduced axes end here, the others pass.
pub(super) fn reduce(a: &mut Analysis<'_>, at: At<'_>) -> Verdict {
    let input = a.input(at, 0)?;
    let axes = match a.list(at, "axes", 1)?.filter(|axes| !axes.is_empty()) {
        Some(axes) => axes.into_iter().map(|axis| front(axis, input.len())).collect::<Result<Vec<_>, _>>()?,
        None if attributes::flag(at.node, "noop_with_empty_axes") => Vec::new(),
        None => (0..input.len()).collect(),
    };
    take_away(a, at, input, &axes)
}

/// `ArgMax`, `ArgMin`: the position along one axis.
pub(super) fn arg(a: &mut Analysis<'_>, at: At<'_>) -> Verdict {
    let input = a.input(at, 0)?;
    let axis = front(attributes::int(at.node, "axis").unwrap_or(0), input.len())?;
    take_away(a, at, input, &[axis])
}

fn take_away(a: &mut Analysis<'_>, at: At<'_>, input: Vec<Axis>, axes: &[usize]) -> Verdict {
    let keep = attributes::int(at.node, "keepdims").unwrap_or(1) != 0;
    let mut out = Vec::with_capacity(input.len());
    for (i, axis) in input.into_iter().enumerate() {
        if !axes.contains(&i) {
            out.push(axis);
            continue;
        }
        a.symbols.freeze(&axis, &format!("{} reduces over it", at.label()));
        if keep {
            out.push(Axis::one());
        }
    }
    a.set_output(at, 0, out)
}

/// `Shape`: reads lengths. Those picked by a constant `Gather` alone, else all, must stay, since what is computed from
/// them is not followed.
pub(super) fn shape(a: &mut Analysis<'_>, at: At<'_>) -> Verdict {
    let input = a.input(at, 0)?;
    let clip = |end: i64| (if end < 0 { end + input.len() as i64 } else { end }).clamp(0, input.len() as i64) as usize;
    let start = clip(attributes::int(at.node, "start").unwrap_or(0));
    let end = clip(attributes::int(at.node, "end").unwrap_or(i64::MAX));
    let seen = input.get(start..end).unwrap_or_default();
    let reason = format!("{} reads its length", at.label());
    for (i, axis) in seen.iter().enumerate() {
        if picks(a, at, seen.len()).is_none_or(|picked| picked.contains(&i)) {
            a.symbols.freeze(axis, &reason);
        }
    }
    let dims = a.measured_output(at, 0)?;
    let out = dims.into_iter().map(|dim| a.symbols.fresh_frozen(dim, "a list of lengths")).collect();
    a.set_output(at, 0, out)
}

/// The entries that the readers of a `Shape` pick, when all are constant `Gather`s.
fn picks(a: &Analysis<'_>, at: At<'_>, rank: usize) -> Option<Vec<usize>> {
    let output = at.node.output.first()?;
    if a.graph.is_output(output) {
        return None;
    }
    let mut picked = Vec::new();
    for reader in a.graph.readers(output) {
        let node = &a.graph.nodes()[reader.node];
        let indices = (node.op_type() == "Gather" && reader.slot == Some(0))
            .then(|| a.constant(At { node, index: reader.node }, 1).ok().flatten())??;
        for index in indices {
            picked.push(front(index, rank).ok()?);
        }
    }
    Some(picked)
}
