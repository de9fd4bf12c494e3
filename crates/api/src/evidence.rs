//! What stands behind a candidate: every figure with its interval, every cut with its reason, every undo with its gate.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{quantity::Digest, spec::OfflineMetric};

/// A value with its 95 % interval and the samples behind it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    /// The point estimate, in the metric's unit.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Samples behind it.
    pub samples: u64,
}

impl Estimate {
    /// A share of `total` outcomes with its 95 % score interval (Wilson, JASA 1927), which holds its coverage near 0 and 1;
    /// none without outcomes.
    #[must_use]
    pub fn of_share(hits: u64, total: u64) -> Option<Self> {
        /// Two-sided 95 % point of the normal distribution.
        const Z: f64 = 1.959_963_984_540_054;
        if total == 0 {
            return None;
        }
        let n = total as f64;
        let value = hits as f64 / n;
        let shrink = 1.0 + Z * Z / n;
        let centre = (value + Z * Z / (2.0 * n)) / shrink;
        let half = Z / shrink * (value * (1.0 - value) / n + Z * Z / (4.0 * n * n)).sqrt();
        let (low, high) = ((centre - half).clamp(0.0, value), (centre + half).clamp(value, 1.0));
        Some(Self { value, low, high, samples: total })
    }
}

/// One metric, on all rows or one slice, for the baseline and for a candidate on the same rows.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Measurement {
    /// What was measured.
    pub metric: OfflineMetric,
    /// The slice; absent for all rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slice: Option<String>,
    /// The candidate's value.
    pub candidate: Estimate,
    /// The baseline's value on the same rows.
    pub baseline: Estimate,
    /// Candidate minus baseline, from pairs.
    pub difference: Estimate,
}

/// Costs of one model on the machine that measured it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Cost {
    /// Bytes of the file.
    pub size: u64,
    /// Weights.
    pub parameters: u64,
    /// Multiply-accumulates of one inference.
    pub macs: u64,
    /// Median seconds of one inference of one row, one thread.
    pub latency_p50: f64,
    /// 99th percentile of the same.
    pub latency_p99: f64,
}

/// One point of the frontier.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// The artifact.
    pub digest: Digest,
    /// Its costs.
    pub cost: Cost,
    /// Index of the stage that made it, in [`Evidence::stages`].
    pub stage: u32,
    /// What was done up to it, in a few words: `prune 4.1x MACs, int8`.
    pub summary: String,
    /// Metrics on the rows kept for the report.
    #[schemars(length(max = 512))]
    pub measurements: Vec<Measurement>,
    /// Whether every part of the objective is met.
    pub objective_met: bool,
    /// Whether every gate passed.
    pub gates_passed: bool,
}

/// Everything one compression run found out. Written next to the candidates as `evidence.json`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// Version of Sentei that wrote it.
    pub version: String,
    /// When the run began.
    pub started: Timestamp,
    /// Wall seconds.
    pub seconds: f64,
    /// CPU seconds.
    pub cpu_seconds: f64,
    /// The uncompressed model.
    pub source: SourceRecord,
    /// Rows in each part of the data; no row is in two parts.
    pub splits: Splits,
    /// Fixes every random choice.
    pub seed: u32,
    /// Names of the slices in the order of the manifest.
    pub slices: Vec<String>,
    /// In order, committed and reverted.
    pub stages: Vec<StageRecord>,
    /// The frontier, smallest last.
    pub candidates: Vec<Candidate>,
    /// What was left alone and why.
    pub left_alone: Vec<LeftAlone>,
}

/// The uncompressed model.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SourceRecord {
    /// As the manifest names it.
    pub uri: String,
    /// Of the file.
    pub digest: Digest,
    /// Its costs.
    pub cost: Cost,
}

/// Rows in each part of the data.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Splits {
    /// For importance and refits; labels unused.
    pub calibration: u32,
    /// Judges each stage.
    pub verification: u32,
    /// Seen once, by the final report.
    pub report: u32,
}

/// One stage: what was proposed, what it did, whether it was kept.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StageRecord {
    /// What was proposed, in a few words: `prune to 2.0x MACs`.
    pub title: String,
    /// `prune` or `quantize`.
    pub kind: StageKind,
    /// Costs after it.
    pub cost: Cost,
    /// Mean Kullback-Leibler divergence of the outputs from the dense model's on calibration rows, in nats
    /// (regression and embedding: relative squared error).
    pub divergence: f64,
    /// What was cut.
    pub cuts: Vec<GroupCut>,
    /// Metrics on the verification rows.
    pub measurements: Vec<Measurement>,
    /// Kept or undone.
    pub outcome: Outcome,
    /// Wall seconds.
    pub seconds: f64,
}

/// Kinds of stage.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum StageKind {
    /// Units removed.
    Prune,
    /// Fewer bits.
    Quantize,
    /// Nothing was done here: the model was brought along, and measured like any other.
    Brought,
}

/// What one stage took from one group.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GroupCut {
    /// The group, by the name of its first producer.
    pub group: String,
    /// Units before the stage.
    pub before: u32,
    /// Units after it.
    pub after: u32,
    /// Units in the uncompressed model.
    pub original: u32,
    /// Divergence predicted for this cut alone.
    pub predicted_divergence: f64,
    /// The units removed, by their index in the uncompressed model.
    pub removed: Vec<RemovedUnit>,
}

/// Why one unit could go.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RemovedUnit {
    /// Index in the uncompressed model.
    pub unit: u32,
    /// Share of the consumers' output energy lost after the best compensation.
    pub loss: f64,
    /// Share of the unit's variance that the kept units reconstruct, on all rows and then for each slice.
    pub reconstructed: Vec<f64>,
    /// The kept units that stand in for it, strongest first, by index in the uncompressed model.
    pub substitutes: Vec<u32>,
}

/// Kept or undone.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Every gate passed; this artifact stands.
    Committed {
        /// The artifact.
        digest: Digest,
    },
    /// Undone.
    Reverted {
        /// Each failed gate or check, in a sentence with its numbers.
        reasons: Vec<String>,
    },
}

/// A part of the network that was not cut.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LeftAlone {
    /// The group or tensor.
    pub name: String,
    /// Why.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_the_published_interval() {
        // Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662.
        let Estimate { value, low, high, samples } = Estimate::of_share(81, 263).unwrap();
        assert!((value - 0.308).abs() < 1e-3 && (low - 0.2553).abs() < 1e-4 && (high - 0.3662).abs() < 1e-4);
        assert_eq!(samples, 263);
        assert_eq!(Estimate::of_share(0, 0), None);
    }
}
