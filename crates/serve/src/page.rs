//! Reading a metrics page: the other end of what the servers export.
//!
//! A page is untrusted: it may be huge, garbage, or cut short. Whatever does not parse is an error, never half a page;
//! the caller treats that as no data.

use std::borrow::Cow;

/// Pages above this are refused; a server of ours with hundreds of slices stays below 1 MiB.
pub const MAX_PAGE: usize = 16 << 20;

/// Why a page is no data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// Larger than [`MAX_PAGE`].
    #[error("the metrics page has more than {MAX_PAGE} bytes")]
    TooLarge,
    /// Not text.
    #[error("the metrics page is not UTF-8 text")]
    NotText,
    /// A line that is neither a comment nor a sample.
    #[error("line {line} of the metrics page is not a sample: `{found}`")]
    Line {
        /// From 1.
        line: usize,
        /// The start of the line.
        found: String,
    },
    /// An OpenMetrics page must end with `# EOF`; without it the rest may be missing.
    #[error("the metrics page ends without `# EOF`: it was cut short")]
    CutShort,
}

/// One sample: `name{label="value",…} number`.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<'a> {
    /// Full name, with `_total`, `_bucket`, `_sum` or `_count`.
    pub name: &'a str,
    labels: Vec<(&'a str, Cow<'a, str>)>,
    /// May be infinite or NaN: the page says so.
    pub value: f64,
}

impl Sample<'_> {
    /// The value of a label, when the sample has it.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_ref())
    }

    /// The value as a count: `None` when it is negative, fractional beyond rounding, or not a number.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        let rounded = self.value.round();
        let is_count = rounded >= 0.0 && rounded < 2f64.powi(53) && (self.value - rounded).abs() < 1e-6;
        is_count.then_some(rounded as u64)
    }
}

/// All samples of an OpenMetrics page whose names `wanted` takes.
///
/// # Errors
/// See [`PageError`].
pub fn parse(page: &[u8], wanted: impl Fn(&str) -> bool) -> Result<Vec<Sample<'_>>, PageError> {
    if page.len() > MAX_PAGE {
        return Err(PageError::TooLarge);
    }
    let text = std::str::from_utf8(page).map_err(|_| PageError::NotText)?;
    let mut samples = Vec::new();
    let mut complete = false;
    for (index, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            complete = line == "# EOF";
            continue;
        }
        let refuse = || PageError::Line { line: index + 1, found: line.chars().take(80).collect() };
        let name_end = line.find(['{', ' ']).ok_or_else(refuse)?;
        let (name, rest) = line.split_at(name_end);
        if !wanted(name) {
            continue;
        }
        let (labels, rest) = parse_labels(rest).ok_or_else(refuse)?;
        // A timestamp or an exemplar may follow the value.
        let value = rest.split_ascii_whitespace().next().and_then(parse_number).ok_or_else(refuse)?;
        samples.push(Sample { name, labels, value });
    }
    if complete { Ok(samples) } else { Err(PageError::CutShort) }
}

fn parse_number(text: &str) -> Option<f64> {
    match text {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        _ => text.parse().ok(),
    }
}

type Labels<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// `{a="b",…}` and what follows it.
fn parse_labels(text: &str) -> Option<(Labels<'_>, &str)> {
    let Some(mut rest) = text.strip_prefix('{') else { return Some((Vec::new(), text)) };
    let mut labels = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (key, after) = rest.split_once("=\"")?;
        let end = closing_quote(after)?;
        labels.push((key, unescape(&after[..end])));
        rest = &after[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => out.push('\n'),
                Some(other) => out.push(other),
                None => {}
            },
            (c, false) => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# TYPE sentei_requests counter\n\
        sentei_requests_total{role=\"candidate\",slice=\"a \\\"b\\\" \\\\\",code=\"200\"} 42 # {trace=\"x\"} 1 2\n\
        process_cpu_seconds_total 1.5\n\
        other{} NaN\n\
        # EOF\n";

    #[test]
    fn samples_come_with_labels_and_values() {
        let samples = parse(PAGE.as_bytes(), |_| true).unwrap();
        assert_eq!(samples.len(), 3);
        assert_eq!(samples[0].label("slice"), Some("a \"b\" \\"));
        assert_eq!(samples[0].count(), Some(42));
        assert_eq!(samples[1].value.to_bits(), 1.5f64.to_bits());
        assert_eq!(samples[2].count(), None);
    }

    #[test]
    fn only_wanted_names_are_kept() {
        assert_eq!(parse(PAGE.as_bytes(), |name| name == "process_cpu_seconds_total").unwrap().len(), 1);
    }

    #[test]
    fn a_page_cut_short_is_no_page() {
        assert_eq!(parse(&PAGE.as_bytes()[..PAGE.len() - 6], |_| true), Err(PageError::CutShort));
        assert_eq!(parse(b"", |_| true), Err(PageError::CutShort));
    }

    #[test]
    fn garbage_is_refused_with_its_line() {
        assert_eq!(parse(&[0xff, 0xfe], |_| true), Err(PageError::NotText));
        for line in ["nonsense", "a{b=\"c 1", "a{b} 1", "a one"] {
            let page = format!("ok 1\n{line}\n# EOF\n");
            assert!(matches!(parse(page.as_bytes(), |_| true), Err(PageError::Line { line: 2, .. })), "{line}");
        }
    }
}
