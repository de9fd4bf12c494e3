//! Compression, told to people and machines as it happens.

use std::sync::{Arc, Mutex, PoisonError};

use sentei_api::evidence::{Cost, Measurement, Outcome, StageKind, StageRecord};
use sentei_compress::{Event, Progress};
use sentei_rollout::observation::Compression;
use serde_json::json;

use crate::terminal::Terminal;

/// Prints each stage, and keeps the one that runs where the pilot looks.
pub struct Narrator {
    terminal: Arc<Terminal>,
    running: Option<Arc<Mutex<Compression>>>,
    baseline: Mutex<Option<Cost>>,
}

impl Narrator {
    pub fn new(terminal: Arc<Terminal>, running: Option<Arc<Mutex<Compression>>>) -> Self {
        Self { terminal, running, baseline: Mutex::default() }
    }

    fn doing(&self, what: &str) {
        self.terminal.busy(what);
        if let Some(running) = &self.running {
            *running.lock().unwrap_or_else(PoisonError::into_inner) = Compression::Running { stage: what.to_owned() };
        }
    }

    fn finished(&self, record: &StageRecord) {
        let baseline = self.baseline.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(record.cost);
        let (mark, why) = match &record.outcome {
            Outcome::Committed { .. } => ("✓", String::new()),
            Outcome::Reverted { reasons } => {
                let what = if record.kind == StageKind::Brought { "fails its gates" } else { "undone" };
                ("✗", format!("\n      {what}: {}", reasons.join("; ")))
            }
        };
        let text = format!(
            "  {mark} {:<34} {}{}  divergence {:.4}  {:.1} s{why}",
            record.title,
            factors(&baseline, &record.cost),
            main_metric(&record.measurements),
            record.divergence,
            record.seconds
        );
        self.terminal.event("StageFinished", &text, json!({ "stage": record }));
    }
}

impl Progress for Narrator {
    fn event(&self, event: &Event<'_>) {
        match *event {
            Event::Baseline { cost } => {
                *self.baseline.lock().unwrap_or_else(PoisonError::into_inner) = Some(*cost);
                let text = format!(
                    "  · {:<34} {:.2} MB  {:.1} M MACs  {} parameters  {:.2} ms",
                    "the original",
                    cost.size as f64 / 1e6,
                    cost.macs as f64 / 1e6,
                    cost.parameters,
                    1e3 * cost.latency_p50
                );
                self.terminal.event("BaselineMeasured", &text, json!({ "cost": cost }));
            }
            Event::Resumed { stages } => self.terminal.event(
                "CompressionResumed",
                &format!("  · resumes after {stages} stages of an earlier run"),
                json!({ "stages": stages }),
            ),
            Event::StageStarted { title, .. } => self.doing(title),
            Event::StageAdvanced { doing, .. } => self.doing(doing),
            Event::StageFinished { record, .. } => self.finished(record),
            Event::Report { candidates } => {
                self.doing(&format!("measure {candidates} candidates on the rows kept for the report"));
            }
            Event::Note(note) => {
                self.terminal.event("CompressionNote", &format!("    {note}"), json!({ "message": note }));
            }
        }
    }
}

/// How much smaller in each respect.
pub fn factors(baseline: &Cost, cost: &Cost) -> String {
    let ratio = |before: f64, after: f64| if after > 0.0 { before / after } else { f64::NAN };
    format!(
        "{:>5.2}x MACs {:>5.2}x file {:>5.2}x latency",
        ratio(baseline.macs as f64, cost.macs as f64),
        ratio(baseline.size as f64, cost.size as f64),
        ratio(baseline.latency_p50, cost.latency_p50)
    )
}

/// The metric on all rows that people ask for first, with the change and its interval.
pub fn main_metric(measurements: &[Measurement]) -> String {
    let main = measurements.iter().find(|m| m.slice.is_none() && m.metric.higher_is_better());
    main.map_or_else(String::new, |m| {
        let points = |value: f64| 100.0 * value;
        let difference = &m.difference;
        format!(
            "  {} {:.1} % ({:+.1} [{:+.1}, {:+.1}] points)",
            m.metric.as_str(),
            points(m.candidate.value),
            points(difference.value),
            points(difference.low),
            points(difference.high)
        )
    })
}
