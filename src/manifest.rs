//! A manifest on disk: read once, linted, with the folder its relative paths start from.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use sentei_api::CompressedModel;
use sha2::{Digest, Sha256};

use crate::cli;

pub struct Manifest {
    pub model: CompressedModel,
    pub name: String,
    /// Relative paths in the manifest start here.
    pub base: PathBuf,
}

impl Manifest {
    /// Reads and lints; all findings are in the error.
    pub fn read(path: &Path) -> Result<Self> {
        let text = read_text(path)?;
        let model = match sentei_api::lint(&text) {
            Ok(model) => model,
            Err(findings) => {
                let lines: Vec<String> =
                    findings.iter().map(|finding| finding.in_file(&path.display().to_string())).collect();
                bail!("{}\n{}: {}", lines.join("\n"), path.display(), count(lines.len()));
            }
        };
        let name = model.metadata.name.clone().unwrap_or_default();
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let base = folder.canonicalize().with_context(|| format!("cannot resolve the folder {}", folder.display()))?;
        Ok(Self { model, name, base })
    }

    /// Where the pilot keeps its memory when nobody says otherwise.
    pub fn state_dir(&self, chosen: Option<&Path>) -> PathBuf {
        chosen.map_or_else(|| Path::new(".sentei").join(&self.name), Path::to_owned)
    }

    /// Digest of everything that makes two pilots the same rollout: the spec, and a candidate brought along.
    pub fn digest(&self, args: &cli::Pilot) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(serde_json::to_vec(&self.model.spec)?);
        if let Some(candidate) = &args.candidate {
            let bytes = std::fs::read(candidate)
                .with_context(|| format!("cannot read the candidate {}", candidate.display()))?;
            hash.update(bytes);
        }
        Ok(hex::encode(hash.finalize()))
    }
}

/// "1 finding", "3 findings".
pub fn count(findings: usize) -> String {
    format!("{findings} finding{}", if findings == 1 { "" } else { "s" })
}

/// The text of a file, or of standard input for `-`.
pub fn read_text(path: &Path) -> Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read the manifest {}", path.display()))
}
