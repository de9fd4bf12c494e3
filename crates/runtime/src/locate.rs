//! Finds an ONNX Runtime: the argument, `ORT_DYLIB_PATH`, the system, the cache, the pinned wheel; in this order.
//!
//! What the user named is refused when it will not do; what merely lay around is passed over with a note.

use std::{
    env,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::{
    library::{Found, Inspection, Library, MINIMUM, Version, inspect},
    wheel,
};

/// Why there is no ONNX Runtime to load. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AcquireError {
    /// A library named by the user does not exist.
    #[error("no ONNX Runtime at `{}` (named by {by}): no such file; name a libonnxruntime.so of version {MINIMUM} or newer", path.display())]
    Missing {
        /// The path named.
        path: PathBuf,
        /// Who named it.
        by: Found,
    },
    /// A file named by the user is something else.
    #[error("`{}` (named by {by}) is not a shared library; name a libonnxruntime.so of version {MINIMUM} or newer", path.display())]
    NotALibrary {
        /// The path named.
        path: PathBuf,
        /// Who named it.
        by: Found,
    },
    /// A library named by the user is no ONNX Runtime we recognise.
    #[error("`{}` (named by {by}) does not say which version of ONNX Runtime it is; name a libonnxruntime.so of version {MINIMUM} or newer", path.display())]
    NoVersion {
        /// The path named.
        path: PathBuf,
        /// Who named it.
        by: Found,
    },
    /// A library named by the user is too old, or of another major version.
    #[error("`{}` (named by {by}) is ONNX Runtime {version}, but {MINIMUM} or newer (1.x) is needed; name another, or none to have the pinned one fetched", path.display())]
    Unsuitable {
        /// The path named.
        path: PathBuf,
        /// Who named it.
        by: Found,
        /// The version found.
        version: Version,
    },
    /// No wheel is pinned for this machine.
    #[error(
        "no ONNX Runtime found, and none is pinned for {os} on {arch}; install ONNX Runtime {MINIMUM} or newer and pass its library with --onnxruntime PATH"
    )]
    Platform {
        /// The operating system.
        os: &'static str,
        /// The processor.
        arch: &'static str,
    },
    /// There is nowhere to keep the library.
    #[error(
        "no ONNX Runtime found, and no folder to keep one in: set HOME or XDG_CACHE_HOME, or pass a library with --onnxruntime PATH"
    )]
    NoCache,
    /// pip is not installed.
    #[error("no ONNX Runtime found, and no pip to fetch it with (tried {}); install pip, or pass a library with --onnxruntime PATH", tried.join(", "))]
    NoPip {
        /// The commands tried.
        tried: Vec<String>,
    },
    /// pip could not fetch the wheel.
    #[error(
        "`{command}` failed ({status}): {output}; check pip's index and network (`pip config list`), or pass a library with --onnxruntime PATH"
    )]
    Pip {
        /// The command as run.
        command: String,
        /// How it ended.
        status: String,
        /// Its last words.
        output: String,
    },
    /// The wheel is not the one that was pinned.
    #[error(
        "the wheel `{file}` has SHA-256 {found}, but {expected} is pinned: the index serves a different file; fix the index, or pass a library you trust with --onnxruntime PATH"
    )]
    Checksum {
        /// The wheel's name.
        file: String,
        /// What it hashes to.
        found: String,
        /// What it should hash to.
        expected: &'static str,
    },
    /// The wheel cannot be unpacked.
    #[error("the wheel `{file}` is damaged ({reason}); try again, or pass a library with --onnxruntime PATH")]
    Archive {
        /// The wheel's name.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("cannot {doing} `{}`: {source}; free or permit the place, or pass a library with --onnxruntime PATH", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// Finds an ONNX Runtime of version [`MINIMUM`] or newer, fetching the pinned one with pip when there is no other.
///
/// In this order: `explicit`, the file named by `ORT_DYLIB_PATH`, a library in the system's folders, the cache
/// (`$XDG_CACHE_HOME/sentei/onnxruntime`, or below `~/.cache`), and the wheel of `onnxruntime` from PyPI through pip's
/// own configuration, checked against a SHA-256 and kept in the cache.
///
/// # Errors
/// [`AcquireError`]: what was named will not do, or nothing was found and the wheel cannot be had.
pub fn locate(explicit: Option<&Path>) -> Result<Library, AcquireError> {
    // Two threads must not fetch twice. Two processes may; the rename at the end makes that harmless.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    locate_in(explicit, &Places::of_this_machine())
}

/// Where to look. A value, so that tests can point it elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Places {
    pub(crate) environment: Option<PathBuf>,
    pub(crate) system: Vec<PathBuf>,
    pub(crate) cache: Option<PathBuf>,
    /// Commands that may be pip, in the order to try.
    pub(crate) pips: Vec<Vec<OsString>>,
}

impl Places {
    fn of_this_machine() -> Self {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let mut system: Vec<PathBuf> =
            set("LD_LIBRARY_PATH").map(|paths| env::split_paths(&paths).collect()).unwrap_or_default();
        system.push("/usr/local/lib".into());
        system.push(format!("/usr/lib/{}-linux-gnu", env::consts::ARCH).into());
        system.extend(["/usr/lib64", "/usr/lib", "/opt/onnxruntime/lib"].map(PathBuf::from));
        let caches = set("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| set("HOME").map(|home| Path::new(&home).join(".cache")));
        Self {
            environment: set("ORT_DYLIB_PATH").map(PathBuf::from),
            system,
            cache: caches.map(|path| path.join("sentei/onnxruntime")),
            pips: [&["python3", "-m", "pip"][..], &["pip3"], &["pip"]]
                .map(|command| command.iter().map(OsString::from).collect())
                .to_vec(),
        }
    }
}

pub(crate) fn locate_in(explicit: Option<&Path>, places: &Places) -> Result<Library, AcquireError> {
    if let Some(path) = explicit {
        return named(path, Found::Argument);
    }
    if let Some(path) = &places.environment {
        return named(path, Found::Environment);
    }
    let mut notes = Vec::new();
    if let Some((path, version)) = best_in(&places.system, &mut notes) {
        return Ok(Library::new(path, version, Found::System, notes));
    }
    let wheel = wheel::pinned_for(env::consts::OS, env::consts::ARCH)
        .ok_or(AcquireError::Platform { os: env::consts::OS, arch: env::consts::ARCH })?;
    let cache = places.cache.as_ref().ok_or(AcquireError::NoCache)?;
    let kept = cache.join(wheel::VERSION).join(wheel::LIBRARY);
    if kept.exists() {
        match suitable(&kept, Found::Cache) {
            Ok(version) => return Ok(Library::new(kept, version, Found::Cache, notes)),
            Err(error) => notes.push(format!("fetched again: {error}")),
        }
    }
    wheel::fetch(&wheel, &places.pips, &kept)?;
    let version = suitable(&kept, Found::Wheel)?;
    Ok(Library::new(kept, version, Found::Wheel, notes))
}

fn named(path: &Path, by: Found) -> Result<Library, AcquireError> {
    // The dynamic loader would resolve a relative path its own way.
    let absolute = path.canonicalize().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => AcquireError::Missing { path: path.to_owned(), by },
        _ => AcquireError::Io { doing: "open", path: path.to_owned(), source },
    })?;
    let version = suitable(&absolute, by)?;
    Ok(Library::new(absolute, version, by, Vec::new()))
}

fn suitable(path: &Path, by: Found) -> Result<Version, AcquireError> {
    let path = path.to_owned();
    match inspect(&path) {
        Ok(Inspection::Version(version)) if version.is_suitable() => Ok(version),
        Ok(Inspection::Version(version)) => Err(AcquireError::Unsuitable { path, by, version }),
        Ok(Inspection::NotALibrary) => Err(AcquireError::NotALibrary { path, by }),
        Ok(Inspection::NoVersion) => Err(AcquireError::NoVersion { path, by }),
        Err(source) => Err(AcquireError::Io { doing: "read", path, source }),
    }
}

/// The newest suitable library of the first folder that has one.
fn best_in(folders: &[PathBuf], notes: &mut Vec<String>) -> Option<(PathBuf, Version)> {
    folders.iter().find_map(|folder| {
        let entries = folder.read_dir().ok()?;
        let mut paths: Vec<PathBuf> = entries
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("libonnxruntime.so"))
            .filter_map(|entry| entry.path().canonicalize().ok())
            .collect();
        // `libonnxruntime.so` and `.so.1` are usually links to the same file.
        paths.sort();
        paths.dedup();
        let judged = paths.into_iter().filter_map(|path| match suitable(&path, Found::System) {
            Ok(version) => Some((path, version)),
            Err(error) => {
                notes.push(format!("passed over: {error}"));
                None
            }
        });
        judged.max_by_key(|(_, version)| *version)
    })
}

#[cfg(test)]
#[path = "locate_tests.rs"]
mod tests;
