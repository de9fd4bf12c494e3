//! Several sessions of one model, since a session runs one request at a time.

use std::{
    path::Path,
    sync::{Arc, Condvar, Mutex, PoisonError},
};

use ort::session::builder::PrepackedWeights;

use crate::{
    runtime::{Runtime, Source},
    session::{Port, RunError, Session, SessionError, SessionOptions},
    tensor::Tensor,
};

/// Sessions of one model that share its packed weights: the second costs little more than its activations.
#[derive(Debug)]
pub struct Pool {
    idle: Mutex<Vec<Session>>,
    returned: Condvar,
    size: usize,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

impl Pool {
    /// `size` sessions (at least 1) for a model in memory.
    ///
    /// # Errors
    /// As [`Runtime::session_from_bytes`].
    pub fn from_bytes(
        runtime: &Runtime,
        model: &[u8],
        options: &SessionOptions,
        size: usize,
    ) -> Result<Arc<Self>, SessionError> {
        Self::open(runtime, Source::Bytes(model), options, size)
    }

    /// `size` sessions (at least 1) for a model file; external data is looked up beside it.
    ///
    /// # Errors
    /// As [`Runtime::session_from_file`].
    pub fn from_file(
        runtime: &Runtime,
        model: &Path,
        options: &SessionOptions,
        size: usize,
    ) -> Result<Arc<Self>, SessionError> {
        Self::open(runtime, Source::File(model), options, size)
    }

    fn open(
        runtime: &Runtime,
        model: Source<'_>,
        options: &SessionOptions,
        size: usize,
    ) -> Result<Arc<Self>, SessionError> {
        let shared = PrepackedWeights::new();
        let idle =
            (0..size.max(1)).map(|_| runtime.session(model, options, Some(&shared))).collect::<Result<Vec<_>, _>>()?;
        let (inputs, outputs) = (idle[0].inputs().to_vec(), idle[0].outputs().to_vec());
        Ok(Arc::new(Self { size: idle.len(), idle: Mutex::new(idle), returned: Condvar::new(), inputs, outputs }))
    }

    /// How many runs can go on at once.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// The model's inputs, in the graph's order.
    #[must_use]
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// The model's outputs, in the graph's order.
    #[must_use]
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// [`Session::run`] on an idle session; blocks this thread until there is one.
    ///
    /// Async callers call this on [`Self::size`] threads of their own, where it then never waits for a session.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run(&self, inputs: &[(&str, &Tensor)], outputs: Option<&[&str]>) -> Result<Vec<Tensor>, RunError> {
        let mut session = self.take();
        let answer = session.run(inputs, outputs);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
        self.returned.notify_one();
        answer
    }

    fn take(&self) -> Session {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            // The last one returned is the one whose memory is still warm.
            if let Some(session) = idle.pop() {
                return session;
            }
            idle = self.returned.wait(idle).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
