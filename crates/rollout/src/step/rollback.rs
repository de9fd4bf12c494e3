//! Back to the baseline.

use std::time::Duration;

use sentei_api::{Phase, status::Breach};

use super::{conditions, draft::Draft, weight};
use crate::reasons;

/// How long the counters may take to show that the candidate gets nothing any more.
const VERIFICATION_DEADLINE: Duration = Duration::from_mins(1);

/// Takes the candidate's traffic away, first of all; then says why.
pub(super) fn begin(draft: &mut Draft<'_>, cause: &'static str, message: String, breach: Option<Breach>) {
    let before = draft.status.weights.candidate;
    weight::set_weight_to_zero(draft);
    if breach.is_some() {
        draft.status.last_breach = breach;
    }
    draft.enter(Phase::RollingBack);
    conditions::set(draft, conditions::ROLLED_BACK, conditions::Truth::Unknown, cause, message.clone());
    draft.warn(cause, message);
    draft.warn(reasons::ROLLBACK_STARTED, format!("the candidate's weight goes from {before} % to 0 %"));
}

/// The same after the rollback window: the weight stays until the baseline, whose servers are stopped, is ready again.
pub(super) fn begin_after_success(draft: &mut Draft<'_>, cause: &'static str, message: String) {
    draft.enter(Phase::RollingBack);
    conditions::set(draft, conditions::ROLLED_BACK, conditions::Truth::Unknown, cause, message.clone());
    draft.warn(cause, message);
}

/// Ends a rollout that never had traffic.
pub(super) fn fail(draft: &mut Draft<'_>, cause: &'static str, message: String) {
    weight::set_weight_to_zero(draft);
    draft.enter(Phase::Failed);
    draft.warn(cause, message);
}

/// Ends a rollout for a reason other than a breach: a failure when it never had traffic, a rollback otherwise.
pub(super) fn give_up(draft: &mut Draft<'_>, cause: &'static str, message: String) {
    if draft.status.analysis.exposed_since.is_some() {
        begin(draft, cause, message, None);
    } else {
        fail(draft, cause, message);
    }
}

/// Waits until the counters show that the baseline has all traffic.
pub(super) fn rolling_back(draft: &mut Draft<'_>) {
    if draft.status.weights.candidate > 0 {
        if draft.seen.baseline.ready_epoch().is_some() {
            begin(draft, reasons::BASELINE_READY, "the baseline is ready again".to_owned(), None);
        } else {
            draft.waiting_for = Some(format!("the baseline's server {}", draft.seen.baseline.state.describe()));
        }
        return;
    }
    let configured = draft.seen.weight == Some(0);
    let never_exposed = draft.status.analysis.exposed_since.is_none();
    if configured && (never_exposed || draft.status.weights.verified) {
        draft.status.weights.verified = true;
        complete(draft, reasons::ROLLBACK_COMPLETED, "all traffic is on the baseline");
    } else if draft.elapsed(draft.status.phase_since) >= VERIFICATION_DEADLINE {
        let message = "the weight is 0 %, and no counters have shown it within 60 s; see whether there is any traffic";
        complete(draft, reasons::ROLLBACK_UNVERIFIED, message);
    } else {
        draft.waiting_for = Some("the counters to show that the candidate gets nothing any more".to_owned());
    }
}

fn complete(draft: &mut Draft<'_>, reason: &'static str, message: &str) {
    draft.enter(Phase::RolledBack);
    conditions::confirm_rolled_back(draft, reason, message);
    draft.warn(reason, message.to_owned());
}
