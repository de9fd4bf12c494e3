//! The `.npz` format of `NumPy`: a zip of arrays. Only the arrays asked for are read.

use std::{fs::File, io::BufReader, path::Path};

use zip::ZipArchive;

use super::{
    error::{DataError, Place},
    npy,
    values::Array,
};

/// DEFLATE cannot do better than this: an entry that claims to is damaged or hostile.
const MAX_RATIO: u64 = 1032;

pub(crate) struct Npz<'a> {
    path: &'a Path,
    field: &'static str,
    archive: ZipArchive<BufReader<File>>,
}

impl<'a> Npz<'a> {
    pub fn open(path: &'a Path, field: &'static str) -> Result<Self, DataError> {
        let file = File::open(path).map_err(|source| DataError::Read { field, path: path.to_owned(), source })?;
        let archive = ZipArchive::new(BufReader::new(file)).map_err(|error| damaged(path, field, &error))?;
        Ok(Self { path, field, archive })
    }

    /// Names of the arrays, as `numpy.load` lists them.
    pub fn names(&self) -> Vec<String> {
        let files = self.archive.file_names().filter_map(Result::ok);
        files.filter_map(|name| name.strip_suffix(".npy").map(str::to_owned)).collect()
    }

    pub fn has(&self, name: &str) -> bool {
        self.archive.index_for_name(&format!("{name}.npy")).is_some()
    }

    /// Reads one array that [`Self::has`].
    pub fn read(&mut self, name: &str) -> Result<(Place, Array), DataError> {
        let place = Place::array(name, self.path);
        let (path, field) = (self.path, self.field);
        let mut entry = self.archive.by_name(&format!("{name}.npy")).map_err(|error| damaged(path, field, &error))?;
        let (packed, size) = (entry.compressed_size(), entry.size());
        if size > packed.saturating_mul(MAX_RATIO) {
            let reason = format!("claims to unpack {packed} bytes to {size}; the archive is damaged, save it again");
            return Err(DataError::Array { place, reason });
        }
        match npy::read(&mut entry, size) {
            Ok(array) => Ok((place, array)),
            Err(error) => Err(DataError::Array { place, reason: error.to_string() }),
        }
    }
}

fn damaged(path: &Path, field: &'static str, error: &zip::result::ZipError) -> DataError {
    DataError::Archive { field, path: path.to_owned(), reason: error.to_string() }
}
