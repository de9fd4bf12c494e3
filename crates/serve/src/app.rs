//! What the handlers of one server share.

use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::http::StatusCode;
use sentei_runtime::Pool;

use crate::{
    config::{Fault, Limits, Role, ServerConfig},
    error::Refusal,
    metrics::{Metrics, Slices},
    predict::Reader,
    replay::ReplayCache,
    shadow::Sampler,
    token::TokenKey,
    workers::{NotRun, Workers},
};

/// The model, once loaded.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) pool: Arc<Pool>,
    /// How its output becomes predictions; `None` without a task.
    pub(crate) reader: Option<Reader>,
}

/// One server's state.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) model: String,
    pub(crate) version: String,
    pub(crate) role: Role,
    pub(crate) key: TokenKey,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    pub(crate) slices: Slices,
    pub(crate) replay: Mutex<ReplayCache>,
    pub(crate) sampler: Sampler,
    loaded: OnceLock<Loaded>,
    /// Loaded and warm, and not stopping.
    ready: AtomicBool,
    /// As many as there are sessions.
    workers: Workers,
    fault: Option<Fault>,
    /// Inferences so far, for faults that come after some.
    inferences: AtomicU64,
}

impl App {
    pub(crate) fn new(config: &ServerConfig, sampler: Sampler, workers: Workers) -> Self {
        Self {
            model: config.model.clone(),
            version: config.version.clone(),
            role: config.role,
            key: config.key.clone(),
            metrics: Metrics::new(&config.model, &config.version, config.role),
            slices: Slices::new(&config.slices),
            replay: Mutex::new(ReplayCache::new(config.limits.feedback_cache)),
            sampler,
            loaded: OnceLock::new(),
            ready: AtomicBool::new(false),
            workers,
            fault: config.fault,
            inferences: AtomicU64::new(0),
            limits: config.limits.clone(),
        }
    }

    /// The model was loaded and warmed.
    pub(crate) fn set_loaded(&self, loaded: Loaded) {
        if self.loaded.set(loaded).is_ok() {
            self.ready.store(true, Ordering::Release);
        }
    }

    /// The server is stopping: balancers should look elsewhere, requests that still come are answered.
    pub(crate) fn set_stopping(&self) {
        self.ready.store(false, Ordering::Release);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// The model; refused while it is loading.
    pub(crate) fn loaded(&self) -> Result<&Loaded, Refusal> {
        let refusal =
            || Refusal::new(StatusCode::SERVICE_UNAVAILABLE, format!("model `{}` is still loading", self.model));
        self.loaded.get().ok_or_else(refusal)
    }

    /// Refuses a model or version that is not this server's.
    pub(crate) fn check_name(&self, model: &str, version: Option<&str>) -> Result<(), Refusal> {
        if model != self.model {
            let message = format!("unknown model `{model}`; this server has `{}`", self.model);
            return Err(Refusal::new(StatusCode::NOT_FOUND, message));
        }
        match version {
            Some(version) if version != self.version => {
                let message = format!("unknown version `{version}` of `{model}`; this server has `{}`", self.version);
                Err(Refusal::new(StatusCode::NOT_FOUND, message))
            }
            _ => Ok(()),
        }
    }

    /// Runs `work` on a thread that may take its time, in turn, unless too many wait already.
    pub(crate) async fn compute<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self, &Loaded) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let app = Arc::clone(self);
        let done = self.workers.run(move || app.loaded().and_then(|loaded| work(&app, loaded))).await;
        done.unwrap_or_else(|not_run| {
            Err(match not_run {
                NotRun::Full => {
                    let message = format!("{} inferences are waiting already; try again later", self.limits.waiting);
                    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message)
                }
                NotRun::Abandoned => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the inference was abandoned"),
            })
        })
    }

    /// Does what the configured fault says to this inference.
    pub(crate) async fn suffer(&self) -> Result<(), Refusal> {
        let Some(fault) = self.fault else { return Ok(()) };
        let earlier = self.inferences.fetch_add(1, Ordering::Relaxed);
        match fault {
            Fault::Slow { added } => tokio::time::sleep(added).await,
            Fault::Error { after } if earlier >= after => {
                return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "injected fault"));
            }
            Fault::Crash { after } if earlier >= after => std::process::abort(),
            Fault::Error { .. } | Fault::Crash { .. } => {}
        }
        Ok(())
    }

    pub(crate) fn timed_out(limit: Duration) -> Refusal {
        let message = format!("no answer within {} ms; the model is too slow or too busy", limit.as_millis());
        Refusal::new(StatusCode::GATEWAY_TIMEOUT, message)
    }
}
