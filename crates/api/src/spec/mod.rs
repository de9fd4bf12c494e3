//! The manifest: what a platform team declares.

#![allow(clippy::duplicated_attributes, reason = "two printed columns may well have the same type")]

pub mod compression;
pub mod data;
pub mod gates;
pub mod rollout;
pub mod serving;
pub mod task;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{quantity::Digest, rules::in_schema};
pub use compression::{Compression, Importance, Objective, Refit, Stage};
pub use data::{Data, DataSource, Preprocess, Selector, Slice};
pub use gates::{Gate, OfflineMetric, ThresholdRange};
pub use rollout::{Analysis, Canary, MetricSource, OnlineMetric, Rollout, Step};
pub use serving::Serving;
pub use task::Task;

/// What an object's name looks like: a DNS subdomain.
pub(crate) const OBJECT_NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// What a namespace's name looks like: a DNS label.
pub(crate) const NAMESPACE_NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

/// A model to be made small on the user's own data and rolled out under watch.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "sentei.dev",
    version = "v1alpha1",
    kind = "CompressedModel",
    namespaced,
    status = "crate::status::CompressedModelStatus",
    shortname = "cmod",
    category = "sentei",
    derive = "PartialEq",
    validation = in_schema::NAME_LENGTH.for_schema()
)]
#[kube(
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Weight", type_ = "integer", json_path = ".status.weights.candidate"),
    printcolumn(name = "Step", type_ = "integer", json_path = ".status.currentStepIndex"),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.savings.size"),
    printcolumn(name = "Latency", type_ = "string", json_path = ".status.savings.latency"),
    printcolumn(name = "Drop", type_ = "string", json_path = ".status.savings.drop"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Breach", type_ = "string", json_path = ".status.lastBreach.metric", priority = "1"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = "1"
    )
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = in_schema::SOMETHING_STOPS.for_schema(),
    validation = in_schema::GATE_SLICE_KNOWN.for_schema(),
    validation = in_schema::METRIC_SLICE_KNOWN.for_schema(),
    validation = in_schema::METRIC_FITS_TASK.for_schema()
)]
pub struct CompressedModelSpec {
    /// The model as it is today. It is read, never written.
    pub source: Source,
    /// The domain's own data.
    pub data: Data,
    /// How an output becomes an answer, and what makes an answer right.
    pub task: Task,
    /// How far to compress, by which stages.
    #[serde(default)]
    pub compression: Compression,
    /// Offline bounds, checked after every stage on data the stage has not seen; a stage that fails one is undone.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub gates: Vec<Gate>,
    /// Whether a person picks the candidate.
    #[serde(default)]
    pub approval: Approval,
    /// How both models are served.
    #[serde(default)]
    pub serving: Serving,
    /// How traffic moves, and what brings it back.
    #[serde(default)]
    pub rollout: Rollout,
    /// Stop after the current stage and hold the weights where they are; a breach still sets weight 0.
    #[serde(default)]
    pub suspend: bool,
}

/// Where the model lies.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// `file://`, `s3://`, `gs://`, `az://`, `https://`, `oci://`, `pvc://`; a plain path is relative to the manifest.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = in_schema::URI_SCHEME.for_schema())]
    pub uri: String,
    /// The model is refused when its SHA-256 is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
}

/// Who says yes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Approval {
    /// `Automatic` takes the best candidate that passed every gate; `Manual` waits for a person.
    #[serde(default)]
    pub mode: ApprovalMode,
}

/// See [`Approval`].
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApprovalMode {
    /// The best candidate that passed every gate is taken.
    #[default]
    Automatic,
    /// A person picks a candidate off the frontier.
    Manual,
}
