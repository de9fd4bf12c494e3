//! The Open Inference Protocol, version 2, over HTTP: what bodies mean, without any HTTP.
//!
//! <https://github.com/open-inference/open-inference-protocol>; the binary tensor extension is Triton's and KServe's:
//! a JSON header of `Inference-Header-Content-Length` bytes, then each tensor's bytes, little-endian, in order.

mod data;
mod reply;
mod request;

use sentei_runtime::Dtype;

pub(crate) use reply::{Encoded, Reply, encode_shadow};
pub(crate) use request::{InferRequest, Labels};

/// The header that says how long the JSON before the binary tensors is.
pub(crate) const HEADER_LENGTH: &str = "inference-header-content-length";

/// The protocol's name for a type.
pub(crate) fn datatype(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F32 => "FP32",
        Dtype::F64 => "FP64",
        Dtype::F16 => "FP16",
        Dtype::I64 => "INT64",
        Dtype::I32 => "INT32",
        Dtype::I16 => "INT16",
        Dtype::I8 => "INT8",
        Dtype::U64 => "UINT64",
        Dtype::U32 => "UINT32",
        Dtype::U16 => "UINT16",
        Dtype::U8 => "UINT8",
        Dtype::Bool => "BOOL",
    }
}

/// The type a protocol's name stands for.
pub(crate) fn dtype(datatype: &str) -> Option<Dtype> {
    const ALL: [Dtype; 12] = [
        Dtype::F32,
        Dtype::F64,
        Dtype::F16,
        Dtype::I64,
        Dtype::I32,
        Dtype::I16,
        Dtype::I8,
        Dtype::U64,
        Dtype::U32,
        Dtype::U16,
        Dtype::U8,
        Dtype::Bool,
    ];
    ALL.into_iter().find(|&dtype| self::datatype(dtype) == datatype)
}
