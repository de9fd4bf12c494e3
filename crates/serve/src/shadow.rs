//! Shadow pairs: the baseline sends a share of its inputs and answers to the candidate, which answers too and compares.
//!
//! All of it is off the request's path: a full queue drops pairs, and a slow or dead candidate is felt by nobody.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::{Path, Request, State},
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use sentei_runtime::Tensor;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc};

use crate::{
    app::{App, Loaded},
    config::{Percent, PercentError},
    error::Refusal,
    infer::{header_length, read_body, run},
    metrics::Metrics,
    models::ModelPath,
    oip::{HEADER_LENGTH, InferRequest, Labels, encode_shadow},
    share::Share,
};

/// Pairs on their way to the candidate at once.
const IN_FLIGHT: usize = 4;

/// Longest a candidate may take over a pair.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An input and what the baseline answered.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) inputs: Vec<(String, Tensor)>,
    pub(crate) output: (String, Tensor),
    pub(crate) slice: Option<String>,
    pub(crate) labels: Option<Labels>,
}

/// Decides which inferences become pairs, and queues them.
#[derive(Debug)]
pub(crate) struct Sampler {
    setting: RwLock<Setting>,
    share: Share,
    queue: mpsc::Sender<Pair>,
}

#[derive(Debug, Clone, Default)]
struct Setting {
    percent: Percent,
    target: Option<Uri>,
}

impl Sampler {
    /// A sampler that is off, and the end of its queue.
    pub(crate) fn new(queue: usize) -> (Self, mpsc::Receiver<Pair>) {
        let (queue, pairs) = mpsc::channel(queue.max(1));
        (Self { setting: RwLock::default(), share: Share::default(), queue }, pairs)
    }

    fn setting(&self) -> Setting {
        self.setting.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the inference at hand should become a pair.
    pub(crate) fn wants(&self) -> bool {
        let percent = self.setting.read().unwrap_or_else(PoisonError::into_inner).percent;
        percent > Percent::ZERO && self.share.choose(percent)
    }

    /// Queues a pair, or drops and counts it.
    pub(crate) fn offer(&self, pair: Pair, metrics: &Metrics) {
        if self.queue.try_send(pair).is_err() {
            metrics.shadow_dropped("queue_full");
        }
    }
}

/// Sends pairs to the candidate for as long as the server lives.
pub(crate) async fn send_pairs(app: Arc<App>, mut pairs: mpsc::Receiver<Pair>) {
    let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let in_flight = Arc::new(Semaphore::new(IN_FLIGHT));
    while let Some(pair) = pairs.recv().await {
        // Turned off since the pair was queued.
        let Some(target) = app.sampler.setting().target else { continue };
        let Ok(permit) = Arc::clone(&in_flight).acquire_owned().await else { return };
        let (app, client) = (Arc::clone(&app), client.clone());
        tokio::spawn(async move {
            let reason = match tokio::time::timeout(TIMEOUT, send(&client, &target, &app.model, pair)).await {
                Ok(Ok(())) => None,
                Ok(Err(reason)) => Some(reason),
                Err(_) => Some("timeout"),
            };
            if let Some(reason) = reason {
                app.metrics.shadow_dropped(reason);
            }
            drop(permit);
        });
    }
}

async fn send(
    client: &Client<HttpConnector, Full<Bytes>>,
    target: &Uri,
    model: &str,
    pair: Pair,
) -> Result<(), &'static str> {
    let (name, output) = &pair.output;
    let encoded = encode_shadow(&pair.inputs, (name, output), pair.slice.as_deref(), pair.labels.as_ref())
        .map_err(|_| "unsendable")?;
    let mut request = hyper::Request::post(format!("{target}v2/models/{model}/shadow"));
    if let Some(length) = encoded.header {
        request = request.header(HEADER_LENGTH, length);
    }
    let request = request.body(Full::from(encoded.body)).map_err(|_| "unsendable")?;
    let answer = client.request(request).await.map_err(|_| "unreachable")?;
    let status = answer.status();
    // Read to the end, so that the connection can be used again.
    answer.into_body().collect().await.map_err(|_| "unreachable")?;
    if status.is_success() { Ok(()) } else { Err("refused") }
}

#[derive(Serialize)]
struct Compared {
    rows: usize,
    agree: usize,
}

/// `POST /v2/models/{model}/shadow`: answers a pair's input and counts whether the answers agree.
pub(crate) async fn compare(
    State(app): State<Arc<App>>,
    Path(path): Path<ModelPath>,
    request: Request,
) -> Result<Response, Refusal> {
    app.check_name(&path.model, None)?;
    let limit = app.limits.request;
    let compared = tokio::time::timeout(limit, answer(&app, request)).await;
    let compared = compared.unwrap_or_else(|_| Err(App::timed_out(limit)));
    compared.map(|compared| Json(compared).into_response()).inspect_err(|refusal| {
        app.metrics.shadow_error(refusal.status.as_u16());
    })
}

async fn answer(app: &Arc<App>, request: Request) -> Result<Compared, Refusal> {
    app.loaded()?;
    let (parts, body) = request.into_parts();
    let header = header_length(&parts.headers)?;
    let body = read_body(body, app.limits.body).await?;
    app.compute(move |app, loaded| compute(app, loaded, &body, header)).await
}

fn compute(app: &App, loaded: &Loaded, body: &[u8], header: Option<usize>) -> Result<Compared, Refusal> {
    let unprocessable = |message: &str| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, message);
    let reader = loaded.reader.as_ref().ok_or_else(|| unprocessable("this server has no task; nothing to compare"))?;
    let request = InferRequest::parse(body, header).map_err(Refusal::bad_request)?;
    let name = loaded.pool.outputs()[reader.output].name.as_str();
    let baseline = request.baseline_outputs.iter().find(|(output, _)| output == name).map(|(_, tensor)| tensor);
    let baseline =
        baseline.ok_or_else(|| unprocessable("the baseline's output is not the one this server's task reads"))?;

    let begun = Instant::now();
    let (names, tensors) = run(loaded, &request)?;
    app.metrics.shadow_took(begun.elapsed());
    let own = names.iter().position(|output| *output == name).map(|at| &tensors[at]);
    let unreadable = || unprocessable("the outputs do not hold what the task reads");
    let own = own.and_then(|own| reader.read(own)).ok_or_else(unreadable)?;
    let theirs = reader.read(baseline).ok_or_else(unreadable)?;
    if own.len() != theirs.len() {
        return Err(unprocessable("the two models answered different numbers of rows"));
    }
    let labels = request.labels.as_ref().and_then(|labels| labels.rows(own.len()));
    let slice = app.slices.label(request.slice.as_deref());
    let mut compared = Compared { rows: own.len(), agree: 0 };
    for row in 0..own.len() {
        let agree = theirs.agrees(&own, row).ok_or_else(unreadable)?;
        let label = labels.as_ref().and_then(|labels| labels[row]);
        let known = label.and_then(|label| Some((theirs.is_correct(row, label)?, own.is_correct(row, label)?)));
        app.metrics.paired(&slice, agree, known);
        compared.agree += usize::from(agree);
    }
    Ok(compared)
}

/// The sampler's setting, as `GET` shows it and `PUT` takes it.
#[derive(Debug, Serialize, Deserialize)]
struct SettingJson {
    percent: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

/// `GET /admin/shadow`.
pub(crate) async fn setting(State(app): State<Arc<App>>) -> Response {
    let setting = app.sampler.setting();
    let target = setting.target.map(|target| target.to_string());
    Json(SettingJson { percent: setting.percent.get(), target }).into_response()
}

/// `PUT /admin/shadow`: from now on sample `percent` of the inferences for the server at `target`.
pub(crate) async fn set(State(app): State<Arc<App>>, request: Request) -> Result<StatusCode, Refusal> {
    let body = read_body(request.into_body(), 1 << 16).await?;
    let json: SettingJson = serde_json::from_slice(&body).map_err(|error| {
        Refusal::bad_request(format!("the body is not {{\"percent\": 0..100, \"target\": \"http://…\"}}: {error}"))
    })?;
    let percent = Percent::try_from(json.percent).map_err(|error: PercentError| Refusal::bad_request(error))?;
    let target = json.target.as_deref().map(target).transpose()?;
    if percent > Percent::ZERO {
        if target.is_none() {
            return Err(Refusal::bad_request("percent is above 0, so a target is needed"));
        }
        if app.loaded()?.reader.is_none() {
            let message = "this server has no task, so there is nothing to compare; start it with one";
            return Err(Refusal::new(StatusCode::CONFLICT, message));
        }
    }
    *app.sampler.setting.write().unwrap_or_else(PoisonError::into_inner) = Setting { percent, target };
    Ok(StatusCode::NO_CONTENT)
}

fn target(text: &str) -> Result<Uri, Refusal> {
    let wrong = || Refusal::bad_request(format!("target is `{text}`, expected http://HOST:PORT"));
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let plain = uri.scheme_str() == Some("http") && uri.path() == "/" && uri.query().is_none();
    if plain { Ok(uri) } else { Err(wrong()) }
}
