//! From metrics pages to counters: what the servers and the proxy export becomes what `step` looks at.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail};
use sentei_api::status::Role;
use sentei_rollout::observation::{Counters, Histogram, Outcomes, Scrape};
use sentei_serve::page::{self, MAX_PAGE, Sample};

/// A page that takes longer than this is no data at this look.
const SCRAPE_TIMEOUT: Duration = Duration::from_millis(800);

/// Everything the pilot reads off one page.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    samples: Vec<Owned>,
    /// CPU seconds the process has used.
    pub cpu_seconds: Option<f64>,
    /// Bytes of memory it holds.
    pub resident_bytes: Option<f64>,
}

/// A sample that outlives its page.
#[derive(Debug, Clone, PartialEq)]
struct Owned {
    family: Family,
    role: String,
    version: String,
    slice: String,
    /// Status code, outcome, or upper bound of a bucket.
    key: String,
    count: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Requests,
    Latency,
    Feedback,
    Pairs,
    Agreement,
    Unanswered,
}

impl Family {
    fn of(name: &str) -> Option<(Self, &'static str)> {
        Some(match name {
            "sentei_requests_total" => (Self::Requests, "code"),
            "sentei_request_duration_seconds_bucket" => (Self::Latency, "le"),
            "sentei_feedback_total" => (Self::Feedback, "outcome"),
            "sentei_shadow_pairs_total" => (Self::Pairs, "outcome"),
            "sentei_shadow_agreement_total" => (Self::Agreement, "outcome"),
            "sentei_proxy_requests_total" => (Self::Unanswered, "code"),
            _ => return None,
        })
    }
}

/// Reads one page over HTTP.
pub async fn scrape(client: &reqwest::Client, address: SocketAddr) -> Result<Page> {
    let read = async {
        let mut answer = client.get(format!("http://{address}/metrics")).send().await?.error_for_status()?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_PAGE {
                bail!("the page has more than {MAX_PAGE} bytes");
            }
        }
        Ok(body)
    };
    let body = tokio::time::timeout(SCRAPE_TIMEOUT, read)
        .await
        .with_context(|| format!("http://{address}/metrics did not answer within {SCRAPE_TIMEOUT:?}"))??;
    parse(&body).with_context(|| format!("http://{address}/metrics"))
}

/// Reads one page.
pub fn parse(body: &[u8]) -> Result<Page> {
    let wanted = |name: &str| Family::of(name).is_some() || name.starts_with("process_");
    let samples = page::parse(body, wanted)?;
    let process = |name| samples.iter().find(|sample| sample.name == name).map(|sample| sample.value);
    Ok(Page {
        cpu_seconds: process("process_cpu_seconds_total"),
        resident_bytes: process("process_resident_memory_bytes"),
        samples: samples.iter().filter_map(Owned::new).collect(),
    })
}

impl Owned {
    fn new(sample: &Sample<'_>) -> Option<Self> {
        let (family, key) = Family::of(sample.name)?;
        let text = |label| sample.label(label).unwrap_or_default().to_owned();
        Some(Self {
            family,
            role: text("role"),
            version: text("version"),
            slice: text("slice"),
            key: text(key),
            count: sample.count()?,
        })
    }
}

impl Page {
    /// What this page says of one role's `version`, as one source of counters.
    pub fn scrape(&self, instance: &str, epoch: u64, role: Role, version: &str) -> Scrape {
        let mut counters = Counters::default();
        for sample in self.samples.iter().filter(|sample| sample.role == role.as_str()) {
            // The proxy knows roles, not versions.
            if sample.version != version && sample.family != Family::Unanswered {
                continue;
            }
            sample.add_to(&mut counters.all);
            if !sample.slice.is_empty() {
                sample.add_to(counters.slices.entry(sample.slice.clone()).or_default());
            }
        }
        un_accumulate(&mut counters.all.latency);
        Scrape { instance: instance.to_owned(), epoch, counters }
    }
}

impl Owned {
    fn add_to(&self, outcomes: &mut Outcomes) {
        let count = self.count;
        match (self.family, self.key.as_str()) {
            (Family::Requests, code) => {
                if let Ok(code) = code.parse() {
                    *outcomes.requests.entry(code).or_default() += count;
                }
            }
            (Family::Latency, "+Inf") => outcomes.latency.counts.push(count),
            (Family::Latency, bound) => {
                if let Ok(bound) = bound.parse() {
                    outcomes.latency.bounds.push(bound);
                    outcomes.latency.counts.push(count);
                }
            }
            (Family::Feedback, "correct") => outcomes.feedback.correct += count,
            (Family::Feedback, "incorrect") => outcomes.feedback.incorrect += count,
            (Family::Pairs, "both_correct") => outcomes.pairs.both_correct += count,
            (Family::Pairs, "baseline_only") => outcomes.pairs.baseline_only += count,
            (Family::Pairs, "candidate_only") => outcomes.pairs.candidate_only += count,
            (Family::Pairs, "both_wrong") => outcomes.pairs.both_wrong += count,
            (Family::Agreement, "agree") => outcomes.agreement.agree += count,
            (Family::Agreement, "disagree") => outcomes.agreement.disagree += count,
            // The proxy's own view adds only what the server itself could not count.
            (Family::Unanswered, code) if code.parse::<u16>().is_err() => outcomes.unanswered += count,
            _ => {}
        }
    }
}

/// A page's buckets count everything up to their bound; ours count what is between two bounds.
fn un_accumulate(histogram: &mut Histogram) {
    let mut below = 0;
    for count in &mut histogram.counts {
        let up_to_here = *count;
        *count = up_to_here.saturating_sub(below);
        below = up_to_here.max(below);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = concat!(
        "sentei_requests_total{model=\"m\",version=\"b\",role=\"candidate\",slice=\"odd\",code=\"200\"} 7\n",
        "sentei_requests_total{model=\"m\",version=\"b\",role=\"candidate\",slice=\"odd\",code=\"500\"} 2\n",
        "sentei_requests_total{model=\"m\",version=\"old\",role=\"candidate\",slice=\"odd\",code=\"500\"} 90\n",
        "sentei_request_duration_seconds_bucket{model=\"m\",version=\"b\",role=\"candidate\",le=\"0.001\"} 5\n",
        "sentei_request_duration_seconds_bucket{model=\"m\",version=\"b\",role=\"candidate\",le=\"0.01\"} 8\n",
        "sentei_request_duration_seconds_bucket{model=\"m\",version=\"b\",role=\"candidate\",le=\"+Inf\"} 9\n",
        "sentei_feedback_total{model=\"m\",version=\"b\",role=\"candidate\",slice=\"odd\",outcome=\"correct\"} 3\n",
        "sentei_proxy_requests_total{role=\"candidate\",code=\"connect_error\"} 4\n",
        "sentei_proxy_requests_total{role=\"candidate\",code=\"500\"} 2\n",
        "process_cpu_seconds_total 1.25\n",
        "# EOF\n"
    );

    #[test]
    fn a_page_becomes_counters_of_one_role_and_version() {
        let page = parse(PAGE.as_bytes()).unwrap();
        let scrape = page.scrape("candidate", 3, Role::Candidate, "b");
        assert_eq!(scrape.epoch, 3);
        assert_eq!(scrape.counters.all.requests, [(200, 7), (500, 2)].into());
        assert_eq!(scrape.counters.slices["odd"].feedback.correct, 3);
        assert_eq!(scrape.counters.all.latency.bounds, [0.001, 0.01]);
        assert_eq!(scrape.counters.all.latency.counts, [5, 3, 1]);
        assert_eq!(scrape.counters.all.unanswered, 4);
        assert_eq!(page.cpu_seconds, Some(1.25));
        assert_eq!(page.scrape("candidate", 3, Role::Baseline, "b").counters, Counters::default());
    }
}
