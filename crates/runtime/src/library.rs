//! A shared library on disk: which version it is, and how we came by it.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    str::FromStr,
};

/// The oldest ONNX Runtime the bindings can talk to (`ort`'s feature `api-24`). Newer ones keep the old interface.
pub const MINIMUM: Version = Version { major: 1, minor: 24, patch: 0 };

/// A version of ONNX Runtime, ordered as usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number; 0 where it was not written.
    pub patch: u32,
}

impl Version {
    /// Whether this runtime can be used: the same major version as [`MINIMUM`] and not older.
    #[must_use]
    pub fn is_suitable(self) -> bool {
        self.major == MINIMUM.major && self >= MINIMUM
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// The text is not two or three numbers with dots between.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a version: two or three numbers with dots between were expected")]
pub struct VersionError(String);

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let numbers: Result<Vec<u32>, _> = text.split('.').map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[major, minor]) => Ok(Self { major, minor, patch: 0 }),
            Ok(&[major, minor, patch]) => Ok(Self { major, minor, patch }),
            _ => Err(VersionError(text.to_owned())),
        }
    }
}

/// How a library was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The caller named it (`--onnxruntime`).
    Argument,
    /// The variable `ORT_DYLIB_PATH` named it.
    Environment,
    /// It lay in one of the system's library folders.
    System,
    /// It had been taken from the pinned wheel earlier.
    Cache,
    /// It was taken from the pinned wheel just now.
    Wheel,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Argument => "--onnxruntime",
            Self::Environment => "ORT_DYLIB_PATH",
            Self::System => "a system library",
            Self::Cache => "the cache",
            Self::Wheel => "the wheel from PyPI",
        })
    }
}

/// A suitable ONNX Runtime on disk; only [`crate::locate`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    path: PathBuf,
    version: Version,
    found: Found,
    notes: Vec<String>,
}

impl Library {
    pub(crate) fn new(path: PathBuf, version: Version, found: Found, notes: Vec<String>) -> Self {
        Self { path, version, found, notes }
    }

    /// The shared library's file, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The version it says it is.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// How it was found.
    #[must_use]
    pub fn found(&self) -> Found {
        self.found
    }

    /// What was passed over on the way, and why: one line each, for the user's eyes.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ONNX Runtime {} from {} ({})", self.version, self.found, self.path.display())
    }
}

/// What a look at a file says, without loading it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Inspection {
    Version(Version),
    /// Not a shared library at all.
    NotALibrary,
    /// A shared library, but nothing in it says which ONNX Runtime it is.
    NoVersion,
}

/// Reads a library's version off its symbol versions (`VERS_1.31.1`, near the start of the file), which cannot be wrong,
/// or else off its name (`libonnxruntime.so.1.31.1`).
pub(crate) fn inspect(path: &Path) -> io::Result<Inspection> {
    let mut file = File::open(path)?;
    let mut seen = Vec::with_capacity(CHUNK + OVERLAP);
    let mut first = true;
    loop {
        let read = file.by_ref().take(CHUNK as u64).read_to_end(&mut seen)?;
        if first && cfg!(target_os = "linux") && !seen.starts_with(b"\x7fELF") {
            return Ok(Inspection::NotALibrary);
        }
        first = false;
        if let Some(version) = symbol_version(&seen) {
            return Ok(Inspection::Version(version));
        }
        if read == 0 {
            let version = path.canonicalize().ok().and_then(|real| name_version(&real));
            return Ok(version.map_or(Inspection::NoVersion, Inspection::Version));
        }
        // A marker may straddle two chunks.
        seen.drain(..seen.len().saturating_sub(OVERLAP));
    }
}

const CHUNK: usize = 1 << 20;
const OVERLAP: usize = 32;
const MARKER: &[u8] = b"\0VERS_";

fn symbol_version(bytes: &[u8]) -> Option<Version> {
    let at = bytes.windows(MARKER.len()).position(|window| window == MARKER)?;
    let rest = &bytes[at + MARKER.len()..];
    let end = rest.iter().position(|&byte| byte == 0)?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

/// `libonnxruntime.so.1.31.1` or `libonnxruntime.1.31.1.dylib`.
fn name_version(path: &Path) -> Option<Version> {
    let name = path.file_name()?.to_str()?.strip_prefix("libonnxruntime.")?;
    name.strip_prefix("so.").or_else(|| name.strip_suffix(".dylib"))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_and_bounded() {
        let version = |text: &str| text.parse::<Version>().expect("a version");
        assert!(version("1.31.1").is_suitable());
        assert!(version("1.24").is_suitable());
        assert!(!version("1.23.9").is_suitable());
        assert!(!version("2.0.0").is_suitable());
        assert!(version("1.100.0") > version("1.31.1"));
        assert_eq!(
            "1".parse::<Version>().unwrap_err().to_string(),
            "`1` is not a version: two or three numbers with dots between were expected"
        );
    }

    #[test]
    fn the_version_is_read_off_the_symbols_even_across_a_chunk() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("libonnxruntime.so.1.2.3");
        for at in [4, CHUNK - 9, CHUNK - 1, CHUNK + 5] {
            let mut bytes = b"\x7fELF".to_vec();
            bytes.resize(at, 0);
            bytes.extend_from_slice(b"\0VERS_1.27.2\0");
            std::fs::write(&path, bytes).expect("written");
            let version = Version { major: 1, minor: 27, patch: 2 };
            assert_eq!(inspect(&path).expect("readable"), Inspection::Version(version), "marker at {at}");
        }
    }

    #[test]
    fn the_name_is_believed_where_the_file_is_silent() {
        let dir = tempfile::tempdir().expect("a folder");
        let named = dir.path().join("libonnxruntime.so.1.25.0");
        std::fs::write(&named, b"\x7fELF and nothing more").expect("written");
        assert_eq!(inspect(&named).expect("readable"), Inspection::Version(Version { major: 1, minor: 25, patch: 0 }));
        let unnamed = dir.path().join("other.so");
        std::fs::write(&unnamed, b"\x7fELF and nothing more").expect("written");
        assert_eq!(inspect(&unnamed).expect("readable"), Inspection::NoVersion);
        std::fs::write(&unnamed, b"hello").expect("written");
        assert_eq!(inspect(&unnamed).expect("readable"), Inspection::NotALibrary);
    }
}
