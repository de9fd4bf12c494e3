//! Weights kept in files next to the model: read in whole, never from outside the model's directory.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Component, Path, PathBuf},
};

use bytes::Bytes;

use super::visit;
use crate::{
    proto::{ModelProto, TensorProto, tensor_proto::DataLocation},
    tensor::{bits_of, element_type, product, shape_of},
};

/// Why weights in another file could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ExternalError {
    /// The model came as bytes.
    #[error("weight `{tensor}` stands in another file; load the model from its path")]
    NoDirectory {
        /// The weight.
        tensor: String,
    },
    /// The location names something outside the model's directory.
    #[error("weight `{tensor}` points to `{}`, {why}; only files in the model's own directory are read", location.escape_debug())]
    Escape {
        /// The weight.
        tensor: String,
        /// What the model says.
        location: String,
        /// How it leaves.
        why: &'static str,
    },
    /// The file is missing or unreadable.
    #[error("cannot read `{}`, where weight `{tensor}` stands; keep it next to the model", path.display())]
    Read {
        /// The weight.
        tensor: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An offset or length that is no number.
    #[error("weight `{tensor}` has {key} `{value}`; expected a number of bytes")]
    Number {
        /// The weight.
        tensor: String,
        /// `offset` or `length`.
        key: &'static str,
        /// What the model says.
        value: String,
    },
    /// The region is not inside the file.
    #[error("weight `{tensor}` is {length} bytes at offset {offset} of `{}`, which has {size} bytes; copy the file again", path.display())]
    Region {
        /// The weight.
        tensor: String,
        /// The file.
        path: PathBuf,
        /// First byte.
        offset: u64,
        /// Number of bytes.
        length: u64,
        /// The file's size.
        size: u64,
    },
    /// The region is not as long as the shape needs.
    #[error("weight `{tensor}` of shape {shape:?} needs {expected} bytes, but its region has {found}")]
    Size {
        /// The weight.
        tensor: String,
        /// The declared shape.
        shape: Vec<i64>,
        /// Bytes the shape needs.
        expected: u64,
        /// Bytes of the region.
        found: u64,
    },
    /// Regions overlap so much that reading them would take more memory than the file holds.
    #[error("the weights in `{}` claim more bytes than it has ({size}); regions may be shared only as a whole", path.display())]
    Overlap {
        /// The file.
        path: PathBuf,
        /// The file's size.
        size: u64,
    },
}

/// One file's regions already read; equal regions (tied weights) share one buffer.
struct Source {
    path: PathBuf,
    file: File,
    size: u64,
    claimed: u64,
    regions: HashMap<(u64, u64), Bytes>,
}

/// Replaces every external tensor by its values.
pub(super) fn read_in(model: &mut ModelProto, directory: &Path) -> Result<(), ExternalError> {
    let mut sources = HashMap::new();
    visit::each_tensor(model, &mut |tensor| {
        if tensor.data_location == Some(DataLocation::External as i32) {
            read_tensor(tensor, directory, &mut sources)?;
        }
        Ok(())
    })
}

fn read_tensor(
    tensor: &mut TensorProto,
    directory: &Path,
    sources: &mut HashMap<String, Source>,
) -> Result<(), ExternalError> {
    let name = tensor.name().to_owned();
    let entry = |key: &str| tensor.external_data.iter().find(|e| e.key() == key).map(|e| e.value().to_owned());
    let number = |key: &'static str| {
        entry(key)
            .map(|value| value.parse::<u64>().map_err(|_| ExternalError::Number { tensor: name.clone(), key, value }))
            .transpose()
    };
    let location = entry("location").unwrap_or_default();
    let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
    let source = match sources.entry(location.clone()) {
        std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
        std::collections::hash_map::Entry::Vacant(entry) => entry.insert(open(&name, &location, directory)?),
    };
    let length = length.unwrap_or(source.size.saturating_sub(offset));
    if offset.checked_add(length).is_none_or(|end| end > source.size) {
        let (path, size) = (source.path.clone(), source.size);
        return Err(ExternalError::Region { tensor: name, path, offset, length, size });
    }
    if let Some(expected) = bytes_needed(tensor).filter(|&expected| expected != length) {
        return Err(ExternalError::Size { tensor: name, shape: tensor.dims.clone(), expected, found: length });
    }
    tensor.raw_data = Some(source.region(&name, offset, length)?);
    tensor.data_location = None;
    tensor.external_data.clear();
    Ok(())
}

/// Bytes the declared shape takes in raw form; `None` when shape or type is not known.
fn bytes_needed(tensor: &TensorProto) -> Option<u64> {
    let shape = shape_of(tensor).ok()?;
    let bits = bits_of(element_type(tensor)?)?;
    Some((product(&shape) as u64).saturating_mul(bits as u64).div_ceil(8))
}

fn open(tensor: &str, location: &str, directory: &Path) -> Result<Source, ExternalError> {
    let path = resolve(tensor, location, directory)?;
    let read = |source| ExternalError::Read { tensor: tensor.to_owned(), path: path.clone(), source };
    let file = File::open(&path).map_err(read)?;
    let size = file.metadata().map_err(read)?.len();
    Ok(Source { path, file, size, claimed: 0, regions: HashMap::new() })
}

/// The regular file that `location` names inside `directory`.
fn resolve(tensor: &str, location: &str, directory: &Path) -> Result<PathBuf, ExternalError> {
    let escape = |why| ExternalError::Escape { tensor: tensor.to_owned(), location: location.to_owned(), why };
    if location.is_empty() {
        return Err(escape("no file"));
    }
    if location.contains('\0') {
        return Err(escape("a name with a NUL in it"));
    }
    // A backslash separates directories for the readers of one platform only: refused on all.
    let relative = Path::new(location);
    if relative.is_absolute() || location.starts_with(['/', '\\']) || location.contains(':') {
        return Err(escape("an absolute path"));
    }
    let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if !relative.components().all(inside) || location.split('\\').any(|part| part == "..") {
        return Err(escape("a path with `..`"));
    }
    let read = |source| ExternalError::Read { tensor: tensor.to_owned(), path: directory.join(relative), source };
    let root = directory.canonicalize().map_err(read)?;
    let path = directory.join(relative).canonicalize().map_err(read)?;
    if !path.starts_with(&root) {
        return Err(escape("a link that leaves the model's directory"));
    }
    if path.is_file() { Ok(path) } else { Err(escape("not a regular file")) }
}

impl Source {
    fn region(&mut self, tensor: &str, offset: u64, length: u64) -> Result<Bytes, ExternalError> {
        if let Some(bytes) = self.regions.get(&(offset, length)) {
            return Ok(bytes.clone());
        }
        self.claimed = self.claimed.saturating_add(length);
        if self.claimed > self.size {
            return Err(ExternalError::Overlap { path: self.path.clone(), size: self.size });
        }
        let bytes = read_exactly(&mut self.file, offset, length).map_err(|source| ExternalError::Read {
            tensor: tensor.to_owned(),
            path: self.path.clone(),
            source,
        })?;
        self.regions.insert((offset, length), bytes.clone());
        Ok(bytes)
    }
}

/// The caller has compared `length` with the file's size; memory that is not to be had is an error, not an abort.
fn read_exactly(file: &mut File, offset: u64, length: u64) -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(length).map_err(io::Error::other)?).map_err(io::Error::other)?;
    file.seek(SeekFrom::Start(offset))?;
    let read = file.take(length).read_to_end(&mut bytes)?;
    if read as u64 == length { Ok(bytes.into()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
