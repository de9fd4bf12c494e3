//! Numbers as people read them. Every function answers [`MISSING`] for what is not a finite number, so that no page ever
//! says `NaN`.

/// Stands wherever a figure is absent.
pub const MISSING: &str = "not measured";

/// Keeps a number and its unit on one line.
const NBSP: char = '\u{a0}';

/// A true minus, as wide as a plus: columns of signed numbers stay aligned.
const MINUS: char = '\u{2212}';

/// About three significant digits: `1.10`, `10.6`, `106`.
fn three_digits(value: f64) -> String {
    let size = value.abs();
    // Where rounding would add a digit.
    let decimals = [9.995, 99.95].iter().filter(|edge| size < **edge).count();
    if decimals == 0 && size < 1e15 { count(value.round() as u64) } else { format!("{value:.decimals$}") }
}

/// The largest unit that leaves a number of at least one, and the number with it.
fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    // 999.6 kB would print as `1,000 kB`: the next unit begins where rounding does.
    let unit = units.iter().find(|(size, _)| value >= size * 0.9995).or(units.last());
    unit.map_or_else(|| three_digits(value), |(size, name)| format!("{}{NBSP}{name}", three_digits(value / size)))
}

/// A whole number with thousands separated: `1,095,142`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Bytes in decimal units: `1.10 MB`. Zero is a size nobody measured.
pub fn bytes(value: f64) -> String {
    if !value.is_finite() || value <= 0.0 {
        return MISSING.to_owned();
    }
    if value < 999.5 {
        return format!("{value:.0}{NBSP}B");
    }
    scaled(value, &[(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")])
}

/// A latency: `0.48 ms`. Zero is a latency nobody measured.
pub fn seconds(value: f64) -> String {
    if !value.is_finite() || value <= 0.0 {
        return MISSING.to_owned();
    }
    if value < 1e-4 {
        return scaled(value, &[(1e-6, "µs")]);
    }
    scaled(value, &[(1.0, "s"), (1e-3, "ms")])
}

/// A signed difference of latencies: `+0.12 ms`.
pub fn seconds_difference(value: f64) -> String {
    if !value.is_finite() {
        return MISSING.to_owned();
    }
    format!("{}{NBSP}ms", signed(value * 1e3, 2))
}

/// A stretch of time: `0.4 s`, `2 min 05 s`, `1 h 12 min`.
pub fn duration(value: f64) -> String {
    if !value.is_finite() || value < 0.0 {
        return MISSING.to_owned();
    }
    let whole = value.round() as u64;
    match whole {
        0..=9 => format!("{value:.1}{NBSP}s"),
        10..=119 => format!("{whole}{NBSP}s"),
        120..=3599 => format!("{}{NBSP}min {:02}{NBSP}s", whole / 60, whole % 60),
        _ => format!("{}{NBSP}h {:02}{NBSP}min", whole / 3600, whole / 60 % 60),
    }
}

/// Multiply-accumulates or parameters: `40.8 M`. Zero is a count nobody made.
pub fn magnitude(value: u64) -> String {
    match value {
        0 => MISSING.to_owned(),
        1..=999 => value.to_string(),
        _ => scaled(value as f64, &[(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")]),
    }
}

/// The percentage of a share without its sign. A share that is not quite all or nothing never reads `100.0` or `0.0`.
fn percentage(share: f64) -> String {
    let hidden = |text: &str| {
        (text.trim_start_matches('-').trim_start_matches(['0', '.']).is_empty() && share != 0.0)
            || (text.starts_with("100") && share < 1.0)
    };
    let mut text = format!("{:.1}", share * 100.0);
    if hidden(&text) {
        text = format!("{:.2}", share * 100.0);
    }
    if hidden(&text) {
        return if share > 0.5 { ">99.99".to_owned() } else { "<0.01".to_owned() };
    }
    text.replace('-', &MINUS.to_string())
}

/// A share as `97.6 %`.
pub fn percent(share: f64) -> String {
    if share.is_finite() { format!("{}{NBSP}%", percentage(share)) } else { MISSING.to_owned() }
}

/// A range of shares as `96.5 to 98.3 %`.
pub fn percent_range(low: f64, high: f64) -> String {
    if low.is_finite() && high.is_finite() {
        format!("{} to {}{NBSP}%", percentage(low), percentage(high))
    } else {
        MISSING.to_owned()
    }
}

/// With its sign always shown, and zero without one: `+0.2`, `−0.6`, `0.0`.
pub fn signed(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return MISSING.to_owned();
    }
    let text = format!("{:.decimals$}", value.abs());
    let zero = text.bytes().all(|byte| byte == b'0' || byte == b'.');
    match (zero, value > 0.0) {
        (true, _) => text,
        (false, true) => format!("+{text}"),
        (false, false) => format!("{MINUS}{text}"),
    }
}

/// A number of no known unit, to four significant digits at most: `0.9876`, `12.5`.
pub fn plain(value: f64) -> String {
    if !value.is_finite() {
        return MISSING.to_owned();
    }
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e6).contains(&size) {
        return format!("{value:.2e}").replace('-', &MINUS.to_string());
    }
    let decimals = if size < 1.0 {
        4
    } else if size < 1e4 {
        2
    } else {
        0
    };
    let text = format!("{value:.decimals$}");
    let text = if decimals > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    text.replace('-', &MINUS.to_string())
}

/// Without the zeros that only a round value has: `200 kB`, `98 %`, for the ticks of an axis.
pub fn round(text: &str) -> String {
    match text.split_once(NBSP) {
        Some((number, unit)) if number.contains('.') => {
            format!("{}{NBSP}{unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text.to_owned(),
    }
}

/// How many times more `before` is than `after`: `10.6x`. `None` where either is missing.
pub fn factor(before: f64, after: f64) -> Option<f64> {
    let known = |value: f64| value.is_finite() && value > 0.0;
    (known(before) && known(after)).then(|| before / after)
}

/// A factor as the manifest writes it: `10.6x`, `2.0x`, `120x`.
pub fn times(factor: f64) -> String {
    if !factor.is_finite() {
        return MISSING.to_owned();
    }
    if factor < 99.95 { format!("{factor:.1}x") } else { format!("{factor:.0}x") }
}

/// `10.6x smaller`, `1.2x larger`, or `unchanged` within two percent.
pub fn change(factor: f64, less: &str, more: &str) -> String {
    if (0.98..=1.02).contains(&factor) {
        "unchanged".to_owned()
    } else if factor < 1.0 {
        format!("{} {more}", times(1.0 / factor).replace("1.0x", "slightly"))
    } else {
        format!("{} {less}", times(factor).replace("1.0x", "slightly"))
    }
}

/// `1 stage`, `2 stages`.
pub fn plural(number: usize, one: &str, many: &str) -> String {
    format!("{} {}", count(number as u64), if number == 1 { one } else { many })
}

/// `a`, `a and b`, `a, b and c`.
pub fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The first letter in upper case, for the start of a sentence.
pub fn sentence_start(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        text.replace(NBSP, " ")
    }

    #[test]
    fn sizes_read_in_three_digits() {
        let sizes = [312.0, 1_095_142.0, 103_412.0, 999_600.0, 21_234_383.0].map(|size| read(&bytes(size)));
        assert_eq!(sizes, ["312 B", "1.10 MB", "103 kB", "1.00 MB", "21.2 MB"]);
    }

    #[test]
    fn latencies_and_durations_read_in_their_own_unit() {
        let latencies = [0.000_484, 0.0125, 1.5, 0.000_008_3].map(|value| read(&seconds(value)));
        assert_eq!(latencies, ["0.48 ms", "12.5 ms", "1.50 s", "8.30 µs"]);
        let spans = [0.42, 14.2, 125.0, 4320.0].map(|value| read(&duration(value)));
        assert_eq!(spans, ["0.4 s", "14 s", "2 min 05 s", "1 h 12 min"]);
    }

    #[test]
    fn a_percentage_never_hides_a_rare_failure_or_claims_perfection() {
        let shares = [0.976, 1.0, 0.9996, 0.0, 0.0004, 0.000_01, 0.999_999].map(|share| read(&percent(share)));
        assert_eq!(shares, ["97.6 %", "100.0 %", "99.96 %", "0.0 %", "0.04 %", "<0.01 %", ">99.99 %"]);
    }

    #[test]
    fn what_is_no_number_says_so() {
        for text in [
            bytes(f64::NAN),
            seconds(0.0),
            percent(f64::NAN),
            plain(f64::INFINITY),
            duration(f64::NAN),
            signed(f64::NAN, 1),
            magnitude(0),
            times(f64::NAN),
        ] {
            assert_eq!(text, MISSING);
        }
        assert_eq!(factor(1.0, 0.0), None);
    }

    #[test]
    fn signs_are_shown_except_on_zero() {
        assert_eq!([0.2, -0.6, -0.04, 0.0].map(|value| signed(value, 1)), ["+0.2", "−0.6", "0.0", "0.0"]);
    }

    #[test]
    fn a_change_is_a_word_with_its_factor() {
        assert_eq!(change(10.62, "smaller", "larger"), "10.6x smaller");
        assert_eq!(change(0.8, "faster", "slower"), "1.2x slower");
        assert_eq!(change(1.01, "faster", "slower"), "unchanged");
    }

    #[test]
    fn ticks_lose_the_zeros_of_round_values() {
        let ticks =
            [bytes(200e3), bytes(2e6), percent(0.98), percent(0.0), seconds(0.0015)].map(|it| read(&round(&it)));
        assert_eq!(ticks, ["200 kB", "2 MB", "98 %", "0 %", "1.5 ms"]);
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!([7, 1500, 1_095_142].map(count), ["7", "1,500", "1,095,142"]);
    }
}
