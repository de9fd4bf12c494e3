//! What must hold between fields. Each rule stands here once, in Rust; where the API server can see the fields it also
//! stands as CEL, and a test holds the two against each other.
//!
//! Bounds (`thresholdRange`, `maxRegression`) have no CEL: Kubernetes has no type for "0.01 or 10% or 20ms", so their
//! schema is open and CEL cannot look inside. The rules on them live in `bounds`, in Rust alone; the controller runs
//! them too, and says so in the object's status.

mod bounds;
mod compression;
mod data;
mod gates;
mod rollout;

use crate::{
    finding::{brief, parent},
    spec::CompressedModelSpec,
};

/// One thing that must hold.
#[derive(Debug)]
pub struct Rule {
    /// What must hold, in words, the same from `lint` and from the API server.
    pub message: &'static str,
    /// The same in CEL, where CEL can see the fields.
    pub cel: Option<&'static str>,
    /// Fields it reads besides those at and below the path it is reported at.
    reads: &'static [&'static str],
}

impl Rule {
    const fn new(message: &'static str, cel: Option<&'static str>) -> Self {
        Self { message, cel, reads: &[] }
    }

    const fn reading(self, reads: &'static [&'static str]) -> Self {
        Self { reads, ..self }
    }

    /// Expression and message, for the schema.
    pub(crate) fn for_schema(&self) -> (&'static str, &'static str) {
        (self.cel.unwrap_or("true"), self.message)
    }
}

/// A rule that does not hold.
#[derive(Debug)]
pub struct Violation {
    /// Which.
    pub rule: &'static Rule,
    /// The field, such as `spec.gates[1].slice`.
    pub path: String,
    /// What stands there.
    pub found: String,
    /// What to do.
    pub remedy: String,
    /// The object whose fields it compares.
    scope: String,
}

impl Violation {
    fn new(rule: &'static Rule, path: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        let path = path.into();
        Self { rule, scope: path.clone(), path, found: found.into(), remedy: remedy.into() }
    }

    /// Says that the rule compares fields of this object, not only the one it is reported at.
    fn comparing(self, scope: &str) -> Self {
        Self { scope: scope.to_owned(), ..self }
    }

    /// Whether a fault at this path could be why the rule does not hold.
    pub(crate) fn reads(&self, path: &str) -> bool {
        let at = |above: &str| within(path, above);
        at(&self.scope) || within(&self.path, path) || self.rule.reads.iter().copied().any(at)
    }
}

/// One line for a status: `spec.gates[1].slice: …; expected … (…)`.
impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}; expected {}", self.path, self.found, self.rule.message)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, " ({})", self.remedy) }
    }
}

/// Whether one path is at or below another.
fn within(path: &str, above: &str) -> bool {
    std::iter::successors(Some(path), |path| parent(path)).any(|path| path == above)
}

/// `metadata.name`.
pub(crate) static NAME_LENGTH: Rule =
    Rule::new("a name of at most 63 characters, to fit in a label", Some("size(self.metadata.name) <= 63"));

/// Every rule.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    static OF_THE_OBJECT: &[&Rule] = &[&NAME_LENGTH];
    [OF_THE_OBJECT, data::ALL, gates::ALL, compression::ALL, rollout::ALL, bounds::ALL].into_iter().flatten().copied()
}

/// Every rule that does not hold, in the order of the fields.
#[must_use]
pub fn violations(name: &str, spec: &CompressedModelSpec) -> Vec<Violation> {
    let too_long = name.chars().count() > 63;
    too_long
        .then(|| Violation::new(&NAME_LENGTH, "metadata.name", brief(name), "choose a shorter name"))
        .into_iter()
        .chain(data::violations(spec))
        .chain(compression::violations(spec))
        .chain(gates::violations(spec))
        .chain(rollout::violations(&spec.rollout, &spec.data.slices))
        .collect()
}

/// Rules the schema refers to where a type is declared.
pub(crate) mod in_schema {
    pub(crate) use super::{
        NAME_LENGTH,
        compression::{MACS_NEED_PRUNE, QUANTIZE_LAST, SIZE_NEEDS_PRUNE},
        data::{CHANNELS, CLASSES, MEAN_AND_STD, SELECTOR_LISTS, SLICE_NAME_FREE, STD_NOT_ZERO, URI_SCHEME},
        gates::{COST_HAS_NO_SLICE, GATE_SLICE_KNOWN, METRIC_FITS_TASK, SOMETHING_STOPS},
        rollout::{
            INTERVAL, METRIC_KNOWN, METRIC_SLICE_KNOWN, PROMETHEUS_SOURCE, SOURCE_FITS, STEPS_ASCEND, STEPS_EXPOSE,
        },
    };
}
