//! What people ask of a running pilot: one small file each, written by `sentei tell`, gone once the status answers it.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use sentei_api::{CompressedModelStatus, quantity::Digest};
use sentei_rollout::observation::{Request, Verb};
use serde::{Deserialize, Serialize};

use super::state::{Snapshot, read_json, write_json};
use crate::{
    cli::{self, Said},
    ending::Ending,
};

/// `sentei tell`: checks what is said against the pilot's status, and leaves it there.
pub fn tell(args: &cli::Tell) -> Result<Ending> {
    let status = Snapshot::read(&args.state)?.status;
    let verb = match args.verb {
        Said::Approve => Verb::Approve { digest: chosen(&status, args.digest.as_deref())? },
        Said::Reject => Verb::Reject,
        Said::Promote => Verb::Promote { full: args.full },
        Said::Pause => Verb::Pause,
        Said::Resume => Verb::Resume,
        Said::Abort => Verb::Abort,
        Said::Rollback => Verb::Rollback,
    };
    write(&args.state.join("requests"), &verb)?;
    Ok(Ending::Done)
}

/// The candidate whose digest starts so.
fn chosen(status: &CompressedModelStatus, start: Option<&str>) -> Result<Digest> {
    let known: Vec<&str> = status.candidates.iter().map(|candidate| candidate.digest.short()).collect();
    let start = start.with_context(|| format!("approve which candidate? There is {}", known.join(", ")))?;
    let mut found = status.candidates.iter().filter(|candidate| candidate.digest.as_str().starts_with(start));
    match (found.next(), found.next()) {
        (Some(candidate), None) => Ok(candidate.digest.clone()),
        (Some(_), Some(_)) => bail!("`{start}` is the start of several candidates: {}", known.join(", ")),
        (None, _) => bail!("`{start}` is no candidate of this pilot; there is {}", known.join(", ")),
    }
}

/// A request as it lies on disk.
#[derive(Serialize, Deserialize)]
struct Written {
    id: String,
    verb: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
}

/// Writes a request into a pilot's folder.
fn write(folder: &Path, verb: &Verb) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let id = format!("{}", jiff::Timestamp::now().as_nanosecond());
    let digest = if let Verb::Approve { digest } = verb { Some(digest.to_string()) } else { None };
    let written = Written { id: id.clone(), verb: verb.as_str().to_owned(), digest };
    write_json(&folder.join(format!("{id}.json")), &written)
}

/// Requests the status has not answered yet, oldest first; answered ones are removed.
pub fn pending(folder: &Path, status: &CompressedModelStatus) -> Result<Vec<Request>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", folder.display())),
    };
    let mut requests = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        // Whatever else lies here must not stop a rollout: it is put aside under another name.
        let Ok(Some(written)) = read_json::<Written>(&path) else {
            fs::rename(&path, path.with_extension("refused"))
                .with_context(|| format!("cannot put {} aside", path.display()))?;
            continue;
        };
        if status.answered.contains(&written.id) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        } else if let Some(verb) = parse(&written) {
            requests.push(Request { id: written.id, verb });
        }
    }
    requests.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(requests)
}

fn parse(written: &Written) -> Option<Verb> {
    Some(match written.verb.as_str() {
        "approve" => Verb::Approve { digest: written.digest.as_ref()?.parse().ok()? },
        "reject" => Verb::Reject,
        "promote" => Verb::Promote { full: false },
        "promote --full" => Verb::Promote { full: true },
        "pause" => Verb::Pause,
        "resume" => Verb::Resume,
        "abort" => Verb::Abort,
        "retry" => Verb::Retry,
        "rollback" => Verb::Rollback,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_pending_until_the_status_answers_it() {
        let folder = tempfile::tempdir().unwrap();
        let digest = "ab".repeat(32).parse().unwrap();
        write(folder.path(), &Verb::Approve { digest }).unwrap();
        write(folder.path(), &Verb::Promote { full: true }).unwrap();
        let mut status = CompressedModelStatus::default();
        let pending_now = pending(folder.path(), &status).unwrap();
        assert_eq!(pending_now.len(), 2);
        assert_eq!(pending_now[1].verb, Verb::Promote { full: true });
        status.answered.push(pending_now[0].id.clone());
        pending(folder.path(), &status).unwrap();
        fs::write(folder.path().join("garbage.json"), "{").unwrap();
        assert_eq!(pending(folder.path(), &CompressedModelStatus::default()).unwrap().len(), 1);
    }
}
