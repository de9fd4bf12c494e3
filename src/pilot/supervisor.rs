//! Two server processes, one for each role: started, watched, restarted. A crash of one never touches the other, and
//! none outlives the pilot (each stops when its standard input closes).

use std::{
    fs::OpenOptions,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use sentei_api::status::Role;
use tokio::process::{Child, Command};

use crate::cli::Fault;

/// A server that died this soon after its start is restarted ever later.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// What both servers are started with.
pub struct Template {
    pub model_name: String,
    pub slices: Vec<String>,
    pub task: String,
    pub task_output: Option<String>,
    pub feedback_key: String,
    pub sessions: u32,
    pub onnxruntime: PathBuf,
    pub folder: PathBuf,
}

/// What is seen of one server from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Starting,
    Listening(SocketAddr),
    Crashed(String),
}

/// One role's server, alive or waiting to be restarted.
pub struct Server {
    role: Role,
    model: PathBuf,
    version: String,
    fault: Option<Fault>,
    state: State,
    backoff: Duration,
    /// When this life began, in milliseconds: counters begin anew with each, also after a restart of the pilot.
    epoch: u64,
}

enum State {
    Running { child: Child, since: Instant },
    Dead { reason: String, retry_at: Instant },
}

impl Server {
    pub fn start(template: &Template, role: Role, model: &Path, version: &str, fault: Option<Fault>) -> Result<Self> {
        let child = spawn(template, role, model, version, fault)?;
        Ok(Self {
            role,
            model: model.to_owned(),
            version: version.to_owned(),
            fault,
            state: State::Running { child, since: Instant::now() },
            backoff: FIRST_BACKOFF,
            epoch: epoch_now(),
        })
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Looks once: notices a death, restarts when it is time.
    pub fn look(&mut self, template: &Template) -> Seen {
        match &mut self.state {
            State::Running { child, since } => match child.try_wait() {
                Ok(None) => match read_address(&address_file(template, self.role)) {
                    Some(address) => Seen::Listening(address),
                    None => Seen::Starting,
                },
                Ok(Some(status)) => {
                    if since.elapsed() > MAX_BACKOFF {
                        self.backoff = FIRST_BACKOFF;
                    }
                    self.died(format!("the {} server ended with {status}", self.role))
                }
                Err(error) => self.died(format!("the {} server cannot be watched: {error}", self.role)),
            },
            State::Dead { reason, retry_at } if Instant::now() < *retry_at => Seen::Crashed(reason.clone()),
            State::Dead { .. } => match spawn(template, self.role, &self.model, &self.version, self.fault) {
                Ok(child) => {
                    self.epoch = epoch_now().max(self.epoch + 1);
                    self.state = State::Running { child, since: Instant::now() };
                    Seen::Starting
                }
                Err(error) => self.died(format!("{error:#}")),
            },
        }
    }

    fn died(&mut self, reason: String) -> Seen {
        self.state = State::Dead { reason: reason.clone(), retry_at: Instant::now() + self.backoff };
        self.backoff = (self.backoff * 2).min(MAX_BACKOFF);
        Seen::Crashed(reason)
    }

    /// Closes its standard input, waits for the drain, then kills.
    pub async fn stop(self) {
        if let State::Running { mut child, .. } = self.state {
            drop(child.stdin.take());
            if tokio::time::timeout(Duration::from_secs(5), child.wait()).await.is_err() {
                // It had its time to drain; a failed kill means it is gone already.
                let _ = child.kill().await;
            }
        }
    }
}

/// A number for a life of a process that is larger than that of any earlier one.
pub fn epoch_now() -> u64 {
    jiff::Timestamp::now().as_millisecond().unsigned_abs()
}

fn address_file(template: &Template, role: Role) -> PathBuf {
    template.folder.join(format!("{role}.address"))
}

fn read_address(path: &Path) -> Option<SocketAddr> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn spawn(template: &Template, role: Role, model: &Path, version: &str, fault: Option<Fault>) -> Result<Child> {
    let address_file = address_file(template, role);
    // The address of an earlier life must not be taken for this one's.
    match std::fs::remove_file(&address_file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", address_file.display()));
        }
        _ => {}
    }
    let log = template.folder.join(format!("{role}.log"));
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log)
        .with_context(|| format!("cannot open the server log {}", log.display()))?;
    let mut command = Command::new(std::env::current_exe().context("cannot find this program's own file")?);
    command
        .arg("serve")
        .arg("--model")
        .arg(model)
        .args(["--name", &template.model_name, "--model-version", version, "--role", role.as_str()])
        .args(["--listen", "127.0.0.1:0", "--exit-with-stdin", "--task", &template.task])
        .arg("--address-file")
        .arg(&address_file)
        .arg("--onnxruntime")
        .arg(&template.onnxruntime)
        .args(["--sessions", &template.sessions.to_string()])
        .env("SENTEI_FEEDBACK_KEY", &template.feedback_key)
        .stdin(Stdio::piped())
        .stdout(log.try_clone().context("cannot share the server log")?)
        .stderr(log)
        .kill_on_drop(true)
        // Ctrl-C is the pilot's to handle: it drains the servers in order.
        .process_group(0);
    if !template.slices.is_empty() {
        command.arg("--slices").arg(template.slices.join(","));
    }
    if let Some(output) = &template.task_output {
        command.args(["--task-output", output]);
    }
    if let Some(fault) = fault {
        command.args(["--inject", &fault.to_string()]);
    }
    command.spawn().with_context(|| format!("cannot start the {role} server"))
}
