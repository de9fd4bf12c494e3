//! What a run is given, and why it may fail.

use std::path::{Path, PathBuf};

use sentei_api::{quantity::Digest, spec::CompressedModelSpec};
use sentei_onnx::Model;
use sentei_runtime::{Runtime, SessionOptions};

use super::pruner::PruneError;
use crate::{
    artifacts::{self, ArtifactError},
    data::{DataError, Dataset, Input},
    evaluate::EvaluateError,
    moments::StreamError,
    quantize::QuantizeError,
};

/// One run of a manifest's stages.
#[derive(Debug, Clone)]
pub struct Job {
    /// What is asked for.
    pub spec: CompressedModelSpec,
    /// The folder that relative paths in it start from.
    pub base: PathBuf,
    /// Where candidates, progress and evidence are kept; a run that was interrupted goes on from there.
    pub work: PathBuf,
}

/// The uncompressed model's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where it lies.
    pub path: PathBuf,
    /// Its SHA-256.
    pub digest: Digest,
}

/// Why a run ended without evidence.
#[derive(Debug, thiserror::Error)]
pub enum CompressError {
    /// The address is none this machine can read.
    #[error("source.uri `{uri}` cannot be read here; give a path or a file:// address")]
    Address {
        /// The address.
        uri: String,
    },
    /// The model's file cannot be read.
    #[error("cannot read the model `{}` (source.uri): {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is another than the manifest says.
    #[error("the model `{}` has SHA-256 {found}, but source.sha256 is {expected}; correct one of the two", path.display())]
    WrongDigest {
        /// The file.
        path: PathBuf,
        /// Its digest.
        found: Digest,
        /// The digest wanted.
        expected: Digest,
    },
    /// The file is no model that can be read.
    #[error(transparent)]
    Load(#[from] sentei_onnx::LoadError),
    /// The model could not be written down.
    #[error(transparent)]
    Save(#[from] sentei_onnx::SaveError),
    /// The model has no normal form.
    #[error(transparent)]
    Normalise(#[from] sentei_onnx::normal::NormaliseError),
    /// The data is not as the manifest or the model wants it.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A model could not be judged.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// The baseline does not keep the bounds itself.
    #[error("{}", .0.join("; "))]
    BaselineFailsGates(Vec<String>),
    /// Pruning failed.
    #[error(transparent)]
    Prune(PruneError),
    /// Quantising failed.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// A model could not be run.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// ONNX Runtime refused a model.
    #[error(transparent)]
    Session(#[from] sentei_runtime::SessionError),
    /// A run failed.
    #[error(transparent)]
    Run(#[from] sentei_runtime::RunError),
    /// A candidate could not be kept.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The caller asked to stop; the stages committed so far are kept and the next run goes on from them.
    #[error("stopped on request; the next run goes on from the last committed stage")]
    Cancelled,
}

impl From<PruneError> for CompressError {
    fn from(error: PruneError) -> Self {
        match error {
            PruneError::Cancelled => Self::Cancelled,
            error => Self::Prune(error),
        }
    }
}

/// Finds the source model and checks its digest.
///
/// # Errors
/// [`CompressError`] when it cannot be read or is another than the manifest says.
pub fn fetch_source(job: &Job) -> Result<Source, CompressError> {
    let uri = &job.spec.source.uri;
    let path = local(uri, &job.base).ok_or_else(|| CompressError::Address { uri: uri.clone() })?;
    let bytes = std::fs::read(&path).map_err(|source| CompressError::Unreadable { path: path.clone(), source })?;
    let digest = artifacts::digest(&bytes);
    match &job.spec.source.sha256 {
        Some(expected) if *expected != digest => {
            Err(CompressError::WrongDigest { path, found: digest, expected: expected.clone() })
        }
        _ => Ok(Source { path, digest }),
    }
}

/// Reads the data as the source model takes it.
///
/// # Errors
/// [`CompressError`] when the model does not load or the data does not fit it.
pub fn open_data(job: &Job, source: &Source, runtime: &Runtime) -> Result<Dataset, CompressError> {
    // Read by us first: a broken file is better explained by the reader than by the runtime.
    Model::load(&source.path)?;
    let session = runtime.session_from_file(&source.path, &SessionOptions::default())?;
    let inputs: Vec<Input> = session.inputs().iter().map(Input::from).collect();
    Ok(Dataset::open(&job.spec.data, &job.base, job.spec.compression.seed, &inputs)?)
}

fn local(uri: &str, base: &Path) -> Option<PathBuf> {
    let path = match uri.split_once("://") {
        Some(("file", path)) => Path::new(path),
        Some(_) => return None,
        None => Path::new(uri),
    };
    Some(base.join(path))
}
