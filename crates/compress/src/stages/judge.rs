//! Measures a candidate against the baseline and holds it against the gates.

use std::time::Duration;

use sentei_api::{
    evidence::{Cost, Measurement},
    spec::CompressedModelSpec,
};
use sentei_onnx::{Model, cost};
use sentei_runtime::{Runtime, Session, SessionOptions};

use super::job::CompressError;
use crate::{
    data::{Batch, Dataset, Part},
    evaluate::{Answers, Evaluator, judge},
    latency::{Timing, measure, single_rows},
    moments::{Rows, options},
    shapes,
};

/// Time spent on timing one candidate.
const TIMING: Timing = Timing { warm_up: 8, min_rounds: 24, max_rounds: 400, budget: Duration::from_millis(600) };

/// A candidate, measured.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Its costs.
    pub cost: Cost,
    /// Its metrics on the rows judged on.
    pub measurements: Vec<Measurement>,
    /// Each failed gate, in a sentence.
    pub failures: Vec<String>,
}

/// The baseline on one part of the data, and what candidates are held against.
pub struct Judge<'a> {
    runtime: &'a Runtime,
    spec: &'a CompressedModelSpec,
    evaluator: Evaluator<'a>,
    calibration: &'a Rows,
    timed: Vec<Batch>,
    baseline: Session,
    answers: Answers,
    /// The baseline's costs.
    pub cost: Cost,
    /// The baseline against itself.
    pub measurements: Vec<Measurement>,
}

impl<'a> Judge<'a> {
    /// Measures the baseline on a part of the data.
    ///
    /// # Errors
    /// [`CompressError`] when it cannot be run, or labels are missing.
    pub fn new(
        runtime: &'a Runtime,
        spec: &'a CompressedModelSpec,
        data: &'a Dataset,
        part: Part,
        baseline: &Model,
        file: &[u8],
        calibration: &'a Rows,
    ) -> Result<Self, CompressError> {
        let evaluator = Evaluator::new(data, part, &spec.task, baseline.metadata("character"));
        let answers = evaluator.answers(&mut runtime.session_from_bytes(file, &options())?)?;
        let measurements = evaluator.measure(&answers, &answers)?;
        let mut session = runtime.session_from_bytes(file, &SessionOptions::default())?;
        let timed = single_rows(data, part);
        let latency = measure(&mut [&mut session], &timed, TIMING)?;
        let counted = counted(runtime, baseline, calibration, file.len())?;
        let cost =
            latency.first().map_or(counted, |latency| latency.cost(counted.size, counted.parameters, counted.macs));
        Ok(Self { runtime, spec, evaluator, calibration, timed, baseline: session, answers, cost, measurements })
    }

    /// Measures a candidate and holds it against every gate.
    ///
    /// # Errors
    /// [`CompressError`] when it cannot be run.
    pub fn judge(&mut self, model: &Model, file: &[u8]) -> Result<Verdict, CompressError> {
        let answers = self.evaluator.answers(&mut self.runtime.session_from_bytes(file, &options())?)?;
        let measurements = self.evaluator.measure(&self.answers, &answers)?;
        let mut session = self.runtime.session_from_bytes(file, &SessionOptions::default())?;
        let timed = measure(&mut [&mut self.baseline, &mut session], &self.timed, TIMING)?;
        let mut cost = counted(self.runtime, model, self.calibration, file.len())?;
        if let [baseline, candidate] = timed[..] {
            // In the baseline's time as it was measured first, whatever the clock does now.
            let pace = if baseline.p50 > 0.0 { self.cost.latency_p50 / baseline.p50 } else { 1.0 };
            cost.latency_p50 = candidate.p50 * pace;
            cost.latency_p99 = candidate.p99 * pace;
        }
        let results = judge(&self.spec.gates, &measurements, &self.cost, &cost);
        let failures = results.into_iter().filter(|result| !result.passed).map(|result| result.sentence).collect();
        Ok(Verdict { cost, measurements, failures })
    }

    /// The candidate's metrics alone.
    ///
    /// # Errors
    /// [`CompressError`] when it cannot be run.
    pub fn metrics(&self, file: &[u8]) -> Result<Vec<Measurement>, CompressError> {
        let answers = self.evaluator.answers(&mut self.runtime.session_from_bytes(file, &options())?)?;
        Ok(self.evaluator.measure(&self.answers, &answers)?)
    }
}

/// What counting alone tells of a model.
fn counted(runtime: &Runtime, model: &Model, rows: &Rows, size: usize) -> Result<Cost, CompressError> {
    let shapes = shapes::measure(runtime, model, rows)?;
    let macs = cost::macs(model, &shapes).iter().map(|node| node.macs).sum();
    let parameters = cost::parameters(model) as u64;
    Ok(Cost { size: size as u64, parameters, macs, ..Cost::default() })
}
