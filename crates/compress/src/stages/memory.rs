//! What a run remembers between two stages: enough to go on after a kill and end the same.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use sentei_api::{
    evidence::{LeftAlone, StageRecord},
    quantity::Digest,
};
use serde::{Deserialize, Serialize};

use super::job::{CompressError, Job, Source};
use crate::{artifacts, cuts::Kept};

/// Written as `progress.json` after every stage.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct Memory {
    /// Of everything that decides the result; another means another run.
    pub fingerprint: Digest,
    /// When the first run began.
    pub started: Timestamp,
    /// Wall seconds of the runs before.
    pub seconds: f64,
    /// CPU seconds of the runs before.
    pub cpu_seconds: f64,
    /// Stages of the manifest that are through.
    pub finished: usize,
    /// The model as last committed; the source when nothing was.
    pub committed: Option<Digest>,
    /// What it keeps of each group.
    pub kept: Kept,
    /// How much the next proposal of this stage cuts; none before its first.
    pub step: Option<f64>,
    /// Proposals reverted one after the other.
    pub failures: u32,
    /// Groups that did harm and are not touched again.
    pub spared: BTreeSet<String>,
    /// All stages so far.
    pub stages: Vec<StageRecord>,
    /// What stages left alone.
    pub left_alone: Vec<LeftAlone>,
}

impl Memory {
    /// The file in a work directory.
    pub fn path(work: &Path) -> PathBuf {
        work.join("progress.json")
    }

    /// What the work directory remembers of this very job; a fresh memory otherwise.
    pub fn recall(job: &Job, source: &Source, data: &Digest) -> Self {
        let fingerprint = fingerprint(job, source, data);
        let found: Option<Self> = artifacts::read_json(&Self::path(&job.work));
        found.filter(|memory| memory.fingerprint == fingerprint).unwrap_or_else(|| Self {
            fingerprint,
            started: Timestamp::now(),
            seconds: 0.0,
            cpu_seconds: 0.0,
            finished: 0,
            committed: None,
            kept: Kept::new(),
            step: None,
            failures: 0,
            spared: BTreeSet::new(),
            stages: Vec::new(),
            left_alone: Vec::new(),
        })
    }

    /// Writes it down, whole or not at all.
    pub fn keep(&self, work: &Path) -> Result<(), CompressError> {
        Ok(artifacts::write_json(&Self::path(work), self)?)
    }
}

/// Of the version, the source, the data and the parts of the spec that stages read.
fn fingerprint(job: &Job, source: &Source, data: &Digest) -> Digest {
    let spec = &job.spec;
    let read =
        (env!("CARGO_PKG_VERSION"), &source.digest, data, (&spec.data, &spec.task, &spec.compression, &spec.gates));
    artifacts::digest(&serde_json::to_vec(&read).unwrap_or_default())
}
