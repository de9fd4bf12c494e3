//! How a command ended, and the exit code that says so.

use std::process::ExitCode;

/// Exit codes are part of the contract: scripts tell a rollback from a mistake by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// 0: done as asked.
    Done,
    /// 1: it ran and the answer is no: findings, a failed gate, nothing exposed.
    Failed,
    /// 3: traffic was brought back to the baseline. (2 is clap's: the command line was wrong.)
    RolledBack,
    /// 130: stopped by a signal; the same command resumes.
    Interrupted,
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        Self::from(match ending {
            Ending::Done => 0,
            Ending::Failed => 1,
            Ending::RolledBack => 3,
            Ending::Interrupted => 130,
        })
    }
}
