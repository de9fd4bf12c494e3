//! A linear layer as a matrix: outputs × columns, whatever the operator and the storage order.

use faer::Mat;
use sentei_onnx::{
    InitializerError, Model,
    linear::{LinearOp, Site},
};

use super::patches::Reach;
use crate::refit::Fit;

/// A layer whose weights can be read and solved as a matrix: a column for each input unit and tap (taps innermost), a
/// matrix for each channel group.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Where it stands in the graph.
    pub site: Site,
    /// How it reads its input.
    pub reach: Reach,
    /// The product is multiplied by this before the bias is added.
    scale: f32,
    /// The bias is multiplied by this.
    bias_scale: f32,
    bias: Bias,
}

/// What the graph allows for a constant added to the outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bias {
    /// There is one.
    Present,
    /// There is none and the operator has a place for it.
    Possible,
    /// There is none, and no place for one.
    Impossible,
}

impl Layer {
    /// The layer at a site; `None` when its input is stored transposed, or when what it adds is not one value for each
    /// output.
    #[must_use]
    pub fn new(model: &Model, site: Site) -> Option<Self> {
        let (scale, bias_scale) = match site.op {
            LinearOp::Gemm { trans_a: true, .. } => return None,
            LinearOp::Gemm { alpha, beta, .. } => (alpha, beta),
            LinearOp::Conv(_) | LinearOp::MatMul => (1.0, 1.0),
        };
        if scale == 0.0 || !scale.is_finite() {
            return None;
        }
        let place_taken = model.graph().node.get(site.node)?.input.get(2).is_some_and(|name| !name.is_empty());
        let bias = match (&site.bias, &site.op) {
            (Some(_), _) if bias_scale != 0.0 => Bias::Present,
            (None, LinearOp::MatMul) => Bias::Impossible,
            (None, _) if !place_taken && bias_scale != 0.0 => Bias::Possible,
            // A constant that is not one value for each output is part of what the outputs are.
            _ => return None,
        };
        let reach = match &site.op {
            LinearOp::Conv(geometry) => Reach::Window(geometry.clone()),
            LinearOp::Gemm { .. } | LinearOp::MatMul => Reach::Vector,
        };
        Some(Self { site, reach, scale, bias_scale, bias })
    }

    /// Every layer of a model, in topological order.
    #[must_use]
    pub fn all(model: &Model) -> Vec<Self> {
        sentei_onnx::linear::linear_sites(model).into_iter().filter_map(|site| Self::new(model, site)).collect()
    }

    /// Weights for each input unit: the kernel's size.
    #[must_use]
    pub fn taps(&self) -> usize {
        self.site.weight_shape[2..].iter().product()
    }

    /// D: columns of the matrix of one channel group.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.site.in_units() * self.taps()
    }

    /// Outputs of one channel group.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.site.out_units() / self.reach.groups()
    }

    /// Whether a solve may move the outputs by a constant.
    #[must_use]
    pub fn can_have_bias(&self) -> bool {
        self.bias != Bias::Impossible
    }

    /// The columns of an input unit.
    pub fn columns_of(&self, unit: usize) -> impl Iterator<Item = usize> + use<> {
        let taps = self.taps();
        unit * taps..(unit + 1) * taps
    }

    /// The weights as they act: for each channel group, O × D.
    ///
    /// # Errors
    /// [`InitializerError`] when the model does not hold the weight.
    pub fn matrices(&self, model: &Model) -> Result<Vec<Mat<f64>>, InitializerError> {
        let (_, values) = model.weights(&self.site.weight)?;
        let (outputs, columns) = (self.outputs(), self.columns());
        let scale = f64::from(self.scale);
        let matrix = |group: usize| {
            Mat::from_fn(outputs, columns, |row, column| {
                scale * f64::from(values[self.index(group * outputs + row, column)])
            })
        };
        Ok((0..self.reach.groups()).map(matrix).collect())
    }

    /// The constant added to each output, zeros when there is none.
    ///
    /// # Errors
    /// [`InitializerError`] when the model does not hold the bias.
    pub fn bias(&self, model: &Model) -> Result<Vec<f64>, InitializerError> {
        match &self.site.bias {
            None => Ok(vec![0.0; self.site.out_units()]),
            Some(name) => {
                let (_, values) = model.weights(name)?;
                Ok(values.iter().map(|&value| f64::from(value) * f64::from(self.bias_scale)).collect())
            }
        }
    }

    /// Writes solved weights into the model (one fit for each channel group), and the bias where there can be one.
    ///
    /// # Errors
    /// [`InitializerError`] when the model does not hold the weight.
    pub fn write(&self, model: &mut Model, fits: &[Fit]) -> Result<(), InitializerError> {
        let outputs = self.outputs();
        let (shape, mut values) = model.weights(&self.site.weight)?;
        let mut bias = Vec::with_capacity(self.site.out_units());
        for (group, fit) in fits.iter().enumerate() {
            for row in 0..outputs {
                for column in 0..fit.weights.ncols() {
                    let value = fit.weights[(row, column)] / f64::from(self.scale);
                    values[self.index(group * outputs + row, column)] = value as f32;
                }
                bias.push((fit.bias[row] / f64::from(self.bias_scale)) as f32);
            }
        }
        let weight = private_name(model, self.site.node, 1, &self.site.weight);
        model.set_weights(&weight, &shape, values)?;
        match (self.bias, &self.site.bias) {
            (Bias::Present, Some(name)) => {
                let name = private_bias(model, &self.site, name);
                let length = bias.len();
                model.set_weights(&name, &[length], bias)
            }
            (Bias::Possible, _) => {
                let name = format!("{}.sentei_bias", self.site.weight);
                let length = bias.len();
                if let Some(node) = model.graph_mut().node.get_mut(self.site.node) {
                    node.input.resize(3, String::new());
                    node.input[2].clone_from(&name);
                }
                model.set_weights(&name, &[length], bias)
            }
            _ => Ok(()),
        }
    }

    /// Index of the weight of an output and a column in the stored values.
    fn index(&self, output: usize, column: usize) -> usize {
        if self.site.out_axis() == 0 {
            output * self.columns() + column
        } else {
            column * self.site.out_units() + output
        }
    }
}

/// The name under which the weight in a slot of a node may be changed: its own when nothing else reads it, else that of
/// a new copy.
fn private_name(model: &mut Model, node: usize, slot: usize, name: &str) -> String {
    let uses = model.graph().node.iter().flat_map(|node| &node.input).filter(|input| *input == name).count();
    if uses <= 1 {
        return name.to_owned();
    }
    let copy = format!("{name}.{node}.{slot}");
    if let Ok(tensor) = model.tensor(name) {
        model.set_initializer(&copy, &tensor);
        if let Some(node) = model.graph_mut().node.get_mut(node) {
            node.input[slot].clone_from(&copy);
        }
    }
    copy
}

/// The same for a bias, which may stand at the node or at the addition behind it.
fn private_bias(model: &mut Model, site: &Site, name: &str) -> String {
    let holder = if site.op == LinearOp::MatMul {
        model.graph().node.iter().position(|node| node.output.contains(&site.output))
    } else {
        Some(site.node)
    };
    let slot = |node: usize| model.graph().node[node].input.iter().position(|input| input == name);
    match holder.and_then(|node| Some((node, slot(node)?))) {
        Some((node, slot)) => private_name(model, node, slot, name),
        None => name.to_owned(),
    }
}
