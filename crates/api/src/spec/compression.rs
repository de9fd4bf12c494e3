//! How far to compress, by which stages, and what must not be touched.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::{quantity::Factor, rules::in_schema};

/// The compression half of the manifest.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = in_schema::QUANTIZE_LAST.for_schema(),
    validation = in_schema::SIZE_NEEDS_PRUNE.for_schema(),
    validation = in_schema::MACS_NEED_PRUNE.for_schema()
)]
pub struct Compression {
    /// Stop when all of these are met.
    #[serde(default)]
    pub objective: Objective,
    /// What to do, in this order. Default: prune, then quantise.
    #[serde(default = "default_stages")]
    #[schemars(length(min = 1, max = 16))]
    pub stages: Vec<Stage>,
    /// Groups never to touch, by name; `*` stands for any run of characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 253)))]
    pub protect: Vec<String>,
    /// Fixes every random choice. Default 0.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub seed: u32,
    /// CPU and memory of a stage's Job on a cluster.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
}

impl Default for Compression {
    fn default() -> Self {
        Self {
            objective: Objective::default(),
            stages: default_stages(),
            protect: Vec::new(),
            seed: 0,
            resources: Resources::default(),
        }
    }
}

fn default_stages() -> Vec<Stage> {
    vec![Stage::Prune(Prune::default()), Stage::Quantize(Quantize::default())]
}

/// How much smaller or faster than the baseline. Nothing set: as far as the gates allow.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Objective {
    /// Median time of one inference, one thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Factor>,
    /// Bytes of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Factor>,
    /// Multiply-accumulates of one inference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macs: Option<Factor>,
}

/// One stage. Exactly one of its fields.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// Remove structural units, step by step.
    Prune(Prune),
    /// Store and compute in fewer bits.
    Quantize(Quantize),
}

/// See [`Stage::Prune`].
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Prune {
    /// How much each proposal cuts. Default 1.25x.
    #[serde(default = "default_step")]
    pub step: Factor,
    /// How units are ranked.
    #[serde(default)]
    pub importance: Importance,
    /// How what is kept makes up for what is gone.
    #[serde(default)]
    pub refit: Refit,
}

impl Default for Prune {
    fn default() -> Self {
        Self { step: default_step(), importance: Importance::default(), refit: Refit::default() }
    }
}

#[expect(clippy::expect_used, reason = "a constant inside the range, covered by a test")]
fn default_step() -> Factor {
    Factor::new(1.25).expect("1.25 is in range")
}

/// How units are ranked.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Importance {
    /// What is lost after the best compensation (block OBS on the layer's second moments).
    #[default]
    Conditional,
    /// What the unit carries, without compensation.
    Marginal,
    /// Size of the weights; blind to the data. For comparison.
    Magnitude,
    /// Seeded coin. For comparison.
    Random,
}

/// How the kept weights are re-solved.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refit {
    /// Least squares to the dense model's outputs from the pruned model's inputs, residual streams included.
    #[default]
    ResidualAware,
    /// Least squares on the layer's own inputs.
    LeastSquares,
    /// Kept weights stay as they are. For comparison.
    None,
}

/// See [`Stage::Quantize`].
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Quantize {
    /// Number format.
    #[serde(default)]
    pub r#type: QuantizeType,
}

/// Number formats.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QuantizeType {
    /// Unsigned 8-bit activations, signed 8-bit weights with a scale for each output channel.
    #[default]
    Int8,
}

/// CPU and memory as Kubernetes writes them.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resources {
    /// What is reserved.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities")]
    pub requests: BTreeMap<String, IntOrString>,
    /// What must not be exceeded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities")]
    pub limits: BTreeMap<String, IntOrString>,
}

fn quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": { "x-kubernetes-int-or-string": true, "maxLength": 32 },
        "maxProperties": 16
    })
}

impl Resources {
    fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.limits.is_empty()
    }
}
