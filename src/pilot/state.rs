//! The pilot's memory: one directory, one owner at a time, nothing half-written.
//!
//! ```text
//! status.json      the whole memory of the rollout (see sentei_api::status)
//! timeline.jsonl   one line a look, for the report
//! work/            compression progress, candidates by digest, evidence.json
//! manifest.json    the manifest, for `sentei report`
//! requests/        what people said and the status has not answered
//! feedback.key     signs feedback tokens
//! logs/            what the two servers printed
//! promoted.onnx    points at the promoted model
//! report.html      written at the end, and by `sentei report`
//! ```

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use sentei_api::{CompressedModelStatus, evidence::Evidence};
use sentei_compress::artifacts;
use sentei_console::Look;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Looks kept for the report; at four a second, over four hours. Older ones stay in the file.
const MAX_LOOKS: usize = 60_000;

pub struct StateDir {
    root: PathBuf,
    /// Held for as long as the pilot runs; the system lets go of it when the process dies.
    _lock: File,
}

/// Which manifest a state directory belongs to.
#[derive(Serialize, Deserialize, PartialEq, Eq)]
struct Owner {
    name: String,
    /// SHA-256 of the spec as JSON: another spec is another rollout.
    spec: String,
}

impl StateDir {
    /// Opens or makes the directory, and takes it for this process alone.
    pub fn open(root: &Path) -> Result<Self> {
        for folder in ["work", "logs"] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make the state folder {}", folder.display()))?;
        }
        let path = root.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { root: root.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => bail!(
                "another pilot is running in {}: stop it, or choose another directory with --state",
                root.display()
            ),
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    }

    /// Whether an earlier pilot of the same manifest left its memory here; a changed manifest starts over.
    pub fn claim(&self, name: &str, spec_digest: &str) -> Result<bool> {
        let owner = Owner { name: name.to_owned(), spec: spec_digest.to_owned() };
        let path = self.root.join("owner.json");
        let before: Option<Owner> = read_json(&path)?;
        if let Some(before) = &before
            && before.name != owner.name
        {
            bail!(
                "{} holds the state of `{}`, not of `{name}`: choose another directory with --state",
                self.root.display(),
                before.name
            );
        }
        let resumed = before.as_ref() == Some(&owner);
        if !resumed {
            for stale in ["status.json", "timeline.jsonl"] {
                match fs::remove_file(self.root.join(stale)) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                    _ => {}
                }
            }
            write_json(&path, &owner)?;
        }
        Ok(resumed)
    }

    /// The secret that signs feedback tokens of this state directory's servers, made once.
    pub fn feedback_key(&self) -> Result<String> {
        let path = self.path("feedback.key");
        if let Ok(key) = fs::read_to_string(&path) {
            return Ok(key.trim().to_owned());
        }
        let key = hex::encode(rand::random::<[u8; 32]>());
        // Aside files are made for their owner alone, and the rename keeps that.
        write_aside(&path, key.as_bytes())?;
        Ok(key)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn read_status(&self) -> Result<Option<CompressedModelStatus>> {
        read_json(&self.path("status.json"))
    }

    pub fn write_status(&self, status: &CompressedModelStatus) -> Result<()> {
        write_json(&self.path("status.json"), status)
    }

    /// Moves the pointer `promoted.onnx` to this file, named from the directory.
    pub fn point_at(&self, file: &Path) -> Result<()> {
        let (pointer, aside) = (self.path("promoted.onnx"), self.path("promoted.onnx.tmp"));
        let moved = (|| {
            match fs::remove_file(&aside) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            std::os::unix::fs::symlink(file, &aside)?;
            fs::rename(&aside, &pointer)
        })();
        moved.with_context(|| format!("cannot point {} at {}", pointer.display(), file.display()))
    }

    pub fn append_look(&self, look: &Look) -> Result<()> {
        let path = self.path("timeline.jsonl");
        let mut line = serde_json::to_vec(look)?;
        line.push(b'\n');
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(&line))
            .with_context(|| format!("cannot append to {}", path.display()))
    }
}

/// What a report needs, read without taking the directory.
pub struct Snapshot {
    pub status: CompressedModelStatus,
    pub evidence: Option<Evidence>,
    pub looks: Vec<Look>,
}

impl Snapshot {
    pub fn read(root: &Path) -> Result<Self> {
        let status = read_json(&root.join("status.json"))?
            .with_context(|| format!("{} holds no status.json: it is not the state of a pilot", root.display()))?;
        let evidence = read_json(&root.join("work/evidence.json"))?;
        Ok(Self { status, evidence, looks: read_looks(&root.join("timeline.jsonl"))? })
    }
}

fn read_looks(path: &Path) -> Result<Vec<Look>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let mut looks = std::collections::VecDeque::new();
    for line in BufReader::new(file).lines() {
        // A killed pilot may have left half a last line: that look is lost, the others are not.
        if let Ok(look) = serde_json::from_str(&line?) {
            looks.push_back(look);
            if looks.len() > MAX_LOOKS {
                looks.pop_front();
            }
        }
    }
    Ok(looks.into())
}

pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .with_context(|| format!("{} is damaged: remove it to start over", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    write_aside(path, &serde_json::to_vec_pretty(value)?)
}

/// Write aside, sync, rename: a reader sees the old file or the new one, never half of one.
pub fn write_aside(path: &Path, bytes: &[u8]) -> Result<()> {
    artifacts::write_aside(path, bytes)
        .with_context(|| format!("cannot write {}: what was there before is unchanged", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_has_one_owner_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let first = StateDir::open(root.path()).unwrap();
        let refused = StateDir::open(root.path()).err().unwrap().to_string();
        assert!(refused.starts_with("another pilot is running in"), "{refused}");
        drop(first);
        StateDir::open(root.path()).unwrap();
    }

    #[test]
    fn the_same_manifest_resumes_and_a_changed_one_starts_over() {
        let root = tempfile::tempdir().unwrap();
        let state = StateDir::open(root.path()).unwrap();
        assert!(!state.claim("digits", "a").unwrap());
        state.write_status(&CompressedModelStatus::default()).unwrap();
        assert!(state.claim("digits", "a").unwrap());
        assert!(state.read_status().unwrap().is_some());
        assert!(!state.claim("digits", "b").unwrap());
        assert!(state.read_status().unwrap().is_none());
        assert!(state.claim("wrist", "b").is_err());
    }

    #[test]
    fn a_damaged_status_says_what_to_do() {
        let root = tempfile::tempdir().unwrap();
        let state = StateDir::open(root.path()).unwrap();
        fs::write(state.path("status.json"), "{").unwrap();
        assert!(format!("{:#}", state.read_status().unwrap_err()).contains("remove it to start over"));
    }
}
