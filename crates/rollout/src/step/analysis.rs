//! One look: the counters are counted into the status, every bound is judged, the absence of data is counted.

use sentei_api::{Phase, status::Verdict};

use super::{draft::Draft, weight};
use crate::{judge, reasons, tally};

/// Counts and judges. Counts are taken at every call; what counts looks takes one for each interval at most.
pub(super) fn look(draft: &mut Draft<'_>) {
    let phase = draft.status.phase;
    let judged =
        matches!(phase, Phase::Shadowing | Phase::Progressing | Phase::Paused | Phase::Promoting | Phase::Watching);
    if !judged && phase != Phase::RollingBack {
        return;
    }
    // A look that comes a little early (a timer's jitter) is one.
    let due = draft
        .status
        .analysis
        .last_look
        .is_none_or(|last| draft.elapsed(Some(last)) >= draft.plan.interval.mul_f64(0.75));
    let memory = &mut draft.status.analysis;
    memory.since.get_or_insert(draft.now);
    // The new life that a restart of the hands began is the one to hold the candidate to.
    if let (true, Some(epoch)) = (draft.seen.resuming, draft.seen.candidate.ready_epoch()) {
        memory.candidate_epoch = Some(epoch);
    }
    tally::count(memory, &draft.plan.hypotheses, draft.seen);
    if due {
        draft.status.analysis.last_look = Some(draft.now);
        weight::verify(draft);
    }
    if !judged {
        return;
    }
    let all_traffic = draft.status.weights.candidate == 100;
    draft.judgements = judge::judge(&draft.plan.hypotheses, &draft.status.analysis, draft.seen, all_traffic);
    let memory = &mut draft.status.analysis;
    memory.results = draft.judgements.iter().map(|judgement| judgement.result.clone()).collect();
    if due {
        memory.looks += 1;
        let look = memory.looks;
        tally::mark(memory, look);
        count_absence(draft);
    }
}

/// No data is no verdict; it is counted, said, and has a limit. Before the candidate has traffic nothing is expected.
fn count_absence(draft: &mut Draft<'_>) {
    let silent: Vec<String> = draft
        .judgements
        .iter()
        .filter(|judgement| judgement.critical && judgement.result.verdict == Verdict::NoData)
        .map(|judgement| judgement.result.metric.clone())
        .collect();
    let memory = &mut draft.status.analysis;
    if silent.is_empty() || draft.status.weights.candidate == 0 {
        memory.no_data_since = None;
        memory.consecutive_errors = 0;
        return;
    }
    memory.consecutive_errors = memory.consecutive_errors.saturating_add(1);
    if memory.no_data_since.is_none() {
        memory.no_data_since = Some(draft.now);
        let errors = draft.seen.errors.join("; ");
        let because = if errors.is_empty() { String::new() } else { format!(": {errors}") };
        draft.warn(reasons::NO_DATA, format!("no data on {}{because}", silent.join(", ")));
    }
}
