//! The real library on a real model, acquired as a user would.

#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use sentei_runtime::{Data, Dtype, Level, Pool, Runtime, SessionOptions, Tensor, locate};

fn runtime() -> Arc<Runtime> {
    let library = locate(None).expect("an ONNX Runtime, or pip to fetch one with");
    Runtime::load(&library).expect("loads")
}

fn digits() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/digits/digits_resnet20.onnx")).to_owned()
}

/// A batch of `n` images that differ from one another.
fn images(n: usize) -> Tensor {
    let pixels = (0..n * 784).map(|i| ((i * 37 % 255) as f32) / 127.0 - 1.0).collect::<Vec<f32>>();
    Tensor::new([n, 1, 28, 28], pixels).expect("fits")
}

#[test]
fn a_model_says_what_it_wants_and_answers_a_batch() {
    let mut session = runtime().session_from_file(&digits(), &SessionOptions::default()).expect("a session");
    let input = &session.inputs()[0];
    assert_eq!(
        (input.name.as_str(), input.dtype, input.shape.to_string()),
        ("input", Dtype::F32, "[?, 1, 28, 28]".into())
    );
    let answers = session.run(&[("input", &images(3))], None).expect("answers");
    assert_eq!(answers[0].shape(), [3, 10]);
    assert!(answers[0].values::<f32>().expect("floats").iter().all(|logit| logit.is_finite()));
}

#[test]
fn two_runs_and_two_sessions_give_the_same_bits() {
    let runtime = runtime();
    let bytes = std::fs::read(digits()).expect("the example model");
    let mut first = runtime.session_from_bytes(&bytes, &SessionOptions::default()).expect("a session");
    let mut second = runtime.session_from_bytes(&bytes, &SessionOptions::default()).expect("a session");
    let images = images(5);
    let run = |session: &mut sentei_runtime::Session| session.run(&[("input", &images)], None).expect("answers");
    assert_eq!(run(&mut first), run(&mut first));
    assert_eq!(run(&mut first), run(&mut second));
}

#[test]
fn an_unoptimised_session_without_arena_agrees_with_an_optimised_one() {
    let plain = SessionOptions { optimization: Level::Off, arena: false, ..SessionOptions::default() };
    let runtime = runtime();
    let mut plain = runtime.session_from_file(&digits(), &plain).expect("a session");
    let mut fast = runtime.session_from_file(&digits(), &SessionOptions::default()).expect("a session");
    let images = images(2);
    let expected = plain.run(&[("input", &images)], Some(&["logits"])).expect("answers");
    let found = fast.run(&[("input", &images)], Some(&["logits"])).expect("answers");
    let pairs = expected[0].values::<f32>().expect("floats").iter().zip(found[0].values::<f32>().expect("floats"));
    for (expected, found) in pairs {
        assert!((expected - found).abs() < 1e-3, "{expected} against {found}");
    }
}

#[test]
fn a_bad_input_is_refused_with_its_name_what_was_found_and_what_was_expected() {
    let mut session = runtime().session_from_file(&digits(), &SessionOptions::default()).expect("a session");
    let mut message = |inputs: &[(&str, &Tensor)], outputs: Option<&[&str]>| {
        let error = session.run(inputs, outputs).expect_err("must be refused");
        assert!(error.is_callers());
        error.to_string()
    };
    let good = images(1);
    let flat = Tensor::new([1, 784], vec![0.0_f32; 784]).expect("fits");
    let integers = Tensor::zeros([1, 1, 28, 28], Dtype::I64);
    assert_eq!(message(&[("input", &flat)], None), "input `input` has shape [1, 784], expected [?, 1, 28, 28]");
    assert_eq!(message(&[("input", &integers)], None), "input `input` is int64, expected float");
    assert_eq!(message(&[("x", &good)], None), "unknown input `x`; the model has `input`");
    assert_eq!(message(&[], None), "input `input` is missing; expected float of shape [?, 1, 28, 28]");
    assert_eq!(message(&[("input", &good), ("input", &good)], None), "input `input` was given twice");
    assert_eq!(message(&[("input", &good)], Some(&["y"])), "unknown output `y`; the model has `logits`");
}

#[test]
fn a_malformed_model_is_an_error_not_a_crash() {
    let runtime = runtime();
    let bytes = std::fs::read(digits()).expect("the example model");
    for broken in [&b""[..], b"not a model at all", &bytes[..bytes.len() / 2]] {
        let error = runtime.session_from_bytes(broken, &SessionOptions::default()).expect_err("must be refused");
        assert!(error.to_string().starts_with("ONNX Runtime refused the model: "), "{error}");
    }
    let missing = runtime.session_from_file(Path::new("/nonexistent.onnx"), &SessionOptions::default());
    assert!(missing.expect_err("must be refused").to_string().contains("/nonexistent.onnx"));
}

#[test]
fn a_pool_answers_many_threads_alike() {
    let bytes = std::fs::read(digits()).expect("the example model");
    let pool = Pool::from_bytes(&runtime(), &bytes, &SessionOptions::default(), 2).expect("a pool");
    assert_eq!(pool.size(), 2);
    let images = images(1);
    let expected = pool.run(&[("input", &images)], None).expect("answers");
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..5 {
                    assert_eq!(pool.run(&[("input", &images)], None).expect("answers"), expected);
                }
            });
        }
    });
}

#[test]
fn an_empty_batch_gives_an_empty_answer() {
    let mut session = runtime().session_from_file(&digits(), &SessionOptions::default()).expect("a session");
    let empty = Tensor::new([0, 1, 28, 28], Vec::<f32>::new()).expect("fits");
    let answers = session.run(&[("input", &empty)], None).expect("answers");
    assert_eq!((answers[0].shape(), answers[0].data()), (&[0, 10][..], &Data::F32(Vec::new())));
}

#[test]
fn the_same_library_loads_twice_and_another_does_not() {
    let first = runtime();
    assert!(Arc::ptr_eq(&first, &runtime()));
    let library = locate(None).expect("found");
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("libonnxruntime.so");
    std::fs::copy(library.path(), &copy).expect("copied");
    let error = Runtime::load(&locate(Some(&copy)).expect("suitable")).expect_err("must be refused");
    assert!(error.to_string().starts_with("ONNX Runtime is already loaded from "), "{error}");
}
