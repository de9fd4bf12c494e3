//! How traffic moves, and what brings it back.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::gates::ThresholdRange;
use crate::{
    quantity::{Bound, Span},
    rules::in_schema,
};

/// Metrics that need no query of one's own.
pub const WELL_KNOWN_METRICS: [&str; 6] =
    ["accuracy", "agreement", "errorRate", "latencyP50", "latencyP95", "latencyP99"];
/// What a metric's name looks like.
pub(crate) const METRIC_NAME: &str = r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$";
/// What the address of a Prometheus looks like.
pub(crate) const HTTP_ADDRESS: &str = r"^https?://[^/?#\s]+";

/// The rollout half of the manifest.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rollout {
    /// The steps.
    #[serde(default)]
    pub canary: Canary,
    /// The bounds.
    #[serde(default)]
    pub analysis: Analysis,
    /// A step that makes no progress for this long fails the rollout. Default 1800.
    #[serde(default = "default_deadline")]
    #[schemars(range(min = 1, max = 604_800))]
    pub progress_deadline_seconds: u32,
    /// How long the baseline stays loaded and watched after promotion. Default 24h.
    #[serde(default = "default_window")]
    pub rollback_window: Span,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            canary: Canary::default(),
            analysis: Analysis::default(),
            progress_deadline_seconds: default_deadline(),
            rollback_window: default_window(),
        }
    }
}

fn default_deadline() -> u32 {
    1800
}

fn default_window() -> Span {
    Span::from_secs(24 * 3600)
}

/// The rungs of the rollout, taken in order; after the last one the candidate is promoted.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = in_schema::STEPS_EXPOSE.for_schema(), validation = in_schema::STEPS_ASCEND.for_schema())]
pub struct Canary {
    /// In order. Default: shadow 20 %, then 5, 25 and 50 % with a pause of a minute each.
    #[serde(default = "default_steps")]
    #[schemars(length(min = 1, max = 64))]
    pub steps: Vec<Step>,
}

impl Default for Canary {
    fn default() -> Self {
        Self { steps: default_steps() }
    }
}

fn default_steps() -> Vec<Step> {
    let minute = || Step::Pause(Pause { duration: Some(Span::from_secs(60)) });
    vec![
        Step::Shadow(Shadow { percent: 20 }),
        Step::SetWeight(5),
        minute(),
        Step::SetWeight(25),
        minute(),
        Step::SetWeight(50),
        minute(),
    ]
}

/// One rung.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// The candidate gets copies of live requests; users never see its answers.
    Shadow(Shadow),
    /// The candidate answers this share of live requests, in percent.
    SetWeight(#[schemars(range(min = 0, max = 100))] u8),
    /// Stay. With a duration: that long, and until every metric has passed. Without: until a person says `promote`.
    Pause(Pause),
}

/// See [`Step::Shadow`].
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Shadow {
    /// Share of requests copied.
    #[schemars(range(min = 1, max = 100))]
    pub percent: u8,
}

/// See [`Step::Pause`].
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pause {
    /// How long; left out, until a person says `promote`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Span>,
}

/// How often to look, at what, and how sure to be.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = in_schema::INTERVAL.for_schema())]
pub struct Analysis {
    /// Time between two looks, 250ms to 1h. Default 1s.
    #[serde(default = "default_interval")]
    pub interval: Span,
    /// What is watched. Default: errors at most 1 %, latencyP99 at most 20 % worse, accuracy at most 2 points worse.
    #[serde(default = "default_metrics")]
    #[schemars(length(min = 1, max = 32))]
    pub metrics: Vec<OnlineMetric>,
    /// Chance of rolling a good candidate back, over the whole rollout and all metrics. Default 0.01.
    #[serde(default = "default_alpha")]
    #[schemars(range(min = 0.000_001, max = 0.2))]
    pub false_rollback_rate: f64,
    /// Looks in a row without data before the rollout is rolled back. Default 0: only the deadline counts.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100_000))]
    pub consecutive_error_limit: u32,
}

impl Default for Analysis {
    fn default() -> Self {
        Self {
            interval: default_interval(),
            metrics: default_metrics(),
            false_rollback_rate: default_alpha(),
            consecutive_error_limit: 0,
        }
    }
}

fn default_interval() -> Span {
    Span::from_secs(1)
}

fn default_alpha() -> f64 {
    0.01
}

fn default_metrics() -> Vec<OnlineMetric> {
    let metric = |name: &str| OnlineMetric { name: name.to_owned(), ..OnlineMetric::default() };
    vec![
        OnlineMetric {
            threshold_range: Some(ThresholdRange { min: None, max: Some(Bound::Number(0.01)) }),
            critical: true,
            ..metric("errorRate")
        },
        OnlineMetric { max_regression: Some(Bound::Relative(0.2)), critical: true, ..metric("latencyP99") },
        OnlineMetric { max_regression: Some(Bound::Number(0.02)), ..metric("accuracy") },
    ]
}

/// One watched metric with its bound.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = in_schema::METRIC_KNOWN.for_schema(),
    validation = in_schema::PROMETHEUS_SOURCE.for_schema(),
    validation = in_schema::SOURCE_FITS.for_schema()
)]
pub struct OnlineMetric {
    /// `accuracy`, `agreement`, `errorRate`, `latencyP50`, `latencyP95`, `latencyP99`, or a name of your own with
    /// `prometheus`.
    #[schemars(length(min = 1, max = 63), regex(pattern = METRIC_NAME))]
    pub name: String,
    /// On this slice only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub slice: Option<String>,
    /// Where it comes from; left out, from the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<MetricSource>,
    /// In absolute terms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold_range: Option<ThresholdRange>,
    /// Against the baseline over the same period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_regression: Option<Bound>,
    /// Fewer samples than this are neither pass nor fail. Default 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 10_000_000))]
    pub min_samples: u32,
    /// A rollout does not go on while this metric has no data. Others may stay silent.
    #[serde(default)]
    pub critical: bool,
    /// Your own query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<Prometheus>,
}

/// Where a metric's counts come from.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricSource {
    /// The servers' own request counters and histograms.
    Server,
    /// Labels that clients send back.
    Feedback,
    /// The same request answered by both models, off the request path.
    Shadow,
    /// The query in `prometheus`.
    Prometheus,
}

/// A query whose single number is held against the bound.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Prometheus {
    /// `http://host:port`.
    #[schemars(length(min = 1, max = 2048), regex(pattern = HTTP_ADDRESS))]
    pub address: String,
    /// A query giving one number.
    #[schemars(length(min = 1, max = 4096))]
    pub query: String,
}
