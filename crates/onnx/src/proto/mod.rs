//! The ONNX file format, compiled from `proto/onnx.proto`.
#![allow(missing_docs, clippy::pedantic, clippy::use_self)]

include!("onnx.rs");
