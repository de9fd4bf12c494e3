//! Model files: what comes in goes out, and what is refused is refused with a reason and a remedy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on says why")]

mod support;

use std::{fs, path::Path};

use proptest::prelude::*;
use prost::Message;
use sentei_onnx::{
    ElementType, Model, Tensor,
    edit::{model, node, value_info},
    proto::{ModelProto, StringStringEntryProto, TensorProto, tensor_proto::DataLocation},
};
use support::example;

fn small() -> Model {
    let input = value_info("x", ElementType::Float, &[Err("n"), Ok(2)]);
    let weight = Tensor::new([2, 2], vec![1.0_f32, 2.0, 3.0, 4.0]).unwrap();
    model(17, vec![input], &["y"], vec![node("MatMul", &["x", "w"], &["y"])], &[("w", weight)]).unwrap()
}

fn refusal(bytes: &[u8]) -> String {
    Model::from_bytes(bytes).unwrap_err().to_string()
}

#[test]
fn every_example_comes_out_byte_for_byte_equal_in_meaning() {
    let names = ["digits/digits_resnet20.onnx", "wrist/wrist_transformer.onnx", "glyphs/glyphs_mobilenet.onnx"];
    for name in names {
        let model = Model::load(&example(name)).unwrap();
        let again = Model::from_bytes(&model.to_bytes().unwrap()).unwrap();
        assert_eq!(again, model);
        // Nothing was dropped while decoding: the encoding is as long as the file.
        assert_eq!(model.to_bytes().unwrap().len() as u64, fs::metadata(example(name)).unwrap().len(), "{name}");
    }
}

#[test]
fn an_empty_file_is_refused() {
    assert_eq!(refusal(b""), "the model is empty (0 bytes); export it again");
}

#[test]
fn a_truncated_file_is_refused_and_says_how_much_is_missing() {
    let bytes = fs::read(example("wrist/wrist_cnn1d.onnx")).unwrap();
    let error = refusal(&bytes[..bytes.len() / 2]);
    assert!(error.starts_with("the model is truncated: a field needs"), "{error}");
    assert!(error.ends_with("copy or download it again"), "{error}");
}

#[test]
fn other_files_are_refused_by_what_they_are() {
    let pointer = refusal(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n");
    assert!(pointer.contains("Git LFS pointer (run `git lfs pull`)"), "{pointer}");
    assert!(refusal(b"PK\x03\x04rest").contains("a zip archive"));
    assert!(refusal(b"<!DOCTYPE html>").contains("text or markup"));
    assert!(refusal(b"hello, world").contains("this is not an ONNX model"));
    assert!(refusal(&fs::read(example("wrist/wrist.npz")).unwrap()).contains("not an ONNX model"));
    assert!(
        refusal(&ModelProto { ir_version: Some(8), ..ModelProto::default() }.encode_to_vec())
            .contains("without a graph")
    );
}

#[test]
fn unknown_operator_sets_are_refused_with_those_known() {
    let with = |version: i64| {
        let mut proto = small().proto().clone();
        proto.opset_import[0].version = Some(version);
        proto.encode_to_vec()
    };
    let expected = "the model uses opset 99, and 7 to 26 are known; export or convert it to one of these";
    assert_eq!(refusal(&with(99)), expected);
    assert!(refusal(&with(6)).starts_with("the model uses opset 6"));
    let mut none = small().proto().clone();
    none.opset_import.clear();
    assert!(refusal(&none.encode_to_vec()).starts_with("the model imports no default operator set"));
}

#[test]
fn a_file_of_two_gibibytes_is_refused_before_it_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("huge.onnx");
    fs::File::create(&path).unwrap().set_len(1 << 31).unwrap();
    let error = Model::load(&path).unwrap_err().to_string();
    assert!(error.contains("2147483648 bytes") && error.contains("export it with external data"), "{error}");
}

#[test]
fn a_missing_file_is_named() {
    let error = Model::load(Path::new("/nowhere/model.onnx")).unwrap_err().to_string();
    assert_eq!(error, "cannot read model `/nowhere/model.onnx`");
}

#[test]
fn saving_replaces_the_file_at_once_and_leaves_nothing_aside() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.onnx");
    fs::write(&path, b"old").unwrap();
    small().save(&path).unwrap();
    assert_eq!(Model::load(&path).unwrap(), small());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_failed_save_names_the_file_and_leaves_nothing() {
    let error = small().save(Path::new("/nowhere/model.onnx")).unwrap_err().to_string();
    assert_eq!(error, "cannot write `/nowhere/model.onnx` (the file that stood there is untouched)");
}

/// `small`, with its weight declared to stand in another file.
fn external(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut proto = small().proto().clone();
    let weight: &mut TensorProto = &mut proto.graph.as_mut().unwrap().initializer[0];
    weight.raw_data = None;
    weight.data_location = Some(DataLocation::External as i32);
    let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
        key: Some((*key).to_owned()),
        value: Some((*value).to_owned()),
    };
    weight.external_data = entries.iter().map(entry).collect();
    proto.encode_to_vec()
}

/// Loads such a model from a directory with a data file of 20 bytes.
fn load_external(entries: &[(&str, &str)]) -> Result<Model, String> {
    let directory = tempfile::tempdir().unwrap();
    let inside = directory.path().join("model");
    fs::create_dir(&inside).unwrap();
    let values: Vec<u8> = [0.0_f32, 1.0, 2.0, 3.0, 4.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    fs::write(inside.join("weights.bin"), &values).unwrap();
    fs::write(directory.path().join("secret"), &values).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(directory.path().join("secret"), inside.join("link")).unwrap();
    fs::write(inside.join("model.onnx"), external(entries)).unwrap();
    Model::load(&inside.join("model.onnx")).map_err(|error| error.to_string())
}

#[test]
fn weights_in_a_file_next_to_the_model_are_read() {
    let whole = load_external(&[("location", "weights.bin"), ("offset", "4"), ("length", "16")]).unwrap();
    assert_eq!(whole, small());
    let to_end = load_external(&[("location", "./weights.bin"), ("offset", "4")]).unwrap();
    assert_eq!(to_end, small());
}

#[test]
fn weights_outside_the_models_directory_are_never_read() {
    for location in
        ["../secret", "/etc/passwd", "a/../../secret", "..\\secret", "\\secret", "C:secret", "a\0b", "", "."]
    {
        let error = load_external(&[("location", location), ("length", "16")]).unwrap_err();
        assert!(error.contains("only files in the model's own directory are read"), "{location:?}: {error}");
    }
    #[cfg(unix)]
    {
        let error = load_external(&[("location", "link"), ("length", "16")]).unwrap_err();
        assert!(error.contains("a link that leaves the model's directory"), "{error}");
    }
}

#[test]
fn regions_that_do_not_fit_are_refused_before_memory_is_taken() {
    let region = |offset: &str, length: &str| {
        load_external(&[("location", "weights.bin"), ("offset", offset), ("length", length)]).unwrap_err()
    };
    assert!(region("8", "16").contains("which has 20 bytes"));
    assert!(region("0", "18446744073709551615").contains("which has 20 bytes"));
    assert!(region("18446744073709551615", "16").contains("which has 20 bytes"));
    assert!(region("0", "12").contains("needs 16 bytes, but its region has 12"));
    assert!(region("-1", "16").contains("has offset `-1`; expected a number of bytes"));
    let missing = load_external(&[("location", "other.bin")]).unwrap_err();
    assert!(missing.contains("keep it next to the model"), "{missing}");
    assert!(refusal(&external(&[("location", "weights.bin")])).contains("load the model from its path"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_files_never_panic(edits in prop::collection::vec((0_usize..635_123, any::<u8>()), 1..5), cut in 0_usize..4) {
        let mut bytes = fs::read(example("wrist/wrist_transformer.onnx")).unwrap();
        // The graph's structure is in the first kilobytes; weights fill the rest.
        for (i, (at, byte)) in edits.iter().enumerate() {
            let at = if i % 4 == 0 { *at } else { *at % 40_000 };
            if let Some(slot) = bytes.get_mut(at) { *slot = *byte; }
        }
        if cut == 0 { bytes.truncate(edits[0].0); }
        if let Ok(model) = Model::from_bytes(&bytes) {
            let _ = sentei_onnx::check::check(&model);
            let _ = sentei_onnx::linear::linear_sites(&model);
            let _ = sentei_onnx::cost::parameters(&model);
            if let Ok(normal) = sentei_onnx::normal::normalise(model) {
                let _ = sentei_onnx::coupling::analyse(&normal.model, &sentei_onnx::Shapes::new());
                prop_assert!(normal.model.to_bytes().is_ok());
            }
        }
    }

    #[test]
    fn any_tensor_survives_a_round_trip(values in prop::collection::vec(any::<f32>(), 0..60), name in "[a-z./:]{0,12}") {
        let mut model = small();
        let tensor = Tensor::vector(values.clone());
        model.set_initializer(&name, &tensor);
        model.set_metadata("note", &name);
        let again = Model::from_bytes(&model.to_bytes().unwrap()).unwrap();
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&again.weights(&name).unwrap().1), bits(&values));
        prop_assert_eq!(again.metadata("note"), Some(name.as_str()));
        prop_assert_eq!(again.to_bytes().unwrap(), model.to_bytes().unwrap());
    }
}
