//! Each operator the analysis knows, in a small net: cutting random units equals zeroing what reads them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on says why")]

mod support;

use sentei_onnx::{
    Model,
    attributes::Attribute::{Float, Int, Ints, Text},
    coupling::Coupling,
};
use support::{groups_of, net::Net, worst_cut};

/// Cuts every group, and expects these group sizes in order.
fn exact(what: &str, model: &Model, sizes: &[usize]) -> Coupling {
    let coupling = groups_of(model);
    let found: Vec<_> = coupling.groups.iter().map(|group| group.units).collect();
    assert_eq!(found, sizes, "{what}: frozen {:#?}", coupling.frozen);
    for seed in 0..2 {
        worst_cut(model, &coupling, seed);
    }
    coupling
}

/// An image net: a convolution to 6 channels, `middle`, and a convolution that reads `channels`.
fn between(what: &str, sizes: &[usize], channels: usize, middle: impl FnOnce(&mut Net, String) -> String) -> Coupling {
    let mut net = Net::new(&[2, 6, 6]);
    let first = net.conv("first", "x", 2, 6, &[3, 3]);
    let last = middle(&mut net, first);
    net.conv("last", &last, channels, 3, &[1, 1]);
    exact(what, &net.build(&["last"]), sizes)
}

#[test]
fn activations_pass_units_through_whatever_they_make_of_zero() {
    let all = [
        "Relu",
        "LeakyRelu",
        "Elu",
        "Selu",
        "Celu",
        "ThresholdedRelu",
        "Erf",
        "Tanh",
        "Sigmoid",
        "HardSigmoid",
        "HardSwish",
        "Softplus",
        "Softsign",
        "Mish",
        "Exp",
        "Abs",
        "Neg",
        "Sign",
        "Floor",
        "Ceil",
        "Round",
        "Sin",
        "Cos",
        "Identity",
        "Dropout",
        "Reciprocal",
    ];
    for op in all {
        between(op, &[6], 6, |net, x| {
            net.opset = 18;
            net.op("act", op, &[&x])
        });
    }
}

#[test]
fn activations_with_arguments_pass_units_through() {
    between("Clip", &[6], 6, |net, x| {
        net.constant("low", &[], vec![0.1_f32]);
        net.constant("high", &[], vec![0.9_f32]);
        net.op("act", "Clip", &[&x, "low", "high"])
    });
    between("Sqrt and Log of positive values", &[6], 6, |net, x| {
        let e = net.op("e", "Exp", &[&x]);
        let s = net.op("s", "Sqrt", &[&e]);
        net.op("l", "Log", &[&s])
    });
    between("Pow", &[6], 6, |net, x| {
        net.constant("two", &[], vec![2.0_f32]);
        net.op("act", "Pow", &[&x, "two"])
    });
    between("Gelu", &[6], 6, |net, x| {
        net.opset = 20;
        net.op("act", "Gelu", &[&x])
    });
    between("Cast", &[6], 6, |net, x| {
        let double = net.op_with("d", "Cast", &[&x], &[("to", Int(11))]);
        net.op_with("f", "Cast", &[&double], &[("to", Int(1))])
    });
    for shape in [vec![6, 1, 1], vec![1], vec![1, 1, 1]] {
        between("PRelu", &[6], 6, |net, x| {
            net.weight("slope", &shape);
            net.op("act", "PRelu", &[&x, "slope"])
        });
    }
}

#[test]
fn constants_of_every_broadcast_shape_are_cut_where_they_have_channels() {
    for op in ["Add", "Sub", "Mul", "Max", "Min"] {
        for shape in [vec![], vec![1], vec![6, 1, 1], vec![1, 6, 1, 1], vec![1, 6, 6, 6], vec![6, 6]] {
            between(&format!("{op} with {shape:?}"), &[6], 6, |net, x| {
                net.weight("c", &shape);
                net.op("y", op, &["c", &x])
            });
        }
    }
}

#[test]
fn residual_operands_share_their_units() {
    for op in ["Add", "Sub", "Mul", "Max", "Min", "Sum", "Mean"] {
        let coupling = between(op, &[6], 6, |net, x| {
            let other = net.conv("other", &x, 6, 6, &[3, 3]);
            net.op("y", op, &[&x, &other])
        });
        assert_eq!(coupling.groups[0].producers.len(), 2);
        assert_eq!(coupling.groups[0].consumers.len(), 2, "the inner layer reads what it also makes");
    }
    between("Where", &[6], 6, |net, x| {
        let other = net.conv("other", "x", 2, 6, &[1, 1]);
        let smaller = net.op("smaller", "Less", &[&x, &other]);
        net.op("y", "Where", &[&smaller, &x, &other])
    });
    between("Div", &[6], 6, |net, x| {
        let positive = net.op("positive", "Exp", &[&x]);
        net.op("y", "Div", &[&x, &positive])
    });
}

#[test]
fn normalisations_per_channel_are_cut() {
    between("BatchNormalization", &[6], 6, |net, x| {
        for name in ["scale", "shift", "mean"] {
            net.weight(name, &[6]);
        }
        net.constant("variance", &[6], vec![0.5_f32, 1.0, 2.0, 0.1, 0.7, 1.3]);
        net.op("y", "BatchNormalization", &[&x, "scale", "shift", "mean", "variance"])
    });
    between("InstanceNormalization", &[6], 6, |net, x| {
        net.weight("scale", &[6]);
        net.weight("shift", &[6]);
        net.op("y", "InstanceNormalization", &[&x, "scale", "shift"])
    });
    between("Softmax over space", &[6], 6, |net, x| net.op_with("y", "Softmax", &[&x], &[("axis", Int(-1))]));
}

#[test]
fn convolutions_of_one_two_and_three_axes_couple() {
    for (shape, kernel) in [(vec![2, 9], vec![3]), (vec![2, 5, 5], vec![3, 3]), (vec![2, 4, 4, 4], vec![3, 3, 3])] {
        let mut net = Net::new(&shape);
        let first = net.conv("first", "x", 2, 7, &kernel);
        let second = net.conv("second", &first, 7, 5, &kernel);
        net.conv("last", &second, 5, 2, &kernel);
        exact("Conv", &net.build(&["last"]), &[7, 5]);
    }
}

#[test]
fn depthwise_convolutions_go_along_with_one_or_several_filters() {
    let coupling = between("depthwise", &[6], 6, |net, x| net.grouped("dw", &x, [6, 1], &[3, 3], 6));
    assert_eq!(coupling.groups[0].through.len(), 1);
    between("two filters each", &[6], 12, |net, x| net.grouped("dw", &x, [12, 1], &[3, 3], 6));
}

#[test]
fn concatenations_are_sums() {
    between("two layers", &[6, 4], 10, |net, x| {
        let other = net.conv("other", "x", 2, 4, &[1, 1]);
        net.op_with("y", "Concat", &[&x, &other], &[("axis", Int(1))])
    });
    let coupling =
        between("the same twice", &[6], 12, |net, x| net.op_with("y", "Concat", &[&x, &x], &[("axis", Int(1))]));
    assert_eq!(coupling.groups[0].consumers[0].maps.len(), 2);
    between("a sum meets a plain layer", &[6, 4], 10, |net, x| {
        let other = net.conv("other", "x", 2, 4, &[1, 1]);
        let joined = net.op_with("joined", "Concat", &[&x, &other], &[("axis", Int(1))]);
        let plain = net.conv("plain", "x", 2, 10, &[1, 1]);
        net.op("y", "Add", &[&joined, &plain])
    });
    between("along space", &[6], 6, |net, x| {
        let other = net.conv("other", "x", 2, 6, &[1, 1]);
        net.op_with("y", "Concat", &[&x, &other], &[("axis", Int(2))])
    });
    between("depthwise over a sum", &[6, 4], 20, |net, x| {
        let other = net.conv("other", "x", 2, 4, &[1, 1]);
        let joined = net.op_with("joined", "Concat", &[&x, &other], &[("axis", Int(1))]);
        net.grouped("dw", &joined, [20, 1], &[3, 3], 10)
    });
}

#[test]
fn splits_and_slices_are_parts() {
    between("Split with sizes", &[2, 4], 4, |net, x| {
        net.ints("sizes", &[2, 4]);
        net.many(&["a", "b"], "Split", &[&x, "sizes"], &[("axis", Int(1))]);
        net.conv("side", "a", 2, 4, &[1, 1]);
        net.op("y", "Mul", &["b", "side"])
    });
    between("gated halves of an equal Split", &[3], 3, |net, x| {
        net.many(&["a", "b"], "Split", &[&x], &[("axis", Int(1))]);
        let gate = net.op("gate", "Sigmoid", &["b"]);
        net.op("y", "Mul", &["a", &gate])
    });
    between("unequal cuts of an equal Split", &[3, 3], 3, |net, x| {
        net.opset = 18;
        net.many(&["a", "b"], "Split", &[&x], &[("axis", Int(1)), ("num_outputs", Int(2))]);
        let side = net.conv("side", "a", 3, 3, &[1, 1]);
        net.op("y", "Mul", &[&side, "b"])
    });
    between("Split of old", &[2, 4], 4, |net, x| {
        net.opset = 11;
        net.many(&["a", "b"], "Split", &[&x], &[("axis", Int(1)), ("split", Ints(vec![2, 4]))]);
        net.conv("side", "a", 2, 4, &[1, 1]);
        net.op("y", "Mul", &["b", "side"])
    });
    between("Slice", &[2, 3], 3, |net, x| {
        for (name, value) in [("zero", 0), ("two", 2), ("five", 5), ("one", 1)] {
            net.ints(name, &[value]);
        }
        let a = net.op("a", "Slice", &[&x, "zero", "two", "one"]);
        let side = net.conv("side", &a, 2, 3, &[1, 1]);
        let b = net.op("b", "Slice", &[&x, "two", "five", "one"]);
        net.op("y", "Add", &[&b, &side])
    });
}

#[test]
fn pools_and_spatial_operators_leave_channels_alone() {
    let window = [("kernel_shape", Ints(vec![2, 2])), ("strides", Ints(vec![2, 2]))];
    for op in ["MaxPool", "AveragePool", "LpPool"] {
        between(op, &[6], 6, |net, x| net.op_with("y", op, &[&x], &window));
    }
    for op in ["GlobalMaxPool", "GlobalAveragePool"] {
        between(op, &[6], 6, |net, x| net.op("y", op, &[&x]));
    }
    between("Pad", &[6], 6, |net, x| {
        net.ints("pads", &[0, 0, 1, 2, 0, 0, 0, 1]);
        net.op("y", "Pad", &[&x, "pads"])
    });
    between("Resize by scales", &[6], 6, |net, x| {
        net.constant("scales", &[4], vec![1.0_f32, 1.0, 2.0, 2.0]);
        net.op_with("y", "Resize", &[&x, "", "scales"], &[("mode", Text("nearest".into()))])
    });
    for op in ["ReduceMean", "ReduceMax", "ReduceL2"] {
        between(op, &[6], 6, |net, x| net.op_with("y", op, &[&x], &[("axes", Ints(vec![2, 3]))]));
    }
    between("ReduceSum", &[6], 6, |net, x| {
        net.ints("axes", &[-1, 2]);
        net.op("y", "ReduceSum", &[&x, "axes"])
    });
}

#[test]
fn squeeze_and_excitation_gates_its_own_units() {
    between("squeeze and excitation", &[6, 2], 6, |net, x| {
        let pooled = net.op("pooled", "GlobalAveragePool", &[&x]);
        let down = net.conv("down", &pooled, 6, 2, &[1, 1]);
        let relu = net.op("relu", "Relu", &[&down]);
        let up = net.conv("up", &relu, 2, 6, &[1, 1]);
        let gate = net.op("gate", "HardSigmoid", &[&up]);
        net.op("y", "Mul", &[&x, &gate])
    });
}

/// A convolution to 4 channels over 3 x 3 pixels, then `middle` and a matrix of `inner` inputs.
fn flattened(what: &str, inner: usize, middle: impl FnOnce(&mut Net, String) -> String) {
    let mut net = Net::new(&[2, 3, 3]);
    let first = net.conv("first", "x", 2, 4, &[3, 3]);
    let flat = middle(&mut net, first);
    net.dense("head", &flat, inner, 5);
    let coupling = exact(what, &net.build(&["head"]), &[4]);
    let map = coupling.groups[0].consumers[0].maps[0];
    assert_eq!((map.outer, map.inner), (1, inner / 4), "{what}");
}

#[test]
fn flattened_channels_keep_their_pixels() {
    flattened("Flatten", 36, |net, x| net.op("y", "Flatten", &[&x]));
    for shape in [[0, -1], [-1, 36], [0, 36]] {
        flattened("Reshape", 36, |net, x| {
            net.ints("shape", &shape);
            net.op("y", "Reshape", &[&x, "shape"])
        });
    }
    flattened("mean, then Squeeze", 4, |net, x| {
        let pooled = net.op("pooled", "GlobalAveragePool", &[&x]);
        net.ints("axes", &[2, -1]);
        net.op("y", "Squeeze", &[&pooled, "axes"])
    });
    flattened("mean without keeping axes", 4, |net, x| {
        net.op_with("y", "ReduceMean", &[&x], &[("axes", Ints(vec![2, 3])), ("keepdims", Int(0))])
    });
}

#[test]
fn matrices_of_every_layout_are_cut() {
    for (trans_b, first, last) in [(0, [5, 8], [8, 3]), (1, [8, 5], [3, 8])] {
        let mut net = Net::new(&[5]);
        net.weight("w1", &first);
        net.weight("b1", &[1, 8]);
        net.weight("w2", &last);
        net.weight("b2", &[3]);
        let attributes = [("transB", Int(trans_b)), ("alpha", Float(0.5)), ("beta", Float(2.0))];
        net.op_with("h", "Gemm", &["x", "w1", "b1"], &attributes);
        net.op("r", "Relu", &["h"]);
        net.op_with("y", "Gemm", &["r", "w2", "b2"], &attributes);
        exact("Gemm", &net.build(&["y"]), &[8]);
    }
    let mut net = Net::new(&[4, 5]);
    let hidden = net.dense("hidden", "x", 5, 8);
    net.dense("y", &hidden, 8, 3);
    exact("MatMul", &net.build(&["y"]), &[8]);
}

#[test]
fn channels_at_the_end_follow_a_transpose() {
    between("Transpose there and back", &[6, 7], 7, |net, x| {
        let last = net.op_with("last_axis", "Transpose", &[&x], &[("perm", Ints(vec![0, 2, 3, 1]))]);
        let dense = net.dense("dense", &last, 6, 7);
        net.op_with("back", "Transpose", &[&dense], &[("perm", Ints(vec![0, 3, 1, 2]))])
    });
    between("Unsqueeze and Squeeze", &[6], 6, |net, x| {
        net.ints("axes", &[2]);
        let wide = net.op("wide", "Unsqueeze", &[&x, "axes"]);
        net.op("y", "Squeeze", &[&wide, "axes"])
    });
}

#[test]
fn a_channel_shuffle_is_cut_by_lanes_and_groups() {
    between("shuffle", &[2, 3], 6, |net, x| {
        net.ints("parted", &[0, 2, 3, 6, 6]);
        net.ints("joined", &[0, 6, 6, 6]);
        let parted = net.op("p", "Reshape", &[&x, "parted"]);
        let swapped = net.op_with("t", "Transpose", &[&parted], &[("perm", Ints(vec![0, 2, 1, 3, 4]))]);
        net.op("y", "Reshape", &[&swapped, "joined"])
    });
}

#[test]
fn attention_is_cut_by_heads_and_by_value_width() {
    let mut net = Net::new(&[5, 12]);
    net.ints("parted", &[0, 0, 3, 4]);
    net.ints("joined", &[0, 0, 12]);
    let mut part = |name: &str, order: [i64; 4]| {
        let all = net.dense(name, "x", 12, 12);
        let parted = net.op(&format!("{name}.parted"), "Reshape", &[&all, "parted"]);
        net.op_with(&format!("{name}.heads"), "Transpose", &[&parted], &[("perm", Ints(order.to_vec()))])
    };
    let (q, k, v) = (part("q", [0, 2, 1, 3]), part("k", [0, 2, 3, 1]), part("v", [0, 2, 1, 3]));
    let scores = net.op("scores", "MatMul", &[&q, &k]);
    let weights = net.op_with("weights", "Softmax", &[&scores], &[("axis", Int(-1))]);
    let mixed = net.op("mixed", "MatMul", &[&weights, &v]);
    let back = net.op_with("back", "Transpose", &[&mixed], &[("perm", Ints(vec![0, 2, 1, 3]))]);
    let joined = net.op("together", "Reshape", &[&back, "joined"]);
    net.dense("y", &joined, 12, 12);
    let coupling = exact("attention", &net.build(&["y"]), &[3, 4]);
    let contracted = coupling.frozen.iter().find(|frozen| frozen.reason.contains("contracts two activations"));
    assert_eq!(contracted.map(|frozen| frozen.units), Some(4), "{:?}", coupling.frozen);
}

/// The reason the only inner axis of a net is frozen.
fn frozen(channels: usize, middle: impl FnOnce(&mut Net, String) -> String) -> String {
    let mut net = Net::new(&[2, 6, 6]);
    let first = net.conv("first", "x", 2, 6, &[3, 3]);
    let last = middle(&mut net, first);
    net.conv("last", &last, channels, 3, &[1, 1]);
    let coupling = groups_of(&net.build(&["last"]));
    assert!(coupling.groups.is_empty(), "{:?}", coupling.groups);
    coupling.frozen.iter().find(|frozen| frozen.name == "first").expect("the axis is spoken of").reason.clone()
}

#[test]
fn what_no_rule_proves_is_frozen_with_the_reason() {
    let softmax = frozen(6, |net, x| net.op_with("s", "Softmax", &[&x], &[("axis", Int(1))]));
    assert_eq!(softmax, "Softmax `s` normalises across it");
    let unknown = frozen(6, |net, x| net.op_with("l", "LRN", &[&x], &[("size", Int(3))]));
    assert_eq!(unknown, "LRN `l`: no rule for this operator");
    let grouped = frozen(4, |net, x| net.grouped("g", &x, [4, 3], &[1, 1], 2));
    assert_eq!(grouped, "Conv `g`: 2 groups of channels");
    let mean = frozen(1, |net, x| net.op_with("m", "ReduceMean", &[&x], &[("axes", Ints(vec![1]))]));
    assert_eq!(mean, "ReduceMean `m` reduces over it");
    let padded = frozen(8, |net, x| {
        net.ints("pads", &[0, 1, 0, 0, 0, 1, 0, 0]);
        net.op("p", "Pad", &[&x, "pads"])
    });
    assert_eq!(padded, "Pad `p` pads it");
    let mixed = frozen(4, |net, x| {
        net.ints("shape", &[0, 4, 9, 6]);
        net.op("r", "Reshape", &[&x, "shape"])
    });
    assert_eq!(mixed, "Reshape `r` mixes it with other axes");
    let strided = frozen(3, |net, x| {
        for (name, value) in [("from", 0), ("to", 6), ("axis", 1), ("step", 2)] {
            net.ints(name, &[value]);
        }
        net.op("s", "Slice", &[&x, "from", "to", "axis", "step"])
    });
    assert_eq!(strided, "Slice `s` takes a part of it");
    let normalised = frozen(6, |net, x| {
        let last = net.op_with("t", "Transpose", &[&x], &[("perm", Ints(vec![0, 2, 3, 1]))]);
        net.weight("scale", &[6]);
        let norm = net.op("n", "LayerNormalization", &[&last, "scale"]);
        net.op_with("b", "Transpose", &[&norm], &[("perm", Ints(vec![0, 3, 1, 2]))])
    });
    assert_eq!(normalised, "LayerNormalization `n` normalises across it");
}

#[test]
fn graph_inputs_and_outputs_keep_their_length() {
    let mut net = Net::new(&[2, 6, 6]);
    net.conv("only", "x", 2, 6, &[3, 3]);
    let coupling = groups_of(&net.build(&["only"]));
    assert!(coupling.groups.is_empty());
    let reasons: Vec<_> = coupling.frozen.iter().map(|frozen| frozen.reason.as_str()).collect();
    assert_eq!(reasons, ["graph input `x`", "graph output `only`"]);
}

#[test]
fn an_unmeasured_tensor_freezes_what_it_touches() {
    let mut net = Net::new(&[2, 6, 6]);
    net.conv("first", "x", 2, 6, &[3, 3]);
    net.op("act", "Relu", &["first"]);
    net.conv("last", "act", 6, 3, &[1, 1]);
    let model = net.build(&["last"]);
    let mut shapes = support::measure(&model);
    shapes.remove("act");
    let coupling = sentei_onnx::coupling::analyse(&model, &shapes);
    assert!(coupling.groups.is_empty());
    assert!(
        coupling.frozen.iter().any(|frozen| frozen.reason.contains("`act` was not measured")),
        "{:?}",
        coupling.frozen
    );
}
