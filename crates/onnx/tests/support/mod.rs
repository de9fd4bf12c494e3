//! What the integration tests share: the real runtime, random inputs, measured shapes, and a small net builder.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod net;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use sentei_onnx::{
    DeclaredDim, ElementType, Model, Shapes,
    coupling::{Coupling, Group, Role, analyse},
    shapes::agree,
    surgery::keep_units,
};
use sentei_runtime::{Level, Runtime, SessionOptions, Tensor, locate};

/// Numbers that are the same in every run (`SplitMix64`, Steele et al. 2014).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between -1 and 1.
    pub fn real(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    pub fn reals(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.real()).collect()
    }

    /// An ascending, non-empty, proper subset of `0..units`.
    pub fn subset(&mut self, units: usize) -> Vec<usize> {
        loop {
            let kept: Vec<_> = (0..units).filter(|_| self.next() & 1 == 0).collect();
            if !kept.is_empty() && kept.len() < units {
                return kept;
            }
        }
    }
}

pub fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

pub fn runtime() -> Arc<Runtime> {
    Runtime::load(&locate(None).expect("ONNX Runtime")).expect("ONNX Runtime loads")
}

/// Random values for every input of `model`, named axes being `batch` long.
pub fn feeds(model: &Model, batch: usize, seed: u64) -> Vec<(String, Tensor)> {
    let mut random = Random(seed);
    let feed = |input: &sentei_onnx::ValueInfo| {
        assert_eq!(input.element, Some(ElementType::Float), "only float inputs are fed");
        let length = |dim: &DeclaredDim| if let DeclaredDim::Size(size) = dim { *size } else { batch };
        let shape: Vec<usize> = input.dims.as_ref().expect("a rank").iter().map(length).collect();
        let values = random.reals(shape.iter().product());
        (input.name.clone(), Tensor::new(shape, values).expect("fits"))
    };
    model.inputs().iter().map(feed).collect()
}

/// Runs `model`, without rewriting it first, and returns its outputs.
pub fn run(model: &Model, feeds: &[(String, Tensor)]) -> Vec<Tensor> {
    run_at(Level::Off, model, feeds)
}

/// Runs `model`, rewritten by the runtime as far as `level` says.
pub fn run_at(level: Level, model: &Model, feeds: &[(String, Tensor)]) -> Vec<Tensor> {
    let options = SessionOptions { optimization: level, ..SessionOptions::default() };
    let bytes = model.to_bytes().expect("encodes");
    let mut session = runtime().session_from_bytes(&bytes, &options).expect("the runtime takes the model");
    let feeds: Vec<_> = feeds.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    session.run(&feeds, None).expect("the model runs")
}

/// Shapes of every tensor, from two runs with different batch sizes.
pub fn measure(model: &Model) -> Shapes {
    let names: Vec<&str> = model.graph().node.iter().flat_map(|node| &node.output).map(String::as_str).collect();
    let names: Vec<&str> = names.into_iter().filter(|name| !name.is_empty()).collect();
    let open = model.with_outputs(&names).expect("all tensors are there");
    let shapes = |batch: usize| -> BTreeMap<String, Vec<usize>> {
        let feeds = feeds(model, batch, 1);
        let outputs = run(&open, &feeds);
        let made = names.iter().map(|name| (*name).to_owned()).zip(outputs);
        made.chain(feeds).map(|(name, tensor)| (name, tensor.shape().to_vec())).collect()
    };
    agree(&shapes(2), &shapes(3))
}

/// The model with all reading weights of the units that are not `kept` zero.
pub fn zero_consumers(model: &Model, group: &Group, kept: &[usize]) -> Model {
    let mut zeroed = model.clone();
    for slice in group.slices.iter().filter(|slice| slice.role == Role::Consumer) {
        let (shape, mut values) = zeroed.weights(&slice.initializer).expect("a weight");
        let inner: usize = shape[slice.axis + 1..].iter().product();
        let gone = (0..group.units).filter(|unit| !kept.contains(unit));
        let gone: Vec<usize> = gone.flat_map(|unit| slice.map.indices(unit, group.units)).collect();
        for (i, value) in values.iter_mut().enumerate() {
            if gone.contains(&(i / inner % shape[slice.axis])) {
                *value = 0.0;
            }
        }
        zeroed.set_weights(&slice.initializer, &shape, values).expect("same shape");
    }
    zeroed
}

/// Largest difference of any output, relative to the largest value of that output.
pub fn difference(a: &[Tensor], b: &[Tensor]) -> f32 {
    assert_eq!(a.len(), b.len());
    let one = |(a, b): (&Tensor, &Tensor)| {
        assert_eq!(a.shape(), b.shape());
        let (a, b) = (a.values::<f32>().expect("floats"), b.values::<f32>().expect("floats"));
        let largest = a.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
        let apart = a
            .iter()
            .zip(b)
            .fold(0.0_f32, |m, (x, y)| if x.is_nan() || y.is_nan() { f32::NAN } else { m.max((x - y).abs()) });
        assert!(apart.is_finite(), "outputs are numbers");
        apart / largest.max(1e-20)
    };
    a.iter().zip(b).map(one).fold(0.0, f32::max)
}

/// Removes random units of each group, and then of all, and compares with zeroing what reads them; returns the largest
/// relative difference seen.
pub fn worst_cut(model: &Model, coupling: &Coupling, seed: u64) -> f32 {
    let mut random = Random(seed);
    let mut worst = 0.0_f32;
    let mut compare = |zeroed: &Model, kept: &BTreeMap<String, Vec<usize>>, what: &str| {
        let cut = keep_units(model, coupling, kept).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(cut.to_bytes().unwrap().len() < model.to_bytes().unwrap().len(), "{what}: nothing went");
        for batch in [1, 2, 7] {
            let feeds = feeds(model, batch, seed + batch as u64);
            let apart = difference(&run(zeroed, &feeds), &run(&cut, &feeds));
            assert!(apart <= 1e-6, "{what}: removal differs from zeroing by {apart:e} at batch {batch}");
            worst = worst.max(apart);
        }
    };
    let mut all = BTreeMap::new();
    let mut all_zeroed = model.clone();
    for group in &coupling.groups {
        let kept = random.subset(group.units);
        compare(
            &zero_consumers(model, group, &kept),
            &BTreeMap::from([(group.name.clone(), kept.clone())]),
            &group.name,
        );
        all_zeroed = zero_consumers(&all_zeroed, group, &kept);
        all.insert(group.name.clone(), kept);
    }
    if !all.is_empty() {
        compare(&all_zeroed, &all, "all groups");
        // The comparison can fail: without zeroing, the cut is seen.
        let (feeds, cut) = (feeds(model, 7, seed), keep_units(model, coupling, &all).unwrap());
        assert!(difference(&run(model, &feeds), &run(&cut, &feeds)) > 1e-4, "the cut went unseen");
    }
    worst
}

/// The groups of a model as it is.
pub fn groups_of(model: &Model) -> Coupling {
    analyse(model, &measure(model))
}
