//! The whole loop on one machine: look, decide, carry out, remember; four times a second.
//!
//! ```text
//!            ┌────────────── Hands::observe ◀── metrics pages, processes, worker, requests ──┐
//!            ▼                                                                               │
//!   sentei_rollout::step(plan, status, observation, now) ──▶ effects ──▶ Hands::carry_out ───┘
//!            └──▶ status ──▶ status.json, timeline.jsonl
//! ```

mod compression;
mod hands;
mod observe;
mod parity;
mod prometheus;
pub mod requests;
pub mod state;
mod summary;
mod supervisor;
mod traffic;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use jiff::Timestamp;
use sentei_api::{CompressedModel, CompressedModelStatus, Phase, evidence::Candidate, spec::Task};
use sentei_compress::{
    Job,
    data::{Dataset, Part},
};
use sentei_console::Look;
use sentei_rollout::{Plan, step};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use self::{
    compression::{Work, Worker},
    hands::{Hands, Setup},
    parity::Golden,
    state::StateDir,
    supervisor::Template,
    traffic::{Replay, Seen},
};
use crate::{
    cli::{self, Traffic},
    ending::Ending,
    manifest::Manifest,
    progress::main_metric,
    terminal::Terminal,
};

/// Runs the pilot to an end: promoted, rolled back, failed, or interrupted.
pub fn run(args: &cli::Pilot, onnxruntime: Option<&Path>, terminal: Terminal) -> Result<Ending> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ending = runtime.block_on(pilot(args, onnxruntime, Arc::new(terminal)));
    runtime.shutdown_timeout(Duration::from_secs(2));
    ending
}

async fn pilot(args: &cli::Pilot, onnxruntime: Option<&Path>, terminal: Arc<Terminal>) -> Result<Ending> {
    let manifest = Manifest::read(&args.manifest)?;
    let plan = Plan::parse(&manifest.model.spec).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{}: {}", args.manifest.display(), lines.join("\n"))
    })?;
    let state = StateDir::open(&manifest.state_dir(args.state.as_deref()))?;
    let resumed = state.claim(&manifest.name, &manifest.digest(args)?)?;
    let (runtime, library) = crate::runtime::load_from(onnxruntime, &terminal)?;
    let job = Job { spec: manifest.model.spec.clone(), base: manifest.base.clone(), work: state.path("work") };
    let source = sentei_compress::fetch_source(&job)?;
    let dataset = Arc::new(sentei_compress::open_data(&job, &source, &runtime)?);
    state::write_json(&state.path("manifest.json"), &manifest.model)?;
    announce(&terminal, &manifest, &state, resumed);

    let mut status = state.read_status()?.unwrap_or_default();
    let mut hands = Hands::new(Setup {
        golden: Golden::new(Arc::clone(&runtime), manifest.name.clone(), &dataset),
        template: template(&manifest, &state, library)?,
        terminal: Arc::clone(&terminal),
        client: reqwest::Client::builder().tcp_nodelay(true).build().context("cannot make an HTTP client")?,
        listen: args.listen,
        source: (source.path.clone(), source.digest.clone()),
        artifacts: state.path("work/artifacts"),
        fault: args.inject,
        resuming: resumed && status.phase.is_exposed(),
    });
    let mut live = summary::Live::default();
    let mut clients = Clients::new(args, &manifest.model, dataset)?;
    let start = {
        let (job, runtime, terminal) = (job, Arc::clone(&runtime), Arc::clone(&terminal));
        move |key: &str| {
            let work = match &args.candidate {
                Some(model) => Work::Assess { model: model.clone(), trusted: args.skip_gates },
                None => Work::Stages,
            };
            Worker::start(key.to_owned(), job.clone(), work, Arc::clone(&runtime), Arc::clone(&terminal))
        }
    };

    // Made once: a signal that comes while the pilot looks elsewhere is kept until it is asked for.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let interrupted = loop {
        let requests = requests::pending(&state.path("requests"), &status)?;
        let savings = live.savings(&status);
        let observation = hands.observe(&plan, requests, savings).await?;
        clients.follow(&hands);
        let decision = step(&plan, &status, &observation, Timestamp::now());
        let wait = hands.carry_out(&decision.effects, &start).await?;
        let changed = decision.status != status;
        if decision.status.phase != status.phase {
            ask(&terminal, &decision.status, &state);
        }
        status = decision.status;
        if changed {
            state.write_status(&status)?;
        }
        live.look(&hands, &observation, &status);
        if let Some(look) = live.line(&status) {
            state.append_look(&look)?;
            show(&terminal, &look);
        }
        if status.phase.is_final() {
            break false;
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = interrupt.recv() => break true,
            _ = terminate.recv() => break true,
        }
    };
    terminal.done();
    let rollback = clients.rollback_facts(&status);
    clients.stop();
    let live = live.finish(rollback);
    state::write_json(&state.path("live.json"), &live)?;
    hands.stop().await;
    if interrupted {
        let again = format!(
            "interrupted in phase {}: the same command resumes from {}",
            status.phase,
            state.path("").display()
        );
        terminal.event("Interrupted", &again, json!({ "phase": status.phase }));
        return Ok(Ending::Interrupted);
    }
    if let Some(selected) = status.selected.as_ref().filter(|_| status.phase == Phase::Succeeded) {
        state.point_at(&Path::new("work/artifacts").join(format!("{selected}.onnx")))?;
    }
    let report = crate::report::write(&state.path(""), None)?;
    summary::print(&terminal, &status, &live, &report);
    Ok(match status.phase {
        Phase::Succeeded => Ending::Done,
        Phase::RolledBack => Ending::RolledBack,
        _ => Ending::Failed,
    })
}

/// Where a person is waited for, says what there is to choose from and how to answer.
fn ask(terminal: &Terminal, status: &CompressedModelStatus, state: &StateDir) {
    let folder = state.path("");
    let folder = folder.display();
    let say = match status.phase {
        Phase::AwaitingApproval => {
            for Candidate { digest, cost, measurements, gates_passed, .. } in &status.candidates {
                let gates = if *gates_passed { "gates passed" } else { "a gate failed" };
                let text = format!(
                    "    {}  {:.2} MB{}  {gates}",
                    digest.short(),
                    cost.size as f64 / 1e6,
                    main_metric(measurements)
                );
                terminal.event("CandidateOffered", &text, json!({ "digest": digest }));
            }
            format!("sentei tell approve DIGEST --state {folder}   (or: sentei tell reject --state {folder})")
        }
        Phase::Paused => format!("sentei tell promote --state {folder}   (or: sentei tell rollback --state {folder})"),
        _ => return,
    };
    terminal.event("WaitingForPerson", &format!("    say: {say}"), json!({ "say": say }));
}

fn announce(terminal: &Terminal, manifest: &Manifest, state: &StateDir, resumed: bool) {
    let folder = state.path("");
    let how = if resumed { "resumes" } else { "starts" };
    terminal.event(
        "PilotStarted",
        &format!("  · {:<24} {} {how}; its memory is in {}", "PilotStarted", manifest.name, folder.display()),
        json!({ "name": manifest.name, "state": folder, "resumed": resumed }),
    );
}

fn template(manifest: &Manifest, state: &StateDir, onnxruntime: PathBuf) -> Result<Template> {
    let spec = &manifest.model.spec;
    Ok(Template {
        model_name: manifest.name.clone(),
        slices: spec.data.slices.iter().map(|slice| slice.name.clone()).collect(),
        task: match &spec.task {
            Task::Classification(_) => "classification".to_owned(),
            Task::Regression(task) => format!("regression:{}", task.tolerance),
            Task::Embedding(_) | Task::Ctc(_) => "none".to_owned(),
        },
        task_output: spec.task.output().map(str::to_owned),
        feedback_key: state.feedback_key()?,
        sessions: spec.serving.sessions,
        onnxruntime,
        folder: state.path("logs"),
    })
}

/// The replayed clients, if any: they start when there is a proxy to call.
struct Clients<'a> {
    args: &'a cli::Pilot,
    replay: Option<Replay>,
    seen: Arc<Seen>,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl<'a> Clients<'a> {
    fn new(args: &'a cli::Pilot, model: &CompressedModel, dataset: Arc<Dataset>) -> Result<Self> {
        let name = model.metadata.name.clone().unwrap_or_default();
        let replay = (args.traffic == Traffic::Replay).then(|| -> Result<Replay> {
            Ok(Replay {
                truth: dataset.truth(Part::Report, &model.spec.task, usize::MAX)?,
                dataset,
                model: name,
                proxy: args.listen,
                rate: args.rate,
                feedback: args.feedback,
                seed: model.spec.compression.seed,
            })
        });
        Ok(Self { args, replay: replay.transpose()?, seen: Arc::default(), task: None })
    }

    fn follow(&mut self, hands: &Hands) {
        let Some(proxy) = hands.proxy_address() else { return };
        if let Some(replay) = self.replay.take() {
            let replay = Replay { proxy, ..replay };
            self.task = Some(traffic::start(replay, hands.setup.client.clone(), Arc::clone(&self.seen)));
        }
    }

    fn rollback_facts(&self, status: &CompressedModelStatus) -> Option<sentei_console::RollbackFacts> {
        let breach = status.last_breach.as_ref().filter(|_| self.args.traffic == Traffic::Replay)?;
        summary::rollback_facts(&self.seen.bad_candidate_answers(), breach)
    }

    fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

fn show(terminal: &Terminal, look: &Look) {
    terminal.busy(&summary::one_line(look));
}
