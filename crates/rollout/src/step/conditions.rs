//! The conditions, as `kubectl wait` and dashboards read them (kstatus: `Ready`, `Reconciling`, `Stalled`).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use sentei_api::Phase;

use super::draft::Draft;
use crate::{observation::ServerState, reasons};

/// Traffic went back to the baseline.
pub(super) const ROLLED_BACK: &str = "RolledBack";

/// A condition's status.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Truth {
    True,
    False,
    Unknown,
}

impl Truth {
    const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(is: bool) -> Self {
        if is { Self::True } else { Self::False }
    }
}

/// Sets one condition; its transition time moves only when its status does.
pub(super) fn set(draft: &mut Draft<'_>, kind: &str, truth: Truth, reason: &str, message: String) {
    let generation = draft.status.observed_generation;
    let found = draft.status.conditions.iter_mut().find(|condition| condition.type_ == kind);
    match found {
        Some(condition) => {
            if condition.status != truth.as_str() {
                truth.as_str().clone_into(&mut condition.status);
                condition.last_transition_time = Time(draft.now);
            }
            reason.clone_into(&mut condition.reason);
            condition.message = message;
            condition.observed_generation = generation;
        }
        None => draft.status.conditions.push(Condition {
            type_: kind.to_owned(),
            status: truth.as_str().to_owned(),
            reason: reason.to_owned(),
            message,
            last_transition_time: Time(draft.now),
            observed_generation: generation,
        }),
    }
}

/// Turns `RolledBack` true and keeps the cause that the rollback began with, unless it could not be verified.
pub(super) fn confirm_rolled_back(draft: &mut Draft<'_>, reason: &'static str, message: &str) {
    let cause = draft.status.conditions.iter().find(|condition| condition.type_ == ROLLED_BACK);
    let (cause, why) =
        cause.map_or_else(Default::default, |condition| (condition.reason.clone(), condition.message.clone()));
    let cause = if reason == reasons::ROLLBACK_UNVERIFIED { reason.to_owned() } else { cause };
    set(draft, ROLLED_BACK, Truth::True, &cause, format!("{why}; {message}"));
}

/// Brings every condition up to date with the phase.
pub(super) fn update(draft: &mut Draft<'_>) {
    let phase = draft.status.phase;
    let (reason, message) = summary(draft);
    let serving = matches!(phase, Phase::Watching | Phase::Succeeded);
    let stalled = matches!(phase, Phase::Failed | Phase::RolledBack);
    set(draft, "Ready", serving.into(), reason, message.clone());
    set(draft, "Reconciling", (!serving && !stalled).into(), reason, message.clone());
    set(draft, "Stalled", stalled.into(), reason, message);
    compressed(draft);
    approved(draft);
    let reason = if serving { reasons::PROMOTED } else { reasons::PROGRESSING };
    set(draft, "Promoted", serving.into(), reason, String::new());
    if !matches!(phase, Phase::RollingBack | Phase::RolledBack) {
        set(draft, ROLLED_BACK, Truth::False, reasons::PROGRESSING, String::new());
    }
    baseline(draft);
}

/// The reason and the sentence of the whole.
fn summary(draft: &Draft<'_>) -> (&'static str, String) {
    let phase = draft.status.phase;
    let last = draft.status.decisions.last().map_or_else(String::new, |decision| decision.message.clone());
    let waiting = draft.waiting_for.as_ref().map_or(last, |missing| format!("{phase}: waiting for {missing}"));
    let reason = match phase {
        Phase::Succeeded => reasons::SUCCEEDED,
        Phase::Watching => reasons::PROMOTED,
        Phase::RolledBack => reasons::ROLLBACK_COMPLETED,
        Phase::RollingBack => reasons::ROLLBACK_STARTED,
        Phase::Failed => reasons::SETTLED,
        Phase::Paused => reasons::PAUSED,
        Phase::AwaitingApproval => reasons::APPROVAL_REQUIRED,
        _ if draft.plan.suspended => reasons::SUSPENDED,
        _ => reasons::PROGRESSING,
    };
    (reason, waiting)
}

fn compressed(draft: &mut Draft<'_>) {
    let count = draft.status.candidates.len();
    let (truth, reason) = if count > 0 {
        (Truth::True, reasons::COMPRESSED)
    } else if draft.status.phase == Phase::Failed {
        (Truth::False, reasons::COMPRESSION_FAILED)
    } else {
        (Truth::Unknown, reasons::PROGRESSING)
    };
    set(draft, "Compressed", truth, reason, format!("{count} candidates"));
}

fn approved(draft: &mut Draft<'_>) {
    let selected = draft.status.selected.is_some();
    let (truth, reason) = match (selected, draft.plan.manual_approval) {
        (true, true) => (Truth::True, reasons::CANDIDATE_APPROVED),
        (true, false) => (Truth::True, reasons::NOT_REQUIRED),
        (false, true) => (Truth::False, reasons::APPROVAL_REQUIRED),
        (false, false) => (Truth::Unknown, reasons::PROGRESSING),
    };
    let message = draft.status.selected.as_ref().map_or_else(String::new, ToString::to_string);
    set(draft, "Approved", truth, reason, message);
}

fn baseline(draft: &mut Draft<'_>) {
    let state = &draft.seen.baseline.state;
    let (truth, reason) = match (draft.status.phase, state) {
        (_, ServerState::Ready { .. }) => (Truth::True, reasons::BASELINE_READY),
        (Phase::Succeeded, _) => (Truth::Unknown, reasons::BASELINE_RETIRED),
        (_, ServerState::Absent | ServerState::Starting) => (Truth::Unknown, reasons::PROGRESSING),
        _ => (Truth::False, reasons::BASELINE_DEGRADED),
    };
    let message = format!("the baseline's server {}", state.describe());
    let was_healthy = draft
        .status
        .conditions
        .iter()
        .any(|condition| condition.type_ == "BaselineHealthy" && condition.status == "True");
    if was_healthy && truth == Truth::False {
        draft.warn(reasons::BASELINE_DEGRADED, message.clone());
    }
    set(draft, "BaselineHealthy", truth, reason, message);
}
