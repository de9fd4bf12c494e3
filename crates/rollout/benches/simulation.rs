//! Bad answers served before a rollback, and good candidates rolled back: this crate's `step` against rules on windows as
//! Argo Rollouts and Flagger are used, with the same traffic. Prints one table.
//!
//! The rules on windows see what a Prometheus scraped every `scrape` seconds tells about the last `window` seconds, every
//! `interval` seconds, and give up after more than `failures` values above the limit; Flagger acts one interval later.

use std::{
    error::Error,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sentei_api::{
    CompressedModelSpec, CompressedModelStatus,
    evidence::{Candidate, Cost},
};
use sentei_rollout::{
    Effect, Observation, Plan, Server,
    observation::{Compression, Parity, Scrape, ServerState},
    step,
};

const LIMIT: f64 = 0.01;
const SECONDS: usize = 1200;
const ROLLOUTS: usize = 100;

#[derive(Clone, Copy)]
struct WindowRule {
    interval: usize,
    failures: usize,
    scrape: usize,
    window: usize,
    late: usize,
}

enum Rule {
    Ours,
    Window(WindowRule),
}

fn main() -> Result<(), Box<dyn Error>> {
    let rules = [
        ("here, 1 s", Rule::Ours),
        ("Argo 10 s, 0", Rule::Window(WindowRule { interval: 10, failures: 0, scrape: 5, window: 60, late: 0 })),
        ("Flagger 10 s, 1", Rule::Window(WindowRule { interval: 10, failures: 0, scrape: 5, window: 60, late: 10 })),
        ("Argo 60 s, 3", Rule::Window(WindowRule { interval: 60, failures: 3, scrape: 15, window: 60, late: 0 })),
        ("Flagger 60 s, 10", Rule::Window(WindowRule { interval: 60, failures: 9, scrape: 15, window: 60, late: 60 })),
    ];
    println!(
        "limit {LIMIT}, {SECONDS} s, {ROLLOUTS} rollouts a cell: share rolled back, median s, mean bad answers served"
    );
    print!("{:>6} {:>6}", "req/s", "errors");
    for (name, _) in &rules {
        print!(" | {name:>22}");
    }
    println!();
    let mut looks = 0;
    let begun = Instant::now();
    for rate in [1.0, 10.0, 100.0] {
        for share in [0.005, 0.01, 0.02, 0.05, 0.2, 1.0] {
            print!("{rate:>6} {share:>6}");
            for (index, (_, rule)) in rules.iter().enumerate() {
                // The same traffic for every rule.
                let mut rng = ChaCha8Rng::seed_from_u64(42);
                let mut phase = ChaCha8Rng::seed_from_u64(index as u64);
                let mut ends = Vec::new();
                let mut bad_answers = 0;
                for _ in 0..ROLLOUTS {
                    let traffic = traffic(rate, share, &mut rng);
                    let end = match rule {
                        Rule::Ours => ours(&traffic, &mut looks)?,
                        Rule::Window(rule) => windowed(*rule, &traffic, &mut phase),
                    };
                    bad_answers +=
                        traffic[..end.map_or(SECONDS, |end| end + 1)].iter().map(|(bad, _)| bad).sum::<u64>();
                    ends.extend(end);
                }
                ends.sort_unstable();
                let median = ends.get(ends.len() / 2).map_or_else(|| "-".to_owned(), |end| (end + 1).to_string());
                let rolled_back = ends.len() as f64 / ROLLOUTS as f64;
                print!(" | {rolled_back:>5.2} {median:>5} {:>10.1}", bad_answers as f64 / ROLLOUTS as f64);
            }
            println!();
        }
    }
    let spent = begun.elapsed().as_secs_f64();
    println!("{looks} steps decided here; the whole took {spent:.1} s");
    println!("one step: {:.1} us", one_step()?.as_secs_f64() * 1e6);
    Ok(())
}

/// Bad and good answers in each second: Poisson with these means.
fn traffic(rate: f64, share: f64, rng: &mut ChaCha8Rng) -> Vec<(u64, u64)> {
    (0..SECONDS).map(|_| (poisson(rate * share, rng), poisson(rate * (1.0 - share), rng))).collect()
}

/// Knuth's method; the means here are at most 100.
fn poisson(mean: f64, rng: &mut ChaCha8Rng) -> u64 {
    let (limit, mut product, mut count) = ((-mean).exp(), 1.0, 0);
    loop {
        product *= rng.random::<f64>();
        if product <= limit {
            return count;
        }
        count += 1;
    }
}

/// The second after which the weight is 0.
fn ours(traffic: &[(u64, u64)], looks: &mut usize) -> Result<Option<usize>, Box<dyn Error>> {
    let mut world = Exposed::new()?;
    for (second, (bad, good)) in traffic.iter().enumerate() {
        *looks += 1;
        if world.look(*bad, *good) == 0 {
            return Ok(Some(second));
        }
    }
    Ok(None)
}

fn windowed(rule: WindowRule, traffic: &[(u64, u64)], rng: &mut ChaCha8Rng) -> Option<usize> {
    let phase = rng.random_range(0..rule.scrape);
    let mut failed = 0;
    for now in (rule.interval..SECONDS).step_by(rule.interval) {
        let Some(scraped) = now.checked_sub(phase).map(|since| since / rule.scrape * rule.scrape + phase) else {
            continue;
        };
        let window = &traffic[scraped.saturating_sub(rule.window)..scraped.min(SECONDS)];
        let (bad, good) = window.iter().fold((0, 0), |(bads, goods), (bad, good)| (bads + bad, goods + good));
        if bad + good > 0 && bad as f64 / (bad + good) as f64 > LIMIT {
            failed += 1;
        }
        if failed > rule.failures {
            return Some((now + rule.late).min(SECONDS - 1));
        }
    }
    None
}

/// A rollout that waits at 50 % for a person, looked at every second.
struct Exposed {
    plan: Plan,
    status: CompressedModelStatus,
    seen: Observation,
    now: Timestamp,
}

impl Exposed {
    fn new() -> Result<Self, Box<dyn Error>> {
        let spec: CompressedModelSpec = serde_json::from_value(serde_json::json!({
            "source": { "uri": "model.onnx" },
            "data": { "calibration": { "uri": "c.npz" }, "evaluation": { "uri": "e.npz" } },
            "task": { "classification": {} },
            "rollout": {
                "canary": { "steps": [{ "setWeight": 50 }, { "pause": {} }] },
                "analysis": { "metrics": [{ "name": "errorRate", "thresholdRange": { "max": LIMIT } }] }
            }
        }))?;
        let digest: sentei_api::quantity::Digest = "a".repeat(64).parse()?;
        let mut seen = Observation { generation: 1, parity: Parity::Passed, ..Observation::default() };
        seen.compression = Compression::Done(vec![Candidate {
            digest: digest.clone(),
            cost: Cost::default(),
            stage: 0,
            summary: String::new(),
            measurements: Vec::new(),
            objective_met: true,
            gates_passed: true,
        }]);
        seen.candidate.digest = Some(digest);
        for role in [&mut seen.baseline, &mut seen.candidate] {
            role.state = ServerState::Ready { epoch: 1 };
            role.scrapes.push(Scrape::default());
        }
        let plan = Plan::parse(&spec).map_err(|errors| format!("{errors:?}"))?;
        let now = Timestamp::from_second(1_800_000_000)?;
        let mut exposed = Self { plan, status: CompressedModelStatus::default(), seen, now };
        while exposed.look(0, 0) == 0 {}
        Ok(exposed)
    }

    /// One second later, after these answers: the candidate's weight.
    fn look(&mut self, bad: u64, good: u64) -> u8 {
        self.now += Duration::from_secs(1);
        let all = &mut self.seen.candidate.scrapes[0].counters.all;
        *all.requests.entry(500).or_default() += bad;
        *all.requests.entry(200).or_default() += good;
        let decision = step(&self.plan, &self.status, &self.seen, self.now);
        for effect in &decision.effects {
            match effect {
                Effect::SetWeight { candidate } => self.seen.weight = Some(*candidate),
                Effect::SetShadow { percent } => self.seen.shadow_percent = Some(*percent),
                Effect::EnsureServing(Server::Baseline | Server::Candidate(_))
                | Effect::StartCompression { .. }
                | Effect::ScaleDown { .. }
                | Effect::Emit(_)
                | Effect::Requeue { .. } => {}
            }
        }
        self.status = decision.status;
        self.status.weights.candidate
    }
}

/// The cost of one look after a thousand others.
fn one_step() -> Result<Duration, Box<dyn Error>> {
    let mut world = Exposed::new()?;
    for second in 0..1000 {
        world.look(u64::from(second % 200 == 0), 99);
    }
    let begun = Instant::now();
    for _ in 0..1000 {
        world.look(0, 100);
    }
    Ok(begun.elapsed() / 1000)
}
