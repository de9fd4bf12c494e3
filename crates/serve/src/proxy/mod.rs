//! The weighted proxy: splits HTTP traffic between a baseline and a candidate on this machine.
//!
//! In a cluster a gateway does this; here it is one listener, one weight, and counts of what was sent where. The
//! candidate's failure to answer at all is hidden from users (the request goes to the baseline) and counted.

mod forward;
mod metrics;

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Incoming, service::service_fn};
use tokio::net::TcpListener;

pub use crate::listen::ListenError;
use crate::{
    config::{Percent, Role},
    listen,
    metrics::OPENMETRICS,
    share::Share,
};
use forward::{Client, forward};
use metrics::Metrics;

/// The answer's header that says who gave it.
pub const ROLE_HEADER: &str = "x-sentei-role";

/// Bounds that keep a proxy standing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyLimits {
    /// Largest request body, in bytes.
    pub body: usize,
    /// Largest request body, in bytes, that is kept so that the baseline can answer when the candidate cannot.
    pub retry_buffer: usize,
    /// Longest wait for a server's answer to begin.
    pub request: Duration,
    /// Longest a stopping proxy waits for requests under way.
    pub drain: Duration,
}

impl Default for ProxyLimits {
    fn default() -> Self {
        Self { body: 32 << 20, retry_buffer: 4 << 20, request: Duration::from_secs(15), drain: Duration::from_secs(30) }
    }
}

/// Everything a proxy needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Where users come; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where `/metrics` is; port 0 takes a free one. Apart from users' traffic.
    pub admin: SocketAddr,
    /// The baseline's server.
    pub baseline: SocketAddr,
    /// The candidate's server, when there is one.
    pub candidate: Option<SocketAddr>,
    /// The candidate's share at the start.
    pub weight: Percent,
    /// Bounds.
    pub limits: ProxyLimits,
}

impl ProxyConfig {
    /// A proxy on free ports of the loopback that sends everything to `baseline`.
    #[must_use]
    pub fn new(baseline: SocketAddr) -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let limits = ProxyLimits::default();
        Self { listen: loopback, admin: loopback, baseline, candidate: None, weight: Percent::ZERO, limits }
    }
}

/// What requests are judged by; shared by all connections.
#[derive(Debug)]
struct State {
    weight: AtomicU8,
    share: Share,
    targets: RwLock<Targets>,
    metrics: Metrics,
    limits: ProxyLimits,
}

#[derive(Debug, Clone, Copy)]
struct Targets {
    baseline: SocketAddr,
    candidate: Option<SocketAddr>,
}

impl State {
    fn weight(&self) -> Percent {
        Percent::try_from(self.weight.load(Ordering::SeqCst)).unwrap_or_default()
    }

    fn targets(&self) -> Targets {
        *self.targets.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server for the next request.
    fn choose(&self) -> (Role, SocketAddr) {
        let targets = self.targets();
        match targets.candidate {
            Some(candidate) if self.share.choose(self.weight()) => (Role::Candidate, candidate),
            _ => (Role::Baseline, targets.baseline),
        }
    }
}

/// Steers a running proxy. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ProxyHandle(Arc<State>);

impl ProxyHandle {
    /// Gives the candidate this share of the requests from the next one on; 0 means none.
    pub fn set_weight(&self, weight: Percent) {
        self.0.weight.store(weight.get(), Ordering::SeqCst);
        self.0.metrics.set_weight(weight);
    }

    /// The candidate's share.
    #[must_use]
    pub fn weight(&self) -> Percent {
        self.0.weight()
    }

    /// From the next request on the baseline is at `address`.
    pub fn set_baseline(&self, address: SocketAddr) {
        self.0.targets.write().unwrap_or_else(PoisonError::into_inner).baseline = address;
    }

    /// From the next request on the candidate is at `address`; with `None` the baseline gets everything.
    pub fn set_candidate(&self, address: Option<SocketAddr>) {
        self.0.targets.write().unwrap_or_else(PoisonError::into_inner).candidate = address;
    }

    /// The page that `/metrics` gives.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.0.metrics.encode()
    }
}

/// A proxy that listens but does not forward yet.
#[derive(Debug)]
pub struct Proxy {
    users: TcpListener,
    admin: TcpListener,
    address: SocketAddr,
    admin_address: SocketAddr,
    state: Arc<State>,
}

impl Proxy {
    /// Takes both addresses.
    ///
    /// # Errors
    /// [`ListenError`] when one is not to be had.
    pub async fn bind(config: ProxyConfig) -> Result<Self, ListenError> {
        let ProxyConfig { listen, admin, baseline, candidate, weight, limits } = config;
        let (users, address) = bind(listen).await?;
        let (admin, admin_address) = bind(admin).await?;
        let state = Arc::new(State {
            weight: AtomicU8::new(weight.get()),
            share: Share::default(),
            targets: RwLock::new(Targets { baseline, candidate }),
            metrics: Metrics::new(weight),
            limits,
        });
        Ok(Self { users, admin, address, admin_address, state })
    }

    /// Where users come, with its real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where `/metrics` is, with its real port.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Steers the proxy while it runs.
    #[must_use]
    pub fn handle(&self) -> ProxyHandle {
        ProxyHandle(Arc::clone(&self.state))
    }

    /// Forwards until `shutdown`, then lets requests under way finish, within the limit for draining.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { users, admin, state, .. } = self;
        let drain = state.limits.drain;
        let (stop_admin, admin_stopped) = tokio::sync::oneshot::channel::<()>();
        let page = {
            let state = Arc::clone(&state);
            service_fn(move |request: Request<Incoming>| {
                let answer = admin_page(&state, request.uri().path());
                async move { Ok::<_, Infallible>(answer) }
            })
        };
        let admin_stop = async { drop(admin_stopped.await) };
        let admin = tokio::spawn(async move { listen::serve(admin, page, admin_stop, Duration::ZERO).await });
        let client = Client::new();
        let service = service_fn(move |request: Request<Incoming>| {
            let (state, client) = (Arc::clone(&state), client.clone());
            async move { Ok::<_, Infallible>(forward(state, client, request).await) }
        });
        let cut_off = listen::serve(users, service, shutdown, drain).await;
        if cut_off > 0 {
            tracing::warn!(connections = cut_off, "stopped with requests under way");
        }
        // Last, so that the final counts can be read while users' requests drain.
        drop(stop_admin);
        drop(admin.await);
    }
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ListenError> {
    let listener = listen::bind(address).await?;
    let actual = listener.local_addr().map_err(|source| ListenError { address, source })?;
    Ok((listener, actual))
}

fn admin_page(state: &State, path: &str) -> Response<Full<Bytes>> {
    if path == "/metrics" {
        let mut page = Response::new(Full::from(state.metrics.encode()));
        page.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static(OPENMETRICS));
        return page;
    }
    let mut missing = Response::new(Full::from("no such page; there is /metrics\n"));
    *missing.status_mut() = StatusCode::NOT_FOUND;
    missing
}
