//! Labels come back: `POST /v2/models/{model}/feedback` with the token of an answer and what the truth was.

use std::sync::{Arc, PoisonError};

use axum::{
    Json,
    extract::{Path, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use crate::{
    app::App,
    error::Refusal,
    infer::read_body,
    models::ModelPath,
    oip::Labels,
    replay::Admission,
    token::{self, Claims, TokenError},
};

/// Longest feedback body, in bytes: a token and its labels, for a batch of thousands.
const BODY: usize = 1 << 20;

#[derive(Deserialize)]
struct Feedback {
    token: String,
    label: Labels,
}

#[derive(Serialize)]
struct Receipt {
    rows: usize,
    correct: usize,
}

pub(crate) async fn feedback(
    State(app): State<Arc<App>>,
    Path(path): Path<ModelPath>,
    request: Request,
) -> Result<Response, Refusal> {
    app.check_name(&path.model, None)?;
    let body = read_body(request.into_body(), BODY).await?;
    match judge(&app, &body, token::now()) {
        Ok(receipt) => Ok(Json(receipt).into_response()),
        Err((reason, refusal)) => {
            app.metrics.feedback_rejected(reason);
            Err(refusal)
        }
    }
}

/// The reason's word, for the metric, and the refusal.
type Rejected = (&'static str, Refusal);

fn judge(app: &App, body: &[u8], now: u64) -> Result<Receipt, Rejected> {
    let feedback: Feedback = serde_json::from_slice(body).map_err(|error| {
        let message = format!("the body is not {{\"token\": …, \"label\": …}}: {error}");
        ("malformed", Refusal::bad_request(message))
    })?;
    let claims =
        token::verify(&app.key, &feedback.token, now, app.limits.feedback_age).map_err(|error| match error {
            TokenError::Forged => ("forged", Refusal::new(StatusCode::UNAUTHORIZED, error)),
            TokenError::Expired => ("expired", Refusal::new(StatusCode::GONE, error)),
            TokenError::Future => ("future", Refusal::bad_request(error)),
        })?;
    check_origin(app, &claims)?;
    let rows = claims.predicted.len();
    let labels = feedback.label.rows(rows).ok_or_else(|| {
        let message = format!("{} labels for an answer of {rows} rows; send one a row", feedback.label.len());
        ("labels", Refusal::bad_request(message))
    })?;
    // Last, so that a caller who got the labels wrong can send them again.
    match app.replay.lock().unwrap_or_else(PoisonError::into_inner).admit(claims.issued, claims.serial) {
        Admission::New => {}
        Admission::Replayed => {
            return Err(("replayed", Refusal::new(StatusCode::CONFLICT, "this token was counted already")));
        }
        Admission::Forgotten => {
            let message = "the token is older than what the server remembers; send labels sooner, or raise its cache";
            return Err(("expired", Refusal::new(StatusCode::GONE, message)));
        }
    }
    let slice: Arc<str> = claims.slice.as_str().into();
    let judged = labels.iter().enumerate().filter_map(|(row, label)| claims.predicted.is_correct(row, (*label)?));
    let mut receipt = Receipt { rows: 0, correct: 0 };
    for correct in judged {
        app.metrics.judged(&claims.version, claims.role, &slice, correct);
        receipt.rows += 1;
        receipt.correct += usize::from(correct);
    }
    Ok(receipt)
}

/// A token may come from the other side of the comparison, or from an earlier rollout: it is counted under its own version.
/// Versions are label values, and only those that this key signed within the token's lifetime can come, so they are few.
fn check_origin(app: &App, claims: &Claims) -> Result<(), Rejected> {
    if claims.model != app.model {
        let message = format!("the token is of model `{}`; this server has `{}`", claims.model, app.model);
        return Err(("other_model", Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, message)));
    }
    Ok(())
}
