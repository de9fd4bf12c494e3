//! Offline bounds: what a stage must keep.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{quantity::Bound, rules::in_schema};

/// One bound on one metric, on all the data or on one slice.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = in_schema::COST_HAS_NO_SLICE.for_schema())]
pub struct Gate {
    /// What is measured.
    pub metric: OfflineMetric,
    /// On this slice only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub slice: Option<String>,
    /// In absolute terms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold_range: Option<ThresholdRange>,
    /// Against the baseline: 0.005 is half a point of accuracy; `10%` is a tenth of the baseline's value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_regression: Option<Bound>,
}

/// Bounds in the metric's own unit; at least one end.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ThresholdRange {
    /// At least this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Bound>,
    /// At most this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Bound>,
}

/// What can be measured without traffic.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "camelCase")]
pub enum OfflineMetric {
    /// Share of right answers (classification; regression: within the tolerance). Higher is better.
    Accuracy,
    /// Share of texts read without any mistake (CTC). Higher is better.
    ExactMatch,
    /// Edit distance over length (CTC). Lower is better.
    CharacterErrorRate,
    /// Mean squared error (regression). Lower is better.
    MeanSquaredError,
    /// Mean cosine to the baseline's vector (embedding). Higher is better.
    Cosine,
    /// Share of answers equal to the baseline's. Higher is better. Needs no labels.
    Agreement,
    /// Median time of one inference, one thread. Lower is better.
    LatencyP50,
    /// 99th percentile of the same.
    LatencyP99,
    /// Bytes of the file. Lower is better.
    Size,
}

impl OfflineMetric {
    /// As written in a manifest.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::ExactMatch => "exactMatch",
            Self::CharacterErrorRate => "characterErrorRate",
            Self::MeanSquaredError => "meanSquaredError",
            Self::Cosine => "cosine",
            Self::Agreement => "agreement",
            Self::LatencyP50 => "latencyP50",
            Self::LatencyP99 => "latencyP99",
            Self::Size => "size",
        }
    }

    /// Whether more of it is better.
    #[must_use]
    pub const fn higher_is_better(self) -> bool {
        matches!(self, Self::Accuracy | Self::ExactMatch | Self::Cosine | Self::Agreement)
    }
}
