//! A changed spec starts the rollout over, from its first part that changed.

use sentei_api::{
    Phase,
    status::{AnalysisMemory, ObservedSpec},
};

use super::{draft::Draft, rollback, weight};
use crate::reasons;

/// Adopts the spec; whether that took the whole step. A changed rollout keeps the candidates, a changed `suspend` changes
/// nothing but itself, anything else starts from the beginning.
pub(super) fn start_over_if_changed(draft: &mut Draft<'_>) -> bool {
    let wanted =
        ObservedSpec { compression: draft.plan.compression_key.clone(), rollout: draft.plan.rollout_key.clone() };
    let status = &mut draft.status;
    if status.observed_spec == wanted {
        status.observed_generation = Some(draft.seen.generation);
        return false;
    }
    if status.observed_spec == ObservedSpec::default() && status.phase == Phase::Pending {
        adopt(draft, wanted);
        draft.enter(Phase::Pending);
        draft.status.phase_since = Some(draft.now);
        return false;
    }
    // After the rollback window the candidate is all there is: the baseline has to be back before it can be left.
    if status.phase == Phase::Succeeded && status.weights.candidate > 0 {
        let message = "the spec changed; the baseline is brought back, then the rollout starts over".to_owned();
        rollback::begin_after_success(draft, reasons::SPEC_CHANGED, message);
        return true;
    }
    if status.phase == Phase::RollingBack && status.weights.candidate > 0 {
        return false;
    }
    weight::set_weight_to_zero(draft);
    if draft.status.observed_spec.compression != wanted.compression {
        draft.status.candidates.clear();
    }
    adopt(draft, wanted);
    begin_again(draft);
    draft.note(reasons::SPEC_CHANGED, "the spec changed; the rollout starts over".to_owned());
    true
}

/// Forgets the rollout, but not its log, its last breach, or what compression found.
pub(super) fn begin_again(draft: &mut Draft<'_>) {
    let traffic = draft.status.analysis.traffic.clone();
    draft.status.selected = None;
    draft.status.analysis = AnalysisMemory { traffic, ..AnalysisMemory::default() };
    draft.enter_step(0);
    draft.enter(Phase::Pending);
    draft.status.phase_since = Some(draft.now);
}

fn adopt(draft: &mut Draft<'_>, spec: ObservedSpec) {
    draft.status.observed_generation = Some(draft.seen.generation);
    draft.status.observed_spec = spec;
}
