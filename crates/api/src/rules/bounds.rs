//! Rules on bounds: that there is one, that it is in the metric's unit, that it can hold.

use super::{Rule, Violation};
use crate::{
    finding::field,
    quantity::Bound,
    spec::{Gate, OfflineMetric, OnlineMetric, ThresholdRange, rollout::WELL_KNOWN_METRICS},
};

static BOUND_GIVEN: Rule = Rule::new("thresholdRange, maxRegression, or both", None);
static RANGE_HAS_END: Rule = Rule::new("`min`, `max`, or both", None);
static MIN_BELOW_MAX: Rule = Rule::new("a min of at most max", None);
static IN_UNIT: Rule = Rule::new("a bound in the metric's own unit", None);
static HAS_BASELINE: Rule = Rule::new("thresholdRange alone on a metric that has no value of the baseline's own", None);

pub(super) static ALL: &[&Rule] = &[&BOUND_GIVEN, &RANGE_HAS_END, &MIN_BELOW_MAX, &IN_UNIT, &HAS_BASELINE];

/// What a metric counts in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// Of answers, in [0, 1].
    Share,
    /// In [-1, 1].
    Cosine,
    /// At least 0, without an upper end: errors over length, squared errors.
    Amount,
    /// Of a file.
    Bytes,
    /// Of one request.
    Time,
    /// The query's.
    Own,
}

impl Unit {
    fn in_words(self) -> &'static str {
        match self {
            Self::Share => "a number from 0 to 1, such as 0.98",
            Self::Cosine => "a number from -1 to 1, such as 0.95",
            Self::Amount => "a number of at least 0",
            Self::Bytes => "a number of bytes, at least 1",
            Self::Time => "a time such as 20ms",
            Self::Own => "a number in the query's unit, or a time such as 20ms",
        }
    }

    fn takes(self, bound: Bound) -> bool {
        match (self, bound) {
            (Self::Share, Bound::Number(share)) => (0.0..=1.0).contains(&share),
            (Self::Cosine, Bound::Number(cosine)) => (-1.0..=1.0).contains(&cosine),
            (Self::Amount, Bound::Number(amount)) => amount >= 0.0,
            (Self::Bytes, Bound::Number(bytes)) => bytes >= 1.0,
            (Self::Time, Bound::Time(time)) => !time.get().is_zero(),
            (Self::Own, Bound::Number(_) | Bound::Time(_)) => true,
            _ => false,
        }
    }

    /// Whether a regression may be this large: zero is "no worse at all", a share is of the baseline's value.
    fn takes_regression(self, bound: Bound) -> bool {
        match bound {
            Bound::Relative(share) => share >= 0.0 && (self != Self::Share || share <= 1.0),
            Bound::Number(0.0) => true,
            Bound::Number(amount) => self != Self::Time && amount > 0.0 && (self != Self::Share || amount <= 1.0),
            Bound::Time(_) => self == Self::Time,
        }
    }

    fn regression_in_words(self) -> &'static str {
        match self {
            Self::Share => {
                "a number from 0 to 1 (0.005 is half a point), or a share of the baseline's value such as 1%"
            }
            Self::Time => "a share of the baseline's value such as 10%, or a time such as 5ms",
            _ => "a number of at least 0, or a share of the baseline's value such as 10%",
        }
    }
}

/// The bound or bounds on one metric, wherever they are written.
struct Bounded<'a> {
    metric: &'a str,
    unit: Unit,
    /// Whether the baseline has a value of its own to compare with.
    has_baseline: bool,
    range: Option<&'a ThresholdRange>,
    regression: Option<Bound>,
}

pub(super) fn gate(gate: &Gate, path: &str, found: &mut Vec<Violation>) {
    let unit = match gate.metric {
        OfflineMetric::Accuracy | OfflineMetric::ExactMatch | OfflineMetric::Agreement => Unit::Share,
        OfflineMetric::Cosine => Unit::Cosine,
        OfflineMetric::CharacterErrorRate | OfflineMetric::MeanSquaredError => Unit::Amount,
        OfflineMetric::LatencyP50 | OfflineMetric::LatencyP99 => Unit::Time,
        OfflineMetric::Size => Unit::Bytes,
    };
    let bounded = Bounded {
        metric: gate.metric.as_str(),
        unit,
        has_baseline: !matches!(gate.metric, OfflineMetric::Agreement | OfflineMetric::Cosine),
        range: gate.threshold_range.as_ref(),
        regression: gate.max_regression,
    };
    check(&bounded, path, found);
}

pub(super) fn online_metric(metric: &OnlineMetric, path: &str, found: &mut Vec<Violation>) {
    let known = WELL_KNOWN_METRICS.contains(&metric.name.as_str());
    let unit = match metric.name.as_str() {
        _ if metric.prometheus.is_some() || !known => Unit::Own,
        name if name.starts_with("latency") => Unit::Time,
        _ => Unit::Share,
    };
    let bounded = Bounded {
        metric: &metric.name,
        unit,
        has_baseline: metric.prometheus.is_none() && metric.name != "agreement",
        range: metric.threshold_range.as_ref(),
        regression: metric.max_regression,
    };
    check(&bounded, path, found);
}

fn check(bounded: &Bounded<'_>, path: &str, found: &mut Vec<Violation>) {
    if bounded.range.is_none() && bounded.regression.is_none() {
        let remedy =
            if bounded.has_baseline { "such as maxRegression: 1%" } else { "such as thresholdRange: { min: 0.98 }" };
        let what = format!("`{}` without a bound", bounded.metric);
        found.push(Violation::new(&BOUND_GIVEN, path, what, remedy));
    }
    if let Some(range) = bounded.range {
        check_range(range, bounded, &field(path, "thresholdRange"), found);
    }
    if let Some(bound) = bounded.regression {
        let at = field(path, "maxRegression");
        if !bounded.has_baseline {
            let what = format!("maxRegression on `{}`", bounded.metric);
            let remedy = "agreement and cosine compare with the baseline already, and a query gives one number";
            found.push(Violation::new(&HAS_BASELINE, at, what, remedy));
        } else if !bounded.unit.takes_regression(bound) {
            let what = format!("{bound} on `{}`", bounded.metric);
            found.push(Violation::new(&IN_UNIT, at, what, format!("write {}", bounded.unit.regression_in_words())));
        }
    }
}

fn check_range(range: &ThresholdRange, bounded: &Bounded<'_>, path: &str, found: &mut Vec<Violation>) {
    if range.min.is_none() && range.max.is_none() {
        found.push(Violation::new(&RANGE_HAS_END, path, "an empty range", ""));
    }
    let mut units_fit = true;
    for (end, bound) in [("min", range.min), ("max", range.max)] {
        if let Some(bound) = bound.filter(|bound| !bounded.unit.takes(*bound)) {
            units_fit = false;
            let what = format!("{bound} on `{}`", bounded.metric);
            let remedy = format!("write {}", bounded.unit.in_words());
            found.push(Violation::new(&IN_UNIT, field(path, end), what, remedy));
        }
    }
    if let (Some(min), Some(max), true) = (range.min, range.max, units_fit)
        && min.base_value() > max.base_value()
    {
        let what = format!("min {min} above max {max}");
        found.push(Violation::new(&MIN_BELOW_MAX, path, what, "no value could pass: swap them, or drop one"));
    }
}
