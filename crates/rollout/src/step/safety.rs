//! What takes the candidate's traffic away, whatever the phase.

use sentei_api::{
    Phase,
    evidence::Estimate,
    status::{Breach, Verdict},
};

use super::{draft::Draft, rollback};
use crate::{
    judge::Judgement,
    observation::{Parity, ServerState},
    reasons,
};

/// Begins a rollback when a bound is broken, the candidate is gone, or critical data were absent for too long; whether
/// it did.
pub(super) fn withdraw_if_needed(draft: &mut Draft<'_>) -> bool {
    if !matches!(
        draft.status.phase,
        Phase::Shadowing | Phase::Progressing | Phase::Paused | Phase::Promoting | Phase::Watching
    ) {
        return false;
    }
    if let Some(breached) = draft.judgements.iter().find(|judgement| judgement.result.verdict == Verdict::Breach) {
        let breach = broken_bound(draft, breached);
        let message = breach.to_string();
        rollback::begin(draft, reasons::ANALYSIS_FAILED, message, Some(breach));
        return true;
    }
    if let Some(message) = unavailable(draft) {
        let breach = all_or_nothing(draft, "availability");
        rollback::begin(draft, reasons::CANDIDATE_UNAVAILABLE, message, Some(breach));
        return true;
    }
    if let Parity::Failed(difference) = &draft.seen.parity {
        let message = format!("the candidate's answers on golden inputs differ: {difference}");
        if draft.status.analysis.exposed_since.is_some() {
            let breach = all_or_nothing(draft, "parity");
            rollback::begin(draft, reasons::PARITY_FAILED, message, Some(breach));
        } else {
            rollback::fail(draft, reasons::PARITY_FAILED, message);
        }
        return true;
    }
    let (limit, absent) = (draft.plan.consecutive_error_limit, draft.status.analysis.consecutive_errors);
    if limit > 0 && absent >= limit && draft.status.weights.candidate > 0 {
        let message = format!("{absent} looks in a row without data on a critical metric, limit {limit}");
        rollback::begin(draft, reasons::NO_DATA_LIMIT, message, None);
        return true;
    }
    false
}

/// Why a candidate that gets live requests or copies cannot be answering them. With live requests anything but ready is
/// enough; copies hurt nobody, so that only a crash is.
fn unavailable(draft: &Draft<'_>) -> Option<String> {
    let (status, seen) = (&draft.status, &draft.seen.candidate);
    let exposed = status.weights.candidate > 0;
    if draft.seen.resuming || !(exposed || status.shadow_percent > 0) {
        return None;
    }
    let restarted = match (seen.ready_epoch(), status.analysis.candidate_epoch) {
        (Some(now), Some(then)) => now != then,
        _ => false,
    };
    if restarted {
        return Some("the candidate's server restarted while it had traffic".to_owned());
    }
    let gone = if exposed { seen.ready_epoch().is_none() } else { matches!(seen.state, ServerState::Crashed { .. }) };
    if gone {
        return Some(format!("the candidate's server {}", seen.state.describe()));
    }
    (exposed && seen.digest != status.selected)
        .then(|| "the candidate's server holds another artifact than the selected one".to_owned())
}

fn broken_bound(draft: &Draft<'_>, judgement: &Judgement) -> Breach {
    let result = &judgement.result;
    let (bad, samples) = (judgement.bad as f64, result.samples.max(1) as f64);
    let share = Estimate { value: bad / samples, low: 0.0, high: 1.0, samples: result.samples };
    Breach {
        metric: result.metric.clone(),
        slice: result.slice.clone(),
        value: result.candidate.unwrap_or(share),
        limit: result.limit.unwrap_or_default(),
        samples: result.samples,
        bad: judgement.bad,
        ..all_or_nothing(draft, &result.metric)
    }
}

/// A breach that needs no counting: 0 where 1 is asked for.
fn all_or_nothing(draft: &Draft<'_>, metric: &str) -> Breach {
    Breach {
        metric: metric.to_owned(),
        slice: None,
        value: Estimate { value: 0.0, low: 0.0, high: 0.0, samples: 1 },
        limit: 1.0,
        samples: 1,
        bad: 1,
        window_seconds: draft.elapsed(draft.status.analysis.since).as_secs_f64(),
        phase: draft.status.phase,
        weight: draft.status.weights.candidate,
        time: draft.now,
    }
}
