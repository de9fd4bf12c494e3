//! ONNX Runtime for a command: found, loaded, and said out loud.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Result;
use sentei_runtime::{Runtime, locate};
use serde_json::json;

use crate::terminal::Terminal;

/// Finds and loads the library, and says which one it is.
pub fn load(explicit: Option<&Path>, terminal: &Terminal) -> Result<Arc<Runtime>> {
    load_from(explicit, terminal).map(|(runtime, _)| runtime)
}

/// The same, and where it lies: child processes are told, so that all use one library.
pub fn load_from(explicit: Option<&Path>, terminal: &Terminal) -> Result<(Arc<Runtime>, PathBuf)> {
    let library = locate(explicit)?;
    let (version, found) = (library.version(), library.found());
    terminal.event(
        "RuntimeFound",
        &format!("  · {:<24} ONNX Runtime {version} ({found}): {}", "RuntimeFound", library.path().display()),
        json!({ "version": version.to_string(), "found": found.to_string(), "path": library.path() }),
    );
    for note in library.notes() {
        terminal.event("RuntimeNote", &format!("    {note}"), json!({ "message": note }));
    }
    Ok((Runtime::load(&library)?, library.path().to_owned()))
}
