//! The protocol, over real HTTP.

#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]
#![allow(clippy::float_cmp, reason = "counts are whole numbers")]

mod support;

use std::{num::NonZeroUsize, os::unix::process::ExitStatusExt, time::Duration};

use reqwest::Client;
use sentei_serve::{Fault, Limits, Role, Server, ServerConfig, Task, WarmUp, run};
use serde_json::{Value, json};
use support::{Running, config, pixels, read, request, start, start_unready};

async fn baseline() -> Running {
    start(config(Role::Baseline)).await
}

/// The request of [`request`], its tensor as bytes.
fn binary(rows: usize, outputs: &Value) -> (String, Vec<u8>) {
    let bytes: Vec<u8> = (0..rows).flat_map(pixels).flat_map(f32::to_le_bytes).collect();
    let header = json!({
        "inputs": [{ "name": "input", "shape": [rows, 1, 28, 28], "datatype": "FP32",
                     "parameters": { "binary_data_size": bytes.len() } }],
        "outputs": outputs,
    })
    .to_string();
    let length = header.len().to_string();
    (length, [header.into_bytes(), bytes].concat())
}

#[tokio::test]
async fn health_and_metadata_say_what_is_served() {
    let server = baseline().await;
    let body = |path: &'static str| async { read(server.get(path).await).await };
    assert_eq!(body("/v2/health/live").await, (200, json!({ "live": true })));
    assert_eq!(body("/v2/health/ready").await, (200, json!({ "ready": true })));
    assert_eq!(body("/v2/models/digits/ready").await, (200, json!({ "name": "digits", "ready": true })));
    assert_eq!(body("/v2").await.1["extensions"], json!(["binary_tensor_data"]));
    let expected = json!({
        "name": "digits", "versions": ["v-baseline"], "platform": "onnx_onnxruntime",
        "inputs": [{ "name": "input", "datatype": "FP32", "shape": [-1, 1, 28, 28] }],
        "outputs": [{ "name": "logits", "datatype": "FP32", "shape": [-1, 10] }],
    });
    assert_eq!(body("/v2/models/digits").await, (200, expected.clone()));
    assert_eq!(body("/v2/models/digits/versions/v-baseline").await, (200, expected));
    let (status, error) = body("/v2/models/digits/versions/v9/ready").await;
    assert_eq!(
        (status, &error["error"]),
        (404, &json!("unknown version `v9` of `digits`; this server has `v-baseline`"))
    );
    let (status, error) = body("/v2/models/letters").await;
    assert_eq!((status, &error["error"]), (404, &json!("unknown model `letters`; this server has `digits`")));
    assert_eq!(body("/elsewhere").await.0, 404);
    assert_eq!(body("/v2/models/digits/infer").await.0, 405);
}

#[tokio::test]
async fn json_and_bytes_give_the_same_answer() {
    let server = baseline().await;
    let (status, answer) = server.infer(&request(3)).await;
    assert_eq!(
        (status, &answer["model_name"], &answer["model_version"]),
        (200, &json!("digits"), &json!("v-baseline"))
    );
    assert_eq!((&answer["outputs"][0]["name"], &answer["outputs"][0]["shape"]), (&json!("logits"), &json!([3, 10])));
    let as_json: Vec<f32> = serde_json::from_value(answer["outputs"][0]["data"].clone()).expect("numbers");

    let (length, body) = binary(3, &json!([{ "name": "logits", "parameters": { "binary_data": true } }]));
    let response = Client::new()
        .post(server.url("/v2/models/digits/versions/v-baseline/infer"))
        .header("inference-header-content-length", length)
        .body(body)
        .send()
        .await
        .expect("an answer");
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"application/octet-stream".parse().expect("a value"))
    );
    let length: usize =
        response.headers()["inference-header-content-length"].to_str().expect("text").parse().expect("a number");
    let body = response.bytes().await.expect("a body");
    let (header, tail) = body.split_at(length);
    let header: Value = serde_json::from_slice(header).expect("json");
    assert_eq!(header["outputs"][0]["parameters"]["binary_data_size"], json!(120));
    let as_bytes: Vec<f32> = tail.chunks(4).map(|four| f32::from_le_bytes(four.try_into().expect("four"))).collect();
    assert_eq!(as_json, as_bytes);
}

#[tokio::test]
async fn nested_data_is_read_like_flat_data() {
    let server = baseline().await;
    let (_, flat) = server.infer(&request(2)).await;
    let rows: Vec<Value> = (0..2).map(|row| json!([pixels(row).chunks(28).collect::<Vec<_>>()])).collect();
    let mut nested = request(2);
    nested["inputs"][0]["data"] = json!(rows);
    nested["id"] = json!("seven");
    let (status, nested) = server.infer(&nested).await;
    assert_eq!((status, &nested["id"], &nested["outputs"]), (200, &json!("seven"), &flat["outputs"]));
}

#[tokio::test]
async fn a_bad_request_is_400_with_what_was_found_and_expected_and_is_counted() {
    let server = baseline().await;
    let with = |pointer: &str, value: Value| {
        let mut body = request(1);
        *body.pointer_mut(pointer).expect("there") = value;
        body
    };
    for (body, expected) in [
        (with("/inputs/0/shape", json!([784])), "input `input` has shape [784], expected [?, 1, 28, 28]"),
        (
            with("/inputs/0/shape", json!([2, 1, 28, 28])),
            "input `input`: shape [2, 1, 28, 28] of FP32 holds 1568 values, but 784 were given",
        ),
        (with("/inputs/0/datatype", json!("FP64")), "input `input` is double, expected float"),
        (
            with("/inputs/0/datatype", json!("BYTES")),
            "input `input`: datatype `BYTES` is not supported; use FP32, FP64, FP16, INT64..INT8, UINT64..UINT8 or BOOL",
        ),
        (with("/inputs/0/name", json!("x")), "unknown input `x`; the model has `input`"),
        (with("/inputs/0/data/5", json!("five")), "input `input`: value 5 is `\"five\"`, which is not FP32"),
        (with("/inputs", json!([])), "input `input` is missing; expected float of shape [?, 1, 28, 28]"),
        (
            json!({ "outputs": [{ "name": "y" }], "inputs": request(1)["inputs"] }),
            "unknown output `y`; the model has `logits`",
        ),
    ] {
        assert_eq!(server.infer(&body).await, (400, json!({ "error": expected })));
    }
    let url = server.url("/v2/models/digits/infer");
    let cut = Client::new().post(&url).body("{\"inputs\": [").send().await.expect("an answer");
    let (status, error) = read(cut).await;
    assert_eq!(status, 400);
    assert!(error["error"].as_str().expect("a message").starts_with("the body is not an inference request: EOF"));
    let odd =
        Client::new().post(&url).header("inference-header-content-length", "many").send().await.expect("an answer");
    assert_eq!(odd.status(), 400);
    let zipped = Client::new().post(&url).header("content-encoding", "gzip").send().await.expect("an answer");
    assert_eq!(zipped.status(), 415);
    assert_eq!(server.count("sentei_requests_total", &["code=\"400\""]).await, 10.0);
    assert_eq!(server.count("sentei_requests_total", &["code=\"415\""]).await, 1.0);
    assert_eq!(server.count("sentei_request_duration_seconds_count", &["role=\"baseline\""]).await, 11.0);
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let limits = Limits { body: 1000, ..Limits::default() };
    let server = start(ServerConfig { limits, ..config(Role::Baseline) }).await;
    let (status, error) = server.infer(&request(1)).await;
    assert_eq!(status, 413);
    assert!(error["error"].as_str().expect("a message").starts_with("the body is larger than 1000 bytes"), "{error}");
    assert_eq!(server.count("sentei_requests_total", &["code=\"413\""]).await, 1.0);
}

#[tokio::test]
async fn slices_are_counted_by_configured_name_only() {
    let server = baseline().await;
    for slice in ["round", "round", "made-up"] {
        let mut body = request(1);
        body["parameters"] = json!({ "slice": slice });
        assert_eq!(server.infer(&body).await.0, 200);
    }
    server.infer(&request(1)).await;
    for (slice, expected) in [("round", 2.0), ("other", 1.0), ("", 1.0), ("made-up", 0.0)] {
        let labels = [&*format!("slice=\"{slice}\""), "code=\"200\"", "role=\"baseline\"", "version=\"v-baseline\""];
        assert_eq!(server.count("sentei_requests_total", &labels).await, expected, "{slice}");
    }
}

#[tokio::test]
async fn a_server_is_live_before_it_is_ready_and_refuses_inference_until_then() {
    let warm_up = WarmUp { runs: 300, inputs: None };
    let server = start_unready(ServerConfig { warm_up, ..config(Role::Baseline) }).await;
    assert_eq!(server.get("/v2/health/live").await.status(), 200);
    assert_eq!(server.get("/v2/health/ready").await.status(), 503);
    assert_eq!(server.infer(&request(1)).await, (503, json!({ "error": "model `digits` is still loading" })));
    assert_eq!(server.count("sentei_requests_total", &["code=\"503\""]).await, 1.0);
}

#[tokio::test]
async fn a_model_that_does_not_load_or_fit_its_task_ends_the_server_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let rubbish = folder.path().join("rubbish.onnx");
    std::fs::write(&rubbish, "not a model").expect("written");
    let message =
        |config: ServerConfig| async { run(config, std::future::pending()).await.expect_err("must end").to_string() };
    let error = message(ServerConfig { model_path: rubbish, ..config(Role::Baseline) }).await;
    assert!(error.contains("rubbish.onnx`: ONNX Runtime refused the model"), "{error}");
    let task = Task::Classification { output: Some("scores".into()) };
    let error = message(ServerConfig { task, ..config(Role::Baseline) }).await;
    assert!(error.ends_with("task output `scores` is not an output of the model, which has `logits`"), "{error}");
    let warm_up = WarmUp { runs: 1, inputs: Some(vec![]) };
    let error = message(ServerConfig { warm_up, ..config(Role::Baseline) }).await;
    assert!(error.contains("failed its warm-up: input `input` is missing"), "{error}");
}

#[tokio::test]
async fn a_port_in_use_is_an_error_with_a_way_out() {
    let first = baseline().await;
    let error =
        Server::bind(ServerConfig { listen: first.address, ..config(Role::Baseline) }).await.expect_err("in use");
    let error = error.to_string();
    assert!(error.starts_with(&format!("cannot listen on {}: ", first.address)), "{error}");
    assert!(error.ends_with("stop what uses the port, or choose another (0 takes a free one)"), "{error}");
}

#[tokio::test]
async fn the_address_file_holds_the_real_port() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("address");
    let server = start(ServerConfig { address_file: Some(file.clone()), ..config(Role::Baseline) }).await;
    assert_eq!(std::fs::read_to_string(file).expect("written"), server.address.to_string());
}

#[tokio::test]
async fn a_stopping_server_says_it_is_not_ready_then_finishes_what_is_under_way() {
    let limits = Limits { drain_delay: Duration::from_millis(300), ..Limits::default() };
    let fault = Some(Fault::Slow { added: Duration::from_millis(600) });
    let mut server = start(ServerConfig { limits, fault, ..config(Role::Baseline) }).await;
    let url = server.url("/v2/models/digits/infer");
    let under_way = tokio::spawn(async move { Client::new().post(url).json(&request(1)).send().await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.begin_stop();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.get("/v2/health/ready").await.status(), 503);
    assert_eq!(server.get("/v2/health/live").await.status(), 200);
    let answer = under_way.await.expect("no panic").expect("answered");
    assert_eq!(answer.status(), 200);
    server.ended().await.expect("drained");
}

#[tokio::test]
async fn draining_has_a_deadline() {
    let limits = Limits { drain: Duration::from_millis(100), ..Limits::default() };
    let fault = Some(Fault::Slow { added: Duration::from_secs(5) });
    let server = start(ServerConfig { limits, fault, ..config(Role::Baseline) }).await;
    let url = server.url("/v2/models/digits/infer");
    let under_way = tokio::spawn(async move { Client::new().post(url).json(&request(1)).send().await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let error = server.stop().await.expect_err("cut off").to_string();
    assert_eq!(error, "stopped with 1 requests unanswered after 0 s of draining");
    under_way.abort();
}

#[tokio::test]
async fn faults_slow_and_fail_as_told_and_are_counted() {
    let fault = Some(Fault::Error { after: 2 });
    let server = start(ServerConfig { fault, ..config(Role::Candidate) }).await;
    let mut codes = Vec::new();
    for _ in 0..4 {
        codes.push(server.infer(&request(1)).await.0);
    }
    assert_eq!(codes, [200, 200, 500, 500]);
    assert_eq!(server.count("sentei_requests_total", &["code=\"500\"", "role=\"candidate\""]).await, 2.0);
    let fault = Some(Fault::Slow { added: Duration::from_millis(80) });
    let server = start(ServerConfig { fault, ..config(Role::Candidate) }).await;
    server.infer(&request(1)).await;
    assert!(server.count("sentei_request_duration_seconds_sum", &[]).await >= 0.08);
}

#[tokio::test]
async fn a_crash_takes_the_whole_process_when_told() {
    const CHILD: &str = "SENTEI_TEST_CRASH";
    if std::env::var_os(CHILD).is_some() {
        let server = start(ServerConfig { fault: Some(Fault::Crash { after: 1 }), ..config(Role::Candidate) }).await;
        assert_eq!(server.infer(&request(1)).await.0, 200);
        server.infer(&request(1)).await;
        unreachable!("the second inference ends the process");
    }
    let this = std::env::current_exe().expect("known");
    let child = std::process::Command::new(this)
        .args(["--exact", "a_crash_takes_the_whole_process_when_told"])
        .env(CHILD, "1")
        .output()
        .expect("runs");
    assert_eq!(child.status.signal(), Some(6), "aborted: {}", String::from_utf8_lossy(&child.stdout));
}

#[tokio::test]
async fn an_inference_over_its_time_is_504_and_one_whose_client_left_is_499() {
    let limits = Limits { request: Duration::from_millis(150), ..Limits::default() };
    let fault = Some(Fault::Slow { added: Duration::from_secs(5) });
    let server = start(ServerConfig { limits, fault, ..config(Role::Baseline) }).await;
    let (status, error) = server.infer(&request(1)).await;
    assert_eq!((status, &error["error"]), (504, &json!("no answer within 150 ms; the model is too slow or too busy")));
    let impatient = Client::new().post(server.url("/v2/models/digits/infer")).timeout(Duration::from_millis(50));
    assert!(impatient.json(&request(1)).send().await.is_err());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(server.count("sentei_requests_total", &["code=\"504\""]).await, 1.0);
    assert_eq!(server.count("sentei_requests_total", &["code=\"499\""]).await, 1.0);
}

#[tokio::test]
async fn more_than_may_wait_are_turned_away_at_once() {
    let limits = Limits { waiting: 1, ..Limits::default() };
    let sessions = NonZeroUsize::MIN;
    let server = start(ServerConfig { limits, sessions, ..config(Role::Baseline) }).await;
    let client = Client::new();
    let many = (0..12).map(|_| {
        let (client, url) = (client.clone(), server.url("/v2/models/digits/infer"));
        tokio::spawn(
            async move { client.post(url).json(&request(16)).send().await.expect("an answer").status().as_u16() },
        )
    });
    let mut codes = Vec::new();
    for one in many.collect::<Vec<_>>() {
        codes.push(one.await.expect("no panic"));
    }
    assert!(codes.contains(&200) && codes.contains(&503), "{codes:?}");
    assert!(codes.iter().all(|code| [200, 503].contains(code)), "{codes:?}");
}
