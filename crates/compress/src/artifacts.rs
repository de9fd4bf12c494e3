//! Models by their content: written once, under their SHA-256, never changed.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use sentei_api::quantity::Digest;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

/// Why an artifact could not be kept or found.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The disk said no.
    #[error("cannot {doing} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is not what its name says.
    #[error("`{}` was changed: its SHA-256 is {found}; remove the work directory and run again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// Its digest now.
        found: Digest,
    },
}

/// The SHA-256 of some bytes.
///
/// # Panics
/// Never: 32 bytes always are 64 lower-case hexadecimal digits.
#[must_use]
pub fn digest(bytes: &[u8]) -> Digest {
    let digits = hex::encode(Sha256::digest(bytes));
    #[expect(clippy::expect_used, reason = "32 bytes are 64 lower-case hexadecimal digits")]
    digits.parse().expect("64 lower-case hexadecimal digits")
}

/// A folder `artifacts` of files named `<sha256>.onnx`.
#[derive(Debug, Clone)]
pub struct Artifacts {
    folder: PathBuf,
}

impl Artifacts {
    /// The artifacts below a work directory, which is made if need be.
    ///
    /// # Errors
    /// [`ArtifactError::Io`].
    pub fn open(work: &Path) -> Result<Self, ArtifactError> {
        let folder = work.join("artifacts");
        fs::create_dir_all(&folder).map_err(|source| failed("make folder", &folder, source))?;
        Ok(Self { folder })
    }

    /// Where the artifact of that digest is, or would be.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{digest}.onnx"))
    }

    /// Keeps bytes. The same bytes are kept once.
    ///
    /// # Errors
    /// [`ArtifactError::Io`], when the disk is full for one; nothing is left half-written.
    pub fn keep(&self, bytes: &[u8]) -> Result<Digest, ArtifactError> {
        let digest = digest(bytes);
        let path = self.path(&digest);
        if !path.exists() {
            write_aside(&path, bytes)?;
        }
        Ok(digest)
    }

    /// The bytes of an artifact, checked.
    ///
    /// # Errors
    /// [`ArtifactError`] when the file is missing or was changed.
    pub fn read(&self, wanted: &Digest) -> Result<Vec<u8>, ArtifactError> {
        let path = self.path(wanted);
        let bytes = fs::read(&path).map_err(|source| failed("read", &path, source))?;
        let found = digest(&bytes);
        if found == *wanted { Ok(bytes) } else { Err(ArtifactError::Changed { path, found }) }
    }
}

/// Writes a file so that it is there whole or not at all.
///
/// # Errors
/// [`ArtifactError::Io`].
pub fn write_aside(path: &Path, bytes: &[u8]) -> Result<(), ArtifactError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut aside = tempfile::NamedTempFile::new_in(folder).map_err(|source| failed("write beside", path, source))?;
    aside.write_all(bytes).map_err(|source| failed("write", path, source))?;
    aside.as_file().sync_all().map_err(|source| failed("write", path, source))?;
    aside.persist(path).map_err(|error| failed("put in place", path, error.error))?;
    // The name must outlive a power cut, too; not every file system can sync a folder.
    drop(File::open(folder).and_then(|folder| folder.sync_all()));
    Ok(())
}

/// Writes a value as JSON, whole or not at all.
///
/// # Errors
/// [`ArtifactError::Io`].
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), ArtifactError> {
    let bytes = serde_json::to_vec_pretty(value).map_err(|error| failed("write", path, error.into()))?;
    write_aside(path, &bytes)
}

/// Reads a value from JSON; `None` when there is no such file or it is of another form.
#[must_use]
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> ArtifactError {
    ArtifactError::Io { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_are_kept_once_and_come_back_as_they_were() {
        let work = tempfile::tempdir().expect("a folder");
        let artifacts = Artifacts::open(work.path()).expect("opens");
        let first = artifacts.keep(b"model").expect("kept");
        assert_eq!(first, artifacts.keep(b"model").expect("kept"));
        assert_eq!(artifacts.read(&first).expect("read"), b"model");
        assert_eq!(fs::read_dir(work.path().join("artifacts")).expect("a folder").count(), 1);
    }

    #[test]
    fn a_changed_artifact_is_refused() {
        let work = tempfile::tempdir().expect("a folder");
        let artifacts = Artifacts::open(work.path()).expect("opens");
        let digest = artifacts.keep(b"model").expect("kept");
        fs::write(artifacts.path(&digest), b"tampered").expect("written");
        assert!(artifacts.read(&digest).unwrap_err().to_string().contains("was changed"));
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let work = tempfile::tempdir().expect("a folder");
        fs::write(work.path().join("artifacts"), b"a file in the way").expect("written");
        let message = Artifacts::open(work.path()).unwrap_err().to_string();
        assert!(message.starts_with("cannot make folder"), "{message}");
    }
}
