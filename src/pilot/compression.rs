//! The pilot's worker: stages run on a thread of this process, and `step` sees how far they are.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use sentei_api::evidence::Candidate;
use sentei_compress::{CompressError, Job};
use sentei_rollout::observation::Compression;
use sentei_runtime::Runtime;

use crate::{progress::Narrator, terminal::Terminal};

/// One run of the stages, for one spec.
pub struct Worker {
    key: String,
    seen: Arc<Mutex<Compression>>,
    cancel: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the worker runs.
pub enum Work {
    /// The manifest's stages.
    Stages,
    /// A candidate that was brought along; `trusted` ones are not held against the gates.
    Assess { model: PathBuf, trusted: bool },
}

impl Worker {
    pub fn start(key: String, job: Job, work: Work, runtime: Arc<Runtime>, terminal: Arc<Terminal>) -> Self {
        let seen = Arc::new(Mutex::new(Compression::Running { stage: "measure the source model".to_owned() }));
        let cancel = Arc::new(AtomicBool::new(false));
        let thread = {
            let (seen, cancel) = (Arc::clone(&seen), Arc::clone(&cancel));
            std::thread::spawn(move || {
                let narrator = Narrator::new(terminal, Some(Arc::clone(&seen)));
                let result = match work {
                    Work::Stages => sentei_compress::compress(&job, &runtime, &narrator, &cancel),
                    Work::Assess { model, trusted } => {
                        sentei_compress::assess(&job, &model, &runtime, &narrator).map(|mut evidence| {
                            evidence.candidates.iter_mut().for_each(|candidate| candidate.gates_passed |= trusted);
                            evidence
                        })
                    }
                };
                let outcome = match result {
                    Ok(evidence) => Compression::Done(best_first(evidence.candidates)),
                    Err(CompressError::BaselineFailsGates(reasons)) => {
                        Compression::BaselineFailsGates(reasons.join("; "))
                    }
                    // The next run goes on from the last committed stage.
                    Err(CompressError::Cancelled) => Compression::NotStarted,
                    Err(error) => Compression::Failed(chain(&error)),
                };
                *seen.lock().unwrap_or_else(PoisonError::into_inner) = outcome;
            })
        };
        Self { key, seen, cancel, thread: Some(thread) }
    }

    /// How far it is, for the spec with this key.
    pub fn seen(&self, key: &str) -> Compression {
        if key != self.key {
            return Compression::NotStarted;
        }
        // A panic in the engine ends the thread without an outcome; without this the pilot would wait for ever.
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match seen {
            Compression::Running { stage } if self.thread.as_ref().is_none_or(JoinHandle::is_finished) => {
                Compression::Failed(format!("the compression worker ended unexpectedly during: {stage}"))
            }
            other => other,
        }
    }

    /// Asks the worker to stop and waits for it; what was committed stays.
    pub fn stop(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panicked worker has nothing more to say: `seen` reported it.
            drop(thread.join());
        }
    }
}

/// The smallest candidate that meets everything asked for comes first.
fn best_first(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    candidates.sort_by_key(|candidate| (!candidate.gates_passed, !candidate.objective_met, candidate.cost.size));
    candidates
}

/// An error with its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
