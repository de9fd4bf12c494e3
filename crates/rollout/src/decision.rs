//! What comes out of a step: the next status, and what the hands have to do.

use std::time::Duration;

use sentei_api::{CompressedModelStatus, quantity::Digest, status::Role};

/// The answer to one look.
///
/// The hands carry the effects out **in order**, then store the status. A candidate weight of 0 always comes first.
/// Both may be lost or done twice: every effect but [`Effect::Emit`] is asked for again at each look until the
/// observation shows it, and doing it again changes nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The next status: the only memory.
    pub status: CompressedModelStatus,
    /// What to do, in order.
    pub effects: Vec<Effect>,
}

/// One thing for the hands to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Give the candidate this share of live traffic, in percent, and the baseline the rest.
    SetWeight {
        /// 0 to 100.
        candidate: u8,
    },
    /// Copy this share of live requests to the candidate, in percent.
    SetShadow {
        /// 0 to 100.
        percent: u8,
    },
    /// Run the stages, or go on with them after a restart.
    StartCompression {
        /// What the results have to be kept under: see [`Plan::compression_key`](crate::Plan::compression_key).
        key: String,
    },
    /// Run the role's servers with this model, warm them up, and (candidate) compare them on golden inputs.
    EnsureServing(Server),
    /// Stop the role's servers. The model's file stays.
    ScaleDown {
        /// Whose.
        role: Role,
    },
    /// Tell people.
    Emit(Event),
    /// Look again after this long at the latest.
    Requeue {
        /// 0 for at once.
        after: Duration,
    },
}

/// Which model on which role's servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// The original model on the baseline's.
    Baseline,
    /// This one on the candidate's.
    Candidate(Digest),
}

/// One line for people: a Kubernetes event, a line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// One of [`crate::reasons`].
    pub reason: &'static str,
    /// One sentence with the numbers.
    pub message: String,
    /// Whether someone should look.
    pub warning: bool,
}

impl Effect {
    /// Where it stands among the effects of one step: traffic is taken away before anything else is done, and given
    /// only after all that it depends on.
    pub(crate) const fn rank(&self) -> u8 {
        match self {
            Self::SetWeight { candidate: 0 } => 0,
            Self::SetShadow { .. } => 1,
            Self::EnsureServing(_) => 2,
            Self::StartCompression { .. } => 3,
            Self::SetWeight { .. } => 4,
            Self::ScaleDown { .. } => 5,
            Self::Emit(_) => 6,
            Self::Requeue { .. } => 7,
        }
    }
}
