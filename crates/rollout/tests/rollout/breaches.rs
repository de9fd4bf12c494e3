//! What takes the weight away, in every phase, and what does not.

use std::collections::BTreeMap;

use sentei_api::{
    Phase,
    status::{Role, Verdict},
};
use sentei_rollout::{
    Effect,
    observation::{Agreement, Feedback, Outcomes, Pairs, ServerState, Verb},
    reasons,
};
use serde_json::json;

use super::world::{World, durations, spec, usual, watching};

/// The phases in which the candidate has traffic, each reached by a healthy rollout.
fn exposed() -> Vec<World> {
    let mut worlds: Vec<World> = Vec::new();
    for phase in [Phase::Progressing, Phase::Promoting, Phase::Watching] {
        let mut world = World::new(usual());
        world.until(phase).look();
        worlds.push(world);
    }
    let mut paused = World::new(usual());
    paused.until(Phase::Progressing).look().ask(Verb::Pause);
    worlds.push(paused);
    let mut suspended = spec(usual());
    let mut world = World::with_spec(&suspended);
    world.until(Phase::Progressing).look();
    suspended.suspend = true;
    world.plan = sentei_rollout::Plan::parse(&suspended).unwrap();
    worlds.push(world.tap());
    worlds
}

trait Tap {
    fn tap(self) -> World;
}

impl Tap for World {
    fn tap(mut self) -> World {
        self.look();
        self
    }
}

#[test]
fn a_breach_sets_weight_zero_in_the_look_that_saw_it_in_every_phase() {
    for mut world in exposed() {
        let phase = world.status.phase;
        world.answer(2000, 0.5);
        world.look();
        assert_eq!(world.effects[0], Effect::SetWeight { candidate: 0 }, "{phase}");
        assert_eq!((world.status.phase, world.weight()), (Phase::RollingBack, 0), "{phase}");
        let breach = world.status.last_breach.as_ref().unwrap();
        assert_eq!((breach.metric.as_str(), breach.phase), ("errorRate", phase));
        assert!(breach.value.low > breach.limit && breach.weight > 0 && breach.samples >= breach.bad && breach.bad > 0);
    }
}

#[test]
fn a_breach_sets_weight_zero_even_when_the_candidate_is_unready() {
    let mut world = World::new(usual());
    world.until(Phase::Progressing).look();
    world.answer(2000, 1.0);
    world.seen.candidate.state = ServerState::Unready { reason: "503".to_owned() };
    world.seen.baseline.state = ServerState::Unready { reason: "503".to_owned() };
    world.look();
    assert_eq!(world.effects[0], Effect::SetWeight { candidate: 0 });
    assert_eq!(world.status.last_breach.as_ref().unwrap().metric, "errorRate");
}

#[test]
fn a_candidate_that_crashes_or_is_not_ready_under_traffic_is_an_availability_breach() {
    let states = [
        ServerState::Absent,
        ServerState::Starting,
        ServerState::Unready { reason: "503".to_owned() },
        ServerState::Crashed { reason: "signal 11".to_owned() },
        ServerState::Ready { epoch: 2 },
    ];
    for state in states {
        for mut world in exposed() {
            world.seen.candidate.state = state.clone();
            world.look();
            assert_eq!(world.effects[0], Effect::SetWeight { candidate: 0 }, "{state:?}");
            assert_eq!(world.status.last_breach.as_ref().unwrap().metric, "availability");
            assert!(world.log().contains(&reasons::CANDIDATE_UNAVAILABLE));
        }
    }
}

#[test]
fn a_rollback_is_complete_when_the_counters_show_it() {
    let mut world = World::new(usual());
    world.until(Phase::Progressing).look();
    world.answer(2000, 1.0);
    world.look().serve(1, 0, 0.0);
    assert_eq!(world.status.phase, Phase::RollingBack, "no traffic shows nothing");
    world.serve(1, 200, 0.0).look();
    assert_eq!(world.status.phase, Phase::RolledBack);
    assert!(world.status.weights.verified);
    assert_eq!(world.condition("RolledBack"), ("True", reasons::ANALYSIS_FAILED));
    assert_eq!(world.condition("Stalled").0, "True");
    assert_eq!(world.seen.candidate.state, ServerState::Absent);
}

#[test]
fn a_rollback_that_no_counters_show_ends_at_its_deadline_and_says_so() {
    let mut world = World::new(usual());
    world.until(Phase::Progressing).look();
    world.answer(2000, 1.0);
    world.look().serve(61, 0, 0.0);
    assert_eq!(world.status.phase, Phase::RolledBack);
    assert_eq!(world.condition("RolledBack"), ("True", reasons::ROLLBACK_UNVERIFIED));
}

#[test]
fn a_router_that_ignores_weight_zero_is_told_again_at_every_look() {
    let mut world = World::new(usual());
    world.until(Phase::Progressing).look();
    world.obedient = false;
    world.answer(2000, 1.0);
    for _ in 0..20 {
        world.look();
        assert_eq!(world.effects[0], Effect::SetWeight { candidate: 0 });
    }
}

#[test]
fn after_the_rollback_window_there_is_no_baseline_to_go_back_to() {
    let mut world = World::new(usual());
    world.until(Phase::Succeeded).look();
    world.answer(2000, 1.0);
    world.seen.candidate.state = ServerState::Crashed { reason: "signal 9".to_owned() };
    world.look();
    assert_eq!((world.status.phase, world.weight()), (Phase::Succeeded, 100));
}

#[test]
fn a_candidate_that_goes_bad_after_a_long_good_watch_is_caught_within_fifty_bad_answers() {
    let mut rollout = usual();
    rollout["rollbackWindow"] = json!("24h");
    let mut world = World::new(rollout);
    world.until(Phase::Watching).serve(4 * 3600, 100, 0.002);
    assert_eq!(world.status.phase, Phase::Watching);
    let mut bad = 0;
    while world.weight() > 0 {
        world.answer(10, 1.0);
        bad += 10;
        world.now += std::time::Duration::from_millis(100);
        world.look();
        assert!(bad <= 50);
    }
}

#[test]
fn a_critical_metric_without_data_holds_and_ends_at_the_deadline() {
    let mut world = World::new(usual());
    world.until(Phase::Progressing).look();
    world.seen.candidate.scrapes.clear();
    for _ in 0..700 {
        world.now += std::time::Duration::from_secs(1);
        world.outcomes(Role::Baseline).requests.entry(200).and_modify(|count| *count += 200);
        world.look();
        if world.status.phase != Phase::Progressing {
            break;
        }
        assert_eq!(world.weight(), 5);
    }
    assert_eq!(world.status.phase, Phase::RollingBack);
    assert!(world.log().contains(&reasons::NO_DATA) && world.log().contains(&reasons::PROGRESS_DEADLINE_EXCEEDED));
    assert_eq!(world.status.last_breach, None, "no data is no verdict");
}

#[test]
fn looks_without_data_have_a_limit_of_their_own_when_asked_for() {
    let mut rollout = usual();
    rollout["analysis"]["consecutiveErrorLimit"] = json!(5);
    let mut world = World::new(rollout);
    world.until(Phase::Progressing).look();
    let scrapes = std::mem::take(&mut world.seen.candidate.scrapes);
    for _ in 0..4 {
        world.now += std::time::Duration::from_secs(1);
        world.look();
    }
    assert_eq!(world.status.phase, Phase::Progressing);
    world.seen.candidate.scrapes = scrapes;
    world.serve(1, 200, 0.0);
    assert_eq!(world.status.analysis.consecutive_errors, 0);
    world.seen.candidate.scrapes.clear();
    for _ in 0..5 {
        world.now += std::time::Duration::from_secs(1);
        world.look();
    }
    assert_eq!(world.weight(), 0);
    assert!(world.log().contains(&reasons::NO_DATA_LIMIT));
}

#[test]
fn a_restarted_baseline_neither_loses_counts_nor_breaks_a_bound() {
    let mut world = World::new(watching(json!([
        { "name": "errorRate", "maxRegression": 0.01, "critical": true }
    ])));
    world.until(Phase::Progressing).serve(20, 2000, 0.0);
    world.seen.baseline.scrapes[0].epoch = 2;
    *world.outcomes(Role::Baseline) = Outcomes::default();
    world.serve(1, 2000, 0.0);
    let baseline = world.status.analysis.results[0].baseline.unwrap();
    assert!(baseline.samples >= 20 * 1900, "{}", baseline.samples);
    assert_eq!(world.status.analysis.results[0].verdict, Verdict::Pass);
}

#[test]
fn right_on_the_whole_and_wrong_on_one_slice_is_a_breach_of_that_slice() {
    let mut world = World::new(watching(json!([
        { "name": "accuracy", "maxRegression": 0.02 },
        { "name": "accuracy", "slice": "dark", "maxRegression": 0.02 }
    ])));
    world.until(Phase::Progressing).look();
    for look in 1..=60_u64 {
        world.now += std::time::Duration::from_secs(1);
        for (role, wrong_in_ten) in [(Role::Baseline, 0), (Role::Candidate, 6)] {
            let dark = Feedback { correct: look * (10 - wrong_in_ten), incorrect: look * wrong_in_ten };
            let all = Feedback { correct: dark.correct + look * 400, incorrect: dark.incorrect };
            world.outcomes(role).feedback = all;
            let slices = BTreeMap::from([("dark".to_owned(), Outcomes { feedback: dark, ..Outcomes::default() })]);
            match role {
                Role::Baseline => world.seen.baseline.scrapes[0].counters.slices = slices,
                Role::Candidate => world.seen.candidate.scrapes[0].counters.slices = slices,
            }
        }
        world.look();
    }
    let breach = world.status.last_breach.as_ref().unwrap();
    assert_eq!((breach.metric.as_str(), breach.slice.as_deref()), ("accuracy", Some("dark")));
    assert!(breach.samples <= 60, "{}", breach.samples);
}

#[test]
fn disagreement_in_shadow_ends_the_rollout_before_any_user_sees_the_candidate() {
    let mut world = World::new(watching(json!([{ "name": "agreement", "thresholdRange": { "min": 0.98 } }])));
    world.until(Phase::Shadowing).look();
    for _ in 0..40 {
        world.now += std::time::Duration::from_secs(1);
        let agreement = &mut world.outcomes(Role::Candidate).agreement;
        *agreement = Agreement { agree: agreement.agree + 8, disagree: agreement.disagree + 2 };
        world.look();
        assert_eq!(world.weight(), 0);
    }
    assert_eq!(world.status.phase, Phase::RolledBack);
    assert_eq!(world.status.last_breach.as_ref().unwrap().metric, "agreement");
}

#[test]
fn agreement_in_shadow_lets_the_rollout_go_on_once_it_is_proved() {
    let mut world = World::new(watching(json!([{ "name": "agreement", "thresholdRange": { "min": 0.98 } }])));
    world.until(Phase::Shadowing).look();
    let mut pairs = 0;
    while world.status.phase == Phase::Shadowing {
        world.now += std::time::Duration::from_secs(1);
        world.outcomes(Role::Candidate).agreement.agree += 10;
        pairs += 10;
        world.look();
        assert!(pairs < 400, "{:?}", world.status.analysis.results);
    }
    assert!(pairs >= 50, "{pairs} pairs prove nothing");
}

#[test]
fn labelled_pairs_tell_a_worse_candidate_with_few_samples() {
    let metrics = json!([{ "name": "accuracy", "source": "Shadow", "maxRegression": 0.02 }]);
    let mut world = World::new(watching(metrics));
    world.until(Phase::Shadowing).look();
    let mut looks = 0;
    while world.status.phase == Phase::Shadowing {
        world.now += std::time::Duration::from_secs(1);
        let pairs = &mut world.outcomes(Role::Candidate).pairs;
        *pairs = Pairs {
            both_correct: pairs.both_correct + 8,
            baseline_only: pairs.baseline_only + 2,
            both_wrong: pairs.both_wrong,
            candidate_only: pairs.candidate_only,
        };
        looks += 1;
        world.look();
        assert!(looks < 20);
    }
    assert_eq!(world.status.last_breach.as_ref().unwrap().metric, "accuracy");
}

#[test]
fn a_slow_candidate_breaks_an_absolute_and_a_relative_latency_bound() {
    for bound in [json!({ "max": "20ms" }), json!(null)] {
        let metric = if bound.is_null() {
            json!({ "name": "latencyP99", "maxRegression": "20%", "critical": true })
        } else {
            json!({ "name": "latencyP99", "thresholdRange": bound, "critical": true })
        };
        let mut world = World::new(watching(json!([metric])));
        world.until(Phase::Shadowing);
        world.outcomes(Role::Baseline).latency = durations(0.010, 0);
        world.outcomes(Role::Candidate).latency = durations(0.040, 0);
        world.until(Phase::Progressing).look();
        let mut seconds = 0;
        while world.weight() > 0 {
            seconds += 1;
            world.now += std::time::Duration::from_secs(1);
            world.outcomes(Role::Baseline).latency = durations(0.010, 1900 * seconds);
            world.outcomes(Role::Candidate).latency = durations(0.040, 5 * seconds);
            world.look();
            assert!(seconds < 10);
        }
        assert_eq!(world.status.last_breach.as_ref().unwrap().metric, "latencyP99");
        assert!(world.status.last_breach.as_ref().unwrap().value.value > 0.03);
    }
}

#[test]
fn a_querys_number_outside_its_range_is_a_breach_and_no_number_is_none() {
    let mut world = World::new(watching(json!([
        { "name": "line-stops", "thresholdRange": { "max": 0 },
          "prometheus": { "address": "http://p:9090", "query": "sum(stops)" } }
    ])));
    world.until(Phase::Progressing).look();
    world.seen.prometheus.insert("line-stops".to_owned(), f64::NAN);
    world.look();
    assert_eq!(world.status.analysis.results[0].verdict, Verdict::NoData);
    world.seen.prometheus.insert("line-stops".to_owned(), 0.0);
    world.look();
    assert_eq!(world.status.analysis.results[0].verdict, Verdict::Pass);
    world.seen.prometheus.insert("line-stops".to_owned(), 2.0);
    world.look();
    assert_eq!((world.weight(), world.status.last_breach.as_ref().unwrap().limit), (0, 0.0));
}

#[test]
fn below_min_samples_there_is_neither_a_pass_nor_a_breach() {
    let mut rollout = usual();
    rollout["analysis"]["metrics"][0]["minSamples"] = json!(500);
    let mut world = World::new(rollout);
    world.until(Phase::Progressing).look();
    world.answer(2000, 1.0);
    world.look();
    let result = &world.status.analysis.results[0];
    assert_eq!((result.verdict, result.samples_needed), (Verdict::Inconclusive, Some(500 - result.samples)));
}
