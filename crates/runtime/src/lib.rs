//! ONNX Runtime: found, loaded, and wrapped in sessions.
