//! The loaded library and its one environment.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use ort::{environment::Environment, logging::LogLevel, session::builder::PrepackedWeights};

use crate::{
    library::{Library, Version},
    session::{Session, SessionError, SessionOptions},
};

/// ONNX Runtime, loaded into this process.
#[derive(Debug)]
pub struct Runtime {
    environment: Environment,
    path: PathBuf,
    version: Version,
}

/// Why a library that looked right would not load.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The dynamic loader, or ONNX Runtime itself, refused.
    #[error("cannot load ONNX Runtime from `{}`: {reason}; pass another library with --onnxruntime PATH, or delete this file to have it fetched again", path.display())]
    Refused {
        /// The library.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// A process holds one ONNX Runtime, and it holds another.
    #[error("ONNX Runtime is already loaded from `{}`; `{}` cannot be loaded beside it, start another process", loaded.display(), asked.display())]
    AlreadyLoaded {
        /// The one loaded first.
        loaded: PathBuf,
        /// The one asked for now.
        asked: PathBuf,
    },
}

impl Runtime {
    /// Loads `library`. A process loads one; asking again for the same gives the same.
    ///
    /// # Errors
    /// [`LoadError`] when the library will not load, or when another is loaded already.
    pub fn load(library: &Library) -> Result<Arc<Self>, LoadError> {
        // `ort` allows one environment per process, ever: a failed attempt may be repeated, a success is kept.
        static LOADED: Mutex<Option<Arc<Runtime>>> = Mutex::new(None);
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*loaded {
            return if runtime.path == library.path() {
                Ok(Arc::clone(runtime))
            } else {
                Err(LoadError::AlreadyLoaded { loaded: runtime.path.clone(), asked: library.path().to_owned() })
            };
        }
        let refused = |reason: String| LoadError::Refused { path: library.path().to_owned(), reason };
        let environment = ort::init_from(library.path())
            .map_err(|error| refused(error.to_string()))?
            .with_name("sentei")
            .with_telemetry(false)
            .with_logger(Arc::new(log))
            .build()
            .map_err(|error| refused(error.to_string()))?;
        let runtime = Arc::new(Self { environment, path: library.path().to_owned(), version: library.version() });
        *loaded = Some(Arc::clone(&runtime));
        Ok(runtime)
    }

    /// The version loaded.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// A session for a model in memory (weights inside the bytes; see [`Self::session_from_file`] for the other kind).
    ///
    /// # Errors
    /// [`SessionError`] when the model is malformed or uses what this runtime lacks.
    pub fn session_from_bytes(&self, model: &[u8], options: &SessionOptions) -> Result<Session, SessionError> {
        self.session(Source::Bytes(model), options, None)
    }

    /// A session for a model file; external data is looked up beside it.
    ///
    /// # Errors
    /// [`SessionError`] when the file cannot be read, is malformed or uses what this runtime lacks.
    pub fn session_from_file(&self, model: &Path, options: &SessionOptions) -> Result<Session, SessionError> {
        self.session(Source::File(model), options, None)
    }

    /// A session that shares the weights it packs with the others given the same container.
    pub(crate) fn session(
        &self,
        model: Source<'_>,
        options: &SessionOptions,
        shared: Option<&PrepackedWeights>,
    ) -> Result<Session, SessionError> {
        Session::build(&self.environment, options, shared, |builder| match model {
            Source::Bytes(bytes) => builder.commit_from_memory(bytes),
            Source::File(path) => builder.commit_from_file(path),
        })
    }
}

/// Where a model is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source<'a> {
    Bytes(&'a [u8]),
    File(&'a Path),
}

/// ONNX Runtime's own words go where ours go, instead of straight to the terminal.
fn log(level: LogLevel, category: &str, _id: &str, location: &str, message: &str) {
    match level {
        LogLevel::Error | LogLevel::Fatal => tracing::error!(target: "onnxruntime", category, location, "{message}"),
        // It warns about every odd initializer; only someone who asks wants to read that.
        LogLevel::Warning => tracing::debug!(target: "onnxruntime", category, location, "{message}"),
        LogLevel::Info | LogLevel::Verbose => tracing::trace!(target: "onnxruntime", category, location, "{message}"),
    }
}
