//! Which indices of an axis are left, and the tensor that has only those.

use std::collections::HashMap;

use super::SurgeryError;
use crate::{
    Tensor,
    coupling::{
        Layout,
        symbols::{Axis, Symbol},
    },
    proto::TensorProto,
    tensor::{bits_of, element_type, shape_of},
};

/// The kept units of each cut symbol.
pub(super) struct Cut<'a> {
    lengths: &'a std::collections::BTreeMap<Symbol, usize>,
    kept: HashMap<Symbol, Vec<usize>>,
}

impl<'a> Cut<'a> {
    pub(super) fn new(layout: &'a Layout, kept: HashMap<Symbol, Vec<usize>>) -> Self {
        Self { lengths: &layout.lengths, kept }
    }

    fn before(&self, symbol: Symbol) -> usize {
        self.lengths.get(&symbol).copied().unwrap_or(1)
    }

    fn after(&self, symbol: Symbol) -> usize {
        self.kept.get(&symbol).map_or_else(|| self.before(symbol), Vec::len)
    }

    /// The length of an axis after the cut.
    pub(super) fn length(&self, axis: &Axis) -> usize {
        axis.0.iter().map(|segment| segment.iter().map(|&symbol| self.after(symbol)).product::<usize>()).sum()
    }

    /// The same, when the cut changes it.
    pub(super) fn changed(&self, axis: &Axis) -> Option<usize> {
        let touched = axis.0.iter().flatten().any(|symbol| self.kept.contains_key(symbol));
        touched.then(|| self.length(axis))
    }

    /// The indices left of an axis, ascending.
    fn indices(&self, axis: &Axis) -> Vec<usize> {
        let mut offset = 0;
        let mut left = Vec::with_capacity(self.length(axis));
        for segment in &axis.0 {
            // Mixed radix, the outermost digit first.
            let mut within = vec![0];
            let mut length = 1;
            for &symbol in segment {
                let radix = self.before(symbol);
                length *= radix;
                let digits = |outer: usize| match self.kept.get(&symbol) {
                    Some(kept) => kept.iter().map(|&unit| outer * radix + unit).collect::<Vec<_>>(),
                    None => (0..radix).map(|unit| outer * radix + unit).collect(),
                };
                within = within.into_iter().flat_map(digits).collect();
            }
            left.extend(within.into_iter().map(|index| offset + index));
            offset += length;
        }
        left
    }

    /// Cuts a weight along every axis that holds a cut symbol; leaves it alone when none does.
    pub(super) fn weight(&self, weight: &mut TensorProto, axes: &[Axis]) -> Result<(), SurgeryError> {
        if axes.iter().all(|axis| self.changed(axis).is_none()) {
            return Ok(());
        }
        let mut shape = shape_of(weight)?;
        let lengths = |axis: &Axis| axis.0.iter().map(|s| s.iter().map(|&x| self.before(x)).product::<usize>()).sum();
        // Symbols that cannot change may have no recorded length; only axes that change are compared.
        let agrees = |(axis, &length): (&Axis, &usize)| self.changed(axis).is_none() || lengths(axis) == length;
        if shape.len() != axes.len() || !axes.iter().zip(&shape).all(agrees) {
            let expected = axes.iter().map(lengths).collect();
            return Err(SurgeryError::Stale { weight: weight.name().to_owned(), found: shape, expected });
        }
        if weight.raw_data.is_none() {
            let name = weight.name().to_owned();
            let raw = Tensor::from_proto(weight)?.to_proto(&name);
            *weight = TensorProto {
                doc_string: weight.doc_string.take(),
                metadata_props: std::mem::take(&mut weight.metadata_props),
                ..raw
            };
        }
        let size = element_type(weight).and_then(bits_of).unwrap_or(8) / 8;
        let mut bytes = weight.raw_data.take().unwrap_or_default();
        for (at, axis) in axes.iter().enumerate().filter(|(_, axis)| self.changed(axis).is_some()) {
            let indices = self.indices(axis);
            bytes = select(&bytes, &shape, at, &indices, size).into();
            shape[at] = indices.len();
        }
        weight.raw_data = Some(bytes);
        weight.dims = shape.iter().map(|&length| length as i64).collect();
        Ok(())
    }
}

/// The elements of `bytes` (row-major, `size` bytes each) whose index on axis `at` is among `indices`.
fn select(bytes: &[u8], shape: &[usize], at: usize, indices: &[usize], size: usize) -> Vec<u8> {
    let row = shape[at + 1..].iter().product::<usize>() * size;
    let block = row * shape[at];
    let outer = shape[..at].iter().product::<usize>();
    let mut out = Vec::with_capacity(outer * indices.len() * row);
    for o in 0..outer {
        for &index in indices {
            let start = o * block + index * row;
            out.extend_from_slice(bytes.get(start..start + row).unwrap_or_default());
        }
    }
    out
}
