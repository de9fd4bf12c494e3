//! The decision while it is being made.

use std::time::Duration;

use jiff::Timestamp;
use sentei_api::{
    CompressedModelStatus, Phase,
    status::{DecisionRecord, Role},
};

use super::{conditions, weight};
use crate::{
    Decision, Effect, Event, Observation, Plan, Server, hypothesis::Counter, judge::Judgement,
    observation::ServerState, reasons, tally,
};

/// Lines kept in `status.decisions`.
const MOST_DECISIONS: usize = 200;

pub(super) struct Draft<'a> {
    pub plan: &'a Plan,
    pub seen: &'a Observation,
    pub now: Timestamp,
    pub status: CompressedModelStatus,
    pub judgements: Vec<Judgement>,
    /// Whether the stored status already holds where the candidate's counters started. Without it, hands that die after
    /// giving traffic and before storing the status would leave answers that nobody counts.
    pub counting: bool,
    /// Why the rollout does not go on, for people.
    pub waiting_for: Option<String>,
    effects: Vec<Effect>,
    again_at_once: bool,
}

impl<'a> Draft<'a> {
    pub fn new(plan: &'a Plan, status: &CompressedModelStatus, seen: &'a Observation, now: Timestamp) -> Self {
        Self {
            plan,
            seen,
            now,
            status: status.clone(),
            judgements: Vec::new(),
            counting: tally::find(&status.analysis, Counter::Requests, None, Role::Candidate).is_some(),
            waiting_for: None,
            effects: Vec::new(),
            again_at_once: false,
        }
    }

    /// Asks for an effect.
    pub fn ask(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Time since `then`, 0 when it is unknown or ahead of us.
    pub fn elapsed(&self, then: Option<Timestamp>) -> Duration {
        then.and_then(|then| Duration::try_from(self.now.duration_since(then)).ok()).unwrap_or_default()
    }

    /// Goes to another phase, and looks again at once.
    pub fn enter(&mut self, phase: Phase) {
        if self.status.phase != phase {
            self.status.phase = phase;
            self.status.phase_since = Some(self.now);
        }
        self.again_at_once = true;
    }

    /// Goes to another step, and looks again at once.
    pub fn enter_step(&mut self, index: u32) {
        self.status.current_step_index = index;
        self.status.step_since = Some(self.now);
        self.again_at_once = true;
    }

    /// Tells people, and writes it into the log.
    pub fn note(&mut self, reason: &'static str, message: String) {
        self.record(reason, message, false);
    }

    /// The same, and someone should look.
    pub fn warn(&mut self, reason: &'static str, message: String) {
        self.record(reason, message, true);
    }

    /// [`Self::note`] unless it is what the log's last line says of this step already.
    pub fn note_once(&mut self, reason: &'static str, message: String) {
        let said = self.status.decisions.last().is_some_and(|last| {
            last.reason == reason && last.phase == self.status.phase && last.step == self.status.current_step_index
        });
        if !said {
            self.record(reason, message, false);
        }
    }

    fn record(&mut self, reason: &'static str, message: String, warning: bool) {
        let log = &mut self.status.decisions;
        if log.len() >= MOST_DECISIONS {
            log.drain(..=log.len() - MOST_DECISIONS);
        }
        log.push(DecisionRecord {
            time: self.now,
            phase: self.status.phase,
            step: self.status.current_step_index,
            weight: self.status.weights.candidate,
            reason: reason.to_owned(),
            message: message.clone(),
        });
        self.effects.push(Effect::Emit(Event { reason, message, warning }));
    }

    /// Closes the draft: whatever differs from what was seen is asked for, weight 0 first.
    pub fn finish(mut self) -> Decision {
        weight::ask(&mut self);
        self.ask_for_servers();
        conditions::update(&mut self);
        if let Some(savings) = &self.seen.savings {
            self.status.savings = Some(savings.clone());
        }
        let after = if self.again_at_once { Duration::ZERO } else { self.plan.interval };
        self.ask(Effect::Requeue { after });
        self.effects.sort_by_key(Effect::rank);
        Decision { status: self.status, effects: self.effects }
    }

    /// The baseline is served until the rollback window is over, the candidate from the rollout's start on.
    fn ask_for_servers(&mut self) {
        let phase = self.status.phase;
        let missing = |state: &ServerState| matches!(state, ServerState::Absent | ServerState::Crashed { .. });
        let (baseline, candidate) = (&self.seen.baseline, &self.seen.candidate);
        if phase != Phase::Succeeded {
            if missing(&baseline.state) {
                self.ask(Effect::EnsureServing(Server::Baseline));
            }
        } else if baseline.state != ServerState::Absent && self.seen.weight == Some(100) {
            self.note_once(reasons::BASELINE_RETIRED, "the baseline's servers are stopped; its file stays".to_owned());
            self.ask(Effect::ScaleDown { role: Role::Baseline });
        }
        let wanted = phase.is_exposed() || matches!(phase, Phase::Shadowing | Phase::RollingBack);
        match (wanted, self.status.selected.clone()) {
            // While traffic goes back to the baseline, a candidate that is gone stays gone.
            (true, Some(digest)) if phase != Phase::RollingBack || self.status.weights.candidate > 0 => {
                if missing(&candidate.state) || candidate.digest.as_ref() != Some(&digest) {
                    self.ask(Effect::EnsureServing(Server::Candidate(digest)));
                }
            }
            (true, _) => {}
            (false, _) => {
                if candidate.state != ServerState::Absent && self.seen.weight == Some(0) {
                    self.ask(Effect::ScaleDown { role: Role::Candidate });
                }
            }
        }
    }
}
