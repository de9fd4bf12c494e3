//! From stored rows to the tensors a model takes: `input = (stored · scale − mean) / std`, then the row's shape.

use half::f16;
use sentei_api::spec::Preprocess;
use sentei_runtime::{Data, Dtype, Tensor};

use super::{
    error::{DataError, Place, Shape},
    values::{Real, each, select},
};

/// What a model takes under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Its name in the graph.
    pub name: String,
    /// The type of its values.
    pub dtype: Dtype,
    /// Its shape, batch axis first; `None` is free.
    pub shape: Vec<Option<usize>>,
}

impl From<&sentei_runtime::Port> for Input {
    fn from(port: &sentei_runtime::Port) -> Self {
        Self { name: port.name.clone(), dtype: port.dtype, shape: port.shape.as_slice().to_vec() }
    }
}

/// How the stored rows of one input become the model's. Floats are scaled; integers and booleans go through as they
/// are, since scaling a token or a flag makes no sense.
#[derive(Debug, Clone)]
pub(crate) struct Transform {
    pub dtype: Dtype,
    /// Of one row, as the model takes it.
    pub shape: Vec<usize>,
    scale: f64,
    /// One for each channel, or one for all.
    mean: Vec<f64>,
    std: Vec<f64>,
}

impl Transform {
    /// Parses what the manifest says against what is stored and what the model takes.
    pub fn new(
        preprocess: &Preprocess,
        input: &Input,
        stored: &[usize],
        dtype: Dtype,
        place: &Place,
    ) -> Result<Self, DataError> {
        check_dtype(dtype, input, place)?;
        let asked: Vec<usize> = preprocess.shape.iter().map(|&dim| dim as usize).collect();
        let shape = if asked.is_empty() { stored.to_vec() } else { asked };
        check_shape(&shape, stored, input, place)?;
        let channels = shape.first().copied().unwrap_or(1);
        let scale = preprocess.scale.unwrap_or(1.0);
        if !scale.is_finite() || scale == 0.0 {
            let reason = format!("is {scale}, expected a finite number other than 0");
            return Err(DataError::Preprocess { field: "scale", reason });
        }
        let mean = per_channel(&preprocess.mean, "mean", channels, 0.0, f64::is_finite)?;
        let std = per_channel(&preprocess.std, "std", channels, 1.0, |std| std.is_finite() && std != 0.0)?;
        Ok(Self { dtype: input.dtype, shape, scale, mean, std })
    }

    /// Values in one row.
    pub fn width(&self) -> usize {
        self.shape.iter().product()
    }

    /// The tensor of these rows, batch axis first.
    #[expect(clippy::expect_used, reason = "`new` has checked that a stored row has as many values as the shape")]
    pub fn apply(&self, stored: &Data, rows: &[usize]) -> Tensor {
        let data = match self.dtype {
            Dtype::F32 => Data::F32(self.scaled(stored, rows, |value| value as f32)),
            Dtype::F64 => Data::F64(self.scaled(stored, rows, |value| value)),
            Dtype::F16 => Data::F16(self.scaled(stored, rows, f16::from_f64)),
            Dtype::I64 => Data::I64(whole(&select(stored, self.width(), rows))),
            Dtype::I32 => Data::I32(whole(&select(stored, self.width(), rows)).iter().map(|&v| v as i32).collect()),
            _ => select(stored, self.width(), rows),
        };
        let shape: Vec<usize> = std::iter::once(rows.len()).chain(self.shape.iter().copied()).collect();
        Tensor::new(shape, data).expect("a row holds as many values as its shape")
    }

    fn scaled<T>(&self, stored: &Data, rows: &[usize], cast: impl Fn(f64) -> T) -> Vec<T> {
        each!(stored, values => self.scaled_values(values, rows, cast))
    }

    fn scaled_values<S: Real, T>(&self, values: &[S], rows: &[usize], cast: impl Fn(f64) -> T) -> Vec<T> {
        let width = self.width();
        let channel_width = width / self.shape.first().copied().unwrap_or(1).max(1);
        let mut scaled = Vec::with_capacity(rows.len() * width);
        for &row in rows {
            let row = &values[row * width..(row + 1) * width];
            for (channel, values) in row.chunks(channel_width.max(1)).enumerate() {
                // One number stands for every channel.
                let (mean, std) = (self.mean[channel % self.mean.len()], self.std[channel % self.std.len()]);
                scaled.extend(values.iter().map(|value| cast((value.real() * self.scale - mean) / std)));
            }
        }
        scaled
    }
}

fn whole(data: &Data) -> Vec<i64> {
    match data {
        Data::I64(values) => values.clone(),
        other => each!(other, values => values.iter().map(|value| value.bits() as i64).collect()),
    }
}

fn per_channel(
    given: &[f64],
    field: &'static str,
    channels: usize,
    default: f64,
    valid: impl Fn(f64) -> bool,
) -> Result<Vec<f64>, DataError> {
    if let Some(bad) = given.iter().find(|value| !valid(**value)) {
        let rule = if field == "std" { "finite numbers other than 0" } else { "finite numbers" };
        return Err(DataError::Preprocess { field, reason: format!("holds {bad}, expected {rule}") });
    }
    match given.len() {
        0 => Ok(vec![default]),
        n if n == 1 || n == channels => Ok(given.to_vec()),
        n => {
            let reason = format!(
                "has {n} numbers, expected 1 or one for each of the {channels} channels (the first axis of a row)"
            );
            Err(DataError::Preprocess { field, reason })
        }
    }
}

fn check_dtype(stored: Dtype, input: &Input, place: &Place) -> Result<(), DataError> {
    let integer = |dtype| matches!(dtype, Dtype::I32 | Dtype::I16 | Dtype::I8 | Dtype::U16 | Dtype::U8);
    let fits = match input.dtype {
        Dtype::F32 | Dtype::F64 | Dtype::F16 => true,
        Dtype::I64 => stored == Dtype::I64 || stored == Dtype::U32 || integer(stored),
        Dtype::I32 => integer(stored),
        other => stored == other,
    };
    if fits {
        return Ok(());
    }
    Err(DataError::Dtype {
        place: place.clone(),
        found: stored.to_string(),
        input: input.name.clone(),
        expected: input.dtype.to_string(),
        remedy: "save the array in that type (numpy: .astype)",
    })
}

fn check_shape(shape: &[usize], stored: &[usize], input: &Input, place: &Place) -> Result<(), DataError> {
    let refuse = |remedy| {
        let expected = Shape(input.shape.iter().skip(1).copied().collect());
        let found = Shape(shape.iter().copied().map(Some).collect());
        Err(DataError::RowShape { place: place.clone(), found, input: input.name.clone(), expected, remedy })
    };
    let size = |dims: &[usize]| dims.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim));
    if size(shape) != size(stored) {
        let reason = format!(
            "{shape:?} holds {} values, but {place} has rows of shape {stored:?}, which hold {}",
            size(shape).unwrap_or(usize::MAX),
            size(stored).unwrap_or(usize::MAX)
        );
        return Err(DataError::Preprocess { field: "shape", reason });
    }
    match input.shape.first() {
        None => return Err(DataError::NoBatchAxis { input: input.name.clone() }),
        Some(Some(batch)) if *batch != 1 => {
            return Err(DataError::FixedBatch { input: input.name.clone(), batch: *batch });
        }
        Some(_) => {}
    }
    let wanted = &input.shape[1..];
    let agrees = wanted.len() == shape.len()
        && wanted.iter().zip(shape).all(|(want, have)| want.is_none_or(|want| want == *have));
    if agrees {
        return Ok(());
    }
    let fixed: Option<usize> = wanted.iter().copied().try_fold(1, |product: usize, dim| product.checked_mul(dim?));
    if fixed.is_some() && fixed == size(shape) {
        return refuse("set data.preprocess.shape to the model's row shape");
    }
    refuse("give the rows in the model's shape, or set data.preprocess.shape")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(dtype: Dtype, shape: &[Option<usize>]) -> Input {
        Input { name: "input".into(), dtype, shape: shape.to_vec() }
    }

    fn place() -> Place {
        Place::array("x", "d.npz".as_ref())
    }

    #[test]
    fn bytes_become_scaled_floats_channel_by_channel() {
        let preprocess =
            Preprocess { scale: Some(0.5), mean: vec![1.0, 2.0], std: vec![1.0, 4.0], ..Preprocess::default() };
        let input = input(Dtype::F32, &[None, Some(2), Some(2)]);
        let transform = Transform::new(&preprocess, &input, &[2, 2], Dtype::U8, &place()).unwrap();
        let stored = Data::U8(vec![9, 9, 9, 9, 2, 4, 4, 12]);
        let tensor = transform.apply(&stored, &[1]);
        assert_eq!(tensor.shape(), [1, 2, 2]);
        assert_eq!(tensor.values::<f32>().unwrap(), [0.0, 1.0, 0.0, 1.0]);
    }

    #[test]
    fn integers_go_through_unscaled_and_widen() {
        let preprocess = Preprocess { scale: Some(0.5), ..Preprocess::default() };
        let input = input(Dtype::I64, &[None, None]);
        let transform = Transform::new(&preprocess, &input, &[3], Dtype::I16, &place()).unwrap();
        let tensor = transform.apply(&Data::I16(vec![1, -2, 3]), &[0]);
        assert_eq!(tensor.values::<i64>().unwrap(), [1, -2, 3]);
    }

    #[test]
    fn what_does_not_fit_the_model_is_refused_with_the_remedy() {
        let refused = |preprocess: &Preprocess, input: &Input, stored: &[usize], dtype| {
            Transform::new(preprocess, input, stored, dtype, &place()).unwrap_err().to_string()
        };
        let plain = Preprocess::default();
        let pixels = input(Dtype::F32, &[None, Some(1), Some(28), Some(28)]);
        assert_eq!(
            refused(&plain, &pixels, &[28, 28], Dtype::U8),
            "array `x` in `d.npz` has rows of shape [28, 28], but model input `input` takes [1, 28, 28] for each row; \
             set data.preprocess.shape to the model's row shape"
        );
        assert_eq!(
            refused(&plain, &pixels, &[32, 32], Dtype::U8),
            "array `x` in `d.npz` has rows of shape [32, 32], but model input `input` takes [1, 28, 28] for each row; \
             give the rows in the model's shape, or set data.preprocess.shape"
        );
        let reshaped = Preprocess { shape: vec![1, 28, 28], ..Preprocess::default() };
        assert_eq!(
            refused(&reshaped, &pixels, &[32, 32], Dtype::U8),
            "data.preprocess.shape [1, 28, 28] holds 784 values, but array `x` in `d.npz` has rows of shape [32, 32], \
             which hold 1024"
        );
        assert_eq!(
            refused(&plain, &input(Dtype::I64, &[None, None]), &[4], Dtype::F32),
            "array `x` in `d.npz` holds float, but model input `input` takes int64; save the array in that type \
             (numpy: .astype)"
        );
        let batched = input(Dtype::F32, &[Some(8), Some(4)]);
        assert_eq!(
            refused(&plain, &batched, &[4], Dtype::F32),
            "model input `input` takes exactly 8 rows at a time; export the model with a free batch axis"
        );
        let means = Preprocess { mean: vec![0.0; 3], ..Preprocess::default() };
        assert_eq!(
            refused(&means, &input(Dtype::F32, &[None, Some(2)]), &[2], Dtype::F32),
            "data.preprocess.mean has 3 numbers, expected 1 or one for each of the 2 channels (the first axis of a \
             row)"
        );
        let flat = Preprocess { std: vec![0.0], ..Preprocess::default() };
        assert_eq!(
            refused(&flat, &input(Dtype::F32, &[None, Some(2)]), &[2], Dtype::F32),
            "data.preprocess.std holds 0, expected finite numbers other than 0"
        );
    }
}
