//! The decision. One call is one look and at most one transition.
//!
//! In this order, and the order is the point:
//! 1. [`spec`]: is this still the rollout that was asked for?
//! 2. [`analysis`]: count and judge.
//! 3. [`safety`]: does anything take the candidate's traffic away? In every phase, before anything else is considered.
//! 4. [`requests`]: what do people want?
//! 5. The phase's own file: [`prepare`], [`climb`], [`promote`], [`rollback`].

mod analysis;
mod climb;
mod conditions;
mod draft;
mod prepare;
mod promote;
mod requests;
mod rollback;
mod safety;
mod spec;
mod weight;

use jiff::Timestamp;
use sentei_api::{CompressedModelStatus, Phase};

use self::draft::Draft;
use crate::{Decision, Observation, Plan};

/// Decides what follows from the status (the only memory) and what was seen at `now`.
///
/// Pure: the same arguments give the same answer, in any process. Call it once for each `interval` of the plan, and again
/// whenever [`Effect::Requeue`](crate::Effect::Requeue) asks for it. How to carry the answer out: see [`Decision`].
///
/// What keeps the candidate from traffic, and what takes it away:
/// - Its weight rises only when a candidate that passed every gate is selected (by a person where `approval.mode` is
///   `Manual`), its server is ready with that artifact, and parity on golden inputs has passed.
/// - A timed pause ends when it is over, the counters show the weight, the baseline is ready, and no metric holds it. A
///   **critical** metric holds it until it has passed or, when it sets `minSamples`, has that many samples without a
///   breach. One that is **not critical** holds it only when it sets `minSamples`, has some samples, and has fewer than
///   that. What only live requests can settle holds nothing while the candidate has no weight. The same goes for the
///   promotion, whatever the steps. A person's `promote` overrules all of this but a breach
///   and the first point.
/// - A shadow step ends when every metric counted on shadow pairs has passed or has its `minSamples`; for one that is not
///   critical it waits a minute at most.
/// - A breach sets the weight to 0 in this very step, in any phase in which the candidate has traffic, also while paused
///   or suspended. So does a candidate that has traffic and is not ready, or has restarted (metric `availability`).
#[must_use]
pub fn step(plan: &Plan, status: &CompressedModelStatus, seen: &Observation, now: Timestamp) -> Decision {
    let mut draft = Draft::new(plan, status, seen, now);
    if !spec::start_over_if_changed(&mut draft) {
        analysis::look(&mut draft);
        if !safety::withdraw_if_needed(&mut draft) && !requests::answer(&mut draft) {
            go_on(&mut draft);
        }
    }
    draft.finish()
}

fn go_on(draft: &mut Draft<'_>) {
    match draft.status.phase {
        Phase::Pending => prepare::pending(draft),
        Phase::Compressing => prepare::compressing(draft),
        Phase::Evaluating => prepare::evaluating(draft),
        Phase::Shadowing | Phase::Progressing => climb::climb(draft),
        Phase::Promoting => promote::promoting(draft),
        Phase::Watching => promote::watching(draft),
        Phase::RollingBack => rollback::rolling_back(draft),
        // Waiting for a person, or for nothing.
        Phase::AwaitingApproval | Phase::Paused | Phase::Succeeded | Phase::RolledBack | Phase::Failed => {}
    }
}
