//! The example models: every group is found, and every cut is exact in the real runtime.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on says why")]

mod support;

use sentei_onnx::{
    Model, check, cost,
    coupling::{Coupling, Group, analyse},
    linear::linear_sites,
    normal::{fold_static_shapes, normalise},
    surgery::keep_units,
};
use sentei_runtime::Level;
use support::{difference, example, feeds, measure, run, run_at, worst_cut};

fn prepared(name: &str) -> (Model, Coupling) {
    let model = Model::load(&example(name)).expect("an example model");
    let normal = normalise(model).expect("a normal form").model;
    let (folded, _) = fold_static_shapes(normal.clone(), &measure(&normal));
    check::check(&folded).expect("holds together");
    let coupling = analyse(&folded, &measure(&folded));
    (folded, coupling)
}

fn names(coupling: &Coupling) -> Vec<(&str, usize)> {
    coupling.groups.iter().map(|group| (group.name.as_str(), group.units)).collect()
}

const MODELS: [&str; 5] = [
    "digits/digits_resnet20.onnx",
    "digits/digits_resnet20_bn.onnx",
    "wrist/wrist_cnn1d.onnx",
    "wrist/wrist_transformer.onnx",
    "glyphs/glyphs_mobilenet.onnx",
];

#[test]
fn the_normal_form_computes_the_same() {
    for name in MODELS {
        let original = Model::load(&example(name)).unwrap();
        let (normal, _) = prepared(name);
        let feeds = feeds(&original, 3, 7);
        let apart = difference(&run(&original, &feeds), &run(&normal, &feeds));
        assert!(apart < 2e-5, "{name}: {apart:e}");
    }
}

#[test]
fn batch_normalisation_is_folded_away() {
    let model = Model::load(&example("digits/digits_resnet20_bn.onnx")).unwrap();
    let normal = normalise(model).unwrap();
    assert!(normal.model.graph().node.iter().all(|node| node.op_type() != "BatchNormalization"));
    assert!(normal.notes.iter().any(|note| note.starts_with("21 BatchNormalization")), "{:?}", normal.notes);
}

#[test]
fn a_residual_net_has_one_group_per_stage_and_one_per_block() {
    for name in &MODELS[..2] {
        let (model, coupling) = prepared(name);
        assert_eq!(coupling.groups.len(), 12, "{name}: {:?}", names(&coupling));
        let stages: Vec<_> = coupling.groups.iter().filter(|group| group.producers.len() > 1).collect();
        assert_eq!(stages.iter().map(|group| group.units).collect::<Vec<_>>(), [16, 32, 64]);
        assert_eq!(linear_sites(&model).len(), 22);
        let reasons: Vec<_> = coupling.frozen.iter().map(|frozen| frozen.reason.as_str()).collect();
        assert_eq!(reasons, ["graph output `logits`"]);
    }
}

#[test]
fn a_transformer_has_a_group_per_feed_forward_block_and_its_heads() {
    let (_, coupling) = prepared("wrist/wrist_transformer.onnx");
    let hidden = coupling.groups.iter().filter(|group| group.units == 256).count();
    let heads = coupling.groups.iter().filter(|group| group.units == 4).count();
    let values = coupling.groups.iter().filter(|group| group.units == 16).count();
    assert_eq!((hidden, heads, values), (3, 3, 3), "{:?}\n{:#?}", names(&coupling), coupling.frozen);
    assert!(coupling.frozen.iter().any(|frozen| frozen.reason.contains("reduces over it")));
}

#[test]
fn depthwise_filters_go_with_their_channels() {
    let (_, coupling) = prepared("glyphs/glyphs_mobilenet.onnx");
    assert!(coupling.groups.iter().filter(|group| !group.through.is_empty()).count() >= 6, "{:?}", names(&coupling));
    assert!(coupling.groups.iter().any(|group| group.producers.len() > 1), "the residual sums join groups");
}

#[test]
fn removing_units_is_exact_in_every_example() {
    for (seed, name) in MODELS.iter().enumerate() {
        let (model, coupling) = prepared(name);
        let worst = worst_cut(&model, &coupling, 100 + seed as u64);
        println!("{name}: {} groups, worst {worst:e}", coupling.groups.len());
    }
}

#[test]
fn a_cut_model_computes_the_same_at_every_level_of_optimisation() {
    for name in MODELS {
        let (model, coupling) = prepared(name);
        let half = |group: &Group| (group.name.clone(), (0..group.units.div_ceil(2)).collect());
        let cut = keep_units(&model, &coupling, &coupling.groups.iter().map(half).collect()).unwrap();
        let feeds = feeds(&cut, 3, 5);
        let plain = run(&cut, &feeds);
        for level in [Level::Basic, Level::Extended, Level::All] {
            let apart = difference(&plain, &run_at(level, &cut, &feeds));
            assert!(apart < 1e-4, "{name} at {level:?}: {apart:e}");
        }
    }
}

#[test]
fn costs_are_those_of_the_architecture() {
    let (model, _) = prepared("digits/digits_resnet20.onnx");
    let macs: u64 = cost::macs(&model, &measure(&model)).iter().map(|cost| cost.macs).sum();
    // 31 million multiply-accumulates and 272 thousand parameters.
    assert!((30_900_000..31_400_000).contains(&macs), "{macs}");
    assert!((271_000..273_000).contains(&cost::parameters(&model)), "{}", cost::parameters(&model));
}

#[test]
fn a_sub_model_computes_the_same_tensor() {
    let (model, _) = prepared("wrist/wrist_cnn1d.onnx");
    let site = &linear_sites(&model)[1];
    let part = model.with_outputs(&[&site.input, "logits"]).unwrap();
    let small = model.with_outputs(&[&site.input]).unwrap();
    assert!(small.graph().initializer.len() < part.graph().initializer.len());
    let feeds = feeds(&model, 2, 3);
    let (both, one) = (run(&part, &feeds), run(&small, &feeds));
    assert_eq!(both[..1], one);
    assert!(model.with_outputs(&["nothing"]).unwrap_err().to_string().contains("computes no tensor `nothing`"));
}
