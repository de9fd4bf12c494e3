//! The quantiser on the example models and data, with the real runtime.

use std::{
    collections::BTreeSet,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use sentei_onnx::{Model, check::check};
use sentei_runtime::{Runtime, SessionOptions, Tensor, locate};

use super::*;

fn runtime() -> Arc<Runtime> {
    let library = locate(None).expect("an ONNX Runtime, or pip to fetch one with");
    Runtime::load(&library).expect("loads")
}

/// An example: its model, and rows of input with their labels.
struct Example {
    model: Model,
    bytes: usize,
    input: String,
    row: Vec<usize>,
    calibration: Vec<f32>,
    evaluation: Vec<f32>,
    labels: Vec<i64>,
}

fn examples(file: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples")).join(file)
}

/// Rows for calibration.
const CALIBRATION: usize = 256;

fn example(model: &str, data: &str, row: &[usize], evaluation: usize, load: fn(&Path, &str) -> Vec<f32>) -> Example {
    let (file, data) = (examples(model), examples(data));
    let length: usize = row.iter().product();
    let labels = array(&data, "y_evaluation");
    let labels: Vec<i64> = labels.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect();
    let model = Model::load(&file).expect("a model");
    Example {
        input: model.inputs()[0].name.clone(),
        bytes: std::fs::metadata(&file).expect("a file").len() as usize,
        model,
        row: row.to_vec(),
        calibration: load(&data, "x_calibration")[..CALIBRATION * length].to_vec(),
        evaluation: load(&data, "x_evaluation")[..evaluation * length].to_vec(),
        labels: labels[..evaluation].to_vec(),
    }
}

/// The bytes of an array in an npz file, as `NumPy`'s first format version writes it.
fn array(path: &Path, name: &str) -> Vec<u8> {
    let mut archive = zip::ZipArchive::new(File::open(path).expect("data")).expect("an npz file");
    let mut bytes = Vec::new();
    archive.by_name(&format!("{name}.npy")).expect("an array").read_to_end(&mut bytes).expect("reads");
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes.split_off(10 + header)
}

fn pixels(data: &Path, name: &str, scale: f32, shift: f32) -> Vec<f32> {
    array(data, name).into_iter().map(|pixel| f32::from(pixel) / scale + shift).collect()
}

fn digits() -> Example {
    let load: fn(&Path, &str) -> Vec<f32> =
        |data, name| pixels(data, name, 255.0 * 0.305_147_7, -0.154_776_36 / 0.305_147_7);
    example("digits/digits_resnet20.onnx", "digits/digits.npz", &[1, 28, 28], 600, load)
}

fn glyphs() -> Example {
    example("glyphs/glyphs_mobilenet.onnx", "glyphs/glyphs.npz", &[1, 32, 32], 600, |data, name| {
        pixels(data, name, 127.5, -1.0)
    })
}

fn wrist(model: &str) -> Example {
    example(model, "wrist/wrist.npz", &[100, 6], 1000, |data, name| {
        array(data, name).as_chunks().0.iter().map(|&bytes| half::f16::from_le_bytes(bytes).to_f32()).collect()
    })
}

impl Example {
    fn batch(&self, rows: &[f32]) -> Batch {
        let length: usize = self.row.iter().product();
        let shape: Vec<usize> = std::iter::once(rows.len() / length).chain(self.row.iter().copied()).collect();
        vec![(self.input.clone(), Tensor::new(shape, rows.to_vec()).expect("fits"))]
    }

    #[expect(clippy::needless_lifetimes, reason = "elided, it would not compile inside `impl Fn`")]
    fn batches<'a>(&'a self) -> impl Fn() -> Box<dyn Iterator<Item = Batch> + 'a> {
        let length: usize = self.row.iter().product();
        move || Box::new(self.calibration.chunks(64 * length).map(|rows| self.batch(rows)))
    }

    fn quantize(&self, options: &QuantizeOptions) -> Quantized {
        quantize(&self.model, &runtime(), &self.batches(), options).expect("quantises")
    }

    /// Percent of evaluation rows that `model` gets right; all answers must be finite.
    fn accuracy(&self, model: &Model) -> f64 {
        let bytes = model.to_bytes().expect("bytes");
        let mut session = runtime().session_from_bytes(&bytes, &SessionOptions::default()).expect("loads");
        let batch = self.batch(&self.evaluation);
        let answers = session.run(&[(self.input.as_str(), &batch[0].1)], None).expect("runs");
        let scores = answers[0].values::<f32>().expect("floats");
        assert!(scores.iter().all(|score| score.is_finite()));
        let classes = scores.len() / self.labels.len();
        let best = |row: &[f32]| (0..classes).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0) as i64;
        let right = scores.chunks(classes).zip(&self.labels).filter(|(row, label)| best(row) == **label).count();
        100.0 * right as f64 / self.labels.len() as f64
    }

    /// Quantises, prints what came of it, and gives the loss in points and the file's share.
    fn trial(&self, name: &str, options: &QuantizeOptions) -> (f64, f64) {
        let quantized = self.quantize(options);
        check(&quantized.model).expect("a sound model");
        let size = quantized.model.to_bytes().expect("bytes").len();
        let (before, after) = (self.accuracy(&self.model), self.accuracy(&quantized.model));
        let smaller = self.bytes as f64 / size as f64;
        println!(
            "{name}: {before:.2} % -> {after:.2} %, {} -> {size} B ({smaller:.2}x), {:?}, divergence {:.5}, {} integer, {} float",
            self.bytes,
            quantized.method,
            quantized.divergence,
            quantized.quantized.len(),
            quantized.left_alone.len(),
        );
        (before - after, smaller)
    }
}

#[test]
fn the_digits_net_shrinks_more_than_3_7_times_and_loses_at_most_half_a_point() {
    let (loss, smaller) = digits().trial("digits", &QuantizeOptions::default());
    assert!(smaller >= 3.7, "{smaller} times");
    assert!(loss <= 0.5, "{loss} points");
}

#[test]
fn every_way_to_choose_ranges_keeps_the_digits() {
    let digits = digits();
    let ways = [
        (Method::MinMax, 0.5),
        (Method::Percentile(99.99), 0.5),
        (Method::MeanSquaredError, 0.5),
        // Clips more than this net likes.
        (Method::Entropy, 1.5),
    ];
    for (method, allowed) in ways {
        let options = QuantizeOptions { methods: vec![method], ..QuantizeOptions::default() };
        let (loss, _) = digits.trial("digits", &options);
        assert!(loss <= allowed, "{method:?}: {loss} points");
    }
}

#[test]
fn corrected_biases_bring_the_answers_nearer() {
    let digits = digits();
    let divergence = |correct_biases| {
        let options = QuantizeOptions { methods: vec![Method::MinMax], correct_biases, ..QuantizeOptions::default() };
        digits.quantize(&options).divergence
    };
    let (plain, corrected) = (divergence(false), divergence(true));
    assert!(corrected < plain, "{plain} became {corrected}");
}

#[test]
fn weights_of_seven_bits_keep_the_digits() {
    let options = QuantizeOptions { target: TargetCpu::Saturating, ..QuantizeOptions::default() };
    let (loss, _) = digits().trial("digits, 7 bits", &options);
    assert!(loss <= 0.7, "{loss} points");
}

#[test]
fn a_convolution_over_time_quantises() {
    let (loss, smaller) = wrist("wrist/wrist_cnn1d.onnx").trial("wrist cnn", &QuantizeOptions::default());
    assert!(loss <= 1.0, "{loss} points");
    assert!(smaller >= 3.7, "{smaller} times");
}

#[test]
fn a_transformer_quantises() {
    let (loss, smaller) = wrist("wrist/wrist_transformer.onnx").trial("wrist transformer", &QuantizeOptions::default());
    assert!(loss <= 1.5, "{loss} points");
    assert!(smaller >= 2.5, "{smaller} times");
}

#[test]
fn depthwise_convolutions_and_clipped_rectifiers_quantise() {
    let (loss, smaller) = glyphs().trial("glyphs", &QuantizeOptions::default());
    assert!(loss <= 3.0, "{loss} points");
    assert!(smaller >= 3.0, "{smaller} times");
}

#[test]
fn layers_kept_in_float_are_listed_and_keep_their_weights() {
    let digits = digits();
    let keep_float = BTreeSet::from(["/conv1/Conv".to_owned(), "/fc/Gemm".to_owned()]);
    let options = QuantizeOptions {
        keep_float,
        methods: vec![Method::MinMax],
        correct_biases: false,
        ..QuantizeOptions::default()
    };
    let quantized = digits.quantize(&options);
    let named: Vec<&str> = quantized.left_alone.iter().map(|left| left.node.as_str()).collect();
    assert_eq!(named, ["/conv1/Conv", "/fc/Gemm"]);
    for weight in ["onnx::Conv_202", "fc.weight"] {
        assert_eq!(quantized.model.initializer(weight), digits.model.initializer(weight));
    }
    assert!(digits.accuracy(&quantized.model) > 95.0);
}

#[test]
fn a_quantised_model_is_not_quantised_again() {
    let digits = digits();
    let options = QuantizeOptions { methods: vec![], correct_biases: false, ..QuantizeOptions::default() };
    let once = digits.quantize(&options).model;
    let error = quantize(&once, &runtime(), &digits.batches(), &options).expect_err("refused");
    assert!(matches!(error, QuantizeError::AlreadyQuantized { .. }), "{error}");
}

#[test]
fn no_data_and_broken_data_are_refused() {
    let mut digits = digits();
    let options = QuantizeOptions::default();
    let none = || -> Box<dyn Iterator<Item = Batch>> { Box::new(std::iter::empty()) };
    let error = quantize(&digits.model, &runtime(), &none, &options).expect_err("refused");
    assert!(matches!(error, QuantizeError::NoData), "{error}");
    digits.calibration[5] = f32::NAN;
    let error = quantize(&digits.model, &runtime(), &digits.batches(), &options).expect_err("refused");
    assert!(error.to_string().contains("`input` is infinite or not a number"), "{error}");
}

#[test]
fn layers_are_given_back_worst_first_until_the_judge_is_content() {
    let glyphs = glyphs();
    let options =
        QuantizeOptions { methods: vec![Method::MinMax], correct_biases: false, ..QuantizeOptions::default() };
    let all = glyphs.quantize(&options);
    let mut asked = 0;
    let outcome = quantize_until(&glyphs.model, &runtime(), &glyphs.batches(), &options, |candidate| {
        asked += 1;
        let better = candidate.divergence <= all.divergence * 0.6;
        Ok::<_, QuantizeError>(if better { Verdict::Pass } else { Verdict::Fail })
    })
    .expect("ends");
    let passed = outcome.passed.expect("some layers are worse than others");
    assert!(asked >= 2);
    assert_eq!(passed.quantized.len() + outcome.reverted.len(), all.quantized.len());
    assert!(outcome.reverted.is_sorted_by(|a, b| a.1 >= b.1));
    println!("glyphs: {} asked, {:?} given back", asked, outcome.reverted);
}

#[test]
fn a_judge_that_is_never_content_gets_no_model() {
    let wrist = wrist("wrist/wrist_cnn1d.onnx");
    let options = QuantizeOptions { methods: vec![Method::MinMax], ..QuantizeOptions::default() };
    let never = |_: &Quantized| Ok::<_, QuantizeError>(Verdict::Fail);
    let outcome = quantize_until(&wrist.model, &runtime(), &wrist.batches(), &options, never).expect("ends");
    assert_eq!(outcome.passed, None);
}

/// A small net with what the example nets lack: one weight in two convolutions, `MaxPool`, `Concat`, `AveragePool`,
/// `Flatten`, a convolution whose output is the graph's, and one whose weight is computed.
fn odd_shapes() -> Model {
    use sentei_onnx::{
        ElementType, Tensor,
        attributes::Attribute,
        edit::{model, node, value_info, with},
    };
    let values = |count: usize| (0..count).map(|i| ((i * 37 + 11) % 64) as f32 / 32.0 - 1.0).collect::<Vec<f32>>();
    let weight = |shape: &[usize]| Tensor::new(shape, values(shape.iter().product())).expect("fits");
    let kernel = |node, length: i64| with(node, "kernel_shape", Attribute::Ints(vec![length; 2]));
    let strided = |node| with(node, "strides", Attribute::Ints(vec![2; 2]));
    let nodes = vec![
        node("Conv", &["x", "shared", "b"], &["c1"]),
        node("Relu", &["c1"], &["r1"]),
        node("Conv", &["r1", "shared"], &["c2"]),
        node("Concat", &["r1", "c2"], &["cat"]),
        strided(kernel(node("MaxPool", &["cat"], &["max"]), 2)),
        strided(kernel(node("AveragePool", &["max"], &["avg"]), 2)),
        node("Conv", &["avg", "last"], &["map"]),
        node("Flatten", &["avg"], &["flat"]),
        node("Gemm", &["flat", "fc", "fcb"], &["scores"]),
        node("Relu", &["last"], &["computed"]),
        node("Conv", &["avg", "computed"], &["odd"]),
    ];
    let nodes = nodes
        .into_iter()
        .map(|node| if node.output[0] == "cat" { with(node, "axis", Attribute::Int(1)) } else { node })
        .collect();
    let weights = [
        ("shared", weight(&[4, 4, 1, 1])),
        ("b", weight(&[4])),
        ("last", weight(&[3, 8, 1, 1])),
        ("fc", weight(&[32, 5])),
        ("fcb", weight(&[5])),
    ];
    let input = value_info("x", ElementType::Float, &[Err("n"), Ok(4), Ok(8), Ok(8)]);
    model(17, vec![input], &["map", "scores", "odd"], nodes, &weights).expect("a model")
}

fn noise() -> Box<dyn Iterator<Item = Batch>> {
    let values: Vec<f32> = (0..16 * 256_usize).map(|i| ((i * 7919) % 1009) as f32 / 504.5 - 1.0).collect();
    Box::new(std::iter::once(vec![("x".to_owned(), Tensor::new([16, 4, 8, 8], values).expect("fits"))]))
}

#[test]
fn shared_weights_pools_joins_and_graph_outputs_quantise() {
    let float = odd_shapes();
    let quantized = quantize(&float, &runtime(), &noise, &QuantizeOptions::default()).expect("quantises");
    check(&quantized.model).expect("a sound model");
    assert_eq!(quantized.quantized, ["c1", "c2", "scores"]);
    let left: Vec<(&str, bool)> =
        quantized.left_alone.iter().map(|left| (left.node.as_str(), left.reason.contains("also used"))).collect();
    // `last` is also read by a node that computes another weight from it.
    assert_eq!(left, [("map", true), ("odd", false)]);
    assert!(quantized.divergence < 1e-3, "{}", quantized.divergence);
    let codes = quantized.model.graph().initializer.iter().filter(|weight| weight.dims == [4, 4, 1, 1]).count();
    assert_eq!(codes, 1, "the shared weight is stored once, and its floats are gone");
    assert_eq!(quantized.ranges["max"], quantized.ranges["cat"]);
    if let Ok(path) = std::env::var("SENTEI_TEST_DUMP") {
        quantized.model.save(Path::new(&path)).expect("saves");
    }
}

#[test]
fn a_convolution_that_gives_a_graph_output_keeps_the_outputs_name() {
    use sentei_onnx::edit::{model, node, value_info};
    let weight = sentei_onnx::Tensor::new([2, 4, 1, 1], vec![0.5_f32, -1.0, 0.25, 1.0, 0.1, 0.2, 0.3, 0.4]);
    let input = value_info("x", sentei_onnx::ElementType::Float, &[Err("n"), Ok(4), Ok(8), Ok(8)]);
    let nodes = vec![node("Conv", &["x", "w"], &["y"])];
    let float = model(13, vec![input], &["y"], nodes, &[("w", weight.expect("fits"))]).expect("a model");
    let quantized = quantize(&float, &runtime(), &noise, &QuantizeOptions::default()).expect("quantises");
    check(&quantized.model).expect("a sound model");
    assert_eq!(quantized.model.outputs()[0].name, "y");
    assert!(quantized.divergence < 1e-3, "{}", quantized.divergence);
}

#[test]
fn an_old_opset_is_refused_with_the_remedy() {
    use sentei_onnx::edit::{model, node, value_info};
    let input = value_info("x", sentei_onnx::ElementType::Float, &[Err("n"), Ok(4)]);
    let old = model(12, vec![input], &["y"], vec![node("Relu", &["x"], &["y"])], &[]).expect("a model");
    let error = quantize(&old, &runtime(), &noise, &QuantizeOptions::default()).expect_err("refused");
    assert_eq!(
        error.to_string(),
        "the model uses opset 12, and 8-bit weights need 13 or newer; export it again with a newer opset"
    );
}

#[test]
fn a_model_without_weights_has_nothing_to_quantise() {
    use sentei_onnx::edit::{model, node, value_info};
    let input = value_info("x", sentei_onnx::ElementType::Float, &[Err("n"), Ok(4)]);
    let product = vec![node("Transpose", &["x"], &["t"]), node("MatMul", &["x", "t"], &["y"])];
    let bare = model(17, vec![input], &["y"], product, &[]).expect("a model");
    let error = quantize(&bare, &runtime(), &noise, &QuantizeOptions::default()).expect_err("refused");
    assert!(error.to_string().starts_with("no layer can be quantised: `y`, its weight is no constant"), "{error}");
}
