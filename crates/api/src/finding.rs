//! One thing wrong in a manifest: where, what was found, what was expected, what to do.

use std::fmt;

/// A place in a file; both count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

impl Position {
    /// The first character of the file.
    pub const START: Self = Self { line: 1, column: 1 };
}

/// One thing wrong in a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where in the file.
    pub position: Position,
    /// The field, such as `spec.gates[1].thresholdRange`; empty when it is the whole file.
    pub path: String,
    /// What stands there, with its limit where there is one: `41 is above 32`.
    pub found: String,
    /// What would be right.
    pub expected: String,
    /// What to do about it; empty when `expected` says it all.
    pub remedy: String,
}

impl Finding {
    /// The finding as a compiler prints it, with the file's name in front.
    #[must_use]
    pub fn in_file(&self, file: &str) -> String {
        format!("{file}:{self}")
    }
}

/// `12:7: spec.gates[1].metric: found …; expected …`, and the remedy on a second line.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.position.line, self.position.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}; expected {}", self.found, self.expected)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "\n  help: {}", self.remedy) }
    }
}

/// `parent.key`, or `parent["key"]` when the key has a dot or another character that paths use.
#[must_use]
pub(crate) fn field(parent: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    match (plain, parent.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{parent}.{key}"),
        (false, _) => format!("{parent}[{key:?}]"),
    }
}

/// `parent[index]`.
#[must_use]
pub(crate) fn item(parent: &str, index: usize) -> String {
    format!("{parent}[{index}]")
}

/// The path one level up; `None` for the root.
#[must_use]
pub(crate) fn parent(path: &str) -> Option<&str> {
    if path.is_empty() { None } else { Some(path.rfind(['.', '[']).map_or("", |end| &path[..end])) }
}

/// The text, cut to what fits in a line of an error.
#[must_use]
pub(crate) fn brief(text: &str) -> String {
    const LONGEST: usize = 60;
    let clean: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() { format!("`{clean}…`") } else { format!("`{clean}`") }
}
