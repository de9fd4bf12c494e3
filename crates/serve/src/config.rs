//! What a server is told at its start. Plain data: whoever embeds the server parses its own flags into this.

use std::{fmt, net::SocketAddr, num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use sentei_runtime::{Runtime, SessionOptions, Tensor};
use serde::{Deserialize, Serialize};

use crate::token::TokenKey;

/// Which of the two models under comparison a server holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The original.
    Baseline,
    /// The compressed one under trial.
    Candidate,
}

impl Role {
    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Candidate => "candidate",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A share of the traffic, 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Percent(u8);

/// A percentage above 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("percent is {0}, expected 0 to 100")]
pub struct PercentError(pub u8);

impl Percent {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(100);

    /// The number, 0 to 100.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Percent {
    type Error = PercentError;

    fn try_from(percent: u8) -> Result<Self, PercentError> {
        if percent <= 100 { Ok(Self(percent)) } else { Err(PercentError(percent)) }
    }
}

/// How a model's output becomes something that can be right or wrong.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Task {
    /// The class with the highest score: the last axis of `output` (of the only output, where `None`) holds one score a
    /// class, the axes before it are rows.
    Classification {
        /// The output that holds the scores.
        output: Option<String>,
    },
    /// One number a row; right when it is within `tolerance` of the label.
    Regression {
        /// The output that holds the numbers; `None` is the only one.
        output: Option<String>,
        /// The largest error that still counts as right, in the label's unit.
        tolerance: f64,
    },
    /// No predictions: no feedback tokens, no shadow pairs.
    #[default]
    None,
}

/// Faults to rehearse a rollback with. A server has none unless told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Every inference takes this much longer.
    Slow {
        /// The time added.
        added: Duration,
    },
    /// Inferences are answered with HTTP 500 once so many were answered well.
    Error {
        /// Inferences before the first failure.
        after: u64,
    },
    /// The process aborts once so many inferences were answered.
    Crash {
        /// Inferences before the crash.
        after: u64,
    },
}

/// What to run before a server calls itself ready, so that no user pays for the first run.
#[derive(Debug, Clone, PartialEq)]
pub struct WarmUp {
    /// Runs per session.
    pub runs: usize,
    /// Named inputs; `None` is zeros, with free dimensions set to 1.
    pub inputs: Option<Vec<(String, Tensor)>>,
}

impl Default for WarmUp {
    fn default() -> Self {
        Self { runs: 3, inputs: None }
    }
}

/// Bounds that keep a server standing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest request body, in bytes.
    pub body: usize,
    /// Longest an inference may take, waiting included.
    pub request: Duration,
    /// Inferences that may wait for a session; more are answered with 503 at once.
    pub waiting: usize,
    /// How long a stopping server goes on answering after it has said that it is not ready.
    pub drain_delay: Duration,
    /// Longest a stopping server waits for requests under way.
    pub drain: Duration,
    /// How long after its prediction a label is taken.
    pub feedback_age: Duration,
    /// Feedback tokens remembered against replay.
    pub feedback_cache: usize,
    /// Shadow pairs that may wait to be sent; more are dropped.
    pub shadow_queue: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 32 << 20,
            request: Duration::from_secs(10),
            waiting: 1024,
            drain_delay: Duration::ZERO,
            drain: Duration::from_secs(30),
            feedback_age: Duration::from_hours(24),
            feedback_cache: 1 << 18,
            shadow_queue: 64,
        }
    }
}

/// Everything a server needs.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// ONNX Runtime.
    pub runtime: Arc<Runtime>,
    /// The model's file.
    pub model_path: PathBuf,
    /// The model's name in URLs and labels.
    pub model: String,
    /// The model's version in URLs and labels, such as the start of its digest.
    pub version: String,
    /// Which side of the comparison it is.
    pub role: Role,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Written, whole, with the address listened on, for a supervisor that cannot ask.
    pub address_file: Option<PathBuf>,
    /// How a session runs.
    pub session: SessionOptions,
    /// Sessions, so inferences at once.
    pub sessions: NonZeroUsize,
    /// How outputs become predictions.
    pub task: Task,
    /// Slice names that become label values; any other is counted as `other`.
    pub slices: Vec<String>,
    /// Signs feedback tokens; shared by all servers of a model, of both roles, or else each takes only its own.
    pub key: TokenKey,
    /// What to run before being ready.
    pub warm_up: WarmUp,
    /// Bounds.
    pub limits: Limits,
    /// A fault to rehearse with.
    pub fault: Option<Fault>,
}

impl ServerConfig {
    /// A server for the model at `model_path`, on a free port of the loopback, with one session per processor, the
    /// default bounds and a key of its own.
    #[must_use]
    pub fn new(runtime: Arc<Runtime>, model_path: impl Into<PathBuf>, model: &str, version: &str, role: Role) -> Self {
        Self {
            runtime,
            model_path: model_path.into(),
            model: model.to_owned(),
            version: version.to_owned(),
            role,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            address_file: None,
            session: SessionOptions::default(),
            sessions: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            task: Task::None,
            slices: Vec::new(),
            key: TokenKey::random(),
            warm_up: WarmUp::default(),
            limits: Limits::default(),
            fault: None,
        }
    }
}
