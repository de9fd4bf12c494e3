//! Operators that treat every element alike: units pass through, and operands share them.

use super::super::{
    analysis::{Analysis, At, Verdict},
    symbols::Axis,
};

/// One operand with data; further inputs (the limits of `Clip`) are scalars.
pub(super) fn one(a: &mut Analysis<'_>, at: At<'_>) -> Verdict {
    let axes = a.input(at, 0)?;
    for slot in 1..at.node.input.len() {
        if at.has_input(slot) && !a.input(at, slot)?.is_empty() {
            let reason = format!("{} has an argument that is no scalar", at.label());
            a.freeze(&at.node.input[slot], &reason);
        }
    }
    a.set_output(at, 0, axes)
}

/// Operands that broadcast to one shape.
pub(super) fn many(a: &mut Analysis<'_>, at: At<'_>) -> Verdict {
    let operands = (0..at.node.input.len()).map(|slot| a.input(at, slot)).collect::<Result<Vec<_>, _>>()?;
    let out = broadcast(a, &operands, &format!("{} has operands of unequal lengths", at.label()));
    a.set_output(at, 0, out)
}

/// The axes of operands aligned at the last: those longer than 1 are the same.
pub(super) fn broadcast(a: &mut Analysis<'_>, operands: &[Vec<Axis>], reason: &str) -> Vec<Axis> {
    let rank = operands.iter().map(Vec::len).max().unwrap_or(0);
    let at_end = |operand: &Vec<Axis>, back: usize| operand.len().checked_sub(back).map(|i| operand[i].clone());
    let axis = |back: usize| {
        let long: Vec<Axis> = operands
            .iter()
            .filter_map(|operand| at_end(operand, back))
            .filter(|axis| a.symbols.length(axis) != Some(1))
            .collect();
        let Some((first, rest)) = long.split_first() else { return Axis::one() };
        for other in rest {
            a.symbols.unify(first, other, reason);
        }
        first.clone()
    };
    let mut out: Vec<_> = (1..=rank).map(axis).collect();
    out.reverse();
    out
}
