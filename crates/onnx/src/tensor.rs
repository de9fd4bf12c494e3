//! Constant tensors: typed values out of, and into, the format's several encodings.

use bytes::Bytes;
use half::{bf16, f16};

pub use crate::proto::tensor_proto::DataType as ElementType;
use crate::proto::{TensorProto, tensor_proto::DataLocation};

/// A constant whose values are as many as its shape says, in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: TensorData,
}

/// Why a constant could not be read or made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// Values and shape disagree.
    #[error("tensor `{name}` of shape {shape:?} holds {expected} values, but {found} are given")]
    Count {
        /// The tensor's name, empty when it has none yet.
        name: String,
        /// The shape.
        shape: Vec<usize>,
        /// Its product (saturating).
        expected: usize,
        /// The number of values there are.
        found: usize,
    },
    /// A negative or unrepresentable axis length.
    #[error("tensor `{name}` has an axis of length {length}; lengths must be 0 or more")]
    Length {
        /// The tensor's name.
        name: String,
        /// The length.
        length: i64,
    },
    /// An encoding that has no plain values here (strings, complex numbers, 8-bit floats, sub-byte types).
    #[error(
        "tensor `{name}` has element type {found}, which is carried but not read; expected a real, integer or boolean type"
    )]
    ElementType {
        /// The tensor's name.
        name: String,
        /// The type found.
        found: String,
    },
    /// Real numbers were expected.
    #[error("tensor `{name}` holds {found}; expected float, float16, bfloat16 or double")]
    NotReal {
        /// The tensor's name.
        name: String,
        /// The type found.
        found: String,
    },
    /// The values stand in another file that was not read in.
    #[error("tensor `{name}` keeps its values in another file; load the model from its path")]
    External {
        /// The tensor's name.
        name: String,
    },
}

impl Tensor {
    /// A tensor of `shape` from values in row-major order; a scalar has the empty shape.
    ///
    /// # Errors
    /// [`TensorError::Count`] when the number of values is not the product of `shape`.
    pub fn new(shape: impl Into<Vec<usize>>, data: impl Into<TensorData>) -> Result<Self, TensorError> {
        let (shape, data) = (shape.into(), data.into());
        let expected = product(&shape);
        if expected == data.len() {
            Ok(Self { shape, data })
        } else {
            Err(TensorError::Count { name: String::new(), shape, expected, found: data.len() })
        }
    }

    /// A one-axis tensor.
    pub fn vector(data: impl Into<TensorData>) -> Self {
        let data = data.into();
        Self { shape: vec![data.len()], data }
    }

    /// Axis lengths, outermost first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values.
    #[must_use]
    pub fn data(&self) -> &TensorData {
        &self.data
    }

    /// Shape and values, given up.
    #[must_use]
    pub fn into_parts(self) -> (Vec<usize>, TensorData) {
        (self.shape, self.data)
    }

    /// The values as `f32` when they are real numbers of any width (`double` is rounded).
    #[must_use]
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        match &self.data {
            TensorData::F32(v) => Some(v.clone()),
            TensorData::F64(v) => Some(v.iter().map(|&x| x as f32).collect()),
            TensorData::F16(v) => Some(v.iter().map(|x| x.to_f32()).collect()),
            TensorData::Bf16(v) => Some(v.iter().map(|x| x.to_f32()).collect()),
            _ => None,
        }
    }

    /// The values as `i64` when they are `int32` or `int64`: what shapes, axes and indices are made of.
    #[must_use]
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        match &self.data {
            TensorData::I64(v) => Some(v.clone()),
            TensorData::I32(v) => Some(v.iter().map(|&x| i64::from(x)).collect()),
            _ => None,
        }
    }

    /// Real values as a tensor of another real type: how a float16 model gets its float16 weight back.
    ///
    /// # Errors
    /// [`TensorError::Count`] on a shape mismatch, [`TensorError::NotReal`] when `element` is no real type.
    pub fn from_f32(shape: &[usize], values: Vec<f32>, element: ElementType) -> Result<Self, TensorError> {
        let data = match element {
            ElementType::Float => TensorData::F32(values),
            ElementType::Double => TensorData::F64(values.into_iter().map(f64::from).collect()),
            ElementType::Float16 => TensorData::F16(values.into_iter().map(f16::from_f32).collect()),
            ElementType::Bfloat16 => TensorData::Bf16(values.into_iter().map(bf16::from_f32).collect()),
            other => return Err(TensorError::NotReal { name: String::new(), found: name_of(other as i32) }),
        };
        Self::new(shape, data)
    }

    /// The tensor as the file writes it, raw and little-endian.
    #[must_use]
    pub fn to_proto(&self, name: &str) -> TensorProto {
        TensorProto {
            name: Some(name.to_owned()),
            dims: self.shape.iter().map(|&d| d as i64).collect(),
            data_type: Some(self.data.element_type() as i32),
            raw_data: Some(self.data.to_bytes()),
            ..TensorProto::default()
        }
    }

    /// The tensor a file holds, whichever field its values are in.
    ///
    /// # Errors
    /// See [`TensorError`]. Nothing is allocated beyond what the file really holds.
    pub fn from_proto(proto: &TensorProto) -> Result<Self, TensorError> {
        let name = proto.name().to_owned();
        let shape = shape_of(proto)?;
        if proto.data_location == Some(DataLocation::External as i32) {
            return Err(TensorError::External { name });
        }
        let element = element_type(proto);
        let data = element.and_then(|element| TensorData::from_proto(proto, element));
        let data =
            data.ok_or_else(|| TensorError::ElementType { name: name.clone(), found: name_of(proto.data_type()) })?;
        let expected = product(&shape);
        let ragged = element.and_then(bits_of).zip(proto.raw_data.as_ref());
        let ragged = ragged.is_some_and(|(bits, raw)| raw.len() % (bits / 8) != 0);
        if data.len() == expected && !ragged {
            Ok(Self { shape, data })
        } else {
            Err(TensorError::Count { name, shape, expected, found: data.len() + usize::from(ragged) })
        }
    }
}

/// The axis lengths a file declares for a constant.
pub(crate) fn shape_of(proto: &TensorProto) -> Result<Vec<usize>, TensorError> {
    proto
        .dims
        .iter()
        .map(|&length| {
            usize::try_from(length).map_err(|_| TensorError::Length { name: proto.name().to_owned(), length })
        })
        .collect()
}

/// The element type a file declares, when it is one the format knows.
pub(crate) fn element_type(proto: &TensorProto) -> Option<ElementType> {
    ElementType::try_from(proto.data_type()).ok()
}

/// The format's own name of an element type, or its number.
pub(crate) fn name_of(element: i32) -> String {
    ElementType::try_from(element)
        .map_or_else(|_| format!("number {element}"), |element| element.as_str_name().to_lowercase())
}

/// Bits of one element in raw form; `None` for strings and unknown types.
pub(crate) fn bits_of(element: ElementType) -> Option<usize> {
    use ElementType as E;
    Some(match element {
        E::Uint2 | E::Int2 => 2,
        E::Uint4 | E::Int4 | E::Float4e2m1 => 4,
        E::Float6e2m3 | E::Float6e3m2 => 6,
        E::Uint8
        | E::Int8
        | E::Bool
        | E::Float8e4m3fn
        | E::Float8e4m3fnuz
        | E::Float8e5m2
        | E::Float8e5m2fnuz
        | E::Float8e8m0 => 8,
        E::Uint16 | E::Int16 | E::Float16 | E::Bfloat16 => 16,
        E::Float | E::Int32 | E::Uint32 => 32,
        E::Double | E::Int64 | E::Uint64 | E::Complex64 => 64,
        E::Complex128 => 128,
        E::Undefined | E::String => return None,
    })
}

/// The number of values of a shape, saturating: a product from a file must not wrap.
pub(crate) fn product(shape: &[usize]) -> usize {
    shape.iter().fold(1, |product, &length| product.saturating_mul(length))
}

macro_rules! data {
    ($($variant:ident, $type:ty, $element:ident, $typed:expr;)+) => {
        /// Values of one type.
        #[derive(Debug, Clone, PartialEq)]
        pub enum TensorData {
            $(#[doc = concat!("ONNX `", stringify!($element), "`.")] $variant(Vec<$type>),)+
            /// ONNX `Bool`.
            Bool(Vec<bool>),
        }

        impl TensorData {
            /// The number of values.
            #[must_use]
            pub fn len(&self) -> usize {
                match self { $(Self::$variant(v) => v.len(),)+ Self::Bool(v) => v.len() }
            }

            /// The type of the values.
            #[must_use]
            pub fn element_type(&self) -> ElementType {
                match self { $(Self::$variant(_) => ElementType::$element,)+ Self::Bool(_) => ElementType::Bool }
            }

            fn to_bytes(&self) -> Bytes {
                match self {
                    $(Self::$variant(v) => {
                        let mut bytes = Vec::with_capacity(size_of_val(v.as_slice()));
                        for x in v {
                            bytes.extend_from_slice(&x.to_le_bytes());
                        }
                        bytes.into()
                    })+
                    Self::Bool(v) => v.iter().map(|&x| u8::from(x)).collect(),
                }
            }

            fn from_proto(proto: &TensorProto, element: ElementType) -> Option<Self> {
                Some(match (element, &proto.raw_data) {
                    $((ElementType::$element, Some(raw)) => {
                        Self::$variant(raw.as_chunks().0.iter().map(|&b| <$type>::from_le_bytes(b)).collect())
                    })+
                    $((ElementType::$element, None) => Self::$variant($typed(proto)),)+
                    (ElementType::Bool, Some(raw)) => Self::Bool(raw.iter().map(|&b| b != 0).collect()),
                    (ElementType::Bool, None) => Self::Bool(proto.int32_data.iter().map(|&x| x != 0).collect()),
                    _ => return None,
                })
            }
        }

        $(impl From<Vec<$type>> for TensorData { fn from(v: Vec<$type>) -> Self { Self::$variant(v) } })+
    };
}

impl TensorData {
    /// Whether there are no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

// The last column reads the typed field; the narrow types share `int32_data`, one value (or bit pattern) per entry.
data! {
    F32, f32, Float, |p: &TensorProto| p.float_data.clone();
    F64, f64, Double, |p: &TensorProto| p.double_data.clone();
    F16, f16, Float16, |p: &TensorProto| p.int32_data.iter().map(|&x| f16::from_bits(x as u16)).collect();
    Bf16, bf16, Bfloat16, |p: &TensorProto| p.int32_data.iter().map(|&x| bf16::from_bits(x as u16)).collect();
    I64, i64, Int64, |p: &TensorProto| p.int64_data.clone();
    I32, i32, Int32, |p: &TensorProto| p.int32_data.clone();
    I16, i16, Int16, |p: &TensorProto| p.int32_data.iter().map(|&x| x as i16).collect();
    I8, i8, Int8, |p: &TensorProto| p.int32_data.iter().map(|&x| x as i8).collect();
    U64, u64, Uint64, |p: &TensorProto| p.uint64_data.clone();
    U32, u32, Uint32, |p: &TensorProto| p.uint64_data.iter().map(|&x| x as u32).collect();
    U16, u16, Uint16, |p: &TensorProto| p.int32_data.iter().map(|&x| x as u16).collect();
    U8, u8, Uint8, |p: &TensorProto| p.int32_data.iter().map(|&x| x as u8).collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_survives_the_file_encoding() {
        let halves = Tensor::new([2, 1], vec![f16::from_f32(0.5), f16::NEG_INFINITY]).unwrap();
        assert_eq!(Tensor::from_proto(&halves.to_proto("h")).unwrap(), halves);
        assert_eq!(halves.to_f32(), Some(vec![0.5, f32::NEG_INFINITY]));
        let flags = Tensor::vector(TensorData::Bool(vec![true, false]));
        assert_eq!(Tensor::from_proto(&flags.to_proto("b")).unwrap(), flags);
    }

    #[test]
    fn typed_fields_are_read_like_raw_bytes() {
        let typed = TensorProto {
            dims: vec![2],
            data_type: Some(ElementType::Float16 as i32),
            int32_data: vec![0x3800, 0xc000],
            ..TensorProto::default()
        };
        assert_eq!(Tensor::from_proto(&typed).unwrap().to_f32(), Some(vec![0.5, -2.0]));
    }

    #[test]
    fn a_shape_that_does_not_fit_its_bytes_is_refused_without_allocating() {
        let mut proto = Tensor::vector(vec![1.0_f32, 2.0]).to_proto("w");
        proto.dims = vec![i64::MAX, i64::MAX];
        let error = Tensor::from_proto(&proto).unwrap_err();
        assert!(matches!(error, TensorError::Count { found: 2, expected: usize::MAX, .. }), "{error}");
        proto.dims = vec![-1];
        assert_eq!(
            Tensor::from_proto(&proto).unwrap_err().to_string(),
            "tensor `w` has an axis of length -1; lengths must be 0 or more"
        );
        proto.dims = vec![2];
        proto.raw_data = Some(Bytes::from_static(&[0; 9]));
        assert!(Tensor::from_proto(&proto).is_err(), "nine bytes are not two floats");
    }
}
