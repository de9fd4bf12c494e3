//! The door: a manifest's stages, one after the other, each kept only if every gate still holds.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use rustix::time::{ClockId, clock_gettime};
use sentei_api::{
    evidence::{Candidate, Cost, Evidence, GroupCut, LeftAlone, Outcome, SourceRecord, Splits, StageKind, StageRecord},
    quantity::Digest,
    spec::{Stage, Task, compression::Prune},
};
use sentei_onnx::{Model, check::check, normal, normal::normalise};
use sentei_runtime::Runtime;

use super::{
    job::{CompressError, Job, Source, fetch_source, open_data},
    judge::{Judge, Verdict},
    memory::Memory,
    objective::{self, Later},
    progress::{Event, Progress},
    protect,
    pruner::{Ground, Pruner, Settings, Ticket},
    rows::calibration_rows,
};
use crate::{
    artifacts::{self, Artifacts, write_json},
    data::{Dataset, Part},
    evaluate::baseline_violations,
    moments::{Rows, Sampling, options, rows_of},
    quantize::{self, QuantizeOptions, Reverted, quantize_until},
    search::Measure,
    shapes,
};

/// Calibration rows that damage is measured on.
const PROBED: usize = 256;
/// Calibration rows that ranges of activations are read off.
const QUANTIZED: usize = 512;
/// Reverted proposals in a row after which a stage has gone as far as it can.
const FAILURES: u32 = 2;
/// Which positions of the calibration rows are read (compression by second moments wants 10 to 16 rows a column).
const ROWS_PER_COLUMN: usize = 16;
/// Rows read of even the narrowest layer.
const LEAST_ROWS: usize = 16384;

/// Runs a manifest's stages and writes `evidence.json`, candidates and progress below the work directory. The source is
/// only read. A run that was interrupted goes on from its last committed stage and ends the same. `cancel` is looked at
/// between and within stages.
///
/// An objective that cannot be met is no error: the candidates say so.
///
/// # Errors
/// [`CompressError`], each with what to do about it.
pub fn compress(
    job: &Job,
    runtime: &Runtime,
    progress: &dyn Progress,
    cancel: &AtomicBool,
) -> Result<Evidence, CompressError> {
    let clock = Clock::start();
    let source = fetch_source(job)?;
    let data = open_data(job, &source, runtime)?;
    data.notes().iter().for_each(|note| progress.event(&Event::Note(note)));
    let original = Model::load(&source.path)?;
    let file = original.to_bytes()?;
    let calibration = calibration_rows(&data);
    let mut judge = Judge::new(runtime, &job.spec, &data, Part::Verification, &original, &file, &calibration)?;
    accept_baseline(job, &judge, progress)?;
    let store = Artifacts::open(&job.work)?;
    let memory = Memory::recall(job, &source, &digest_of(&calibration));
    if !memory.stages.is_empty() {
        progress.event(&Event::Resumed { stages: memory.stages.len() });
    }
    let ground = ground(job, runtime, normal_form(runtime, original, &calibration)?, &calibration)?;
    let mut run = Run { job, runtime, progress, cancel, data: &data, calibration: &calibration, store, memory, clock };
    let plan = &job.spec.compression.stages;
    while run.memory.finished < plan.len() {
        run.stop_if_asked()?;
        let later = if plan[run.memory.finished + 1..].iter().any(|stage| matches!(stage, Stage::Quantize(_))) {
            Later::Int8 { layers: ground.layers().len() }
        } else {
            Later::Nothing
        };
        match &plan[run.memory.finished] {
            Stage::Prune(prune) => run.prune(&ground, prune, later, &mut judge)?,
            Stage::Quantize(_) => run.quantize(&ground, &mut judge)?,
        }
        run.memory.finished += 1;
        (run.memory.step, run.memory.failures) = (None, 0);
        run.memory.keep(&job.work)?;
    }
    let frontier = run.committed();
    run.finish(&source, &judge, &file, frontier)
}

/// Measures a model brought along as if stages had made it: on the rows that judge stages against every gate, then on
/// the rows kept for the report.
///
/// # Errors
/// [`CompressError`], as [`compress`]. A model that fails a gate is no error: its candidate says so.
pub fn assess(
    job: &Job,
    candidate: &Path,
    runtime: &Runtime,
    progress: &dyn Progress,
) -> Result<Evidence, CompressError> {
    let clock = Clock::start();
    let source = fetch_source(job)?;
    let data = open_data(job, &source, runtime)?;
    let original = Model::load(&source.path)?;
    let file = original.to_bytes()?;
    let calibration = calibration_rows(&data);
    let mut judge = Judge::new(runtime, &job.spec, &data, Part::Verification, &original, &file, &calibration)?;
    accept_baseline(job, &judge, progress)?;
    let store = Artifacts::open(&job.work)?;
    let memory = Memory::recall(job, &source, &digest_of(&calibration));
    let never = AtomicBool::new(false);
    let mut run =
        Run { job, runtime, progress, cancel: &never, data: &data, calibration: &calibration, store, memory, clock };
    run.memory.stages.clear();
    run.memory.left_alone.clear();
    let model = Model::load(candidate)?;
    let bytes =
        std::fs::read(candidate).map_err(|source| CompressError::Unreadable { path: candidate.to_owned(), source })?;
    let digest = run.store.keep(&bytes)?;
    let title = format!("brought along: {}", digest.short());
    let index = run.begin(&title);
    let verdict = judge.judge(&model, &bytes)?;
    let outcome = outcome(&verdict, digest.clone());
    let brought = Point { stage: index, digest, gates_passed: verdict.failures.is_empty() };
    let proposal = Proposal { title, kind: StageKind::Brought, divergence: 0.0, cuts: vec![], started: Instant::now() };
    run.record(index, proposal, verdict, outcome);
    run.finish(&source, &judge, &file, vec![brought])
}

/// Tells what the original costs, and refuses to start when it does not keep the manifest's own bounds.
fn accept_baseline(job: &Job, judge: &Judge<'_>, progress: &dyn Progress) -> Result<(), CompressError> {
    progress.event(&Event::Baseline { cost: &judge.cost });
    let broken = baseline_violations(&job.spec.gates, &judge.measurements, &judge.cost);
    if broken.is_empty() { Ok(()) } else { Err(CompressError::BaselineFailsGates(broken)) }
}

/// What stays the same over a run, and what it remembers.
struct Run<'a> {
    job: &'a Job,
    runtime: &'a Runtime,
    progress: &'a dyn Progress,
    cancel: &'a AtomicBool,
    data: &'a Dataset,
    calibration: &'a Rows,
    store: Artifacts,
    memory: Memory,
    clock: Clock,
}

/// A model on the frontier before it is measured for the report.
struct Point {
    stage: usize,
    digest: Digest,
    gates_passed: bool,
}

/// A stage before it is judged.
struct Proposal {
    title: String,
    kind: StageKind,
    divergence: f64,
    cuts: Vec<GroupCut>,
    started: Instant,
}

impl Run<'_> {
    fn stop_if_asked(&self) -> Result<(), CompressError> {
        if self.cancel.load(Ordering::Relaxed) { Err(CompressError::Cancelled) } else { Ok(()) }
    }

    /// Prunes in steps until the objective is met, nothing is left to cut, or two proposals in a row had to be undone.
    fn prune(
        &mut self,
        ground: &Ground<'_>,
        prune: &Prune,
        later: Later,
        judge: &mut Judge<'_>,
    ) -> Result<(), CompressError> {
        let seed = u64::from(self.job.spec.compression.seed);
        let sampling = Sampling { rows_per_column: ROWS_PER_COLUMN, least: LEAST_ROWS, seed };
        let settings = Settings { importance: prune.importance, refit: prune.refit, sampling };
        let mut pruner = Pruner::new(ground, settings, self.cancel);
        let (protected, frozen) = self.left_alone(ground);
        if self.memory.step.is_none() {
            self.memory.left_alone.extend(frozen);
            self.memory.step = Some(prune.step.get());
        }
        loop {
            self.stop_if_asked()?;
            let now = self.cost_now(judge);
            let step = self.memory.step.unwrap_or_else(|| prune.step.get());
            let spared: BTreeSet<String> = protected.union(&self.memory.spared).cloned().collect();
            let started = Instant::now();
            let index = self.memory.stages.len();
            let wanted = objective::wanted(&self.job.spec.compression.objective, &judge.cost, &now, later);
            if wanted.is_empty() {
                return Ok(());
            }
            let mut proposed = None;
            for (measure, share) in wanted {
                let share = share.max(1.0 / step);
                let title = title(measure, &judge.cost, &now, share);
                self.begin(&title);
                self.advance(index, "choosing what to cut");
                if let Some(ticket) = pruner.propose(&self.memory.kept, measure, share, &spared)? {
                    proposed = Some((title, ticket));
                    break;
                }
            }
            let Some((title, ticket)) = proposed else {
                self.progress.event(&Event::Note("nothing is left to prune that could help"));
                return Ok(());
            };
            self.advance(index, "solving the kept weights again");
            let model = pruner.apply(&ticket.kept)?;
            let divergence = ground.divergence(&model)?;
            let proposal = Proposal { title, kind: StageKind::Prune, divergence, cuts: ticket.cuts.clone(), started };
            self.advance(index, "judging on verification rows");
            if self.decide(index, proposal, &model, judge)? {
                self.memory.kept = ticket.kept;
                self.memory.failures = 0;
            } else {
                self.memory.failures += 1;
                self.memory.step = Some(1.0 + (step - 1.0) / 2.0);
                self.memory.spared.extend(worst_group(&ticket));
            }
            self.memory.keep(&self.job.work)?;
            if self.memory.failures >= FAILURES {
                return Ok(());
            }
        }
    }

    /// Costs of the model as last committed.
    fn cost_now(&self, judge: &Judge<'_>) -> Cost {
        let mut committed = self.memory.stages.iter().rev();
        let last = committed.find(|stage| matches!(stage.outcome, Outcome::Committed { .. }));
        last.map_or(judge.cost, |stage| stage.cost)
    }

    /// Protected groups, and what cannot be cut with the reason.
    fn left_alone(&self, ground: &Ground<'_>) -> (BTreeSet<String>, Vec<LeftAlone>) {
        let patterns = &self.job.spec.compression.protect;
        let coupling = ground.coupling();
        let names = coupling.groups.iter().map(|group| &group.name);
        let protected: BTreeSet<String> =
            names.filter(|name| patterns.iter().any(|pattern| protect::matches(pattern, name))).cloned().collect();
        let why = |name: &String, reason: &str| LeftAlone { name: name.clone(), reason: reason.to_owned() };
        let mut found: Vec<LeftAlone> = coupling.frozen.iter().map(|axis| why(&axis.name, &axis.reason)).collect();
        found.extend(protected.iter().map(|name| why(name, "protected by compression.protect")));
        (protected, found)
    }

    /// Stores weights and activations in 8 bits; gives layers back to float while a gate fails.
    fn quantize(&mut self, ground: &Ground<'_>, judge: &mut Judge<'_>) -> Result<(), CompressError> {
        let started = Instant::now();
        let title = "quantize to 8 bits".to_owned();
        let index = self.begin(&title);
        self.advance(index, "reading ranges of activations");
        let model = self.committed_model(ground.dense())?;
        let batches = self.batches();
        let options = QuantizeOptions { threads: options().threads, ..QuantizeOptions::default() };
        let mut judged: Option<(Verdict, Vec<u8>)> = None;
        let result = quantize_until::<CompressError>(&model, self.runtime, &batches, &options, |quantized| {
            self.stop_if_asked()?;
            let bytes = quantized.model.to_bytes()?;
            let verdict = judge.judge(&quantized.model, &bytes)?;
            let passed = verdict.failures.is_empty();
            if passed || judged.is_none() {
                judged = Some((verdict, bytes));
            }
            Ok(if passed { quantize::Verdict::Pass } else { quantize::Verdict::Fail })
        });
        let Reverted { passed, reverted } = match result {
            Ok(reverted) => reverted,
            Err(CompressError::Quantize(
                error @ (quantize::QuantizeError::NothingToDo { .. }
                | quantize::QuantizeError::Opset { .. }
                | quantize::QuantizeError::AlreadyQuantized { .. }),
            )) => {
                self.progress.event(&Event::Note(&format!("not quantised: {error}")));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let Some((mut verdict, bytes)) = judged else { return Ok(()) };
        // As many weights as before, in fewer bits.
        verdict.cost.parameters = self.cost_now(judge).parameters;
        let divergence =
            passed.as_ref().map(|passed| ground.divergence(&passed.model)).transpose()?.unwrap_or(f64::NAN);
        let divergence = if divergence.is_finite() { divergence } else { 0.0 };
        if let Some(passed) = &passed {
            let why = |node: &str, reason: String| LeftAlone { name: node.to_owned(), reason };
            self.memory.left_alone.extend(passed.left_alone.iter().map(|left| why(&left.node, left.reason.clone())));
        }
        for (node, share) in &reverted {
            let note = format!(
                "layer `{node}` given back to float (alone it changes {:.3} % of the answers' variance)",
                share * 100.0
            );
            self.progress.event(&Event::Note(&note));
        }
        let digest = self.store.keep(&bytes)?;
        let outcome = outcome(&verdict, digest);
        let proposal = Proposal { title, kind: StageKind::Quantize, divergence, cuts: vec![], started };
        self.record(index, proposal, verdict, outcome);
        Ok(())
    }

    /// Calibration rows as the quantiser takes them.
    fn batches(&self) -> impl Fn() -> Box<dyn Iterator<Item = quantize::Batch> + 'static> + 'static {
        const SIZE: usize = 64;
        let rows = self.calibration.first(QUANTIZED);
        let rows = std::rc::Rc::new(rows);
        move || {
            let rows = std::rc::Rc::clone(&rows);
            let count = rows.len();
            Box::new((0..count.div_ceil(SIZE)).map(move |at| {
                let range = at * SIZE..((at + 1) * SIZE).min(count);
                rows.inputs.iter().map(|(name, tensor)| (name.clone(), rows_of(tensor, range.clone()))).collect()
            }))
        }
    }

    /// Checks a proposed model, judges it, keeps or undoes it, and records which. Whether it was kept.
    fn decide(
        &mut self,
        index: usize,
        proposal: Proposal,
        model: &Model,
        judge: &mut Judge<'_>,
    ) -> Result<bool, CompressError> {
        let bytes = model.to_bytes()?;
        let mut verdict = judge.judge(model, &bytes)?;
        if let Err(defects) = check(model) {
            verdict.failures.extend(defects.iter().map(|defect| format!("the model does not hold together: {defect}")));
        }
        if !proposal.divergence.is_finite() {
            verdict.failures.push("the model gives answers that are not numbers on calibration rows".to_owned());
        }
        let passed = verdict.failures.is_empty();
        let outcome = if passed {
            Outcome::Committed { digest: self.store.keep(&bytes)? }
        } else {
            Outcome::Reverted { reasons: verdict.failures.clone() }
        };
        self.record(index, proposal, verdict, outcome);
        Ok(passed)
    }

    fn record(&mut self, index: usize, proposal: Proposal, verdict: Verdict, outcome: Outcome) {
        if let Outcome::Committed { digest } = &outcome {
            self.memory.committed = Some(digest.clone());
        }
        let record = StageRecord {
            title: proposal.title,
            kind: proposal.kind,
            cost: verdict.cost,
            divergence: if proposal.divergence.is_finite() { proposal.divergence } else { f64::MAX },
            cuts: proposal.cuts,
            measurements: verdict.measurements,
            outcome,
            seconds: proposal.started.elapsed().as_secs_f64(),
        };
        self.progress.event(&Event::StageFinished { index, record: &record });
        self.memory.stages.push(record);
        self.clock.lap(&mut self.memory);
    }

    fn begin(&self, title: &str) -> usize {
        let index = self.memory.stages.len();
        self.progress.event(&Event::StageStarted { index, title });
        index
    }

    fn advance(&self, index: usize, doing: &str) {
        self.progress.event(&Event::StageAdvanced { index, doing });
    }

    fn committed_model(&self, dense: &Model) -> Result<Model, CompressError> {
        match &self.memory.committed {
            None => Ok(dense.clone()),
            Some(digest) => Ok(Model::from_bytes(&self.store.read(digest)?)?),
        }
    }

    /// Every stage that was kept.
    fn committed(&self) -> Vec<Point> {
        let stages = self.memory.stages.iter().enumerate();
        let kept = stages.filter_map(|(stage, record)| match &record.outcome {
            Outcome::Committed { digest } => Some(Point { stage, digest: digest.clone(), gates_passed: true }),
            Outcome::Reverted { .. } => None,
        });
        kept.collect()
    }

    /// Measures every candidate on the rows kept for the report, and writes the evidence.
    fn finish(
        mut self,
        source: &Source,
        judge: &Judge<'_>,
        file: &[u8],
        frontier: Vec<Point>,
    ) -> Result<Evidence, CompressError> {
        let stages = std::mem::take(&mut self.memory.stages);
        self.progress.event(&Event::Report { candidates: frontier.len() });
        let spec = &self.job.spec;
        let mut candidates = Vec::new();
        if !frontier.is_empty() {
            let original = Model::load(&source.path)?;
            let report = Judge::new(self.runtime, spec, self.data, Part::Report, &original, file, self.calibration)?;
            for Point { stage: index, digest, gates_passed } in frontier {
                let stage = &stages[index];
                candidates.push(Candidate {
                    measurements: report.metrics(&self.store.read(&digest)?)?,
                    digest,
                    cost: stage.cost,
                    stage: index as u32,
                    summary: summary(&judge.cost, stage),
                    objective_met: objective::is_met(&spec.compression.objective, &judge.cost, &stage.cost),
                    gates_passed,
                });
            }
        }
        candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.cost.size));
        if !candidates.iter().any(|candidate| candidate.objective_met) {
            self.progress
                .event(&Event::Note("the objective was not met: the gates, or what can be cut, stop short of it"));
        }
        self.clock.lap(&mut self.memory);
        let count = |part| self.data.len(part) as u32;
        let evidence = Evidence {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.memory.started,
            seconds: self.memory.seconds,
            cpu_seconds: self.memory.cpu_seconds,
            source: SourceRecord { uri: spec.source.uri.clone(), digest: source.digest.clone(), cost: judge.cost },
            splits: Splits {
                calibration: count(Part::Calibration),
                verification: count(Part::Verification),
                report: count(Part::Report),
            },
            seed: spec.compression.seed,
            slices: self.data.slice_names().map(str::to_owned).collect(),
            stages,
            candidates,
            left_alone: self.memory.left_alone,
        };
        write_json(&self.job.work.join("evidence.json"), &evidence)?;
        Ok(evidence)
    }
}

fn ground<'a>(
    job: &Job,
    runtime: &'a Runtime,
    dense: Model,
    calibration: &'a Rows,
) -> Result<Ground<'a>, CompressError> {
    let first = dense.outputs().first().map(|output| output.name.clone()).unwrap_or_default();
    let output = job.spec.task.output().map_or(first, str::to_owned);
    let classes = matches!(job.spec.task, Task::Classification(_) | Task::Ctc(_));
    Ok(Ground::new(runtime, dense, calibration, PROBED, &output, classes)?)
}

/// The model that is pruned: the same answers, constants and lengths spelled out.
fn normal_form(runtime: &Runtime, original: Model, rows: &Rows) -> Result<Model, CompressError> {
    let model = normalise(original)?.model;
    let shapes = shapes::measure(runtime, &model, rows)?;
    let (model, _) = normal::fold_static_shapes(model, &shapes);
    Ok(model)
}

fn outcome(verdict: &Verdict, digest: Digest) -> Outcome {
    if verdict.failures.is_empty() {
        Outcome::Committed { digest }
    } else {
        Outcome::Reverted { reasons: verdict.failures.clone() }
    }
}

/// The group of a ticket whose cut was predicted to do most harm.
fn worst_group(ticket: &Ticket) -> Option<String> {
    let worst = ticket.cuts.iter().max_by(|a, b| a.predicted_divergence.total_cmp(&b.predicted_divergence));
    worst.map(|cut| cut.group.clone())
}

/// `prune to 2.0x MACs`.
fn title(measure: Measure, baseline: &Cost, now: &Cost, share: f64) -> String {
    let (ratio, unit) = match measure {
        Measure::Macs => (baseline.macs as f64 / now.macs.max(1) as f64, "MACs"),
        Measure::Bytes => (baseline.parameters as f64 / now.parameters.max(1) as f64, "weights"),
        Measure::Time => (baseline.latency_p50 / now.latency_p50.max(f64::MIN_POSITIVE), "latency"),
    };
    format!("prune to {:.2}x {unit}", ratio / share)
}

/// `prune 4.1x MACs, int8`.
fn summary(baseline: &Cost, stage: &StageRecord) -> String {
    let macs = baseline.macs as f64 / stage.cost.macs.max(1) as f64;
    match (stage.kind, macs > 1.01) {
        (StageKind::Prune, _) => format!("prune {macs:.1}x MACs"),
        (StageKind::Quantize, true) => format!("prune {macs:.1}x MACs, int8"),
        (StageKind::Quantize, false) => "int8".to_owned(),
        (StageKind::Brought, _) => format!("brought along, {macs:.1}x MACs"),
    }
}

/// Of the calibration rows as the model sees them.
fn digest_of(rows: &Rows) -> Digest {
    let mut bytes = Vec::new();
    for (name, tensor) in &rows.inputs {
        bytes.extend_from_slice(name.as_bytes());
        if let Some(values) = tensor.values::<f32>() {
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        } else {
            bytes.extend_from_slice(format!("{:?}", tensor.data()).as_bytes());
        }
    }
    bytes.extend(rows.weights.iter().flat_map(|weight| weight.to_le_bytes()));
    artifacts::digest(&bytes)
}

/// Wall and CPU time since the last look.
struct Clock {
    wall: Instant,
    cpu: f64,
}

impl Clock {
    fn start() -> Self {
        Self { wall: Instant::now(), cpu: cpu_seconds() }
    }

    fn lap(&mut self, memory: &mut Memory) {
        let cpu = cpu_seconds();
        memory.seconds += self.wall.elapsed().as_secs_f64();
        memory.cpu_seconds += cpu - self.cpu;
        *self = Self { wall: Instant::now(), cpu };
    }
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
