//! How long a bad candidate answers clients: from its first bad answer to its last, over repeated rollouts with the real
//! command, real server processes and real requests.
//!
//! `cargo bench --bench rollback -- [runs]`; 20 runs of each case take about ten minutes.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// One way to fail, at one rate of requests on the candidate.
struct Case {
    name: &'static str,
    /// Requests a second on the candidate, which has half of the traffic.
    rate: u32,
    candidate: &'static str,
    inject: Option<String>,
}

fn main() -> Result<()> {
    // cargo passes `--bench` to every benchmark.
    let runs = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(20);
    let fault = |kind: &str, rate: u32| Some(format!("{kind}@{}", 2 * rate));
    let (good, forgetful) = ("digits_resnet20.onnx", "forgetful.onnx");
    let cases = [
        Case { name: "answers 500", rate: 100, candidate: good, inject: fault("error", 100) },
        Case { name: "answers 500", rate: 10, candidate: good, inject: fault("error", 10) },
        Case { name: "crashes", rate: 100, candidate: good, inject: fault("crash", 100) },
        Case { name: "50 ms slower", rate: 100, candidate: good, inject: Some("slow:50ms".to_owned()) },
        Case { name: "wrong on one slice", rate: 100, candidate: forgetful, inject: None },
        Case { name: "wrong on one slice", rate: 10, candidate: forgetful, inject: None },
    ];
    println!("{runs} rollouts a case; seconds from the first bad answer of the candidate to the last");
    println!(
        "{:<20} {:>6} {:>20} {:>22} {:>20}",
        "candidate", "req/s", "seconds p50/p95/max", "bad answers p50/p95", "samples p50/p95"
    );
    for case in &cases {
        let (mut seconds, mut bad, mut samples) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..runs {
            let (live, breach) = rollout(case)?;
            // A crash is hidden from clients: the proxy asks the baseline instead.
            seconds.push(live["rollback"]["seconds"].as_f64().unwrap_or_default());
            bad.push(live["rollback"]["badAnswers"].as_f64().unwrap_or_default());
            samples.push(breach["samples"].as_f64().unwrap_or_default());
        }
        println!(
            "{:<20} {:>6} {:>8.2}/{:>4.2}/{:>4.2} {:>15.0}/{:>4.0} {:>15.0}/{:>4.0}",
            case.name,
            case.rate,
            quantile(&mut seconds, 0.5),
            quantile(&mut seconds, 0.95),
            quantile(&mut seconds, 1.0),
            quantile(&mut bad, 0.5),
            quantile(&mut bad, 0.95),
            quantile(&mut samples, 0.5),
            quantile(&mut samples, 0.95)
        );
    }
    Ok(())
}

/// One rollout to its end; the live summary and the breach that ended it.
fn rollout(case: &Case) -> Result<(Value, Value)> {
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/digits");
    let folder = tempfile::tempdir()?;
    let manifest = folder.path().join("model.yaml");
    std::fs::write(&manifest, include_str!("rollback.yaml").replace("{digits}", &digits.display().to_string()))?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_sentei"));
    command.arg("pilot").arg(&manifest).arg("--state").arg(folder.path().join("state"));
    command.arg("--candidate").arg(digits.join(case.candidate)).arg("--skip-gates");
    command.args(["--rate", &(2 * case.rate).to_string()]);
    if let Some(fault) = &case.inject {
        command.args(["--inject", fault]);
    }
    let ended = command.output()?;
    let said = String::from_utf8_lossy(&ended.stdout);
    ensure!(ended.status.code() == Some(3), "{} was not rolled back:\n{said}", case.name);
    let read = |name: &str| -> Result<Value> {
        let text = std::fs::read_to_string(folder.path().join("state").join(name)).context(name.to_owned())?;
        Ok(serde_json::from_str(&text)?)
    };
    let breach = read("status.json")?["lastBreach"].take();
    Ok((read("live.json")?, breach))
}

fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (q * values.len() as f64).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}
