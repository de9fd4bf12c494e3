//! How a metric is named, which unit it is in, and how its values and differences are written.

use sentei_api::evidence::Estimate;

use crate::format;

/// What a metric's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// In [0, 1], read as a percentage; differences are in points.
    Share,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Anything else.
    Number,
}

/// A metric by the name the manifest and the status use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric<'a>(pub &'a str);

impl Metric<'_> {
    fn unit(self) -> Unit {
        match self.0 {
            "accuracy" | "exactMatch" | "characterErrorRate" | "agreement" | "errorRate" | "availability" => {
                Unit::Share
            }
            "size" => Unit::Bytes,
            name if name.starts_with("latency") => Unit::Seconds,
            _ => Unit::Number,
        }
    }

    /// In words: `exact match`, `latency p99`; a user's own name stays as it is.
    pub fn label(self) -> String {
        match self.0 {
            "exactMatch" => "exact match".to_owned(),
            "characterErrorRate" => "character error rate".to_owned(),
            "meanSquaredError" => "mean squared error".to_owned(),
            "errorRate" => "error rate".to_owned(),
            "size" => "file size".to_owned(),
            name => name.strip_prefix("latencyP").map_or_else(|| name.to_owned(), |rank| format!("latency p{rank}")),
        }
    }

    /// A value with its unit.
    pub fn value(self, value: f64) -> String {
        match self.unit() {
            Unit::Share => format::percent(value),
            Unit::Seconds => format::seconds(value),
            Unit::Bytes => format::bytes(value),
            Unit::Number => format::plain(value),
        }
    }

    /// The interval of a value: `96.5 to 98.3 %`.
    pub fn interval(self, estimate: &Estimate) -> String {
        if self.unit() == Unit::Share {
            return format::percent_range(estimate.low, estimate.high);
        }
        if estimate.low.is_finite() && estimate.high.is_finite() {
            format!("{} to {}", self.value(estimate.low), self.value(estimate.high))
        } else {
            format::MISSING.to_owned()
        }
    }

    /// A signed difference with its unit: `−0.6 points`.
    pub fn difference(self, value: f64) -> String {
        match self.unit() {
            Unit::Share if value.is_finite() => format!("{} points", format::signed(value * 100.0, 1)),
            Unit::Share => format::MISSING.to_owned(),
            Unit::Seconds => format::seconds_difference(value),
            Unit::Bytes => format::signed(value, 0),
            Unit::Number => format::signed(value, 4),
        }
    }

    /// The interval of a difference: `−1.1 to −0.1`, in the unit of [`Self::difference`].
    pub fn difference_interval(self, estimate: &Estimate) -> String {
        let (scale, decimals) = match self.unit() {
            Unit::Share => (100.0, 1),
            Unit::Seconds => (1e3, 2),
            Unit::Bytes => (1.0, 0),
            Unit::Number => (1.0, 4),
        };
        if estimate.low.is_finite() && estimate.high.is_finite() {
            let end = |value: f64| format::signed(value * scale, decimals);
            format!("{} to {}", end(estimate.low), end(estimate.high))
        } else {
            format::MISSING.to_owned()
        }
    }

    /// The ends no value of this metric can pass.
    pub fn range(self) -> (f64, f64) {
        match self.unit() {
            Unit::Share => (0.0, 1.0),
            Unit::Seconds | Unit::Bytes => (0.0, f64::INFINITY),
            Unit::Number => (f64::NEG_INFINITY, f64::INFINITY),
        }
    }

    /// With the slice it is measured on: `accuracy on slice sevens`.
    pub fn on(self, slice: Option<&str>) -> String {
        slice.map_or_else(|| self.label(), |slice| format!("{} on slice {slice}", self.label()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_is_written_in_its_own_unit() {
        let read = |text: String| text.replace('\u{a0}', " ");
        assert_eq!(read(Metric("accuracy").value(0.9751)), "97.5 %");
        assert_eq!(read(Metric("latencyP99").value(0.000_484)), "0.48 ms");
        assert_eq!(read(Metric("line-stops").value(3.0)), "3");
        assert_eq!(read(Metric("accuracy").difference(-0.006)), "−0.6 points");
        assert_eq!(read(Metric("latencyP99").difference(0.000_12)), "+0.12 ms");
        assert_eq!(Metric("latencyP99").label(), "latency p99");
        assert_eq!(Metric("accuracy").on(Some("sevens")), "accuracy on slice sevens");
        let interval = Estimate { value: 0.95, low: 0.931, high: 0.964, samples: 400 };
        assert_eq!(read(Metric("accuracy").interval(&interval)), "93.1 to 96.4 %");
    }
}
