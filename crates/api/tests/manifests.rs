//! Manifests as people write them: the good ones are taken, the bad ones refused with every fault named, and the API
//! server's CEL says the same as the rules in Rust.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests: a panic is a failed test")]

use std::{collections::BTreeSet, fmt::Write as _, fs, path::PathBuf};

use sentei_api::{CompressedModel, crd, lint, rules, yaml};
use serde_json::{Value, json};

fn manifests(folder: &str) -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/manifests").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no manifests in {}", folder.display());
    files
        .into_iter()
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), fs::read_to_string(path).unwrap()))
        .collect()
}

/// What lint says of a text, as a terminal shows it.
fn said(name: &str, text: &str) -> String {
    match lint(text) {
        Ok(_) => "taken\n".to_owned(),
        Err(findings) => findings.iter().fold(String::new(), |mut said, finding| {
            writeln!(said, "{}", finding.in_file(&format!("{name}.yaml"))).unwrap();
            said
        }),
    }
}

#[test]
fn good_manifests_are_taken() {
    for (name, text) in manifests("good") {
        assert_eq!(said(&name, &text), "taken\n", "{name}");
    }
}

#[test]
fn bad_manifests_are_refused_with_every_fault_named() {
    for (name, text) in manifests("bad") {
        insta::assert_snapshot!(name.clone(), said(&name, &text));
    }
}

#[test]
fn findings_come_in_the_order_of_the_file() {
    for (name, text) in manifests("bad") {
        let positions: Vec<_> = lint(&text).unwrap_err().iter().map(|finding| finding.position).collect();
        assert!(positions.is_sorted(), "{name}: {positions:?}");
    }
}

#[test]
fn a_manifest_survives_json_and_back() {
    for (name, text) in manifests("good") {
        let model = lint(&text).unwrap();
        let written = serde_json::to_string(&model).unwrap();
        assert_eq!(serde_json::from_str::<CompressedModel>(&written).unwrap(), model, "{name}");
        let yaml = serde_json::to_value(&model).unwrap().to_string();
        assert_eq!(lint(&yaml).unwrap().spec, model.spec, "{name}: JSON is YAML too");
    }
}

/// Messages of broken rules: from Rust (those that also stand in CEL), and from CEL.
fn verdicts(model: &CompressedModel) -> (BTreeSet<String>, BTreeSet<String>) {
    let name = model.metadata.name.as_deref().unwrap_or_default();
    let rust = rules::violations(name, &model.spec)
        .into_iter()
        .filter(|violation| violation.rule.cel.is_some())
        .map(|violation| violation.rule.message.to_owned())
        .collect();
    let schema = serde_json::to_value(crd().unwrap().spec.versions[0].schema.as_ref().unwrap()).unwrap();
    let object = serde_json::to_value(model).unwrap();
    let cel = kube::core::cel::Validator::new()
        .validate(&schema["openAPIV3Schema"], &object, None)
        .err()
        .map(kube::core::cel::ValidationErrors::into_vec)
        .unwrap_or_default()
        .into_iter()
        .map(|error| error.message)
        .collect();
    (rust, cel)
}

/// Changes to the meter manifest, each of which breaks a rule or comes close: a JSON pointer and the value to put there.
fn changes() -> Vec<(&'static str, Value)> {
    let metric = "/spec/rollout/analysis/metrics/0";
    let gate = "/spec/gates/0";
    let mut changes = vec![
        ("/metadata/name", json!("n".repeat(63))),
        ("/metadata/name", json!("n".repeat(64))),
        ("/spec/gates", json!([])),
        ("/spec/gates/1/slice", json!("printed")),
        ("/spec/gates/1/slice", json!("print")),
        ("/spec/task", json!({ "classification": { "classes": ["a"] } })),
        ("/spec/task", json!({ "classification": { "classes": ["a", "b"] } })),
        ("/spec/task", json!({ "regression": { "tolerance": 0.1 } })),
        ("/spec/task", json!({ "embedding": {} })),
        ("/spec/data/preprocess/std", json!([1, 0])),
        ("/spec/data/preprocess/std", json!([1, 2])),
        ("/spec/data/preprocess", json!({ "mean": [1, 2], "std": [1, 2, 3] })),
        ("/spec/data/preprocess", json!({ "mean": [1, 2], "std": [1, -0.5] })),
        ("/spec/data/preprocess/image/channels", json!(2)),
        ("/spec/data/slices/0/name", json!("all")),
        ("/spec/data/slices/1/name", json!("other")),
        ("/spec/data/slices/1/selector", json!({ "column": "font" })),
        ("/spec/data/slices/1/selector", json!({ "column": "font", "in": ["a"], "notIn": ["b"] })),
        ("/spec/data/evaluation/where", json!({ "column": "font", "in": [] })),
        ("/spec/compression/objective", json!({})),
        ("/spec/compression/stages", json!([{ "quantize": {} }, { "prune": {} }])),
        ("/spec/compression/stages", json!([{ "quantize": {} }, { "quantize": {} }])),
        ("/spec/compression/stages", json!([{ "prune": {} }, { "prune": {} }, { "quantize": {} }])),
        ("/spec/compression/stages", json!([{ "quantize": {} }])),
        ("/spec/compression", json!({ "objective": { "size": "4x" }, "stages": [{ "quantize": {} }] })),
        ("/spec/compression", json!({ "objective": { "size": "4.01x" }, "stages": [{ "quantize": {} }] })),
        ("/spec/compression", json!({ "objective": { "macs": "2x" }, "stages": [{ "quantize": {} }] })),
        ("/spec/rollout/canary/steps", json!([{ "setWeight": 0 }, { "pause": {} }])),
        ("/spec/rollout/canary/steps", json!([{ "pause": {} }])),
        ("/spec/rollout/canary/steps", json!([{ "setWeight": 5 }, { "setWeight": 5 }, { "setWeight": 100 }])),
        ("/spec/rollout/canary/steps", json!([{ "setWeight": 50 }, { "pause": {} }, { "setWeight": 49 }])),
        ("/spec/rollout/analysis/metrics/1/slice", json!("printed")),
    ];
    for uri in ["ftp://a/b", "http://a/b", "s3://", "s3://a", "../a", "a:b", "file:///a", "://a"] {
        changes.push(("/spec/source/uri", json!(uri)));
        changes.push(("/spec/data/calibration/uri", json!(uri)));
    }
    for interval in ["249ms", "250ms", "1h", "3601s", "1h1ms", "0.25s", "60m"] {
        changes.push(("/spec/rollout/analysis/interval", json!(interval)));
    }
    for name in
        ["accuracy", "exactMatch", "characterErrorRate", "meanSquaredError", "cosine", "agreement", "latencyP50"]
    {
        changes.push((gate, json!({ "metric": name })));
        changes.push((gate, json!({ "metric": name, "slice": "print" })));
    }
    for name in ["accuracy", "agreement", "errorRate", "latencyP50", "latencyP95", "latencyP99", "stops"] {
        changes.push((metric, json!({ "name": name })));
        for source in ["Server", "Feedback", "Shadow", "Prometheus"] {
            let query = json!({ "address": "http://p", "query": "up" });
            changes.push((metric, json!({ "name": name, "source": source })));
            changes.push((metric, json!({ "name": name, "source": source, "prometheus": query })));
        }
    }
    changes
}

#[test]
fn cel_and_rust_agree_on_every_rule_that_stands_in_both() {
    let meter = manifests("good").into_iter().find(|(name, _)| name == "meter").unwrap().1;
    let base = serde_json::to_value(lint(&meter).unwrap()).unwrap();
    let mut broken = BTreeSet::new();
    let mut judge = |model: &CompressedModel, what: &str| {
        let (rust, cel) = verdicts(model);
        assert_eq!(rust, cel, "left Rust, right CEL, for {what}");
        broken.extend(rust);
    };
    for (pointer, value) in changes() {
        let what = format!("{pointer} = {value}");
        let mut changed = base.clone();
        let (above, key) = pointer.rsplit_once('/').unwrap();
        let above = changed.pointer_mut(above).unwrap();
        match key.parse::<usize>() {
            Ok(index) if above.is_array() => above[index] = value,
            _ => above[key] = value,
        }
        judge(&serde_json::from_value(changed).unwrap(), &what);
    }
    for (name, text) in manifests("good").into_iter().chain(manifests("bad")) {
        let Ok(document) = yaml::document(&text, "CompressedModel") else { continue };
        if let Ok(model) = serde_json::from_value::<CompressedModel>(document.value) {
            judge(&model, &name);
        }
    }
    let untried: Vec<&str> = rules::all()
        .filter(|rule| rule.cel.is_some() && !broken.contains(rule.message))
        .map(|rule| rule.message)
        .collect();
    assert!(untried.is_empty(), "no manifest breaks: {untried:#?}");
}
