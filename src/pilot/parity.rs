//! The parity check: a loaded candidate must give over HTTP what its file gives offline, before it sees any traffic.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use sentei_api::quantity::Digest;
use sentei_compress::data::{Dataset, Part};
use sentei_rollout::observation::Parity;
use sentei_runtime::{Runtime, SessionOptions, Tensor};
use serde::Deserialize;
use tokio::sync::oneshot::{self, error::TryRecvError};

use super::traffic::encode;

/// Rows compared; a file that loads wrongly is wrong on the first.
const ROWS: usize = 8;
/// Largest difference, relative to the largest value of the output. Batch shapes and thread counts change the order of
/// sums, quantised models round: exact equality is not to be had.
const TOLERANCE: f32 = 1e-2;

pub struct Golden {
    runtime: Arc<Runtime>,
    model_name: String,
    inputs: Arc<Vec<Vec<(String, Tensor)>>>,
    running: Option<(Key, oneshot::Receiver<Result<()>>)>,
    result: Option<(Key, Parity)>,
}

/// Which artifact in which life of the server.
type Key = (Digest, u64);

#[derive(Deserialize)]
struct Answer {
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    data: Vec<f32>,
}

impl Golden {
    pub fn new(runtime: Arc<Runtime>, model_name: String, dataset: &Dataset) -> Self {
        let rows = dataset.len(Part::Calibration).min(ROWS);
        let inputs = (0..rows).map(|row| dataset.batch(Part::Calibration, &[row]).inputs).collect();
        Self { runtime, model_name, inputs: Arc::new(inputs), running: None, result: None }
    }

    /// The result for this artifact in this life of the server; starts the check when there is none.
    pub fn check(
        &mut self,
        client: &reqwest::Client,
        (digest, epoch): (&Digest, u64),
        model: &Path,
        address: SocketAddr,
    ) -> Parity {
        let key = (digest.clone(), epoch);
        if let Some((of, result)) = &self.result
            && *of == key
        {
            return result.clone();
        }
        match self.running.as_mut().filter(|(of, _)| *of == key).map(|(_, check)| check.try_recv()) {
            Some(Err(TryRecvError::Empty)) => Parity::Unknown,
            Some(Ok(Ok(()))) => self.settle(key, Parity::Passed),
            Some(Ok(Err(error))) => self.settle(key, Parity::Failed(format!("{error:#}"))),
            Some(Err(TryRecvError::Closed)) => {
                self.settle(key, Parity::Failed("the check ended unexpectedly".to_owned()))
            }
            None => {
                let url = format!("http://{address}/v2/models/{}/infer", self.model_name);
                let (runtime, inputs) = (Arc::clone(&self.runtime), Arc::clone(&self.inputs));
                let (model, client) = (model.to_owned(), client.clone());
                let (send, receive) = oneshot::channel();
                tokio::spawn(async move {
                    // Nobody waits any more when the candidate was replaced meanwhile.
                    let _ = send.send(compare(runtime, inputs, model, client, url).await);
                });
                self.running = Some((key, receive));
                Parity::Unknown
            }
        }
    }

    fn settle(&mut self, key: Key, result: Parity) -> Parity {
        self.running = None;
        self.result = Some((key, result.clone()));
        result
    }
}

async fn compare(
    runtime: Arc<Runtime>,
    inputs: Arc<Vec<Vec<(String, Tensor)>>>,
    model: PathBuf,
    client: reqwest::Client,
    url: String,
) -> Result<()> {
    let expected = {
        let inputs = Arc::clone(&inputs);
        tokio::task::spawn_blocking(move || offline(&runtime, &model, &inputs)).await??
    };
    for (row, (input, expected)) in inputs.iter().zip(expected).enumerate() {
        let (header, body) = encode(input, None, None)?;
        let answer = client
            .post(&url)
            .header("inference-header-content-length", header)
            .header("content-type", "application/octet-stream")
            .body(body)
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .with_context(|| format!("golden input {row}"))?;
        let answer: Answer = answer.json().await.with_context(|| format!("the answer to golden input {row}"))?;
        for (name, values) in &expected {
            let Some(served) = answer.outputs.iter().find(|output| output.name == *name) else {
                bail!("the answer to golden input {row} lacks the output `{name}`");
            };
            check(name, row, values, &served.data)?;
        }
    }
    Ok(())
}

/// One row's outputs by name.
type Outputs = Vec<(String, Vec<f32>)>;

/// What the file gives for each row; outputs that are not `float` are not compared.
fn offline(runtime: &Runtime, model: &Path, inputs: &[Vec<(String, Tensor)>]) -> Result<Vec<Outputs>> {
    let mut session = runtime.session_from_file(model, &SessionOptions::default())?;
    let names: Vec<String> = session.outputs().iter().map(|port| port.name.clone()).collect();
    let mut expected = Vec::with_capacity(inputs.len());
    for input in inputs {
        let feed: Vec<(&str, &Tensor)> = input.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let outputs = session.run(&feed, None)?;
        let floats = names.iter().zip(&outputs);
        let floats = floats.filter_map(|(name, output)| Some((name.clone(), output.values::<f32>()?.to_vec())));
        expected.push(floats.collect());
    }
    Ok(expected)
}

fn check(name: &str, row: usize, expected: &[f32], served: &[f32]) -> Result<()> {
    if expected.len() != served.len() {
        bail!("output `{name}` of golden input {row} has {} values, expected {}", served.len(), expected.len());
    }
    let scale = expected.iter().fold(f32::MIN_POSITIVE, |largest, value| largest.max(value.abs()));
    let worst = expected.iter().zip(served).map(|(a, b)| (a - b).abs() / scale).fold(0.0, f32::max);
    // Written so that NaN fails.
    if worst <= TOLERANCE && served.iter().all(|value| value.is_finite()) {
        return Ok(());
    }
    bail!(
        "output `{name}` of golden input {row} differs by {worst:.3} of its largest value, at most {TOLERANCE} expected"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rounding_difference_passes_and_another_answer_does_not() {
        assert!(check("y", 0, &[1.0, -4.0], &[1.001, -4.001]).is_ok());
        assert!(check("y", 0, &[1.0, -4.0], &[4.0, -1.0]).is_err());
        assert!(check("y", 0, &[1.0, -4.0], &[f32::NAN, -4.0]).is_err());
        assert!(check("y", 0, &[1.0, -4.0], &[1.0]).is_err());
    }
}
