//! What Sentei answers: the only memory of a rollout. Kill the process at any time; the next one reads this and decides
//! the same.

use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
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
    /// What that generation asked for.
    #[serde(default)]
    pub observed_spec: ObservedSpec,
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
    /// Ids of the verbs already answered, newest last; bounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub answered: Vec<String>,
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

/// What the analysis remembers between two looks. Everything here is a count, a time or the last verdict: the verdicts
/// themselves are worked out anew from the counts at every look.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct AnalysisMemory {
    /// When the judged period began (the start of the rollout; a promotion does not restart it).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime>")]
    pub since: Option<Timestamp>,
    /// Looks taken since then, one for each `interval`.
    pub looks: u64,
    /// When the last of them was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime>")]
    pub last_look: Option<Timestamp>,
    /// Counts of the judged period, with the marks from which they are also judged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub tallies: Vec<Tally>,
    /// What the servers' counters say about the weights.
    pub traffic: TrafficMemory,
    /// Which life of the candidate's server got the weight; another one means that it died while it had traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate_epoch: Option<u64>,
    /// When the candidate first got a share of live traffic in this rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime>")]
    pub exposed_since: Option<Timestamp>,
    /// The last verdict on each metric.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub results: Vec<MetricResult>,
    /// Since when a critical metric has been without data.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime>")]
    pub no_data_since: Option<Timestamp>,
    /// Looks in a row without data on a critical metric.
    pub consecutive_errors: u32,
}

/// Counts of one counter of one role over the judged period: summed over server instances and over their lives, so that
/// a restarted server neither loses what it had counted nor counts it twice.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Which counter: `requests`, `latency`, `feedback`, `pairs` or `agreement`.
    pub counter: String,
    /// The slice, when it is one slice's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slice: Option<String>,
    /// Whose.
    pub role: Role,
    /// Outcomes by kind since the judged period began.
    #[schemars(length(max = 128))]
    pub counts: Vec<u64>,
    /// Raw counters at the last look, for each instance of the server.
    #[schemars(length(max = 1000))]
    pub seen: Vec<SeenCounter>,
    /// Counts at earlier looks, oldest first. The bounds are also judged from each of them, so that a candidate that
    /// goes bad after a long good time is caught as fast as one that was bad from the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub marks: Vec<Mark>,
}

/// One server's raw counter as last seen.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SeenCounter {
    /// The server's name among those of its role.
    pub instance: String,
    /// Which life of the server: counters restart with it.
    pub epoch: u64,
    /// Outcomes by kind since that life began.
    #[schemars(length(max = 128))]
    pub counts: Vec<u64>,
}

/// A tally as it stood at an earlier look.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// The look's number, from 1.
    pub look: u64,
    /// Outcomes by kind up to then.
    #[schemars(length(max = 128))]
    pub counts: Vec<u64>,
}

/// Requests answered by each role, at the moment the weight was set and at the last look: a weight is believed when
/// these show it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct TrafficMemory {
    /// When the present weight was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime>")]
    pub since: Option<Timestamp>,
    /// The baseline's requests at the last look.
    pub baseline: u64,
    /// The candidate's requests at the last look.
    pub candidate: u64,
    /// Looks in a row, since the weight was decided and seen to be configured, that agree with it.
    pub agreeing: u32,
}

/// What the status was decided for: digests of the two halves of the spec, which tell a change that needs a new
/// compression from one that needs a new rollout and from one that needs neither.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct ObservedSpec {
    /// Of source, data, task, compression and gates.
    #[schemars(length(max = 64))]
    pub compression: String,
    /// Of approval, serving and rollout.
    #[schemars(length(max = 64))]
    pub rollout: String,
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

/// `accuracy on nines is 0.1250 (0.0350 to 0.3602), limit 0.7535: 14 of 16 bad in 9.7 s at weight 20 %`.
impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: f64| {
            if self.metric.starts_with("latency") { format!("{:.1} ms", 1e3 * value) } else { format!("{value:.4}") }
        };
        let Estimate { value, low, high, .. } = self.value;
        let on = self.slice.as_ref().map_or_else(String::new, |slice| format!(" on {slice}"));
        write!(
            f,
            "{}{on} is {} ({} to {}), limit {}",
            self.metric,
            show(value),
            show(low),
            show(high),
            show(self.limit)
        )?;
        let Self { bad, samples, window_seconds, weight, .. } = self;
        write!(f, ": {bad} of {samples} bad in {window_seconds:.1} s at weight {weight} %")
    }
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
