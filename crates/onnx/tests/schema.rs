//! The checked-in Rust schema is what `proto/onnx.proto` compiles to.

use std::{env, fs, path::Path};

#[test]
fn the_generated_schema_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let checked_in = root.join("src/proto/onnx.rs");
    let out = tempfile::tempdir().unwrap();
    let descriptors = protox::compile([root.join("proto/onnx.proto")], [root.join("proto")]).unwrap();
    prost_build::Config::new()
        .out_dir(out.path())
        .bytes([".onnx.TensorProto.raw_data"])
        .compile_fds(descriptors)
        .unwrap();
    let fresh = fs::read_to_string(out.path().join("onnx.rs")).unwrap();
    if env::var_os("SENTEI_REGENERATE").is_some() {
        fs::write(&checked_in, &fresh).unwrap();
    }
    let current = fs::read_to_string(&checked_in).unwrap_or_default();
    assert!(
        current == fresh,
        "src/proto/onnx.rs is stale: run `SENTEI_REGENERATE=1 cargo test -p sentei-onnx --test schema`"
    );
}
