//! `docs/manifest.md` is written from the schema, so that it cannot tell of fields that are not there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests: a panic is a failed test")]

use std::{fmt::Write as _, fs, path::Path};

use sentei_api::{crd, rules};
use serde_json::Value;

const INTRODUCTION: &str = "\
# The manifest

<!-- Written from the schema by `SENTEI_UPDATE=1 cargo test -p sentei-api`. -->

Every field of a `CompressedModel`, with its bounds and its default. `sentei lint manifest.yaml` says what is wrong with a
manifest, all at once and with the line; the API server refuses the same.

The smallest one:

```yaml
";

const QUANTITIES: &str = "
## How quantities are written

| quantity | written | range |
|---|---|---|
| factor | `2x`, `1.25x` | above 1x, at most 1000x |
| time | `500us`, `20ms`, `30s`, `5m`, `1h30m` | at most 365 days |
| bound | a number `0.98`, a share of the baseline's value `10%`, or a time `20ms` | in the metric's own unit |
| SHA-256 | 64 lower-case hexadecimal digits | |

Words such as `y`, `on` and `no` need quotes: `kubectl` reads them as true or false without.

";

fn reference() -> String {
    let schema =
        serde_json::to_value(crd().unwrap()).unwrap()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].take();
    let mut page = INTRODUCTION.to_owned();
    page += include_str!("manifests/good/minimal.yaml");
    page += "```\n\nAll of it:\n\n```yaml\n";
    page += include_str!("manifests/good/meter.yaml");
    page += "```\n";
    page += QUANTITIES;
    page += "## Fields\n\n| field | type | default | meaning |\n|---|---|---|---|\n";
    fields(&schema["properties"]["spec"], "spec", &mut page);
    page += "\n## Rules between fields\n\nExpected is:\n\n";
    for rule in rules::all() {
        let checked_by = if rule.cel.is_some() {
            ""
        } else {
            " *(checked by `sentei lint` and the controller; the API server cannot see it)*"
        };
        writeln!(page, "- {}{checked_by}", rule.message).unwrap();
    }
    page
}

fn fields(schema: &Value, path: &str, page: &mut String) {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let list = property["type"] == "array";
        let here = format!("{path}.{name}{}", if list { "[]" } else { "" });
        let default = match property.get("default") {
            _ if required.contains(&name.as_str()) => "**required**".to_owned(),
            Some(Value::Object(_) | Value::Array(_)) | None => String::new(),
            Some(default) => format!("`{default}`").replace('"', ""),
        };
        let meaning =
            property["description"].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
        writeln!(page, "| `{here}` | {} | {default} | {} |", kind(property), meaning.replace('|', "\\|")).unwrap();
        fields(if list { &property["items"] } else { property }, &here, page);
    }
}

fn kind(schema: &Value) -> String {
    let within = |low: &str, high: &str, unit: &str| match (schema[low].as_f64(), schema[high].as_f64()) {
        (Some(low), Some(high)) => format!(", {low} to {high}{unit}"),
        (Some(low), None) => format!(", at least {low}{unit}"),
        (None, Some(high)) => format!(", at most {high}{unit}"),
        (None, None) => String::new(),
    };
    if schema["x-kubernetes-preserve-unknown-fields"] == true {
        return "bound".to_owned();
    }
    match schema["type"].as_str().unwrap_or_default() {
        "string" if schema["enum"].is_array() => {
            let options = schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
            options.map(|option| format!("`{option}`")).collect::<Vec<_>>().join(", ")
        }
        "string" => match schema["pattern"].as_str().unwrap_or_default() {
            pattern if pattern.ends_with(")x$") => "factor".to_owned(),
            pattern if pattern.contains("us|ms") => "time".to_owned(),
            pattern if pattern.contains("{64}") => "SHA-256".to_owned(),
            _ => format!("text{}", within("minLength", "maxLength", " characters")),
        },
        "array" => format!("list of {}{}", kind(&schema["items"]), within("minItems", "maxItems", "")),
        "object" if schema["additionalProperties"].is_object() => format!("map{}", within("", "maxProperties", "")),
        "object" if schema["oneOf"].is_array() => "exactly one of".to_owned(),
        "object" => "fields".to_owned(),
        number => format!("{number}{}", within("minimum", "maximum", "")),
    }
}

#[test]
fn the_page_on_the_manifest_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manifest.md");
    let fresh = reference();
    if std::env::var_os("SENTEI_UPDATE").is_some() {
        fs::write(&path, &fresh).unwrap();
    }
    let stands = fs::read_to_string(&path).unwrap_or_default();
    assert!(stands == fresh, "{} is stale: run the tests once with SENTEI_UPDATE=1", path.display());
}
