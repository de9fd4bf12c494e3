//! The example models on the example data, as the example manifests describe them.

use std::{fs, path::PathBuf, sync::Arc};

use sentei_api::{
    CompressedModelSpec,
    evidence::Cost,
    spec::{OfflineMetric, task::Regression},
};
use sentei_runtime::{Runtime, SessionOptions, locate};

use super::*;
use crate::{
    data::Input,
    latency::{Timing, measure, single_rows},
};

fn examples(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples")).join(name)
}

fn runtime() -> Arc<Runtime> {
    let library = locate(None).expect("an ONNX Runtime, or pip to fetch one with");
    Runtime::load(&library).expect("loads")
}

fn session(model: &str) -> Session {
    runtime().session_from_file(&examples(model), &SessionOptions::default()).expect("a session")
}

fn manifest(name: &str) -> CompressedModelSpec {
    let text = fs::read_to_string(examples(name)).expect("the example manifest");
    sentei_api::lint(&text).expect("a manifest without findings").spec
}

fn open(spec: &CompressedModelSpec, folder: &str, session: &Session) -> Dataset {
    let inputs: Vec<Input> = session.inputs().iter().map(Input::from).collect();
    Dataset::open(&spec.data, &examples(folder), spec.compression.seed, &inputs).expect("good data")
}

fn find<'a>(measurements: &'a [Measurement], metric: OfflineMetric, slice: Option<&str>) -> &'a Measurement {
    measurements.iter().find(|m| m.metric == metric && m.slice.as_deref() == slice).expect("measured")
}

/// Right answers among all rows of both evaluation parts, and how many rows there are.
fn right(data: &Dataset, task: &Task, session: &mut Session) -> (u64, u64) {
    let parts = [Part::Verification, Part::Report].map(|part| {
        let evaluator = Evaluator::new(data, part, task, None);
        let answers = evaluator.answers(session).expect("answers");
        let measured = evaluator.measure(&answers, &answers).expect("measurements");
        let accuracy = find(&measured, OfflineMetric::Accuracy, None).candidate;
        ((accuracy.value * accuracy.samples as f64).round() as u64, accuracy.samples)
    });
    (parts[0].0 + parts[1].0, parts[0].1 + parts[1].1)
}

/// Another processor's kernels may round a tie the other way: two rows are allowed to.
fn assert_counts(found: (u64, u64), expected: (u64, u64)) {
    assert_eq!(found.1, expected.1);
    assert!(found.0.abs_diff(expected.0) <= 2, "{found:?} right, expected {expected:?}");
}

#[test]
fn the_digits_model_is_as_good_as_the_table_of_examples_says() {
    let spec = manifest("digits/model.yaml");
    let mut model = session("digits/digits_resnet20.onnx");
    let data = open(&spec, "digits", &model);
    assert!(data.notes().is_empty(), "{:?}", data.notes());
    let (right_rows, rows) = right(&data, &spec.task, &mut model);
    assert_counts((right_rows, rows), (2928, 3000));

    let evaluator = Evaluator::new(&data, Part::Report, &spec.task, None);
    let answers = evaluator.answers(&mut model).unwrap();
    let measured = evaluator.measure(&answers, &answers).unwrap();
    let slices: u64 =
        data.slice_names().map(|name| find(&measured, OfflineMetric::Accuracy, Some(name)).candidate.samples).sum();
    assert_eq!(slices, 1500, "every digit is in one slice");
    let accuracy = find(&measured, OfflineMetric::Accuracy, None);
    assert!(accuracy.candidate.low < 0.976 && accuracy.candidate.high > 0.976, "{accuracy:?}");
    assert!(accuracy.difference.low > -0.003 && accuracy.difference.high < 0.003, "{accuracy:?}");
    let broken = baseline_violations(&spec.gates, &measured, &Cost::default());
    assert!(broken.is_empty(), "{broken:?}");
}

#[test]
fn folding_batch_normalisation_changes_next_to_nothing() {
    let spec = manifest("digits/model.yaml");
    let (mut folded, mut plain) = (session("digits/digits_resnet20.onnx"), session("digits/digits_resnet20_bn.onnx"));
    let data = open(&spec, "digits", &folded);
    let evaluator = Evaluator::new(&data, Part::Verification, &spec.task, None);
    let (before, after) = (evaluator.answers(&mut plain).unwrap(), evaluator.answers(&mut folded).unwrap());
    let measured = evaluator.measure(&before, &after).unwrap();
    assert!(find(&measured, OfflineMetric::Agreement, None).candidate.value > 0.999);
    let judged = judge(&spec.gates, &measured, &Cost::default(), &Cost::default());
    assert!(judged.iter().all(|result| result.passed), "{judged:?}");

    let reference = Reference::record(&mut plain, &data, Part::Calibration, &spec.task, 100).unwrap();
    assert_eq!(reference.rows(), 100);
    assert!(reference.divergence(&mut plain, &data).unwrap() < 1e-12);
    let divergence = reference.divergence(&mut folded, &data).unwrap();
    assert!(divergence < 1e-6, "{divergence}");
}

#[test]
fn wrist_motions_are_judged_by_subject() {
    let spec = manifest("wrist/model.yaml");
    let mut model = session("wrist/wrist_cnn1d.onnx");
    let data = open(&spec, "wrist", &model);
    assert_eq!(
        data.notes(),
        [
            "no calibration row is in slice `subject-9`, `subject-10`: its weight has no effect, and it is judged as new \
          to the model"
        ]
    );
    let (right_rows, rows) = right(&data, &spec.task, &mut model);
    assert_counts((right_rows, rows), (878, 1002));
    let evaluator = Evaluator::new(&data, Part::Report, &spec.task, None);
    let mut other = session("wrist/wrist_transformer.onnx");
    let (cnn, transformer) = (evaluator.answers(&mut model).unwrap(), evaluator.answers(&mut other).unwrap());
    let measured = evaluator.measure(&cnn, &transformer).unwrap();
    for slice in ["subject-9", "subject-10"] {
        let accuracy = find(&measured, OfflineMetric::Accuracy, Some(slice));
        assert!(accuracy.candidate.samples > 200 && accuracy.candidate.value > 0.7, "{slice}: {accuracy:?}");
    }
    let reference = Reference::record(&mut model, &data, Part::Calibration, &spec.task, 200).unwrap();
    assert!(reference.divergence(&mut other, &data).unwrap() > 0.01, "two different nets");
}

#[test]
fn glyphs_of_unseen_fonts_are_read_as_often_as_measured_before() {
    let mut model = session("glyphs/glyphs_mobilenet.onnx");
    let data: sentei_api::spec::Data = serde_json::from_value(serde_json::json!({
        "calibration": { "uri": "glyphs.npz", "inputs": { "x": "x_calibration" } },
        "evaluation": { "uri": "glyphs.npz", "inputs": { "x": "x_evaluation" }, "labels": "y_evaluation" },
        "preprocess": { "mean": [127.5], "std": [127.5], "shape": [1, 32, 32] },
    }))
    .unwrap();
    let inputs: Vec<Input> = model.inputs().iter().map(Input::from).collect();
    let data = Dataset::open(&data, &examples("glyphs"), 0, &inputs).unwrap();
    let task = Task::Classification(sentei_api::spec::task::Classification::default());
    let (right_rows, rows) = right(&data, &task, &mut model);
    assert_counts((right_rows, rows), (1570, 2000));
}

#[test]
fn outputs_a_task_cannot_read_are_named() {
    let mut spec = manifest("digits/model.yaml");
    let mut model = session("digits/digits_resnet20.onnx");
    let data = open(&spec, "digits", &model);
    let message = |task: &Task, model: &mut Session| {
        let evaluator = Evaluator::new(&data, Part::Verification, task, None);
        let answers = evaluator.answers(model);
        answers.and_then(|answers| evaluator.measure(&answers, &answers)).unwrap_err().to_string()
    };
    if let Task::Classification(task) = &mut spec.task {
        task.output = Some("scores".into());
    }
    assert_eq!(message(&spec.task, &mut model), "the model has no output `scores` (task.*.output); it has `logits`");
    let regression = Task::Regression(Regression { output: None, tolerance: 1.0 });
    assert_eq!(
        message(&regression, &mut model),
        "the model gives 10 numbers for each row, but the labels have 1; correct task.regression.output or \
         data.evaluation.labels"
    );
    let text = Task::Ctc(sentei_api::spec::task::Ctc::default());
    assert!(message(&text, &mut model).starts_with("the task reads text, but no characters are known"));
    let text = Task::Ctc(sentei_api::spec::task::Ctc { output: None, alphabet: Some("012".into()) });
    assert!(message(&text, &mut model).starts_with("output `logits` has shape [10], expected steps by scores"));
}

#[test]
fn a_small_net_is_timed_as_faster_than_a_large_one() {
    let spec = manifest("wrist/model.yaml");
    let (mut small, mut large) = (session("wrist/wrist_cnn1d.onnx"), session("wrist/wrist_transformer.onnx"));
    let data = open(&spec, "wrist", &small);
    let rows = single_rows(&data, Part::Verification);
    let timing = Timing { max_rounds: 60, ..Timing::default() };
    let timed = measure(&mut [&mut small, &mut large], &rows, timing).unwrap();
    assert!(timed.iter().all(|latency| latency.p50 > 0.0 && latency.p99 >= latency.p50 && latency.rounds >= 20));
    assert!(timed[0].p50 < timed[1].p50, "{timed:?}");
    assert_eq!(timed[0].cost(7, 8, 9).size, 7);
}
