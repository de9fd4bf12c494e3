//! What a report is made from.

use jiff::Timestamp;
use sentei_api::{
    CompressedModelSpec, CompressedModelStatus, Phase,
    evidence::{Estimate, Evidence},
    status::MetricResult,
};
use serde::{Deserialize, Serialize};

/// Everything [`crate::report`] shows. Whatever is absent is said to be absent.
#[derive(Clone, Copy, Debug)]
pub struct ReportInput<'a> {
    /// `metadata.name` of the manifest.
    pub name: &'a str,
    /// `metadata.namespace` of the manifest.
    pub namespace: Option<&'a str>,
    /// What was asked for.
    pub spec: &'a CompressedModelSpec,
    /// What the compression found out.
    pub evidence: Option<&'a Evidence>,
    /// Where the model stands.
    pub status: &'a CompressedModelStatus,
    /// The looks of the rollout's analysis, oldest first. Thousands are fine: the drawing keeps what can be seen.
    pub timeline: &'a [Look],
    /// Both models under live traffic.
    pub live: Option<&'a LiveSummary>,
}

/// One look of the analysis: a line of `timeline.jsonl`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Look {
    /// When it was taken.
    pub time: Timestamp,
    /// The phase the decision left the model in.
    pub phase: Phase,
    /// Index into `spec.rollout.canary.steps`.
    pub step: u32,
    /// The candidate's weight that was asked for, in percent.
    pub weight_desired: u8,
    /// The candidate's share of the requests counted since the look before, in percent in [0, 100]; absent when there
    /// were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_seen: Option<f64>,
    /// The verdict on each metric, in the manifest's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricResult>,
}

/// Both models under live traffic, from the servers' own counters over the whole rollout.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct LiveSummary {
    /// The uncompressed model.
    pub baseline: LiveRole,
    /// The compressed one.
    pub candidate: LiveRole,
    /// What a rollback cost; absent when there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<RollbackFacts>,
}

/// One model under live traffic.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct LiveRole {
    /// Requests answered.
    pub requests: u64,
    /// Median seconds of a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_p50: Option<f64>,
    /// 99th percentile of the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_p99: Option<f64>,
    /// Resident memory of the server process, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident_memory_bytes: Option<u64>,
    /// CPU seconds of the server process for a thousand requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_seconds_per1k_requests: Option<f64>,
    /// Accuracy by the labels that came back, on all requests and on each slice.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accuracy: Vec<LiveAccuracy>,
}

/// Accuracy under live traffic.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LiveAccuracy {
    /// The slice; absent for all requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slice: Option<String>,
    /// Share of right answers in [0, 1].
    pub estimate: Estimate,
}

/// What a rollback cost the clients.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RollbackFacts {
    /// When the candidate gave its first bad answer.
    pub first_bad: Timestamp,
    /// When it gave its last one.
    pub last_bad: Timestamp,
    /// Bad answers that reached clients.
    pub bad_answers: u64,
    /// Seconds from the first to the last.
    pub seconds: f64,
}
