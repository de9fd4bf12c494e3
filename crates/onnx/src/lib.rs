//! ONNX models in memory: load, save, check, graph view, coupling groups, surgery.

pub mod proto;
