//! Numbers as people write them in a manifest: `2x`, `10%`, `20ms`, `5m`.
//!
//! Each type parses once, keeps the number in one unit, and prints back what was written.

use std::{fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Why a quantity was refused: what was found and what would have been right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not {expected}")]
pub struct QuantityError {
    found: String,
    expected: &'static str,
}

impl QuantityError {
    /// What would have been right, in words.
    #[must_use]
    pub const fn expected(&self) -> &'static str {
        self.expected
    }
}

fn refuse<T>(found: &str, expected: &'static str) -> Result<T, QuantityError> {
    Err(QuantityError { found: found.to_owned(), expected })
}

/// "This many times smaller or faster", written `2x` or `1.25x`; in (1, 1000].
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Factor(f64);

impl Factor {
    pub(crate) const EXPECTED: &'static str = "a factor above 1x and at most 1000x, such as 2x or 1.25x";

    /// The factor as a plain number.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }

    /// Wraps a number in (1, 1000].
    ///
    /// # Errors
    /// When the number is outside that range or not finite.
    pub fn new(value: f64) -> Result<Self, QuantityError> {
        if value > 1.0 && value <= 1000.0 { Ok(Self(value)) } else { refuse(&format!("{value}x"), Self::EXPECTED) }
    }
}

impl FromStr for Factor {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        match text.strip_suffix('x').and_then(|number| number.parse().ok()) {
            Some(number) => Self::new(number).or_else(|_| refuse(text, Self::EXPECTED)),
            None => refuse(text, Self::EXPECTED),
        }
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x", self.0)
    }
}

/// A span of time, written `500us`, `250ms`, `5m`, `1h30m`; at most 365 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

impl Span {
    pub(crate) const EXPECTED: &'static str = "a duration such as 250ms, 30s, 5m, 1h30m or 24h, of at most 365 days";
    const MAX: Duration = Duration::from_hours(365 * 24);

    /// The span as a standard duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }

    /// A span of whole milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u32) -> Self {
        Self(Duration::from_millis(millis as u64))
    }

    /// A span of whole seconds.
    #[must_use]
    pub const fn from_secs(secs: u32) -> Self {
        Self(Duration::from_secs(secs as u64))
    }
}

impl FromStr for Span {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let mut total = 0.0_f64;
        let mut rest = text;
        if rest.is_empty() {
            return refuse(text, Self::EXPECTED);
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let Ok(number) = rest[..digits].parse::<f64>() else { return refuse(text, Self::EXPECTED) };
            rest = &rest[digits..];
            let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let seconds = match &rest[..unit] {
                "us" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return refuse(text, Self::EXPECTED),
            };
            total += number * seconds;
            rest = &rest[unit..];
        }
        match Duration::try_from_secs_f64(total) {
            Ok(duration) if duration <= Self::MAX => Ok(Self(duration)),
            _ => refuse(text, Self::EXPECTED),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        if !nanos.is_multiple_of(1_000_000_000) {
            return match nanos % 1_000_000 {
                0 => write!(f, "{}ms", nanos / 1_000_000),
                _ => write!(f, "{}us", nanos as f64 / 1e3),
            };
        }
        let seconds = self.0.as_secs();
        let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
        if seconds == 0 {
            return f.write_str("0s");
        }
        parts.iter().filter(|(count, _)| *count > 0).try_for_each(|(count, unit)| write!(f, "{count}{unit}"))
    }
}

/// A bound as written: a plain number (`0.98`), a share (`10%`) or a time (`20ms`).
///
/// The schema leaves the type open: Kubernetes has no "number or string", and quoting every `0.005` would be a trap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// A number in the metric's own unit: a share in [0, 1] for accuracy, agreement and errors.
    Number(f64),
    /// A share of the baseline's value, written with `%`; 0.1 for `10%`.
    Relative(f64),
    /// A time.
    Time(Span),
}

impl Bound {
    pub(crate) const EXPECTED: &'static str = "a number such as 0.98, a share such as 10%, or a time such as 20ms";

    /// The number in base units: the number itself, the share as a fraction, the time in seconds.
    #[must_use]
    pub fn base_value(self) -> f64 {
        match self {
            Self::Number(value) | Self::Relative(value) => value,
            Self::Time(span) => span.get().as_secs_f64(),
        }
    }
}

impl FromStr for Bound {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let finite = |number: &str| number.parse::<f64>().ok().filter(|value| value.is_finite());
        if let Some(share) = text.strip_suffix('%') {
            return finite(share)
                .map_or_else(|| refuse(text, Self::EXPECTED), |share| Ok(Self::Relative(share / 100.0)));
        }
        match (finite(text), text.parse()) {
            (Some(number), _) => Ok(Self::Number(number)),
            (None, Ok(span)) => Ok(Self::Time(span)),
            (None, Err(_)) => refuse(text, Self::EXPECTED),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(value) => write!(f, "{value}"),
            // Rounded to what a person writes: 0.07 * 100 is 7.000000000000001.
            Self::Relative(share) => write!(f, "{}%", (share * 1e8).round() / 1e6),
            Self::Time(span) => write!(f, "{span}"),
        }
    }
}

impl Serialize for Bound {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(value) => serializer.serialize_f64(*value),
            Self::Relative(_) | Self::Time(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Bound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(f64),
            Text(String),
        }
        match Written::deserialize(deserializer) {
            Ok(Written::Number(value)) => Ok(Self::Number(value)),
            Ok(Written::Text(text)) => text.parse().map_err(de::Error::custom),
            Err(_) => Err(de::Error::custom(Self::EXPECTED)),
        }
    }
}

impl JsonSchema for Bound {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Bound".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kubernetes-preserve-unknown-fields": true, "description": Self::EXPECTED })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// The SHA-256 of an artifact, as 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(String);

impl Digest {
    pub(crate) const EXPECTED: &'static str = "a SHA-256 of 64 lower-case hexadecimal digits";

    /// The 64 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl FromStr for Digest {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let valid = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if valid { Ok(Self(text.to_owned())) } else { refuse(text, Self::EXPECTED) }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Serde and schema by way of `Display` and `FromStr`: a string with a pattern the API server checks.
macro_rules! written_as_string {
    ($type:ident, $pattern:literal, $max:literal $(, $rule:literal)?) => {
        impl $type {
            pub(crate) const PATTERN: &'static str = $pattern;
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string", "pattern": $pattern, "maxLength": $max, "description": $type::EXPECTED,
                    $("x-kubernetes-validations": [{ "rule": $rule, "message": $type::EXPECTED }],)?
                })
            }

            fn inline_schema() -> bool {
                true
            }
        }
    };
}

// The API server admits exactly what the parsers take: the pattern says (1, 1000] digit by digit, the rule says 365 days.
written_as_string!(Factor, r"^(1\.[0-9]*[1-9][0-9]*|[2-9](\.[0-9]+)?|[1-9][0-9]{1,2}(\.[0-9]+)?|1000(\.0+)?)x$", 16);
written_as_string!(Span, r"^([0-9]{1,9}(\.[0-9]{1,9})?(us|ms|s|m|h))+$", 32, "duration(self) <= duration('8760h')");
written_as_string!(Digest, r"^[0-9a-f]{64}$", 64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_print_what_was_written() {
        for text in ["2x", "1.25x"] {
            assert_eq!(text.parse::<Factor>().unwrap().to_string(), text);
        }
        for text in ["0s", "500us", "250ms", "1500ms", "30s", "5m", "1h30m", "24h"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        for text in ["0.98", "10%", "7%", "0.5%", "20ms", "500us"] {
            assert_eq!(text.parse::<Bound>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn nonsense_is_refused_with_what_was_found_and_expected() {
        assert_eq!(
            "0.5x".parse::<Factor>().unwrap_err().to_string(),
            "`0.5x` is not a factor above 1x and at most 1000x, such as 2x or 1.25x"
        );
        for text in ["", "5", "5 minutes", "m5", "9999999h", "1..5s"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        for text in ["", "NaN", "inf", "ten", "10 %x"] {
            assert!(text.parse::<Bound>().is_err(), "{text}");
        }
        assert!("ABC".parse::<Digest>().is_err());
    }

    #[test]
    fn a_bound_may_be_a_number_or_text_in_json() {
        assert_eq!(serde_json::from_str::<Bound>("0.01").unwrap(), Bound::Number(0.01));
        assert_eq!(serde_json::from_str::<Bound>("\"10%\"").unwrap(), Bound::Relative(0.1));
        assert_eq!(serde_json::from_str::<Bound>("\"20ms\"").unwrap(), Bound::Time(Span::from_millis(20)));
        assert!(serde_json::from_str::<Bound>("[1]").is_err());
    }
}
