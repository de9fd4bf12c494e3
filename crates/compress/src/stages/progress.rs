//! What happens while it happens, for progress bars and logs.

use sentei_api::evidence::{Cost, StageRecord};

/// Told of every event, on the thread that works.
pub trait Progress {
    /// Something happened.
    fn event(&self, event: &Event<'_>);
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event<'a> {
    /// The baseline was measured on the rows that judge stages.
    Baseline {
        /// Its costs.
        cost: &'a Cost,
    },
    /// An earlier run was taken up again after this many stages.
    Resumed {
        /// Stages already recorded.
        stages: usize,
    },
    /// A stage began. It may begin again under the same number when nothing could be cut as first proposed.
    StageStarted {
        /// Its number, from 0.
        index: usize,
        /// What is proposed.
        title: &'a str,
    },
    /// A stage goes on.
    StageAdvanced {
        /// Its number.
        index: usize,
        /// What is being done, in a few words.
        doing: &'a str,
    },
    /// A stage was committed or reverted.
    StageFinished {
        /// Its number.
        index: usize,
        /// All about it.
        record: &'a StageRecord,
    },
    /// The candidates are being measured on the rows kept for the report.
    Report {
        /// How many candidates.
        candidates: usize,
    },
    /// Something a user should know, in a sentence.
    Note(&'a str),
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: &Event<'_>) {}
}
