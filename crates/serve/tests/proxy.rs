//! The weighted proxy between two real servers.

#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]
#![allow(clippy::float_cmp, reason = "counts are whole numbers")]

mod support;

use std::{net::SocketAddr, time::Duration};

use reqwest::Client;
use sentei_serve::{
    Fault, Percent, Role, ServerConfig,
    proxy::{Proxy, ProxyConfig, ProxyHandle, ProxyLimits},
};
use serde_json::json;
use support::{config, count, request, start};
use tokio::sync::oneshot;

struct Split {
    address: SocketAddr,
    admin: SocketAddr,
    handle: ProxyHandle,
    client: Client,
    _stop: oneshot::Sender<()>,
}

async fn split(config: ProxyConfig) -> Split {
    let proxy = Proxy::bind(config).await.expect("free ports");
    let (address, admin, handle) = (proxy.address(), proxy.admin_address(), proxy.handle());
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(proxy.run(async { drop(stopped.await) }));
    Split { address, admin, handle, client: Client::new(), _stop: stop }
}

impl Split {
    /// Sends an inference; gives the status and who answered.
    async fn infer(&self) -> (u16, String) {
        let url = format!("http://{}/v2/models/digits/infer", self.address);
        let answer = self.client.post(url).json(&request(1)).send().await.expect("an answer");
        let role = answer.headers().get("x-sentei-role").and_then(|role| role.to_str().ok()).unwrap_or("nobody");
        (answer.status().as_u16(), role.to_owned())
    }

    /// Asks for liveness `n` times; gives how often the candidate answered.
    async fn candidates(&self, n: u32) -> u32 {
        let mut candidates = 0;
        for _ in 0..n {
            let answer =
                self.client.get(format!("http://{}/v2/health/live", self.address)).send().await.expect("an answer");
            assert_eq!(answer.status(), 200);
            candidates += u32::from(answer.headers()["x-sentei-role"] == "candidate");
        }
        candidates
    }
}

fn percent(percent: u8) -> Percent {
    Percent::try_from(percent).expect("at most 100")
}

/// Nobody listens there.
const AWAY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);

#[tokio::test]
async fn the_share_follows_the_weight_at_once() {
    let baseline = start(config(Role::Baseline)).await;
    let candidate = start(config(Role::Candidate)).await;
    let split = split(ProxyConfig { candidate: Some(candidate.address), ..ProxyConfig::new(baseline.address) }).await;
    assert_eq!(split.candidates(200).await, 0);
    for (weight, n, expected) in
        [(5, 400, 19..=21), (25, 200, 48..=52), (50, 200, 98..=102), (100, 50, 50..=50), (0, 200, 0..=0)]
    {
        split.handle.set_weight(percent(weight));
        assert_eq!(split.handle.weight().get(), weight);
        let candidates = split.candidates(n).await;
        assert!(expected.contains(&candidates), "{candidates} of {n} at {weight} %");
    }
    let page = Client::new().get(format!("http://{}/metrics", split.admin)).send().await.expect("an answer");
    assert_eq!(page.headers()["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let page = page.text().await.expect("text");
    let total = count(&page, "sentei_proxy_requests_total", &["code=\"200\""]);
    assert_eq!(total, 1250.0);
    assert_eq!(count(&page, "sentei_proxy_weight_ratio", &["role=\"candidate\""]), 0.0);
    assert_eq!(count(&page, "sentei_proxy_request_duration_seconds_count", &[]), 1250.0);
}

#[tokio::test]
async fn a_candidate_that_is_away_is_hidden_from_users_and_counted() {
    let baseline = start(config(Role::Baseline)).await;
    let split =
        split(ProxyConfig { candidate: Some(AWAY), weight: Percent::ALL, ..ProxyConfig::new(baseline.address) }).await;
    for _ in 0..3 {
        assert_eq!(split.infer().await, (200, "baseline".into()));
    }
    let page = split.handle.metrics();
    assert_eq!(count(&page, "sentei_proxy_requests_total", &["role=\"candidate\"", "code=\"connect_error\""]), 3.0);
    assert_eq!(count(&page, "sentei_proxy_requests_total", &["role=\"baseline\"", "code=\"200\""]), 3.0);
    split.handle.set_candidate(None);
    assert_eq!(split.infer().await, (200, "baseline".into()));
    assert_eq!(count(&split.handle.metrics(), "sentei_proxy_requests_total", &["code=\"connect_error\""]), 3.0);
}

#[tokio::test]
async fn a_connection_closed_before_an_answer_counts_as_no_answer() {
    let baseline = start(config(Role::Baseline)).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let dying = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    });
    let split =
        split(ProxyConfig { candidate: Some(dying), weight: Percent::ALL, ..ProxyConfig::new(baseline.address) }).await;
    assert_eq!(split.infer().await, (200, "baseline".into()));
    let page = split.handle.metrics();
    assert_eq!(count(&page, "sentei_proxy_requests_total", &["role=\"candidate\"", "code=\"connect_error\""]), 1.0);
}

#[tokio::test]
async fn an_error_of_the_candidate_is_passed_on_and_not_tried_again() {
    let baseline = start(config(Role::Baseline)).await;
    let fault = Some(Fault::Error { after: 0 });
    let candidate = start(ServerConfig { fault, ..config(Role::Candidate) }).await;
    let configuration =
        ProxyConfig { candidate: Some(candidate.address), weight: Percent::ALL, ..ProxyConfig::new(baseline.address) };
    let split = split(configuration).await;
    assert_eq!(split.infer().await, (500, "candidate".into()));
    let page = split.handle.metrics();
    assert_eq!(count(&page, "sentei_proxy_requests_total", &["role=\"candidate\"", "code=\"500\""]), 1.0);
    assert_eq!(count(&page, "sentei_proxy_requests_total", &["role=\"baseline\""]), 0.0);
}

#[tokio::test]
async fn without_a_baseline_the_answer_is_502_and_over_time_504() {
    let split_away = split(ProxyConfig::new(AWAY)).await;
    assert_eq!(split_away.infer().await, (502, "baseline".into()));
    let fault = Some(Fault::Slow { added: Duration::from_secs(5) });
    let slow = start(ServerConfig { fault, ..config(Role::Baseline) }).await;
    let limits = ProxyLimits { request: Duration::from_millis(100), ..ProxyLimits::default() };
    let split_slow = split(ProxyConfig { limits, ..ProxyConfig::new(slow.address) }).await;
    assert_eq!(split_slow.infer().await, (504, "baseline".into()));
    assert_eq!(count(&split_away.handle.metrics(), "sentei_proxy_requests_total", &["code=\"502\""]), 1.0);
    assert_eq!(count(&split_slow.handle.metrics(), "sentei_proxy_requests_total", &["code=\"504\""]), 1.0);
}

#[tokio::test]
async fn large_bodies_are_passed_on_and_too_large_ones_refused() {
    let baseline = start(config(Role::Baseline)).await;
    let limits = ProxyLimits { retry_buffer: 1000, body: 20_000, ..ProxyLimits::default() };
    let split = split(ProxyConfig { limits, ..ProxyConfig::new(baseline.address) }).await;
    assert_eq!(split.infer().await, (200, "baseline".into()));
    let url = format!("http://{}/v2/models/digits/infer", split.address);
    let answer = split.client.post(url).json(&request(8)).send().await.expect("an answer");
    assert_eq!(answer.status(), 413);
}

#[tokio::test]
async fn a_servers_own_pages_are_not_for_its_users() {
    let baseline = start(config(Role::Baseline)).await;
    let split = split(ProxyConfig::new(baseline.address)).await;
    for path in ["/metrics", "/admin/shadow", "//admin/shadow", "/v2/models/digits/shadow"] {
        let answer = split.client.get(format!("http://{}{path}", split.address)).send().await.expect("an answer");
        assert_eq!(answer.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn feedback_through_the_proxy_is_counted_wherever_it_lands() {
    let baseline = start(config(Role::Baseline)).await;
    let candidate = start(config(Role::Candidate)).await;
    let configuration =
        ProxyConfig { candidate: Some(candidate.address), weight: percent(50), ..ProxyConfig::new(baseline.address) };
    let split = split(configuration).await;
    let mut answered = [0.0, 0.0];
    for _ in 0..20 {
        let url = format!("http://{}/v2/models/digits/infer", split.address);
        let answer = split.client.post(url).json(&request(1)).send().await.expect("an answer");
        answered[usize::from(answer.headers()["x-sentei-role"] == "candidate")] += 1.0;
        let answer: serde_json::Value = answer.json().await.expect("json");
        let body = json!({ "token": answer["parameters"]["feedback_token"], "label": 1 });
        let url = format!("http://{}/v2/models/digits/feedback", split.address);
        assert_eq!(split.client.post(url).json(&body).send().await.expect("an answer").status(), 200);
    }
    for (role, answered) in ["baseline", "candidate"].into_iter().zip(answered) {
        let labels = [&*format!("role=\"{role}\""), &*format!("version=\"v-{role}\"")];
        let counted = baseline.count("sentei_feedback_total", &labels).await
            + candidate.count("sentei_feedback_total", &labels).await;
        assert_eq!(counted, answered, "{role}");
    }
}
