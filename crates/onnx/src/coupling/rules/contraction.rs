//! Layers: one symbol ends at the columns of a weight, another begins at its rows.

use super::super::{
    Extent, Place, Role,
    analysis::{Analysis, At, Verdict},
    symbols::Axis,
};
use super::elementwise::broadcast;
use crate::{Dim, attributes};

/// `Conv` with one group, or depthwise with any multiplier: weight `[out, in, kernel..]` or `[in · m, 1, kernel..]`.
pub(super) fn conv(a: &mut Analysis<'_>, at: At<'_>) -> Verdict {
    let (input, weight) = (a.input(at, 0)?, a.input(at, 1)?);
    if a.graph.initializer(&at.node.input[1]).is_none() {
        return Err("its weight is computed while running".to_owned());
    }
    if input.len() < 3 || weight.len() != input.len() {
        return Err(format!("an input of {} axes with a weight of {}", input.len(), weight.len()));
    }
    let group = attributes::int(at.node, "group").unwrap_or(1);
    let (channels, filters) = (a.symbols.length(&input[1]), a.symbols.length(&weight[0]));
    let mismatch = format!("{} has unequal channels", at.label());
    let one_filter_deep = a.symbols.length(&weight[1]) == Some(1);
    if group == 1 {
        a.symbols.unify(&weight[1], &input[1], &mismatch);
        a.set_role(&at.node.input[1], 1, Role::Consumer);
        a.set_role(&at.node.input[1], 0, Role::Producer);
    } else if one_filter_deep && channels == usize::try_from(group).ok() {
        let (Some(channels), Some(filters)) = (channels, filters) else { return Err("unknown channels".to_owned()) };
        if filters % channels != 0 {
            return Err(format!("{filters} filters over {channels} channels"));
        }
        let reason = format!("the several filters of {} on one channel", at.label());
        let several = a.symbols.fresh_frozen(Dim::Static(filters / channels), &reason);
        let each = |segment: &Vec<usize>| segment.iter().chain(&several.0[0]).copied().collect();
        let out = Axis(input[1].0.iter().map(each).collect());
        a.symbols.unify(&weight[0], &out, &mismatch);
        a.spell(at, Place::Int("group"), vec![Extent::Length(input[1].clone())]);
    } else {
        return Err(format!("{group} groups of channels"));
    }
    if at.has_input(2) {
        let bias = a.input(at, 2)?;
        let [bias] = bias.as_slice() else { return Err("a bias that is no vector".to_owned()) };
        a.symbols.unify(bias, &weight[0], &mismatch);
        if group == 1 {
            a.set_role(&at.node.input[2], 0, Role::Producer);
        }
    }
    let spatial = super::window::slide(a, at, &input)?;
    a.set_output(at, 0, [vec![input[0].clone(), weight[0].clone()], spatial].concat())
}

/// `Gemm`: `A · B + C` with either side stored transposed.
pub(super) fn gemm(a: &mut Analysis<'_>, at: At<'_>) -> Verdict {
    let (left, right) = (a.input(at, 0)?, a.input(at, 1)?);
    let ([l0, l1], [r0, r1]) = (left.as_slice(), right.as_slice()) else {
        return Err("operands that are no matrices".to_owned());
    };
    let (rows, inner) = if attributes::flag(at.node, "transA") { (l1, l0) } else { (l0, l1) };
    let transposed = attributes::flag(at.node, "transB");
    let (columns, right_inner) = if transposed { (r0, r1) } else { (r1, r0) };
    a.symbols.unify(inner, right_inner, &format!("{} has unequal inner axes", at.label()));
    contract(a, at, inner, (usize::from(transposed), usize::from(!transposed)));
    let mut out = vec![rows.clone(), columns.clone()];
    if at.has_input(2) {
        let bias = a.input(at, 2)?;
        out = broadcast(a, &[out, bias.clone()], &format!("{} has a bias of another length", at.label()));
        if bias.len() == 1 {
            a.set_role(&at.node.input[2], 0, Role::Producer);
        }
    }
    a.set_output(at, 0, out)
}

/// `MatMul` over matrices, or stacks of them on either side.
pub(super) fn matmul(a: &mut Analysis<'_>, at: At<'_>) -> Verdict {
    let (left, right) = (a.input(at, 0)?, a.input(at, 1)?);
    let ([batch @ .., rows, inner], [right_batch @ .., right_inner, columns]) = (left.as_slice(), right.as_slice())
    else {
        return Err("an operand that is a vector".to_owned());
    };
    a.symbols.unify(inner, right_inner, &format!("{} has unequal inner axes", at.label()));
    if !right_batch.is_empty() && a.graph.initializer(&at.node.input[1]).is_some() {
        a.freeze(&at.node.input[1], &format!("{} multiplies by a stack of constants", at.label()));
    }
    contract(a, at, inner, (right.len() - 2, right.len() - 1));
    let stacks = [batch.to_vec(), right_batch.to_vec()];
    let mut out = broadcast(a, &stacks, &format!("{} has unequal stacks", at.label()));
    out.extend([rows.clone(), columns.clone()]);
    a.set_output(at, 0, out)
}

/// What the contracted axis of `A · B` is to its operands; `axes` are the (inner, outer) axes of `B`.
fn contract(a: &mut Analysis<'_>, at: At<'_>, inner: &Axis, axes: (usize, usize)) {
    let constant = |slot: usize| a.graph.initializer(&at.node.input[slot]).is_some();
    match (constant(0), constant(1)) {
        (false, true) => {
            a.set_role(&at.node.input[1], axes.0, Role::Consumer);
            a.set_role(&at.node.input[1], axes.1, Role::Producer);
        }
        // Exact to cut, but no weight reads the units, so nothing could make up for one that goes.
        (false, false) => a.symbols.freeze(inner, &format!("{} contracts two activations", at.label())),
        (true, _) => {
            let reason = format!("{} has its constant on the left", at.label());
            a.freeze(&at.node.input[0], &reason);
            a.symbols.freeze(inner, &reason);
        }
    }
}
