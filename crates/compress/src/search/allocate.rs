//! Shares a cut out over the groups: always the step that does least damage for what it saves.
//!
//! Damage adds up over groups only roughly, which is why a stage takes a modest step and measures again.

use super::structure::Structure;

/// Levels looked ahead: a group whose next level hardly saves anything may still be the best at the one after.
const LOOK_AHEAD: usize = 2;
/// Damage of a step that seems to do none, so that larger savings win among harmless steps.
const LEAST_DAMAGE: f64 = 1e-6;

/// What the greedy choice came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Allocation {
    /// Units kept of each group.
    pub widths: Vec<usize>,
    /// Damage of each group's cut on its own.
    pub damage: Vec<f64>,
    /// The cost of the model then.
    pub cost: f64,
}

/// Cuts groups further, from the widths `start`, until the cost is at most `target` or no level is left. `levels[g]` are
/// the widths group `g` may take, widest first (empty: untouched). `measure(g, width)` gives the damage of that cut alone;
/// it is asked only for what is needed.
///
/// # Errors
/// Whatever `measure` fails with.
pub fn allocate<E>(
    structure: &Structure,
    levels: &[Vec<usize>],
    start: &[usize],
    target: f64,
    mut measure: impl FnMut(usize, usize) -> Result<f64, E>,
) -> Result<Allocation, E> {
    let mut curves: Vec<Vec<f64>> = vec![Vec::new(); levels.len()];
    let mut widths = start.to_vec();
    // How many of its levels each group has taken already.
    let mut taken: Vec<usize> =
        (0..levels.len()).map(|group| levels[group].iter().filter(|&&level| level >= widths[group]).count()).collect();
    let mut cost = structure.cost(&widths);
    for (group, curve) in curves.iter_mut().enumerate() {
        measure_to(curve, &levels[group], taken[group], |width| measure(group, width))?;
    }
    while cost > target {
        let mut best: Option<(f64, usize, usize, f64)> = None;
        for group in 0..levels.len() {
            let now = damage_at(&curves[group], taken[group]);
            for next in taken[group] + 1..=(taken[group] + LOOK_AHEAD).min(levels[group].len()) {
                measure_to(&mut curves[group], &levels[group], next, |width| measure(group, width))?;
                let mut trial = widths.clone();
                trial[group] = levels[group][next - 1];
                let cheaper = structure.cost(&trial);
                let saved = cost - cheaper;
                if saved <= 0.0 {
                    continue;
                }
                let score = (damage_at(&curves[group], next) - now + LEAST_DAMAGE) / saved;
                if score.is_finite() && best.is_none_or(|(least, ..)| score < least) {
                    best = Some((score, group, next, cheaper));
                }
            }
        }
        let Some((_, group, next, cheaper)) = best else { break };
        taken[group] = next;
        widths[group] = levels[group][next - 1];
        cost = cheaper;
    }
    let damage = curves.iter().zip(&taken).map(|(curve, &level)| damage_at(curve, level)).collect();
    Ok(Allocation { widths, damage, cost })
}

/// Extends a curve to `length` levels.
fn measure_to<E>(
    curve: &mut Vec<f64>,
    levels: &[usize],
    length: usize,
    mut measure: impl FnMut(usize) -> Result<f64, E>,
) -> Result<(), E> {
    while curve.len() < length {
        let before = damage_at(curve, curve.len());
        let found = measure(levels[curve.len()])?;
        // Less width never does less damage; what says otherwise is noise. NaN is as bad as can be.
        curve.push(if found.is_nan() { f64::INFINITY } else { found.max(before) });
    }
    Ok(())
}

/// Damage after `level` steps; none after none.
fn damage_at(curve: &[f64], level: usize) -> f64 {
    level.checked_sub(1).map_or(0.0, |index| curve[index])
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::search::structure::{Axis, Part};

    fn structure(groups: usize) -> Structure {
        let part = |group| Part { cost: 16.0, axes: vec![Axis { length: 16, block: 1, groups: vec![(group, 1)] }] };
        Structure { widths: vec![16; groups], fixed: 0.0, parts: (0..groups).map(part).collect() }
    }

    fn run(target: f64, damage: impl Fn(usize, usize) -> f64) -> Allocation {
        run_from(&[16, 16], target, damage)
    }

    fn run_from(start: &[usize], target: f64, damage: impl Fn(usize, usize) -> f64) -> Allocation {
        let levels = vec![vec![12, 8, 4]; 2];
        allocate(&structure(2), &levels, start, target, |group, width| Ok::<_, Infallible>(damage(group, width)))
            .unwrap_or_else(|never| match never {})
    }

    #[test]
    fn a_second_cut_goes_on_where_the_first_ended() {
        let damage = |group: usize, width: usize| (group + 1) as f64 * (16 - width) as f64;
        let first = run(24.0, damage);
        assert_eq!(run_from(&first.widths, 12.0, damage), run(12.0, damage));
    }

    #[test]
    fn the_harmless_group_is_cut_first_and_no_deeper_than_asked() {
        let found = run(24.0, |group, width| if group == 0 { (16 - width) as f64 } else { 0.01 });
        assert_eq!(found.widths, [16, 8]);
        assert!((found.cost - 24.0).abs() < 1e-9);
        assert_eq!(found.damage[0].to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn noise_cannot_make_a_deeper_cut_look_better() {
        let found = run(20.0, |group, width| {
            if group == 0 {
                50.0
            } else if width == 8 {
                0.0
            } else {
                0.3
            }
        });
        assert!(found.damage[1] >= 0.3, "{found:?}");
    }

    #[test]
    fn an_impossible_target_cuts_all_there_is_and_levels_that_are_not_numbers_are_left() {
        assert_eq!(run(0.0, |_, _| 1.0).widths, [4, 4]);
        assert_eq!(run(0.0, |group, _| if group == 0 { f64::NAN } else { 1.0 }).widths, [16, 4]);
    }
}
