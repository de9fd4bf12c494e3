//! How both models are served.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The same for baseline and candidate, so that they are compared fairly.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Serving {
    /// Pods for each role; a pilot runs one process for each role.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 1, max = 1000))]
    pub replicas: u32,
    /// Sessions in one server: how many requests it computes at once.
    #[serde(default = "default_sessions")]
    #[schemars(range(min = 1, max = 256))]
    pub sessions: u32,
    /// What answers the requests.
    #[serde(default)]
    pub runtime: Runtime,
}

impl Default for Serving {
    fn default() -> Self {
        Self { replicas: default_replicas(), sessions: default_sessions(), runtime: Runtime::default() }
    }
}

fn default_replicas() -> u32 {
    1
}

fn default_sessions() -> u32 {
    1
}

/// What answers the requests. Exactly one.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum Runtime {
    /// Sentei's own Open Inference Protocol server.
    Builtin(Builtin),
}

impl Default for Runtime {
    fn default() -> Self {
        Self::Builtin(Builtin {})
    }
}

/// Nothing to set yet.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Builtin {}
