//! All traffic to the candidate; the baseline stays warm until the window is over.

use sentei_api::{Phase, status::Verdict};

use super::{climb, draft::Draft, weight};
use crate::reasons;

/// Gives the candidate all traffic. Nothing is copied or overwritten: a pointer moves.
pub(super) fn begin(draft: &mut Draft<'_>) {
    match weight::give(draft, 100) {
        Ok(()) => {
            draft.status.shadow_percent = 0;
            draft.enter(Phase::Promoting);
            draft.note(reasons::PROMOTING, "the candidate takes all traffic".to_owned());
        }
        Err(missing) => climb::hold(draft, missing),
    }
}

/// Waits until the counters show it.
pub(super) fn promoting(draft: &mut Draft<'_>) {
    if draft.status.weights.verified {
        draft.enter(Phase::Watching);
        let window = draft.plan.rollback_window.as_secs();
        draft.note(reasons::PROMOTED, format!("the candidate has all traffic; the baseline stays warm for {window} s"));
    } else {
        climb::hold(draft, "the counters to show that the candidate has all traffic".to_owned());
    }
}

/// Waits until the window is over. It does not end without data on a critical metric: nobody would have watched.
pub(super) fn watching(draft: &mut Draft<'_>) {
    if draft.plan.suspended {
        draft.waiting_for = Some("spec.suspend to be false".to_owned());
        return;
    }
    let window = draft.plan.rollback_window;
    let elapsed = draft.elapsed(draft.status.phase_since);
    if elapsed < window {
        draft.waiting_for =
            Some(format!("the rollback window to end in {} s", window.saturating_sub(elapsed).as_secs()));
        return;
    }
    let silent =
        draft.judgements.iter().find(|judgement| judgement.critical && judgement.result.verdict == Verdict::NoData);
    if let Some(judgement) = silent {
        draft.waiting_for = Some(format!("{} has no data", judgement.result.metric));
        return;
    }
    draft.enter(Phase::Succeeded);
    draft.note(reasons::SUCCEEDED, "the rollback window passed without a breach".to_owned());
}
