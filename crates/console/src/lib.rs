//! Shows: the report a domain engineer reads.
//!
//! [`report`] turns what is known about one model into one HTML file without scripts, fonts or requests: it can be
//! mailed, printed and opened from a disk ten years from now. Everything here is a pure function of [`ReportInput`].
//!
//! ```text
//!  ReportInput ──View──▶ verdict ─ tiles            what happened
//!                        frontier ─ frontier_chart  what could be had
//!                        slices                     where it hurts
//!                        stages ─ cuts              what was done and why
//!                        rollout ─ timeline         what the traffic said
//!                        provenance, words          how it was measured, in which words
//! ```

mod cuts;
mod format;
mod frontier;
mod frontier_chart;
mod input;
mod metric;
mod page;
mod provenance;
mod rollout;
mod slices;
mod stages;
mod svg;
mod tiles;
mod timeline;
mod verdict;
mod view;
mod words;

pub use input::{LiveAccuracy, LiveRole, LiveSummary, Look, ReportInput, RollbackFacts};

/// One self-contained HTML document. All text of the input is escaped; what is absent reads "not measured".
#[must_use]
pub fn report(input: &ReportInput<'_>) -> String {
    page::page(&view::View::new(*input)).into_string()
}
