//! Tensors as the rest of Sentei sees them: a shape, and values of one type in row-major order.

use std::fmt;

use half::f16;

/// A tensor whose values are as many as its shape says.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

/// The shape and the number of values do not agree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("shape {shape:?} holds {expected} values, but {found} were given")]
pub struct TensorError {
    /// The shape given.
    pub shape: Vec<usize>,
    /// Its product (saturating).
    pub expected: usize,
    /// The number of values given.
    pub found: usize,
}

impl Tensor {
    /// A tensor of `shape` from values in row-major order. A scalar has the empty shape.
    ///
    /// # Errors
    /// [`TensorError`] when the number of values is not the product of `shape`.
    pub fn new(shape: impl Into<Vec<usize>>, data: impl Into<Data>) -> Result<Self, TensorError> {
        let (shape, data) = (shape.into(), data.into());
        let expected = shape.iter().fold(1_usize, |product, &dim| product.saturating_mul(dim));
        if expected == data.len() {
            Ok(Self { shape, data })
        } else {
            Err(TensorError { shape, expected, found: data.len() })
        }
    }

    /// All zeros (false, for booleans).
    #[must_use]
    pub fn zeros(shape: impl Into<Vec<usize>>, dtype: Dtype) -> Self {
        let shape = shape.into();
        let data = Data::zeros(dtype, shape.iter().product());
        Self { shape, data }
    }

    /// The dimensions, outermost first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values.
    #[must_use]
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The values as a slice, when they are of type `T`.
    #[must_use]
    pub fn values<T: Element>(&self) -> Option<&[T]> {
        T::of(&self.data)
    }

    /// Shape and values, given up.
    #[must_use]
    pub fn into_parts(self) -> (Vec<usize>, Data) {
        (self.shape, self.data)
    }

    /// The type of the values.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.data.dtype()
    }

    /// The number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A type that values of a tensor can have.
pub trait Element: Copy + Sized + Send + Sync + 'static {
    /// Its name.
    const DTYPE: Dtype;
    /// The values of `data`, when they are of this type.
    fn of(data: &Data) -> Option<&[Self]>;
}

macro_rules! dtypes {
    ($($variant:ident, $type:ty, $name:literal, $bytes:literal, $zero:expr;)+) => {
        /// The type of a tensor's values.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Dtype { $(#[doc = concat!("ONNX `", $name, "`.")] $variant,)+ }

        impl Dtype {
            /// Bytes a value takes.
            #[must_use]
            pub fn size(self) -> usize { match self { $(Self::$variant => $bytes,)+ } }
        }

        impl fmt::Display for Dtype {
            /// ONNX's name.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $name,)+ })
            }
        }

        /// Values of one type.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Data { $(#[doc = concat!("ONNX `", $name, "`.")] $variant(Vec<$type>),)+ }

        impl Data {
            /// The type of the values.
            #[must_use]
            pub fn dtype(&self) -> Dtype { match self { $(Self::$variant(_) => Dtype::$variant,)+ } }

            /// The number of values.
            #[must_use]
            pub fn len(&self) -> usize { match self { $(Self::$variant(values) => values.len(),)+ } }

            /// Whether there are no values.
            #[must_use]
            pub fn is_empty(&self) -> bool { self.len() == 0 }

            fn zeros(dtype: Dtype, len: usize) -> Self {
                match dtype { $(Dtype::$variant => Self::$variant(vec![$zero; len]),)+ }
            }
        }

        $(
            impl Element for $type {
                const DTYPE: Dtype = Dtype::$variant;
                fn of(data: &Data) -> Option<&[Self]> {
                    if let Data::$variant(values) = data { Some(values) } else { None }
                }
            }

            impl From<Vec<$type>> for Data {
                fn from(values: Vec<$type>) -> Self { Self::$variant(values) }
            }
        )+
    };
}

dtypes! {
    F32, f32, "float", 4, 0.0;
    F64, f64, "double", 8, 0.0;
    F16, f16, "float16", 2, f16::ZERO;
    I64, i64, "int64", 8, 0;
    I32, i32, "int32", 4, 0;
    I16, i16, "int16", 2, 0;
    I8, i8, "int8", 1, 0;
    U64, u64, "uint64", 8, 0;
    U32, u32, "uint32", 4, 0;
    U16, u16, "uint16", 2, 0;
    U8, u8, "uint8", 1, 0;
    Bool, bool, "bool", 1, false;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_refuses_a_shape_that_does_not_fit() {
        let error = Tensor::new([2, 3], vec![0.0_f32; 5]).unwrap_err();
        assert_eq!(error.to_string(), "shape [2, 3] holds 6 values, but 5 were given");
        assert!(Tensor::new([usize::MAX, 2], vec![0_u8; 5]).is_err());
        assert_eq!(Tensor::new([], vec![1_i64]).expect("a scalar").values::<i64>(), Some(&[1][..]));
    }

    #[test]
    fn values_are_lent_only_as_what_they_are() {
        let tensor = Tensor::new([2], vec![f16::from_f32(1.5), f16::ZERO]).expect("fits");
        assert_eq!(tensor.dtype(), Dtype::F16);
        assert_eq!(tensor.values::<f16>().map(|values| values[0].to_f32()), Some(1.5));
        assert!(tensor.values::<f32>().is_none());
    }
}
