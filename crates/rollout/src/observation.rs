//! Everything the hands (pilot or controller) have seen, as of one moment. Counters are cumulative, as the servers
//! export them: a look that is missed loses nothing.

use std::collections::BTreeMap;

use sentei_api::{
    evidence::Candidate,
    quantity::Digest,
    status::{Role, Savings},
};

/// One look at the world.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// `metadata.generation` of the spec that the [`Plan`](crate::Plan) was parsed from.
    pub generation: i64,
    /// How far compression is, for the plan's [`compression_key`](crate::Plan::compression_key); what is known of
    /// another key is `NotStarted`.
    pub compression: Compression,
    /// The original model's servers.
    pub baseline: RoleObservation,
    /// The selected candidate's servers.
    pub candidate: RoleObservation,
    /// Whether the loaded candidate gives the answers on golden inputs that compression recorded for it.
    pub parity: Parity,
    /// The candidate's share of live traffic as the router is configured now, in percent; none when it cannot be told.
    pub weight: Option<u8>,
    /// Share of live requests that is copied to the candidate now, in percent; none when it cannot be told.
    pub shadow_percent: Option<u8>,
    /// Results of the plan's queries by metric name; a metric that gave no number, or a stale one, is left out.
    pub prometheus: BTreeMap<String, f64>,
    /// What people asked for and the status has not yet answered. A verb may be shown any number of times: its id is
    /// remembered in `status.answered`.
    pub requests: Vec<Request>,
    /// What could not be read, in sentences for people.
    pub errors: Vec<String>,
    /// What was gained so far, copied into the status.
    pub savings: Option<Savings>,
    /// The hands have just started and are bringing back servers that went down with them, so that a missing or new
    /// server says nothing about the candidate. True until both roles are ready again.
    pub resuming: bool,
}

/// How far compression is.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Compression {
    /// Not begun, or begun for another spec.
    #[default]
    NotStarted,
    /// Stages run; what for, in a few words.
    Running {
        /// Such as `stage 2: prune to 2.0x MACs`.
        stage: String,
    },
    /// The frontier, best first.
    Done(Vec<Candidate>),
    /// The original model does not meet the manifest's own gates; each failed gate in a sentence with its numbers.
    BaselineFailsGates(String),
    /// It cannot go on; why and what to do.
    Failed(String),
}

/// One role's servers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoleObservation {
    /// The artifact they load; none while the role is absent. For the baseline: the source model.
    pub digest: Option<Digest>,
    /// What they are up to, taken together: ready when traffic can be sent to the role.
    pub state: ServerState,
    /// Every source of counters that answered at this look: the role's servers, and a proxy that saw what they could
    /// not (connect errors), each with counters that no other one includes. Counters are added up over sources.
    pub scrapes: Vec<Scrape>,
}

/// What a role's servers are up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ServerState {
    /// None runs.
    #[default]
    Absent,
    /// Loading or warming up.
    Starting,
    /// Loaded, warmed up and answering its readiness check.
    Ready {
        /// Which life of the server: another number after every restart that was not asked for.
        epoch: u64,
    },
    /// It ran and does not pass its readiness check.
    Unready {
        /// What the check said.
        reason: String,
    },
    /// It ended by itself.
    Crashed {
        /// Exit code, signal or the last line it wrote.
        reason: String,
    },
}

/// Whether the loaded candidate gives the recorded answers on golden inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Parity {
    /// Not tried yet. The hands try as soon as the candidate is ready.
    #[default]
    Unknown,
    /// It does.
    Passed,
    /// It does not; the largest difference, and on which input.
    Failed(String),
}

/// Cumulative counters of one source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scrape {
    /// The source's name among those of its role: a pod, a process, `proxy`.
    pub instance: String,
    /// Which life of the source: counters restart with it. A later life has a larger number, such as its start in
    /// milliseconds since 1970; a scrape of an earlier life than one already seen is not counted.
    pub epoch: u64,
    /// Since that life began.
    pub counters: Counters,
}

/// Counters on all requests and on each named slice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// On all requests.
    pub all: Outcomes,
    /// On the requests of one slice.
    pub slices: BTreeMap<String, Outcomes>,
}

/// What became of requests, all cumulative. A source that does not count one of these leaves it at its default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcomes {
    /// Live requests by status code, shadow copies left out.
    pub requests: BTreeMap<u16, u64>,
    /// Live requests that got no answer from the server: refused, reset, timed out.
    pub unanswered: u64,
    /// Durations of live requests.
    pub latency: Histogram,
    /// Labels that came back for this role's answers.
    pub feedback: Feedback,
    /// Pairs of answers to the same input with a known label. Counted by the candidate.
    pub pairs: Pairs,
    /// Pairs of answers to the same input, by prediction. Counted by the candidate.
    pub agreement: Agreement,
}

/// Cumulative counts of durations by bucket.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Upper ends of the buckets in seconds, ascending, finite.
    pub bounds: Vec<f64>,
    /// Durations in each bucket (not summed over buckets), one more than `bounds`: the last counts those above all.
    pub counts: Vec<u64>,
}

/// Answers held against labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Feedback {
    /// Right answers.
    pub correct: u64,
    /// Wrong answers.
    pub incorrect: u64,
}

/// Pairs of answers held against labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pairs {
    /// Both right.
    pub both_correct: u64,
    /// Only the baseline right.
    pub baseline_only: u64,
    /// Only the candidate right.
    pub candidate_only: u64,
    /// Both wrong.
    pub both_wrong: u64,
}

/// Pairs of answers held against each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// The same.
    pub agree: u64,
    /// Not the same.
    pub disagree: u64,
}

/// One thing a person asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Unlike that of any other request.
    pub id: String,
    /// What.
    pub verb: Verb,
}

/// What a person may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Roll this candidate out (in `AwaitingApproval`).
    Approve {
        /// One of `status.candidates`.
        digest: Digest,
    },
    /// Roll none of them out (in `AwaitingApproval`).
    Reject,
    /// Go on from the present pause; `full`: past all remaining steps.
    Promote {
        /// Past all remaining steps.
        full: bool,
    },
    /// Stay at the present step.
    Pause,
    /// Go on from a pause.
    Resume,
    /// Give this rollout up.
    Abort,
    /// Start over after `RolledBack` or `Failed`.
    Retry,
    /// Back to the baseline, also after the promotion.
    Rollback,
}

impl Verb {
    /// As a person writes it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Approve { .. } => "approve",
            Self::Reject => "reject",
            Self::Promote { full: false } => "promote",
            Self::Promote { full: true } => "promote --full",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Abort => "abort",
            Self::Retry => "retry",
            Self::Rollback => "rollback",
        }
    }
}

impl Observation {
    /// One role's servers.
    #[must_use]
    pub const fn role(&self, role: Role) -> &RoleObservation {
        match role {
            Role::Baseline => &self.baseline,
            Role::Candidate => &self.candidate,
        }
    }
}

impl RoleObservation {
    /// The life of the server that can take traffic now, when one can.
    #[must_use]
    pub const fn ready_epoch(&self) -> Option<u64> {
        match self.state {
            ServerState::Ready { epoch } => Some(epoch),
            _ => None,
        }
    }
}

impl ServerState {
    /// In a few words, for messages.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Absent => "is not running".to_owned(),
            Self::Starting => "is still starting".to_owned(),
            Self::Ready { epoch } => format!("is ready (epoch {epoch})"),
            Self::Unready { reason } => format!("is not ready: {reason}"),
            Self::Crashed { reason } => format!("crashed: {reason}"),
        }
    }
}
