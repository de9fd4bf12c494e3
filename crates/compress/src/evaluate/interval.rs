//! 95 % intervals: what a figure measured on n rows says about the domain.

use sentei_api::evidence::Estimate;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Two-sided 95 % point of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// Share of right rows, with Wilson's score interval; without rows nothing is known.
pub(crate) fn proportion(right: u64, rows: u64) -> Estimate {
    Estimate::of_share(right, rows).unwrap_or(Estimate { value: 0.0, low: 0.0, high: 1.0, samples: 0 })
}

/// Difference of two shares on the same rows, with the adjusted Wald interval for pairs (Bonett and Price, Journal of
/// Educational and Behavioral Statistics 2012), which stays honest when few rows differ or none.
///
/// `gained` rows only the candidate has right, `lost` rows only the baseline.
pub(crate) fn paired_proportions(gained: u64, lost: u64, rows: u64) -> Estimate {
    let n = rows.max(1) as f64;
    let (gain, loss) = ((gained as f64 + 1.0) / (n + 2.0), (lost as f64 + 1.0) / (n + 2.0));
    let centre = gain - loss;
    let half = Z * ((gain + loss - centre * centre) / (n + 2.0)).sqrt();
    let value = (gained as f64 - lost as f64) / n;
    Estimate { value, low: (centre - half).max(-1.0), high: (centre + half).min(1.0), samples: rows }
}

/// Ratio of two sums over the same rows, Σ values / Σ weights, with Student's t interval on the linearised residuals
/// (Cochran, Sampling Techniques, 1977, section 6.4). With weights of 1 it is the mean and its plain t interval.
pub(crate) fn ratio(values: &[f64], weights: &[f64]) -> Estimate {
    let rows = values.len();
    let n = rows.max(1) as f64;
    let weight = weights.iter().sum::<f64>() / n;
    if weight <= 0.0 {
        return Estimate { value: 0.0, low: 0.0, high: 0.0, samples: rows as u64 };
    }
    let value = values.iter().sum::<f64>() / n / weight;
    let squares: f64 = values.iter().zip(weights).map(|(v, w)| ((v - value * w) / weight).powi(2)).sum();
    let half = if rows < 2 { 0.0 } else { t_quantile(rows - 1) * (squares / (n - 1.0) / n).sqrt() };
    Estimate { value, low: value - half, high: value + half, samples: rows as u64 }
}

/// Two-sided 95 % point of Student's t.
fn t_quantile(freedom: usize) -> f64 {
    StudentsT::new(0.0, 1.0, freedom as f64).map_or(Z, |t| t.inverse_cdf(0.975))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 5e-5, "{found}, expected {expected}");
    }

    #[test]
    fn wilson_gives_the_published_interval() {
        // Newcombe, Statistics in Medicine 1998: 81 of 263, score method without continuity correction.
        let estimate = proportion(81, 263);
        close(estimate.low, 0.2553);
        close(estimate.high, 0.3662);
        let none = proportion(0, 20);
        close(none.low, 0.0);
        close(none.high, 0.1611);
        let all = proportion(20, 20);
        close(all.low, 0.8389);
        close(all.high, 1.0);
    }

    #[test]
    fn a_paired_difference_gives_the_interval_of_the_papers_formula() {
        // Bentur et al. 2009, as discussed by Fagerland, Lydersen and Laake, Statistics in Medicine 2014: 1 gained,
        // 7 lost of 21. By hand: 2/23 - 8/23 -+ 1.96 sqrt((10/23 - (6/23)^2) / 23).
        let estimate = paired_proportions(1, 7, 21);
        close(estimate.value, -6.0 / 21.0);
        close(estimate.low, -0.50836);
        close(estimate.high, -0.01338);
    }

    #[test]
    fn no_difference_seen_is_not_certainty() {
        let estimate = paired_proportions(0, 0, 412);
        close(estimate.value, 0.0);
        assert!(estimate.low < -0.004 && estimate.high > 0.004, "{estimate:?}");
    }

    #[test]
    fn a_mean_has_students_interval() {
        // t with 4 degrees of freedom is 2.7764; standard deviation of 1..5 is 1.5811.
        let estimate = ratio(&[1.0, 2.0, 3.0, 4.0, 5.0], &[1.0; 5]);
        close(estimate.value, 3.0);
        close(estimate.low, 3.0 - 2.776_445 * 1.581_139 / 5.0_f64.sqrt());
        close(estimate.high, 3.0 + 2.776_445 * 1.581_139 / 5.0_f64.sqrt());
    }

    #[test]
    fn a_ratio_weighs_long_rows_more() {
        let estimate = ratio(&[1.0, 0.0], &[2.0, 8.0]);
        close(estimate.value, 0.1);
        let exact = ratio(&[1.0, 4.0], &[2.0, 8.0]);
        close(exact.low, 0.5);
        close(exact.high, 0.5);
    }
}
