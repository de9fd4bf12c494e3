//! The `.npy` format of `NumPy`, read from bytes nobody vouches for: sizes are checked before anything is allocated.

use std::io::{self, Read};

use half::f16;

use super::values::{Array, Values, select};

/// Larger arrays would not fit the memory of the machines Sentei is for.
const MAX_BYTES: u64 = 8 << 30;
/// `NumPy` writes less than 200 bytes for plain arrays and itself refuses to read more than 10,000.
const MAX_HEADER: usize = 10_000;
const MAX_DIMENSIONS: usize = 16;
/// A multiple of every item size, so that no value is split over two reads.
const CHUNK: usize = 64 << 10;

/// Why bytes are not an array. Reads on after "`x` in `data.npz` ...".
#[derive(Debug, thiserror::Error)]
pub(crate) enum NpyError {
    #[error("is not an npy array (it does not start with \\x93NUMPY); save it with numpy.save or numpy.savez")]
    Magic,
    #[error("is npy format {0}.{1}, expected 1.0, 2.0 or 3.0; save it again with a current NumPy")]
    Version(u8, u8),
    #[error("has a damaged npy header ({0}); save it again with numpy.save or numpy.savez")]
    Header(&'static str),
    #[error("has dtype `{0}`, expected booleans, integers, floats or strings; convert it with .astype")]
    Dtype(String),
    #[error("is truncated: its header promises {expected} bytes of values, {found} are there; copy the file again")]
    Truncated { expected: u64, found: u64 },
    #[error("takes {0} bytes, more than the {MAX_BYTES} that fit in memory; split the data and give a part of it")]
    TooLarge(u64),
    #[error("cannot be read: {0}; copy the file again")]
    Io(#[from] io::Error),
}

/// Reads one array of `size` bytes, header included. `size` may be a claim: nothing is allocated beyond what is read.
pub(crate) fn read(reader: &mut impl Read, size: u64) -> Result<Array, NpyError> {
    let (text, header_bytes) = read_header(reader)?;
    let header = parse_header(&text)?;
    let item = Item::parse(&header.descr)?;
    let count = header.shape.iter().try_fold(1_u64, |product, &dim| product.checked_mul(dim as u64));
    let bytes = count.and_then(|count| count.checked_mul(item.bytes() as u64)).unwrap_or(u64::MAX);
    let found = size.saturating_sub(header_bytes);
    if bytes > found {
        return Err(NpyError::Truncated { expected: bytes, found });
    }
    let count = count.unwrap_or(0);
    let memory = count.saturating_mul(item.memory());
    if memory > MAX_BYTES {
        return Err(NpyError::TooLarge(memory));
    }
    let count = count as usize;
    let values = item.read(reader, count).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => NpyError::Truncated { expected: bytes, found: 0 },
        _ => NpyError::Io(error),
    })?;
    // A zip entry's checksum is compared when its end is reached.
    io::copy(&mut reader.take(1), &mut io::sink())?;
    let values = if header.fortran_order && count > 0 { to_row_major(&values, &header.shape) } else { values };
    Ok(Array { shape: header.shape, values })
}

fn read_header(reader: &mut impl Read) -> Result<(Vec<u8>, u64), NpyError> {
    let mut start = [0_u8; 8];
    reader.read_exact(&mut start).map_err(|_| NpyError::Magic)?;
    if &start[..6] != b"\x93NUMPY" {
        return Err(NpyError::Magic);
    }
    let short = NpyError::Header("it ends early");
    let (length, prefix) = match (start[6], start[7]) {
        (1, 0) => {
            let mut length = [0_u8; 2];
            reader.read_exact(&mut length).map_err(|_| short)?;
            (usize::from(u16::from_le_bytes(length)), 10)
        }
        (2 | 3, 0) => {
            let mut length = [0_u8; 4];
            reader.read_exact(&mut length).map_err(|_| short)?;
            (u32::from_le_bytes(length) as usize, 12)
        }
        (major, minor) => return Err(NpyError::Version(major, minor)),
    };
    if length > MAX_HEADER {
        return Err(NpyError::Header("it is too long"));
    }
    let mut text = vec![0_u8; length];
    reader.read_exact(&mut text).map_err(|_| NpyError::Header("it ends early"))?;
    Ok((text, prefix + length as u64))
}

#[derive(Debug, Default)]
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

/// The header is a Python dict literal: `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
fn parse_header(text: &[u8]) -> Result<Header, NpyError> {
    let text = std::str::from_utf8(text).map_err(|_| NpyError::Header("it is not text"))?;
    let mut rest = text.trim().strip_prefix('{').ok_or(NpyError::Header("it is not a dict"))?.trim_start();
    let (mut descr, mut order, mut shape) = (None, None, None);
    while !rest.starts_with('}') {
        let (key, after) = quoted(rest)?;
        let value = after.trim_start().strip_prefix(':').ok_or(NpyError::Header("a `:` is missing"))?.trim_start();
        rest = match key {
            "descr" if value.starts_with('[') => return Err(NpyError::Dtype("a record".to_owned())),
            "descr" => {
                let (text, after) = quoted(value)?;
                descr = Some(text.to_owned());
                after
            }
            "fortran_order" => {
                let flags = [("True", true), ("False", false)];
                let (after, flag) = flags
                    .iter()
                    .find_map(|(word, flag)| Some((value.strip_prefix(word)?, *flag)))
                    .ok_or(NpyError::Header("fortran_order is neither True nor False"))?;
                order = Some(flag);
                after
            }
            "shape" => {
                let (dims, after) = tuple(value)?;
                shape = Some(dims);
                after
            }
            _ => return Err(NpyError::Header("it has an unknown key")),
        };
        rest = rest.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    match (descr, order, shape) {
        (Some(descr), Some(fortran_order), Some(shape)) => Ok(Header { descr, fortran_order, shape }),
        _ => Err(NpyError::Header("descr, fortran_order or shape is missing")),
    }
}

fn quoted(text: &str) -> Result<(&str, &str), NpyError> {
    let missing = NpyError::Header("a quoted name is missing");
    match text.chars().next() {
        Some(quote @ ('\'' | '"')) => text[1..].split_once(quote).ok_or(missing),
        _ => Err(missing),
    }
}

fn tuple(text: &str) -> Result<(Vec<usize>, &str), NpyError> {
    let broken = || NpyError::Header("its shape is not a tuple of counts");
    let (inside, rest) = text.strip_prefix('(').and_then(|text| text.split_once(')')).ok_or_else(broken)?;
    let dims = inside.split(',').map(str::trim).filter(|dim| !dim.is_empty());
    let dims = dims.map(|dim| dim.parse().map_err(|_| broken())).collect::<Result<Vec<usize>, _>>()?;
    if dims.len() > MAX_DIMENSIONS { Err(NpyError::Header("it has too many dimensions")) } else { Ok((dims, rest)) }
}

/// The type of one value, from a descriptor such as `<f4`, `|u1`, `<U12`.
#[derive(Debug, Clone, Copy)]
struct Item {
    kind: char,
    /// Bytes of a number or byte string; characters of a Unicode string.
    width: usize,
    big_endian: bool,
}

impl Item {
    fn parse(descr: &str) -> Result<Self, NpyError> {
        let unknown = || NpyError::Dtype(descr.to_owned());
        let mut chars = descr.chars();
        let big_endian = match chars.next() {
            Some('<' | '|' | '=') => false,
            Some('>') => true,
            _ => return Err(unknown()),
        };
        let kind = chars.next().ok_or_else(unknown)?;
        let width = chars.as_str().parse().map_err(|_| unknown())?;
        let known = match kind {
            'b' => width == 1,
            'i' | 'u' => matches!(width, 1 | 2 | 4 | 8),
            'f' => matches!(width, 2 | 4 | 8),
            'U' | 'S' => (1..=1 << 20).contains(&width),
            _ => false,
        };
        if known { Ok(Self { kind, width, big_endian }) } else { Err(unknown()) }
    }

    fn bytes(self) -> usize {
        if self.kind == 'U' { self.width * 4 } else { self.width }
    }

    /// Bytes of memory; a string owns a heap block beside its own three words.
    fn memory(self) -> u64 {
        self.bytes() as u64 + if matches!(self.kind, 'U' | 'S') { 40 } else { 0 }
    }

    fn read(self, reader: &mut impl Read, count: usize) -> io::Result<Values> {
        macro_rules! numbers {
            ($type:ty) => {
                if self.big_endian {
                    Values::Numbers(numbers(reader, count, <$type>::from_be_bytes)?.into())
                } else {
                    Values::Numbers(numbers(reader, count, <$type>::from_le_bytes)?.into())
                }
            };
        }
        Ok(match (self.kind, self.width) {
            ('b', _) => Values::Numbers(numbers(reader, count, |[byte]: [u8; 1]| byte != 0)?.into()),
            ('i', 1) => numbers!(i8),
            ('i', 2) => numbers!(i16),
            ('i', 4) => numbers!(i32),
            ('i', _) => numbers!(i64),
            ('u', 1) => numbers!(u8),
            ('u', 2) => numbers!(u16),
            ('u', 4) => numbers!(u32),
            ('u', _) => numbers!(u64),
            ('f', 2) => numbers!(f16),
            ('f', 4) => numbers!(f32),
            ('f', _) => numbers!(f64),
            _ => Values::Text(self.texts(reader, count)?),
        })
    }

    /// Strings are padded with zeros to their common width.
    fn texts(self, reader: &mut impl Read, count: usize) -> io::Result<Vec<String>> {
        let mut item = vec![0_u8; self.bytes()];
        let mut texts = Vec::new();
        for _ in 0..count {
            reader.read_exact(&mut item)?;
            texts.push(if self.kind == 'U' { self.unicode(&item) } else { latin(&item) });
        }
        Ok(texts)
    }

    fn unicode(self, item: &[u8]) -> String {
        let points = item.chunks_exact(4).map(|bytes| {
            let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
            if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
        });
        let text: String = points.map(|point| char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
        text.trim_end_matches('\0').to_owned()
    }
}

fn latin(item: &[u8]) -> String {
    String::from_utf8_lossy(item).trim_end_matches('\0').to_owned()
}

fn numbers<const N: usize, T>(reader: &mut impl Read, count: usize, decode: fn([u8; N]) -> T) -> io::Result<Vec<T>> {
    let mut values = Vec::new();
    let mut buffer = vec![0_u8; CHUNK.min(count * N)];
    let mut left = count * N;
    while left > 0 {
        let chunk = &mut buffer[..left.min(CHUNK)];
        reader.read_exact(chunk)?;
        let (items, _) = chunk.as_chunks::<N>();
        values.extend(items.iter().map(|bytes| decode(*bytes)));
        left -= chunk.len();
    }
    Ok(values)
}

/// `NumPy` saves a transposed view column by column.
fn to_row_major(values: &Values, shape: &[usize]) -> Values {
    let order = row_major_order(shape);
    match values {
        Values::Numbers(data) => Values::Numbers(select(data, 1, &order)),
        Values::Text(texts) => Values::Text(order.iter().map(|&at| texts[at].clone()).collect()),
    }
}

/// Where each value, in row-major order, lies in a column-major array.
fn row_major_order(shape: &[usize]) -> Vec<usize> {
    let mut order = vec![0];
    let mut stride = 1;
    let mut strides = Vec::new();
    for &dim in shape {
        strides.push(stride);
        stride *= dim;
    }
    for (&dim, &stride) in shape.iter().zip(&strides) {
        order = order.iter().flat_map(|&base| (0..dim).map(move |i| base + i * stride)).collect();
    }
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use sentei_runtime::Data;

    use super::*;
    use crate::data::fixtures::{npy, npy_with};

    fn parse(bytes: &[u8]) -> Result<Array, NpyError> {
        read(&mut &*bytes, bytes.len() as u64)
    }

    #[test]
    fn numbers_of_every_width_and_byte_order_are_read() {
        let big = npy("'>i2'", "(2,)", &[0x01, 0x02, 0xff, 0xfe]);
        assert_eq!(parse(&big).unwrap().values, Values::Numbers(Data::I16(vec![0x0102, -2])));
        let half = npy("'<f2'", "(1, 1)", &f16::from_f32(1.5).to_le_bytes());
        let array = parse(&half).unwrap();
        assert_eq!((array.shape, array.values), (vec![1, 1], Values::Numbers(Data::F16(vec![f16::from_f32(1.5)]))));
        let flags = npy("'|b1'", "(2,)", &[0, 1]);
        assert_eq!(parse(&flags).unwrap().values, Values::Numbers(Data::Bool(vec![false, true])));
    }

    #[test]
    fn strings_lose_their_padding() {
        let point = |c: char| (c as u32).to_le_bytes();
        let bytes = [point('é'), point('b'), point('c'), [0; 4]].concat();
        assert_eq!(parse(&npy("'<U2'", "(2,)", &bytes)).unwrap().values, Values::Text(vec!["éb".into(), "c".into()]));
        assert_eq!(
            parse(&npy("'|S3'", "(2,)", b"abcd\0\0")).unwrap().values,
            Values::Text(vec!["abc".into(), "d".into()])
        );
    }

    #[test]
    fn a_column_major_array_is_turned() {
        let header = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }";
        let bytes = npy_with(header, &[1, 4, 2, 5, 3, 6]);
        assert_eq!(parse(&bytes).unwrap().values, Values::Numbers(Data::U8(vec![1, 2, 3, 4, 5, 6])));
    }

    #[test]
    fn a_header_that_promises_more_than_there_is_allocates_nothing_and_says_so() {
        let bytes = npy("'<f8'", "(1000000000, 1000000000)", &[0; 16]);
        let error = parse(&bytes).unwrap_err().to_string();
        assert_eq!(
            error,
            "is truncated: its header promises 8000000000000000000 bytes of values, 16 are there; copy the file again"
        );
        let bytes = npy("'<f8'", "(99999999999, 99999999999)", &[0; 16]);
        assert!(matches!(parse(&bytes), Err(NpyError::Truncated { .. })));
        let honest = npy("'<f8'", "(1100000000,)", &[]);
        assert!(matches!(read(&mut &*honest, u64::MAX), Err(NpyError::TooLarge(8_800_000_000))));
    }

    #[test]
    fn what_is_no_array_of_numbers_or_text_is_refused_with_the_remedy() {
        let message = |bytes: &[u8]| parse(bytes).unwrap_err().to_string();
        assert!(message(b"").starts_with("is not an npy array"));
        assert!(message(b"PK\x03\x04 something").starts_with("is not an npy array"));
        assert!(message(b"\x93NUMPY\x09\x00\x00\x00").starts_with("is npy format 9.0"));
        assert!(message(b"\x93NUMPY\x02\x00\xff\xff\xff\xff").contains("it is too long"));
        assert!(message(&npy("'|O'", "(2,)", b"")).starts_with("has dtype `|O`"));
        assert!(message(&npy("'<c8'", "(2,)", b"")).starts_with("has dtype `<c8`"));
        assert!(message(&npy("[('a', '<f4')]", "(2,)", b"")).starts_with("has dtype `a record`"));
        assert!(message(&npy("'<f4'", "(-1,)", b"")).contains("its shape is not a tuple of counts"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(
            header in "[{}'a-z_:<>|, ()0-9]{0,80}",
            body in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let _ = parse(&npy_with(&header, &body));
            let _ = parse(&body);
        }

        #[test]
        fn a_damaged_array_is_an_array_or_an_error(
            edits in prop::collection::vec((0_usize..144, any::<u8>()), 1..6), cut in 0_usize..144,
        ) {
            let mut bytes = npy("'<f4'", "(2, 2)", &[0; 16]);
            for (at, byte) in edits {
                if let Some(old) = bytes.get_mut(at) { *old = byte; }
            }
            bytes.truncate(cut.max(20));
            let _ = parse(&bytes);
        }
    }
}
