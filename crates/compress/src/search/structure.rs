//! What a model of given widths costs, without building it: each weight's cost is a product over its axes.

/// One weight.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Its cost in the model as it stands.
    pub cost: f64,
    /// The axes that groups shorten.
    pub axes: Vec<Axis>,
}

/// An axis of a weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axis {
    /// Its length in the model as it stands.
    pub length: usize,
    /// Cost comes in blocks of this many (1: linear).
    pub block: usize,
    /// Groups with units on this axis, and the length of one unit.
    pub groups: Vec<(usize, usize)>,
}

/// A model's cost as a function of its groups' widths.
#[derive(Debug, Clone, PartialEq)]
pub struct Structure {
    /// Units of each group in the model as it stands.
    pub widths: Vec<usize>,
    /// What no group changes.
    pub fixed: f64,
    /// What groups change.
    pub parts: Vec<Part>,
}

impl Structure {
    /// The cost when group `g` has `widths[g]` units.
    #[must_use]
    pub fn cost(&self, widths: &[usize]) -> f64 {
        let lost = |group: usize| self.widths[group].saturating_sub(widths[group]);
        let axis = |axis: &Axis| {
            let gone: usize = axis.groups.iter().map(|&(group, unit)| lost(group) * unit).sum();
            let blocks = |length: usize| length.div_ceil(axis.block.max(1)) as f64;
            blocks(axis.length.saturating_sub(gone)) / blocks(axis.length).max(1.0)
        };
        let part = |part: &Part| part.cost * part.axes.iter().map(axis).product::<f64>();
        self.fixed + self.parts.iter().map(part).sum::<f64>()
    }

    /// The cost as it stands.
    #[must_use]
    pub fn full_cost(&self) -> f64 {
        self.cost(&self.widths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_between_two_groups_shrinks_with_both() {
        let axis = |length, block, group, unit| Axis { length, block, groups: vec![(group, unit)] };
        let structure = Structure {
            widths: vec![64, 8],
            fixed: 10.0,
            parts: vec![Part { cost: 1000.0, axes: vec![axis(64, 1, 0, 1), axis(72, 1, 1, 9)] }],
        };
        assert!((structure.full_cost() - 1010.0).abs() < 1e-9);
        assert!((structure.cost(&[32, 4]) - 260.0).abs() < 1e-9);
        let blocks = Structure { parts: vec![Part { cost: 64.0, axes: vec![axis(64, 16, 0, 1)] }], ..structure };
        assert!((blocks.cost(&[61, 8]) - 74.0).abs() < 1e-9);
        assert!((blocks.cost(&[48, 8]) - 58.0).abs() < 1e-9);
    }
}
