//! From bytes or a file to a [`Model`], with a reason for every refusal.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use prost::Message;

use super::{ExternalError, MESSAGE_LIMIT, Model, NEWEST_OPSET, OLDEST_OPSET, external, visit};
use crate::proto::{ModelProto, tensor_proto::DataLocation};

/// Why a model was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("cannot read model `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing there.
    #[error("the model is empty (0 bytes); export it again")]
    Empty,
    /// The file ends inside a field.
    #[error(
        "the model is truncated: a field needs {needed} bytes at byte {at}, but only {left} are left; copy or download it again"
    )]
    Truncated {
        /// Where the field's contents begin.
        at: usize,
        /// How long they claim to be.
        needed: u64,
        /// What is there.
        left: usize,
    },
    /// Some other kind of file.
    #[error("this is not an ONNX model: {found}; expected a binary ONNX file (.onnx)")]
    NotOnnx {
        /// What it looks like instead.
        found: String,
    },
    /// Too large for one protobuf message.
    #[error(
        "the model is one message of {bytes} bytes, and protobuf allows less than {MESSAGE_LIMIT} (2 GiB); export it with external data, so that weights stand in a file next to it"
    )]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
    /// No default operator set is imported.
    #[error("the model imports no default operator set; export it with opset {OLDEST_OPSET} to {NEWEST_OPSET}")]
    NoOpset,
    /// An operator set the runtime does not know.
    #[error(
        "the model uses opset {found}, and {OLDEST_OPSET} to {NEWEST_OPSET} are known; export or convert it to one of these"
    )]
    UnknownOpset {
        /// The version found.
        found: i64,
    },
    /// Weights in another file could not be had.
    #[error(transparent)]
    External(#[from] ExternalError),
}

impl Model {
    /// Reads a model file and the weights it keeps in files next to it.
    ///
    /// # Errors
    /// [`LoadError`]. A file of 2 GiB or more is refused before it is read, and no length in a file is believed before
    /// it is compared with what is there.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let read = |source| LoadError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(read)?;
        let length = file.metadata().map_err(read)?.len();
        if length >= MESSAGE_LIMIT {
            return Err(LoadError::TooLarge { bytes: length });
        }
        let mut bytes = Vec::new();
        file.take(MESSAGE_LIMIT).read_to_end(&mut bytes).map_err(read)?;
        let mut proto = decode(bytes.into())?;
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        external::read_in(&mut proto, directory)?;
        Self::from_proto(proto)
    }

    /// Reads a model that holds all its weights.
    ///
    /// # Errors
    /// [`LoadError`]; also when weights stand in another file, which bytes alone cannot name.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LoadError> {
        let mut proto = decode(Bytes::copy_from_slice(bytes))?;
        visit::each_tensor(&mut proto, &mut |tensor| match tensor.data_location {
            Some(location) if location == DataLocation::External as i32 => {
                Err(ExternalError::NoDirectory { tensor: tensor.name().to_owned() })
            }
            _ => Ok(()),
        })?;
        Self::from_proto(proto)
    }

    /// A model from its message.
    ///
    /// # Errors
    /// [`LoadError::NotOnnx`] without a graph, [`LoadError::NoOpset`] and [`LoadError::UnknownOpset`].
    pub fn from_proto(proto: ModelProto) -> Result<Self, LoadError> {
        if proto.graph.is_none() {
            return Err(LoadError::NotOnnx { found: "a message without a graph".to_owned() });
        }
        let default = proto.opset_import.iter().find(|set| matches!(set.domain(), "" | "ai.onnx"));
        let opset = default.ok_or(LoadError::NoOpset)?.version();
        if (OLDEST_OPSET..=NEWEST_OPSET).contains(&opset) {
            Ok(Self { proto, opset })
        } else {
            Err(LoadError::UnknownOpset { found: opset })
        }
    }
}

fn decode(bytes: Bytes) -> Result<ModelProto, LoadError> {
    if bytes.len() as u64 >= MESSAGE_LIMIT {
        return Err(LoadError::TooLarge { bytes: bytes.len() as u64 });
    }
    scan(&bytes)?;
    // Decoding from `Bytes` lets every weight share the file's one buffer.
    ModelProto::decode(bytes).map_err(|error| LoadError::NotOnnx { found: error.to_string() })
}

/// Walks the outermost fields, to tell a cut-off model from a file that never was one.
fn scan(bytes: &[u8]) -> Result<(), LoadError> {
    if bytes.is_empty() {
        return Err(LoadError::Empty);
    }
    if let Some(found) = known_stranger(bytes) {
        return Err(LoadError::NotOnnx { found: found.to_owned() });
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        let at = bytes.len() - rest.len();
        let cut = || LoadError::Truncated { at, needed: 1 + bytes.len() as u64 - at as u64, left: bytes.len() - at };
        let not_onnx = || LoadError::NotOnnx { found: format!("no model field begins at byte {at}") };
        let key = varint(&mut rest).ok_or_else(cut)?;
        let body = match (key >> 3, key & 7) {
            (1 | 5, 0) => {
                varint(&mut rest).ok_or_else(cut)?;
                continue;
            }
            (2..=4 | 6..=8 | 14 | 20 | 25 | 26, 2) => varint(&mut rest).ok_or_else(cut)?,
            _ => return Err(not_onnx()),
        };
        let at = bytes.len() - rest.len();
        rest = usize::try_from(body).ok().and_then(|body| rest.get(body..)).ok_or(LoadError::Truncated {
            at,
            needed: body,
            left: rest.len(),
        })?;
    }
    Ok(())
}

/// One base-128 number off the front; `None` when it does not end.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let length = rest.iter().take(10).position(|byte| byte & 0x80 == 0)? + 1;
    let (number, tail) = rest.split_at(length);
    *rest = tail;
    Some(number.iter().rev().fold(0, |value, byte| (value << 7) | u64::from(byte & 0x7f)))
}

/// Files that are often found under a model's name.
fn known_stranger(bytes: &[u8]) -> Option<&'static str> {
    const STRANGERS: [(usize, &[u8], &str); 6] = [
        (0, b"version https://git-lfs", "a Git LFS pointer (run `git lfs pull`)"),
        (0, b"PK\x03\x04", "a zip archive (a PyTorch checkpoint or .npz?)"),
        (0, b"\x89HDF", "an HDF5 file (a Keras model?)"),
        (4, b"ORTM", "ONNX Runtime's own .ort format"),
        (4, b"TFL3", "a TensorFlow Lite model"),
        (0, b"<", "text or markup"),
    ];
    STRANGERS.iter().find(|(at, magic, _)| bytes.get(*at..).is_some_and(|b| b.starts_with(magic))).map(|s| s.2)
}
