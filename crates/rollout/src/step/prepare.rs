//! Before any traffic: compress, evaluate, select.

use sentei_api::{Phase, evidence::Candidate, spec::Step, status::AnalysisMemory};

use super::{draft::Draft, rollback};
use crate::{Effect, observation::Compression, reasons};

pub(super) fn pending(draft: &mut Draft<'_>) {
    if draft.plan.suspended {
        draft.waiting_for = Some("spec.suspend to be false".to_owned());
        return;
    }
    draft.enter(Phase::Compressing);
    draft.note(reasons::COMPRESSION_STARTED, "the model is compressed on its data".to_owned());
}

pub(super) fn compressing(draft: &mut Draft<'_>) {
    match &draft.seen.compression {
        Compression::NotStarted if draft.plan.suspended => {
            draft.waiting_for = Some("spec.suspend to be false".to_owned());
        }
        Compression::NotStarted => {
            draft.ask(Effect::StartCompression { key: draft.plan.compression_key.clone() });
        }
        Compression::Running { stage } => draft.waiting_for = Some(stage.clone()),
        Compression::Done(candidates) => {
            draft.status.candidates.clone_from(candidates);
            draft.enter(Phase::Evaluating);
            draft.note(reasons::COMPRESSED, format!("{} candidates on the frontier", candidates.len()));
        }
        Compression::BaselineFailsGates(message) => {
            rollback::fail(draft, reasons::BASELINE_FAILS_GATES, message.clone());
        }
        Compression::Failed(message) => rollback::fail(draft, reasons::COMPRESSION_FAILED, message.clone()),
    }
}

/// Selects, or asks a person to.
pub(super) fn evaluating(draft: &mut Draft<'_>) {
    let passed = |candidate: &&Candidate| candidate.gates_passed;
    let candidates = &draft.status.candidates;
    let best = candidates
        .iter()
        .filter(passed)
        .find(|candidate| candidate.objective_met)
        .or_else(|| candidates.iter().find(passed))
        .cloned();
    let Some(best) = best else {
        let message = format!("none of {} candidates passed every gate; the baseline stays", candidates.len());
        rollback::fail(draft, reasons::NO_CANDIDATE, message);
        return;
    };
    if draft.plan.manual_approval {
        draft.enter(Phase::AwaitingApproval);
        draft.note(reasons::APPROVAL_REQUIRED, format!("approve one of them, such as {}", best.digest.short()));
        return;
    }
    select(draft, &best);
    draft.note(reasons::CANDIDATE_SELECTED, format!("{}: {}", best.digest.short(), best.summary));
}

/// Begins the rollout of a candidate.
pub(super) fn select(draft: &mut Draft<'_>, candidate: &Candidate) {
    let traffic = draft.status.analysis.traffic.clone();
    draft.status.analysis = AnalysisMemory { traffic, ..AnalysisMemory::default() };
    draft.status.selected = Some(candidate.digest.clone());
    draft.enter_step(0);
    let shadow_first = matches!(draft.plan.steps.first(), Some(Step::Shadow(_)));
    draft.enter(if shadow_first { Phase::Shadowing } else { Phase::Progressing });
}
