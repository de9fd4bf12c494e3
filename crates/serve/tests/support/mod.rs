//! Real servers on the loopback, with the digits model.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on says why")]

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use reqwest::{Client, Response};
use sentei_runtime::{Runtime, locate};
use sentei_serve::{Role, ServeError, Server, ServerConfig, Task, TokenKey};
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};

pub fn runtime() -> Arc<Runtime> {
    let library = locate(None).expect("an ONNX Runtime, or pip to fetch one with");
    Runtime::load(&library).expect("loads")
}

pub fn digits() -> PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/digits/digits_resnet20.onnx").into()
}

/// A server of digits, version `v-<role>`, that reads classes off its logits.
pub fn config(role: Role) -> ServerConfig {
    ServerConfig {
        task: Task::Classification { output: None },
        slices: vec!["round".into(), "straight".into()],
        key: TokenKey::from([7; 32]),
        ..ServerConfig::new(runtime(), digits(), "digits", &format!("v-{role}"), role)
    }
}

pub struct Running {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), ServeError>>,
}

/// A server that is ready.
pub async fn start(config: ServerConfig) -> Running {
    let running = start_unready(config).await;
    for _ in 0..200 {
        if running.get("/v2/health/ready").await.status() == 200 {
            return running;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("the server did not become ready")
}

pub async fn start_unready(config: ServerConfig) -> Running {
    let server = Server::bind(config).await.expect("a free port");
    let address = server.address();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(server.run(async { drop(stopped.await) }));
    Running { address, stop: Some(stop), task }
}

impl Running {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn get(&self, path: &str) -> Response {
        Client::new().get(self.url(path)).send().await.expect("an answer")
    }

    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        read(Client::new().post(self.url(path)).json(body).send().await.expect("an answer")).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        read(Client::new().put(self.url(path)).json(body).send().await.expect("an answer")).await
    }

    pub async fn infer(&self, body: &Value) -> (u16, Value) {
        self.post("/v2/models/digits/infer", body).await
    }

    pub async fn metrics(&self) -> String {
        self.get("/metrics").await.text().await.expect("text")
    }

    /// The value of the one series of `name` whose labels hold all of `labels`; 0 when there is none.
    pub async fn count(&self, name: &str, labels: &[&str]) -> f64 {
        count(&self.metrics().await, name, labels)
    }

    pub fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    pub async fn stop(mut self) -> Result<(), ServeError> {
        self.begin_stop();
        self.task.await.expect("no panic")
    }

    pub async fn ended(self) -> Result<(), ServeError> {
        self.task.await.expect("no panic")
    }
}

pub async fn read(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let body = response.bytes().await.expect("a body");
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// The sum of the series of `name` whose labels hold all of `labels`.
pub fn count(page: &str, name: &str, labels: &[&str]) -> f64 {
    let prefix = format!("{name}{{");
    page.lines()
        .filter(|line| line.starts_with(&prefix) && labels.iter().all(|label| line.contains(label)))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// An image of 784 pixels; different seeds, different images.
pub fn pixels(seed: usize) -> Vec<f32> {
    (0..784).map(|i| ((i * 37 + seed * 911) % 255) as f32 / 127.0 - 1.0).collect()
}

/// An inference request for a batch of `rows` images.
pub fn request(rows: usize) -> Value {
    let data: Vec<f32> = (0..rows).flat_map(pixels).collect();
    json!({ "inputs": [{ "name": "input", "shape": [rows, 1, 28, 28], "datatype": "FP32", "data": data }] })
}

/// The class with the highest score in each row of an answer.
pub fn classes(answer: &Value) -> Vec<usize> {
    let data = answer["outputs"][0]["data"].as_array().expect("scores");
    let scores: Vec<f64> = data.iter().map(|score| score.as_f64().expect("a number")).collect();
    let best = |row: &[f64]| (0..10).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("ten classes");
    scores.chunks(10).map(best).collect()
}
