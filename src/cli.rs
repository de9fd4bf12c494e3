//! What may be typed. Names follow `docs/reference.md`; every flag has a default that works on a laptop.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use sentei_api::{quantity::Span, status::Role};

/// Makes ONNX models small on your own data and rolls them out so that nobody has to be brave.
#[derive(Parser, Debug)]
#[command(name = "sentei", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Args, Debug, Clone)]
pub struct Common {
    /// ONNX Runtime library to use; otherwise a system library, the cache, or the pinned wheel through pip
    #[arg(long, global = true, value_name = "PATH")]
    pub onnxruntime: Option<PathBuf>,
    /// Text for people, or one JSON object a line for machines
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Text,
    Json,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run a manifest from the original model to the promoted candidate, on this machine
    Pilot(Pilot),
    /// Say something to a running pilot: approve, reject, promote, pause, resume, abort, rollback
    Tell(Tell),
    /// Refuse what a cluster would refuse, with the line, the value, the limit and the remedy
    Lint(Lint),
    /// Run the manifest's stages and write candidates and evidence; no traffic
    Compress(Compress),
    /// Measure a model on the manifest's evaluation data, slice by slice
    Evaluate(Evaluate),
    /// Answer Open Inference Protocol requests with one model
    Serve(Serve),
    /// Write the HTML report of a pilot's state directory
    Report(Report),
    /// Find (or fetch) ONNX Runtime and say which one is used
    Runtime,
}

#[derive(Args, Debug)]
pub struct Lint {
    /// Manifests; `-` reads standard input
    #[arg(required = true)]
    pub manifests: Vec<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Tell {
    /// What to say
    #[arg(value_enum)]
    pub verb: Said,
    /// approve only: the candidate's digest, or the start of it
    pub digest: Option<String>,
    /// promote only: past all remaining steps
    #[arg(long)]
    pub full: bool,
    /// State directory of the pilot
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Roll this candidate out
    Approve,
    /// Roll none of them out
    Reject,
    /// Go on from the present pause
    Promote,
    /// Stay at the present step
    Pause,
    /// Go on from a pause
    Resume,
    /// Give this rollout up
    Abort,
    /// Back to the baseline, also after the promotion
    Rollback,
}

#[derive(Args, Debug)]
pub struct Compress {
    pub manifest: PathBuf,
    /// Where candidates, evidence and progress are kept; a second run resumes from there
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Evaluate {
    pub manifest: PathBuf,
    /// The model to measure; the manifest's source when left out
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Report {
    /// State directory of a pilot
    pub state: PathBuf,
    /// Where to write; `report.html` in the state directory when left out
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Args, Debug, Clone)]
pub struct Pilot {
    pub manifest: PathBuf,
    /// Where status, candidates, evidence and the report are kept; a second run resumes from there
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Roll out this model instead of compressing one; it is measured and held against the gates like any candidate
    #[arg(long, value_name = "FILE")]
    pub candidate: Option<PathBuf>,
    /// Do not hold `--candidate` against the gates: a rehearsal of a failure the gates would have stopped
    #[arg(long, requires = "candidate")]
    pub skip_gates: bool,
    /// Where the traffic comes from
    #[arg(long, value_enum, default_value_t = Traffic::Replay)]
    pub traffic: Traffic,
    /// Replayed requests a second
    #[arg(long, default_value_t = 100.0, value_parser = positive_rate)]
    pub rate: f64,
    /// Share of replayed answers whose true label is sent back
    #[arg(long, default_value_t = 1.0, value_parser = share)]
    pub feedback: f64,
    /// Address of the proxy that splits the traffic
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Rehearse a failure of the candidate's server: `error`, `crash` or `slow:50ms`, from the first weighted step on
    #[arg(long, value_name = "FAULT")]
    pub inject: Option<Fault>,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Rows of the evaluation data, with their labels as feedback
    Replay,
    /// Your own clients call the proxy
    External,
}

#[derive(Args, Debug, Clone)]
pub struct Serve {
    /// The model
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// Name in the URL: /v2/models/NAME
    #[arg(long, default_value = "model")]
    pub name: String,
    /// Version in answers and metrics
    #[arg(long, default_value = "1")]
    pub model_version: String,
    /// Which of the two models this is
    #[arg(long, value_parser = role, default_value = "baseline")]
    pub role: Role,
    #[arg(long, default_value = "127.0.0.1:8000", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Write the address listened on to this file, for a supervisor
    #[arg(long, value_name = "FILE")]
    pub address_file: Option<PathBuf>,
    /// Slices a request may name; any other counts as `other`
    #[arg(long, value_delimiter = ',')]
    pub slices: Vec<String>,
    /// How an output becomes an answer that feedback can judge: `classification`, `regression:TOLERANCE` or `none`
    #[arg(long, default_value = "classification")]
    pub task: String,
    /// The output the answer is read from; the first when left out
    #[arg(long)]
    pub task_output: Option<String>,
    /// Key that signs feedback tokens, 64 hexadecimal digits; replicas and roles share it
    #[arg(long, env = "SENTEI_FEEDBACK_KEY", hide_env_values = true, value_name = "HEX")]
    pub feedback_key: Option<String>,
    /// Requests computed at once
    #[arg(long, default_value_t = 1)]
    pub sessions: usize,
    /// Rehearse a failure: `error`, `crash` or `slow:50ms`; after N requests with `@N`
    #[arg(long, value_name = "FAULT")]
    pub inject: Option<Fault>,
    /// Stop when standard input closes: a supervised server never outlives its supervisor
    #[arg(long)]
    pub exit_with_stdin: bool,
}

/// A failure to rehearse, and after how many requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    pub kind: FaultKind,
    pub after: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    Error,
    Crash,
    Slow(Duration),
}

impl std::str::FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("`{text}` is not a fault: expected error, crash or slow:50ms, optionally @REQUESTS");
        let (kind, after) = text.split_once('@').unwrap_or((text, "0"));
        let after = after.parse().map_err(|_| expected())?;
        let kind = match kind.split_once(':') {
            None if kind == "error" => FaultKind::Error,
            None if kind == "crash" => FaultKind::Crash,
            Some(("slow", added)) => FaultKind::Slow(added.parse::<Span>().map_err(|_| expected())?.get()),
            _ => return Err(expected()),
        };
        Ok(Self { kind, after })
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            FaultKind::Error => f.write_str("error")?,
            FaultKind::Crash => f.write_str("crash")?,
            FaultKind::Slow(added) => write!(f, "slow:{}ms", added.as_millis())?,
        }
        if self.after > 0 { write!(f, "@{}", self.after) } else { Ok(()) }
    }
}

fn positive_rate(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|rate| (0.1..=100_000.0).contains(rate))
        .ok_or_else(|| format!("`{text}` is not a rate: expected 0.1 to 100000 requests a second"))
}

fn share(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| format!("`{text}` is not a share: expected 0 to 1"))
}

fn role(text: &str) -> Result<Role, String> {
    match text {
        "baseline" => Ok(Role::Baseline),
        "candidate" => Ok(Role::Candidate),
        _ => Err(format!("`{text}` is not a role: expected baseline or candidate")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_fault_prints_what_was_written() {
        for text in ["error", "crash@100", "slow:50ms"] {
            assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
        }
        assert!("slow".parse::<Fault>().is_err());
    }
}
