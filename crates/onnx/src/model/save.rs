//! From a [`Model`] to bytes or a file that is either the old one or the whole new one.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use prost::Message;
use sha2::{Digest, Sha256};

use super::{MESSAGE_LIMIT, Model, visit};
use crate::proto::{ModelProto, StringStringEntryProto, TensorProto, tensor_proto::DataLocation};

/// Tensors smaller than this stay inside the message (bytes).
const SMALLEST_EXTERNAL: usize = 1024;
/// Where tensors begin in the data file: pages, so that readers can map them (bytes).
const ALIGNMENT: usize = 4096;

/// Why a model was not saved. The file that stood there is as it was.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// Too large for one message.
    #[error(
        "the model takes {bytes} bytes, and one message holds less than {MESSAGE_LIMIT} (2 GiB); save it to a file, where its weights go to a second file"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The disk is full.
    #[error("no space left to write `{}`; free some and run again (the file that stood there is untouched)", path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot write `{}` (the file that stood there is untouched)", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Model {
    /// The model as one message.
    ///
    /// # Errors
    /// [`SaveError::TooLarge`] from 2 GiB on.
    pub fn to_bytes(&self) -> Result<Vec<u8>, SaveError> {
        let bytes = self.proto.encoded_len();
        if bytes as u64 >= MESSAGE_LIMIT {
            return Err(SaveError::TooLarge { bytes });
        }
        Ok(self.proto.encode_to_vec())
    }

    /// Writes the model aside, syncs it and moves it in place. A model too large for one message puts its weights in
    /// `<file>.<digest>.data` next to it, written first, under a name no older model refers to.
    ///
    /// # Errors
    /// [`SaveError`]; what stood at `path` is then untouched.
    pub fn save(&self, path: &Path) -> Result<(), SaveError> {
        self.save_within(path, MESSAGE_LIMIT)
    }

    fn save_within(&self, path: &Path, limit: u64) -> Result<(), SaveError> {
        if (self.proto.encoded_len() as u64) < limit {
            return write_whole(path, |file| file.write_all(&self.proto.encode_to_vec()));
        }
        let (proto, weights) = part_weights(&self.proto, path);
        write_whole(&weights.path, |file| weights.write(file))?;
        write_whole(path, |file| file.write_all(&proto.encode_to_vec()))
    }
}

/// Weights on their way to a data file, with where each begins.
struct Weights {
    path: PathBuf,
    tensors: Vec<(usize, bytes::Bytes)>,
}

impl Weights {
    fn write(&self, file: &mut dyn Write) -> io::Result<()> {
        let mut at = 0;
        for (offset, bytes) in &self.tensors {
            file.write_all(&vec![0; offset - at])?;
            file.write_all(bytes)?;
            at = offset + bytes.len();
        }
        Ok(())
    }
}

/// The message without its large tensors, and those.
fn part_weights(model: &ModelProto, path: &Path) -> (ModelProto, Weights) {
    let large = |tensor: &TensorProto| tensor.raw_data.as_ref().filter(|raw| raw.len() >= SMALLEST_EXTERNAL).cloned();
    let mut proto = model.clone();
    let (mut tensors, mut end, mut digest) = (Vec::new(), 0_usize, Sha256::new());
    let mut collect = |tensor: &mut TensorProto| -> Result<(), std::convert::Infallible> {
        if let Some(raw) = large(tensor) {
            let offset = end.next_multiple_of(ALIGNMENT);
            end = offset + raw.len();
            digest.update(&raw);
            tensor.external_data = vec![entry("offset", offset.to_string()), entry("length", raw.len().to_string())];
            tensor.data_location = Some(DataLocation::External as i32);
            tensor.raw_data = None;
            tensors.push((offset, raw));
        }
        Ok(())
    };
    let Ok(()) = visit::each_tensor(&mut proto, &mut collect);
    let stem = path.file_name().unwrap_or_default().to_string_lossy();
    let location = format!("{stem}.{}.data", &hex::encode(digest.finalize())[..16]);
    let Ok(()) = visit::each_tensor(&mut proto, &mut |tensor: &mut TensorProto| {
        if tensor.data_location == Some(DataLocation::External as i32) {
            tensor.external_data.insert(0, entry("location", location.clone()));
        }
        Ok::<_, std::convert::Infallible>(())
    });
    (proto, Weights { path: path.with_file_name(location), tensors })
}

fn entry(key: &str, value: String) -> StringStringEntryProto {
    StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) }
}

/// Runs `write` on a new file in the same directory, syncs it, renames it over `path`, and syncs the directory. On any
/// error the new file is removed and `path` is as it was.
fn write_whole(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), SaveError> {
    let attempt = || {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".sentei-").suffix(".partial");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let aside = builder.tempfile_in(directory)?;
        let mut buffer = BufWriter::with_capacity(1 << 20, aside.as_file());
        write(&mut buffer)?;
        buffer.flush()?;
        drop(buffer);
        if let Ok(present) = fs::metadata(path) {
            aside.as_file().set_permissions(present.permissions())?;
        }
        aside.as_file().sync_all()?;
        aside.persist(path).map_err(|error| error.error)?;
        #[cfg(unix)]
        File::open(directory)?.sync_all()?;
        Ok(())
    };
    attempt().map_err(|source: io::Error| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SaveError::DiskFull { path: path.to_owned() },
        _ => SaveError::Write { path: path.to_owned(), source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ElementType, Tensor,
        edit::{model, node, value_info},
    };

    fn dense() -> Model {
        let input = value_info("x", ElementType::Float, &[Err("n"), Ok(40)]);
        let values = |seed: usize| (0..1600).map(|i| (i * seed % 97) as f32).collect::<Vec<_>>();
        let weight = |seed| Tensor::new([40, 40], values(seed)).unwrap();
        let nodes = vec![node("MatMul", &["x", "a"], &["h"]), node("MatMul", &["h", "b"], &["y"])];
        model(17, vec![input], &["y"], nodes, &[("a", weight(3)), ("b", weight(5))]).unwrap()
    }

    #[test]
    fn weights_of_a_model_too_large_for_one_message_go_to_a_second_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.onnx");
        dense().save_within(&path, 4000).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
        assert!(fs::metadata(&path).unwrap().len() < 1000);
        assert_eq!(Model::load(&path).unwrap(), dense());
    }

    #[test]
    fn a_full_disk_leaves_the_old_file_and_nothing_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.onnx");
        fs::write(&path, b"old").unwrap();
        let full = |file: &mut dyn Write| {
            file.write_all(&[0; 4096])?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        };
        let error = write_whole(&path, full).unwrap_err();
        assert!(error.to_string().starts_with("no space left to write"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
