//! What each operator says of the axes it touches, one family to a file.

mod contraction;
mod elementwise;
mod movement;
mod normalisation;
mod reduction;
mod reshape;
mod window;

use super::analysis::{Analysis, At, Verdict};

pub(super) type Rule = fn(&mut Analysis<'_>, At<'_>) -> Verdict;

/// The rule for an operator of the default domain.
pub(super) fn rule_for(op: &str) -> Option<Rule> {
    Some(match op {
        "Conv" => contraction::conv,
        "Gemm" => contraction::gemm,
        "MatMul" => contraction::matmul,

        "Relu" | "LeakyRelu" | "Clip" | "Elu" | "Selu" | "Celu" | "ThresholdedRelu" | "Gelu" | "Erf" | "Tanh"
        | "Sigmoid" | "HardSigmoid" | "HardSwish" | "Swish" | "Softplus" | "Softsign" | "Mish" | "Sqrt" | "Exp"
        | "Log" | "Abs" | "Neg" | "Sign" | "Reciprocal" | "Floor" | "Ceil" | "Round" | "Sin" | "Cos" | "Not"
        | "Cast" | "Identity" | "Dropout" => elementwise::one,
        "Add" | "Sub" | "Mul" | "Div" | "Max" | "Min" | "Sum" | "Mean" | "Pow" | "Mod" | "PRelu" | "Where"
        | "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "And" | "Or" | "Xor" => elementwise::many,

        "BatchNormalization" => normalisation::batch,
        "InstanceNormalization" => normalisation::instance,
        "LayerNormalization" | "RMSNormalization" => normalisation::layer,
        "Softmax" | "LogSoftmax" | "Hardmax" => normalisation::softmax,

        "MaxPool" | "AveragePool" | "LpPool" => window::pool,
        "GlobalMaxPool" | "GlobalAveragePool" | "GlobalLpPool" => window::global_pool,
        "Pad" => window::pad,
        "Resize" | "Upsample" => window::resize,

        "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceL1" | "ReduceL2"
        | "ReduceLogSum" | "ReduceLogSumExp" | "ReduceSumSquare" => reduction::reduce,
        "ArgMax" | "ArgMin" => reduction::arg,
        "Shape" => reduction::shape,

        "Reshape" => reshape::reshape,
        "Flatten" => reshape::flatten,
        "Squeeze" => reshape::squeeze,
        "Unsqueeze" => reshape::unsqueeze,

        "Transpose" => movement::transpose,
        "Concat" => movement::concat,
        "Split" => movement::split,
        "Slice" => movement::slice,
        "Gather" => movement::gather,
        "Expand" => movement::expand,
        _ => return None,
    })
}
