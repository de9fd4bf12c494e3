//! The steps of the canary, one after another.

use std::time::Duration;

use sentei_api::{Phase, spec::Step, status::Verdict};

use super::{draft::Draft, promote, rollback, weight};
use crate::{hypothesis::Counter, judge::Judgement, reasons};

/// How long a shadow step waits for a metric that is not critical.
const SHADOW_PATIENCE: Duration = Duration::from_mins(1);

/// Does the present step, and goes on when it is done.
pub(super) fn climb(draft: &mut Draft<'_>) {
    if draft.plan.suspended {
        // The clocks of the step stand still with it.
        draft.status.step_since = Some(draft.now);
        draft.waiting_for = Some("spec.suspend to be false".to_owned());
        return;
    }
    let index = draft.status.current_step_index;
    let outcome = match draft.plan.steps.get(index as usize) {
        Some(Step::Shadow(shadow)) => shadow_step(draft, shadow.percent),
        Some(Step::SetWeight(candidate)) => weight::give(draft, *candidate),
        Some(Step::Pause(pause)) => match pause.duration {
            None => {
                draft.enter(Phase::Paused);
                draft.note(reasons::PAUSED, format!("step {index} waits for a person: promote, resume or abort"));
                return;
            }
            Some(duration) => timed_pause(draft, duration.get()),
        },
        None => match may_go_on(draft) {
            Ok(()) => {
                promote::begin(draft);
                return;
            }
            Err(missing) => Err(missing),
        },
    };
    match outcome {
        Ok(()) => complete_step(draft),
        Err(missing) => hold(draft, missing),
    }
}

/// Goes on to the next step.
pub(super) fn complete_step(draft: &mut Draft<'_>) {
    let done = draft.status.current_step_index;
    draft.enter_step(done + 1);
    let exposed = draft.status.weights.candidate > 0;
    let shadow_next = matches!(draft.plan.steps.get(done as usize + 1), Some(Step::Shadow(_)));
    let shadowing = !exposed && (draft.status.shadow_percent > 0 || shadow_next);
    draft.enter(if shadowing { Phase::Shadowing } else { Phase::Progressing });
    let of = draft.plan.steps.len();
    draft.note(reasons::STEP_COMPLETED, format!("step {done} of {of} is done"));
}

/// Stays, says why, and gives up after the deadline. The time of a pause itself is not waiting.
pub(super) fn hold(draft: &mut Draft<'_>, missing: String) {
    let pause = match draft.plan.steps.get(draft.status.current_step_index as usize) {
        Some(Step::Pause(pause)) => pause.duration.map_or(Duration::ZERO, sentei_api::quantity::Span::get),
        _ => Duration::ZERO,
    };
    let since = draft.status.step_since.max(draft.status.phase_since);
    let waited = draft.elapsed(since).saturating_sub(pause);
    let deadline = draft.plan.progress_deadline;
    if waited >= deadline {
        let message = format!("no progress for {} s, still waiting: {missing}", deadline.as_secs());
        rollback::give_up(draft, reasons::PROGRESS_DEADLINE_EXCEEDED, message);
    } else {
        draft.waiting_for = Some(missing);
    }
}

fn shadow_step(draft: &mut Draft<'_>, percent: u8) -> Result<(), String> {
    weight::may_be_exposed(draft)?;
    if draft.status.shadow_percent != percent {
        draft.status.shadow_percent = percent;
        if draft.status.weights.candidate == 0 {
            draft.status.analysis.candidate_epoch = draft.seen.candidate.ready_epoch();
        }
        draft.note(reasons::SHADOW_UPDATED, format!("{percent} % of live requests are copied to the candidate"));
        return Err("pairs of answers".to_owned());
    }
    let patient = draft.elapsed(draft.status.step_since) < SHADOW_PATIENCE;
    let unsettled = draft.judgements.iter().find(|judgement| {
        matches!(judgement.counter, Counter::Pairs | Counter::Agreement)
            && !is_settled(judgement)
            && (judgement.critical || patient)
    });
    unsettled.map_or(Ok(()), |judgement| Err(describe(judgement)))
}

fn timed_pause(draft: &mut Draft<'_>, duration: Duration) -> Result<(), String> {
    let elapsed = draft.elapsed(draft.status.step_since);
    if elapsed < duration {
        return Err(format!("the pause to end in {} s", duration.saturating_sub(elapsed).as_secs_f64().ceil()));
    }
    let verdict = may_go_on(draft);
    if let Err(missing) = &verdict {
        draft.note_once(reasons::ANALYSIS_INCONCLUSIVE, format!("the pause is over; waiting: {missing}"));
    }
    verdict
}

/// Whether the metrics and the counters let the rollout go on; the rule stands at [`step`](crate::step).
pub(super) fn may_go_on(draft: &Draft<'_>) -> Result<(), String> {
    if draft.status.weights.candidate > 0 && !draft.status.weights.verified {
        return Err(format!("the counters to show the weight of {} %", draft.status.weights.candidate));
    }
    if draft.seen.baseline.ready_epoch().is_none() {
        return Err(format!("the baseline's server {}", draft.seen.baseline.state.describe()));
    }
    let exposed = draft.status.weights.candidate > 0;
    let holding = draft.judgements.iter().find(|judgement| (exposed || !is_live(judgement)) && holds(judgement));
    holding.map_or(Ok(()), |judgement| Err(describe(judgement)))
}

/// Whether only live requests can settle it: without a weight none come, and waiting for them would never end.
fn is_live(judgement: &Judgement) -> bool {
    matches!(judgement.counter, Counter::Requests | Counter::Latency | Counter::Feedback)
}

/// A pass, or as many samples as the manifest asks for without a breach.
fn is_settled(judgement: &Judgement) -> bool {
    match judgement.result.verdict {
        Verdict::Pass => true,
        Verdict::Inconclusive => judgement.min_samples > 0 && judgement.result.samples >= judgement.min_samples,
        Verdict::NoData | Verdict::Breach => false,
    }
}

fn holds(judgement: &Judgement) -> bool {
    let has_begun = judgement.min_samples > 0 && judgement.result.samples > 0;
    !is_settled(judgement) && (judgement.critical || has_begun)
}

fn describe(judgement: &Judgement) -> String {
    let result = &judgement.result;
    let on = result.slice.as_ref().map_or_else(String::new, |slice| format!(" on {slice}"));
    let more = result.samples_needed.map_or_else(String::new, |more| format!(", about {more} more needed"));
    match result.verdict {
        Verdict::NoData => format!("{}{on} has no data", result.metric),
        _ => format!("{}{on} is not settled after {} samples{more}", result.metric, result.samples),
    }
}
