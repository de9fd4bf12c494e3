//! Holds a value against a structural schema as the API server does, finding everything at once.
//!
//! It knows exactly the keywords the manifest's schema uses (a test holds it to that). Stricter than the API server in
//! one point, and on purpose: an unknown field is refused, where the server drops it with a warning.

use regex::Regex;
use serde_json::{Map, Value};

use crate::{
    finding::{Finding, brief, field, item},
    quantity::{Bound, Digest, Factor, Span},
    yaml::Document,
};

/// Checks the document's value and takes out of it what is wrong, so that the rest can still be judged.
pub(crate) fn check(document: &Document, value: &mut Value, schema: &Value) -> Vec<Finding> {
    let mut walk = Walk { document, findings: Vec::new() };
    walk.value(value, schema, "");
    walk.findings
}

struct Walk<'a> {
    document: &'a Document,
    findings: Vec<Finding>,
}

impl Walk<'_> {
    fn find(&mut self, path: &str, found: impl Into<String>, expected: impl Into<String>, remedy: impl Into<String>) {
        self.findings.push(Finding {
            position: self.document.position(path),
            path: path.to_owned(),
            found: found.into(),
            expected: expected.into(),
            remedy: remedy.into(),
        });
    }

    /// Whether the value can be kept.
    fn value(&mut self, value: &mut Value, schema: &Value, path: &str) -> bool {
        if value.is_null() && flag(schema, "nullable") {
            return true;
        }
        if flag(schema, "x-kubernetes-preserve-unknown-fields") {
            return self.bound(value, path);
        }
        if flag(schema, "x-kubernetes-int-or-string") {
            let fits = value.is_i64() || value.is_u64() || value.is_string();
            if !fits {
                self.find(path, describe(value), "an integer or a text such as 500m or 4Gi", "");
            }
            return fits;
        }
        match (schema["type"].as_str().unwrap_or_default(), value) {
            ("object", Value::Object(object)) => self.object(object, schema, path),
            ("array", Value::Array(items)) => self.array(items, schema, path),
            ("string", Value::String(text)) => self.string(text, schema, path),
            ("boolean", Value::Bool(_)) => true,
            ("integer", value @ Value::Number(_)) if value.is_i64() || value.is_u64() => {
                self.number(value, schema, path)
            }
            ("number", value @ Value::Number(_)) => self.number(value, schema, path),
            (kind, value) => {
                self.find(path, describe(value), in_words(kind, schema), as_written(kind, value, schema));
                false
            }
        }
    }

    /// The only fields whose schema is open are [`Bound`]s.
    fn bound(&mut self, value: &Value, path: &str) -> bool {
        let refused = match value {
            Value::Number(_) => return true,
            Value::String(text) => match text.parse::<Bound>() {
                Ok(_) => return true,
                Err(_) => brief(text),
            },
            other => describe(other),
        };
        self.find(path, refused, Bound::EXPECTED, "");
        false
    }

    fn string(&mut self, text: &str, schema: &Value, path: &str) -> bool {
        if let Some(options) = schema["enum"].as_array() {
            let options: Vec<&str> = options.iter().filter_map(Value::as_str).collect();
            if !options.contains(&text) {
                let remedy = nearest(text, options.iter().copied()).map(did_you_mean).unwrap_or_default();
                self.find(path, brief(text), one_of(&options), remedy);
                return false;
            }
        }
        let length = text.chars().count() as u64;
        if schema["minLength"].as_u64().is_some_and(|least| length < least) {
            self.find(path, "an empty text", format!("at least {} character", schema["minLength"]), "");
            return false;
        }
        if let Some(most) = schema["maxLength"].as_u64().filter(|most| length > *most) {
            let found = format!("{length} characters, {}", brief(text));
            self.find(path, found, format!("at most {most}"), "");
            return false;
        }
        if let Some(pattern) = schema["pattern"].as_str()
            && let Some(expected) = refused_by_pattern(text, pattern)
        {
            self.find(path, brief(text), expected, "");
            return false;
        }
        true
    }

    fn number(&mut self, value: &Value, schema: &Value, path: &str) -> bool {
        let number = value.as_f64().unwrap_or(f64::NAN);
        let least = schema["minimum"].as_f64().filter(|least| number < *least);
        let most = schema["maximum"].as_f64().filter(|most| number > *most);
        if let Some(least) = least {
            self.find(path, format!("{value} is below {least}"), range(schema), "");
        } else if let Some(most) = most {
            self.find(path, format!("{value} is above {most}"), range(schema), "");
        }
        least.is_none() && most.is_none()
    }

    fn array(&mut self, items: &mut [Value], schema: &Value, path: &str) -> bool {
        let count = items.len() as u64;
        let least = schema["minItems"].as_u64().filter(|least| count < *least);
        let most = schema["maxItems"].as_u64().filter(|most| count > *most);
        if let Some(least) = least {
            self.find(path, format!("a list of {count}"), format!("at least {least}"), describe_field(schema));
        } else if let Some(most) = most {
            self.find(path, format!("a list of {count}"), format!("at most {most}"), "");
            return false;
        }
        let mut keep = least.is_none();
        for (index, entry) in items.iter_mut().enumerate() {
            keep &= self.value(entry, &schema["items"], &item(path, index));
        }
        self.unique_keys(items, schema, path);
        keep
    }

    /// `x-kubernetes-list-type: map`: no two items with the same keys.
    fn unique_keys(&mut self, items: &[Value], schema: &Value, path: &str) {
        let Some(keys) = schema["x-kubernetes-list-map-keys"].as_array() else { return };
        let keys: Vec<&str> = keys.iter().filter_map(Value::as_str).collect();
        let identity = |entry: &Value| keys.iter().map(|key| entry[*key].clone()).collect::<Vec<_>>();
        for (index, entry) in items.iter().enumerate() {
            let here = identity(entry);
            if let Some(first) = items[..index].iter().position(|earlier| identity(earlier) == here) {
                let at = field(&item(path, index), keys.first().copied().unwrap_or_default());
                let found = format!("{} again", here.iter().map(show).collect::<Vec<_>>().join(", "));
                let line = self.document.position(&item(path, first)).line;
                self.find(
                    &at,
                    found,
                    format!("a different {}", keys.join(", ")),
                    format!("first given in line {line}"),
                );
            }
        }
    }

    fn object(&mut self, object: &mut Map<String, Value>, schema: &Value, path: &str) -> bool {
        if let Some(values) = schema.get("additionalProperties") {
            return self.map(object, values, schema, path);
        }
        let none = Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&none);
        // The API server takes a null for "left out" where there is a default.
        object.retain(|key, value| !(value.is_null() && has_default(properties.get(key))));
        let mut meant = Vec::new();
        let mut unusable = Vec::new();
        for (key, value) in object.iter_mut() {
            let here = field(path, key);
            if let Some(property) = properties.get(key) {
                if !self.value(value, property, &here) {
                    unusable.push(key.clone());
                }
                continue;
            }
            let guess = nearest(key, properties.keys().map(String::as_str));
            meant.extend(guess);
            let expected = if properties.is_empty() {
                "no fields here".to_owned()
            } else {
                one_of(&properties.keys().map(String::as_str).collect::<Vec<_>>())
            };
            self.find(&here, "an unknown field", expected, guess.map(did_you_mean).unwrap_or_default());
            unusable.push(key.clone());
        }
        let required = strings(&schema["required"]);
        let mut keep = !required.iter().any(|name| unusable.iter().any(|key| key == name));
        for name in required.iter().filter(|name| !object.contains_key(**name)) {
            keep = false;
            if !meant.contains(name) {
                let remedy = describe_field(&properties[*name]);
                self.find(path, format!("no `{name}`"), format!("`{name}` to be set"), remedy);
            }
        }
        keep &= self.exactly_one(object, schema, path, !unusable.is_empty());
        object.retain(|key, _| !unusable.contains(key));
        keep
    }

    /// `oneOf` with one required field in each branch: an enum of Rust.
    fn exactly_one(&mut self, object: &Map<String, Value>, schema: &Value, path: &str, explained: bool) -> bool {
        let Some(branches) = schema["oneOf"].as_array() else { return true };
        let names: Vec<&str> = branches.iter().flat_map(|branch| strings(&branch["required"])).collect();
        let present: Vec<&str> = names.iter().copied().filter(|name| object.contains_key(*name)).collect();
        match present.as_slice() {
            [_] => return true,
            [] if explained => {}
            [] => self.find(path, "nothing chosen", one_of(&names), ""),
            several => self.find(path, several.join(" and "), format!("exactly {}", one_of(&names)), ""),
        }
        false
    }

    fn map(&mut self, object: &mut Map<String, Value>, values: &Value, schema: &Value, path: &str) -> bool {
        if let Some(most) = schema["maxProperties"].as_u64().filter(|most| object.len() as u64 > *most) {
            self.find(path, format!("{} entries", object.len()), format!("at most {most}"), "");
            return false;
        }
        object.iter_mut().fold(true, |keep, (key, value)| self.value(value, values, &field(path, key)) && keep)
    }
}

fn flag(schema: &Value, name: &str) -> bool {
    schema[name].as_bool().unwrap_or(false)
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn has_default(property: Option<&Value>) -> bool {
    property.is_some_and(|property| property.get("default").is_some() && !flag(property, "nullable"))
}

/// What was expected instead, in words, when the pattern refuses the text.
///
/// A quantity's pattern stands for its parser, which also knows the range.
fn refused_by_pattern(text: &str, pattern: &str) -> Option<String> {
    let matches = Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text));
    let takes = match pattern {
        Factor::PATTERN => matches && text.parse::<Factor>().is_ok(),
        Span::PATTERN => matches && text.parse::<Span>().is_ok(),
        _ => matches,
    };
    (!takes).then(|| match pattern {
        Factor::PATTERN => Factor::EXPECTED.to_owned(),
        Span::PATTERN => Span::EXPECTED.to_owned(),
        Digest::PATTERN => Digest::EXPECTED.to_owned(),
        crate::spec::data::SLICE_NAME => "lower-case letters, digits and dashes between them".to_owned(),
        crate::spec::rollout::METRIC_NAME => "letters, digits and dashes, beginning with a letter".to_owned(),
        crate::spec::rollout::HTTP_ADDRESS => "http://host:port or https://host:port".to_owned(),
        crate::spec::OBJECT_NAME => "lower-case letters, digits, dashes and dots".to_owned(),
        other => format!("text that matches {other}"),
    })
}

fn range(schema: &Value) -> String {
    match (schema["minimum"].as_f64(), schema["maximum"].as_f64()) {
        (Some(least), Some(most)) => format!("{least} to {most}"),
        (Some(least), None) => format!("at least {least}"),
        (None, Some(most)) => format!("at most {most}"),
        (None, None) => "a number".to_owned(),
    }
}

fn in_range(schema: &Value) -> String {
    let open = schema.get("minimum").is_none() && schema.get("maximum").is_none();
    if open { String::new() } else { format!(", {}", range(schema)) }
}

fn in_words(kind: &str, schema: &Value) -> String {
    let kind = match kind {
        "object" => "a mapping of fields",
        "array" => "a list",
        "string" if schema.get("enum").is_some() => return one_of(&strings(&schema["enum"])),
        "string" => match schema["pattern"].as_str() {
            Some(Factor::PATTERN) => Factor::EXPECTED,
            Some(Span::PATTERN) => Span::EXPECTED,
            Some(Digest::PATTERN) => Digest::EXPECTED,
            _ => "text",
        },
        "integer" => return format!("an integer{}", in_range(schema)),
        "number" => return format!("a number{}", in_range(schema)),
        "boolean" => "true or false",
        other => other,
    };
    kind.to_owned()
}

/// The most likely slip: quotes where none belong, or none where they do.
fn as_written(kind: &str, value: &Value, schema: &Value) -> String {
    match (kind, value) {
        ("string", Value::Number(_)) if schema["pattern"] == Factor::PATTERN => format!("write {value}x"),
        ("string", Value::Number(_)) if schema["pattern"] == Span::PATTERN => format!("add a unit: {value}s"),
        ("string", Value::Number(_) | Value::Bool(_)) => format!("put it in quotes: \"{value}\""),
        ("integer" | "number", Value::String(text)) if text.parse::<f64>().is_ok() => {
            format!("leave the quotes out: {text}")
        }
        ("array", Value::String(_) | Value::Number(_)) => format!("put it in brackets: [{value}]"),
        ("array", Value::Object(_)) => "begin each item with a dash".to_owned(),
        _ => String::new(),
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::String(text) => brief(text),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
        other => other.to_string(),
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text {}", brief(text)),
        other => show(other),
    }
}

fn describe_field(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn one_of(options: &[&str]) -> String {
    match options {
        [only] => format!("`{only}`"),
        several => format!("one of {}", several.join(", ")),
    }
}

fn did_you_mean(option: &str) -> String {
    format!("did you mean `{option}`?")
}

/// The option a slip of the keyboard away, if any.
pub(crate) fn nearest<'o>(written: &str, options: impl Iterator<Item = &'o str>) -> Option<&'o str> {
    const ALIKE: f64 = 0.6;
    options
        .map(|option| (strsim::normalized_damerau_levenshtein(&written.to_lowercase(), &option.to_lowercase()), option))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, option)| option)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifests_schema_uses_no_keyword_the_walk_passes_over() {
        const KNOWN: [&str; 24] = [
            "type",
            "properties",
            "required",
            "additionalProperties",
            "items",
            "enum",
            "pattern",
            "minLength",
            "maxLength",
            "minimum",
            "maximum",
            "minItems",
            "maxItems",
            "maxProperties",
            "nullable",
            "oneOf",
            "default",
            "x-kubernetes-int-or-string",
            "x-kubernetes-preserve-unknown-fields",
            "x-kubernetes-list-type",
            "x-kubernetes-list-map-keys",
            // CEL is held against `rules`; the format of a number is its type; descriptions are for people.
            "x-kubernetes-validations",
            "format",
            "description",
        ];
        fn walk(schema: &Value) {
            for (keyword, value) in schema.as_object().into_iter().flatten() {
                assert!(KNOWN.contains(&keyword.as_str()), "{keyword}: {value}");
                match keyword.as_str() {
                    "properties" => value.as_object().into_iter().flat_map(Map::values).for_each(walk),
                    "items" | "additionalProperties" => walk(value),
                    "oneOf" => {
                        for branch in value.as_array().into_iter().flatten() {
                            let keys: Vec<_> = branch.as_object().into_iter().flat_map(Map::keys).collect();
                            assert_eq!(keys, ["required"], "one field to a branch");
                        }
                    }
                    _ => {}
                }
            }
        }
        walk(&crate::crd::manifest_schema().unwrap());
    }

    #[test]
    fn a_slip_of_the_keyboard_is_guessed_and_a_stranger_is_not() {
        let fields = ["gates", "source", "rollout"];
        assert_eq!(nearest("gate", fields.into_iter()), Some("gates"));
        assert_eq!(nearest("SOURCE", fields.into_iter()), Some("source"));
        assert_eq!(nearest("trafficRouting", fields.into_iter()), None);
    }
}
