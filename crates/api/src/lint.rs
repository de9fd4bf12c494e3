//! A manifest's text to a [`CompressedModel`], or everything that is wrong with it at once.
//!
//! Three floors, each on what the one before left standing: the YAML, the schema (the same the API server enforces, by
//! [`crate::schema`]), the [`rules`](crate::rules) between fields.

use crate::{
    CompressedModel, crd,
    finding::{Finding, Position},
    rules, schema, yaml,
};

/// Reads a manifest.
///
/// # Errors
/// Every finding in the order of the file. A rule is not judged where a field it reads is itself wrong.
pub fn lint(text: &str) -> Result<CompressedModel, Vec<Finding>> {
    let document = yaml::document(text, "CompressedModel")?;
    let schema = crd::manifest_schema().map_err(|error| vec![inner(&error)])?;
    let mut value = document.value.clone();
    // What Sentei itself writes; an API server drops it from what people apply.
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
        drop_server_fields(object);
    }
    let mut findings = schema::check(&document, &mut value, &schema);
    match serde_json::from_value::<CompressedModel>(value) {
        Ok(model) => {
            let name = model.metadata.name.as_deref().unwrap_or_default();
            let broken: Vec<Finding> = rules::violations(name, &model.spec)
                .into_iter()
                .filter(|violation| findings.iter().all(|finding| !violation.reads(&finding.path)))
                .map(|violation| Finding {
                    position: document.position(&violation.path),
                    path: violation.path,
                    found: violation.found,
                    expected: violation.rule.message.to_owned(),
                    remedy: violation.remedy,
                })
                .collect();
            findings.extend(broken);
            if findings.is_empty() {
                return Ok(model);
            }
        }
        Err(error) if findings.is_empty() => findings.push(inner(&error)),
        Err(_) => {}
    }
    findings.sort_by(|left, right| (left.position, &left.path).cmp(&(right.position, &right.path)));
    Err(findings)
}

/// What `kubectl get -o yaml` adds.
fn drop_server_fields(object: &mut serde_json::Map<String, serde_json::Value>) {
    const SERVER: [&str; 9] = [
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generation",
        "managedFields",
        "ownerReferences",
        "resourceVersion",
        "uid",
    ];
    if let Some(metadata) = object.get_mut("metadata").and_then(serde_json::Value::as_object_mut) {
        metadata.retain(|key, _| !SERVER.contains(&key.as_str()));
    }
}

/// A manifest the schema takes and the types do not: a fault of ours that the property tests look for.
fn inner(error: &serde_json::Error) -> Finding {
    Finding {
        position: Position::START,
        path: String::new(),
        found: error.to_string(),
        expected: "a manifest of this version".to_owned(),
        remedy: String::new(),
    }
}
