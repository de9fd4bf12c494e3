//! Labels come back by token.

#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]
#![allow(clippy::float_cmp, reason = "counts are whole numbers")]

mod support;

use std::time::Duration;

use sentei_serve::{Limits, Role, ServerConfig, TokenKey};
use serde_json::{Value, json};
use support::{Running, classes, config, request, start};

async fn answer(server: &Running, rows: usize) -> (String, Vec<usize>) {
    let mut body = request(rows);
    body["parameters"] = json!({ "slice": "round" });
    let (status, answer) = server.infer(&body).await;
    assert_eq!(status, 200);
    let token = answer["parameters"]["feedback_token"].as_str().expect("a token").to_owned();
    (token, classes(&answer))
}

async fn feedback(server: &Running, token: &str, label: &Value) -> (u16, Value) {
    server.post("/v2/models/digits/feedback", &json!({ "token": token, "label": label })).await
}

#[tokio::test]
async fn a_label_counts_as_correct_or_incorrect_for_the_slice_of_its_request() {
    let server = start(config(Role::Baseline)).await;
    let (token, classes) = answer(&server, 1).await;
    assert_eq!(feedback(&server, &token, &json!(classes[0])).await, (200, json!({ "rows": 1, "correct": 1 })));
    let (token, classes) = answer(&server, 1).await;
    assert_eq!(
        feedback(&server, &token, &json!((classes[0] + 1) % 10)).await,
        (200, json!({ "rows": 1, "correct": 0 }))
    );
    for outcome in ["correct", "incorrect"] {
        let labels =
            [&*format!("outcome=\"{outcome}\""), "slice=\"round\"", "role=\"baseline\"", "version=\"v-baseline\""];
        assert_eq!(server.count("sentei_feedback_total", &labels).await, 1.0);
    }
}

#[tokio::test]
async fn a_batch_takes_a_label_a_row_and_null_where_none_is_known() {
    let server = start(config(Role::Baseline)).await;
    let (token, classes) = answer(&server, 3).await;
    let (status, error) = feedback(&server, &token, &json!(classes[0])).await;
    assert_eq!((status, &error["error"]), (400, &json!("1 labels for an answer of 3 rows; send one a row")));
    let labels = json!([classes[0], null, (classes[2] + 1) % 10]);
    assert_eq!(feedback(&server, &token, &labels).await, (200, json!({ "rows": 2, "correct": 1 })));
}

#[tokio::test]
async fn a_token_counts_once() {
    let server = start(config(Role::Baseline)).await;
    let (token, _) = answer(&server, 1).await;
    assert_eq!(feedback(&server, &token, &json!(3)).await.0, 200);
    let (status, error) = feedback(&server, &token, &json!(3)).await;
    assert_eq!((status, &error["error"]), (409, &json!("this token was counted already")));
    assert_eq!(server.count("sentei_feedback_total", &[]).await, 1.0);
    assert_eq!(server.count("sentei_feedback_rejected_total", &["reason=\"replayed\""]).await, 1.0);
}

#[tokio::test]
async fn the_other_servers_answer_is_counted_under_its_own_role_and_version() {
    let baseline = start(config(Role::Baseline)).await;
    let candidate = start(config(Role::Candidate)).await;
    let (token, classes) = answer(&candidate, 1).await;
    assert_eq!(feedback(&baseline, &token, &json!(classes[0])).await.0, 200);
    let labels = ["role=\"candidate\"", "version=\"v-candidate\"", "slice=\"round\"", "outcome=\"correct\""];
    assert_eq!(baseline.count("sentei_feedback_total", &labels).await, 1.0);
    assert_eq!(baseline.count("sentei_feedback_total", &["role=\"baseline\""]).await, 0.0);
}

#[tokio::test]
async fn forged_expired_foreign_and_malformed_feedback_is_refused_with_the_reason_and_counted() {
    let limits = Limits { feedback_age: Duration::from_millis(50), ..Limits::default() };
    let server = start(ServerConfig { limits, ..config(Role::Baseline) }).await;
    let message = |(status, body): (u16, Value)| (status, body["error"].as_str().expect("a message").to_owned());

    let stranger = start(ServerConfig { key: TokenKey::random(), ..config(Role::Baseline) }).await;
    let (forged, _) = answer(&stranger, 1).await;
    let (status, error) = message(feedback(&server, &forged, &json!(1)).await);
    assert!(status == 401 && error.starts_with("the token is not one of ours"), "{status} {error}");

    let (expired, _) = answer(&server, 1).await;
    tokio::time::sleep(Duration::from_millis(80)).await;
    let (status, error) = message(feedback(&server, &expired, &json!(1)).await);
    assert!(status == 410 && error.starts_with("the token has expired"), "{status} {error}");

    let (status, error) = message(server.post("/v2/models/digits/feedback", &json!({ "label": 3 })).await);
    assert!(status == 400 && error.contains("missing field `token`"), "{status} {error}");

    for reason in ["forged", "expired", "malformed"] {
        let labels = [&*format!("reason=\"{reason}\"")];
        assert_eq!(server.count("sentei_feedback_rejected_total", &labels).await, 1.0, "{reason}");
    }
    assert_eq!(server.count("sentei_feedback_total", &[]).await, 0.0);
}

#[tokio::test]
async fn a_label_for_an_earlier_version_counts_for_that_version_alone() {
    let server = start(config(Role::Baseline)).await;
    let earlier = start(ServerConfig { version: "v-old".into(), ..config(Role::Candidate) }).await;
    let (token, classes) = answer(&earlier, 1).await;
    assert_eq!(feedback(&server, &token, &json!(classes[0])).await.0, 200);
    assert_eq!(server.count("sentei_feedback_total", &["version=\"v-old\""]).await, 1.0);
    assert_eq!(server.count("sentei_feedback_total", &["version=\"v-candidate\""]).await, 0.0);
}
