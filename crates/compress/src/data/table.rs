//! A CSV naming one file in each line.

use std::path::{Path, PathBuf};

use super::error::DataError;

/// The column that names the files.
pub(crate) const FILE: &str = "file";

pub(crate) struct Table {
    header: Vec<String>,
    lines: Vec<csv::StringRecord>,
}

impl Table {
    pub fn read(path: &Path, field: &'static str) -> Result<Self, DataError> {
        let refuse = |error: csv::Error| match error.into_kind() {
            csv::ErrorKind::Io(source) => DataError::Read { field, path: path.to_owned(), source },
            kind => DataError::Table { field, path: path.to_owned(), reason: reason(&kind) },
        };
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path).map_err(refuse)?;
        let header = reader.headers().map_err(refuse)?;
        // Spreadsheets put a byte order mark before the first name.
        let header = header.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect();
        let lines = reader.records().collect::<Result<_, _>>().map_err(refuse)?;
        Ok(Self { header, lines })
    }

    pub fn names(&self) -> &[String] {
        &self.header
    }

    pub fn rows(&self) -> usize {
        self.lines.len()
    }

    pub fn column(&self, name: &str) -> Option<Vec<String>> {
        let at = self.header.iter().position(|column| column == name)?;
        Some(self.lines.iter().map(|line| line.get(at).unwrap_or_default().to_owned()).collect())
    }

    /// The files, relative to the table's folder.
    pub fn files(&self, path: &Path) -> Option<Vec<PathBuf>> {
        let folder = path.parent().unwrap_or(Path::new(""));
        Some(self.column(FILE)?.iter().map(|file| folder.join(file)).collect())
    }
}

fn reason(kind: &csv::ErrorKind) -> String {
    match kind {
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let line = pos.as_ref().map_or(0, csv::Position::line);
            format!("line {line} has {len} cells, expected {expected_len}")
        }
        csv::ErrorKind::Utf8 { pos, .. } => {
            format!("line {} is not UTF-8", pos.as_ref().map_or(0, csv::Position::line))
        }
        _ => "it does not parse".to_owned(),
    }
}
