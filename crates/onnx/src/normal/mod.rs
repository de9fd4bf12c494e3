//! The normal form: what the analysis can read, computing the same.
//!
//! Constants stand among the weights, nodes that do nothing while inferring are gone, and batch normalisation is part of
//! the layer before it. The file's own names stay.

mod batchnorm;
mod constants;
mod redundant;
mod static_shapes;

pub use static_shapes::fold_static_shapes;

use crate::{Model, graph::Circle, proto::TensorProto};

/// A model in normal form, and what was done to it.
#[derive(Debug, Clone)]
pub struct Normalised {
    /// The model.
    pub model: Model,
    /// One line per kind of change, for people.
    pub notes: Vec<String>,
}

/// Why a model has no normal form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NormaliseError {
    /// The file was rewritten for one machine.
    #[error(
        "node `{node}` is `{domain}:{op}`, which ONNX Runtime writes when it saves an optimised model; use the file from before that"
    )]
    Optimised {
        /// The node.
        node: String,
        /// The operator's domain.
        domain: String,
        /// The operator.
        op: String,
    },
    /// The nodes form a circle.
    #[error(transparent)]
    Circle(#[from] Circle),
}

/// Operators that only an optimiser writes: fusions and layouts of one machine.
const OPTIMISED: [&str; 12] = [
    "FusedConv",
    "FusedGemm",
    "FusedMatMul",
    "FusedMatMulActivation",
    "NhwcConv",
    "NhwcFusedConv",
    "NhwcMaxPool",
    "SkipLayerNormalization",
    "EmbedLayerNormalization",
    "BiasGelu",
    "BiasSplitGelu",
    "Attention",
];

/// Brings a model into normal form.
///
/// # Errors
/// [`NormaliseError`] for a file that ONNX Runtime optimised, or whose nodes form a circle.
pub fn normalise(mut model: Model) -> Result<Normalised, NormaliseError> {
    refuse_optimised(&model)?;
    crate::edit::sort(&mut model)?;
    let mut notes = Vec::new();
    let mut note = |count: usize, what: &str| {
        if count > 0 {
            notes.push(format!("{count} {what}"));
        }
    };
    note(close_weights(&mut model), "weights that callers could have overridden are now constant");
    note(constants::promote(&mut model), "Constant nodes became weights");
    note(redundant::strip(&mut model), "Identity and Dropout nodes removed");
    note(constants::reshape(&mut model), "Reshape nodes of weights carried out");
    note(constants::transpose(&mut model), "Transpose nodes of weights carried out");
    note(batchnorm::fold(&mut model), "BatchNormalization nodes folded into the layer before");
    model.drop_unused();
    Ok(Normalised { model, notes })
}

fn refuse_optimised(model: &Model) -> Result<(), NormaliseError> {
    let optimised = |domain: &str, op: &str| match domain {
        "com.microsoft.nchwc" => true,
        "com.microsoft" => OPTIMISED.contains(&op),
        _ => false,
    };
    let mut nodes = model.graph().node.iter().enumerate();
    match nodes.find(|(_, node)| optimised(node.domain(), node.op_type())) {
        Some((index, node)) => Err(NormaliseError::Optimised {
            node: crate::graph::label(node, index),
            domain: node.domain().to_owned(),
            op: node.op_type().to_owned(),
        }),
        None => Ok(()),
    }
}

/// Takes weights off the list of inputs, where old files repeat them.
fn close_weights(model: &mut Model) -> usize {
    let graph = model.graph_mut();
    let weights: std::collections::HashSet<&str> = graph.initializer.iter().map(TensorProto::name).collect();
    let before = graph.input.len();
    graph.input.retain(|input| !weights.contains(input.name()));
    before - graph.input.len()
}
