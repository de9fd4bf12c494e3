//! The `CustomResourceDefinition` is what the types say, what `crds/` holds, and what an API server takes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests: a panic is a failed test")]

use std::{fs, path::Path};

use sentei_api::{CompressedModel, crd, crd_yaml, rules};
use serde_json::{Value, json};

fn schema() -> Value {
    serde_json::to_value(crd().unwrap()).unwrap()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].take()
}

/// Calls back for every schema in the tree, with its path.
fn walk(schema: &Value, path: &str, visit: &mut dyn FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(property, &format!("{path}.{name}"), visit);
    }
    for inside in ["items", "additionalProperties"] {
        if schema[inside].is_object() {
            walk(&schema[inside], &format!("{path}[{inside}]"), visit);
        }
    }
}

#[test]
fn the_file_in_crds_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds/compressedmodels.yaml");
    let fresh = crd_yaml().unwrap();
    if std::env::var_os("SENTEI_UPDATE").is_some() {
        fs::write(&path, &fresh).unwrap();
    }
    let stands = fs::read_to_string(&path).unwrap_or_default();
    assert!(stands == fresh, "{} is stale: run the tests once with SENTEI_UPDATE=1", path.display());
}

#[test]
fn every_text_list_map_and_integer_is_bounded() {
    let mut unbounded = Vec::new();
    walk(&schema(), "", &mut |path, schema| {
        let lacks = |keyword: &str| schema.get(keyword).is_none();
        let open = match schema["type"].as_str() {
            Some("string") => lacks("maxLength") && lacks("enum"),
            Some("array") => lacks("maxItems"),
            Some("integer") => lacks("minimum"),
            Some("object") => !lacks("additionalProperties") && lacks("maxProperties"),
            _ => false,
        };
        if open {
            unbounded.push(path.to_owned());
        }
    });
    assert!(unbounded.is_empty(), "{unbounded:#?}");
}

#[test]
fn the_schema_is_structural_and_gives_no_warning() {
    const FORMATS: [&str; 4] = ["int32", "int64", "double", "date-time"];
    walk(&schema(), "", &mut |path, schema| {
        let open = ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string"];
        assert!(schema["type"].is_string() || open.iter().any(|flag| schema[*flag] == json!(true)), "no type: {path}");
        assert_ne!(schema["additionalProperties"], json!(false), "the API server refuses it: {path}");
        let format = schema["format"].as_str();
        assert!(format.is_none_or(|format| FORMATS.contains(&format)), "{path}: {format:?} is unknown to Kubernetes");
        let described = schema["description"].as_str().is_some_and(|text| !text.contains("See ["));
        assert!(described || path.is_empty() || path.ends_with(']') || path.contains(".status"), "undescribed: {path}");
    });
}

#[test]
fn conditions_merge_by_type_and_slices_by_name() {
    let schema = schema();
    let conditions = &schema["properties"]["status"]["properties"]["conditions"];
    assert_eq!(conditions["x-kubernetes-list-map-keys"], json!(["type"]));
    let slices = &schema["properties"]["spec"]["properties"]["data"]["properties"]["slices"];
    assert_eq!(slices["x-kubernetes-list-map-keys"], json!(["name"]));
}

#[test]
fn every_rule_with_cel_stands_in_the_schema_and_is_cheap_enough() {
    let root = schema();
    let mut standing = Vec::new();
    walk(&root, "", &mut |path, schema| {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            standing.push(rule["message"].as_str().unwrap_or_default().to_owned());
            let expression = rule["rule"].as_str().unwrap();
            let compiled = kube::core::cel::compile_schema(schema);
            let scope = kube::core::cel::ScopeContext::CrdValidation;
            for warning in kube::core::cel::analyze_rule(expression, &compiled, scope) {
                // It takes the variable of a comprehension for a free one.
                assert!(!warning.message.contains("budget"), "{path}: {expression}: {}", warning.message);
            }
        }
    });
    for rule in rules::all().filter(|rule| rule.cel.is_some()) {
        assert!(standing.iter().any(|message| message == rule.message), "not in the schema: {}", rule.message);
    }
}

/// Puts in what the schema gives by default, as the API server does before it stores an object.
fn with_defaults(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(object) => {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                if let Some(default) = property.get("default") {
                    object.entry(name).or_insert_with(|| default.clone());
                }
                if let Some(inner) = object.get_mut(name) {
                    with_defaults(inner, property);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| with_defaults(item, &schema["items"])),
        _ => {}
    }
}

#[test]
fn the_schemas_defaults_are_those_of_the_types() {
    let object = |spec: Value| json!({ "apiVersion": "sentei.dev/v1alpha1", "kind": "CompressedModel", "metadata": { "name": "m" }, "spec": spec });
    let data = json!({ "calibration": { "uri": "c" }, "evaluation": { "uri": "e" } });
    let full_data = json!({
        "calibration": { "uri": "c", "where": { "column": "a", "in": ["b"] } }, "evaluation": { "uri": "e" },
        "preprocess": { "image": { "height": 8, "width": 8, "channels": 1 } },
        "slices": [{ "name": "s", "selector": { "column": "a", "in": ["b"] } }]
    });
    let source = json!({ "uri": "m" });
    let specs = [
        json!({ "source": source, "data": data, "task": { "classification": {} } }),
        json!({ "source": source, "data": full_data, "task": { "embedding": {} }, "gates": [{ "metric": "cosine" }],
            "compression": { "stages": [{ "prune": {} }, { "quantize": {} }], "objective": {} },
            "approval": {}, "serving": {},
            "rollout": { "canary": {}, "analysis": {} } }),
        json!({ "source": source, "data": data, "task": { "ctc": {} }, "compression": {}, "serving": { "runtime": { "builtin": {} } },
            "rollout": { "canary": { "steps": [{ "pause": {} }] }, "analysis": { "metrics": [{ "name": "accuracy" }] } } }),
    ];
    let schema = schema();
    for spec in specs {
        let plain: CompressedModel = serde_json::from_value(object(spec.clone())).unwrap();
        let mut defaulted = object(spec);
        with_defaults(&mut defaulted, &schema);
        let defaulted: CompressedModel = serde_json::from_value(defaulted).unwrap();
        assert_eq!(plain, defaulted);
        // And in the other direction: what the types write out is what the API server would have stored.
        let mut written = serde_json::to_value(&plain).unwrap();
        let before = written.clone();
        with_defaults(&mut written, &schema);
        assert_eq!(written["spec"], before["spec"]);
    }
}

#[test]
fn timestamps_are_written_as_the_schema_has_them() {
    let status = sentei_api::CompressedModelStatus {
        phase_since: Some("2026-03-01T12:00:00.25Z".parse().unwrap()),
        ..sentei_api::CompressedModelStatus::default()
    };
    let written = serde_json::to_value(&status).unwrap();
    assert_eq!(written["phaseSince"], "2026-03-01T12:00:00.25Z", "RFC 3339, which is what `date-time` means");
    assert_eq!(schema()["properties"]["status"]["properties"]["phaseSince"]["format"], "date-time");
    assert_eq!(serde_json::from_value::<sentei_api::CompressedModelStatus>(written).unwrap(), status);
}
