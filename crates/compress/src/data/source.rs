//! One `DataSource`, whatever its format, as rows: what was stored, the labels, the columns selectors look at.

use std::{
    collections::BTreeMap,
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use sentei_api::spec::{
    DataSource, Preprocess,
    data::{Fit, ImageLayout},
};
use sentei_runtime::{Data, Dtype};

use super::{
    error::{DataError, Names, Place},
    npy,
    npz::Npz,
    picture,
    preprocess::{Input, Transform},
    split,
    table::{FILE, Table},
    values::{Array, Values, not_finite, select},
};

/// The column that holds the labels, whatever their array or CSV column is called.
pub(crate) const LABEL: &str = "label";
/// More pictures than this would not fit the memory of the machines Sentei is for.
const MAX_PICTURE_BYTES: u64 = 8 << 30;

/// Which of the two sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Set {
    Calibration,
    Evaluation,
}

impl Set {
    pub fn field(self) -> &'static str {
        match self {
            Self::Calibration => "data.calibration",
            Self::Evaluation => "data.evaluation",
        }
    }
}

/// What one model input is made from.
#[derive(Debug)]
pub(crate) struct Stored {
    pub data: Data,
    pub transform: Transform,
}

#[derive(Debug)]
pub(crate) struct Labels {
    pub place: Place,
    pub values: Values,
    /// Values in one row's label.
    pub width: usize,
}

/// The rows that `where` and `limit` left.
#[derive(Debug)]
pub(crate) struct Rows {
    pub path: PathBuf,
    /// Their number in the file, counting from 0.
    pub origin: Vec<usize>,
    /// In the order of the model's inputs.
    pub inputs: Vec<Stored>,
    pub labels: Option<Labels>,
    /// Of the columns wanted, those there are.
    pub columns: BTreeMap<String, Vec<String>>,
    /// Every column there is.
    pub known: Names,
}

/// Everything that decides how a set is read.
pub(crate) struct Reading<'a> {
    pub set: Set,
    pub source: &'a DataSource,
    pub base: &'a Path,
    pub inputs: &'a [Input],
    pub preprocess: &'a Preprocess,
    /// Columns that slices look at.
    pub wanted: &'a [&'a str],
    pub seed: u64,
}

/// A set before rows are picked.
struct Loaded {
    path: PathBuf,
    rows: usize,
    content: Content,
    labels: Option<Labels>,
    columns: BTreeMap<String, Vec<String>>,
    known: Names,
}

enum Content {
    Arrays(Vec<(Place, Array)>),
    Pictures(Vec<PathBuf>),
}

impl Reading<'_> {
    /// Reads the set.
    pub fn rows(&self) -> Result<Rows, DataError> {
        let path = self.path()?;
        let loaded = match path.extension().and_then(|extension| extension.to_str()) {
            _ if path.is_dir() => self.load_table(path.join("labels.csv"))?,
            Some("npz") => self.load_npz(path)?,
            Some("npy") => self.load_npy(path)?,
            Some("csv") => self.load_table(path)?,
            _ if path.exists() => return Err(DataError::Format { field: self.set.field(), path }),
            _ => return Err(self.unreadable(path, std::io::ErrorKind::NotFound.into())),
        };
        self.pick(loaded)
    }

    fn path(&self) -> Result<PathBuf, DataError> {
        let uri = self.source.uri.as_str();
        let local = uri.strip_prefix("file://").unwrap_or(uri);
        if local.contains("://") {
            return Err(DataError::Remote { field: self.set.field(), uri: uri.to_owned() });
        }
        Ok(self.base.join(local))
    }

    fn unreadable(&self, path: PathBuf, source: std::io::Error) -> DataError {
        DataError::Read { field: self.set.field(), path, source }
    }

    /// Columns to keep: those of the slices, and that of `where`.
    fn columns(&self) -> impl Iterator<Item = &str> {
        self.wanted.iter().copied().chain(self.source.r#where.iter().map(|selector| selector.column.as_str()))
    }

    fn load_npz(&self, path: PathBuf) -> Result<Loaded, DataError> {
        let field = self.set.field();
        if self.inputs.is_empty() {
            self.one_input(&path)?;
        }
        let mut npz = Npz::open(&path, field)?;
        let absent = |npz: &Npz<'_>, field: String, array: &str| DataError::NoArray {
            field,
            path: path.clone(),
            array: array.to_owned(),
            known: Names::new(npz.names()),
        };
        let arrays = self.input_arrays(&npz, |field, array| absent(&npz, field, array))?;
        let arrays = arrays.iter().map(|name| npz.read(name)).collect::<Result<Vec<_>, _>>()?;
        let rows = same_rows(&arrays)?;
        let labels = match &self.source.labels {
            Some(name) if !npz.has(name) => return Err(absent(&npz, format!("{field}.labels"), name)),
            Some(name) => Some(npz.read(name)?),
            None if npz.has("y") => Some(npz.read("y")?),
            None => None,
        };
        let labels = labels.map(|(place, array)| labels_of(place, array, rows, &arrays[0].0)).transpose()?;
        let mut columns = BTreeMap::new();
        for column in self.columns() {
            let named = self.source.columns.get(column);
            if let Some(array) = named
                && !npz.has(array)
            {
                return Err(absent(&npz, format!("{field}.columns.{column}"), array));
            }
            let values = match (named, &labels) {
                (Some(array), _) => Some(npz.read(array)?),
                (None, Some(labels)) if column == LABEL && labels.width == 1 => {
                    columns.insert(column.to_owned(), labels.values.texts());
                    None
                }
                (None, _) if npz.has(column) => Some(npz.read(column)?),
                (None, _) => None,
            };
            if let Some((place, array)) = values {
                columns.insert(column.to_owned(), column_of(place, &array, rows, &arrays[0].0)?);
            }
        }
        let label = labels.as_ref().filter(|labels| labels.width == 1).map(|_| LABEL.to_owned());
        let known = Names::new(self.source.columns.keys().cloned().chain(label));
        Ok(Loaded { content: Content::Arrays(arrays), path, rows, labels, columns, known })
    }

    /// The array for each model input, in the model's order.
    fn input_arrays(
        &self,
        npz: &Npz<'_>,
        absent: impl Fn(String, &str) -> DataError,
    ) -> Result<Vec<String>, DataError> {
        let field = self.set.field();
        if let Some(name) = self.source.inputs.keys().find(|name| !self.inputs.iter().any(|input| input.name == **name))
        {
            let known = Names::new(self.inputs.iter().map(|input| &input.name));
            return Err(DataError::NoInput { field, name: name.clone(), known });
        }
        let array = |input: &Input| match self.source.inputs.get(&input.name) {
            Some(array) => array.clone(),
            None if self.inputs.len() == 1 && npz.has("x") => "x".to_owned(),
            None => input.name.clone(),
        };
        self.inputs
            .iter()
            .map(|input| {
                let array = array(input);
                if npz.has(&array) { Ok(array) } else { Err(absent(format!("{field}.inputs.{}", input.name), &array)) }
            })
            .collect()
    }

    fn load_npy(&self, path: PathBuf) -> Result<Loaded, DataError> {
        self.one_input(&path)?;
        let place = Place::file(&path);
        let file = File::open(&path).map_err(|source| self.unreadable(path.clone(), source))?;
        let size = file.metadata().map_err(|source| self.unreadable(path.clone(), source))?.len();
        let array = npy::read(&mut BufReader::new(file), size)
            .map_err(|error| DataError::Array { place: place.clone(), reason: error.to_string() })?;
        let arrays = vec![(place, array)];
        let rows = same_rows(&arrays)?;
        let content = Content::Arrays(arrays);
        Ok(Loaded { content, path, rows, labels: None, columns: BTreeMap::new(), known: Names::new([""; 0]) })
    }

    fn load_table(&self, path: PathBuf) -> Result<Loaded, DataError> {
        self.one_input(&path)?;
        let field = self.set.field();
        let table = Table::read(&path, field)?;
        let absent = |field: String, column: &str| DataError::NoColumn {
            field,
            set: self.set.field(),
            path: path.clone(),
            column: column.to_owned(),
            known: Names::new(table.names()),
        };
        let files = table.files(&path).ok_or_else(|| absent(field.to_owned(), FILE))?;
        let name = self.source.labels.as_deref();
        let labels = table.column(name.unwrap_or(LABEL));
        if let (Some(name), None) = (name, &labels) {
            return Err(absent(format!("{field}.labels"), name));
        }
        let columns = self.columns().filter_map(|column| {
            let values = if column == LABEL { labels.clone() } else { table.column(column) };
            Some((column.to_owned(), values?))
        });
        let columns = columns.collect();
        let place = Place::column(name.unwrap_or(LABEL), &path);
        let labels = labels.map(|texts| Labels { place, values: Values::Text(texts), width: 1 });
        let known = Names::new(table.names());
        Ok(Loaded { rows: table.rows(), content: Content::Pictures(files), path, labels, columns, known })
    }

    fn one_input(&self, path: &Path) -> Result<(), DataError> {
        if self.inputs.len() == 1 {
            return Ok(());
        }
        let known = Names::new(self.inputs.iter().map(|input| &input.name));
        Err(DataError::OneInput { field: self.set.field(), path: path.to_owned(), known })
    }

    /// Applies `where` and `limit`, then brings what is left into memory.
    fn pick(&self, loaded: Loaded) -> Result<Rows, DataError> {
        let field = self.set.field();
        let mut origin: Vec<usize> = (0..loaded.rows).collect();
        let mut why = String::new();
        if let Some(selector) = &self.source.r#where {
            let Some(column) = loaded.columns.get(&selector.column) else {
                return Err(DataError::NoColumn {
                    field: format!("{field}.where"),
                    set: field,
                    path: loaded.path,
                    column: selector.column.clone(),
                    known: loaded.known,
                });
            };
            origin.retain(|&row| selector.takes(&column[row]));
            why = format!("; column `{}` holds {}", selector.column, Names::new(split::distinct(column)));
        }
        if origin.is_empty() {
            return Err(DataError::NoRows { field, path: loaded.path, why });
        }
        if let Some(limit) = self.source.limit {
            split::draw(&mut origin, limit as usize, self.seed);
        }
        let inputs = self.inputs_of(loaded.content, &loaded.path, &origin)?;
        let labels =
            loaded.labels.map(|labels| Labels { values: labels.values.select(labels.width, &origin), ..labels });
        let columns = loaded.columns.into_iter();
        let columns =
            columns.map(|(name, values)| (name, origin.iter().map(|&row| values[row].clone()).collect())).collect();
        Ok(Rows { path: loaded.path, origin, inputs, labels, columns, known: loaded.known })
    }

    fn inputs_of(&self, content: Content, path: &Path, origin: &[usize]) -> Result<Vec<Stored>, DataError> {
        match content {
            Content::Arrays(arrays) => arrays
                .into_iter()
                .zip(self.inputs)
                .map(|((place, array), input)| self.stored(place, array, input, origin))
                .collect(),
            Content::Pictures(files) => self.pictures(&files, path, origin),
        }
    }

    fn stored(&self, place: Place, array: Array, input: &Input, origin: &[usize]) -> Result<Stored, DataError> {
        let width = array.width();
        let Array { shape, values } = array;
        let Values::Numbers(data) = values else {
            return Err(DataError::Dtype {
                place,
                found: values.kind(),
                input: input.name.clone(),
                expected: input.dtype.to_string(),
                remedy: "save the rows as numbers",
            });
        };
        let transform = Transform::new(self.preprocess, input, &shape[1..], data.dtype(), &place)?;
        if let Some(bad) = not_finite(&data, width, origin) {
            let others = bad.count - 1;
            return Err(DataError::NotFinite { place, value: bad.value, row: bad.row, index: bad.index, others });
        }
        let data = if origin.len() == shape[0] { data } else { select(&data, width, origin) };
        Ok(Stored { data, transform })
    }

    fn pictures(&self, files: &[PathBuf], path: &Path, origin: &[usize]) -> Result<Vec<Stored>, DataError> {
        let input = &self.inputs[0];
        let layout = self
            .preprocess
            .image
            .clone()
            .or_else(|| layout_of(input))
            .ok_or_else(|| DataError::NoLayout { path: path.to_owned() })?;
        let bytes = (picture::bytes(&layout) as u64).saturating_mul(origin.len() as u64);
        if bytes > MAX_PICTURE_BYTES {
            let (field, limit) = (self.set.field(), MAX_PICTURE_BYTES);
            return Err(DataError::TooLarge { field, path: path.to_owned(), bytes, limit });
        }
        let shape = [usize::from(layout.channels), layout.height as usize, layout.width as usize];
        let transform = Transform::new(self.preprocess, input, &shape, Dtype::U8, &Place::file(path))?;
        let mut data = Vec::with_capacity(bytes as usize);
        for &row in origin {
            let pixels = picture::read(&files[row], &layout).map_err(|reason| DataError::Picture {
                path: files[row].clone(),
                row,
                table: path.to_owned(),
                reason,
            })?;
            data.extend(pixels);
        }
        Ok(vec![Stored { data: Data::U8(data), transform }])
    }
}

/// The size the model itself asks for, when it is a picture of 1 or 3 channels.
fn layout_of(input: &Input) -> Option<ImageLayout> {
    match input.shape.as_slice() {
        [_, Some(channels @ (1 | 3)), Some(height), Some(width)] => Some(ImageLayout {
            height: u32::try_from(*height).ok()?,
            width: u32::try_from(*width).ok()?,
            channels: *channels as u8,
            fit: Fit::Stretch,
        }),
        _ => None,
    }
}

fn same_rows(arrays: &[(Place, Array)]) -> Result<usize, DataError> {
    let rows = |(place, array): &(Place, Array)| {
        array.rows().ok_or_else(|| DataError::Array {
            place: place.clone(),
            reason: "is a single value, expected a first axis that counts rows".to_owned(),
        })
    };
    let Some(first) = arrays.first() else { return Ok(0) };
    let expected = rows(first)?;
    for array in &arrays[1..] {
        let found = rows(array)?;
        if found != expected {
            return Err(DataError::RowCount { place: array.0.clone(), found, other: first.0.clone(), expected });
        }
    }
    Ok(expected)
}

fn check_rows(place: &Place, array: &Array, rows: usize, first: &Place) -> Result<(), DataError> {
    match array.rows() {
        Some(found) if found == rows => Ok(()),
        found => Err(DataError::RowCount {
            place: place.clone(),
            found: found.unwrap_or(1),
            other: first.clone(),
            expected: rows,
        }),
    }
}

fn labels_of(place: Place, array: Array, rows: usize, first: &Place) -> Result<Labels, DataError> {
    check_rows(&place, &array, rows, first)?;
    Ok(Labels { width: array.width(), values: array.values, place })
}

fn column_of(place: Place, array: &Array, rows: usize, first: &Place) -> Result<Vec<String>, DataError> {
    check_rows(&place, array, rows, first)?;
    if array.width() != 1 {
        return Err(DataError::NotAColumn { place, found: array.shape.clone() });
    }
    Ok(array.values.texts())
}
