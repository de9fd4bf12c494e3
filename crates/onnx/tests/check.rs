//! What the check finds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on says why")]

mod support;

use sentei_onnx::{Model, Tensor, check::check, edit};
use support::net::Net;

fn net() -> Model {
    let mut net = Net::new(&[2, 4, 4]);
    net.conv("a", "x", 2, 3, &[3, 3]);
    net.op("r", "Relu", &["a"]);
    net.conv("b", "r", 3, 2, &[3, 3]);
    net.build(&["b"])
}

fn defects(change: impl FnOnce(&mut Model)) -> Vec<String> {
    let mut model = net();
    change(&mut model);
    check(&model).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn names_and_order() {
    let dangling = defects(|model| model.graph_mut().node[1].input[0] = "z".to_owned());
    assert_eq!(dangling, ["node `r` reads `z`, which nothing makes"]);
    let late = defects(|model| model.graph_mut().node.swap(0, 1));
    assert_eq!(late, ["node `r` stands before the node that makes `a`"]);
    let twice = defects(|model| model.graph_mut().node[2].output[0] = "r".to_owned());
    assert_eq!(twice, ["tensor `r` is made twice", "graph output `b` is made by nothing"]);
    assert_eq!(defects(|model| model.graph_mut().output.clear()), ["the graph has no output"]);
    let foreign = defects(|model| model.graph_mut().node[1].domain = Some("other".to_owned()));
    assert_eq!(foreign, ["node `r` is of operator set `other`, which the model does not import"]);
}

#[test]
fn lengths() {
    let short = defects(|model| model.graph_mut().initializer[0].dims[0] = 4);
    assert!(
        short[0].starts_with("weight `a.w` of shape [4, 2, 3, 3] needs 288 bytes or values, but has 216"),
        "{short:?}"
    );
    let narrow = defects(|model| model.set_initializer("b.w", &Tensor::new([2, 5, 3, 3], vec![0.0_f32; 90]).unwrap()));
    assert_eq!(narrow, ["at node `b`, the channel count read by `b.w` is 5, but that of `r` from `a` is 3"]);
    let bias = defects(|model| model.set_initializer("a.b", &Tensor::vector(vec![0.0_f32; 2])));
    assert_eq!(bias, ["at node `a`, the length of `a.b` is 2, but the number of filters in `a.w` is 3"]);
}

#[test]
fn sorting_restores_the_order_and_a_circle_is_named() {
    let mut model = net();
    model.graph_mut().node.reverse();
    edit::sort(&mut model).unwrap();
    assert_eq!(model, net());
    model.graph_mut().node[0].input[0] = "b".to_owned();
    assert_eq!(
        edit::sort(&mut model).unwrap_err().to_string(),
        "node `a` waits for its own result; a graph must have no circle"
    );
}
