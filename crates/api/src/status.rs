//! What Sentei answers: the only memory of a rollout. Kill the process at any time; the next one reads this and decides
//! the same.

use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{KubeSchema, core::ListMerge};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    evidence::{Candidate, Estimate},
    quantity::Digest,
};

/// See the module.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CompressedModelStatus {
    /// The generation of the spec this status answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the model is on its way.
    pub phase: Phase,
    /// When the phase began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime>")]
    pub phase_since: Option<Timestamp>,
    /// The frontier, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub candidates: Vec<Candidate>,
    /// The candidate being rolled out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selected: Option<Digest>,
    /// Index into `spec.rollout.canary.steps`.
    pub current_step_index: u32,
    /// When the step began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime>")]
    pub step_since: Option<Timestamp>,
    /// Shares of live traffic.
    #[serde(default)]
    pub weights: Weights,
    /// Share of live requests copied to the candidate, in percent.
    #[serde(default)]
    pub shadow_percent: u8,
    /// What the analysis remembers between two looks.
    #[serde(default)]
    pub analysis: AnalysisMemory,
    /// Why the last rollout was brought back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_breach: Option<Breach>,
    /// What was decided and on which numbers, newest last; bounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub decisions: Vec<DecisionRecord>,
    /// What was gained and what it cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub savings: Option<Savings>,
    /// `Ready`, `Reconciling`, `Stalled` (kstatus), `Compressed`, `Approved`, `Promoted`, `RolledBack`,
    /// `BaselineHealthy`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Where a model is on its way. From any phase a breach leads to `RollingBack`, then `RolledBack`; `Failed` means that
/// nothing was ever exposed.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Accepted, nothing done yet.
    #[default]
    Pending,
    /// Stages run.
    Compressing,
    /// Candidates are held against the gates on unseen data.
    Evaluating,
    /// A person is asked.
    AwaitingApproval,
    /// The candidate answers copies of live requests.
    Shadowing,
    /// The candidate answers a share of live requests.
    Progressing,
    /// A person is asked to go on.
    Paused,
    /// The candidate takes all traffic.
    Promoting,
    /// The candidate has all traffic; the baseline is warm and the bounds still hold.
    Watching,
    /// The rollback window passed without a breach.
    Succeeded,
    /// Weight 0 is set and not yet seen in the counters.
    RollingBack,
    /// All traffic is back on the baseline.
    RolledBack,
    /// It ended before anything was exposed.
    Failed,
}

impl Phase {
    /// Whether nothing more happens until the spec changes or a person says `retry`.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::RolledBack | Self::Failed)
    }

    /// Whether the candidate may be answering live requests.
    #[must_use]
    pub const fn is_exposed(self) -> bool {
        matches!(self, Self::Progressing | Self::Paused | Self::Promoting | Self::Watching | Self::Succeeded)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Which of the two models.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// The uncompressed model.
    Baseline,
    /// The compressed one under trial.
    Candidate,
}

impl Role {
    /// As it stands in labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
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

/// Shares of live traffic in percent; they add up to 100.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Weights {
    /// What the baseline should get.
    pub baseline: u8,
    /// What the candidate should get.
    pub candidate: u8,
    /// Whether the servers' own counters show it.
    pub verified: bool,
}

impl Default for Weights {
    fn default() -> Self {
        Self { baseline: 100, candidate: 0, verified: false }
    }
}

/// What the analysis remembers between two looks: counters as they stood when the judged period began.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct AnalysisMemory {
    /// When the judged period began (the start of the rollout; a promotion does not restart it).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime>")]
    pub since: Option<Timestamp>,
    /// Counters as they stood then.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    pub origin: Vec<CounterSnapshot>,
    /// The last verdict on each metric.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub results: Vec<MetricResult>,
    /// Since when a critical metric has been without data.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime>")]
    pub no_data_since: Option<Timestamp>,
    /// Looks in a row without data on a critical metric.
    pub consecutive_errors: u32,
}

/// One pair of cumulative counters at one moment.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CounterSnapshot {
    /// The metric's name.
    pub metric: String,
    /// The slice, when it is one slice's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slice: Option<String>,
    /// Whose.
    pub role: Role,
    /// Which life of the server: counters restart with it.
    pub epoch: u64,
    /// Bad outcomes so far.
    pub bad: u64,
    /// Outcomes so far.
    pub total: u64,
}

/// The last verdict on one metric.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MetricResult {
    /// The metric's name.
    pub metric: String,
    /// The slice, when it is one slice's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slice: Option<String>,
    /// What the counts say.
    pub verdict: Verdict,
    /// The candidate's value with its interval, in the metric's unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Estimate>,
    /// The baseline's over the same period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Estimate>,
    /// The bound in the metric's unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// The candidate's samples.
    pub samples: u64,
    /// Samples still needed for a verdict at the present rate of failure, when that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples_needed: Option<u64>,
}

/// What the counts say about a bound.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Proved to be within the bound.
    Pass,
    /// Proved to be outside it.
    Breach,
    /// Neither is proved yet.
    Inconclusive,
    /// Absent, stale or not a number: neither pass nor fail.
    NoData,
}

/// Why a rollout was brought back.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Breach {
    /// The metric's name; `availability` when the candidate stopped answering.
    pub metric: String,
    /// The slice, when it is one slice's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slice: Option<String>,
    /// The candidate's value with its interval.
    pub value: Estimate,
    /// The bound it broke.
    pub limit: f64,
    /// The candidate's samples.
    pub samples: u64,
    /// Bad outcomes among them.
    pub bad: u64,
    /// Length of the judged period in seconds.
    pub window_seconds: f64,
    /// The phase it happened in.
    pub phase: Phase,
    /// The candidate's weight at that moment, in percent.
    pub weight: u8,
    /// When it was seen.
    #[schemars(with = "k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime")]
    pub time: Timestamp,
}

/// One line of the decision log.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DecisionRecord {
    /// When.
    #[schemars(with = "k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime")]
    pub time: Timestamp,
    /// The phase after it.
    pub phase: Phase,
    /// The step after it.
    pub step: u32,
    /// The candidate's weight after it, in percent.
    pub weight: u8,
    /// One of the reasons in `docs/reference.md`.
    pub reason: String,
    /// One sentence with the numbers.
    pub message: String,
}

/// What was gained and what it cost, as people read it; each is baseline over candidate where that makes sense.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Savings {
    /// File size, such as `10.6x`.
    pub size: String,
    /// Median latency under live traffic, such as `1.9x`.
    pub latency: String,
    /// Resident memory of the server, such as `1.2x`.
    pub memory: String,
    /// CPU seconds for a thousand requests: baseline and candidate.
    pub cpu_seconds_per1k_requests: String,
    /// Points of the main metric lost, such as `-0.4 pp`.
    pub drop: String,
}
