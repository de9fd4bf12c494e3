//! YAML text to JSON, with the place of every field. The only module that knows `serde_yaml`.
//!
//! Two passes: the first walks the events and notes positions while it counts what aliases would unfold to, so that a
//! small file cannot become a large tree; the second, `serde_yaml`, makes the values.
//!
//! Where `kubectl` would read a word differently (it still speaks YAML 1.1, so a bare `y` or `on` is `true` there), the
//! word is refused: one file must not mean two things.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde::Deserialize as _;
use serde_json::Value;

use crate::finding::{Finding, Position, brief, field, item, parent};

/// Largest manifest in bytes: etcd takes no object above 1.5 MiB, and managed fields need room.
pub const LARGEST: usize = 1 << 20;
/// Most nodes after aliases are unfolded.
const MOST_NODES: usize = 100_000;
/// Deepest nesting.
const DEEPEST: usize = 64;
/// Most bytes of field paths kept for positions: very long keys above very many children.
const MOST_PATH_BYTES: usize = 16 << 20;
/// Plain words that YAML 1.1, and so `kubectl`, reads as true or false.
const YAML_1_1_BOOLEANS: [&str; 16] =
    ["y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "n", "N", "no", "No", "NO", "off", "Off", "OFF"];

/// One YAML document as JSON, with the place of every field.
#[derive(Debug, Clone)]
pub struct Document {
    /// The values.
    pub value: Value,
    outline: Outline,
}

#[derive(Debug, Clone)]
struct Outline {
    start: Position,
    positions: BTreeMap<String, Position>,
    bare_booleans: Vec<(String, Position, String)>,
}

impl Document {
    /// Where a field stands; for a field that is not there, where the nearest thing above it stands.
    #[must_use]
    pub fn position(&self, path: &str) -> Position {
        self.outline.position(path)
    }
}

impl Outline {
    fn position(&self, path: &str) -> Position {
        std::iter::successors(Some(path), |path| parent(path))
            .find_map(|path| self.positions.get(path).copied())
            .unwrap_or(self.start)
    }
}

/// Reads the document of this kind out of a file that may hold several.
///
/// A file with a single document gives that one, whatever its kind: the schema says best what is wrong with it.
///
/// # Errors
/// Everything that keeps the text from being read as one such document.
pub fn document(text: &str, kind: &str) -> Result<Document, Vec<Finding>> {
    let mut documents = documents(text)?;
    let of_kind = |document: &Document| document.value.get("kind").and_then(Value::as_str) == Some(kind);
    let matching: Vec<usize> = (0..documents.len()).filter(|&index| of_kind(&documents[index])).collect();
    let index = match (matching.as_slice(), documents.len()) {
        ([only], _) => *only,
        ([], 1) => 0,
        ([], count) => return Err(vec![none_of_kind(&documents, count, kind)]),
        ([_, second, ..], _) => {
            return Err(vec![Finding {
                position: documents[*second].position("kind"),
                path: "kind".to_owned(),
                found: format!("{} documents of kind {kind}", matching.len()),
                expected: "one in a file".to_owned(),
                remedy: "move the others to files of their own".to_owned(),
            }]);
        }
    };
    let document = documents.swap_remove(index);
    let misread: Vec<Finding> = document.outline.bare_booleans.iter().map(bare_boolean).collect();
    if misread.is_empty() { Ok(document) } else { Err(misread) }
}

fn none_of_kind(documents: &[Document], count: usize, kind: &str) -> Finding {
    let kinds: Vec<String> =
        documents.iter().filter_map(|document| document.value.get("kind")?.as_str().map(brief)).collect();
    let found = match (count, kinds.is_empty()) {
        (0, _) => "nothing in the file".to_owned(),
        (_, true) => format!("{count} documents without a kind"),
        (_, false) => format!("documents of kind {}", kinds.join(", ")),
    };
    Finding {
        position: Position::START,
        path: String::new(),
        found,
        expected: format!("one document of kind {kind}"),
        remedy: format!("begin with `apiVersion: sentei.dev/v1alpha1` and `kind: {kind}`"),
    }
}

fn bare_boolean((path, position, word): &(String, Position, String)) -> Finding {
    Finding {
        position: *position,
        path: path.clone(),
        found: format!("{} without quotes, which kubectl reads as true or false", brief(word)),
        expected: "a word that means the same to every reader".to_owned(),
        remedy: format!("write \"{word}\" for the word, or true or false for the truth value"),
    }
}

/// Every document in the text that is not empty.
fn documents(text: &str) -> Result<Vec<Document>, Vec<Finding>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > LARGEST {
        return Err(vec![refusal(
            Position::START,
            "",
            format!("{} bytes", text.len()),
            format!("at most {LARGEST} bytes"),
            "a manifest names data, it does not hold it",
        )]);
    }
    let outlines = outlines(text).map_err(|finding| vec![finding])?;
    let mut documents = Vec::new();
    let mut findings = Vec::new();
    for (index, source) in serde_yaml::Deserializer::from_str(text).enumerate() {
        let yaml = serde_yaml::Value::deserialize(source)
            .and_then(|mut value| value.apply_merge().map(|()| value))
            .map_err(|error| vec![unreadable(&error)])?;
        // The two parsers agree on documents in all but ill-formed files; then positions fall back to the start.
        let outline = outlines.get(index).cloned().unwrap_or_else(|| Outline::at(Position::START));
        let value = to_json(yaml, "", &outline, &mut findings);
        if !value.is_null() {
            documents.push(Document { value, outline });
        }
    }
    if findings.is_empty() { Ok(documents) } else { Err(findings) }
}

fn refusal(position: Position, path: &str, found: String, expected: String, remedy: &str) -> Finding {
    Finding { position, path: path.to_owned(), found, expected, remedy: remedy.to_owned() }
}

fn unreadable(error: &serde_yaml::Error) -> Finding {
    let position =
        error.location().map_or(Position::START, |at| Position { line: at.line().max(1), column: at.column().max(1) });
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    refusal(position, "", message.to_owned(), "well-formed YAML".to_owned(), "")
}

/// YAML values as JSON has them; what JSON cannot say is a finding.
fn to_json(yaml: serde_yaml::Value, path: &str, outline: &Outline, findings: &mut Vec<Finding>) -> Value {
    let mut refuse = |found: String, expected: &str| {
        findings.push(refusal(outline.position(path), path, found, expected.to_owned(), ""));
        Value::Null
    };
    match yaml {
        serde_yaml::Value::Null => Value::Null,
        serde_yaml::Value::Bool(flag) => Value::Bool(flag),
        serde_yaml::Value::String(text) => Value::String(text),
        serde_yaml::Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(natural), ..) => natural.into(),
            (_, Some(integer), _) => integer.into(),
            (.., Some(real)) if real.is_finite() => whole(real).map_or_else(|| real.into(), Value::from),
            _ => refuse(format!("`{number}`"), "a finite number"),
        },
        serde_yaml::Value::Sequence(items) => items
            .into_iter()
            .enumerate()
            .map(|(index, entry)| to_json(entry, &item(path, index), outline, findings))
            .collect(),
        serde_yaml::Value::Mapping(entries) => {
            let mut object = serde_json::Map::new();
            for (key, entry) in entries {
                let key = match key {
                    serde_yaml::Value::String(key) => key,
                    serde_yaml::Value::Number(key) => key.to_string(),
                    serde_yaml::Value::Bool(key) => key.to_string(),
                    _ => {
                        let found = "a key that is neither a word nor a number".to_owned();
                        findings.push(refusal(outline.position(path), path, found, "field names".to_owned(), ""));
                        continue;
                    }
                };
                let entry = to_json(entry, &field(path, &key), outline, findings);
                object.insert(key, entry);
            }
            Value::Object(object)
        }
        serde_yaml::Value::Tagged(tagged) => refuse(format!("the YAML tag `{}`", tagged.tag), "a plain value"),
    }
}

/// `3.0` is the integer 3 to JSON's readers in Go.
fn whole(real: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (real.fract() == 0.0 && real.abs() < EXACT).then_some(real as i64)
}

/// A mapping or a list that is still open.
struct Open {
    path: String,
    inside: Inside,
    anchor: usize,
    nodes_before: usize,
}

enum Inside {
    List { next: usize },
    Mapping { key: Option<String> },
}

/// The first pass.
#[derive(Default)]
struct Outliner {
    open: Vec<Open>,
    nodes: usize,
    path_bytes: usize,
    /// Nodes under each finished anchor, aliases unfolded.
    anchored: BTreeMap<usize, usize>,
}

impl Outline {
    fn at(start: Position) -> Self {
        Self { start, positions: BTreeMap::new(), bare_booleans: Vec::new() }
    }
}

fn outlines(text: &str) -> Result<Vec<Outline>, Finding> {
    let mut outlines: Vec<Outline> = Vec::new();
    let mut outliner = Outliner::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let position = Position { line: error.marker().line().max(1), column: error.marker().col() + 1 };
            refusal(position, "", error.info().to_owned(), "well-formed YAML".to_owned(), "")
        })?;
        let position = Position { line: span.start.line().max(1), column: span.start.col() + 1 };
        if matches!(event, Event::DocumentStart(_)) {
            outlines.push(Outline::at(position));
        } else if let Some(outline) = outlines.last_mut() {
            outliner.take(&event, position, outline)?;
        }
    }
    Ok(outlines)
}

impl Outliner {
    fn take(&mut self, event: &Event<'_>, position: Position, outline: &mut Outline) -> Result<(), Finding> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let word = (*style == ScalarStyle::Plain && tag.is_none()).then_some(text.as_ref());
                let path = self.enter(Some(text), position, outline)?;
                if let Some(word) = word.filter(|word| YAML_1_1_BOOLEANS.contains(word)) {
                    outline.bare_booleans.push((path, position, word.to_owned()));
                }
                self.anchored.insert(*anchor, 1);
            }
            Event::Alias(anchor) => {
                let path = self.enter(None, position, outline)?;
                let Some(nodes) = self.anchored.get(anchor) else {
                    let found = "an alias inside its own anchor".to_owned();
                    return Err(refusal(position, &path, found, "a finite document".to_owned(), ""));
                };
                self.nodes += nodes;
            }
            Event::SequenceStart(anchor, _) => self.open(Inside::List { next: 0 }, *anchor, position, outline)?,
            Event::MappingStart(anchor, _) => self.open(Inside::Mapping { key: None }, *anchor, position, outline)?,
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    self.anchored.insert(open.anchor, self.nodes - open.nodes_before);
                }
            }
            _ => {}
        }
        if self.nodes > MOST_NODES || self.path_bytes > MOST_PATH_BYTES {
            let found = format!("more than {MOST_NODES} values once aliases are unfolded, or very long keys");
            let remedy = "write fewer aliases of aliases";
            return Err(refusal(position, "", found, "a manifest of ordinary size".to_owned(), remedy));
        }
        Ok(())
    }

    fn open(
        &mut self,
        inside: Inside,
        anchor: usize,
        position: Position,
        outline: &mut Outline,
    ) -> Result<(), Finding> {
        let nodes_before = self.nodes;
        let path = self.enter(None, position, outline)?;
        self.open.push(Open { path, inside, anchor, nodes_before });
        if self.open.len() > DEEPEST {
            let found = format!("nesting deeper than {DEEPEST}");
            return Err(refusal(position, "", found, "a manifest of ordinary shape".to_owned(), ""));
        }
        Ok(())
    }

    /// Counts a node and notes its position. `key` is its text when it could be a mapping's key.
    fn enter(&mut self, key: Option<&str>, position: Position, outline: &mut Outline) -> Result<String, Finding> {
        self.nodes += 1;
        let Some(open) = self.open.last_mut() else { return Ok(String::new()) };
        let path = match &mut open.inside {
            Inside::List { next } => {
                *next += 1;
                item(&open.path, *next - 1)
            }
            // A value: its position is that of its key, noted before.
            Inside::Mapping { key: pending @ Some(_) } => {
                return Ok(field(&open.path, &pending.take().unwrap_or_default()));
            }
            Inside::Mapping { key: pending @ None } => {
                let Some(key) = key else {
                    let found = "a key that is neither a word nor a number".to_owned();
                    return Err(refusal(position, &open.path, found, "field names".to_owned(), ""));
                };
                *pending = Some(key.to_owned());
                field(&open.path, key)
            }
        };
        self.path_bytes += path.len();
        outline.positions.insert(path.clone(), position);
        Ok(path)
    }
}

#[cfg(test)]
#[path = "yaml_tests.rs"]
mod tests;
