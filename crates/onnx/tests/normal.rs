//! The normal form: what it takes away, and what it refuses.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on says why")]

mod support;

use sentei_onnx::{
    Model,
    attributes::Attribute::{Int, Ints, Tensor as Value},
    linear::{Site, linear_sites},
    normal::normalise,
    proto::OperatorSetIdProto,
};
use support::{difference, feeds, net::Net, run};

/// Normalises, and expects the same outputs and these operators.
fn becomes(model: &Model, operators: &[&str]) -> Model {
    let normal = normalise(model.clone()).unwrap().model;
    let found: Vec<_> = normal.graph().node.iter().map(|node| node.op_type().to_owned()).collect();
    assert_eq!(found, operators);
    let feeds = feeds(model, 3, 2);
    let apart = difference(&run(model, &feeds), &run(&normal, &feeds));
    assert!(apart < 1e-5, "{apart:e}");
    normal
}

#[test]
fn constants_identities_and_dropouts_go() {
    let mut net = Net::new(&[2, 4, 4]);
    net.op("same", "Identity", &["x"]);
    net.conv("conv", "same", 2, 3, &[3, 3]);
    net.op("dropped", "Dropout", &["conv"]);
    let two = sentei_onnx::Tensor::new([], vec![2.0_f32]).unwrap().to_proto("");
    net.op_with("two", "Constant", &[], &[("value", Value(Box::new(two)))]);
    net.op("twice", "Mul", &["dropped", "two"]);
    net.op("y", "Identity", &["twice"]);
    let normal = becomes(&net.build(&["y"]), &["Conv", "Mul"]);
    assert_eq!(normal.outputs()[0].name, "y", "graph outputs keep their names");
}

#[test]
fn an_identity_between_input_and_output_stays() {
    let mut net = Net::new(&[2]);
    net.op("y", "Identity", &["x"]);
    becomes(&net.build(&["y"]), &["Identity"]);
}

#[test]
fn weights_behind_a_transpose_or_a_reshape_become_the_layers_own() {
    let mut net = Net::new(&[6]);
    net.weight("stored", &[4, 6]);
    net.op_with("turned", "Transpose", &["stored"], &[("perm", Ints(vec![1, 0]))]);
    net.op("h", "MatMul", &["x", "turned"]);
    net.weight("flat", &[1, 12]);
    net.ints("shape", &[4, -1]);
    net.op("square", "Reshape", &["flat", "shape"]);
    net.op("y", "MatMul", &["h", "square"]);
    let normal = becomes(&net.build(&["y"]), &["MatMul", "MatMul"]);
    assert_eq!(linear_sites(&normal).iter().map(Site::out_units).collect::<Vec<_>>(), [4, 3]);
}

/// A layer and a batch normalisation behind it.
fn normalised(net: &mut Net, layer: &str, units: usize) -> String {
    for name in ["scale", "shift", "mean"] {
        net.weight(&format!("{layer}.{name}"), &[units]);
    }
    net.constant(&format!("{layer}.variance"), &[units], (1..=units).map(|i| i as f32 / 3.0).collect::<Vec<_>>());
    let parameters = ["scale", "shift", "mean", "variance"].map(|name| format!("{layer}.{name}"));
    let [scale, shift, mean, variance] = parameters.each_ref().map(String::as_str);
    net.op(&format!("{layer}.norm"), "BatchNormalization", &[layer, scale, shift, mean, variance])
}

#[test]
fn batch_normalisation_folds_into_convolutions_and_matrices_of_either_layout() {
    let mut net = Net::new(&[2, 3, 3]);
    net.conv("a", "x", 2, 4, &[3, 3]);
    let a = normalised(&mut net, "a", 4);
    net.grouped("b", &a, [8, 1], &[3, 3], 4);
    let b = normalised(&mut net, "b", 8);
    let flat = net.op("flat", "Flatten", &[&b]);
    net.weight("w", &[5, 72]);
    net.op_with("c", "Gemm", &[&flat, "w"], &[("transB", Int(1))]);
    let c = normalised(&mut net, "c", 5);
    net.weight("v", &[5, 3]);
    net.op("d", "Gemm", &[&c, "v"]);
    let d = normalised(&mut net, "d", 3);
    becomes(&net.build(&[&d]), &["Conv", "Conv", "Flatten", "Gemm", "Gemm"]);
}

#[test]
fn batch_normalisation_stays_where_the_layer_has_other_readers() {
    let mut net = Net::new(&[2, 3, 3]);
    net.conv("a", "x", 2, 4, &[3, 3]);
    let norm = normalised(&mut net, "a", 4);
    net.op("y", "Add", &["a", &norm]);
    becomes(&net.build(&["y"]), &["Conv", "BatchNormalization", "Add"]);
}

#[test]
fn a_weight_two_layers_share_is_copied_before_it_is_folded_into() {
    let mut net = Net::new(&[2, 3, 3]);
    net.weight("w", &[2, 2, 1, 1]);
    net.op("a", "Conv", &["x", "w"]);
    let norm = normalised(&mut net, "a", 2);
    net.op("y", "Conv", &[&norm, "w"]);
    becomes(&net.build(&["y"]), &["Conv", "Conv"]);
}

#[test]
fn files_an_optimiser_wrote_are_refused_with_the_remedy() {
    let mut net = Net::new(&[2, 3, 3]);
    net.conv("a", "x", 2, 4, &[3, 3]);
    let mut model = net.build(&["a"]);
    let node = &mut model.graph_mut().node[0];
    (node.op_type, node.domain) = (Some("FusedConv".to_owned()), Some("com.microsoft".to_owned()));
    let mut proto = model.proto().clone();
    proto.opset_import.push(OperatorSetIdProto { domain: Some("com.microsoft".to_owned()), version: Some(1) });
    let error = normalise(Model::from_proto(proto).unwrap()).unwrap_err().to_string();
    assert!(error.starts_with("node `a` is `com.microsoft:FusedConv`"), "{error}");
    assert!(error.ends_with("use the file from before that"), "{error}");
}
