//! Tensor values to and from JSON text and little-endian bytes.

use std::str::FromStr;

use half::f16;
use sentei_runtime::{Data, Dtype};
use serde::{Serialize, Serializer};

use super::datatype;

/// A value that cannot be what its tensor says it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("value {index} is `{found}`, which is not {}", datatype(*.expected))]
pub(crate) struct ValueError {
    index: usize,
    found: String,
    expected: Dtype,
}

/// Reads values from valid JSON: a list, nested or flat, in row-major order. About `hint` of them are expected.
///
/// The text was checked when the request was read, so all that is left is to cut it at the punctuation; the standard
/// library then reads numbers faster, and rounds them better, than a general JSON value would.
pub(crate) fn from_json(text: &str, dtype: Dtype, hint: usize) -> Result<Data, ValueError> {
    // A value takes two characters at least: a shape cannot make us reserve more than the body paid for.
    let hint = hint.min(text.len() / 2 + 1);
    Ok(match dtype {
        Dtype::F32 => {
            Data::F32(parse(text, dtype, hint, |token| number(token).filter(|value: &f32| value.is_finite()))?)
        }
        Dtype::F64 => {
            Data::F64(parse(text, dtype, hint, |token| number(token).filter(|value: &f64| value.is_finite()))?)
        }
        Dtype::F16 => Data::F16(parse(text, dtype, hint, |token| {
            number(token).map(f16::from_f32).filter(|value| value.is_finite())
        })?),
        Dtype::I64 => Data::I64(parse(text, dtype, hint, number)?),
        Dtype::I32 => Data::I32(parse(text, dtype, hint, number)?),
        Dtype::I16 => Data::I16(parse(text, dtype, hint, number)?),
        Dtype::I8 => Data::I8(parse(text, dtype, hint, number)?),
        Dtype::U64 => Data::U64(parse(text, dtype, hint, number)?),
        Dtype::U32 => Data::U32(parse(text, dtype, hint, number)?),
        Dtype::U16 => Data::U16(parse(text, dtype, hint, number)?),
        Dtype::U8 => Data::U8(parse(text, dtype, hint, number)?),
        Dtype::Bool => Data::Bool(parse(text, dtype, hint, |token| match token {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        })?),
    })
}

fn number<T: FromStr>(token: &str) -> Option<T> {
    token.parse().ok()
}

fn parse<T>(text: &str, expected: Dtype, hint: usize, read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, ValueError> {
    let mut values = Vec::with_capacity(hint);
    let bytes = text.as_bytes();
    let mut start = 0;
    while start < bytes.len() {
        if is_punctuation(bytes[start]) {
            start += 1;
            continue;
        }
        let length = bytes[start..].iter().position(|&byte| is_punctuation(byte)).unwrap_or(bytes.len() - start);
        // Both ends lie at ASCII punctuation.
        let token = text.get(start..start + length).unwrap_or_default();
        let value = read(token).ok_or_else(|| ValueError {
            index: values.len(),
            found: token.chars().take(40).collect(),
            expected,
        })?;
        values.push(value);
        start += length;
    }
    Ok(values)
}

fn is_punctuation(byte: u8) -> bool {
    matches!(byte, b',' | b' ' | b'[' | b']' | b'\n' | b'\r' | b'\t')
}

macro_rules! bytes {
    ($($variant:ident: $type:ty,)+) => {
        /// Reads little-endian values; a rest shorter than a value is left out.
        pub(crate) fn from_bytes(bytes: &[u8], dtype: Dtype) -> Data {
            match dtype {
                $(Dtype::$variant => {
                    let values = bytes.chunks_exact(size_of::<$type>());
                    Data::$variant(values.map(|value| <$type>::from_le_bytes(value.try_into().unwrap_or_default())).collect())
                })+
                Dtype::Bool => Data::Bool(bytes.iter().map(|&byte| byte != 0).collect()),
            }
        }

        /// Appends little-endian values.
        pub(crate) fn to_bytes(data: &Data, into: &mut Vec<u8>) {
            into.reserve(data.len() * data.dtype().size());
            match data {
                $(Data::$variant(values) => values.iter().for_each(|value| into.extend_from_slice(&value.to_le_bytes())),)+
                Data::Bool(values) => into.extend(values.iter().map(|&value| u8::from(value))),
            }
        }
    };
}

bytes! {
    F32: f32,
    F64: f64,
    F16: f16,
    I64: i64,
    I32: i32,
    I16: i16,
    I8: i8,
    U64: u64,
    U32: u32,
    U16: u16,
    U8: u8,
}

/// Values as a flat JSON list. What JSON has no word for (NaN, infinities) becomes null.
#[derive(Debug)]
pub(crate) struct Json<'a>(pub(crate) &'a Data);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Data::F32(values) => values.serialize(serializer),
            Data::F64(values) => values.serialize(serializer),
            Data::F16(values) => serializer.collect_seq(values.iter().map(|value| value.to_f32())),
            Data::I64(values) => values.serialize(serializer),
            Data::I32(values) => values.serialize(serializer),
            Data::I16(values) => values.serialize(serializer),
            Data::I8(values) => values.serialize(serializer),
            Data::U64(values) => values.serialize(serializer),
            Data::U32(values) => values.serialize(serializer),
            Data::U16(values) => values.serialize(serializer),
            Data::U8(values) => values.serialize(serializer),
            Data::Bool(values) => values.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_and_flat_lists_read_alike() {
        let expected = Data::F32(vec![1.0, -2.5, 3e-3, 0.0]);
        for text in ["[1,-2.5,3e-3,0]", "[[1, -2.5],\n [3e-3, 0]]", "[ [[1],[-2.5]] , [[3e-3],[0.0]] ]"] {
            assert_eq!(from_json(text, Dtype::F32, 4), Ok(expected.clone()), "{text}");
        }
        assert_eq!(from_json("[]", Dtype::F32, 0), Ok(Data::F32(vec![])));
    }

    #[test]
    fn every_type_survives_json_and_bytes() {
        let all = [
            Data::F32(vec![0.1, -1.5]),
            Data::F64(vec![0.1, 1e300]),
            Data::F16(vec![f16::from_f32(0.5), f16::from_f32(-65504.0)]),
            Data::I64(vec![i64::MIN, i64::MAX]),
            Data::I32(vec![i32::MIN, 7]),
            Data::I16(vec![i16::MIN, 7]),
            Data::I8(vec![-128, 127]),
            Data::U64(vec![0, u64::MAX]),
            Data::U32(vec![0, u32::MAX]),
            Data::U16(vec![0, u16::MAX]),
            Data::U8(vec![0, 255]),
            Data::Bool(vec![true, false]),
        ];
        for data in all {
            let text = serde_json::to_string(&Json(&data)).expect("written");
            assert_eq!(from_json(&text, data.dtype(), 2), Ok(data.clone()));
            let mut bytes = Vec::new();
            to_bytes(&data, &mut bytes);
            assert_eq!(bytes.len(), 2 * data.dtype().size());
            assert_eq!(from_bytes(&bytes, data.dtype()), data);
        }
    }

    #[test]
    fn a_wrong_value_is_named_with_its_place() {
        let message = |text: &str, dtype: Dtype| from_json(text, dtype, 3).expect_err("must be refused").to_string();
        assert_eq!(message("[1, 2.5]", Dtype::I32), "value 1 is `2.5`, which is not INT32");
        assert_eq!(message("[1, null]", Dtype::F32), "value 1 is `null`, which is not FP32");
        assert_eq!(message("[300]", Dtype::U8), "value 0 is `300`, which is not UINT8");
        assert_eq!(message("[1e39]", Dtype::F32), "value 0 is `1e39`, which is not FP32");
        assert_eq!(message("[70000]", Dtype::F16), "value 0 is `70000`, which is not FP16");
        assert_eq!(message("[\"a\"]", Dtype::F32), "value 0 is `\"a\"`, which is not FP32");
        assert_eq!(message("[2]", Dtype::Bool), "value 0 is `2`, which is not BOOL");
    }
}
