//! Pairs: the same input to both models, off the users' path.

#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]
#![allow(clippy::float_cmp, reason = "counts are whole numbers")]

mod support;

use std::time::{Duration, Instant};

use sentei_serve::{Fault, Role, ServerConfig, Task};
use serde_json::{Value, json};
use support::{Running, classes, config, pixels, request, start};

/// The count once it has reached `expected` and nothing more arrives: pairs are on their way off the users' path.
async fn settle(candidate: &Running, name: &str, expected: f64) -> f64 {
    let (mut last, mut unchanged) = (0.0, 0);
    for _ in 0..400 {
        let now = candidate.count(name, &[]).await;
        unchanged = if now == last { unchanged + 1 } else { 0 };
        last = now;
        if last >= expected && unchanged >= 15 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    last
}

#[tokio::test]
async fn a_sampled_share_is_compared_by_the_candidate_and_not_counted_as_requests() {
    let baseline = start(config(Role::Baseline)).await;
    let candidate = start(config(Role::Candidate)).await;
    let setting = json!({ "percent": 50, "target": candidate.url("") });
    assert_eq!(baseline.put("/admin/shadow", &setting).await.0, 204);
    for i in 0..40 {
        let mut body = request(1);
        body["inputs"][0]["data"] = json!(pixels(i));
        body["parameters"] = json!({ "slice": "straight" });
        assert_eq!(baseline.infer(&body).await.0, 200);
    }
    let pairs = settle(&candidate, "sentei_shadow_pairs_total", 19.0).await;
    assert!((19.0..=21.0).contains(&pairs), "{pairs} of 40 at 50 %");
    let labels = ["slice=\"straight\"", "outcome=\"agree\"", "role=\"candidate\"", "version=\"v-candidate\""];
    assert_eq!(candidate.count("sentei_shadow_pairs_total", &labels).await, pairs);
    assert_eq!(candidate.count("sentei_shadow_agreement_total", &labels).await, pairs);
    assert_eq!(candidate.count("sentei_shadow_duration_seconds_count", &[]).await, pairs);
    assert_eq!(candidate.count("sentei_requests_total", &[]).await, 0.0);
    assert_eq!(candidate.count("sentei_request_duration_seconds_count", &[]).await, 0.0);
    assert_eq!(baseline.count("sentei_shadow_dropped_total", &[]).await, 0.0);

    baseline.put("/admin/shadow", &json!({ "percent": 0 })).await;
    baseline.infer(&request(1)).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(candidate.count("sentei_shadow_pairs_total", &[]).await, pairs);
}

#[tokio::test]
async fn a_label_on_the_request_says_who_was_right() {
    let candidate = start(config(Role::Candidate)).await;
    let right = classes(&candidate.infer(&request(1)).await.1)[0];
    let wrong = (right + 1) % 10;
    // A pair as a baseline would send it that answered `class`.
    let pair = |class: usize, label: usize| {
        let scores: Vec<f32> = (0..10).map(|i| if i == class { 1.0 } else { 0.0 }).collect();
        json!({
            "inputs": request(1)["inputs"],
            "parameters": { "slice": "round", "label": label },
            "baseline_outputs": [{ "name": "logits", "shape": [1, 10], "datatype": "FP32", "data": scores }],
        })
    };
    for (body, agree, outcome) in [
        (pair(right, right), 1, "both_correct"),
        (pair(wrong, wrong), 0, "baseline_only"),
        (pair(wrong, right), 0, "candidate_only"),
        (pair(right, wrong), 1, "both_wrong"),
    ] {
        assert_eq!(
            candidate.post("/v2/models/digits/shadow", &body).await,
            (200, json!({ "rows": 1, "agree": agree }))
        );
        let labels = [&*format!("outcome=\"{outcome}\""), "slice=\"round\""];
        assert_eq!(candidate.count("sentei_shadow_pairs_total", &labels).await, 1.0, "{outcome}");
    }
    assert_eq!(candidate.count("sentei_shadow_agreement_total", &["outcome=\"agree\""]).await, 2.0);
    assert_eq!(candidate.count("sentei_shadow_agreement_total", &["outcome=\"disagree\""]).await, 2.0);
}

#[tokio::test]
async fn users_never_wait_for_a_candidate_that_is_away_and_the_drops_are_counted() {
    let baseline = start(config(Role::Baseline)).await;
    // Nobody listens on the discard port of the loopback.
    let setting = json!({ "percent": 100, "target": "http://127.0.0.1:9" });
    assert_eq!(baseline.put("/admin/shadow", &setting).await.0, 204);
    let begun = Instant::now();
    for _ in 0..10 {
        assert_eq!(baseline.infer(&request(1)).await.0, 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "took {:?}", begun.elapsed());
    assert_eq!(settle(&baseline, "sentei_shadow_dropped_total", 10.0).await, 10.0);
    assert_eq!(baseline.count("sentei_shadow_dropped_total", &["reason=\"unreachable\""]).await, 10.0);
}

#[tokio::test]
async fn a_slow_candidate_fills_the_queue_and_the_rest_is_dropped() {
    let limits = sentei_serve::Limits { shadow_queue: 1, ..sentei_serve::Limits::default() };
    let baseline = start(ServerConfig { limits, ..config(Role::Baseline) }).await;
    // A listener that takes connections and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let target = format!("http://{}", silent.local_addr().expect("an address"));
    assert_eq!(baseline.put("/admin/shadow", &json!({ "percent": 100, "target": target })).await.0, 204);
    for _ in 0..12 {
        assert_eq!(baseline.infer(&request(1)).await.0, 200);
    }
    // Four on their way, one taken up by the sender, one in the queue.
    let dropped = baseline.count("sentei_shadow_dropped_total", &["reason=\"queue_full\""]).await;
    assert!((6.0..12.0).contains(&dropped), "{dropped} dropped");
}

#[tokio::test]
async fn a_setting_that_makes_no_sense_is_refused() {
    let baseline = start(config(Role::Baseline)).await;
    let baseline = &baseline;
    let message = |body: Value| async move {
        let (status, body) = baseline.put("/admin/shadow", &body).await;
        (status, body["error"].as_str().expect("a message").to_owned())
    };
    assert_eq!(
        message(json!({ "percent": 101, "target": "http://a" })).await,
        (400, "percent is 101, expected 0 to 100".into())
    );
    assert_eq!(message(json!({ "percent": 5 })).await, (400, "percent is above 0, so a target is needed".into()));
    let (status, error) = message(json!({ "percent": 5, "target": "https://a/b" })).await;
    assert_eq!((status, &*error), (400, "target is `https://a/b`, expected http://HOST:PORT"));
    let fault = Some(Fault::Slow { added: Duration::ZERO });
    let taskless = start(ServerConfig { task: Task::None, fault, ..config(Role::Baseline) }).await;
    let (status, _) = taskless.put("/admin/shadow", &json!({ "percent": 5, "target": "http://127.0.0.1:9" })).await;
    assert_eq!(status, 409);
}

#[tokio::test]
async fn a_pair_the_candidate_cannot_answer_is_counted_as_an_error_not_as_a_disagreement() {
    let candidate = start(config(Role::Candidate)).await;
    let mut body = request(1);
    body["inputs"][0]["shape"] = json!([784]);
    body["baseline_outputs"] = json!([{ "name": "logits", "shape": [1, 10], "datatype": "FP32", "data": vec![0; 10] }]);
    assert_eq!(candidate.post("/v2/models/digits/shadow", &body).await.0, 400);
    assert_eq!(candidate.count("sentei_shadow_errors_total", &["code=\"400\""]).await, 1.0);
    assert_eq!(candidate.count("sentei_shadow_pairs_total", &[]).await, 0.0);
}
