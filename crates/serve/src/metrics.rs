//! What a server counts. Names and labels are the contract in the reference; label values are bounded.

use std::{fmt, sync::Arc, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::{config::Role, process::Process};

/// The content type of [`Metrics::encode`].
pub(crate) const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Text = Arc<str>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Own {
    model: Text,
    version: Text,
    role: Text,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByAnswer {
    model: Text,
    version: Text,
    role: Text,
    slice: Text,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    model: Text,
    version: Text,
    role: Text,
    slice: Text,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    model: Text,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCode {
    model: Text,
    version: Text,
    role: Text,
    code: u16,
}

/// Bounds of the latency buckets, in seconds: from 0.1 ms to 10 s, each 1.15 times the one before, so that "p99 is within
/// a limit" can be read off the counts to within 15 %. Rounded to 4 digits, so that they print short.
pub(crate) fn latency_buckets() -> impl Iterator<Item = f64> {
    const FIRST: f64 = 1e-4;
    const GROWTH: f64 = 1.15;
    const LAST: f64 = 10.0;
    let bounds = (0..).map(|i| FIRST * f64::powi(GROWTH, i)).take_while(|&bound| bound < LAST);
    bounds.map(round_to_4_digits).chain([LAST])
}

fn round_to_4_digits(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

fn latency_histogram() -> Histogram {
    Histogram::new(latency_buckets())
}

/// A family of latency histograms.
pub(crate) type Latencies<L> = Family<L, Histogram, fn() -> Histogram>;

pub(crate) fn latencies<L: Clone + std::hash::Hash + Eq>() -> Latencies<L> {
    Family::new_with_constructor(latency_histogram)
}

/// Everything one server counts.
pub(crate) struct Metrics {
    registry: Registry,
    own: Own,
    requests: Family<ByAnswer, Counter>,
    durations: Latencies<Own>,
    feedback: Family<ByOutcome, Counter>,
    feedback_rejected: Family<ByReason, Counter>,
    shadow_pairs: Family<ByOutcome, Counter>,
    shadow_agreement: Family<ByOutcome, Counter>,
    shadow_errors: Family<ByCode, Counter>,
    shadow_dropped: Family<ByReason, Counter>,
    shadow_durations: Latencies<Own>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("own", &self.own).finish_non_exhaustive()
    }
}

impl Metrics {
    pub(crate) fn new(model: &str, version: &str, role: Role) -> Self {
        let own = Own { model: model.into(), version: version.into(), role: role.as_str().into() };
        let mut registry = Registry::default();
        let metrics = Self {
            own: own.clone(),
            requests: Family::default(),
            durations: latencies(),
            feedback: Family::default(),
            feedback_rejected: Family::default(),
            shadow_pairs: Family::default(),
            shadow_agreement: Family::default(),
            shadow_errors: Family::default(),
            shadow_dropped: Family::default(),
            shadow_durations: latencies(),
            registry: Registry::default(),
        };
        let sentei = registry.sub_registry_with_prefix("sentei");
        sentei.register("requests", "Inferences answered, by HTTP status", metrics.requests.clone());
        let help = "From the request's arrival to its answer, whatever the status";
        sentei.register_with_unit("request_duration", help, Unit::Seconds, metrics.durations.clone());
        sentei.register("feedback", "Labels received for answers given, by row", metrics.feedback.clone());
        sentei.register("feedback_rejected", "Feedback not counted, by reason", metrics.feedback_rejected.clone());
        sentei.register("shadow_pairs", "Rows answered by both models", metrics.shadow_pairs.clone());
        sentei.register("shadow_agreement", "Rows on which both models agree", metrics.shadow_agreement.clone());
        sentei.register("shadow_errors", "Shadow requests that failed", metrics.shadow_errors.clone());
        sentei.register("shadow_dropped", "Sampled requests not sent or refused", metrics.shadow_dropped.clone());
        let help = "Inference time of shadow requests";
        sentei.register_with_unit("shadow_duration", help, Unit::Seconds, metrics.shadow_durations.clone());
        registry.register_collector(Box::new(Process::new()));
        // A series that is there from the start tells "nothing yet" from "no such server".
        drop(metrics.durations.get_or_create(&own));
        Self { registry, ..metrics }
    }

    /// An inference was answered.
    pub(crate) fn answered(&self, slice: &Text, code: u16, took: Duration) {
        let Own { model, version, role } = self.own.clone();
        self.requests.get_or_create(&ByAnswer { model, version, role, slice: Arc::clone(slice), code }).inc();
        self.durations.get_or_create(&self.own).observe(took.as_secs_f64());
    }

    /// A label came for a row of an answer that `version` in `role` gave.
    pub(crate) fn judged(&self, version: &str, role: Role, slice: &Text, correct: bool) {
        let labels = ByOutcome {
            model: Arc::clone(&self.own.model),
            version: version.into(),
            role: role.as_str().into(),
            slice: Arc::clone(slice),
            outcome: if correct { "correct" } else { "incorrect" },
        };
        self.feedback.get_or_create(&labels).inc();
    }

    pub(crate) fn feedback_rejected(&self, reason: &'static str) {
        self.feedback_rejected.get_or_create(&ByReason { model: Arc::clone(&self.own.model), reason }).inc();
    }

    /// Both models answered a row; `known` is whether (baseline, candidate) were right, where a label says.
    pub(crate) fn paired(&self, slice: &Text, agree: bool, known: Option<(bool, bool)>) {
        let agreement = if agree { "agree" } else { "disagree" };
        let outcome = match known {
            None => agreement,
            Some((true, true)) => "both_correct",
            Some((true, false)) => "baseline_only",
            Some((false, true)) => "candidate_only",
            Some((false, false)) => "both_wrong",
        };
        self.shadow_pairs.get_or_create(&self.outcome(slice, outcome)).inc();
        self.shadow_agreement.get_or_create(&self.outcome(slice, agreement)).inc();
    }

    fn outcome(&self, slice: &Text, outcome: &'static str) -> ByOutcome {
        let Own { model, version, role } = self.own.clone();
        ByOutcome { model, version, role, slice: Arc::clone(slice), outcome }
    }

    pub(crate) fn shadow_took(&self, took: Duration) {
        self.shadow_durations.get_or_create(&self.own).observe(took.as_secs_f64());
    }

    pub(crate) fn shadow_error(&self, code: u16) {
        let Own { model, version, role } = self.own.clone();
        self.shadow_errors.get_or_create(&ByCode { model, version, role, code }).inc();
    }

    pub(crate) fn shadow_dropped(&self, reason: &'static str) {
        self.shadow_dropped.get_or_create(&ByReason { model: Arc::clone(&self.own.model), reason }).inc();
    }

    /// OpenMetrics text.
    pub(crate) fn encode(&self) -> String {
        encode(&self.registry)
    }
}

/// A registry as OpenMetrics text.
pub(crate) fn encode(registry: &Registry) -> String {
    let mut page = String::with_capacity(16 << 10);
    // Writing to a string cannot fail.
    if text::encode(&mut page, registry).is_err() {
        page.clear();
    }
    page
}

/// Maps the slice names that requests bring to bounded label values.
#[derive(Debug)]
pub(crate) struct Slices {
    known: Vec<Text>,
    none: Text,
    other: Text,
}

impl Slices {
    pub(crate) fn new(known: &[String]) -> Self {
        Self { known: known.iter().map(|name| name.as_str().into()).collect(), none: "".into(), other: "other".into() }
    }

    /// The label for a request of `slice`: empty when it names none, `other` when it names one not configured.
    pub(crate) fn label(&self, slice: Option<&str>) -> Text {
        let known = |name: &str| self.known.iter().find(|known| &***known == name).unwrap_or(&self.other);
        Arc::clone(slice.map_or(&self.none, known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_grow_by_15_percent_from_a_tenth_of_a_millisecond_to_ten_seconds() {
        let bounds: Vec<f64> = latency_buckets().collect();
        assert_eq!((bounds[0], bounds[1], bounds.last()), (1e-4, 1.15e-4, Some(&10.0)));
        assert!(bounds.windows(2).all(|pair| pair[0] < pair[1] && pair[1] / pair[0] < 1.151));
        assert!(bounds.len() < 100);
    }

    #[test]
    fn names_and_labels_are_the_ones_promised() {
        let metrics = Metrics::new("digits", "v1", Role::Candidate);
        let slice: Text = "round".into();
        metrics.answered(&slice, 200, Duration::from_millis(2));
        metrics.judged("v0", Role::Baseline, &slice, true);
        metrics.paired(&slice, false, Some((true, false)));
        let page = metrics.encode();
        for line in [
            "sentei_requests_total{model=\"digits\",version=\"v1\",role=\"candidate\",slice=\"round\",code=\"200\"} 1",
            "sentei_request_duration_seconds_count{model=\"digits\",version=\"v1\",role=\"candidate\"} 1",
            "sentei_feedback_total{model=\"digits\",version=\"v0\",role=\"baseline\",slice=\"round\",outcome=\"correct\"} 1",
            "sentei_shadow_pairs_total{model=\"digits\",version=\"v1\",role=\"candidate\",slice=\"round\",outcome=\"baseline_only\"} 1",
            "sentei_shadow_agreement_total{model=\"digits\",version=\"v1\",role=\"candidate\",slice=\"round\",outcome=\"disagree\"} 1",
            "# EOF",
        ] {
            assert!(page.lines().any(|have| have == line), "{line} is missing from\n{page}");
        }
        for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds"] {
            assert!(page.lines().any(|line| line.starts_with(name)), "{name} is missing from\n{page}");
        }
    }

    #[test]
    fn only_configured_slices_become_label_values() {
        let slices = Slices::new(&["round".into()]);
        assert_eq!(&*slices.label(Some("round")), "round");
        assert_eq!(&*slices.label(Some("anything; a client says")), "other");
        assert_eq!(&*slices.label(None), "");
    }
}
