//! What people ask for, each once.

use sentei_api::{Phase, quantity::Digest, spec::Step};

use super::{climb, draft::Draft, prepare, promote, rollback, spec};
use crate::{observation::Verb, reasons};

/// Ids remembered in `status.answered`.
const MOST_ANSWERED: usize = 32;

/// Answers the first request that was not answered yet; whether there was one.
pub(super) fn answer(draft: &mut Draft<'_>) -> bool {
    let answered = &draft.status.answered;
    let Some(request) = draft.seen.requests.iter().find(|request| !answered.contains(&request.id)) else {
        return false;
    };
    let log = &mut draft.status.answered;
    log.push(request.id.clone());
    if log.len() > MOST_ANSWERED {
        log.drain(..log.len() - MOST_ANSWERED);
    }
    if let Err(refusal) = carry_out(draft, &request.verb) {
        let message = format!("`{}` is refused: {refusal}", request.verb.as_str());
        draft.warn(reasons::REQUEST_REFUSED, message);
    }
    true
}

fn carry_out(draft: &mut Draft<'_>, verb: &Verb) -> Result<(), String> {
    let phase = draft.status.phase;
    let climbing = matches!(phase, Phase::Shadowing | Phase::Progressing | Phase::Paused);
    match verb {
        Verb::Approve { digest } if phase == Phase::AwaitingApproval => approve(draft, digest),
        Verb::Reject if phase == Phase::AwaitingApproval => {
            rollback::fail(draft, reasons::CANDIDATE_REJECTED, "a person refused all candidates".to_owned());
            Ok(())
        }
        Verb::Promote { full: true } if climbing => {
            promote::begin(draft);
            Ok(())
        }
        Verb::Promote { full: false } if climbing && at_a_pause(draft) => {
            resume(draft, true);
            Ok(())
        }
        Verb::Pause if climbing && phase != Phase::Paused => {
            draft.enter(Phase::Paused);
            draft.note(reasons::PAUSED, "a person stopped the rollout at this step".to_owned());
            Ok(())
        }
        Verb::Resume if phase == Phase::Paused => {
            let indefinite = matches!(present_step(draft), Some(Step::Pause(pause)) if pause.duration.is_none());
            resume(draft, indefinite);
            Ok(())
        }
        Verb::Abort if !phase.is_final() && phase != Phase::RollingBack => {
            rollback::give_up(draft, reasons::ABORTED, "a person gave the rollout up".to_owned());
            Ok(())
        }
        Verb::Rollback if phase == Phase::Succeeded => {
            let message = "a person asked for the baseline, which is brought back first".to_owned();
            rollback::begin_after_success(draft, reasons::ROLLBACK_REQUESTED, message);
            Ok(())
        }
        Verb::Rollback if phase.is_exposed() || phase == Phase::Shadowing => {
            let message = "a person asked for the baseline".to_owned();
            rollback::begin(draft, reasons::ROLLBACK_REQUESTED, message, None);
            Ok(())
        }
        Verb::Retry if matches!(phase, Phase::RolledBack | Phase::Failed) => {
            spec::begin_again(draft);
            draft.note(reasons::RETRIED, "a person started the rollout over".to_owned());
            Ok(())
        }
        _ => Err(format!("the phase is {phase}")),
    }
}

fn approve(draft: &mut Draft<'_>, digest: &Digest) -> Result<(), String> {
    let Some(candidate) = draft.status.candidates.iter().find(|candidate| candidate.digest == *digest).cloned() else {
        return Err(format!("{} is not one of the candidates", digest.short()));
    };
    if !candidate.gates_passed {
        return Err(format!("{} has not passed every gate", digest.short()));
    }
    prepare::select(draft, &candidate);
    draft.note(reasons::CANDIDATE_APPROVED, format!("{}: {}", digest.short(), candidate.summary));
    Ok(())
}

fn present_step(draft: &Draft<'_>) -> Option<Step> {
    draft.plan.steps.get(draft.status.current_step_index as usize).copied()
}

fn at_a_pause(draft: &Draft<'_>) -> bool {
    draft.status.phase == Phase::Paused || matches!(present_step(draft), Some(Step::Pause(_)))
}

/// Goes on, past the present step when it was only there to wait.
fn resume(draft: &mut Draft<'_>, past_the_pause: bool) {
    let index = draft.status.current_step_index;
    let past = past_the_pause && matches!(present_step(draft), Some(Step::Pause(_)));
    if past {
        climb::complete_step(draft);
    } else {
        draft.enter_step(index);
        let shadowing = draft.status.weights.candidate == 0
            && (draft.status.shadow_percent > 0 || matches!(present_step(draft), Some(Step::Shadow(_))));
        draft.enter(if shadowing { Phase::Shadowing } else { Phase::Progressing });
    }
    draft.note(reasons::RESUMED, "a person let the rollout go on".to_owned());
}
