//! The candidate's share of live traffic: taken away here, given here, and seen to have arrived here.

use sentei_api::{
    Phase,
    status::{Role, TrafficMemory, Weights},
};

use super::draft::Draft;
use crate::{Effect, observation::Parity, reasons, tally};

/// Takes all traffic away from the candidate. **The only place where its weight is set to 0.** It asks nothing and waits
/// for nothing; [`ask`] puts the effect before all others.
pub(super) fn set_weight_to_zero(draft: &mut Draft<'_>) {
    draft.status.shadow_percent = 0;
    if draft.status.weights.candidate > 0 {
        remember_change(draft, 0);
    }
}

/// Gives the candidate a share of live traffic, in percent, when everything that has to be proved before is proved;
/// otherwise says what is missing.
pub(super) fn give(draft: &mut Draft<'_>, candidate: u8) -> Result<(), String> {
    if candidate == 0 {
        set_weight_to_zero(draft);
        return Ok(());
    }
    may_be_exposed(draft)?;
    if candidate != draft.status.weights.candidate {
        let before = draft.status.weights.candidate;
        remember_change(draft, candidate);
        draft.status.analysis.exposed_since.get_or_insert(draft.now);
        draft.status.analysis.candidate_epoch = draft.seen.candidate.ready_epoch();
        draft.note(
            reasons::TRAFFIC_WEIGHT_UPDATED,
            format!("the candidate's weight goes from {before} % to {candidate} %"),
        );
    }
    Ok(())
}

/// Nothing unproven gets traffic: what is still missing, in a sentence.
pub(super) fn may_be_exposed(draft: &Draft<'_>) -> Result<(), String> {
    let status = &draft.status;
    let Some(selected) = &status.selected else { return Err("no candidate is selected".to_owned()) };
    if !status.candidates.iter().any(|candidate| candidate.digest == *selected && candidate.gates_passed) {
        return Err(format!("candidate {} has not passed every gate", selected.short()));
    }
    let seen = &draft.seen.candidate;
    if seen.digest.as_ref() != Some(selected) {
        return Err(format!("the candidate's server does not hold {} yet", selected.short()));
    }
    if seen.ready_epoch().is_none() {
        return Err(format!("the candidate's server {}", seen.state.describe()));
    }
    match &draft.seen.parity {
        Parity::Passed if !draft.counting => Err("the candidate's counters".to_owned()),
        Parity::Passed => Ok(()),
        Parity::Unknown => Err("the candidate's answers on golden inputs are not compared yet".to_owned()),
        Parity::Failed(difference) => Err(format!("the candidate's answers on golden inputs differ: {difference}")),
    }
}

/// Asks for the weights that the status wants and the router does not have.
pub(super) fn ask(draft: &mut Draft<'_>) {
    let wanted = draft.status.weights.candidate;
    // Servers that went down together with the hands come back one by one; until then users are sent to the baseline.
    let coming_back =
        draft.seen.resuming && draft.status.phase != Phase::Succeeded && draft.seen.candidate.ready_epoch().is_none();
    let candidate = if coming_back { 0 } else { wanted };
    if draft.seen.weight != Some(candidate) {
        draft.ask(Effect::SetWeight { candidate });
    }
    let percent = draft.status.shadow_percent;
    if draft.seen.shadow_percent != Some(percent) {
        draft.ask(Effect::SetShadow { percent });
    }
}

/// A weight is believed when the router has it and the counters show it: requests moved at the candidate (for 0: stopped,
/// while the baseline's move; for 100: the baseline's stopped).
pub(super) fn verify(draft: &mut Draft<'_>) {
    let memory = &mut draft.status.analysis;
    let baseline = tally::requests(memory, Role::Baseline);
    let candidate = tally::requests(memory, Role::Candidate);
    let traffic = &mut memory.traffic;
    let baseline_moves = baseline > traffic.baseline;
    let candidate_moves = candidate > traffic.candidate;
    (traffic.baseline, traffic.candidate) = (baseline, candidate);
    let weights = &mut draft.status.weights;
    let agrees = match weights.candidate {
        0 => !candidate_moves && baseline_moves,
        100 => candidate_moves && !baseline_moves,
        _ => candidate_moves,
    };
    if draft.seen.weight != Some(weights.candidate) || traffic.since.is_none_or(|since| since >= draft.now) {
        return;
    }
    if agrees {
        traffic.agreeing = traffic.agreeing.saturating_add(1);
    } else if candidate_moves || baseline_moves {
        traffic.agreeing = 0;
    }
    if traffic.agreeing > 0 && !weights.verified {
        weights.verified = true;
        let message = format!("the counters show the candidate's weight of {} %", weights.candidate);
        draft.note(reasons::TRAFFIC_WEIGHT_VERIFIED, message);
    }
}

fn remember_change(draft: &mut Draft<'_>, candidate: u8) {
    draft.status.weights = Weights { baseline: 100 - candidate.min(100), candidate, verified: false };
    let traffic = &mut draft.status.analysis.traffic;
    *traffic = TrafficMemory { since: Some(draft.now), agreeing: 0, ..traffic.clone() };
}
