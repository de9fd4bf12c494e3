//! Answers requests: Open Inference Protocol server, metrics, feedback, shadow, weighted proxy.
