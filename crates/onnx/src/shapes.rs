//! Tensor shapes as measured by running the model: never inferred here.

use std::collections::BTreeMap;

/// The length of an axis over all runs measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dim {
    /// The same in every run.
    Static(usize),
    /// Different between runs (batch, sequence length, image size).
    Dynamic,
}

/// Measured shape of each tensor, by name. Weights need not be listed: theirs are in the file.
pub type Shapes = BTreeMap<String, Vec<Dim>>;

impl Dim {
    /// The length, when it is always the same.
    #[must_use]
    pub fn size(self) -> Option<usize> {
        match self {
            Self::Static(size) => Some(size),
            Self::Dynamic => None,
        }
    }
}

/// What two runs with different batch (and, where allowed, sequence or image) sizes agree on. A tensor whose rank
/// differs, or that only one run has, is left out.
#[must_use]
pub fn agree(first: &BTreeMap<String, Vec<usize>>, second: &BTreeMap<String, Vec<usize>>) -> Shapes {
    let both = first.iter().filter_map(|(name, a)| Some((name, a, second.get(name)?)));
    both.filter(|(_, a, b)| a.len() == b.len())
        .map(|(name, a, b)| {
            let dims = a.iter().zip(b).map(|(a, b)| if a == b { Dim::Static(*a) } else { Dim::Dynamic });
            (name.clone(), dims.collect())
        })
        .collect()
}
