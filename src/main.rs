//! The `sentei` command: hands for one machine. What may be typed is in `cli`; each command is one short function here or
//! one room beside it.

mod cli;
mod ending;
mod manifest;
mod offline;
mod pilot;
mod progress;
mod report;
mod runtime;
mod serving;
mod terminal;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use serde_json::json;

use crate::{
    cli::{Cli, Command, Common},
    ending::Ending,
    terminal::Terminal,
};

fn main() -> ExitCode {
    let Cli { common, command } = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into()))
        .with_writer(std::io::stderr)
        .init();
    match run(&common, command) {
        Ok(ending) => ending.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            Ending::Failed.into()
        }
    }
}

fn run(common: &Common, command: Command) -> Result<Ending> {
    let Common { onnxruntime, output } = common;
    let terminal = Terminal::new(*output);
    let onnxruntime = onnxruntime.as_deref();
    match command {
        Command::Pilot(args) => pilot::run(&args, onnxruntime, terminal),
        Command::Tell(args) => pilot::requests::tell(&args),
        Command::Lint(args) => lint_manifests(&args, &terminal),
        Command::Compress(args) => offline::compress(&args, onnxruntime, terminal),
        Command::Evaluate(args) => offline::evaluate(&args, onnxruntime, &terminal),
        Command::Serve(args) => serving::serve(&args, onnxruntime, &terminal),
        Command::Report(args) => report::command(&args, &terminal),
        Command::Runtime => runtime::load(onnxruntime, &terminal).map(|_| Ending::Done),
    }
}

fn lint_manifests(args: &cli::Lint, terminal: &Terminal) -> Result<Ending> {
    let mut total = 0;
    for path in &args.manifests {
        let findings = sentei_api::lint(&manifest::read_text(path)?).err().unwrap_or_default();
        total += findings.len();
        for finding in &findings {
            let text = finding.in_file(&path.display().to_string());
            terminal.event("Finding", &text, json!({ "file": path, "finding": finding.to_string() }));
        }
    }
    let files = args.manifests.len();
    terminal.event(
        "LintEnded",
        &format!("{files} file{}, {}", if files == 1 { "" } else { "s" }, manifest::count(total)),
        json!({ "files": files, "findings": total }),
    );
    Ok(if total == 0 { Ending::Done } else { Ending::Failed })
}
