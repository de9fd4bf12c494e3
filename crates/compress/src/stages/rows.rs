//! The calibration rows as the engine streams them.

use crate::{
    data::{Dataset, Part},
    moments::Rows,
};

/// All calibration rows, with their weights and slices.
#[must_use]
pub fn calibration_rows(data: &Dataset) -> Rows {
    let part = Part::Calibration;
    let all: Vec<usize> = (0..data.len(part)).collect();
    let slice = |slice: usize| all.iter().map(|&row| data.in_slice(part, slice, row)).collect();
    Rows {
        weights: data.row_weights(part).into_iter().map(|weight| weight as f32).collect(),
        slices: (0..data.slice_names().len()).map(slice).collect(),
        inputs: data.batch(part, &all).inputs,
    }
}
