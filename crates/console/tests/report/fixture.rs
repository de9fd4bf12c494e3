//! A made-up meter reader: 5 candidates, 8 stages of which 2 were undone, 3 slices, 200 looks.

use jiff::{Timestamp, ToSpan};
use sentei_api::{
    CompressedModelSpec, CompressedModelStatus, Phase,
    evidence::{
        Candidate, Cost, Estimate, Evidence, GroupCut, LeftAlone, Measurement, Outcome, RemovedUnit, SourceRecord,
        Splits, StageKind, StageRecord,
    },
    quantity::Digest,
    spec::OfflineMetric,
    status::{Breach, DecisionRecord, MetricResult, Verdict},
};
use sentei_console::{LiveAccuracy, LiveRole, LiveSummary, Look, RollbackFacts};

pub const SLICES: [&str; 3] = ["seven-segment", "print", "dirty-glass"];

/// Everything a report needs, owned.
pub struct Story {
    pub spec: CompressedModelSpec,
    pub evidence: Option<Evidence>,
    pub status: CompressedModelStatus,
    pub timeline: Vec<Look>,
    pub live: Option<LiveSummary>,
}

impl Story {
    pub fn report(&self) -> String {
        self.report_named("meter-reader")
    }

    pub fn report_named(&self, name: &str) -> String {
        sentei_console::report(&sentei_console::ReportInput {
            name,
            namespace: Some("line-3"),
            spec: &self.spec,
            evidence: self.evidence.as_ref(),
            status: &self.status,
            timeline: &self.timeline,
            live: self.live.as_ref(),
        })
    }
}

pub fn spec() -> CompressedModelSpec {
    serde_json::from_value(serde_json::json!({
        "source": { "uri": "s3://models/meter/v7/model.onnx" },
        "data": {
            "calibration": { "uri": "calibration.npz" },
            "evaluation": { "uri": "evaluation.npz" },
            "slices": SLICES.map(|name| serde_json::json!({ "name": name, "selector": { "column": "font", "in": [name] } })),
        },
        "task": { "classification": {} },
        "compression": { "objective": { "size": "10x", "latency": "1.5x" } },
        "gates": [{ "metric": "accuracy", "maxRegression": 0.015 }],
    }))
    .expect("a valid spec")
}

fn time(seconds: f64) -> Timestamp {
    let start: Timestamp = "2026-11-24T06:30:00Z".parse().expect("a time");
    start + ((seconds * 1000.0) as i64).milliseconds()
}

fn digest(seed: u32) -> Digest {
    format!("{:08x}", (seed + 1).wrapping_mul(2_654_435_761)).repeat(8).parse().expect("a digest")
}

/// A value with the usual normal interval of a share.
fn share(value: f64, samples: u64) -> Estimate {
    let half = 1.96 * (value * (1.0 - value) / samples as f64).sqrt() + 0.5 / samples as f64;
    Estimate { value, low: (value - half).max(0.0), high: (value + half).min(1.0), samples }
}

fn measurements(losses: [f64; 4], rows: u64) -> Vec<Measurement> {
    let baselines =
        [(None, 0.975, rows), (Some(0), 0.962, rows / 4), (Some(1), 0.984, rows / 2), (Some(2), 0.968, rows / 4)];
    let one = |((slice, baseline, samples), loss): ((Option<usize>, f64, u64), f64)| Measurement {
        metric: OfflineMetric::Accuracy,
        slice: slice.map(|index| SLICES[index].to_owned()),
        candidate: share(baseline - loss, samples),
        baseline: share(baseline, samples),
        difference: Estimate {
            value: -loss,
            low: -loss - 4.5 / (samples as f64).sqrt() / 20.0,
            high: -loss + 4.5 / (samples as f64).sqrt() / 20.0,
            samples,
        },
    };
    baselines.into_iter().zip(losses).map(one).collect()
}

fn cost(size: u64, parameters: u64, macs: u64, micros: f64) -> Cost {
    Cost { size, parameters, macs, latency_p50: micros * 1e-6, latency_p99: micros * 1.31e-6 }
}

fn cut(group: &str, before: u32, after: u32, original: u32) -> GroupCut {
    let unit = |index: u32| {
        let whole = 0.999 - f64::from(index * index % 23) * 0.004;
        RemovedUnit {
            unit: (index * 7 + 3) % original,
            loss: (1.0 - whole) * 0.31,
            reconstructed: vec![whole, whole - 0.021, whole + 0.0007, whole - 0.004],
            substitutes: vec![(index * 5 + 1) % original, (index * 11 + 40) % original],
        }
    };
    GroupCut {
        group: group.to_owned(),
        before,
        after,
        original,
        predicted_divergence: 0.0021,
        removed: (0..before - after).map(unit).collect(),
    }
}

fn stages() -> Vec<StageRecord> {
    let stage = |title: &str, kind, cost, divergence, cuts, losses, outcome| StageRecord {
        title: title.to_owned(),
        kind,
        cost,
        divergence,
        cuts,
        measurements: measurements(losses, 1000),
        outcome,
        seconds: 4.2,
    };
    let kept = |seed| Outcome::Committed { digest: digest(seed) };
    let undone = |reason: &str| Outcome::Reverted { reasons: vec![reason.to_owned()] };
    let prune = StageKind::Prune;
    vec![
        stage(
            "prune to 1.25x MACs",
            prune,
            cost(905_212, 221_000, 32_600_000, 430.0),
            0.0012,
            vec![cut("stage1/conv1", 16, 13, 16), cut("stage2/conv1", 32, 26, 32), cut("stage3/conv1", 64, 44, 64)],
            [0.0, 0.0, 0.0, 0.0],
            kept(1),
        ),
        stage(
            "prune to 1.6x MACs",
            prune,
            cost(731_480, 178_400, 25_500_000, 371.0),
            0.0049,
            vec![cut("stage2/conv1", 26, 20, 32), cut("stage3/conv1", 44, 32, 64), cut("stage3/conv2", 64, 56, 64)],
            [0.001, 0.004, 0.0, 0.0],
            kept(2),
        ),
        stage(
            "prune to 2.0x MACs",
            prune,
            cost(588_020, 142_900, 20_400_000, 322.0),
            0.0113,
            vec![cut("stage1/conv1", 13, 12, 16), cut("stage3/conv2", 56, 40, 64)],
            [0.003, 0.008, 0.002, 0.004],
            kept(3),
        ),
        stage(
            "prune to 2.5x MACs",
            prune,
            cost(461_730, 111_600, 16_300_000, 281.0),
            0.0231,
            vec![cut("stage2/conv1", 20, 12, 32), cut("stage3/conv1", 32, 24, 64)],
            [0.008, 0.034, 0.002, 0.004],
            undone("accuracy on slice seven-segment fell by 3.4 points (limit 1.5 points, n = 250)"),
        ),
        stage(
            "prune to 2.2x MACs",
            prune,
            cost(520_114, 126_000, 18_500_000, 300.0),
            0.0162,
            vec![cut("stage2/conv1", 20, 16, 32), cut("stage3/conv1", 32, 28, 64)],
            [0.004, 0.012, 0.002, 0.004],
            kept(4),
        ),
        stage(
            "prune to 2.4x MACs",
            prune,
            cost(480_902, 116_300, 17_000_000, 288.0),
            0.0208,
            vec![cut("stage3/conv1", 28, 24, 64)],
            [0.007, 0.028, 0.002, 0.008],
            undone("accuracy on slice seven-segment fell by 2.8 points (limit 1.5 points, n = 250)"),
        ),
        stage(
            "quantise to int8",
            StageKind::Quantize,
            cost(148_300, 126_000, 18_500_000, 252.0),
            0.0198,
            vec![],
            [0.005, 0.012, 0.002, 0.004],
            kept(5),
        ),
        stage(
            "prune to 3.0x MACs",
            prune,
            cost(103_412, 92_000, 13_600_000, 238.0),
            0.0287,
            vec![cut("stage1/conv1", 12, 8, 16)],
            [0.006, 0.014, 0.002, 0.008],
            kept(6),
        ),
    ]
}

fn candidates(stages: &[StageRecord]) -> Vec<Candidate> {
    let candidate = |stage: u32, seed, cost, summary: &str, losses, objective_met| Candidate {
        digest: digest(seed),
        cost,
        stage,
        summary: summary.to_owned(),
        measurements: measurements(losses, 1500),
        objective_met,
        gates_passed: true,
    };
    vec![
        candidate(0, 1, stages[0].cost, "prune 1.25x MACs", [0.001, 0.0, 0.001, 0.0], false),
        candidate(1, 2, stages[1].cost, "prune 1.6x MACs", [0.002, 0.004, 0.001, 0.001], false),
        candidate(4, 4, stages[4].cost, "prune 2.2x MACs", [0.004, 0.009, 0.002, 0.004], false),
        candidate(6, 5, stages[6].cost, "prune 2.2x MACs, int8", [0.005, 0.012, 0.002, 0.005], false),
        candidate(7, 6, stages[7].cost, "prune 3.0x MACs, int8", [0.006, 0.014, 0.003, 0.007], true),
    ]
}

pub fn evidence() -> Evidence {
    let stages = stages();
    let candidates = candidates(&stages);
    let left = |name: &str, reason: &str| LeftAlone { name: name.to_owned(), reason: reason.to_owned() };
    Evidence {
        version: "0.1.0".to_owned(),
        started: time(-120.0),
        seconds: 84.0,
        cpu_seconds: 151.0,
        source: SourceRecord {
            uri: "s3://models/meter/v7/model.onnx".to_owned(),
            digest: digest(0),
            cost: cost(1_095_142, 272_474, 40_800_000, 484.0),
        },
        splits: Splits { calibration: 2000, verification: 1000, report: 1500 },
        seed: 7,
        slices: SLICES.map(str::to_owned).to_vec(),
        stages,
        candidates,
        left_alone: vec![
            left("stem", "protected by the manifest"),
            left("head/classifier", "its units are the model's outputs"),
            left("stage1/add", "every unit is needed by two branches and no cut passed the check"),
            left("stage2/add", "every unit is needed by two branches and no cut passed the check"),
            left("stage3/add", "every unit is needed by two branches and no cut passed the check"),
        ],
    }
}

/// A small repeatable wobble in [-1, 1].
fn wobble(seed: u64) -> f64 {
    let mixed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed >> 40) as f64 / f64::from(1 << 23) - 1.0
}

fn result(
    metric: &str,
    slice: Option<&str>,
    verdict: Verdict,
    values: (Estimate, Estimate),
    limit: f64,
) -> MetricResult {
    serde_json::from_value(serde_json::json!({
        "metric": metric, "slice": slice, "verdict": verdict,
        "candidate": values.0, "baseline": values.1, "limit": limit, "samples": values.0.samples,
    }))
    .expect("a valid result")
}

fn no_data(metric: &str) -> MetricResult {
    serde_json::from_value(serde_json::json!({ "metric": metric, "verdict": "NoData", "samples": 0 }))
        .expect("a valid result")
}

/// Looks twice a second; `sevens(look)` is the candidate's accuracy on the first slice.
fn looks(count: u64, phase: impl Fn(u64) -> (Phase, u32, u8), sevens: impl Fn(u64) -> f64) -> Vec<Look> {
    (0..count)
        .map(|index| {
            let (phase, step, weight) = phase(index);
            let samples = 4 + index * 9;
            let settle = 1.0 / (1.0 + index as f64 / 6.0);
            let about =
                |value: f64, seed: u64, spread: f64| (value + wobble(index * 31 + seed) * spread * settle).min(1.0);
            let verdict = if index < 34 { Verdict::Inconclusive } else { Verdict::Pass };
            let accuracy = (share(about(0.969, 1, 0.03), samples), share(about(0.975, 2, 0.02), samples * 3));
            let low = sevens(index);
            let on_slice = (share(about(low, 3, 0.04), samples / 4 + 2), share(about(0.962, 4, 0.02), samples));
            let slice_verdict = if low < 0.9 && index > 100 {
                Verdict::Breach
            } else if index < 60 {
                Verdict::Inconclusive
            } else {
                Verdict::Pass
            };
            let latency = |seconds: f64, seed| {
                let value = seconds * (1.0 + 0.05 * wobble(index * 17 + seed));
                Estimate { value, low: value * 0.95, high: value * 1.06, samples }
            };
            Look {
                time: time(index as f64 * 0.5),
                phase,
                step,
                weight_desired: weight,
                weight_seen: (index % 40 != 0).then(|| (f64::from(weight) + 2.0 * wobble(index)).clamp(0.0, 100.0)),
                metrics: vec![
                    if index < 4 { no_data("accuracy") } else { result("accuracy", None, verdict, accuracy, 0.955) },
                    result("accuracy", Some(SLICES[0]), slice_verdict, on_slice, 0.942),
                    result("latencyP99", None, Verdict::Pass, (latency(0.0009, 5), latency(0.0016, 6)), 0.001_92),
                    result("errorRate", None, verdict, (share(0.0004, samples), share(0.0003, samples)), 0.01),
                ],
            }
        })
        .collect()
}

fn decisions(changes: &[(f64, Phase, u32, u8, &str, &str)]) -> Vec<DecisionRecord> {
    let record = |(seconds, phase, step, weight, reason, message): &(f64, Phase, u32, u8, &str, &str)| DecisionRecord {
        time: time(*seconds),
        phase: *phase,
        step: *step,
        weight: *weight,
        reason: (*reason).to_owned(),
        message: (*message).to_owned(),
    };
    changes.iter().map(record).collect()
}

fn live(rollback: Option<RollbackFacts>) -> LiveSummary {
    let role = |requests, scale: f64, sevens: f64| LiveRole {
        requests,
        latency_p50: Some(0.000_84 * scale),
        latency_p99: Some(0.0016 * scale),
        resident_memory_bytes: Some((61_400_000.0 * (0.55 + 0.45 * scale)) as u64),
        cpu_seconds_per1k_requests: Some(0.71 * scale),
        accuracy: vec![
            LiveAccuracy { slice: None, estimate: share(0.972, requests) },
            LiveAccuracy { slice: Some(SLICES[0].to_owned()), estimate: share(sevens, requests / 4) },
        ],
    };
    LiveSummary { baseline: role(6120, 1.0, 0.963), candidate: role(3804, 0.56, 0.949), rollback }
}

/// Compression found a candidate and a person is asked.
pub fn awaiting_approval() -> Story {
    let evidence = evidence();
    let mut candidates = evidence.candidates.clone();
    candidates.reverse();
    let status =
        CompressedModelStatus { phase: Phase::AwaitingApproval, candidates, ..CompressedModelStatus::default() };
    Story { spec: spec(), evidence: Some(evidence), status, timeline: Vec::new(), live: None }
}

/// 200 looks that end in promotion.
pub fn promoted() -> Story {
    let mut story = awaiting_approval();
    story.timeline = looks(
        200,
        |index| match index {
            0..20 => (Phase::Shadowing, 0, 0),
            20..60 => (Phase::Progressing, 1, 5),
            60..100 => (Phase::Progressing, 3, 25),
            100..140 => (Phase::Progressing, 5, 50),
            140..144 => (Phase::Promoting, 7, 100),
            144..199 => (Phase::Watching, 7, 100),
            _ => (Phase::Succeeded, 7, 100),
        },
        |_| 0.951,
    );
    story.status.phase = Phase::Succeeded;
    story.status.selected = Some(digest(6));
    story.status.weights.candidate = 100;
    story.status.weights.baseline = 0;
    story.status.decisions = decisions(&[
        (
            -1.2,
            Phase::Shadowing,
            0,
            0,
            "CandidateApproved",
            "automatic approval: every gate passed and the objective is met",
        ),
        (0.0, Phase::Shadowing, 0, 0, "StepStarted", "20 % of requests are copied to the candidate"),
        (10.0, Phase::Progressing, 1, 5, "TrafficWeightUpdated", "weight 0 % → 5 %"),
        (
            30.0,
            Phase::Progressing,
            3,
            25,
            "StepCompleted",
            "accuracy 96.9 % (limit 95.5 %), n = 544; weight 5 % → 25 %",
        ),
        (
            50.0,
            Phase::Progressing,
            5,
            50,
            "StepCompleted",
            "accuracy 96.9 % (limit 95.5 %), n = 904; weight 25 % → 50 %",
        ),
        (70.0, Phase::Promoting, 7, 100, "StepCompleted", "every metric is within its limit; weight 50 % → 100 %"),
        (
            72.0,
            Phase::Watching,
            7,
            100,
            "Promoted",
            "the candidate answers all requests; the baseline stays loaded for 30s",
        ),
        (99.5, Phase::Succeeded, 7, 100, "RollbackWindowPassed", "no breach within 30s"),
    ]);
    story.live = Some(live(None));
    story
}

/// The same, but the candidate goes bad on one slice at 25 %.
pub fn rolled_back() -> Story {
    let mut story = promoted();
    story.timeline = looks(
        120,
        |index| match index {
            0..20 => (Phase::Shadowing, 0, 0),
            20..60 => (Phase::Progressing, 1, 5),
            60..108 => (Phase::Progressing, 3, 25),
            108..110 => (Phase::RollingBack, 3, 0),
            _ => (Phase::RolledBack, 3, 0),
        },
        |index| if index < 104 { 0.951 } else { 0.88 - (index - 104).min(4) as f64 * 0.06 },
    );
    story.status.phase = Phase::RolledBack;
    story.status.weights.candidate = 0;
    story.status.weights.baseline = 100;
    story.status.last_breach = Some(Breach {
        metric: "accuracy".to_owned(),
        slice: Some(SLICES[0].to_owned()),
        value: Estimate { value: 0.222, low: 0.028, high: 0.6, samples: 9 },
        limit: 0.95,
        samples: 9,
        bad: 7,
        window_seconds: 0.4,
        phase: Phase::Progressing,
        weight: 25,
        time: time(54.1),
    });
    story.status.decisions.truncate(4);
    story.status.decisions.extend(decisions(&[
        (
            54.1,
            Phase::RollingBack,
            3,
            0,
            "RollbackStarted",
            "accuracy on slice seven-segment 22.2 % (limit 95.0 %), 7 bad of 9; weight 25 % → 0 %",
        ),
        (54.4, Phase::RolledBack, 3, 0, "RollbackCompleted", "the counters show no request at the candidate"),
    ]));
    story.live =
        Some(live(Some(RollbackFacts { first_bad: time(53.8), last_bad: time(54.2), bad_answers: 8, seconds: 0.4 })));
    story
}

/// Accepted, and nothing is known yet.
pub fn nothing_yet() -> Story {
    Story { spec: spec(), evidence: None, status: CompressedModelStatus::default(), timeline: Vec::new(), live: None }
}
