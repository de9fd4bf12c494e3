//! Rules on the offline gates.

use super::{Rule, Violation, bounds};
use crate::{
    finding::{brief, field, item},
    schema::nearest,
    spec::{CompressedModelSpec, OfflineMetric, Slice, Task},
};

pub(crate) static SOMETHING_STOPS: Rule = Rule::new(
    "a gate or an objective: otherwise nothing would stop the pruning",
    Some(
        "size(self.gates) > 0 || has(self.compression.objective.latency) || has(self.compression.objective.size) \
         || has(self.compression.objective.macs)",
    ),
)
.reading(&["spec.gates", "spec.compression"]);
pub(crate) static GATE_SLICE_KNOWN: Rule = Rule::new(
    "a gate's slice to be one of spec.data.slices",
    Some("self.gates.all(g, !has(g.slice) || self.data.slices.exists(s, s.name == g.slice))"),
)
.reading(&["spec.data.slices"]);
pub(crate) static METRIC_FITS_TASK: Rule = Rule::new(
    "a metric the task has: accuracy for classification and regression, exactMatch and characterErrorRate for ctc, \
     meanSquaredError for regression, cosine for embedding",
    Some(
        "self.gates.all(g, g.metric == 'accuracy' ? has(self.task.classification) || has(self.task.regression) \
         : g.metric in ['exactMatch', 'characterErrorRate'] ? has(self.task.ctc) \
         : g.metric == 'meanSquaredError' ? has(self.task.regression) \
         : g.metric == 'cosine' ? has(self.task.embedding) : true)",
    ),
)
.reading(&["spec.task"]);
pub(crate) static COST_HAS_NO_SLICE: Rule = Rule::new(
    "no slice on latency and size, which are the same on every slice",
    Some("!has(self.slice) || !(self.metric in ['latencyP50', 'latencyP99', 'size'])"),
);

pub(super) static ALL: &[&Rule] = &[&SOMETHING_STOPS, &GATE_SLICE_KNOWN, &METRIC_FITS_TASK, &COST_HAS_NO_SLICE];

pub(super) fn violations(spec: &CompressedModelSpec) -> Vec<Violation> {
    let mut found = Vec::new();
    let objective = &spec.compression.objective;
    if spec.gates.is_empty() && objective.latency.is_none() && objective.size.is_none() && objective.macs.is_none() {
        let remedy = "add a gate such as { metric: accuracy, maxRegression: 0.01 } to spec.gates";
        found.push(Violation::new(&SOMETHING_STOPS, "spec.gates", "neither", remedy));
    }
    for (index, gate) in spec.gates.iter().enumerate() {
        let path = item("spec.gates", index);
        if !fits(gate.metric, &spec.task) {
            let what = format!("`{}` with the task {}", gate.metric.as_str(), spec.task.name());
            let remedy = format!("use {}", main_metric(&spec.task).as_str());
            found.push(Violation::new(&METRIC_FITS_TASK, field(&path, "metric"), what, remedy));
        }
        if let Some(slice) = &gate.slice {
            found.extend(unknown_slice(&GATE_SLICE_KNOWN, slice, &spec.data.slices, &path));
            if matches!(gate.metric, OfflineMetric::LatencyP50 | OfflineMetric::LatencyP99 | OfflineMetric::Size) {
                found.push(Violation::new(&COST_HAS_NO_SLICE, field(&path, "slice"), brief(slice), "leave slice out"));
            }
        }
        bounds::gate(gate, &path, &mut found);
    }
    found
}

fn fits(metric: OfflineMetric, task: &Task) -> bool {
    match metric {
        OfflineMetric::Accuracy => matches!(task, Task::Classification(_) | Task::Regression(_)),
        OfflineMetric::ExactMatch | OfflineMetric::CharacterErrorRate => matches!(task, Task::Ctc(_)),
        OfflineMetric::MeanSquaredError => matches!(task, Task::Regression(_)),
        OfflineMetric::Cosine => matches!(task, Task::Embedding(_)),
        OfflineMetric::Agreement | OfflineMetric::LatencyP50 | OfflineMetric::LatencyP99 | OfflineMetric::Size => true,
    }
}

fn main_metric(task: &Task) -> OfflineMetric {
    match task {
        Task::Classification(_) | Task::Regression(_) => OfflineMetric::Accuracy,
        Task::Embedding(_) => OfflineMetric::Cosine,
        Task::Ctc(_) => OfflineMetric::ExactMatch,
    }
}

pub(super) fn unknown_slice(rule: &'static Rule, slice: &str, slices: &[Slice], path: &str) -> Option<Violation> {
    if slices.iter().any(|known| known.name == slice) {
        return None;
    }
    let names: Vec<&str> = slices.iter().map(|slice| slice.name.as_str()).collect();
    let remedy = match (nearest(slice, names.iter().copied()), names.is_empty()) {
        (Some(guess), _) => format!("did you mean `{guess}`?"),
        (None, true) => "declare it in spec.data.slices".to_owned(),
        (None, false) => format!("declared are {}", names.join(", ")),
    };
    Some(Violation::new(rule, field(path, "slice"), brief(slice), remedy))
}
