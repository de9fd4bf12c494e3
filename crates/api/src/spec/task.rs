//! How an output becomes an answer.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules::in_schema;

/// The kind of answer the model gives. Exactly one.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub enum Task {
    /// One class per row: the largest value of the output's last axis.
    Classification(Classification),
    /// Numbers per row.
    Regression(Regression),
    /// A vector per row, compared with the baseline's by its cosine.
    Embedding(Embedding),
    /// Text per row: greedy CTC over the output's last axis.
    Ctc(Ctc),
}

/// See [`Task::Classification`].
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = in_schema::CLASSES.for_schema())]
pub struct Classification {
    /// The model output holding the scores; the first when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub output: Option<String>,
    /// Class names in the order of the scores, for reports. Left out: the numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096), inner(length(min = 1, max = 253)))]
    pub classes: Vec<String>,
}

/// See [`Task::Regression`].
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Regression {
    /// The model output holding the numbers; the first when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub output: Option<String>,
    /// An answer within this distance of the truth counts as right.
    #[schemars(range(min = 0.0))]
    pub tolerance: f64,
}

/// See [`Task::Embedding`].
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Embedding {
    /// The model output holding the vector; the first when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub output: Option<String>,
    /// A vector whose cosine to the baseline's is at least this counts as agreeing. Default 0.95.
    #[serde(default = "default_cosine")]
    #[schemars(range(min = -1.0, max = 1.0))]
    pub min_cosine: f64,
}

fn default_cosine() -> f64 {
    0.95
}

/// See [`Task::Ctc`].
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ctc {
    /// The model output holding the scores; the first when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub output: Option<String>,
    /// One character for each class after the blank (class 0). Left out: the model's metadata property `character`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub alphabet: Option<String>,
}

impl Task {
    /// As written in a manifest.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Classification(_) => "classification",
            Self::Regression(_) => "regression",
            Self::Embedding(_) => "embedding",
            Self::Ctc(_) => "ctc",
        }
    }

    /// The output the answer is read from, when named.
    #[must_use]
    pub fn output(&self) -> Option<&str> {
        match self {
            Self::Classification(task) => task.output.as_deref(),
            Self::Regression(task) => task.output.as_deref(),
            Self::Embedding(task) => task.output.as_deref(),
            Self::Ctc(task) => task.output.as_deref(),
        }
    }
}
