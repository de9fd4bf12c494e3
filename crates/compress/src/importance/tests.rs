use faer::Mat;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

/// Inputs of `units` units of `taps` columns each, some built from others; weights of `outputs` rows.
struct Layer {
    covariance: Mat<f64>,
    weights: Mat<f64>,
    columns: Vec<Vec<usize>>,
}

impl Layer {
    fn consumer(&self) -> Consumer<'_> {
        Consumer { covariance: self.covariance.as_ref(), weights: self.weights.as_ref(), columns: &self.columns }
    }
}

/// Random rows whose unit 2 is a copy of unit 5.
fn layer_with_a_duplicate(units: usize, taps: usize, seed: u64) -> Layer {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let columns = units * taps;
    let mixing = Mat::from_fn(columns, columns, |_, _| random.random_range(-1.0..1.0));
    let mut rows = Mat::from_fn(400, columns, |_, _| random.random_range(-1.0..1.0)) * mixing;
    for row in 0..rows.nrows() {
        for tap in 0..taps {
            rows[(row, 2 * taps + tap)] = rows[(row, 5 * taps + tap)];
        }
    }
    let covariance = rows.transpose() * &rows / faer::Scale(400.0);
    let weights = Mat::from_fn(7, columns, |_, _| random.random_range(-1.0..1.0));
    Layer { covariance, weights, columns: (0..units).map(|u| (u * taps..(u + 1) * taps).collect()).collect() }
}

/// Share of output energy lost when only `kept` units remain and the weights are re-solved.
fn loss_of(layer: &Layer, removed: &[Removal]) -> f64 {
    use faer::{Side, linalg::solvers::Solve};
    let gone: Vec<usize> = removed.iter().flat_map(|r| layer.columns[r.unit].clone()).collect();
    let kept: Vec<usize> = (0..layer.covariance.ncols()).filter(|c| !gone.contains(c)).collect();
    let among = Mat::from_fn(kept.len(), kept.len(), |i, j| {
        layer.covariance[(kept[i], kept[j])] + if i == j { 1e-9 } else { 0.0 }
    });
    let with = Mat::from_fn(kept.len(), layer.covariance.ncols(), |i, j| layer.covariance[(kept[i], j)]);
    let target = with * layer.weights.transpose();
    let solved = among.llt(Side::Lower).expect("positive").solve(&target);
    let explained: f64 =
        (0..target.ncols()).map(|o| (0..kept.len()).map(|i| target[(i, o)] * solved[(i, o)]).sum::<f64>()).sum();
    1.0 - explained / output_energy(&layer.consumer())
}

#[test]
fn an_exact_duplicate_goes_first_and_costs_nothing() {
    for taps in [1, 9] {
        let layer = layer_with_a_duplicate(8, taps, 1);
        let order = conditional(&[layer.consumer()], 1e-9);
        assert!([2, 5].contains(&order[0].unit), "{order:?}");
        assert!(order[0].loss < 1e-6, "{order:?}");
        assert!(order[1].loss > 1e-4, "{order:?}");
    }
}

#[test]
fn the_summed_losses_are_what_a_fresh_solve_finds() {
    let layer = layer_with_a_duplicate(8, 3, 2);
    let order = conditional(&[layer.consumer()], 1e-9);
    assert_eq!(order.len(), 8);
    for cut in 1..7 {
        let predicted: f64 = order[..cut].iter().map(|r| r.loss).sum();
        let found = loss_of(&layer, &order[..cut]);
        assert!((predicted - found).abs() < 1e-5, "{predicted} against {found} after {cut}");
    }
}

#[test]
fn a_refresh_changes_no_loss() {
    let layer = layer_with_a_duplicate(150, 1, 3);
    let order = conditional(&[layer.consumer()], 1e-9);
    for cut in [63, 65, 130] {
        let predicted: f64 = order[..cut].iter().map(|r| r.loss).sum();
        let found = loss_of(&layer, &order[..cut]);
        assert!((predicted - found).abs() < 1e-4, "{predicted} against {found} after {cut}");
    }
}

#[test]
fn the_conditional_order_beats_every_other() {
    let layer = layer_with_a_duplicate(24, 3, 4);
    let consumer = [layer.consumer()];
    let best = loss_of(&layer, &conditional(&consumer, 1e-6)[..16]);
    for other in [marginal(&consumer), magnitude(&[], &consumer), random(24, 0)] {
        let loss = loss_of(&layer, &other[..16]);
        assert!(best < loss, "{best} against {loss}");
    }
}

#[test]
fn the_same_seed_gives_the_same_shuffle() {
    assert_eq!(random(20, 7), random(20, 7));
    assert_ne!(random(20, 7), random(20, 8));
}

#[test]
fn moments_that_are_not_numbers_have_no_say() {
    let mut layer = layer_with_a_duplicate(8, 1, 5);
    layer.covariance[(0, 0)] = f64::NAN;
    let order = conditional(&[layer.consumer()], 1e-3);
    assert_eq!(order.len(), 8);
}

#[test]
fn a_copy_is_explained_by_its_original_on_every_slice() {
    let layer = layer_with_a_duplicate(8, 1, 6);
    let gram = ChannelGram { all: layer.covariance.clone(), slices: vec![layer.covariance.clone()] };
    let kept: Vec<usize> = (0..8).filter(|&unit| unit != 2).collect();
    let found = &reconstruction(&gram, &kept, &[2])[0];
    assert_eq!(found.substitutes[0], 5);
    assert_eq!(found.shares.len(), 2);
    assert!(found.shares.iter().all(|share| *share > 0.999), "{found:?}");
}
