//! Every reason that stands in a decision, an event or a condition. `docs/reference.md` lists each once.

/// Compression began.
pub const COMPRESSION_STARTED: &str = "CompressionStarted";
/// Compression ended with at least one candidate.
pub const COMPRESSED: &str = "Compressed";
/// Compression cannot go on.
pub const COMPRESSION_FAILED: &str = "CompressionFailed";
/// The original model does not meet the manifest's own gates: nothing is started.
pub const BASELINE_FAILS_GATES: &str = "BaselineFailsGates";
/// No candidate passed every gate.
pub const NO_CANDIDATE: &str = "NoCandidate";
/// A candidate was picked by the manifest's rule.
pub const CANDIDATE_SELECTED: &str = "CandidateSelected";
/// A person is asked.
pub const APPROVAL_REQUIRED: &str = "ApprovalRequired";
/// A person picked a candidate.
pub const CANDIDATE_APPROVED: &str = "CandidateApproved";
/// A person refused all candidates.
pub const CANDIDATE_REJECTED: &str = "CandidateRejected";
/// The loaded candidate does not give the recorded answers.
pub const PARITY_FAILED: &str = "ParityFailed";
/// The candidate's weight was changed.
pub const TRAFFIC_WEIGHT_UPDATED: &str = "TrafficWeightUpdated";
/// The servers' counters show the weight.
pub const TRAFFIC_WEIGHT_VERIFIED: &str = "TrafficWeightVerified";
/// The share of copied requests was changed.
pub const SHADOW_UPDATED: &str = "ShadowUpdated";
/// A step is done.
pub const STEP_COMPLETED: &str = "StepCompleted";
/// The rollout waits for a person.
pub const PAUSED: &str = "Paused";
/// A person let the rollout go on.
pub const RESUMED: &str = "Resumed";
/// A metric is outside its bound.
pub const ANALYSIS_FAILED: &str = "AnalysisFailed";
/// The candidate stopped answering while it had traffic.
pub const CANDIDATE_UNAVAILABLE: &str = "CandidateUnavailable";
/// A step waits for a verdict.
pub const ANALYSIS_INCONCLUSIVE: &str = "AnalysisInconclusive";
/// A critical metric has no data.
pub const NO_DATA: &str = "NoData";
/// A critical metric had no data for `consecutiveErrorLimit` looks.
pub const NO_DATA_LIMIT: &str = "NoDataLimit";
/// No progress within `progressDeadlineSeconds`.
pub const PROGRESS_DEADLINE_EXCEEDED: &str = "ProgressDeadlineExceeded";
/// Traffic goes back to the baseline.
pub const ROLLBACK_STARTED: &str = "RollbackStarted";
/// Traffic is back on the baseline, seen in the counters.
pub const ROLLBACK_COMPLETED: &str = "RollbackCompleted";
/// Traffic was sent back to the baseline, and the counters have not shown it in time.
pub const ROLLBACK_UNVERIFIED: &str = "RollbackUnverified";
/// A person gave the rollout up.
pub const ABORTED: &str = "Aborted";
/// A person asked for the baseline.
pub const ROLLBACK_REQUESTED: &str = "RollbackRequested";
/// A person started the rollout over.
pub const RETRIED: &str = "Retried";
/// The spec changed: the rollout starts over.
pub const SPEC_CHANGED: &str = "SpecChanged";
/// The candidate takes all traffic.
pub const PROMOTING: &str = "Promoting";
/// The candidate has all traffic; the baseline is kept warm.
pub const PROMOTED: &str = "Promoted";
/// The rollback window passed.
pub const SUCCEEDED: &str = "Succeeded";
/// The baseline's servers are not ready.
pub const BASELINE_DEGRADED: &str = "BaselineDegraded";
/// The baseline's servers are ready.
pub const BASELINE_READY: &str = "BaselineReady";
/// The baseline's servers were stopped after the rollback window.
pub const BASELINE_RETIRED: &str = "BaselineRetired";
/// `spec.suspend` is set.
pub const SUSPENDED: &str = "Suspended";
/// A person asked for what this phase does not allow.
pub const REQUEST_REFUSED: &str = "RequestRefused";
/// Work goes on.
pub const PROGRESSING: &str = "Progressing";
/// Nothing is left to do.
pub const SETTLED: &str = "Settled";
/// No person has to be asked.
pub const NOT_REQUIRED: &str = "NotRequired";

/// All of them.
pub const ALL: &[&str] = &[
    COMPRESSION_STARTED,
    COMPRESSED,
    COMPRESSION_FAILED,
    BASELINE_FAILS_GATES,
    NO_CANDIDATE,
    CANDIDATE_SELECTED,
    APPROVAL_REQUIRED,
    CANDIDATE_APPROVED,
    CANDIDATE_REJECTED,
    PARITY_FAILED,
    TRAFFIC_WEIGHT_UPDATED,
    TRAFFIC_WEIGHT_VERIFIED,
    SHADOW_UPDATED,
    STEP_COMPLETED,
    PAUSED,
    RESUMED,
    ANALYSIS_FAILED,
    CANDIDATE_UNAVAILABLE,
    ANALYSIS_INCONCLUSIVE,
    NO_DATA,
    NO_DATA_LIMIT,
    PROGRESS_DEADLINE_EXCEEDED,
    ROLLBACK_STARTED,
    ROLLBACK_COMPLETED,
    ROLLBACK_UNVERIFIED,
    ABORTED,
    ROLLBACK_REQUESTED,
    RETRIED,
    SPEC_CHANGED,
    PROMOTING,
    PROMOTED,
    SUCCEEDED,
    BASELINE_DEGRADED,
    BASELINE_READY,
    BASELINE_RETIRED,
    SUSPENDED,
    REQUEST_REFUSED,
    PROGRESSING,
    SETTLED,
    NOT_REQUIRED,
];
