//! Rules on steps and analysis.

use std::time::Duration;

use super::{Rule, Violation, bounds, gates::unknown_slice};
use crate::{
    finding::{brief, field, item},
    schema::nearest,
    spec::{MetricSource, OnlineMetric, Rollout, Slice, Step, rollout::WELL_KNOWN_METRICS},
};

const SHORTEST_INTERVAL: Duration = Duration::from_millis(250);
const LONGEST_INTERVAL: Duration = Duration::from_hours(1);

pub(crate) static STEPS_EXPOSE: Rule = Rule::new(
    "at least one setWeight above 0: promotion without a share of live traffic first proves nothing",
    Some("self.steps.exists(s, has(s.setWeight) && s.setWeight > 0)"),
);
pub(crate) static STEPS_ASCEND: Rule = Rule::new(
    "weights that do not fall from step to step: only a rollback takes traffic away",
    Some("self.steps.filter(s, has(s.setWeight)).map(s, s.setWeight).isSorted()"),
);
pub(crate) static INTERVAL: Rule = Rule::new(
    "an interval of 250ms to 1h",
    Some("duration(self.interval) >= duration('250ms') && duration(self.interval) <= duration('1h')"),
);
pub(crate) static METRIC_KNOWN: Rule = Rule::new(
    "one of accuracy, agreement, errorRate, latencyP50, latencyP95, latencyP99, or a query in `prometheus`",
    Some(
        "has(self.prometheus) \
         || self.name in ['accuracy', 'agreement', 'errorRate', 'latencyP50', 'latencyP95', 'latencyP99']",
    ),
);
pub(crate) static PROMETHEUS_SOURCE: Rule = Rule::new(
    "source Prometheus exactly when `prometheus` holds a query",
    Some("!has(self.source) || (self.source == 'Prometheus') == has(self.prometheus)"),
);
pub(crate) static SOURCE_FITS: Rule = Rule::new(
    "a source that has the metric: Feedback or Shadow for accuracy, Shadow for agreement, Server for errors and latency",
    Some(
        "!has(self.source) || self.source == 'Prometheus' \
         || (self.name == 'accuracy' ? self.source in ['Feedback', 'Shadow'] \
         : self.name == 'agreement' ? self.source == 'Shadow' \
         : self.name in ['errorRate', 'latencyP50', 'latencyP95', 'latencyP99'] ? self.source == 'Server' : true)",
    ),
);
pub(crate) static METRIC_SLICE_KNOWN: Rule = Rule::new(
    "a metric's slice to be one of spec.data.slices",
    Some("self.rollout.analysis.metrics.all(m, !has(m.slice) || self.data.slices.exists(s, s.name == m.slice))"),
)
.reading(&["spec.data.slices"]);

pub(super) static ALL: &[&Rule] =
    &[&STEPS_EXPOSE, &STEPS_ASCEND, &INTERVAL, &METRIC_KNOWN, &PROMETHEUS_SOURCE, &SOURCE_FITS, &METRIC_SLICE_KNOWN];

pub(super) fn violations(rollout: &Rollout, slices: &[Slice]) -> Vec<Violation> {
    let mut found = steps(&rollout.canary.steps);
    let interval = rollout.analysis.interval;
    if !(SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(&interval.get()) {
        found.push(Violation::new(&INTERVAL, "spec.rollout.analysis.interval", format!("{interval}"), ""));
    }
    for (index, metric) in rollout.analysis.metrics.iter().enumerate() {
        let path = item("spec.rollout.analysis.metrics", index);
        online_metric(metric, &path, &mut found);
        if let Some(slice) = &metric.slice {
            found.extend(unknown_slice(&METRIC_SLICE_KNOWN, slice, slices, &path));
        }
        bounds::online_metric(metric, &path, &mut found);
    }
    found
}

fn steps(steps: &[Step]) -> Vec<Violation> {
    let mut found = Vec::new();
    let weights: Vec<(usize, u8)> = steps
        .iter()
        .enumerate()
        .filter_map(|(index, step)| if let Step::SetWeight(weight) = step { Some((index, *weight)) } else { None })
        .collect();
    if weights.iter().all(|(_, weight)| *weight == 0) {
        let remedy = "add a step such as { setWeight: 5 }";
        found.push(Violation::new(&STEPS_EXPOSE, "spec.rollout.canary.steps", "none", remedy));
    }
    for pair in weights.windows(2) {
        if let [(_, before), (index, after)] = pair
            && after < before
        {
            let at = format!("spec.rollout.canary.steps[{index}].setWeight");
            found.push(Violation::new(&STEPS_ASCEND, at, format!("{after} after {before}"), ""));
        }
    }
    found
}

fn online_metric(metric: &OnlineMetric, path: &str, found: &mut Vec<Violation>) {
    let known = WELL_KNOWN_METRICS.contains(&metric.name.as_str());
    if !known && metric.prometheus.is_none() {
        let remedy = nearest(&metric.name, WELL_KNOWN_METRICS.into_iter())
            .map_or_else(|| "give it a query of your own".to_owned(), |guess| format!("did you mean `{guess}`?"));
        found.push(Violation::new(&METRIC_KNOWN, field(path, "name"), brief(&metric.name), remedy).comparing(path));
    }
    let Some(source) = metric.source else { return };
    if (source == MetricSource::Prometheus) != metric.prometheus.is_some() {
        let (what, remedy) = if metric.prometheus.is_some() {
            (format!("source {source:?} beside a query"), "leave source out")
        } else {
            ("source Prometheus without a query".to_owned(), "add prometheus: { address: …, query: … }")
        };
        found.push(Violation::new(&PROMETHEUS_SOURCE, field(path, "source"), what, remedy).comparing(path));
    }
    let fits = match (metric.name.as_str(), source) {
        (_, MetricSource::Prometheus) => true,
        ("accuracy", source) => matches!(source, MetricSource::Feedback | MetricSource::Shadow),
        ("agreement", source) => source == MetricSource::Shadow,
        (_, source) => !known || source == MetricSource::Server,
    };
    if !fits {
        let what = format!("{source:?} for {}", metric.name);
        found.push(
            Violation::new(&SOURCE_FITS, field(path, "source"), what, "leave source out to take the usual one")
                .comparing(path),
        );
    }
}
