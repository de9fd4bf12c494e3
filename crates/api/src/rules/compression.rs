//! Rules on objective and stages.

use super::{Rule, Violation};
use crate::spec::{CompressedModelSpec, Stage};

/// What eight bits for thirty-two can save at most.
const INT8_SAVES: f64 = 4.0;

pub(crate) static QUANTIZE_LAST: Rule = Rule::new(
    "at most one quantize, and nothing after it",
    Some(
        "self.stages.filter(s, has(s.quantize)).size() == 0 \
         || (self.stages.filter(s, has(s.quantize)).size() == 1 && has(self.stages[size(self.stages) - 1].quantize))",
    ),
);
pub(crate) static SIZE_NEEDS_PRUNE: Rule = Rule::new(
    "a size objective of at most 4x without a prune stage: int8 alone saves no more",
    Some(
        "!has(self.objective.size) || self.stages.exists(s, has(s.prune)) \
         || double(self.objective.size.replace('x', '')) <= 4.0",
    ),
)
.reading(&["spec.compression.stages"]);
pub(crate) static MACS_NEED_PRUNE: Rule = Rule::new(
    "a prune stage for an objective in macs: no other stage removes any",
    Some("!has(self.objective.macs) || self.stages.exists(s, has(s.prune))"),
)
.reading(&["spec.compression.stages"]);

pub(super) static ALL: &[&Rule] = &[&QUANTIZE_LAST, &SIZE_NEEDS_PRUNE, &MACS_NEED_PRUNE];

pub(super) fn violations(spec: &CompressedModelSpec) -> Vec<Violation> {
    let compression = &spec.compression;
    let mut found = Vec::new();
    let quantizes = |stage: &Stage| matches!(stage, Stage::Quantize(_));
    let first = compression.stages.iter().position(quantizes);
    if let Some(first) = first.filter(|first| first + 1 < compression.stages.len()) {
        let next = if quantizes(&compression.stages[first + 1]) { "quantize" } else { "prune" };
        let at = format!("spec.compression.stages[{}]", first + 1);
        let remedy = "pruning re-solves weights in full precision: move quantize to the end";
        found.push(Violation::new(&QUANTIZE_LAST, at, format!("{next} after quantize"), remedy));
    }
    let prunes = compression.stages.iter().any(|stage| matches!(stage, Stage::Prune(_)));
    if let Some(size) = compression.objective.size.filter(|size| !prunes && size.get() > INT8_SAVES) {
        let remedy = "add a prune stage, or ask for 4x or less";
        found.push(Violation::new(&SIZE_NEEDS_PRUNE, "spec.compression.objective.size", format!("{size}"), remedy));
    }
    if let Some(macs) = compression.objective.macs.filter(|_| !prunes) {
        let remedy = "add a prune stage, or leave macs out";
        found.push(Violation::new(&MACS_NEED_PRUNE, "spec.compression.objective.macs", format!("{macs}"), remedy));
    }
    found
}
