//! A watched metric in the form that counts can refute: "the candidate's share of bad outcomes is within its limit".

use sentei_api::{
    quantity::Bound,
    spec::{MetricSource, OnlineMetric, ThresholdRange, rollout::Prometheus},
};

use crate::{
    plan::PlanError,
    statistics::{Line, QuantileAllowance},
};

/// One bound on one metric.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hypothesis {
    pub metric: String,
    pub slice: Option<String>,
    pub counter: Counter,
    pub test: Test,
    /// Chance of refuting it while it is true, over the whole rollout.
    pub alpha: f64,
    pub min_samples: u64,
    pub critical: bool,
    pub query: Option<Prometheus>,
}

/// Where its outcomes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Counter {
    /// Bad (5xx, unanswered) and good live requests.
    Requests,
    /// Live requests by duration.
    Latency,
    /// Wrong and right answers.
    Feedback,
    /// Pairs with a label: both right, baseline only, candidate only, both wrong.
    Pairs,
    /// Differing and equal pairs.
    Agreement,
    /// None: a number from a query.
    Query,
}

impl Counter {
    /// As it stands in the status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Latency => "latency",
            Self::Feedback => "feedback",
            Self::Pairs => "pairs",
            Self::Agreement => "agreement",
            Self::Query => "query",
        }
    }
}

/// What is claimed about the outcomes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Test {
    /// The candidate's bad share is at most this.
    Share { limit: f64, scale: Scale },
    /// The candidate's bad share is at most this line over the baseline's.
    ShareAgainstBaseline { limit: Line, scale: Scale },
    /// The candidate's bad share at this quantile's complement: at most `1 - quantile` of requests take longer than
    /// `limit` seconds.
    Quantile { quantile: f64, limit: f64 },
    /// The candidate's quantile is at most the baseline's with this allowance.
    QuantileAgainstBaseline { quantile: f64, allowance: QuantileAllowance },
    /// A number is in this range.
    Value { min: f64, max: f64 },
}

/// Whether the metric's value is the share of bad outcomes or of good ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// `errorRate`.
    Bad,
    /// `accuracy`, `agreement`.
    Good,
}

impl Scale {
    /// From the share of bad outcomes to the metric's value.
    pub fn value(self, bad: f64) -> f64 {
        match self {
            Self::Bad => bad,
            Self::Good => 1.0 - bad,
        }
    }
}

impl Hypothesis {
    /// Whether the baseline's counts enter the judgement.
    pub const fn needs_baseline(&self) -> bool {
        match self.test {
            // Pairs are counted by the candidate alone.
            Test::ShareAgainstBaseline { .. } => !matches!(self.counter, Counter::Pairs),
            Test::QuantileAgainstBaseline { .. } => true,
            Test::Share { .. } | Test::Quantile { .. } | Test::Value { .. } => false,
        }
    }
}

/// Every bound of every metric; the chance `alpha` is split evenly over them (Bonferroni), so that the chance of rolling
/// a good candidate back for any of them is at most `alpha`. Queries take no part: nobody knows how sure their number is.
pub(crate) fn parse(metrics: &[OnlineMetric], alpha: f64) -> Result<Vec<Hypothesis>, Vec<PlanError>> {
    let mut hypotheses = Vec::new();
    let mut errors = Vec::new();
    for (index, metric) in metrics.iter().enumerate() {
        let path = format!("spec.rollout.analysis.metrics[{index}]");
        match bounds(metric) {
            Ok(bounds) => hypotheses.extend(bounds.into_iter().map(|(counter, test)| Hypothesis {
                metric: metric.name.clone(),
                slice: metric.slice.clone(),
                counter,
                test,
                alpha,
                min_samples: metric.min_samples.into(),
                critical: metric.critical,
                query: metric.prometheus.clone(),
            })),
            Err((field, problem)) => errors.push(PlanError { field: format!("{path}.{field}"), problem }),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let counted = hypotheses.iter().filter(|hypothesis| hypothesis.counter != Counter::Query).count();
    let share = alpha / counted.max(1) as f64;
    for hypothesis in &mut hypotheses {
        hypothesis.alpha = share;
    }
    Ok(hypotheses)
}

type Refusal = (&'static str, String);

/// The built-in metrics; any other name is a query's.
enum Known {
    Accuracy,
    Agreement,
    ErrorRate,
    Latency(f64),
}

fn known(name: &str) -> Option<Known> {
    Some(match name {
        "accuracy" => Known::Accuracy,
        "agreement" => Known::Agreement,
        "errorRate" => Known::ErrorRate,
        "latencyP50" => Known::Latency(0.50),
        "latencyP95" => Known::Latency(0.95),
        "latencyP99" => Known::Latency(0.99),
        _ => return None,
    })
}

fn bounds(metric: &OnlineMetric) -> Result<Vec<(Counter, Test)>, Refusal> {
    if metric.threshold_range.is_none() && metric.max_regression.is_none() {
        return Err(("thresholdRange", "absent, and so is maxRegression; give one of them a bound".to_owned()));
    }
    let source = metric.source;
    if metric.prometheus.is_some() || source == Some(MetricSource::Prometheus) {
        return query(metric);
    }
    let expect = |allowed: &[MetricSource], default: MetricSource| match source {
        None => Ok(default),
        Some(found) if allowed.contains(&found) => Ok(found),
        Some(found) => {
            Err(("source", format!("{found:?} does not count {}; leave it out or use {default:?}", metric.name)))
        }
    };
    match known(&metric.name) {
        Some(Known::Accuracy) => {
            let source = expect(&[MetricSource::Feedback, MetricSource::Shadow], MetricSource::Feedback)?;
            let counter = if source == MetricSource::Shadow { Counter::Pairs } else { Counter::Feedback };
            shares(metric, counter, Scale::Good)
        }
        Some(Known::Agreement) => {
            expect(&[MetricSource::Shadow], MetricSource::Shadow)?;
            if metric.max_regression.is_some() {
                let problem = "agreement is already held against the baseline; use thresholdRange.min".to_owned();
                return Err(("maxRegression", problem));
            }
            shares(metric, Counter::Agreement, Scale::Good)
        }
        Some(Known::ErrorRate) => {
            expect(&[MetricSource::Server], MetricSource::Server)?;
            shares(metric, Counter::Requests, Scale::Bad)
        }
        Some(Known::Latency(quantile)) => {
            expect(&[MetricSource::Server], MetricSource::Server)?;
            latencies(metric, quantile)
        }
        None => {
            let names = "accuracy, agreement, errorRate, latencyP50, latencyP95, latencyP99";
            Err(("name", format!("`{}` is none of {names}; add `prometheus` with a query for it", metric.name)))
        }
    }
}

fn shares(metric: &OnlineMetric, counter: Counter, scale: Scale) -> Result<Vec<(Counter, Test)>, Refusal> {
    let mut tests = Vec::new();
    if let Some(range) = metric.threshold_range {
        let (bound, field) = one_end(metric, range, scale == Scale::Good)?;
        let value = share(bound).ok_or_else(|| (field, format!("{bound} is not a share between 0 and 1")))?;
        let limit = scale.value(value);
        if limit >= 1.0 {
            return Err((field, format!("{bound} bounds nothing: every share of {} meets it", metric.name)));
        }
        tests.push((counter, Test::Share { limit, scale }));
    }
    if let Some(bound) = metric.max_regression {
        let limit = match (bound, scale) {
            (Bound::Number(points), _) if (0.0..1.0).contains(&points) => Line { slope: 1.0, intercept: points },
            // At least (1 - r) of the baseline's right answers: bad <= r + (1 - r) * baseline's bad.
            (Bound::Relative(part), Scale::Good) if (0.0..1.0).contains(&part) => {
                Line { slope: 1.0 - part, intercept: part }
            }
            (Bound::Relative(part), Scale::Bad) if part >= 0.0 => Line { slope: 1.0 + part, intercept: 0.0 },
            _ => {
                let problem = format!("{bound} is neither a difference of shares such as 0.01 nor a part such as 10%");
                return Err(("maxRegression", problem));
            }
        };
        tests.push((counter, Test::ShareAgainstBaseline { limit, scale }));
    }
    Ok(tests)
}

fn latencies(metric: &OnlineMetric, quantile: f64) -> Result<Vec<(Counter, Test)>, Refusal> {
    let mut tests = Vec::new();
    if let Some(range) = metric.threshold_range {
        let (bound, field) = one_end(metric, range, false)?;
        let Bound::Time(limit) = bound else { return Err((field, format!("{bound} is not a time such as 20ms"))) };
        tests.push((Counter::Latency, Test::Quantile { quantile, limit: limit.get().as_secs_f64() }));
    }
    if let Some(bound) = metric.max_regression {
        let allowance = match bound {
            Bound::Relative(part) if part >= 0.0 => QuantileAllowance { factor: 1.0 + part, extra: 0.0 },
            Bound::Time(extra) => QuantileAllowance { factor: 1.0, extra: extra.get().as_secs_f64() },
            Bound::Relative(_) | Bound::Number(_) => {
                let problem = format!("{bound} is neither a part such as 10% nor a time such as 5ms");
                return Err(("maxRegression", problem));
            }
        };
        tests.push((Counter::Latency, Test::QuantileAgainstBaseline { quantile, allowance }));
    }
    Ok(tests)
}

fn query(metric: &OnlineMetric) -> Result<Vec<(Counter, Test)>, Refusal> {
    if metric.prometheus.is_none() {
        return Err(("prometheus", "absent, and source is Prometheus; add the query".to_owned()));
    }
    if !matches!(metric.source, None | Some(MetricSource::Prometheus)) {
        return Err(("source", "not Prometheus, but there is a query; leave one of them out".to_owned()));
    }
    if metric.max_regression.is_some() {
        let problem = "a query gives one number and no baseline; compare inside the query and use thresholdRange";
        return Err(("maxRegression", problem.to_owned()));
    }
    let range = metric.threshold_range.unwrap_or_default();
    let (min, max) = (range.min.map(Bound::base_value), range.max.map(Bound::base_value));
    if min.is_none() && max.is_none() {
        return Err(("thresholdRange", "has neither min nor max; give one".to_owned()));
    }
    let (min, max) = (min.unwrap_or(f64::NEG_INFINITY), max.unwrap_or(f64::INFINITY));
    if min > max {
        return Err(("thresholdRange", format!("min {min} is above max {max}; no value can be in it")));
    }
    Ok(vec![(Counter::Query, Test::Value { min, max })])
}

/// The end of the range that means something for the metric.
fn one_end(
    metric: &OnlineMetric,
    range: ThresholdRange,
    higher_is_better: bool,
) -> Result<(Bound, &'static str), Refusal> {
    let name = &metric.name;
    match (range.min, range.max, higher_is_better) {
        (Some(bound), None, true) => Ok((bound, "thresholdRange.min")),
        (None, Some(bound), false) => Ok((bound, "thresholdRange.max")),
        (None, None, true) => Err(("thresholdRange", "has no end; give it a min".to_owned())),
        (None, None, false) => Err(("thresholdRange", "has no end; give it a max".to_owned())),
        (_, Some(bound), true) => {
            Err(("thresholdRange.max", format!("{bound} would forbid a better {name}; only min is a bound here")))
        }
        (Some(bound), _, false) => {
            Err(("thresholdRange.min", format!("{bound} would forbid a better {name}; only max is a bound here")))
        }
    }
}

fn share(bound: Bound) -> Option<f64> {
    let (Bound::Number(value) | Bound::Relative(value)) = bound else { return None };
    (0.0..=1.0).contains(&value).then_some(value)
}
