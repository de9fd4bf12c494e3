//! The `CustomResourceDefinition`, generated from the types: what `crds/compressedmodels.yaml` holds.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use serde_json::{Map, Value, json};

use crate::CompressedModel;

/// The definition as an API server takes it without a warning.
///
/// # Errors
/// When the tidied definition no longer is one, which the tests rule out.
pub fn crd() -> Result<CustomResourceDefinition, serde_json::Error> {
    let mut definition = serde_json::to_value(CompressedModel::crd())?;
    for version in definition["spec"]["versions"].as_array_mut().into_iter().flatten() {
        let schema = &mut version["schema"]["openAPIV3Schema"];
        tidy(schema);
        schema["description"] = schema["properties"]["spec"]["description"].clone();
        let status = &mut schema["properties"]["status"];
        status["description"] = json!("What Sentei answers; written by Sentei alone.");
        status["properties"]["conditions"]["items"] = condition();
        bound(status);
    }
    serde_json::from_value(definition)
}

/// The definition as YAML, as it stands in `crds/`.
///
/// # Errors
/// As [`crd`].
pub fn crd_yaml() -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let body = serde_yaml::to_string(&crd()?)?;
    Ok(format!(
        "# Generated from the types: cargo run -p sentei-api --example crdgen > crds/compressedmodels.yaml\n{body}"
    ))
}

/// The schema of a whole manifest as `lint` holds it: the definition's spec, and what the API server itself asks of
/// the rest of the object.
pub(crate) fn manifest_schema() -> Result<Value, serde_json::Error> {
    let definition = serde_json::to_value(crd()?)?;
    let spec = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let names = &definition["spec"];
    let version = format!(
        "{}/{}",
        names["group"].as_str().unwrap_or_default(),
        names["versions"][0]["name"].as_str().unwrap_or_default()
    );
    let texts = || json!({ "type": "object", "additionalProperties": { "type": "string" } });
    Ok(json!({
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": { "type": "string", "enum": [version], "description": format!("write {version}") },
            "kind": { "type": "string", "enum": [names["names"]["kind"]], "description": "write CompressedModel" },
            "metadata": {
                "type": "object",
                "description": "the object's name and labels",
                "required": ["name"],
                "properties": {
                    "name": {
                        "type": "string",
                        "minLength": 1,
                        "maxLength": 253,
                        "pattern": crate::spec::OBJECT_NAME,
                        "description": "a name of lower-case letters, digits and dashes"
                    },
                    "namespace": { "type": "string", "maxLength": 63, "pattern": crate::spec::NAMESPACE_NAME },
                    "labels": texts(),
                    "annotations": texts(),
                }
            },
            "spec": spec
        }
    }))
}

/// Takes out of a generated schema what the API server refuses or warns about, and says as ranges what schemars says
/// as Rust's number formats.
fn tidy(schema: &mut Value) {
    let Value::Object(keywords) = schema else {
        if let Value::Array(branches) = schema {
            branches.iter_mut().for_each(tidy);
        }
        return;
    };
    // "additionalProperties cannot be set to false"; unknown fields are pruned anyway.
    if keywords.get("additionalProperties") == Some(&Value::Bool(false)) {
        keywords.remove("additionalProperties");
    }
    let limits = match keywords.get("format").and_then(Value::as_str) {
        Some("uint8") => Some(("int32", f64::from(u8::MAX))),
        Some("uint32") => Some(("int64", f64::from(u32::MAX))),
        // JSON's readers in Go hold integers in 64 bits with a sign; counters stay far below.
        Some("uint64") => Some(("int64", i64::MAX as f64)),
        _ => None,
    };
    if let Some((format, most)) = limits {
        keywords.insert("format".to_owned(), json!(format));
        keywords.entry("minimum").or_insert_with(|| json!(0.0));
        if most < i64::MAX as f64 {
            keywords.entry("maximum").or_insert_with(|| json!(most));
        }
    }
    for (keyword, value) in keywords.iter_mut() {
        match keyword.as_str() {
            "properties" => value.as_object_mut().into_iter().flat_map(Map::values_mut).for_each(tidy),
            "items" | "additionalProperties" | "oneOf" => tidy(value),
            _ => {}
        }
    }
}

/// Gives a bound to what the types of the status leave open. Generous, because Sentei alone writes there; needed,
/// because an API server reckons the cost of rules and of storage by it.
fn bound(schema: &mut Value) {
    const LONGEST_TEXT: u64 = 4096;
    const LONGEST_LIST: u64 = 1024;
    let Value::Object(keywords) = schema else { return };
    let limit = match keywords.get("type").and_then(Value::as_str) {
        Some("string") if !keywords.contains_key("enum") => Some(("maxLength", LONGEST_TEXT)),
        Some("array") => Some(("maxItems", LONGEST_LIST)),
        Some("integer") => Some(("minimum", 0)),
        Some("object") if keywords.contains_key("additionalProperties") => Some(("maxProperties", LONGEST_LIST)),
        _ => None,
    };
    if let Some((keyword, most)) = limit {
        keywords.entry(keyword).or_insert_with(|| json!(most));
    }
    for (keyword, value) in keywords.iter_mut() {
        match keyword.as_str() {
            "properties" => value.as_object_mut().into_iter().flat_map(Map::values_mut).for_each(bound),
            "items" | "additionalProperties" => bound(value),
            _ => {}
        }
    }
}

/// `metav1.Condition` with the bounds Kubernetes gives it in its own definitions; the generated one has none.
fn condition() -> Value {
    json!({
        "type": "object",
        "description": "One aspect of the object's state.",
        "required": ["lastTransitionTime", "message", "reason", "status", "type"],
        "properties": {
            "lastTransitionTime": {
                "type": "string", "format": "date-time", "maxLength": 64,
                "description": "When the status last changed."
            },
            "message": { "type": "string", "maxLength": 32768, "description": "For people." },
            "observedGeneration": {
                "type": "integer", "format": "int64", "minimum": 0.0,
                "description": "The generation of the spec it was seen at."
            },
            "reason": {
                "type": "string", "minLength": 1, "maxLength": 1024,
                "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                "description": "For programs: one word in CamelCase."
            },
            "status": { "type": "string", "enum": ["True", "False", "Unknown"], "description": "Whether it holds." },
            "type": {
                "type": "string", "maxLength": 316,
                "pattern": r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
                "description": "Which aspect."
            }
        }
    })
}
