//! Normalisations: per channel they pass units through; across an axis they tie its units together.

use super::super::{
    analysis::{Analysis, At, Verdict, front},
    symbols::Axis,
};
use crate::attributes;

/// `BatchNormalization` while inferring: four parameters per channel.
pub(super) fn batch(a: &mut Analysis<'_>, at: At<'_>) -> Verdict {
    if attributes::flag(at.node, "training_mode") {
        return Err("it is in training mode".to_owned());
    }
    per_channel(a, at, 1..5)
}

/// `InstanceNormalization`: statistics over space, two parameters per channel.
pub(super) fn instance(a: &mut Analysis<'_>, at: At<'_>) -> Verdict {
    let spatial = a.input(at, 0)?.into_iter().skip(2);
    let reason = format!("{} normalises over it", at.label());
    spatial.for_each(|axis| a.symbols.freeze(&axis, &reason));
    per_channel(a, at, 1..3)
}

fn per_channel(a: &mut Analysis<'_>, at: At<'_>, parameters: std::ops::Range<usize>) -> Verdict {
    let input = a.input(at, 0)?;
    let channel = input.get(1).ok_or("an input without channels")?;
    for slot in parameters {
        let parameter = a.input(at, slot)?;
        let [parameter] = parameter.as_slice() else { return Err("a parameter that is no vector".to_owned()) };
        a.symbols.unify(parameter, channel, &format!("{} has unequal channels", at.label()));
    }
    a.set_output(at, 0, input)
}

/// `LayerNormalization`, `RMSNormalization`: all axes from `axis` on are normalised together.
pub(super) fn layer(a: &mut Analysis<'_>, at: At<'_>) -> Verdict {
    let input = a.input(at, 0)?;
    let from = front(attributes::int(at.node, "axis").unwrap_or(-1), input.len())?;
    let reason = format!("{} normalises across it", at.label());
    freeze_all(a, &input[from..], &reason);
    for slot in (1..3).filter(|&slot| at.has_input(slot)) {
        a.freeze(&at.node.input[slot], &reason);
    }
    a.set_output(at, 0, input)
}

/// `Softmax` and its kin: one axis, or before operator set 13 all from `axis` on.
pub(super) fn softmax(a: &mut Analysis<'_>, at: At<'_>) -> Verdict {
    let input = a.input(at, 0)?;
    let flat = a.opset < 13;
    let axis = attributes::int(at.node, "axis").unwrap_or(if flat { 1 } else { -1 });
    let from = front(axis, input.len())?;
    let to = if flat { input.len() } else { from + 1 };
    freeze_all(a, &input[from..to], &format!("{} normalises across it", at.label()));
    a.set_output(at, 0, input)
}

fn freeze_all(a: &mut Analysis<'_>, axes: &[Axis], reason: &str) {
    for axis in axes {
        a.symbols.freeze(axis, reason);
    }
}
