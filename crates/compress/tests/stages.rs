//! The stages end to end, on the real runtime and the example models.

#![expect(clippy::expect_used, reason = "helpers of tests may panic like the tests themselves")]

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use sentei_api::{CompressedModelSpec, evidence::Outcome};
use sentei_compress::{CompressError, Event, Job, Progress, Silent, assess, compress};
use sentei_onnx::Model;
use sentei_runtime::{Runtime, locate};

fn runtime() -> Arc<Runtime> {
    Runtime::load(&locate(None).expect("an ONNX Runtime, or pip to fetch one with")).expect("loads")
}

fn examples(folder: &str) -> std::path::PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples")).join(folder)
}

/// The digits example with few rows, so that a test takes seconds.
fn digits(compression: &serde_json::Value, gates: &serde_json::Value) -> CompressedModelSpec {
    let source = |part: &str, limit: u32| {
        serde_json::json!({
            "uri": "digits.npz", "inputs": { "input": format!("x_{part}") }, "labels": format!("y_{part}"),
            "limit": limit,
        })
    };
    let spec = serde_json::json!({
        "source": { "uri": "digits_resnet20.onnx" },
        "data": {
            "calibration": source("calibration", 192),
            "evaluation": source("evaluation", 600),
            "preprocess": {
                "scale": 1.0 / 255.0, "mean": [0.154_776_364_564_895_63], "std": [0.305_147_707_462_310_8],
                "shape": [1, 28, 28],
            },
            "slices": [
                { "name": "round", "selector": { "column": "label", "in": ["0", "3", "6", "8", "9"] } },
                { "name": "straight", "selector": { "column": "label", "in": ["1", "2", "4", "5", "7"] } },
            ],
        },
        "task": { "classification": {} },
        "compression": compression,
        "gates": gates,
    });
    serde_json::from_value(spec).expect("a spec")
}

fn job(spec: CompressedModelSpec, work: &Path) -> Job {
    Job { spec, base: examples("digits"), work: work.to_owned() }
}

fn prune_to(macs: &str) -> serde_json::Value {
    serde_json::json!({ "objective": { "macs": macs }, "stages": [{ "prune": { "step": "1.3x" } }] })
}

fn lenient() -> serde_json::Value {
    serde_json::json!([{ "metric": "accuracy", "maxRegression": 0.1 }])
}

/// Asks to stop after a number of stages.
struct StopAfter<'a> {
    stages: Mutex<usize>,
    cancel: &'a AtomicBool,
}

impl Progress for StopAfter<'_> {
    fn event(&self, event: &Event<'_>) {
        if let Event::StageFinished { .. } = event {
            let mut left = self.stages.lock().expect("no panic");
            *left -= 1;
            if *left == 0 {
                self.cancel.store(true, Ordering::Relaxed);
            }
        }
    }
}

#[test]
fn a_run_commits_stages_and_ends_the_same_after_an_interruption() {
    let runtime = runtime();
    let go = AtomicBool::new(false);
    let (whole, parts) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let spec = digits(&prune_to("1.6x"), &lenient());
    let evidence = compress(&job(spec.clone(), whole.path()), &runtime, &Silent, &go).expect("evidence");

    assert!(evidence.stages.len() >= 2, "{:?}", evidence.stages.len());
    let last = evidence.candidates.last().expect("a candidate");
    assert!(last.objective_met && last.gates_passed);
    assert!(evidence.source.cost.macs as f64 / last.cost.macs as f64 >= 1.6);
    assert!(last.measurements.iter().any(|m| m.slice.as_deref() == Some("round")));
    let cut = evidence.stages[0].cuts.first().expect("a cut");
    let removed = cut.removed.first().expect("a removed unit");
    assert_eq!(removed.reconstructed.len(), 3, "all rows and two slices");
    assert!(!removed.substitutes.contains(&removed.unit));
    assert!(whole.path().join("evidence.json").exists());
    assert!(whole.path().join(format!("artifacts/{}.onnx", last.digest)).exists());

    let cancel = AtomicBool::new(false);
    let stop = StopAfter { stages: Mutex::new(1), cancel: &cancel };
    let job = job(spec, parts.path());
    let stopped = compress(&job, &runtime, &stop, &cancel);
    assert!(matches!(stopped, Err(CompressError::Cancelled)), "{stopped:?}");
    let resumed = compress(&job, &runtime, &Silent, &go).expect("evidence");
    assert_eq!(resumed.candidates.last().expect("a candidate").digest, last.digest);
    assert_eq!(resumed.stages.len(), evidence.stages.len());
}

#[test]
fn a_stage_that_fails_its_gate_is_undone_and_the_reason_has_numbers() {
    let work = tempfile::tempdir().expect("a folder");
    let compression = serde_json::json!({
        "objective": { "macs": "30x" }, "stages": [{ "prune": { "step": "12x" } }], "protect": ["/conv1/*"],
    });
    let gates = serde_json::json!([{ "metric": "accuracy", "maxRegression": 0.002 }]);
    let job = job(digits(&compression, &gates), work.path());
    let evidence = compress(&job, &runtime(), &Silent, &AtomicBool::new(false)).expect("evidence");
    let Outcome::Reverted { reasons } = &evidence.stages[0].outcome else { panic!("{:?}", evidence.stages[0].outcome) };
    assert!(reasons[0].contains("accuracy fell by"), "{reasons:?}");
    assert!(evidence.candidates.iter().all(|candidate| !candidate.objective_met));
    assert!(evidence.left_alone.iter().any(|left| left.name.starts_with("/conv1/") && left.reason.contains("protect")));
}

#[test]
fn a_baseline_that_fails_its_own_gate_is_refused() {
    let work = tempfile::tempdir().expect("a folder");
    let gates = serde_json::json!([{ "metric": "accuracy", "thresholdRange": { "min": 0.999 } }]);
    let job = job(digits(&prune_to("2x"), &gates), work.path());
    let error = compress(&job, &runtime(), &Silent, &AtomicBool::new(false)).expect_err("must be refused");
    assert!(matches!(error, CompressError::BaselineFailsGates(_)));
    assert!(error.to_string().contains("the baseline itself fails a gate"), "{error}");
}

#[test]
fn another_file_than_the_manifest_names_is_refused() {
    let work = tempfile::tempdir().expect("a folder");
    let mut spec = digits(&prune_to("2x"), &lenient());
    spec.source.sha256 = Some("0".repeat(64).parse().expect("a digest"));
    let error = compress(&job(spec, work.path()), &runtime(), &Silent, &AtomicBool::new(false)).expect_err("refused");
    assert!(error.to_string().contains("source.sha256"), "{error}");
}

#[test]
fn a_model_brought_along_is_measured_and_judged() {
    let work = tempfile::tempdir().expect("a folder");
    let folder = examples("digits");
    let good = folder.join("digits_resnet20_bn.onnx");
    let job = job(digits(&prune_to("2x"), &lenient()), work.path());
    let evidence = assess(&job, &good, &runtime(), &Silent).expect("evidence");
    assert!(evidence.candidates[0].gates_passed);

    let mut model = Model::load(&folder.join("digits_resnet20.onnx")).expect("loads");
    let (shape, values) = model.weights("fc.weight").expect("there");
    model.set_weights("fc.weight", &shape, values.iter().map(|value| -value).collect()).expect("fits");
    let bad = work.path().join("bad.onnx");
    model.save(&bad).expect("saved");
    let evidence = assess(&job, &bad, &runtime(), &Silent).expect("evidence");
    assert!(evidence.candidates.iter().all(|candidate| !candidate.gates_passed));
    assert!(matches!(&evidence.stages[0].outcome, Outcome::Reverted { .. }));
}

#[test]
fn every_example_model_is_cut_where_it_can_be() {
    let runtime = runtime();
    let data = |file: &str, preprocess: serde_json::Value| {
        let source = |part: &str, limit: u32| serde_json::json!({ "uri": file, "inputs": { "x": format!("x_{part}") }, "labels": format!("y_{part}"), "limit": limit });
        serde_json::json!({
            "calibration": source("calibration", 128), "evaluation": source("evaluation", 200), "preprocess": preprocess,
        })
    };
    let glyphs = serde_json::json!({ "scale": 1.0 / 127.5, "mean": [1.0], "shape": [1, 32, 32] });
    let cases = [
        ("wrist", "wrist_cnn1d.onnx", data("wrist.npz", serde_json::json!({}))),
        ("wrist", "wrist_transformer.onnx", data("wrist.npz", serde_json::json!({}))),
        ("glyphs", "glyphs_mobilenet.onnx", data("glyphs.npz", glyphs)),
    ];
    for (folder, model, data) in cases {
        let work = tempfile::tempdir().expect("a folder");
        let spec = serde_json::json!({
            "source": { "uri": model },
            "data": data,
            "task": { "classification": {} },
            "compression": { "objective": { "macs": "1.15x" }, "stages": [{ "prune": { "step": "1.2x" } }] },
            "gates": [{ "metric": "agreement", "thresholdRange": { "min": 0.5 } }],
        });
        let spec: CompressedModelSpec = serde_json::from_value(spec).expect("a spec");
        let job = Job { spec, base: examples(folder), work: work.path().to_owned() };
        let evidence = compress(&job, &runtime, &Silent, &AtomicBool::new(false)).expect(model);
        let committed = evidence.candidates.last().unwrap_or_else(|| panic!("{model}: {:?}", evidence.stages));
        assert!(committed.cost.macs < evidence.source.cost.macs, "{model}");
    }
}
