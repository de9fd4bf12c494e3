//! Health and metadata: the protocol's read-only endpoints.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use sentei_runtime::Port;
use serde::{Deserialize, Serialize};

use crate::{app::App, error::Refusal, metrics::OPENMETRICS, oip::datatype};

/// `{model}` and, where the path has it, `{version}`.
#[derive(Debug, Deserialize)]
pub(crate) struct ModelPath {
    pub(crate) model: String,
    pub(crate) version: Option<String>,
}

#[derive(Serialize)]
struct ServerMetadata {
    name: &'static str,
    version: &'static str,
    extensions: [&'static str; 1],
}

pub(crate) async fn server_metadata() -> Response {
    let version = env!("CARGO_PKG_VERSION");
    Json(ServerMetadata { name: "sentei", version, extensions: ["binary_tensor_data"] }).into_response()
}

#[derive(Serialize)]
struct Live {
    live: bool,
}

pub(crate) async fn live() -> Response {
    Json(Live { live: true }).into_response()
}

#[derive(Serialize)]
struct Ready<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    ready: bool,
}

fn readiness(ready: bool, name: Option<&str>) -> Response {
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { name, ready })).into_response()
}

pub(crate) async fn ready(State(app): State<Arc<App>>) -> Response {
    readiness(app.is_ready(), None)
}

pub(crate) async fn model_ready(State(app): State<Arc<App>>, Path(path): Path<ModelPath>) -> Result<Response, Refusal> {
    app.check_name(&path.model, path.version.as_deref())?;
    Ok(readiness(app.is_ready(), Some(&app.model)))
}

#[derive(Serialize)]
struct ModelMetadata<'a> {
    name: &'a str,
    versions: [&'a str; 1],
    platform: &'static str,
    inputs: Vec<PortMetadata<'a>>,
    outputs: Vec<PortMetadata<'a>>,
}

#[derive(Serialize)]
struct PortMetadata<'a> {
    name: &'a str,
    datatype: &'static str,
    /// -1 is free.
    shape: Vec<i64>,
}

fn ports(ports: &[Port]) -> Vec<PortMetadata<'_>> {
    let dim = |dim: &Option<usize>| dim.and_then(|dim| i64::try_from(dim).ok()).unwrap_or(-1);
    ports
        .iter()
        .map(|port| PortMetadata {
            name: &port.name,
            datatype: datatype(port.dtype),
            shape: port.shape.as_slice().iter().map(dim).collect(),
        })
        .collect()
}

pub(crate) async fn model_metadata(
    State(app): State<Arc<App>>,
    Path(path): Path<ModelPath>,
) -> Result<Response, Refusal> {
    app.check_name(&path.model, path.version.as_deref())?;
    let pool = &app.loaded()?.pool;
    let metadata = ModelMetadata {
        name: &app.model,
        versions: [&app.version],
        platform: "onnx_onnxruntime",
        inputs: ports(pool.inputs()),
        outputs: ports(pool.outputs()),
    };
    Ok(Json(metadata).into_response())
}

pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    ([("content-type", OPENMETRICS)], app.metrics.encode()).into_response()
}

pub(crate) async fn not_found() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "no such endpoint; see the Open Inference Protocol, version 2, under /v2")
}

pub(crate) async fn method_not_allowed() -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this endpoint takes another method")
}
