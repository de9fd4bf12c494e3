//! `sentei compress` and `sentei evaluate`: the offline half, without traffic.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::{Context, Result};
use sentei_api::evidence::{Candidate, Estimate, Evidence, Measurement};
use sentei_compress::Job;
use serde_json::json;

use crate::{
    cli,
    ending::Ending,
    manifest::Manifest,
    progress::{Narrator, factors, main_metric},
    terminal::Terminal,
};

/// Runs the stages and writes candidates and evidence.
pub fn compress(args: &cli::Compress, onnxruntime: Option<&Path>, terminal: Terminal) -> Result<Ending> {
    let manifest = Manifest::read(&args.manifest)?;
    let runtime = crate::runtime::load(onnxruntime, &terminal)?;
    let job = job(&manifest, args.state.as_deref());
    let terminal = Arc::new(terminal);
    let narrator = Narrator::new(Arc::clone(&terminal), None);
    let cancel = Arc::new(AtomicBool::new(false));
    stop_on_interrupt(&cancel)?;
    let evidence = sentei_compress::compress(&job, &runtime, &narrator, &cancel);
    terminal.done();
    let evidence = match evidence {
        Err(sentei_compress::CompressError::Cancelled) => {
            let again = format!("interrupted: the same command resumes from {}", job.work.display());
            terminal.event("Interrupted", &again, json!({}));
            return Ok(Ending::Interrupted);
        }
        other => other?,
    };
    print_frontier(&terminal, &evidence, &job.work);
    let met = evidence.candidates.iter().any(|candidate| candidate.objective_met && candidate.gates_passed);
    Ok(if met { Ending::Done } else { Ending::Failed })
}

/// Measures one model on the rows of the report.
pub fn evaluate(args: &cli::Evaluate, onnxruntime: Option<&Path>, terminal: &Terminal) -> Result<Ending> {
    let manifest = Manifest::read(&args.manifest)?;
    let runtime = crate::runtime::load(onnxruntime, terminal)?;
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let job = Job { work: folder.path().to_owned(), ..job(&manifest, None) };
    let model = match &args.model {
        Some(model) => model.clone(),
        None => sentei_compress::fetch_source(&job)?.path,
    };
    let evidence = sentei_compress::assess(&job, &model, &runtime, &sentei_compress::Silent)?;
    for candidate in &evidence.candidates {
        for measurement in &candidate.measurements {
            terminal.event("Measured", &line(measurement), json!({ "measurement": measurement }));
        }
    }
    let passed = evidence.candidates.iter().all(|candidate| candidate.gates_passed);
    let text = if passed { "every gate passed" } else { "a gate failed" };
    terminal.event("Evaluated", &format!("  {text}"), json!({ "gatesPassed": passed }));
    Ok(if passed { Ending::Done } else { Ending::Failed })
}

fn job(manifest: &Manifest, state: Option<&Path>) -> Job {
    Job { spec: manifest.model.spec.clone(), base: manifest.base.clone(), work: manifest.state_dir(state).join("work") }
}

/// The first interrupt asks for an end at the next safe point; what was committed stays.
fn stop_on_interrupt(cancel: &Arc<AtomicBool>) -> Result<()> {
    let cancel = Arc::clone(cancel);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            cancel.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    });
    Ok(())
}

fn print_frontier(terminal: &Terminal, evidence: &Evidence, work: &Path) {
    terminal.heading("candidates, on rows that no stage has seen");
    for candidate in &evidence.candidates {
        let Candidate { digest, cost, measurements, .. } = candidate;
        let verdict = match (candidate.gates_passed, candidate.objective_met) {
            (true, true) => "objective met",
            (true, false) => "gates passed",
            (false, _) => "a gate failed",
        };
        let text = format!(
            "  {}  {}{}  {verdict}",
            digest.short(),
            factors(&evidence.source.cost, cost),
            main_metric(measurements)
        );
        terminal.event("Candidate", &text, json!({ "candidate": candidate }));
    }
    let text =
        format!("  {:.0} s of CPU; candidates and evidence.json are in {}", evidence.cpu_seconds, work.display());
    terminal.event("CompressionEnded", &text, json!({ "cpuSeconds": evidence.cpu_seconds, "work": work }));
}

fn line(measurement: &Measurement) -> String {
    let Measurement { metric, slice, candidate, difference, .. } = measurement;
    let Estimate { value, low, high, samples } = candidate;
    format!(
        "  {:<20} {:<16} {value:.4} [{low:.4}, {high:.4}]  against the source {:+.4} [{:+.4}, {:+.4}]  n {samples}",
        metric.as_str(),
        slice.as_deref().unwrap_or("all rows"),
        difference.value,
        difference.low,
        difference.high
    )
}
