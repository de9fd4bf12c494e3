//! The report of a pilot's state directory.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sentei_api::CompressedModel;
use sentei_console::{LiveSummary, ReportInput, report};
use serde_json::json;

use crate::{
    cli,
    ending::Ending,
    pilot::state::{Snapshot, read_json, write_aside},
    terminal::Terminal,
};

/// `sentei report`.
pub fn command(args: &cli::Report, terminal: &Terminal) -> Result<Ending> {
    let path = write(&args.state, args.out.as_deref())?;
    terminal.event("ReportWritten", &path.display().to_string(), json!({ "path": path }));
    Ok(Ending::Done)
}

/// Writes the HTML file and says where it is.
pub fn write(state: &Path, out: Option<&Path>) -> Result<PathBuf> {
    let Snapshot { status, evidence, looks } = Snapshot::read(state)?;
    let manifest: CompressedModel = read_json(&state.join("manifest.json"))?
        .with_context(|| format!("{} holds no manifest.json: it is not the state of a pilot", state.display()))?;
    let live: Option<LiveSummary> = read_json(&state.join("live.json"))?;
    let html = report(&ReportInput {
        name: manifest.metadata.name.as_deref().unwrap_or_default(),
        namespace: manifest.metadata.namespace.as_deref(),
        spec: &manifest.spec,
        evidence: evidence.as_ref(),
        status: &status,
        timeline: &looks,
        live: live.as_ref(),
    });
    let path = out.map_or_else(|| state.join("report.html"), Path::to_owned);
    write_aside(&path, html.as_bytes())?;
    Ok(path)
}
