//! Which manifests make a plan.

use sentei_rollout::Plan;
use serde_json::{Value, json};

use super::world::{spec, usual, watching};

fn refusals(metric: Value) -> Vec<String> {
    let errors = Plan::parse(&spec(watching(json!([metric])))).unwrap_err();
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn every_refusal_names_the_field_and_what_to_do() {
    let cases = [
        (json!({ "name": "accuracy" }), "metrics[0].thresholdRange: absent"),
        (json!({ "name": "accuracy", "thresholdRange": { "max": 0.9 } }), "would forbid a better accuracy"),
        (json!({ "name": "accuracy", "thresholdRange": { "min": 1.5 } }), "1.5 is not a share between 0 and 1"),
        (json!({ "name": "accuracy", "thresholdRange": { "min": 0 } }), "0 bounds nothing"),
        (json!({ "name": "accuracy", "maxRegression": "20ms" }), "20ms is neither"),
        (json!({ "name": "accuracy", "source": "Server", "maxRegression": 0.1 }), "Server does not count accuracy"),
        (json!({ "name": "agreement", "maxRegression": 0.1 }), "already held against the baseline"),
        (json!({ "name": "errorRate", "thresholdRange": { "min": 0.1 } }), "only max is a bound here"),
        (json!({ "name": "latencyP99", "thresholdRange": { "max": 0.02 } }), "0.02 is not a time such as 20ms"),
        (json!({ "name": "latencyP99", "maxRegression": 0.1 }), "neither a part such as 10% nor a time"),
        (json!({ "name": "stops", "thresholdRange": { "max": 0 } }), "add `prometheus` with a query"),
        (
            json!({ "name": "stops", "thresholdRange": { "min": 2, "max": 1 },
                    "prometheus": { "address": "http://p", "query": "q" } }),
            "min 2 is above max 1",
        ),
    ];
    for (metric, expected) in cases {
        let found = refusals(metric.clone()).join("\n");
        assert!(found.contains(expected), "{metric}: {found}");
    }
}

#[test]
fn all_refusals_come_at_once() {
    let metrics = json!([{ "name": "accuracy" }, { "name": "stops", "thresholdRange": { "max": 0 } }]);
    assert_eq!(Plan::parse(&spec(watching(metrics))).unwrap_err().len(), 2);
}

#[test]
fn the_default_manifest_makes_a_plan() {
    let plan = Plan::parse(&spec(json!({}))).unwrap();
    assert!(plan.slices().is_empty());
    assert_eq!(plan.queries().count(), 0);
}

#[test]
fn only_what_compression_depends_on_changes_its_key() {
    let plan = Plan::parse(&spec(usual())).unwrap();
    let mut other = spec(json!({}));
    other.suspend = true;
    assert_eq!(Plan::parse(&other).unwrap().compression_key(), plan.compression_key());
    other.source.uri = "other.onnx".to_owned();
    assert_ne!(Plan::parse(&other).unwrap().compression_key(), plan.compression_key());
}
