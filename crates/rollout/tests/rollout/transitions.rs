//! The way from a manifest to a promoted candidate, and what people may do on it.

use std::time::Duration;

use sentei_api::{Phase, status::Role};
use sentei_rollout::{
    Effect, Server,
    observation::{Compression, Parity, ServerState, Verb},
    reasons,
};
use serde_json::json;

use super::world::{World, candidate, digest, spec, usual};

#[test]
fn a_healthy_candidate_climbs_every_step_is_promoted_and_watched() {
    let mut world = World::new(usual());
    world.until(Phase::Succeeded);
    let weights: Vec<u8> = world
        .status
        .decisions
        .iter()
        .filter(|decision| decision.reason == reasons::TRAFFIC_WEIGHT_UPDATED)
        .map(|decision| decision.weight)
        .collect();
    assert_eq!(weights, [5, 50, 100]);
    assert_eq!(world.condition("Ready"), ("True", reasons::SUCCEEDED));
    assert_eq!(world.condition("Promoted").0, "True");
    world.look();
    assert_eq!(world.seen.baseline.state, ServerState::Absent);
    assert_eq!(world.seen.weight, Some(100));
}

#[test]
fn the_first_look_brings_the_baseline_up_and_the_second_compresses() {
    let mut world = World::new(usual());
    world.seen.compression = Compression::NotStarted;
    world.look();
    assert!(world.effects.contains(&Effect::EnsureServing(Server::Baseline)));
    world.look();
    let key = world.plan.compression_key().to_owned();
    assert!(world.effects.contains(&Effect::StartCompression { key }));
    assert_eq!(world.status.phase, Phase::Compressing);
    world.seen.compression = Compression::Running { stage: "stage 1".to_owned() };
    assert!(!world.look().effects.iter().any(|effect| matches!(effect, Effect::StartCompression { .. })));
}

#[test]
fn a_baseline_that_fails_its_own_gate_fails_before_anything_starts() {
    let mut world = World::new(usual());
    world.seen.compression = Compression::BaselineFailsGates("accuracy is 0.60, min 0.90".to_owned());
    world.look().look();
    assert_eq!(world.status.phase, Phase::Failed);
    assert!(world.log().contains(&reasons::BASELINE_FAILS_GATES));
    assert_eq!(world.condition("Stalled").0, "True");
}

#[test]
fn without_a_candidate_that_passed_every_gate_the_baseline_stays() {
    let mut world = World::new(usual());
    world.seen.compression = Compression::Done(vec![candidate('b', false)]);
    world.until(Phase::Failed);
    assert_eq!(world.log().last(), Some(&reasons::NO_CANDIDATE));
}

#[test]
fn in_manual_mode_a_person_picks_and_only_what_passed_every_gate() {
    let mut manual = spec(usual());
    manual.approval.mode = sentei_api::spec::ApprovalMode::Manual;
    let mut world = World::with_spec(&manual);
    world.until(Phase::AwaitingApproval).serve(10_000, 10, 0.0);
    assert_eq!((world.status.phase, world.weight()), (Phase::AwaitingApproval, 0));
    world.ask(Verb::Approve { digest: digest('b') });
    assert_eq!(world.log().last(), Some(&reasons::REQUEST_REFUSED));
    world.ask(Verb::Approve { digest: digest('c') });
    assert_eq!(world.status.phase, Phase::AwaitingApproval);
    world.ask(Verb::Approve { digest: digest('a') });
    assert_eq!(world.status.phase, Phase::Shadowing);
    assert_eq!(world.status.selected, Some(digest('a')));
    assert_eq!(world.condition("Approved"), ("True", reasons::CANDIDATE_APPROVED));
}

#[test]
fn a_person_may_refuse_every_candidate() {
    let mut manual = spec(usual());
    manual.approval.mode = sentei_api::spec::ApprovalMode::Manual;
    let mut world = World::with_spec(&manual);
    world.until(Phase::AwaitingApproval).ask(Verb::Reject);
    assert_eq!(world.status.phase, Phase::Failed);
}

#[test]
fn the_weight_stays_zero_until_the_candidate_is_ready_and_its_answers_are_compared() {
    let mut world = World::new(usual());
    world.obedient = false;
    world.seen.baseline.state = ServerState::Ready { epoch: 1 };
    world.serve(60, 200, 0.0);
    assert_eq!((world.status.phase, world.weight()), (Phase::Shadowing, 0));
    world.seen.candidate.state = ServerState::Ready { epoch: 1 };
    world.serve(10, 200, 0.0);
    assert_eq!(world.weight(), 0, "the wrong artifact is loaded");
    world.seen.candidate.digest = Some(digest('a'));
    world.serve(10, 200, 0.0);
    assert_eq!(world.weight(), 0, "parity is unknown");
    world.seen.parity = Parity::Passed;
    world.serve(10, 200, 0.0);
    assert_eq!(world.weight(), 5);
}

#[test]
fn a_candidate_whose_answers_differ_from_the_recorded_ones_never_gets_traffic() {
    let mut world = World::new(usual());
    world.until(Phase::Shadowing);
    world.seen.parity = Parity::Failed("0.3 on input 2".to_owned());
    world.look();
    assert_eq!((world.status.phase, world.weight()), (Phase::Failed, 0));
}

#[test]
fn a_candidate_that_never_gets_ready_fails_at_the_deadline() {
    let mut world = World::new(usual());
    world.until(Phase::Shadowing);
    world.obedient = false;
    world.seen.candidate.state = ServerState::Starting;
    world.serve(590, 200, 0.0);
    assert_eq!(world.status.phase, Phase::Shadowing);
    world.serve(20, 200, 0.0);
    assert_eq!(world.status.phase, Phase::Failed);
    assert_eq!(world.log().last(), Some(&reasons::PROGRESS_DEADLINE_EXCEEDED));
}

#[test]
fn a_weight_counts_as_set_only_when_the_counters_show_it() {
    let mut world = World::new(usual());
    world.until(Phase::Progressing).serve(2, 0, 0.0);
    assert_eq!((world.weight(), world.status.weights.verified), (5, false));
    world.serve(1, 10, 0.0);
    assert!(!world.status.weights.verified, "no request of ten reached the candidate");
    world.serve(1, 200, 0.0);
    assert!(world.status.weights.verified);
}

#[test]
fn consecutive_weights_are_taken_at_once() {
    let mut rollout = usual();
    rollout["canary"]["steps"] = json!([{ "setWeight": 5 }, { "setWeight": 25 }, { "pause": { "duration": "1m" } }]);
    let mut world = World::new(rollout);
    world.look();
    for _ in 0..8 {
        world.look();
    }
    assert_eq!((world.weight(), world.status.current_step_index), (25, 2));
}

#[test]
fn a_pause_is_not_cut_short_by_a_pass() {
    let mut world = World::new(usual());
    world.until(Phase::Progressing).serve(50, 2000, 0.0);
    assert_eq!(world.weight(), 5);
    world.serve(15, 2000, 0.0);
    assert_eq!(world.weight(), 50);
}

#[test]
fn a_pause_lasts_until_every_critical_metric_has_passed() {
    let mut world = World::new(usual());
    world.until(Phase::Progressing).serve(61, 20, 0.0);
    assert_eq!(world.weight(), 5, "60 samples prove nothing about 1 %");
    assert!(world.log().contains(&reasons::ANALYSIS_INCONCLUSIVE));
    world.serve(10, 2000, 0.0);
    assert_eq!(world.weight(), 50);
}

#[test]
fn enough_samples_without_a_breach_are_enough_where_the_manifest_says_so() {
    let mut rollout = usual();
    rollout["analysis"]["metrics"][0]["minSamples"] = json!(50);
    let mut world = World::new(rollout);
    world.until(Phase::Progressing).serve(63, 20, 0.0);
    assert_eq!(world.weight(), 50);
}

#[test]
fn an_open_pause_waits_for_a_person_however_long() {
    let mut rollout = usual();
    rollout["canary"]["steps"] = json!([{ "setWeight": 5 }, { "pause": {} }, { "setWeight": 50 }]);
    let mut world = World::new(rollout);
    world.until(Phase::Paused).serve(5000, 200, 0.0);
    assert_eq!((world.status.phase, world.weight()), (Phase::Paused, 5));
    world.ask(Verb::Resume).look();
    assert_eq!(world.weight(), 50);
}

#[test]
fn a_request_shown_twice_is_answered_once() {
    let mut rollout = usual();
    rollout["canary"]["steps"] = json!([{ "pause": {} }, { "pause": {} }, { "pause": {} }]);
    let mut world = World::new(rollout);
    world.until(Phase::Paused).ask(Verb::Promote { full: false });
    for _ in 0..5 {
        world.look();
    }
    assert_eq!((world.status.phase, world.status.current_step_index), (Phase::Paused, 1));
}

#[test]
fn a_person_may_stop_and_let_go() {
    let mut world = World::new(usual());
    world.until(Phase::Progressing).ask(Verb::Pause).serve(1000, 200, 0.0);
    assert_eq!((world.status.phase, world.weight()), (Phase::Paused, 5));
    world.ask(Verb::Resume);
    assert_eq!((world.status.phase, world.status.current_step_index), (Phase::Progressing, 2));
    world.until(Phase::Watching);
}

#[test]
fn promote_full_skips_the_steps_but_not_the_proofs() {
    let mut world = World::new(usual());
    world.until(Phase::Shadowing);
    world.obedient = false;
    world.seen.parity = Parity::Unknown;
    world.ask(Verb::Promote { full: true });
    assert_eq!(world.weight(), 0);
    world.seen.parity = Parity::Passed;
    world.ask(Verb::Promote { full: true });
    assert_eq!((world.status.phase, world.weight()), (Phase::Promoting, 100));
}

#[test]
fn abort_before_any_exposure_fails_and_after_it_rolls_back() {
    let mut world = World::new(usual());
    world.until(Phase::Shadowing).ask(Verb::Abort);
    assert_eq!(world.status.phase, Phase::Failed);
    let mut world = World::new(usual());
    world.until(Phase::Progressing).ask(Verb::Abort);
    assert_eq!((world.status.phase, world.seen.weight), (Phase::RollingBack, Some(0)));
    world.until(Phase::RolledBack);
    assert_eq!(world.condition("RolledBack"), ("True", reasons::ABORTED));
}

#[test]
fn retry_starts_over_and_keeps_what_compression_found() {
    let mut world = World::new(usual());
    world.until(Phase::Progressing).ask(Verb::Abort).until(Phase::RolledBack);
    world.look();
    assert_eq!(world.seen.candidate.state, ServerState::Absent);
    world.ask(Verb::Retry).until(Phase::Watching);
    assert_eq!(world.condition("RolledBack").0, "False");
}

#[test]
fn rollback_after_the_window_brings_the_baseline_up_before_it_takes_the_weight() {
    let mut world = World::new(usual());
    world.until(Phase::Succeeded).look();
    world.obedient = false;
    world.seen.baseline.state = ServerState::Absent;
    world.ask(Verb::Rollback).look();
    assert_eq!((world.status.phase, world.weight()), (Phase::RollingBack, 100));
    assert!(world.effects.contains(&Effect::EnsureServing(Server::Baseline)));
    world.seen.baseline.state = ServerState::Ready { epoch: 2 };
    world.look();
    assert_eq!(world.weight(), 0);
    assert_eq!(world.effects[0], Effect::SetWeight { candidate: 0 });
}

#[test]
fn suspend_holds_the_weight_and_the_clock() {
    let mut suspended = spec(usual());
    let mut world = World::with_spec(&suspended);
    world.until(Phase::Progressing);
    suspended.suspend = true;
    world.plan = sentei_rollout::Plan::parse(&suspended).unwrap();
    world.seen.generation = 2;
    world.serve(5000, 200, 0.0);
    assert_eq!((world.status.phase, world.weight()), (Phase::Progressing, 5));
    assert_eq!(world.status.observed_generation, Some(2));
    suspended.suspend = false;
    world.plan = sentei_rollout::Plan::parse(&suspended).unwrap();
    world.until(Phase::Watching);
}

#[test]
fn a_changed_rollout_takes_the_weight_first_and_starts_over_without_pruning_again() {
    let mut changed = spec(usual());
    let mut world = World::with_spec(&changed);
    world.until(Phase::Progressing);
    changed.rollout.progress_deadline_seconds = 60;
    world.plan = sentei_rollout::Plan::parse(&changed).unwrap();
    world.seen.generation = 2;
    world.look();
    assert_eq!(world.effects[0], Effect::SetWeight { candidate: 0 });
    assert_eq!((world.status.phase, world.weight()), (Phase::Pending, 0));
    assert_eq!(world.status.candidates.len(), 2);
    world.until(Phase::Watching);
}

#[test]
fn a_changed_source_after_success_waits_for_the_baseline() {
    let mut changed = spec(usual());
    let mut world = World::with_spec(&changed);
    world.until(Phase::Succeeded).look();
    changed.source.uri = "next.onnx".to_owned();
    world.plan = sentei_rollout::Plan::parse(&changed).unwrap();
    world.obedient = false;
    world.look().look();
    assert_eq!(world.weight(), 100);
    world.seen.baseline.state = ServerState::Ready { epoch: 9 };
    world.obedient = true;
    world.look().look();
    assert_eq!((world.weight(), world.status.phase), (0, Phase::Pending));
}

#[test]
fn lost_effects_are_asked_for_again() {
    let mut world = World::new(usual());
    world.until(Phase::Progressing);
    world.seen.weight = Some(0);
    world.look();
    assert!(world.effects.contains(&Effect::SetWeight { candidate: 5 }));
    world.seen.candidate.state = ServerState::Ready { epoch: 1 };
    world.seen.weight = Some(40);
    world.look();
    assert!(world.effects.contains(&Effect::SetWeight { candidate: 5 }));
}

#[test]
fn hands_that_restart_bring_both_servers_back_before_the_candidate_gets_its_weight_again() {
    let mut world = World::new(usual());
    world.until(Phase::Progressing);
    world.seen.resuming = true;
    world.seen.weight = None;
    world.seen.candidate.state = ServerState::Absent;
    world.seen.baseline.state = ServerState::Absent;
    world.look();
    assert_eq!(world.effects[0], Effect::SetWeight { candidate: 0 });
    assert!(world.effects.contains(&Effect::EnsureServing(Server::Baseline)));
    world.seen.candidate.state = ServerState::Ready { epoch: 77 };
    world.look();
    world.seen.resuming = false;
    world.look();
    assert_eq!((world.status.phase, world.weight(), world.seen.weight), (Phase::Progressing, 5, Some(5)));
}

#[test]
fn the_baseline_is_served_in_every_phase_but_after_the_window() {
    for phase in [Phase::Compressing, Phase::Shadowing, Phase::Progressing, Phase::Watching] {
        let mut world = World::new(usual());
        world.until(phase);
        world.seen.baseline.state = ServerState::Crashed { reason: "signal 9".to_owned() };
        world.look();
        assert!(world.effects.contains(&Effect::EnsureServing(Server::Baseline)), "{phase}");
        assert!(!world.effects.contains(&Effect::ScaleDown { role: Role::Baseline }), "{phase}");
    }
}

#[test]
fn a_rollout_does_not_climb_while_the_baseline_is_down() {
    let mut world = World::new(usual());
    world.until(Phase::Progressing);
    world.obedient = false;
    world.seen.baseline.state = ServerState::Unready { reason: "503".to_owned() };
    world.serve(120, 2000, 0.0);
    assert_eq!(world.weight(), 5);
    assert_eq!(world.condition("BaselineHealthy"), ("False", reasons::BASELINE_DEGRADED));
    assert!(world.log().contains(&reasons::BASELINE_DEGRADED));
}

#[test]
fn the_log_is_bounded_and_every_reason_is_listed() {
    let mut world = World::new(usual());
    for round in 0..60 {
        world.until(Phase::Progressing).ask(Verb::Abort).until(Phase::RolledBack).ask(Verb::Retry);
        assert!(world.status.decisions.len() <= 200, "{round}");
    }
    assert!(world.log().iter().all(|reason| reasons::ALL.contains(reason)));
    assert!(world.status.answered.len() <= 32);
}

#[test]
fn a_look_asks_for_the_next_one_after_the_interval() {
    let mut world = World::new(usual());
    world.until(Phase::Progressing).look().look();
    assert!(world.effects.contains(&Effect::Requeue { after: Duration::from_secs(1) }));
}
