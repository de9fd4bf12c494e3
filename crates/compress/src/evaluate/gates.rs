//! Offline bounds: whether a candidate may stand. The point estimate decides; the sentence shows how sure it is.

use sentei_api::{
    evidence::{Cost, Estimate, Measurement},
    quantity::Bound,
    spec::{Gate, OfflineMetric},
};

/// Room for rounding: 1 − 0.99 is a hair more than 0.01.
const ROUNDING: f64 = 1e-9;

/// One gate, judged.
#[derive(Debug, Clone, PartialEq)]
pub struct GateResult {
    /// The gate.
    pub gate: Gate,
    /// Whether it holds.
    pub passed: bool,
    /// Metric, slice, value, interval, samples and limit, for people.
    pub sentence: String,
}

/// Holds a candidate's measurements and cost against every gate, in order. A gate whose metric or slice was not
/// measured fails. `maxRegression` bounds how much worse than the baseline: an absolute amount in the metric's unit
/// (seconds, bytes, or 0.005 for half a point), or a share of the baseline's value.
#[must_use]
pub fn judge(gates: &[Gate], measurements: &[Measurement], baseline: &Cost, candidate: &Cost) -> Vec<GateResult> {
    gates
        .iter()
        .map(|gate| {
            let (passed, sentence) = match Comparison::find(gate, measurements, baseline, candidate) {
                Some(compared) => verdict(gate, &compared),
                None => (false, not_measured(gate)),
            };
            GateResult { gate: gate.clone(), passed, sentence }
        })
        .collect()
}

/// The bounds that the baseline itself does not keep, in sentences: with one of these there is nothing to start from.
#[must_use]
pub fn baseline_violations(gates: &[Gate], measurements: &[Measurement], baseline: &Cost) -> Vec<String> {
    let broken = gates.iter().filter_map(|gate| {
        let Some(compared) = Comparison::find(gate, measurements, baseline, baseline) else {
            return Some(not_measured(gate));
        };
        let (holds, sentence) = range_verdict(gate, compared.baseline, compared.exact)?;
        (!holds).then(|| format!("the baseline itself fails a gate: {sentence}; relax the bound or improve the model"))
    });
    broken.collect()
}

/// What one gate looks at.
struct Comparison {
    baseline: Estimate,
    candidate: Estimate,
    difference: Estimate,
    /// Whether the figures are exact, without an interval worth showing.
    exact: bool,
}

impl Comparison {
    fn find(gate: &Gate, measurements: &[Measurement], baseline: &Cost, candidate: &Cost) -> Option<Self> {
        let of_cost: fn(&Cost) -> f64 = match gate.metric {
            OfflineMetric::LatencyP50 => |cost| cost.latency_p50,
            OfflineMetric::LatencyP99 => |cost| cost.latency_p99,
            OfflineMetric::Size => |cost| cost.size as f64,
            _ => {
                let found = measurements.iter().find(|m| m.metric == gate.metric && m.slice == gate.slice)?;
                let (baseline, candidate, difference) = (found.baseline, found.candidate, found.difference);
                return Some(Self { baseline, candidate, difference, exact: false });
            }
        };
        let exact = |value: f64| Estimate { value, low: value, high: value, samples: 0 };
        let (baseline, candidate) = (of_cost(baseline), of_cost(candidate));
        Some(Self {
            baseline: exact(baseline),
            candidate: exact(candidate),
            difference: exact(candidate - baseline),
            exact: true,
        })
    }
}

fn verdict(gate: &Gate, compared: &Comparison) -> (bool, String) {
    let range = range_verdict(gate, compared.candidate, compared.exact);
    let regression = gate.max_regression.map(|bound| regression_verdict(gate, bound, compared));
    match (range, regression) {
        (Some((holds, range)), Some((kept, regression))) => (holds && kept, format!("{range}; {regression}")),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => (true, format!("{} has no bound", subject(gate))),
    }
}

fn range_verdict(gate: &Gate, value: Estimate, exact: bool) -> Option<(bool, String)> {
    let range = gate.threshold_range?;
    let (min, max) = (range.min.map(Bound::base_value), range.max.map(Bound::base_value));
    let above = min.is_none_or(|min| value.value >= min - slack(min));
    let below = max.is_none_or(|max| value.value <= max + slack(max));
    let amount = |bound: f64| amount(gate.metric, bound);
    let bounds = match (min, max) {
        (Some(min), Some(max)) => format!("{} to {}", amount(min), amount(max)),
        (Some(min), None) => format!("at least {}", amount(min)),
        (None, Some(max)) => format!("at most {}", amount(max)),
        (None, None) => return None,
    };
    let spread = interval(gate.metric, value, exact);
    Some((above && below, format!("{} is {}{spread}, required {bounds}", subject(gate), amount(value.value))))
}

fn regression_verdict(gate: &Gate, bound: Bound, compared: &Comparison) -> (bool, String) {
    let limit = match bound {
        Bound::Relative(share) => share * compared.baseline.value.abs(),
        Bound::Number(_) | Bound::Time(_) => bound.base_value(),
    };
    let change = compared.difference;
    let worse = if gate.metric.higher_is_better() { -change.value } else { change.value };
    let rose = if gate.metric.higher_is_better() { worse < 0.0 } else { worse > 0.0 };
    let shown = if rose { change } else { negated(change) };
    let amount = |value: f64| step(gate.metric, value);
    let spread = interval(gate.metric, shown, compared.exact);
    let word = if rose { "rose" } else { "fell" };
    let written = match bound {
        Bound::Relative(_) => format!("{} ({bound} of the baseline)", amount(limit)),
        Bound::Number(_) | Bound::Time(_) => amount(limit),
    };
    let sentence = format!("{} {word} by {}{spread}, limit {written}", subject(gate), amount(shown.value));
    (worse <= limit + slack(limit), sentence)
}

fn slack(bound: f64) -> f64 {
    ROUNDING * (1.0 + bound.abs())
}

fn negated(estimate: Estimate) -> Estimate {
    // Adding 0 turns -0 into 0.
    Estimate { value: 0.0 - estimate.value, low: 0.0 - estimate.high, high: 0.0 - estimate.low, ..estimate }
}

fn subject(gate: &Gate) -> String {
    match &gate.slice {
        Some(slice) => format!("{} on slice {slice}", gate.metric.as_str()),
        None => gate.metric.as_str().to_owned(),
    }
}

fn not_measured(gate: &Gate) -> String {
    format!(
        "{} was not measured: the task does not give this metric, or the slice is not in data.slices",
        subject(gate)
    )
}

fn interval(metric: OfflineMetric, estimate: Estimate, exact: bool) -> String {
    if exact {
        return String::new();
    }
    let (low, high) = (number(metric, estimate.low), number(metric, estimate.high));
    format!(" (95 % interval {low} to {high}, n = {})", estimate.samples)
}

fn is_share(metric: OfflineMetric) -> bool {
    use OfflineMetric::{Accuracy, Agreement, CharacterErrorRate, ExactMatch};
    matches!(metric, Accuracy | ExactMatch | CharacterErrorRate | Agreement)
}

/// A value of the metric: `93.1 %`, `2.4 ms`, `280152 bytes`.
fn amount(metric: OfflineMetric, value: f64) -> String {
    format!("{}{}", number(metric, value), unit(metric, " %"))
}

/// A change of the metric: `1.2 points`.
fn step(metric: OfflineMetric, value: f64) -> String {
    format!("{}{}", number(metric, value), unit(metric, " points"))
}

fn unit(metric: OfflineMetric, share: &'static str) -> &'static str {
    match metric {
        _ if is_share(metric) => share,
        OfflineMetric::LatencyP50 | OfflineMetric::LatencyP99 => " ms",
        OfflineMetric::Size => " bytes",
        _ => "",
    }
}

/// The number alone, in the unit people read it in: hundredths for shares, milliseconds for times.
fn number(metric: OfflineMetric, value: f64) -> String {
    let text = match metric {
        _ if is_share(metric) => format!("{:.2}", value * 100.0),
        OfflineMetric::LatencyP50 | OfflineMetric::LatencyP99 => format!("{:.3}", value * 1e3),
        OfflineMetric::Size => return format!("{value:.0}"),
        _ if value.abs() >= 1e6 || (value != 0.0 && value.abs() < 1e-4) => return format!("{value:.3e}"),
        _ => format!("{value:.5}"),
    };
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use sentei_api::{quantity::Span, spec::ThresholdRange};

    use super::*;

    fn estimate(value: f64, low: f64, high: f64, samples: u64) -> Estimate {
        Estimate { value, low, high, samples }
    }

    fn accuracy_on(slice: Option<&str>) -> Measurement {
        Measurement {
            metric: OfflineMetric::Accuracy,
            slice: slice.map(str::to_owned),
            candidate: estimate(0.964, 0.942, 0.978, 412),
            baseline: estimate(0.976, 0.956, 0.987, 412),
            difference: estimate(-0.012, -0.021, -0.003, 412),
        }
    }

    fn gate(metric: OfflineMetric, slice: Option<&str>) -> Gate {
        Gate { metric, slice: slice.map(str::to_owned), threshold_range: None, max_regression: None }
    }

    fn regression(metric: OfflineMetric, slice: Option<&str>, bound: Bound) -> Gate {
        Gate { max_regression: Some(bound), ..gate(metric, slice) }
    }

    fn range(metric: OfflineMetric, min: Option<Bound>, max: Option<Bound>) -> Gate {
        Gate { threshold_range: Some(ThresholdRange { min, max }), ..gate(metric, None) }
    }

    fn one(gate: Gate, measurements: &[Measurement], baseline: &Cost, candidate: &Cost) -> (bool, String) {
        let result = judge(&[gate], measurements, baseline, candidate).pop().unwrap();
        (result.passed, result.sentence)
    }

    fn quality(gate: Gate) -> (bool, String) {
        let measurements = [accuracy_on(None), accuracy_on(Some("sevens"))];
        one(gate, &measurements, &Cost::default(), &Cost::default())
    }

    #[test]
    fn a_regression_says_how_far_how_sure_and_what_was_allowed() {
        let sentence =
            "accuracy on slice sevens fell by 1.2 points (95 % interval 0.3 to 2.1, n = 412), limit 0.5 points";
        let gate = |bound| regression(OfflineMetric::Accuracy, Some("sevens"), bound);
        assert_eq!(quality(gate(Bound::Number(0.005))), (false, sentence.to_owned()));
        assert!(quality(gate(Bound::Number(0.012))).0, "the limit itself is allowed");
        let (passed, sentence) = quality(gate(Bound::Relative(0.02)));
        assert!(passed);
        assert!(sentence.ends_with(", limit 1.95 points (2% of the baseline)"), "{sentence}");
    }

    #[test]
    fn an_improvement_passes_whatever_the_limit() {
        let better = Measurement { difference: estimate(0.004, -0.002, 0.01, 412), ..accuracy_on(None) };
        let gate = regression(OfflineMetric::Accuracy, None, Bound::Number(0.0));
        let (passed, sentence) = one(gate.clone(), &[better], &Cost::default(), &Cost::default());
        assert!(passed);
        assert_eq!(sentence, "accuracy rose by 0.4 points (95 % interval -0.2 to 1, n = 412), limit 0 points");
        let same = Measurement { difference: estimate(0.0, -0.005, 0.005, 412), ..accuracy_on(None) };
        let (passed, sentence) = one(gate, &[same], &Cost::default(), &Cost::default());
        assert!(passed);
        assert_eq!(sentence, "accuracy fell by 0 points (95 % interval -0.5 to 0.5, n = 412), limit 0 points");
    }

    #[test]
    fn lower_is_better_for_errors_times_and_sizes() {
        let mut error = accuracy_on(None);
        error.metric = OfflineMetric::CharacterErrorRate;
        error.difference = estimate(0.02, 0.01, 0.03, 100);
        let gate = regression(OfflineMetric::CharacterErrorRate, None, Bound::Number(0.01));
        let (passed, sentence) = one(gate, &[error], &Cost::default(), &Cost::default());
        assert!(!passed);
        assert_eq!(sentence, "characterErrorRate rose by 2 points (95 % interval 1 to 3, n = 100), limit 1 points");
        let baseline = Cost { size: 1_000_000, latency_p99: 0.002, ..Cost::default() };
        let candidate = Cost { size: 250_000, latency_p99: 0.0025, ..Cost::default() };
        let slower = regression(OfflineMetric::LatencyP99, None, Bound::Relative(0.1));
        assert_eq!(
            one(slower, &[], &baseline, &candidate),
            (false, "latencyP99 rose by 0.5 ms, limit 0.2 ms (10% of the baseline)".to_owned())
        );
        let quick = range(OfflineMetric::LatencyP99, None, Some(Bound::Time(Span::from_millis(20))));
        assert_eq!(
            one(quick, &[], &baseline, &candidate),
            (true, "latencyP99 is 2.5 ms, required at most 20 ms".to_owned())
        );
        let smaller = regression(OfflineMetric::Size, None, Bound::Number(0.0));
        assert_eq!(
            one(smaller, &[], &baseline, &candidate),
            (true, "size fell by 750000 bytes, limit 0 bytes".to_owned())
        );
    }

    #[test]
    fn a_range_bounds_the_candidate_itself() {
        let gate = range(OfflineMetric::Accuracy, Some(Bound::Number(0.97)), None);
        assert_eq!(
            quality(gate),
            (false, "accuracy is 96.4 % (95 % interval 94.2 to 97.8, n = 412), required at least 97 %".to_owned())
        );
        let gate = range(OfflineMetric::Accuracy, Some(Bound::Number(0.9)), Some(Bound::Number(0.99)));
        assert!(quality(gate).1.ends_with("required 90 % to 99 %"));
    }

    #[test]
    fn what_was_not_measured_does_not_pass() {
        let (passed, sentence) = quality(regression(OfflineMetric::Cosine, None, Bound::Number(0.1)));
        assert!(!passed);
        assert!(sentence.starts_with("cosine was not measured"), "{sentence}");
        assert!(!quality(regression(OfflineMetric::Accuracy, Some("nights"), Bound::Number(0.1))).0);
    }

    #[test]
    fn a_baseline_that_fails_its_own_gate_is_named() {
        let gates = [
            range(OfflineMetric::Accuracy, Some(Bound::Number(0.98)), None),
            range(OfflineMetric::Accuracy, Some(Bound::Number(0.97)), None),
            regression(OfflineMetric::Accuracy, None, Bound::Number(0.0)),
        ];
        let violations = baseline_violations(&gates, &[accuracy_on(None)], &Cost::default());
        assert_eq!(
            violations,
            ["the baseline itself fails a gate: accuracy is 97.6 % (95 % interval 95.6 to 98.7, n = 412), required \
              at least 98 %; relax the bound or improve the model"]
        );
        let unknown = [regression(OfflineMetric::Accuracy, Some("nights"), Bound::Number(0.1))];
        assert_eq!(baseline_violations(&unknown, &[accuracy_on(None)], &Cost::default()).len(), 1);
    }
}
