//! Prints the report of one model: `report model.json [evidence.json [timeline.jsonl [live.json]]] > report.html`.
//!
//! `model.json` is the `CompressedModel` with its status, as `kubectl get compressedmodel NAME -o json` prints it.

use std::{error::Error, fs, io, path::Path};

use sentei_api::CompressedModel;
use sentei_console::{Look, ReportInput, report};
use serde::de::DeserializeOwned;

fn main() -> Result<(), Box<dyn Error>> {
    let mut paths = std::env::args().skip(1);
    let model = paths.next().ok_or("usage: report model.json [evidence.json [timeline.jsonl [live.json]]]")?;
    let model: CompressedModel = read(&model)?;
    let evidence = paths.next().map(read).transpose()?;
    let timeline = paths.next().map(read_lines).transpose()?.unwrap_or_default();
    let live = paths.next().map(read).transpose()?;
    let html = report(&ReportInput {
        name: model.metadata.name.as_deref().unwrap_or("unnamed"),
        namespace: model.metadata.namespace.as_deref(),
        spec: &model.spec,
        evidence: evidence.as_ref(),
        status: &model.status.unwrap_or_default(),
        timeline: &timeline,
        live: live.as_ref(),
    });
    io::Write::write_all(&mut io::stdout(), html.as_bytes())?;
    Ok(())
}

fn read<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<T, Box<dyn Error>> {
    let path = path.as_ref();
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?)
}

fn read_lines(path: String) -> Result<Vec<Look>, Box<dyn Error>> {
    let lines = fs::read_to_string(path)?;
    Ok(lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}
