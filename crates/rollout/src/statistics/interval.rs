//! Intervals for display. Verdicts do not use them: an interval that is looked at again and again is not one.

/// The 95 % interval of a share (Wilson 1927): (share, low, high); none without samples.
#[must_use]
pub fn wilson(bad: u64, total: u64) -> Option<(f64, f64, f64)> {
    /// Two-sided 95 % point of the normal distribution.
    const Z: f64 = 1.959_963_984_540_054;
    if total == 0 {
        return None;
    }
    let n = total as f64;
    let share = bad as f64 / n;
    let shrink = 1.0 + Z * Z / n;
    let centre = (share + Z * Z / (2.0 * n)) / shrink;
    let half = Z / shrink * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    Some((share, (centre - half).clamp(0.0, share), (centre + half).clamp(share, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_agrees_with_the_published_example() {
        // Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662.
        let (share, low, high) = wilson(81, 263).unwrap();
        assert!((share - 0.308).abs() < 1e-3 && (low - 0.2553).abs() < 1e-4 && (high - 0.3662).abs() < 1e-4);
        assert_eq!(wilson(0, 0), None);
        assert!(wilson(0, 10).unwrap().1 <= 0.0 && wilson(10, 10).unwrap().2 >= 1.0);
    }
}
