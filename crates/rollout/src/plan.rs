//! The spec, parsed once: what [`step`](crate::step) needs, in the form it needs it.

use std::time::Duration;

use sentei_api::{
    CompressedModelSpec,
    quantity::Span,
    spec::{ApprovalMode, Step},
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::hypothesis::{self, Hypothesis};

/// A checked spec.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub(crate) manual_approval: bool,
    pub(crate) suspended: bool,
    pub(crate) steps: Vec<Step>,
    pub(crate) interval: Duration,
    pub(crate) hypotheses: Vec<Hypothesis>,
    pub(crate) consecutive_error_limit: u32,
    pub(crate) progress_deadline: Duration,
    pub(crate) rollback_window: Duration,
    pub(crate) compression_key: String,
    pub(crate) rollout_key: String,
}

/// What is wrong with a spec: the field, what was found, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct PlanError {
    /// Path of the field in the manifest, such as `spec.rollout.analysis.metrics[2].maxRegression`.
    pub field: String,
    /// What was found, what was expected, what to do.
    pub problem: String,
}

impl Plan {
    /// Reads what a rollout needs from a spec.
    ///
    /// # Errors
    /// Every contradiction found, not only the first.
    pub fn parse(spec: &CompressedModelSpec) -> Result<Self, Vec<PlanError>> {
        let rollout = &spec.rollout;
        let mut errors = Vec::new();
        for (index, step) in rollout.canary.steps.iter().enumerate() {
            if let Err(problem) = check_step(*step) {
                errors.push(PlanError { field: format!("spec.rollout.canary.steps[{index}]"), problem });
            }
        }
        let alpha = rollout.analysis.false_rollback_rate;
        if !(alpha > 0.0 && alpha < 1.0) {
            let problem = format!("{alpha} is not a chance between 0 and 1; write one such as 0.01");
            errors.push(PlanError { field: "spec.rollout.analysis.falseRollbackRate".to_owned(), problem });
        }
        let hypotheses = hypothesis::parse(&rollout.analysis.metrics, alpha).unwrap_or_else(|found| {
            errors.extend(found);
            Vec::new()
        });
        if !errors.is_empty() {
            return Err(errors);
        }
        let compression = (&spec.source, &spec.data, &spec.task, &spec.compression, &spec.gates);
        Ok(Self {
            manual_approval: spec.approval.mode == ApprovalMode::Manual,
            suspended: spec.suspend,
            steps: rollout.canary.steps.clone(),
            interval: at_least_a_millisecond(rollout.analysis.interval),
            hypotheses,
            consecutive_error_limit: rollout.analysis.consecutive_error_limit,
            progress_deadline: Duration::from_secs(rollout.progress_deadline_seconds.into()),
            rollback_window: rollout.rollback_window.get(),
            compression_key: key(&compression),
            rollout_key: key(&(&spec.approval, &spec.serving, rollout)),
        })
    }

    /// 16 hexadecimal digits that change when the spec asks for another compression. Results of a run are kept under
    /// it, so that a change of the rollout alone does not prune the model again.
    #[must_use]
    pub fn compression_key(&self) -> &str {
        &self.compression_key
    }

    /// Time between two looks.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// The queries of the watched metrics, with the name to report each result under.
    pub fn queries(&self) -> impl Iterator<Item = (&str, &sentei_api::spec::rollout::Prometheus)> {
        self.hypotheses.iter().filter_map(|hypothesis| Some((hypothesis.metric.as_str(), hypothesis.query.as_ref()?)))
    }

    /// Names of the slices that are watched: those the servers have to count one by one.
    #[must_use]
    pub fn slices(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.hypotheses.iter().filter_map(|hypothesis| hypothesis.slice.as_deref()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

fn check_step(step: Step) -> Result<(), String> {
    match step {
        Step::SetWeight(weight) if weight > 100 => {
            Err(format!("setWeight is {weight}; it is a share in percent, at most 100"))
        }
        Step::Shadow(shadow) if shadow.percent > 100 => {
            Err(format!("shadow.percent is {}; it is a share in percent, at most 100", shadow.percent))
        }
        _ => Ok(()),
    }
}

/// An interval of 0 would make the hands spin.
fn at_least_a_millisecond(span: Span) -> Duration {
    span.get().max(Duration::from_millis(1))
}

/// A short digest of a part of the spec. Serialising plain data into memory cannot fail; if it ever did, the empty key
/// would only mean a rollout that does not notice a change.
fn key(part: &impl Serialize) -> String {
    let text = serde_json::to_vec(part).unwrap_or_default();
    hex::encode(&Sha256::digest(text)[..8])
}
