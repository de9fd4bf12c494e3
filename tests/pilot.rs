//! The whole loop as its user meets it: the real command, two real server processes, real requests.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic, in its helpers too")]

mod support;

use std::{process::Command, time::Duration};

use support::Workplace;

const LONG: Duration = Duration::from_mins(3);

/// Seconds from the candidate's first bad answer to its last, and how many there were.
fn exposure(workplace: &Workplace) -> (f64, u64) {
    let facts = &workplace.live()["rollback"];
    (facts["seconds"].as_f64().unwrap(), facts["badAnswers"].as_u64().unwrap())
}

/// The original as a candidate: good, so that only the injected fault can bring it back.
fn original() -> String {
    format!("{}/digits_resnet20.onnx", support::DIGITS)
}

#[test]
fn a_good_candidate_is_promoted_and_the_original_is_untouched() {
    let before = std::fs::read(original()).unwrap();
    let workplace = Workplace::digits(|manifest| manifest);
    let mut pilot = workplace.pilot(&["--rate", "120"]);
    let code = pilot.end(LONG);
    assert_eq!(code, 0, "{}", pilot.story());
    let status = workplace.status();
    assert_eq!(status["phase"], "Succeeded");
    assert_eq!(status["weights"]["candidate"], 100);
    let live = workplace.live();
    assert!(live["candidate"]["requests"].as_u64().unwrap() > 100, "{live}");
    assert!(live["baseline"]["accuracy"][0]["estimate"]["value"].as_f64().unwrap() > 0.9, "{live}");
    let report = std::fs::read_to_string(workplace.path("state/report.html")).unwrap();
    assert!(report.contains("digits") && report.len() > 10_000);
    assert_eq!(std::fs::read(original()).unwrap(), before);
}

#[test]
fn a_candidate_that_answers_500_is_rolled_back_within_a_second() {
    let workplace = Workplace::digits(|manifest| manifest);
    let mut pilot = workplace.pilot(&["--candidate", &original(), "--inject", "error@150", "--rate", "200"]);
    let code = pilot.end(LONG);
    assert_eq!(code, 3, "{}", pilot.story());
    let breach = &workplace.status()["lastBreach"];
    assert_eq!(breach["metric"], "errorRate", "{breach}");
    assert!(breach["bad"].as_u64().unwrap() > 0 && breach["value"]["low"].as_f64().unwrap() > 0.0, "{breach}");
    assert_eq!(workplace.status()["weights"]["candidate"], 0);
    let (seconds, bad) = exposure(&workplace);
    // Generous: this is not a timing test, the figures are in benches/.
    assert!(seconds < 5.0 && bad > 0, "{seconds} s, {bad} bad answers");
}

#[test]
fn a_candidate_whose_server_crashes_is_rolled_back_and_its_clients_are_answered() {
    let workplace = Workplace::digits(|manifest| manifest);
    let mut pilot = workplace.pilot(&["--candidate", &original(), "--inject", "crash@150", "--rate", "200"]);
    let code = pilot.end(LONG);
    assert_eq!(code, 3, "{}", pilot.story());
    assert_eq!(workplace.status()["phase"], "RolledBack");
}

#[test]
fn a_slow_candidate_is_rolled_back_by_its_latency() {
    let workplace = Workplace::digits(|manifest| manifest.replace("max: 5s", "max: 150ms"));
    let mut pilot = workplace.pilot(&["--candidate", &original(), "--inject", "slow:250ms", "--rate", "60"]);
    let code = pilot.end(LONG);
    assert_eq!(code, 3, "{}", pilot.story());
    assert_eq!(workplace.status()["lastBreach"]["metric"], "latencyP99");
}

#[test]
fn a_pilot_killed_in_mid_rollout_resumes_in_the_same_phase_and_ends_the_same() {
    let slow_steps = |manifest: String| {
        manifest.replace(
            "setWeight: 25\n        - pause: { duration: 1s }",
            "setWeight: 25\n        - pause: { duration: 6s }",
        )
    };
    let workplace = Workplace::digits(slow_steps);
    let mut pilot = workplace.pilot(&["--candidate", &original(), "--rate", "120"]);
    pilot.wait_for("TrafficWeightUpdated", LONG);
    std::thread::sleep(Duration::from_millis(600));
    pilot.child.kill().unwrap();
    pilot.child.wait().unwrap();
    let before = workplace.status();
    assert_eq!(before["phase"], "Progressing");
    let mut again = workplace.pilot(&["--candidate", &original(), "--rate", "120"]);
    let code = again.end(LONG);
    assert_eq!(code, 0, "{}", again.story());
    assert!(
        again.seen[0]["resumed"].as_bool() == Some(true) || again.seen.iter().any(|event| event["resumed"] == true)
    );
    let compressed_again = again.seen.iter().any(|event| event["event"] == "CompressionStarted");
    assert!(!compressed_again, "{}", again.story());
    assert_eq!(workplace.status()["phase"], "Succeeded");
}

#[test]
fn an_interrupt_stops_everything_and_says_how_to_go_on() {
    let workplace = Workplace::digits(|manifest| manifest);
    let mut pilot = workplace.pilot(&["--candidate", &original(), "--rate", "60"]);
    pilot.wait_for("ProxyListening", LONG);
    let killed = Command::new("kill").args(["-INT", &pilot.child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(pilot.end(Duration::from_secs(30)), 130, "{}", pilot.story());
    assert!(pilot.seen.iter().any(|event| event["event"] == "Interrupted"), "{}", pilot.story());
    serde_json::from_value::<sentei_api::CompressedModelStatus>(workplace.status()).unwrap();
}

#[test]
fn a_second_pilot_of_the_same_state_is_refused() {
    let workplace = Workplace::digits(|manifest| manifest);
    let mut pilot = workplace.pilot(&["--candidate", &original(), "--rate", "20"]);
    pilot.wait_for("PilotStarted", LONG);
    let second = workplace.run(&["pilot", "model.yaml", "--state", "state"]);
    let error = String::from_utf8_lossy(&second.stderr);
    assert!(error.contains("another pilot is running in state"), "{error}");
}

#[test]
fn a_person_can_bring_a_rollout_back() {
    let slow_steps = |manifest: String| {
        manifest.replace("setWeight: 25\n        - pause: { duration: 1s }", "setWeight: 25\n        - pause: {}")
    };
    let workplace = Workplace::digits(slow_steps);
    let mut pilot = workplace.pilot(&["--candidate", &original(), "--rate", "60"]);
    pilot.wait_for("Paused", LONG);
    let told = workplace.run(&["tell", "rollback", "--state", "state"]);
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    assert_eq!(pilot.end(Duration::from_mins(1)), 3, "{}", pilot.story());
    assert_eq!(workplace.status()["weights"]["candidate"], 0);
}

#[test]
fn a_taken_port_is_an_error_that_names_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let workplace = Workplace::digits(|manifest| manifest);
    let ended =
        workplace.run(&["pilot", "model.yaml", "--state", "state", "--candidate", &original(), "--listen", &address]);
    assert_eq!(ended.status.code(), Some(1));
    let error = String::from_utf8_lossy(&ended.stderr);
    assert!(error.contains(&address), "{error}");
}

#[test]
fn a_baseline_that_fails_its_own_gate_starts_nothing() {
    let impossible = |manifest: String| {
        manifest.replace(
            "- { metric: accuracy, maxRegression: 0.03 }",
            "- { metric: accuracy, thresholdRange: { min: 0.999 } }",
        )
    };
    let workplace = Workplace::digits(impossible);
    let mut pilot = workplace.pilot(&[]);
    assert_eq!(pilot.end(LONG), 1, "{}", pilot.story());
    assert!(pilot.seen.iter().any(|event| event["event"] == "BaselineFailsGates"), "{}", pilot.story());
    assert_eq!(workplace.status()["phase"], "Failed");
}

#[test]
fn a_full_disk_while_compressing_leaves_nothing_half_written() {
    let workplace = Workplace::digits(|manifest| manifest);
    // Files of this process may not grow beyond 100 blocks of 512 bytes; the signal is ignored, so writes fail as on a
    // full disk.
    let script =
        format!("trap '' XFSZ; ulimit -f 100; exec {} compress model.yaml --state state", env!("CARGO_BIN_EXE_sentei"));
    let ended = Command::new("sh").args(["-c", &script]).current_dir(workplace.folder.path()).output().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{}", String::from_utf8_lossy(&ended.stdout));
    let error = String::from_utf8_lossy(&ended.stderr);
    assert!(error.contains("File too large") || error.contains("cannot write"), "{error}");
    let files = walk(&workplace.path("state"));
    assert!(files.iter().all(|file| file.extension().is_none_or(|extension| extension != "onnx")), "{files:?}");
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            files.extend(walk(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files
}
