//! Live traffic replayed from the domain's data: open-loop requests through the proxy, labels sent back as feedback.
//!
//! Open loop: a slow answer does not slow the clients down, as real ones would not.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use jiff::Timestamp;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sentei_api::status::Role;
use sentei_compress::data::{Dataset, Part, Truth};
use sentei_runtime::{Data, Tensor};
use sentei_serve::proxy::ROLE_HEADER;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{sync::Semaphore, task::JoinHandle};

/// Requests under way at once; more are not sent.
const MAX_IN_FLIGHT: usize = 512;
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bad answers remembered one by one; beyond, only counted.
const MAX_REMEMBERED: usize = 100_000;

/// One answer of the candidate that was an error, never came, or was wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadAnswer {
    pub time: Timestamp,
    /// An error or no answer, rather than a wrong one.
    pub error: bool,
    pub slice: Option<String>,
}

/// What the clients saw.
#[derive(Debug, Default)]
pub struct Seen {
    bad_candidate: Mutex<Vec<BadAnswer>>,
}

impl Seen {
    /// The candidate's bad answers so far, oldest first.
    pub fn bad_candidate_answers(&self) -> Vec<BadAnswer> {
        let mut bad = self.bad_candidate.lock().unwrap_or_else(PoisonError::into_inner).clone();
        bad.sort_by_key(|answer| answer.time);
        bad
    }

    fn remember(&self, bad: BadAnswer) {
        let mut all = self.bad_candidate.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < MAX_REMEMBERED {
            all.push(bad);
        }
    }
}

/// What is replayed, how fast.
pub struct Replay {
    pub dataset: Arc<Dataset>,
    pub truth: Truth,
    pub model: String,
    pub proxy: SocketAddr,
    pub rate: f64,
    /// Share of answers whose label is sent back.
    pub feedback: f64,
    pub seed: u32,
}

/// Starts the replay; abort the handle to stop it.
pub fn start(replay: Replay, client: reqwest::Client, seen: Arc<Seen>) -> JoinHandle<()> {
    tokio::spawn(run(Arc::new(replay), client, seen))
}

async fn run(replay: Arc<Replay>, client: reqwest::Client, seen: Arc<Seen>) {
    let rows = replay.dataset.len(Part::Report);
    let mut random = ChaCha8Rng::seed_from_u64(u64::from(replay.seed));
    let in_flight = Arc::new(Semaphore::new(MAX_IN_FLIGHT));
    let mut due = Instant::now();
    loop {
        // Poisson arrivals: gaps are exponential.
        let uniform: f64 = random.random();
        due += Duration::from_secs_f64(-(1.0 - uniform).ln() / replay.rate);
        tokio::time::sleep_until(due.into()).await;
        let row = random.random_range(0..rows);
        let label = random.random_bool(replay.feedback);
        let Ok(permit) = Arc::clone(&in_flight).try_acquire_owned() else {
            tracing::debug!("{MAX_IN_FLIGHT} requests are under way: one is not sent");
            continue;
        };
        let (replay, client, seen) = (Arc::clone(&replay), client.clone(), Arc::clone(&seen));
        tokio::spawn(async move {
            replay.one(&client, &seen, row, label).await;
            drop(permit);
        });
    }
}

/// The part of an answer that a client needs.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Deserialize, Default)]
struct Parameters {
    feedback_token: Option<String>,
}

/// What came of a label.
#[derive(Deserialize)]
struct Receipt {
    rows: u64,
    correct: u64,
}

impl Replay {
    async fn one(&self, client: &reqwest::Client, seen: &Seen, row: usize, with_label: bool) {
        let Ok((header, body)) = encode(&self.inputs(row), self.slice(row), None) else { return };
        let url = format!("http://{}/v2/models/{}/infer", self.proxy, self.model);
        let sent = client
            .post(url)
            .timeout(TIMEOUT)
            .header("inference-header-content-length", header)
            .header("content-type", "application/octet-stream")
            .body(body)
            .send()
            .await;
        let Ok(answer) = sent else {
            // The proxy always answers unless it is stopping: whose fault this was cannot be told.
            return;
        };
        let time = Timestamp::now();
        let by_candidate = answer.headers().get(ROLE_HEADER).is_some_and(|role| role == Role::Candidate.as_str());
        let bad = |error| {
            if by_candidate {
                seen.remember(BadAnswer { time, error, slice: self.slice(row).map(str::to_owned) });
            }
        };
        if !answer.status().is_success() {
            bad(true);
            return;
        }
        let Ok(answer) = answer.json::<Answer>().await else {
            bad(true);
            return;
        };
        let label = self.label(row).filter(|_| with_label);
        if let (Some(token), Some(label)) = (answer.parameters.feedback_token, label)
            && let Some(receipt) = self.send_back(client, &token, label).await
            && receipt.correct < receipt.rows
        {
            bad(false);
        }
    }

    async fn send_back(&self, client: &reqwest::Client, token: &str, label: f64) -> Option<Receipt> {
        let url = format!("http://{}/v2/models/{}/feedback", self.proxy, self.model);
        let sent = client.post(url).timeout(TIMEOUT).json(&json!({ "token": token, "label": label })).send().await;
        // A label that does not arrive is a sample less, as it would be for a real client.
        sent.ok()?.json().await.ok()
    }

    fn inputs(&self, row: usize) -> Vec<(String, Tensor)> {
        self.dataset.batch(Part::Report, &[row]).inputs
    }

    fn slice(&self, row: usize) -> Option<&str> {
        first_slice(&self.dataset, Part::Report, row)
    }

    fn label(&self, row: usize) -> Option<f64> {
        match &self.truth {
            Truth::Classes(classes) => classes.get(row).map(|class| *class as f64),
            Truth::Numbers { width: 1, values } => values.get(row).copied(),
            _ => None,
        }
    }
}

/// Online a request belongs to one slice: the first in the manifest that takes it.
fn first_slice(dataset: &Dataset, part: Part, row: usize) -> Option<&str> {
    dataset.slice_names().enumerate().find(|(slice, _)| dataset.in_slice(part, *slice, row)).map(|(_, name)| name)
}

/// An Open Inference Protocol request with binary inputs and JSON outputs: the JSON part's length, and the body.
pub fn encode(inputs: &[(String, Tensor)], slice: Option<&str>, outputs: Option<&[&str]>) -> Result<(usize, Vec<u8>)> {
    let mut binary = Vec::new();
    let mut described = Vec::with_capacity(inputs.len());
    for (name, tensor) in inputs {
        let before = binary.len();
        let datatype = append(tensor.data(), &mut binary);
        described.push(json!({
            "name": name,
            "shape": tensor.shape(),
            "datatype": datatype,
            "parameters": { "binary_data_size": binary.len() - before },
        }));
    }
    let mut request = json!({ "inputs": described });
    if let Some(slice) = slice {
        request["parameters"] = json!({ "slice": slice });
    }
    if let Some(outputs) = outputs {
        request["outputs"] = outputs.iter().map(|name| json!({ "name": name })).collect::<Vec<Value>>().into();
    }
    let mut body = serde_json::to_vec(&request)?;
    let header = body.len();
    body.append(&mut binary);
    Ok((header, body))
}

/// Little-endian bytes, and the protocol's name of the type.
fn append(data: &Data, out: &mut Vec<u8>) -> &'static str {
    macro_rules! bytes {
        ($values:expr, $name:literal) => {{
            for value in $values {
                out.extend_from_slice(&value.to_le_bytes());
            }
            $name
        }};
    }
    match data {
        Data::F32(values) => bytes!(values, "FP32"),
        Data::F64(values) => bytes!(values, "FP64"),
        Data::F16(values) => bytes!(values, "FP16"),
        Data::I64(values) => bytes!(values, "INT64"),
        Data::I32(values) => bytes!(values, "INT32"),
        Data::I16(values) => bytes!(values, "INT16"),
        Data::I8(values) => bytes!(values, "INT8"),
        Data::U64(values) => bytes!(values, "UINT64"),
        Data::U32(values) => bytes!(values, "UINT32"),
        Data::U16(values) => bytes!(values, "UINT16"),
        Data::U8(values) => bytes!(values, "UINT8"),
        Data::Bool(values) => {
            out.extend(values.iter().map(|value| u8::from(*value)));
            "BOOL"
        }
    }
}
