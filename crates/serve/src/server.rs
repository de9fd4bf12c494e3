//! A server's life: listen, load, warm up, be ready, drain, end.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::{
    Router,
    routing::{get, post},
};
use hyper_util::service::TowerToHyperService;
use sentei_runtime::{Pool, RunError, SessionError, Tensor};
use tokio::{net::TcpListener, sync::mpsc};

use crate::{
    app::{App, Loaded},
    config::{ServerConfig, WarmUp},
    feedback, infer,
    listen::{self, ListenError},
    models,
    predict::{Reader, TaskError},
    shadow::{self, Pair, Sampler},
    workers::Workers,
};

/// Why a server ended otherwise than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is not to be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The address could not be written where a supervisor looks for it.
    #[error("cannot write the address to `{}`: {source}; choose a path that can be written", path.display())]
    AddressFile {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The model does not load.
    #[error("cannot serve `{}`: {source}", path.display())]
    Model {
        /// The model's file.
        path: PathBuf,
        /// What is wrong with it.
        source: SessionError,
    },
    /// The task does not fit the model.
    #[error("cannot serve `{}`: {source}", path.display())]
    Task {
        /// The model's file.
        path: PathBuf,
        /// What does not fit.
        source: TaskError,
    },
    /// The model loads but does not run.
    #[error("`{}` failed its warm-up: {source}; give warm-up inputs that fit, if zeros do not", path.display())]
    WarmUp {
        /// The model's file.
        path: PathBuf,
        /// What went wrong.
        source: RunError,
    },
    /// Requests were still under way when the time to drain was over.
    #[error("stopped with {connections} requests unanswered after {} s of draining", waited.as_secs())]
    Drain {
        /// Connections cut off in the middle of a request.
        connections: usize,
        /// How long they were given.
        waited: Duration,
    },
    /// The system gives no more threads.
    #[error("cannot start the threads that run the model: {0}; use fewer sessions, or raise the limit on threads")]
    Threads(io::Error),
    /// The load or warm-up did not come to an end of its own.
    #[error("loading the model was abandoned")]
    Abandoned,
}

/// A server that listens but does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    config: ServerConfig,
    app: Arc<App>,
    pairs: mpsc::Receiver<Pair>,
}

/// Listens, loads and serves until `shutdown`; see [`Server`] to learn the address.
///
/// # Errors
/// [`ServeError`].
pub async fn run(config: ServerConfig, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
    Server::bind(config).await?.run(shutdown).await
}

impl Server {
    /// Takes the address, and writes it to the address file where one is asked for.
    ///
    /// # Errors
    /// [`ServeError::Listen`], [`ServeError::AddressFile`], [`ServeError::Threads`].
    pub async fn bind(config: ServerConfig) -> Result<Self, ServeError> {
        let listener = listen::bind(config.listen).await?;
        let address = listener.local_addr().map_err(|source| ListenError { address: config.listen, source })?;
        if let Some(path) = &config.address_file {
            write_aside(path, &address.to_string())
                .map_err(|source| ServeError::AddressFile { path: path.clone(), source })?;
        }
        let (sampler, pairs) = Sampler::new(config.limits.shadow_queue);
        let workers = Workers::start(config.sessions.get(), config.limits.waiting).map_err(ServeError::Threads)?;
        let app = Arc::new(App::new(&config, sampler, workers));
        Ok(Self { listener, address, config, app, pairs })
    }

    /// The address listened on, with its real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Loads and warms the model (answering liveness meanwhile), serves, and on `shutdown` drains: not ready at once,
    /// still answering for the drain delay, then no new connections, then what is under way.
    ///
    /// # Errors
    /// [`ServeError`] when the model does not load, fit its task or run, and when draining took too long.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let Self { listener, config, app, pairs, .. } = self;
        let sender = tokio::spawn(shadow::send_pairs(Arc::clone(&app), pairs));
        let (failed, failure) = tokio::sync::oneshot::channel();
        let limits = config.limits.clone();
        tokio::spawn({
            let app = Arc::clone(&app);
            async move {
                let loaded = tokio::task::spawn_blocking(move || load(&config)).await;
                match loaded.unwrap_or(Err(ServeError::Abandoned)) {
                    Ok(loaded) => app.set_loaded(loaded),
                    Err(error) => drop(failed.send(error)),
                }
            }
        });
        // Resolves on failure alone: a sender dropped in peace is no reason to stop.
        let failure = async move {
            match failure.await {
                Ok(error) => error,
                Err(_) => std::future::pending().await,
            }
        };
        let mut why = None;
        let stop = async {
            tokio::select! {
                error = failure => why = Some(error),
                () = shutdown => {
                    app.set_stopping();
                    tokio::time::sleep(limits.drain_delay).await;
                }
            }
        };
        let service = TowerToHyperService::new(router(Arc::clone(&app)));
        let connections = listen::serve(listener, service, stop, limits.drain).await;
        sender.abort();
        match why {
            Some(error) => Err(error),
            None if connections > 0 => Err(ServeError::Drain { connections, waited: limits.drain }),
            None => Ok(()),
        }
    }
}

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v2", get(models::server_metadata))
        .route("/v2/health/live", get(models::live))
        .route("/v2/health/ready", get(models::ready))
        .route("/v2/models/{model}", get(models::model_metadata))
        .route("/v2/models/{model}/ready", get(models::model_ready))
        .route("/v2/models/{model}/infer", post(infer::infer))
        .route("/v2/models/{model}/versions/{version}", get(models::model_metadata))
        .route("/v2/models/{model}/versions/{version}/ready", get(models::model_ready))
        .route("/v2/models/{model}/versions/{version}/infer", post(infer::infer))
        .route("/v2/models/{model}/feedback", post(feedback::feedback))
        .route("/v2/models/{model}/shadow", post(shadow::compare))
        .route("/admin/shadow", get(shadow::setting).put(shadow::set))
        .route("/metrics", get(models::metrics))
        .fallback(models::not_found)
        .method_not_allowed_fallback(models::method_not_allowed)
        .with_state(app)
}

fn load(config: &ServerConfig) -> Result<Loaded, ServeError> {
    let path = || config.model_path.clone();
    let pool = Pool::from_file(&config.runtime, &config.model_path, &config.session, config.sessions.get())
        .map_err(|source| ServeError::Model { path: path(), source })?;
    let reader =
        Reader::new(&config.task, pool.outputs()).map_err(|source| ServeError::Task { path: path(), source })?;
    warm_up(&pool, &config.warm_up).map_err(|source| ServeError::WarmUp { path: path(), source })?;
    Ok(Loaded { pool, reader })
}

fn warm_up(pool: &Pool, warm_up: &WarmUp) -> Result<(), RunError> {
    let inputs = match &warm_up.inputs {
        Some(inputs) => inputs.clone(),
        None => zeros(pool),
    };
    let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let threads = pool.size();
    let runs = || (0..warm_up.runs).try_for_each(|_| pool.run(&inputs, None).map(drop));
    // All sessions at once, so that each gets its turn.
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(runs)).collect();
        running.into_iter().try_for_each(|thread| thread.join().unwrap_or(Ok(())))
    })
}

fn zeros(pool: &Pool) -> Vec<(String, Tensor)> {
    let shape = |dims: &[Option<usize>]| dims.iter().map(|dim| dim.unwrap_or(1)).collect::<Vec<_>>();
    let zeros =
        |port: &sentei_runtime::Port| (port.name.clone(), Tensor::zeros(shape(port.shape.as_slice()), port.dtype));
    pool.inputs().iter().map(zeros).collect()
}

/// Whoever reads `path` reads nothing or all of `text`.
fn write_aside(path: &std::path::Path, text: &str) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{}", std::process::id()));
    std::fs::write(&aside, text)?;
    std::fs::rename(&aside, path)
}
