//! Inference: from a request's bytes to an answer's, counted whatever happens.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes},
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use sentei_runtime::Tensor;

use crate::{
    app::{App, Loaded},
    error::Refusal,
    models::ModelPath,
    oip::{Encoded, HEADER_LENGTH, InferRequest, Reply},
    shadow::Pair,
    token::{self, Claims},
};

/// The status under which an inference is counted whose client left before the answer (nginx's convention).
pub(crate) const CLIENT_LEFT: u16 = 499;

pub(crate) async fn infer(State(app): State<Arc<App>>, Path(path): Path<ModelPath>, request: Request) -> Response {
    if let Err(refusal) = app.check_name(&path.model, path.version.as_deref()) {
        return refusal.into_response();
    }
    let counted = Counted::new(Arc::clone(&app));
    let limit = app.limits.request;
    let answer = tokio::time::timeout(limit, answer(&app, request, Arc::clone(&counted.slice))).await;
    let response = match answer {
        Ok(Ok(encoded)) => respond(encoded),
        Ok(Err(refusal)) => refusal.into_response(),
        Err(_) => App::timed_out(limit).into_response(),
    };
    counted.finish(response.status());
    response
}

async fn answer(app: &Arc<App>, request: Request, slice: Arc<OnceLock<Arc<str>>>) -> Result<Encoded, Refusal> {
    app.loaded()?;
    let (parts, body) = request.into_parts();
    let header = header_length(&parts.headers)?;
    let body = read_body(body, app.limits.body).await?;
    app.suffer().await?;
    // Reading numbers and running the model both keep a processor busy: one hop off the event loop for all of it.
    app.compute(move |app, loaded| compute(app, loaded, &body, header, &slice)).await
}

fn compute(
    app: &App,
    loaded: &Loaded,
    body: &[u8],
    header: Option<usize>,
    slice: &OnceLock<Arc<str>>,
) -> Result<Encoded, Refusal> {
    let request = InferRequest::parse(body, header).map_err(Refusal::bad_request)?;
    let slice = slice.get_or_init(|| app.slices.label(request.slice.as_deref()));
    let (names, tensors) = run(loaded, &request)?;
    let scores = loaded.reader.as_ref().and_then(|reader| {
        let wanted = loaded.pool.outputs()[reader.output].name.as_str();
        let at = names.iter().position(|name| *name == wanted)?;
        Some((wanted, &tensors[at], reader.read(&tensors[at])?))
    });
    let token = match &scores {
        Some((_, _, predicted)) => Some(sign(app, slice, predicted.clone())?),
        None => None,
    };
    let binary = |i: usize| request.outputs.as_ref().map_or(request.binary, |wanted| wanted[i].binary);
    let shown = request.outputs.as_ref().map_or(tensors.len(), Vec::len);
    let outputs = names.iter().zip(&tensors).take(shown).enumerate();
    let encoded = Reply {
        model: &app.model,
        version: &app.version,
        id: request.id.as_deref(),
        token: token.as_deref(),
        outputs: outputs.map(|(i, (name, tensor))| (*name, tensor, binary(i))).collect(),
    }
    .encode()
    .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error))?;
    if let Some((name, output, _)) = scores
        && app.sampler.wants()
    {
        let (name, output) = (name.to_owned(), output.clone());
        let pair =
            Pair { inputs: request.inputs, output: (name, output), slice: request.slice, labels: request.labels };
        app.sampler.offer(pair, &app.metrics);
    }
    Ok(encoded)
}

/// Runs the model for the outputs asked for, and after them the one that holds the predictions, when it is not among
/// them.
pub(crate) fn run<'a>(loaded: &'a Loaded, request: &'a InferRequest) -> Result<(Vec<&'a str>, Vec<Tensor>), Refusal> {
    let ports = loaded.pool.outputs();
    let mut names: Vec<&str> = match &request.outputs {
        Some(wanted) => wanted.iter().map(|wanted| wanted.name.as_str()).collect(),
        None => ports.iter().map(|port| port.name.as_str()).collect(),
    };
    if let Some(reader) = &loaded.reader {
        let name = ports[reader.output].name.as_str();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let inputs: Vec<(&str, &Tensor)> = request.inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let tensors = loaded.pool.run(&inputs, Some(&names)).map_err(|error| {
        let status = if error.is_callers() { StatusCode::BAD_REQUEST } else { StatusCode::INTERNAL_SERVER_ERROR };
        Refusal::new(status, error)
    })?;
    Ok((names, tensors))
}

fn sign(app: &App, slice: &str, predicted: crate::predict::Predicted) -> Result<String, Refusal> {
    let claims = Claims {
        model: app.model.clone(),
        version: app.version.clone(),
        role: app.role,
        slice: slice.to_owned(),
        issued: token::now(),
        serial: token::serial(),
        predicted,
    };
    token::sign(&app.key, &claims).map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error))
}

fn respond(encoded: Encoded) -> Response {
    let kind = if encoded.header.is_some() { "application/octet-stream" } else { "application/json" };
    let mut response = Response::new(Body::from(encoded.body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(length) = encoded.header {
        response.headers_mut().insert(HEADER_LENGTH, HeaderValue::from(length));
    }
    response
}

/// The length of the JSON part, where the binary extension is used.
pub(crate) fn header_length(headers: &HeaderMap) -> Result<Option<usize>, Refusal> {
    if let Some(encoding) = headers.get("content-encoding").filter(|value| value.as_bytes() != b"identity") {
        let message = format!("content-encoding {encoding:?} is not supported; send the body as it is");
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let Some(value) = headers.get(HEADER_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    length
        .map(Some)
        .ok_or_else(|| Refusal::bad_request(format!("{HEADER_LENGTH} is {value:?}, expected a number of bytes")))
}

/// The whole body, when it is at most `limit` bytes.
pub(crate) async fn read_body(body: Body, limit: usize) -> Result<Bytes, Refusal> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let message =
                format!("the body is larger than {limit} bytes; send smaller batches, or raise the server's limit");
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message))
        }
        Err(error) => Err(Refusal::bad_request(format!("the body broke off: {error}"))),
    }
}

/// Counts an inference exactly once, also when its client leaves and the handler is dropped.
struct Counted {
    app: Arc<App>,
    arrived: Instant,
    /// Known once the body is read.
    slice: Arc<OnceLock<Arc<str>>>,
    done: bool,
}

impl Counted {
    fn new(app: Arc<App>) -> Self {
        Self { app, arrived: Instant::now(), slice: Arc::new(OnceLock::new()), done: false }
    }

    fn finish(mut self, status: StatusCode) {
        self.done = true;
        self.count(status.as_u16());
    }

    fn count(&self, code: u16) {
        let took: Duration = self.arrived.elapsed();
        let slice = self.slice.get().cloned().unwrap_or_else(|| self.app.slices.label(None));
        self.app.metrics.answered(&slice, code, took);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if !self.done {
            self.count(CLIENT_LEFT);
        }
    }
}
