//! The user's own queries: each gives one number, or nothing.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, bail};
use sentei_api::spec::rollout::Prometheus;
use serde::Deserialize;

/// A query that takes longer than this is no data at this look.
const TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Scalar(Point),
    Vector(Vec<Series>),
}

#[derive(Deserialize)]
struct Series {
    value: Point,
}

/// Unix seconds, and the number as text.
#[derive(Deserialize)]
struct Point(#[expect(dead_code, reason = "the time is part of the wire format")] f64, String);

/// Asks every query at once. What gives no number is left out, with the reason.
pub async fn ask<'a>(
    client: &reqwest::Client,
    queries: impl Iterator<Item = (&'a str, &'a Prometheus)>,
) -> (BTreeMap<String, f64>, Vec<String>) {
    let mut tasks = tokio::task::JoinSet::new();
    for (name, query) in queries {
        let (client, name, query) = (client.clone(), name.to_owned(), query.clone());
        tasks.spawn(async move {
            let result = one(&client, &query).await;
            (name, result)
        });
    }
    let (mut values, mut errors) = (BTreeMap::new(), Vec::new());
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok((name, Ok(value))) => drop(values.insert(name, value)),
            Ok((name, Err(error))) => errors.push(format!("metric {name}: {error:#}")),
            Err(error) => errors.push(format!("a Prometheus query ended unexpectedly: {error}")),
        }
    }
    (values, errors)
}

async fn one(client: &reqwest::Client, query: &Prometheus) -> Result<f64> {
    let url = format!("{}/api/v1/query", query.address.trim_end_matches('/'));
    let answer = client.get(&url).query(&[("query", &query.query)]).timeout(TIMEOUT).send().await;
    let answer =
        answer.and_then(reqwest::Response::error_for_status).with_context(|| format!("{url} did not answer"))?;
    number(&answer.bytes().await.with_context(|| format!("{url} broke off"))?)
}

fn number(body: &[u8]) -> Result<f64> {
    let answer: Answer = serde_json::from_slice(body).context("the answer is not one of Prometheus's query API")?;
    let point = match &answer.data {
        Data::Scalar(point) => point,
        Data::Vector(series) => match series.as_slice() {
            [one] => &one.value,
            [] => bail!("the query gives no series"),
            many => bail!("the query gives {} series, expected one: aggregate them", many.len()),
        },
    };
    let value: f64 = point.1.parse().with_context(|| format!("`{}` is not a number", point.1))?;
    if value.is_finite() { Ok(value) } else { bail!("the query gives {value}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_is_read_and_anything_else_is_no_data() {
        let vector =
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1.5,"0.25"]}]}}"#;
        assert!((number(vector.as_bytes()).unwrap() - 0.25).abs() < 1e-12);
        let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"3"]}}"#;
        assert!((number(scalar.as_bytes()).unwrap() - 3.0).abs() < 1e-12);
        for bad in [
            r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#,
            r#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"NaN"]}}"#,
            "<html>",
        ] {
            assert!(number(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
