//! One request on its way to a server and back.

use std::{
    error::Error,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::{
    HeaderMap, Request, Response, StatusCode, Uri,
    body::{Body as _, Incoming},
    header::{self, HeaderName, HeaderValue},
    http::request::Parts,
};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use super::{ROLE_HEADER, State, metrics::Code};
use crate::config::Role;

/// Longest wait for a server on this machine to accept a connection.
const CONNECT: Duration = Duration::from_secs(1);

/// How long an unused connection to a server is kept.
const IDLE: Duration = Duration::from_mins(1);

/// Answers are passed on as they come, or made here.
pub(super) type Answer = Response<Either<Incoming, Full<Bytes>>>;

/// Bodies small enough are kept, to be sent again; larger ones are passed on as they come.
type Outgoing = Either<Full<Bytes>, Limited<Incoming>>;

/// Keep-alive connections to both servers. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Client(legacy::Client<HttpConnector, Outgoing>);

impl Client {
    pub(super) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Self(client)
    }
}

/// Whether a path is a server's own page, or what servers say to each other: a user could steer a rollout with either.
fn is_internal(path: &str) -> bool {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    let first = segments.next().unwrap_or_default();
    matches!(first, "metrics" | "admin") || segments.next_back() == Some("shadow")
}

/// Forwards to the server whose turn it is.
pub(super) async fn forward(state: Arc<State>, client: Client, request: Request<Incoming>) -> Answer {
    if is_internal(request.uri().path()) {
        return refusal(StatusCode::NOT_FOUND, "this page is not served to users");
    }
    let arrived = Instant::now();
    let (role, target) = state.choose();
    let (parts, body) = request.into_parts();
    let small = body.size_hint().upper().is_some_and(|size| size <= state.limits.retry_buffer as u64);
    if !small {
        let body = Either::Right(Limited::new(body, state.limits.body));
        let counted = Counted::new(&state, role, arrived);
        return counted.finish(match send(&state, &client, target, &parts, body).await {
            Ok(answer) => answer.map(Either::Left),
            Err(failure) => failure.answer(role, state.limits.body),
        });
    }
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return refusal(StatusCode::BAD_REQUEST, &format!("the body broke off: {error}")),
    };
    let counted = Counted::new(&state, role, arrived);
    let answer = send(&state, &client, target, &parts, Either::Left(Full::from(body.clone()))).await;
    match answer {
        Ok(answer) => counted.finish(answer.map(Either::Left)),
        Err(Failure::NoAnswer(reason)) if role == Role::Candidate => {
            tracing::debug!(reason, "the candidate gave no answer; asking the baseline");
            counted.no_answer();
            let (role, target) = (Role::Baseline, state.targets().baseline);
            let counted = Counted::new(&state, role, Instant::now());
            counted.finish(match send(&state, &client, target, &parts, Either::Left(Full::from(body))).await {
                Ok(answer) => answer.map(Either::Left),
                Err(failure) => failure.answer(role, state.limits.body),
            })
        }
        Err(failure) => counted.finish(failure.answer(role, state.limits.body)),
    }
}

/// Why there is no answer to pass on.
enum Failure {
    /// Nothing came back: no connection, or it closed before an answer.
    NoAnswer(String),
    TimedOut(Duration),
    TooLarge,
}

impl Failure {
    fn answer(self, role: Role, limit: usize) -> Answer {
        match self {
            Self::NoAnswer(reason) => refusal(StatusCode::BAD_GATEWAY, &format!("the {role} gave no answer: {reason}")),
            Self::TimedOut(limit) => refusal(
                StatusCode::GATEWAY_TIMEOUT,
                &format!("the {role} gave no answer within {} ms", limit.as_millis()),
            ),
            Self::TooLarge => refusal(
                StatusCode::PAYLOAD_TOO_LARGE,
                &format!("the body is larger than {limit} bytes; send less at once"),
            ),
        }
    }
}

async fn send(
    state: &State,
    client: &Client,
    target: SocketAddr,
    parts: &Parts,
    body: Outgoing,
) -> Result<Response<Incoming>, Failure> {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let uri: Uri = format!("http://{target}{path}").parse().map_err(|_| Failure::NoAnswer("bad address".to_owned()))?;
    let mut request = Request::new(body);
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = end_to_end(&parts.headers);
    let limit = state.limits.request;
    match tokio::time::timeout(limit, client.0.request(request)).await {
        Ok(Ok(mut answer)) => {
            *answer.headers_mut() = end_to_end(answer.headers());
            Ok(answer)
        }
        Ok(Err(error)) if is_too_large(&error) => Err(Failure::TooLarge),
        Ok(Err(error)) => Err(Failure::NoAnswer(error.source().map_or(error.to_string(), ToString::to_string))),
        Err(_) => Err(Failure::TimedOut(limit)),
    }
}

fn is_too_large(error: &legacy::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if error.is::<LengthLimitError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// Headers that concern one connection only (RFC 9110, §7.6.1), which is not the one they go out on.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
];

fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    if let Some(named) = headers.get(header::CONNECTION).and_then(|value| value.to_str().ok()) {
        for name in named.split(',') {
            kept.remove(name.trim());
        }
    }
    for name in &HOP_BY_HOP {
        kept.remove(name);
    }
    kept
}

fn refusal(status: StatusCode, message: &str) -> Answer {
    let body = serde_json::json!({ "error": message }).to_string();
    let mut answer = Response::new(Either::Right(Full::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// Counts one attempt exactly once, also when the user leaves before its end.
struct Counted<'a> {
    state: &'a State,
    role: Role,
    begun: Instant,
    done: bool,
}

impl<'a> Counted<'a> {
    fn new(state: &'a State, role: Role, begun: Instant) -> Self {
        Self { state, role, begun, done: false }
    }

    fn finish(mut self, mut answer: Answer) -> Answer {
        self.done = true;
        self.state.metrics.ended(self.role, Code::Status(answer.status().as_u16()));
        self.state.metrics.took(self.role, self.begun.elapsed());
        answer.headers_mut().insert(ROLE_HEADER, HeaderValue::from_static(self.role.as_str()));
        answer
    }

    fn no_answer(mut self) {
        self.done = true;
        self.state.metrics.ended(self.role, Code::ConnectError);
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.state.metrics.ended(self.role, Code::Status(crate::infer::CLIENT_LEFT));
            self.state.metrics.took(self.role, self.begun.elapsed());
        }
    }
}
