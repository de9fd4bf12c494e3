//! Every interleaving of a small instance: two sets of hands that share a status and a router, crash between any two
//! effects, lose and repeat effects, work on stale looks, while the candidate answers well, badly or not at all, or dies.
//!
//! The status is written by compare-and-swap, as the API server and a directory with a lock do it; effects are not: a late
//! one from hands that lost their lease may come at any time.

use std::{
    hash::{Hash, Hasher},
    time::Duration,
};

use sentei_api::{CompressedModelStatus, Phase};
use sentei_rollout::{
    Effect, Observation, Plan,
    observation::{Parity, ServerState},
    step,
};
use serde_json::json;
use stateright::{Checker, Model, Property};

use super::world::{World, carry_out, spec};

/// Looks are a second apart; time stops here.
const TICKS: u32 = 2;
/// Answers in a second: failures that are a proof whatever successes came before, and successes that are one.
const BAD: u64 = 300;
const GOOD: u64 = 600;

struct Rollout {
    plan: Plan,
    starts: Vec<State>,
}

#[derive(Clone, Debug)]
struct State {
    /// The stored status, and how often it was written.
    status: CompressedModelStatus,
    version: u32,
    /// What any hands would see now.
    world: Observation,
    now: jiff::Timestamp,
    ticks: u32,
    /// Decisions on their way into the world.
    hands: [Option<Pending>; 2],
    /// Whether a proof of a bad candidate was ever served.
    guilty: bool,
    /// The first broken promise, in words.
    broken: Option<&'static str>,
}

#[derive(Clone, Debug)]
struct Pending {
    effects: Vec<Effect>,
    status: CompressedModelStatus,
    version: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Answers {
    Good,
    Bad,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    /// A second passes with such answers.
    Tick(Answers),
    /// The candidate's server dies.
    Die,
    /// Hands look and decide.
    Look(usize),
    /// They carry out the next effect, or write the status when none is left.
    Do(usize),
    /// They carry it out and do not know that they did.
    Repeat(usize),
    /// The next effect is lost on its way.
    Lose(usize),
    /// They are killed.
    Kill(usize),
}

impl State {
    /// All that decisions and promises depend on, as text: the log is only for people.
    fn key(&self) -> String {
        let memory = |status: &CompressedModelStatus| {
            let mut memory = status.clone();
            memory.decisions.clear();
            memory.conditions.clear();
            memory.analysis.results.clear();
            serde_json::to_string(&memory).unwrap()
        };
        let mut hands = self.hands.each_ref().map(|hands| {
            hands.as_ref().map(|pending| {
                // A status that will be refused is as good as none.
                let status = (pending.version == self.version).then(|| memory(&pending.status));
                format!("{:?} {status:?}", pending.effects)
            })
        });
        // Which hands are which makes no difference.
        hands.sort_unstable();
        let world = &self.world;
        format!(
            "{} {:?} {} {} {hands:?} {} {:?} {:?}",
            memory(&self.status),
            world.weight,
            self.ticks,
            self.guilty,
            world.shadow_percent.unwrap_or(0),
            (&world.candidate.state, &world.parity, &world.candidate.digest, &world.baseline.state),
            (&world.candidate.scrapes, &world.baseline.scrapes, self.broken),
        )
    }

    fn decide(&self, plan: &Plan) -> sentei_rollout::Decision {
        // Through its stored form: what is not stored is not remembered.
        let stored = serde_json::to_string(&self.status).unwrap();
        step(plan, &serde_json::from_str(&stored).unwrap(), &self.world, self.now)
    }

    fn tick(&mut self, answers: Answers) {
        self.now += Duration::from_secs(1);
        let exposed = self.world.weight.unwrap_or(0);
        let candidate = &mut self.world.candidate.scrapes[0].counters.all;
        match answers {
            Answers::None => return,
            Answers::Good if exposed > 0 => *candidate.requests.entry(200).or_default() += GOOD,
            Answers::Bad if exposed > 0 => {
                *candidate.requests.entry(500).or_default() += BAD;
                self.guilty |= self.status.phase.is_exposed() && self.status.weights.candidate > 0;
            }
            Answers::Good | Answers::Bad => {}
        }
        if exposed < 100 {
            *self.world.baseline.scrapes[0].counters.all.requests.entry(200).or_default() += GOOD;
        }
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// What must hold of every single decision.
fn broken_promise(before: &State, decision: &sentei_rollout::Decision) -> Option<&'static str> {
    let raised =
        decision.effects.iter().any(|effect| matches!(effect, Effect::SetWeight { candidate } if *candidate > 0));
    let world = &before.world;
    let after = &decision.status;
    let ready = matches!(world.candidate.state, ServerState::Ready { .. }) && world.parity == Parity::Passed;
    if raised && !ready {
        return Some("an unready candidate got traffic");
    }
    if raised && after.selected.is_none() {
        return Some("traffic without a selected candidate");
    }
    if raised && !after.phase.is_exposed() {
        return Some("traffic in a phase without exposure");
    }
    if matches!(after.phase, Phase::RollingBack | Phase::RolledBack | Phase::Failed) && after.weights.candidate > 0 {
        return Some("a rollback with a weight");
    }
    let first = decision.effects.first();
    if after.weights.candidate == 0 && world.weight != Some(0) && first != Some(&Effect::SetWeight { candidate: 0 }) {
        return Some("something came before weight 0");
    }
    if !ready && before.status.weights.candidate > 0 && after.weights.candidate > 0 {
        return Some("a dead candidate kept its weight");
    }
    let stops_the_baseline = decision
        .effects
        .iter()
        .any(|effect| matches!(effect, Effect::ScaleDown { role: sentei_api::status::Role::Baseline }));
    (stops_the_baseline && after.phase != Phase::Succeeded).then_some("the baseline was stopped too early")
}

/// What undisturbed hands make of a state.
fn undisturbed(plan: &Plan, state: &State) -> State {
    let mut state = state.clone();
    for _ in 0..16 {
        let decision = step(plan, &state.status, &state.world, state.now);
        for effect in &decision.effects {
            carry_out(&mut state.world, effect);
        }
        state.status = decision.status;
        state.tick(Answers::Good);
    }
    state
}

impl Model for Rollout {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        self.starts.clone()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken.is_some() {
            return;
        }
        if state.ticks < TICKS {
            actions.extend([Answers::Good, Answers::Bad, Answers::None].map(Action::Tick));
        }
        if matches!(state.world.candidate.state, ServerState::Ready { .. }) && state.world.parity == Parity::Passed {
            actions.push(Action::Die);
        }
        for (index, hands) in state.hands.iter().enumerate() {
            match hands {
                None => actions.push(Action::Look(index)),
                Some(pending) => {
                    actions.extend([Action::Do(index), Action::Kill(index)]);
                    if !pending.effects.is_empty() {
                        actions.extend([Action::Repeat(index), Action::Lose(index)]);
                    }
                }
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Tick(answers) => {
                state.ticks += 1;
                state.tick(answers);
            }
            Action::Die => {
                state.world.candidate.state = ServerState::Crashed { reason: "signal 9".to_owned() };
            }
            Action::Look(index) => {
                let mut decision = state.decide(&self.plan);
                state.broken = broken_promise(before, &decision);
                if state.guilty && state.status.phase.is_exposed() && decision.status.weights.candidate > 0 {
                    state.broken = Some("a proved breach kept its weight");
                }
                decision.effects.retain(|effect| !matches!(effect, Effect::Emit(_) | Effect::Requeue { .. }));
                // People read these; leaving them out makes equal states equal.
                decision.status.decisions.clear();
                let version = state.version;
                state.hands[index] = Some(Pending { effects: decision.effects, status: decision.status, version });
            }
            Action::Do(index) => {
                let pending = state.hands[index].as_mut()?;
                if pending.effects.is_empty() {
                    let pending = state.hands[index].take()?;
                    if pending.version == state.version {
                        state.status = pending.status;
                        state.version += 1;
                    }
                } else {
                    carry_out(&mut state.world, &pending.effects.remove(0));
                }
            }
            Action::Repeat(index) => carry_out(&mut state.world, state.hands[index].as_ref()?.effects.first()?),
            Action::Lose(index) => {
                state.hands[index].as_mut()?.effects.remove(0);
            }
            Action::Kill(index) => state.hands[index] = None,
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("every decision keeps its promises", |_, state: &State| state.broken.is_none()),
            Property::always("a breach ends at weight 0", |model: &Self, state: &State| {
                !state.guilty || state.ticks < TICKS || {
                    let end = undisturbed(&model.plan, state);
                    end.world.weight == Some(0) && end.status.phase == Phase::RolledBack
                }
            }),
            Property::always("a healthy candidate is promoted", |model: &Self, state: &State| {
                let healthy = !state.world.candidate.scrapes[0].counters.all.requests.contains_key(&500)
                    && matches!(state.world.candidate.state, ServerState::Ready { epoch: 1 })
                    && state.status.phase != Phase::RollingBack
                    && state.status.phase != Phase::RolledBack;
                !healthy || state.ticks < TICKS || {
                    let end = undisturbed(&model.plan, state);
                    end.status.phase == Phase::Watching && end.world.weight == Some(100)
                }
            }),
            Property::sometimes("a candidate is promoted", |_, state: &State| state.status.phase == Phase::Watching),
            Property::sometimes("a breach is rolled back", |_, state: &State| {
                state.guilty && state.status.phase == Phase::RolledBack
            }),
        ]
    }
}

#[test]
fn every_interleaving_of_a_small_instance_keeps_every_promise() {
    let rollout = json!({
        "canary": { "steps": [{ "setWeight": 50 }, { "pause": { "duration": "1s" } }] },
        "analysis": { "metrics": [
            { "name": "errorRate", "thresholdRange": { "max": 0.01 }, "critical": true }
        ] },
        "rollbackWindow": "10m"
    });
    let mut world = World::new(rollout.clone());
    world.until(Phase::Progressing).look();
    assert_eq!(world.weight(), 0);
    let before = start(&world);
    world.look().serve(1, 200, 0.0);
    assert_eq!(world.weight(), 50);
    let starts = vec![before, start(&world)];
    let plan = Plan::parse(&spec(rollout)).unwrap();
    let checker = Rollout { plan, starts }.checker().threads(2).target_max_depth(DEPTH).spawn_bfs().join();
    println!("{} states, {} of them different", checker.state_count(), checker.unique_state_count());
    checker.assert_properties();
}

fn start(world: &World) -> State {
    let mut status = world.status.clone();
    status.decisions.clear();
    State {
        status,
        version: 0,
        world: world.seen.clone(),
        now: world.now,
        ticks: 0,
        hands: [None, None],
        guilty: false,
        broken: None,
    }
}

/// Actions in a row, from just before the first exposure and from the middle of the rollout: enough for a promotion and
/// for a breach with its rollback, with room for accidents.
const DEPTH: usize = 11;
