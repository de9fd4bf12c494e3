//! A world in which hands carry effects out at once, and traffic is served when a test says so.

use std::time::Duration;

use jiff::Timestamp;
use sentei_api::{
    CompressedModelSpec, CompressedModelStatus, Phase,
    evidence::{Candidate, Cost},
    quantity::Digest,
    status::Role,
};
use sentei_rollout::{
    Decision, Effect, Observation, Plan, Server,
    observation::{Compression, Histogram, Outcomes, Parity, Request, Scrape, ServerState, Verb},
    step,
};
use serde_json::{Value, json};

/// A manifest with this rollout and the rest as small as it can be.
pub fn spec(rollout: Value) -> CompressedModelSpec {
    serde_json::from_value(json!({
        "source": { "uri": "model.onnx" },
        "data": {
            "calibration": { "uri": "calibration.npz" },
            "evaluation": { "uri": "evaluation.npz" },
            "slices": [{ "name": "dark", "selector": { "column": "lamp", "in": ["off"] } }]
        },
        "task": { "classification": {} },
        "rollout": rollout
    }))
    .unwrap()
}

/// Shadow, 5 %, a minute, 50 %, a minute; errors at most 1 %.
pub fn usual() -> Value {
    json!({
        "canary": { "steps": [
            { "shadow": { "percent": 20 } }, { "setWeight": 5 }, { "pause": { "duration": "1m" } },
            { "setWeight": 50 }, { "pause": { "duration": "1m" } }
        ] },
        "analysis": { "metrics": [
            { "name": "errorRate", "thresholdRange": { "max": 0.01 }, "critical": true }
        ] },
        "progressDeadlineSeconds": 600,
        "rollbackWindow": "10m"
    })
}

/// The usual rollout with other metrics.
pub fn watching(metrics: Value) -> Value {
    let mut rollout = usual();
    rollout["analysis"]["metrics"] = metrics;
    rollout
}

pub fn digest(digit: char) -> Digest {
    digit.to_string().repeat(64).parse().unwrap()
}

pub fn candidate(digit: char, gates_passed: bool) -> Candidate {
    Candidate {
        digest: digest(digit),
        cost: Cost::default(),
        stage: 0,
        summary: "prune 4x".to_owned(),
        measurements: Vec::new(),
        objective_met: true,
        gates_passed,
    }
}

pub struct World {
    pub plan: Plan,
    pub status: CompressedModelStatus,
    pub seen: Observation,
    pub now: Timestamp,
    /// Of the last look.
    pub effects: Vec<Effect>,
    /// Whether the hands carry effects out.
    pub obedient: bool,
    asked: u32,
}

impl World {
    pub fn new(rollout: Value) -> Self {
        Self::with_spec(&spec(rollout))
    }

    pub fn with_spec(spec: &CompressedModelSpec) -> Self {
        let mut seen = Observation { generation: 1, ..Observation::default() };
        seen.compression = Compression::Done(vec![candidate('a', true), candidate('b', false)]);
        seen.weight = Some(0);
        seen.shadow_percent = Some(0);
        for role in [&mut seen.baseline, &mut seen.candidate] {
            role.scrapes.push(Scrape { instance: "server".to_owned(), epoch: 1, ..Scrape::default() });
        }
        Self {
            plan: Plan::parse(spec).unwrap(),
            status: CompressedModelStatus::default(),
            seen,
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            effects: Vec::new(),
            obedient: true,
            asked: 0,
        }
    }

    /// One look, with its effects carried out.
    pub fn look(&mut self) -> &mut Self {
        let Decision { status, effects } = step(&self.plan, &self.status, &self.seen, self.now);
        self.status = status;
        if self.obedient {
            for effect in &effects {
                carry_out(&mut self.seen, effect);
            }
        }
        self.effects = effects;
        self
    }

    /// Looks once a second for this long; in each second this many requests, split by the router's weight, with this
    /// share of the candidate's failing.
    pub fn serve(&mut self, seconds: u64, requests: u64, candidate_failing: f64) -> &mut Self {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            self.answer(requests, candidate_failing);
            self.look();
        }
        self
    }

    /// Requests answered between two looks.
    pub fn answer(&mut self, requests: u64, candidate_failing: f64) {
        let to_candidate = requests * u64::from(self.seen.weight.unwrap_or(0)) / 100;
        let bad = (to_candidate as f64 * candidate_failing).round() as u64;
        add(self.outcomes(Role::Candidate), 500, bad);
        add(self.outcomes(Role::Candidate), 200, to_candidate - bad);
        add(self.outcomes(Role::Baseline), 200, requests - to_candidate);
    }

    pub fn outcomes(&mut self, role: Role) -> &mut Outcomes {
        let role = match role {
            Role::Baseline => &mut self.seen.baseline,
            Role::Candidate => &mut self.seen.candidate,
        };
        &mut role.scrapes[0].counters.all
    }

    /// Healthy traffic of 200 requests a second until the phase is reached; panics after two hours.
    pub fn until(&mut self, phase: Phase) -> &mut Self {
        for _ in 0..7200 {
            if self.status.phase == phase {
                return self;
            }
            self.serve(1, 200, 0.0);
        }
        panic!("{phase} is not reached from {}: {:#?}", self.status.phase, self.status.conditions);
    }

    pub fn ask(&mut self, verb: Verb) -> &mut Self {
        // Long answered ones are no longer shown.
        if self.seen.requests.len() > 8 {
            self.seen.requests.remove(0);
        }
        self.asked += 1;
        self.seen.requests.push(Request { id: self.asked.to_string(), verb });
        self.look()
    }

    pub fn weight(&self) -> u8 {
        self.status.weights.candidate
    }

    pub fn log(&self) -> Vec<&str> {
        self.status.decisions.iter().map(|decision| decision.reason.as_str()).collect()
    }

    pub fn condition(&self, kind: &str) -> (&str, &str) {
        let condition = self.status.conditions.iter().find(|condition| condition.type_ == kind).unwrap();
        (&condition.status, &condition.reason)
    }
}

pub fn carry_out(seen: &mut Observation, effect: &Effect) {
    match effect {
        Effect::SetWeight { candidate } => seen.weight = Some(*candidate),
        Effect::SetShadow { percent } => seen.shadow_percent = Some(*percent),
        Effect::EnsureServing(Server::Baseline) => seen.baseline.state = ServerState::Ready { epoch: 1 },
        Effect::EnsureServing(Server::Candidate(digest)) => {
            seen.candidate.state = ServerState::Ready { epoch: 1 };
            seen.candidate.digest = Some(digest.clone());
            seen.parity = Parity::Passed;
        }
        Effect::ScaleDown { role: Role::Baseline } => seen.baseline.state = ServerState::Absent,
        Effect::ScaleDown { role: Role::Candidate } => {
            seen.candidate.state = ServerState::Absent;
            seen.candidate.digest = None;
            seen.parity = Parity::Unknown;
        }
        Effect::StartCompression { .. } | Effect::Emit(_) | Effect::Requeue { .. } => {}
    }
}

fn add(outcomes: &mut Outcomes, code: u16, count: u64) {
    *outcomes.requests.entry(code).or_default() += count;
}

/// Buckets a tenth apart from 1 ms to 1 s, with this many durations just below `seconds`.
pub fn durations(seconds: f64, count: u64) -> Histogram {
    let bounds: Vec<f64> = (0..=72).map(|index| 0.001 * 1.1_f64.powi(index)).collect();
    let mut counts = vec![0; bounds.len() + 1];
    counts[bounds.partition_point(|bound| *bound < seconds)] = count;
    Histogram { bounds, counts }
}
