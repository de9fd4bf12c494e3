//! What holds of any sequence of looks, however strange.

use std::time::Duration;

use proptest::prelude::*;
use sentei_api::{Phase, spec::ApprovalMode, status::Role};
use sentei_rollout::{
    Effect, Plan,
    observation::{Parity, Request, ServerState, Verb},
    statistics::{
        Line, Sample, log_wealth, two_sample,
        wealth::{Outcome, Stakes},
    },
    step,
};

use super::world::{World, carry_out, digest, spec, usual};

/// One thing that may happen between two looks.
#[derive(Clone, Debug)]
enum Happening {
    Serve { requests: u64, failing: f64 },
    Candidate(ServerState),
    Baseline(ServerState),
    Parity(Parity),
    Router(Option<u8>),
    Ask(Verb),
    Suspend(bool),
    Restart(u64),
    Blind,
    Wait(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    let state = prop_oneof![
        3 => Just(ServerState::Ready { epoch: 1 }),
        1 => Just(ServerState::Ready { epoch: 2 }),
        1 => Just(ServerState::Absent),
        1 => Just(ServerState::Starting),
        1 => Just(ServerState::Crashed { reason: "signal 9".to_owned() }),
    ];
    let verb = prop_oneof![
        Just(Verb::Approve { digest: digest('a') }),
        Just(Verb::Approve { digest: digest('b') }),
        Just(Verb::Reject),
        Just(Verb::Promote { full: true }),
        Just(Verb::Promote { full: false }),
        Just(Verb::Pause),
        Just(Verb::Resume),
        Just(Verb::Abort),
        Just(Verb::Retry),
        Just(Verb::Rollback),
    ];
    let parity =
        prop_oneof![3 => Just(Parity::Passed), 1 => Just(Parity::Unknown), 1 => Just(Parity::Failed("x".into()))];
    prop_oneof![
        8 => (0_u64..3000, prop_oneof![3 => Just(0.0), 1 => Just(0.01), 1 => Just(1.0)])
            .prop_map(|(requests, failing)| Happening::Serve { requests, failing }),
        1 => state.clone().prop_map(Happening::Candidate),
        1 => state.prop_map(Happening::Baseline),
        1 => parity.prop_map(Happening::Parity),
        1 => prop_oneof![Just(None), (0_u8..=100).prop_map(Some)].prop_map(Happening::Router),
        2 => verb.prop_map(Happening::Ask),
        1 => any::<bool>().prop_map(Happening::Suspend),
        1 => (2_u64..5).prop_map(Happening::Restart),
        1 => Just(Happening::Blind),
        4 => (1_u64..400).prop_map(Happening::Wait),
    ]
}

fn happen(world: &mut World, manual: bool, happening: Happening) {
    world.now += Duration::from_secs(1);
    match happening {
        Happening::Serve { requests, failing } if !world.seen.candidate.scrapes.is_empty() => {
            world.answer(requests, failing);
        }
        Happening::Serve { .. } | Happening::Blind => world.seen.candidate.scrapes.clear(),
        Happening::Candidate(state) => world.seen.candidate.state = state,
        Happening::Baseline(state) => world.seen.baseline.state = state,
        Happening::Parity(parity) => world.seen.parity = parity,
        Happening::Router(weight) => world.seen.weight = weight,
        Happening::Ask(verb) => {
            let id = format!("{}", world.seen.requests.len());
            world.seen.requests.push(Request { id, verb });
        }
        Happening::Suspend(suspend) => {
            let mut spec = spec(usual());
            spec.approval.mode = if manual { ApprovalMode::Manual } else { ApprovalMode::Automatic };
            spec.suspend = suspend;
            world.plan = Plan::parse(&spec).unwrap();
        }
        Happening::Restart(epoch) => {
            if let Some(scrape) = world.seen.candidate.scrapes.first_mut() {
                scrape.epoch = epoch;
                scrape.counters = sentei_rollout::observation::Counters::default();
            }
        }
        Happening::Wait(seconds) => world.now += Duration::from_secs(seconds),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_looks_breaks_a_promise(
        manual in any::<bool>(),
        happenings in prop::collection::vec(happening(), 1..120),
    ) {
        let mut start = spec(usual());
        start.approval.mode = if manual { ApprovalMode::Manual } else { ApprovalMode::Automatic };
        let mut world = World::with_spec(&start);
        for happening in happenings {
            happen(&mut world, manual, happening);
            let before = world.status.clone();
            let decision = step(&world.plan, &before, &world.seen, world.now);
            prop_assert_eq!(&decision, &step(&world.plan, &before, &world.seen, world.now), "not a function");
            let after = &decision.status;
            let raised = decision
                .effects
                .iter()
                .any(|effect| matches!(effect, Effect::SetWeight { candidate } if *candidate > 0));
            prop_assert!(after.weights.baseline + after.weights.candidate == 100);
            if after.weights.candidate > before.weights.candidate {
                let ready = matches!(world.seen.candidate.state, ServerState::Ready { .. });
                prop_assert!(ready && world.seen.parity == Parity::Passed);
                prop_assert_eq!(&after.selected, &Some(digest('a')), "b has not passed every gate");
                prop_assert_eq!(&world.seen.candidate.digest, &after.selected);
                if manual {
                    prop_assert!(before.decisions.iter().any(|decision| decision.reason == "CandidateApproved"));
                }
            }
            if raised {
                prop_assert!(after.weights.candidate > 0);
            }
            if after.weights.candidate == 0 && world.seen.weight != Some(0) {
                prop_assert_eq!(&decision.effects[0], &Effect::SetWeight { candidate: 0 });
            }
            if after.phase == Phase::RolledBack || after.phase == Phase::Failed || after.phase == Phase::Pending {
                prop_assert_eq!(after.weights.candidate, 0);
            }
            if before.phase.is_exposed() && before.phase != Phase::Succeeded && before.weights.candidate > 0
                && after.phase.is_exposed() && after.phase != Phase::Succeeded
            {
                let ready = matches!(world.seen.candidate.state, ServerState::Ready { .. });
                prop_assert!(ready, "traffic to a candidate that is not ready");
            }
            let baseline_stopped = decision.effects.contains(&Effect::ScaleDown { role: Role::Baseline });
            prop_assert!(!baseline_stopped || after.phase == Phase::Succeeded);
            prop_assert!(after.decisions.len() <= 200 && after.answered.len() <= 32);
            let kept = serde_json::to_string(after).unwrap();
            prop_assert_eq!(&serde_json::from_str::<sentei_api::CompressedModelStatus>(&kept).unwrap(), after);
            for effect in &decision.effects {
                carry_out(&mut world.seen, effect);
            }
            world.status = decision.status;
        }
    }

    #[test]
    fn a_wealth_falls_with_a_good_outcome_and_rises_with_a_bad_one(
        bad in 0_u64..1000, good in 0_u64..100_000, limit in 0.0001_f64..0.9,
    ) {
        let stakes = Stakes::for_loss(limit);
        let wealth = |bad, good| log_wealth(
            &[Outcome { value: 1.0 - limit, count: bad }, Outcome { value: -limit, count: good }], &stakes,
        );
        prop_assert!(wealth(bad + 1, good) > wealth(bad, good));
        prop_assert!(wealth(bad, good + 1) < wealth(bad, good));
    }

    #[test]
    fn no_counts_are_both_within_and_beyond_a_limit(
        candidate in (0_u64..2000, 0_u64..2000), baseline in (0_u64..2000, 0_u64..2000), points in 0.0_f64..0.2,
    ) {
        let sample = |(bad, good)| Sample { bad, good };
        let limit = Line { slope: 1.0, intercept: points };
        let beyond = Line { intercept: points + 0.01, ..limit };
        let breach = two_sample::refutes_within(sample(candidate), sample(baseline), limit, 600_f64.ln());
        let pass = two_sample::refutes_beyond(sample(candidate), sample(baseline), beyond, 20_f64.ln());
        prop_assert!(!(breach && pass));
    }

    #[test]
    fn more_bad_outcomes_never_take_a_breach_back(
        candidate in (0_u64..300, 0_u64..300), baseline in (0_u64..300, 0_u64..3000), more in 1_u64..50,
    ) {
        let limit = Line { slope: 1.0, intercept: 0.01 };
        let at = |bad| two_sample::refutes_within(
            Sample { bad, good: candidate.1 }, Sample { bad: baseline.0, good: baseline.1 }, limit, 100_f64.ln(),
        );
        prop_assert!(!at(candidate.0) || at(candidate.0 + more));
    }
}
