//! What a proxy counts.

use std::{fmt, sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use crate::{
    config::{Percent, Role},
    metrics::{Latencies, encode, latencies},
};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Code {
    /// With an answer.
    Status(u16),
    /// The server gave none; where another server answered instead, that is counted too.
    ConnectError,
}

impl EncodeLabelValue for Code {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        match self {
            Self::Status(status) => EncodeLabelValue::encode(status, encoder),
            Self::ConnectError => EncodeLabelValue::encode(&"connect_error", encoder),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    role: &'static str,
    code: Code,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRole {
    role: &'static str,
}

fn by_role(role: Role) -> ByRole {
    ByRole { role: role.as_str() }
}

pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    durations: Latencies<ByRole>,
    weights: Family<ByRole, Gauge<f64, AtomicU64>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    pub(super) fn new(weight: Percent) -> Self {
        let mut registry = Registry::with_prefix("sentei_proxy");
        let (requests, durations, weights) = (Family::default(), latencies(), Family::default());
        registry.register("requests", "Requests sent to each role, by how they ended", requests.clone());
        let help = "From the request's arrival to the beginning of its answer";
        registry.register_with_unit("request_duration", help, Unit::Seconds, durations.clone());
        let help = "Share of the requests each role is to get";
        registry.register_with_unit("weight", help, Unit::Other("ratio".to_owned()), weights.clone());
        let metrics = Self { registry, requests, durations, weights };
        metrics.set_weight(weight);
        metrics
    }

    pub(super) fn set_weight(&self, weight: Percent) {
        let candidate = f64::from(weight.get()) / 100.0;
        self.weights.get_or_create(&by_role(Role::Candidate)).set(candidate);
        self.weights.get_or_create(&by_role(Role::Baseline)).set(1.0 - candidate);
    }

    /// `role` was asked, and it ended with `code`.
    pub(super) fn ended(&self, role: Role, code: Code) {
        self.requests.get_or_create(&Request { role: role.as_str(), code }).inc();
    }

    /// `role` answered after `took`.
    pub(super) fn took(&self, role: Role, took: Duration) {
        self.durations.get_or_create(&by_role(role)).observe(took.as_secs_f64());
    }

    pub(super) fn encode(&self) -> String {
        encode(&self.registry)
    }
}
