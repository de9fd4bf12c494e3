//! The real `sentei` command in a folder of its own, and what it said.

#![allow(dead_code, reason = "each test program uses its own part")]

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;

pub const DIGITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/digits");

/// Pilots judge latency: two at once on a small machine would judge each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A folder with a manifest, thrown away at the end.
pub struct Workplace {
    pub folder: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Workplace {
    /// The digits example with short steps; `change` edits the YAML text.
    pub fn digits(change: impl FnOnce(String) -> String) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        let manifest = include_str!("digits.yaml").replace("{digits}", DIGITS);
        std::fs::write(folder.path().join("model.yaml"), change(manifest)).unwrap();
        Self { folder, _turn: turn }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command in this folder.
    pub fn sentei(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sentei"));
        command.args(args).current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.sentei(args).output().unwrap()
    }

    /// A pilot with JSON lines, its state in `state`.
    pub fn pilot(&self, args: &[&str]) -> Pilot {
        let mut all = vec!["pilot", "model.yaml", "--state", "state", "--output", "json"];
        all.extend(args);
        let mut child = self.sentei(&all).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (send, events) = std::sync::mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let event: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not a JSON line: {line}"));
                if send.send(event).is_err() {
                    break;
                }
            }
        });
        Pilot { child, events, seen: Vec::new() }
    }

    pub fn status(&self) -> Value {
        read_json(&self.path("state/status.json"))
    }

    pub fn live(&self) -> Value {
        read_json(&self.path("state/live.json"))
    }
}

pub fn read_json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// A running pilot and the events it has told so far.
pub struct Pilot {
    pub child: Child,
    events: std::sync::mpsc::Receiver<Value>,
    pub seen: Vec<Value>,
}

impl Pilot {
    /// Waits for an event; panics with everything seen when it does not come in time.
    pub fn wait_for(&mut self, name: &str, within: Duration) -> Value {
        let deadline = Instant::now() + within;
        while let Ok(event) = self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.seen.push(event.clone());
            if event["event"] == name {
                return event;
            }
        }
        panic!("no {name} within {within:?}; seen: {}\n{}", self.story(), self.errors());
    }

    /// Waits for the end and gives the exit code.
    pub fn end(&mut self, within: Duration) -> i32 {
        let deadline = Instant::now() + within;
        loop {
            self.seen.extend(self.events.try_iter());
            if let Some(status) = self.child.try_wait().unwrap() {
                self.seen.extend(self.events.iter());
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < deadline, "no end within {within:?}; seen: {}", self.story());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Event names in order, for messages.
    pub fn story(&self) -> String {
        let lines = self.seen.iter().map(|event| format!("{}: {}", event["event"], event["message"]));
        lines.collect::<Vec<_>>().join("\n  ")
    }

    fn errors(&mut self) -> String {
        let _ = self.child.kill();
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let _ = std::io::Read::read_to_string(&mut stderr, &mut text);
        }
        text
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
