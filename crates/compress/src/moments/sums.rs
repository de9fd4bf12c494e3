//! Weighted second moments of a layer's inputs, and of its targets with its inputs.
//!
//! Products run in `f32` over blocks of at most [`BLOCK_ROWS`] rows and are added up in `f64`: the order of additions is
//! fixed by the order of blocks, and an error of one block cannot grow with the number of rows.

use faer::{
    Accum, Mat, MatRef, Par,
    linalg::matmul::{matmul, triangular},
};

/// Rows of one `f32` product.
pub const BLOCK_ROWS: usize = 4096;

/// Sums over rows `i` of `wᵢ·zᵢzᵢᵀ` and `wᵢ·tᵢzᵢᵀ`, where `z = [u; 1]` is the input with a constant appended, so that
/// means and the total weight are the last row.
#[derive(Debug, Clone)]
pub struct Sums {
    /// (D+1) × (D+1), lower triangle.
    squares: Mat<f64>,
    /// O × (D+1).
    cross: Mat<f64>,
    /// `Σ wᵢ·tᵢ²` for each output.
    energy: Vec<f64>,
}

/// Rows waiting to be added: inputs and targets, row-major, already multiplied by the square root of their weight.
#[derive(Debug)]
pub struct Block {
    inputs: Vec<f32>,
    targets: Vec<f32>,
    columns: usize,
    outputs: usize,
    capacity: usize,
}

impl Block {
    /// An empty block for rows of `columns` inputs and `outputs` targets.
    #[must_use]
    pub fn new(columns: usize, outputs: usize) -> Self {
        Self { inputs: Vec::new(), targets: Vec::new(), columns, outputs, capacity: BLOCK_ROWS }
    }

    /// The same, full at `rows` already when that is fewer.
    #[must_use]
    pub fn holding(self, rows: usize) -> Self {
        Self { capacity: rows.clamp(1, BLOCK_ROWS), ..self }
    }

    /// Rows held.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.inputs.len() / (self.columns + 1)
    }

    /// Whether the block should be added before more rows come.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.rows() >= self.capacity
    }

    /// Appends one row of weight `weight` (≥ 0); `fill` writes the inputs and the targets.
    pub fn push(&mut self, weight: f32, fill: impl FnOnce(&mut [f32], &mut [f32])) {
        let (start, target_start) = (self.inputs.len(), self.targets.len());
        self.inputs.resize(start + self.columns + 1, 0.0);
        self.targets.resize(target_start + self.outputs, 0.0);
        let (inputs, targets) = (&mut self.inputs[start..], &mut self.targets[target_start..]);
        fill(&mut inputs[..self.columns], targets);
        inputs[self.columns] = 1.0;
        let root = weight.sqrt();
        if (root - 1.0).abs() > f32::EPSILON {
            inputs.iter_mut().chain(targets).for_each(|value| *value *= root);
        }
    }

    fn clear(&mut self) {
        self.inputs.clear();
        self.targets.clear();
    }
}

impl Sums {
    /// Empty sums for `columns` inputs and `outputs` targets.
    #[must_use]
    pub fn new(columns: usize, outputs: usize) -> Self {
        Self {
            squares: Mat::zeros(columns + 1, columns + 1),
            cross: Mat::zeros(outputs, columns + 1),
            energy: vec![0.0; outputs],
        }
    }

    /// Adds the rows of `block` and empties it.
    pub fn add(&mut self, block: &mut Block) {
        let (rows, width, outputs) = (block.rows(), block.columns + 1, block.outputs);
        if rows == 0 {
            return;
        }
        let inputs = MatRef::from_row_major_slice(&block.inputs, rows, width);
        // Small products are done before threads would have started.
        let par = if rows * width * width > 1 << 22 { Par::rayon(0) } else { Par::Seq };
        let mut product = Mat::<f32>::zeros(width, width);
        triangular::matmul(
            product.as_mut(),
            triangular::BlockStructure::TriangularLower,
            Accum::Replace,
            inputs.transpose(),
            triangular::BlockStructure::Rectangular,
            inputs,
            triangular::BlockStructure::Rectangular,
            1.0,
            par,
        );
        for column in 0..width {
            for row in column..width {
                self.squares[(row, column)] += f64::from(product[(row, column)]);
            }
        }
        if outputs > 0 {
            let targets = MatRef::from_row_major_slice(&block.targets, rows, outputs);
            let mut product = Mat::<f32>::zeros(outputs, width);
            matmul(product.as_mut(), Accum::Replace, targets.transpose(), inputs, 1.0, par);
            for column in 0..width {
                for row in 0..outputs {
                    self.cross[(row, column)] += f64::from(product[(row, column)]);
                }
            }
            for row in block.targets.chunks_exact(outputs) {
                for (sum, &value) in self.energy.iter_mut().zip(row) {
                    *sum += f64::from(value) * f64::from(value);
                }
            }
        }
        block.clear();
    }

    /// The sums of two disjoint sets of rows.
    #[must_use]
    pub fn joined(&self, other: &Self) -> Self {
        Self {
            squares: &self.squares + &other.squares,
            cross: &self.cross + &other.cross,
            energy: self.energy.iter().zip(&other.energy).map(|(a, b)| a + b).collect(),
        }
    }

    /// The sum of the weights.
    #[must_use]
    pub fn weight(&self) -> f64 {
        self.squares[(self.columns(), self.columns())]
    }

    /// D.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.squares.nrows() - 1
    }

    /// Averages about the means: covariances.
    #[must_use]
    pub fn centred(&self) -> Moments {
        let (columns, weight) = (self.columns(), self.weight().max(f64::MIN_POSITIVE));
        let mean: Vec<f64> = (0..columns).map(|column| self.squares[(columns, column)] / weight).collect();
        let target_mean: Vec<f64> = (0..self.energy.len()).map(|row| self.cross[(row, columns)] / weight).collect();
        self.about(mean, target_mean)
    }

    /// Averages about zero, for a layer that cannot have a bias.
    #[must_use]
    pub fn raw(&self) -> Moments {
        self.about(vec![0.0; self.columns()], vec![0.0; self.energy.len()])
    }

    fn about(&self, mean: Vec<f64>, target_mean: Vec<f64>) -> Moments {
        let (columns, weight) = (self.columns(), self.weight().max(f64::MIN_POSITIVE));
        let square = |row: usize, column: usize| {
            self.squares[(row.max(column), row.min(column))] / weight - mean[row] * mean[column]
        };
        let covariance = Mat::from_fn(columns, columns, square);
        let cross = Mat::from_fn(self.energy.len(), columns, |row, column| {
            self.cross[(row, column)] / weight - target_mean[row] * mean[column]
        });
        let energy =
            self.energy.iter().zip(&target_mean).map(|(sum, mean)| (sum / weight - mean * mean).max(0.0)).collect();
        Moments { mean, target_mean, covariance, cross, energy }
    }
}

/// Second moments about `mean` and `target_mean` (the means, or zero).
#[derive(Debug, Clone)]
pub struct Moments {
    /// Of the D inputs.
    pub mean: Vec<f64>,
    /// Of the O targets.
    pub target_mean: Vec<f64>,
    /// D × D, both triangles.
    pub covariance: Mat<f64>,
    /// Targets with inputs, O × D.
    pub cross: Mat<f64>,
    /// Of each target with itself.
    pub energy: Vec<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows with a known answer: u = (i, 2i), t = 3i, weights 1 and 4.
    fn sums() -> Sums {
        let mut block = Block::new(2, 1);
        for (i, weight) in [(1.0_f32, 1.0), (3.0, 4.0)] {
            block.push(weight, |inputs, targets| {
                inputs.copy_from_slice(&[i, 2.0 * i]);
                targets[0] = 3.0 * i;
            });
        }
        let mut sums = Sums::new(2, 1);
        sums.add(&mut block);
        assert_eq!(block.rows(), 0);
        sums
    }

    #[test]
    fn moments_are_weighted_averages_about_the_weighted_means() {
        let moments = sums().centred();
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-6, "{found} against {expected}");
        near(moments.mean[0], 2.6);
        near(moments.target_mean[0], 7.8);
        near(moments.covariance[(0, 0)], 0.64);
        near(moments.covariance[(0, 1)], 1.28);
        near(moments.covariance[(1, 0)], 1.28);
        near(moments.cross[(0, 1)], 3.84);
        near(moments.energy[0], 5.76);
        near(sums().raw().covariance[(0, 0)], 7.4);
    }

    #[test]
    fn joining_two_parts_equals_adding_all_rows() {
        let joined = sums().joined(&sums());
        assert!((joined.weight() - 10.0).abs() < 1e-9);
        assert!((joined.centred().covariance[(1, 1)] - sums().centred().covariance[(1, 1)]).abs() < 1e-9);
    }
}
