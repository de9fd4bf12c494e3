//! What surgery refuses, and what it leaves as it was.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on says why")]

mod support;

use std::collections::BTreeMap;

use sentei_onnx::{Dim, Model, Shapes, coupling::analyse, edit::value_info, surgery::keep_units};
use support::{groups_of, net::Net};

fn net() -> Model {
    let mut net = Net::new(&[2, 6, 6]);
    net.conv("first", "x", 2, 6, &[3, 3]);
    net.op("act", "Relu", &["first"]);
    net.conv("last", "act", 6, 3, &[1, 1]);
    net.build(&["last"])
}

fn kept(name: &str, units: &[usize]) -> BTreeMap<String, Vec<usize>> {
    BTreeMap::from([(name.to_owned(), units.to_vec())])
}

#[test]
fn kept_units_must_be_an_ascending_subset() {
    let model = net();
    let coupling = groups_of(&model);
    let refuse =
        |name: &str, units: &[usize]| keep_units(&model, &coupling, &kept(name, units)).unwrap_err().to_string();
    let must = "group `first` has units 0 to 5; kept units must be ascending, without repeats, and at least one, but";
    assert_eq!(refuse("first", &[2, 1]), format!("{must} 2 comes before 1"));
    assert_eq!(refuse("first", &[1, 1]), format!("{must} 1 comes before 1"));
    assert_eq!(refuse("first", &[]), format!("{must} none is kept"));
    assert_eq!(refuse("first", &[6]), format!("{must} 6 is kept"));
    assert_eq!(refuse("second", &[0]), "there is no group `second`");
    assert_eq!(refuse("last", &[0]), "there is no group `last`; that axis is frozen: graph output `last`");
}

#[test]
fn a_model_that_changed_since_the_analysis_is_refused() {
    let model = net();
    let coupling = groups_of(&model);
    let cut = keep_units(&model, &coupling, &kept("first", &[0, 5])).unwrap();
    let error = keep_units(&cut, &coupling, &kept("first", &[0])).unwrap_err().to_string();
    assert!(error.contains("analyse the model again"), "{error}");
}

#[test]
fn keeping_everything_changes_nothing() {
    let model = net();
    let coupling = groups_of(&model);
    assert_eq!(keep_units(&model, &coupling, &kept("first", &[0, 1, 2, 3, 4, 5])).unwrap(), model);
    assert_eq!(keep_units(&model, &coupling, &BTreeMap::new()).unwrap(), model);
}

#[test]
fn declared_shapes_follow_and_names_stay() {
    let mut model = net();
    let info = value_info("act", sentei_onnx::ElementType::Float, &[Err("batch"), Ok(6), Ok(6), Ok(6)]);
    model.graph_mut().value_info.push(info);
    let cut = keep_units(&model, &groups_of(&model), &kept("first", &[1, 4])).unwrap();
    let expected = value_info("act", sentei_onnx::ElementType::Float, &[Err("batch"), Ok(2), Ok(6), Ok(6)]);
    assert_eq!(cut.graph().value_info, [expected]);
    let names =
        |model: &Model| model.graph().node.iter().map(|n| (n.name().to_owned(), n.output.clone())).collect::<Vec<_>>();
    assert_eq!(names(&cut), names(&model));
    assert_eq!(cut.tensor("first.b").unwrap().shape(), [2]);
    let before = model.weights("last.w").unwrap().1;
    assert_eq!(cut.weights("last.w").unwrap().1[..2], [before[1], before[4]]);
}

#[test]
fn group_names_are_the_same_after_a_cut() {
    let model = net();
    let cut = keep_units(&model, &groups_of(&model), &kept("first", &[0, 2, 3])).unwrap();
    let again = groups_of(&cut);
    assert_eq!(again.groups.iter().map(|g| (g.name.as_str(), g.units)).collect::<Vec<_>>(), [("first", 3)]);
}

/// Analysis of a long residual net takes far less than the 100 ms of processor time a 500-node graph may take; the limit
/// here leaves room for a busy machine and an unoptimised build.
#[test]
fn a_graph_of_five_hundred_nodes_is_analysed_at_once() {
    let mut net = Net::new(&[2, 4, 4]);
    let mut stream = net.conv("stem", "x", 2, 8, &[1, 1]);
    for block in 0..125 {
        let inner = net.conv(&format!("a{block}"), &stream, 8, 4, &[1, 1]);
        let act = net.op(&format!("r{block}"), "Relu", &[&inner]);
        let outer = net.conv(&format!("b{block}"), &act, 4, 8, &[1, 1]);
        stream = net.op(&format!("s{block}"), "Add", &[&stream, &outer]);
    }
    net.conv("last", &stream, 8, 2, &[1, 1]);
    let model = net.build(&["last"]);
    // Shapes are known by construction; running is not what is timed.
    let dims = |channels| vec![Dim::Dynamic, Dim::Static(channels), Dim::Static(4), Dim::Static(4)];
    let mut shapes: Shapes = BTreeMap::from([("x".to_owned(), dims(2))]);
    for node in &model.graph().node {
        let output = node.output[0].as_str();
        let channels = match &output[..1] {
            "a" | "r" => 4,
            "l" => 2,
            _ => 8,
        };
        shapes.insert(output.to_owned(), dims(channels));
    }
    let start = std::time::Instant::now();
    let coupling = analyse(&model, &shapes);
    let took = start.elapsed();
    assert_eq!(coupling.groups.len(), 126);
    println!("{} nodes in {took:?}", model.graph().node.len());
    assert!(took.as_millis() < 1000, "{took:?}");
}
