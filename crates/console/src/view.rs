//! The report's questions to its input, answered in one place: which candidate is meant, which metric is the main one.

use sentei_api::{
    Phase,
    evidence::{Candidate, Cost, Measurement},
    quantity::Digest,
    spec::{OfflineMetric, Task},
};

use crate::{
    input::{LiveRole, ReportInput},
    metric::Metric,
};

/// The input and what follows from it.
pub struct View<'a> {
    /// As given.
    pub input: ReportInput<'a>,
    /// The frontier: the evidence's, or the status's when there is no evidence.
    pub candidates: &'a [Candidate],
    /// The candidate the page speaks of: the selected one, or the one a person would be offered.
    pub chosen: Option<&'a Candidate>,
    /// What the page judges by.
    pub metric: OfflineMetric,
}

impl<'a> View<'a> {
    pub fn new(input: ReportInput<'a>) -> Self {
        let status = input.status;
        let found = input.evidence.map_or(&[][..], |evidence| &evidence.candidates);
        let candidates = if found.is_empty() { &status.candidates[..] } else { found };
        let by_digest = |digest: &Digest| candidates.iter().find(|candidate| candidate.digest == *digest);
        let chosen = status.selected.as_ref().and_then(by_digest).or_else(|| {
            let offered = status.candidates.iter().find(|candidate| candidate.gates_passed);
            offered.or_else(|| candidates.iter().rev().find(|candidate| candidate.gates_passed))
        });
        let metric = main_metric(&input.spec.task, candidates);
        Self { input, candidates, chosen, metric }
    }

    /// Whether the candidate was brought back, or is just being.
    pub fn is_rolled_back(&self) -> bool {
        matches!(self.input.status.phase, Phase::RollingBack | Phase::RolledBack)
    }

    /// The main metric as it is written.
    pub fn written(&self) -> Metric<'static> {
        Metric(self.metric.as_str())
    }

    /// Whether this is the candidate the page speaks of.
    pub fn is_chosen(&self, candidate: &Candidate) -> bool {
        self.chosen.is_some_and(|chosen| chosen.digest == candidate.digest)
    }

    /// `selected` once it is, `proposed` before.
    pub fn chosen_word(&self) -> &'static str {
        if self.input.status.selected.is_some() { "selected" } else { "proposed" }
    }

    /// The uncompressed model's costs.
    pub fn baseline_cost(&self) -> Option<&'a Cost> {
        self.input.evidence.map(|evidence| &evidence.source.cost)
    }

    /// Baseline and candidate under live traffic, when both answered requests.
    pub fn live_pair(&self) -> Option<(&'a LiveRole, &'a LiveRole)> {
        self.input.live.map(|live| (&live.baseline, &live.candidate))
    }

    /// The main metric on all rows.
    pub fn overall<'c>(&self, candidate: &'c Candidate) -> Option<&'c Measurement> {
        on_slice(&candidate.measurements, self.metric, None)
    }

    /// The slice the candidate does worst on.
    pub fn worst_slice<'c>(&self, candidate: &'c Candidate) -> Option<&'c Measurement> {
        let badness = |measurement: &Measurement| {
            let value = measurement.candidate.value;
            if self.metric.higher_is_better() { -value } else { value }
        };
        candidate
            .measurements
            .iter()
            .filter(|it| it.metric == self.metric && it.slice.is_some() && it.candidate.value.is_finite())
            .max_by(|one, other| badness(one).total_cmp(&badness(other)))
    }

    /// The slice that lost most against the baseline.
    pub fn largest_loss<'c>(&self, measurements: &'c [Measurement]) -> Option<&'c Measurement> {
        let loss = |measurement: &Measurement| {
            let difference = measurement.difference.value;
            if self.metric.higher_is_better() { -difference } else { difference }
        };
        measurements
            .iter()
            .filter(|it| it.metric == self.metric && it.slice.is_some() && it.difference.value.is_finite())
            .max_by(|one, other| loss(one).total_cmp(&loss(other)))
    }

    /// Slice names in the manifest's order.
    pub fn slice_names(&self) -> Vec<&'a str> {
        let declared = || self.input.spec.data.slices.iter().map(|slice| slice.name.as_str()).collect();
        self.input.evidence.map_or_else(declared, |evidence| evidence.slices.iter().map(String::as_str).collect())
    }
}

/// One metric on one slice, or on all rows.
pub fn on_slice<'m>(all: &'m [Measurement], metric: OfflineMetric, slice: Option<&str>) -> Option<&'m Measurement> {
    all.iter().find(|it| it.metric == metric && it.slice.as_deref() == slice)
}

/// The task's own metric where it was measured, else the first that is no cost.
fn main_metric(task: &Task, candidates: &[Candidate]) -> OfflineMetric {
    let own = match task {
        Task::Classification(_) | Task::Regression(_) => OfflineMetric::Accuracy,
        Task::Embedding(_) => OfflineMetric::Cosine,
        Task::Ctc(_) => OfflineMetric::ExactMatch,
    };
    let measured = || candidates.iter().flat_map(|candidate| &candidate.measurements).map(|it| it.metric);
    if measured().any(|metric| metric == own) {
        return own;
    }
    measured().find(|metric| !is_cost(*metric)).unwrap_or(own)
}

/// Whether it says what an answer costs rather than how good it is.
pub fn is_cost(metric: OfflineMetric) -> bool {
    matches!(metric, OfflineMetric::LatencyP50 | OfflineMetric::LatencyP99 | OfflineMetric::Size)
}
