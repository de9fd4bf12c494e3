//! Values as they are stored, and what is done to them row by row.

use std::hash::{Hash, Hasher};

use half::f16;
use sentei_runtime::Data;

/// One array: its shape, and its values in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Array {
    pub shape: Vec<usize>,
    pub values: Values,
}

impl Array {
    /// The first axis counts rows; a scalar has none.
    pub fn rows(&self) -> Option<usize> {
        self.shape.first().copied()
    }

    /// Values in one row.
    pub fn width(&self) -> usize {
        self.shape.iter().skip(1).product()
    }
}

/// What an array holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Values {
    Numbers(Data),
    Text(Vec<String>),
}

impl Values {
    /// ONNX's name of the type, or `text`.
    pub fn kind(&self) -> String {
        match self {
            Self::Numbers(data) => data.dtype().to_string(),
            Self::Text(_) => "text".to_owned(),
        }
    }

    /// Each value as a selector names it: integers in decimal, `true`, `1.5`, text as it is.
    pub fn texts(&self) -> Vec<String> {
        match self {
            Self::Numbers(data) => each!(data, values => values.iter().map(ToString::to_string).collect()),
            Self::Text(texts) => texts.clone(),
        }
    }

    /// The rows asked for, of `width` values each.
    pub fn select(&self, width: usize, rows: &[usize]) -> Self {
        match self {
            Self::Numbers(data) => Self::Numbers(select(data, width, rows)),
            Self::Text(texts) => Self::Text(pick(texts, width, rows)),
        }
    }
}

/// Runs one expression on the typed values.
macro_rules! each {
    ($data:expr, $values:ident => $body:expr) => {
        match $data {
            sentei_runtime::Data::F32($values) => $body,
            sentei_runtime::Data::F64($values) => $body,
            sentei_runtime::Data::F16($values) => $body,
            sentei_runtime::Data::I64($values) => $body,
            sentei_runtime::Data::I32($values) => $body,
            sentei_runtime::Data::I16($values) => $body,
            sentei_runtime::Data::I8($values) => $body,
            sentei_runtime::Data::U64($values) => $body,
            sentei_runtime::Data::U32($values) => $body,
            sentei_runtime::Data::U16($values) => $body,
            sentei_runtime::Data::U8($values) => $body,
            sentei_runtime::Data::Bool($values) => $body,
        }
    };
}
pub(crate) use each;

/// The rows asked for, of `width` values each.
pub(crate) fn select(data: &Data, width: usize, rows: &[usize]) -> Data {
    each!(data, values => pick(values, width, rows).into())
}

fn pick<T: Clone>(values: &[T], width: usize, rows: &[usize]) -> Vec<T> {
    let mut picked = Vec::with_capacity(rows.len() * width);
    for &row in rows {
        picked.extend_from_slice(&values[row * width..(row + 1) * width]);
    }
    picked
}

/// A stored number as a real one. Integers beyond 2^53 are rounded.
pub(crate) trait Real: Copy {
    fn real(self) -> f64;
    /// Bits that are equal when the values are.
    fn bits(self) -> u64;
}

macro_rules! integers {
    ($($type:ty)+) => { $(
        #[allow(clippy::cast_lossless, reason = "one rule for all widths, and the widest have no `From`")]
        impl Real for $type {
            fn real(self) -> f64 { self as f64 }
            fn bits(self) -> u64 { self as u64 }
        }
    )+ };
}
integers!(i64 i32 i16 i8 u64 u32 u16 u8);

impl Real for bool {
    fn real(self) -> f64 {
        f64::from(u8::from(self))
    }
    fn bits(self) -> u64 {
        u64::from(self)
    }
}

impl Real for f16 {
    fn real(self) -> f64 {
        self.to_f64()
    }
    fn bits(self) -> u64 {
        u64::from(self.to_bits())
    }
}

impl Real for f32 {
    fn real(self) -> f64 {
        f64::from(self)
    }
    fn bits(self) -> u64 {
        u64::from(self.to_bits())
    }
}

impl Real for f64 {
    fn real(self) -> f64 {
        self
    }
    fn bits(self) -> u64 {
        self.to_bits()
    }
}

/// One row's values as reals.
pub(crate) fn reals(data: &Data, width: usize, row: usize) -> Vec<f64> {
    fn row_of<T: Real>(values: &[T], width: usize, row: usize) -> Vec<f64> {
        values[row * width..(row + 1) * width].iter().map(|value| value.real()).collect()
    }
    each!(data, values => row_of(values, width, row))
}

/// Feeds one row to a hasher.
pub(crate) fn hash_row(data: &Data, width: usize, row: usize, hasher: &mut impl Hasher) {
    fn feed<T: Real>(values: &[T], hasher: &mut impl Hasher) {
        for value in values {
            value.bits().hash(hasher);
        }
    }
    each!(data, values => feed(&values[row * width..(row + 1) * width], hasher));
}

/// A value that is not finite, and how many there are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NotFinite {
    pub row: usize,
    pub index: usize,
    pub value: f64,
    pub count: usize,
}

/// The first NaN or infinity among these rows.
pub(crate) fn not_finite(data: &Data, width: usize, rows: &[usize]) -> Option<NotFinite> {
    fn scan<T: Real>(values: &[T], width: usize, rows: &[usize]) -> Option<NotFinite> {
        let mut first: Option<NotFinite> = None;
        for &row in rows {
            for (index, value) in values[row * width..(row + 1) * width].iter().enumerate() {
                if !value.real().is_finite() {
                    first.get_or_insert(NotFinite { row, index, value: value.real(), count: 0 }).count += 1;
                }
            }
        }
        first
    }
    match data {
        Data::F32(values) => scan(values, width, rows),
        Data::F64(values) => scan(values, width, rows),
        Data::F16(values) => scan(values, width, rows),
        _ => None,
    }
}
