//! How far there is to go.

use sentei_api::{evidence::Cost, spec::Objective};

use crate::search::Measure;

/// Bytes a quantised layer adds to a file: names, scales and zero points of its `QuantizeLinear` pairs (measured).
const LAYER_BYTES: f64 = 400.0;

/// What a later stage will still do for size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Later {
    /// Nothing.
    Nothing,
    /// Eight-bit weights, in this many layers.
    Int8 {
        /// Layers with a weight.
        layers: usize,
    },
}

impl Later {
    /// The size of the file when the later stage is done.
    fn size(self, cost: &Cost) -> f64 {
        let size = cost.size as f64;
        match self {
            Self::Nothing => size,
            Self::Int8 { layers } => size - 3.0 * cost.parameters as f64 + LAYER_BYTES * layers as f64,
        }
    }
}

/// Whether every part of the objective is met.
#[must_use]
pub fn is_met(objective: &Objective, baseline: &Cost, cost: &Cost) -> bool {
    parts(objective, baseline, cost, Later::Nothing).iter().all(|(_, share)| *share >= 1.0)
}

/// Whether nothing is asked for but what the gates allow.
#[must_use]
pub fn is_open(objective: &Objective) -> bool {
    objective.latency.is_none() && objective.size.is_none() && objective.macs.is_none()
}

/// What to cut next, and to which share of what it is now: the parts of the objective that are not met (later stages
/// counted in), the furthest from it first. With nothing set, as little multiplying as the gates allow.
#[must_use]
pub fn wanted(objective: &Objective, baseline: &Cost, cost: &Cost, later: Later) -> Vec<(Measure, f64)> {
    if is_open(objective) {
        return vec![(Measure::Macs, 0.0)];
    }
    let mut parts = parts(objective, baseline, cost, later);
    parts.retain(|(_, share)| *share < 1.0);
    parts.sort_by(|a, b| a.1.total_cmp(&b.1));
    parts
}

/// For each part of the objective, the share its cost must fall to; at least 1 when it is met.
fn parts(objective: &Objective, baseline: &Cost, cost: &Cost, later: Later) -> Vec<(Measure, f64)> {
    let ratio = |target: f64, now: f64| if now > 0.0 { target / now } else { f64::INFINITY };
    let mut found = Vec::new();
    if let Some(macs) = objective.macs {
        found.push((Measure::Macs, ratio(baseline.macs as f64 / macs.get(), cost.macs as f64)));
    }
    if let Some(latency) = objective.latency {
        found.push((Measure::Time, ratio(baseline.latency_p50 / latency.get(), cost.latency_p50)));
    }
    if let Some(size) = objective.size {
        let target = baseline.size as f64 / size.get();
        let then = later.size(cost);
        // Only weights shrink: what is too much must come off their part of the file.
        let weights = if later == Later::Nothing { 4.0 } else { 1.0 } * cost.parameters as f64;
        let share =
            if then <= target { ratio(target, then) } else { ratio((weights - (then - target)).max(0.0), weights) };
        found.push((Measure::Bytes, share));
    }
    found
}

#[cfg(test)]
mod tests {
    use sentei_api::quantity::Factor;

    use super::*;

    fn cost(size: u64, macs: u64, latency: f64) -> Cost {
        Cost { size, parameters: size / 5, macs, latency_p50: latency, latency_p99: latency }
    }

    fn factor(value: f64) -> Factor {
        Factor::new(value).expect("in range")
    }

    #[test]
    fn the_part_furthest_from_its_goal_comes_next() {
        let objective = Objective { latency: Some(factor(2.0)), size: None, macs: Some(factor(4.0)) };
        let base = cost(1000, 1000, 1.0);
        let wanted = |now: &Cost| wanted(&objective, &base, now, Later::Nothing);
        assert_eq!(wanted(&base), [(Measure::Macs, 0.25), (Measure::Time, 0.5)]);
        assert_eq!(wanted(&cost(1000, 200, 1.0)), [(Measure::Time, 0.5)]);
        assert_eq!(wanted(&cost(1000, 200, 0.5)), []);
        assert!(is_met(&objective, &base, &cost(1000, 250, 0.5)));
        assert!(!is_met(&objective, &base, &cost(1000, 251, 0.5)));
    }

    #[test]
    fn eight_bits_to_come_count_towards_size() {
        let objective = Objective { latency: None, size: Some(factor(2.0)), macs: None };
        let base = Cost { size: 1_000_000, parameters: 240_000, ..cost(0, 1000, 1.0) };
        assert_eq!(wanted(&objective, &base, &base, Later::Int8 { layers: 10 }), []);
        let found = wanted(&objective, &base, &base, Later::Nothing);
        assert_eq!(found[0].0, Measure::Bytes);
        assert!((found[0].1 - 460.0 / 960.0).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn nothing_set_is_met_and_never_finished() {
        let base = cost(1000, 1000, 1.0);
        assert!(is_met(&Objective::default(), &base, &base));
        assert_eq!(wanted(&Objective::default(), &base, &base, Later::Nothing), [(Measure::Macs, 0.0)]);
    }
}
