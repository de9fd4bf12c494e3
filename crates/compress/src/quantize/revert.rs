//! Which layers suffer most from 8 bits, and giving those back until a judge is content.

use std::collections::BTreeSet;

use sentei_onnx::Model;
use sentei_runtime::Runtime;

use super::{Prepared, QuantizeError, QuantizeOptions, Quantized, batch::Batches};

/// What a judge says of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Good enough.
    Pass,
    /// Not good enough; fewer layers in integers might be.
    Fail,
}

/// The end of [`quantize_until`].
#[derive(Debug, Clone, PartialEq)]
pub struct Reverted {
    /// The candidate that passed; `None` when none did.
    pub passed: Option<Quantized>,
    /// The layers given back to float on the way, worst first, with the divergence each causes alone.
    pub reverted: Vec<(String, f64)>,
}

/// Each layer, with the share of the answers' variance that goes wrong when it alone is integer; worst first.
///
/// # Errors
/// As [`super::quantize`].
pub fn rank_sensitivity(
    model: &Model,
    runtime: &Runtime,
    batches: &Batches<'_>,
    options: &QuantizeOptions,
) -> Result<Vec<(String, f64)>, QuantizeError> {
    Prepared::new(model, runtime, batches, options)?.rank()
}

/// Quantises all it can and asks `judge`; while it fails, gives the worst 1, then 2, 4, ... further layers back to float
/// and asks again (the accuracy-aware loop of NNCF's `quantize_with_accuracy_control`, with several layers a turn).
///
/// # Errors
/// As [`super::quantize`], and whatever `judge` fails with.
pub fn quantize_until<E: From<QuantizeError>>(
    model: &Model,
    runtime: &Runtime,
    batches: &Batches<'_>,
    options: &QuantizeOptions,
    mut judge: impl FnMut(&Quantized) -> Result<Verdict, E>,
) -> Result<Reverted, E> {
    let prepared = Prepared::new(model, runtime, batches, options)?;
    let mut kept = options.keep_float.clone();
    let candidate = prepared.quantize(&kept)?;
    if judge(&candidate)? == Verdict::Pass {
        return Ok(Reverted { passed: Some(candidate), reverted: Vec::new() });
    }
    let ranking = prepared.rank()?;
    let (mut given_back, mut turn) = (0, 1);
    // The last turn leaves one layer in integers; with none there would be nothing to judge.
    while given_back + 1 < ranking.len() {
        given_back = (given_back + turn).min(ranking.len() - 1);
        turn *= 2;
        kept.extend(ranking[..given_back].iter().map(|(name, _)| name.clone()));
        let candidate = prepared.quantize(&kept)?;
        if judge(&candidate)? == Verdict::Pass {
            return Ok(Reverted { passed: Some(candidate), reverted: ranking[..given_back].to_vec() });
        }
    }
    Ok(Reverted { passed: None, reverted: ranking })
}

impl Prepared<'_> {
    fn rank(&self) -> Result<Vec<(String, f64)>, QuantizeError> {
        let all: BTreeSet<&str> = self.plan.sites.iter().map(|site| site.name.as_str()).collect();
        let mut ranking = Vec::new();
        for site in &self.plan.sites {
            // The others, and what was kept before: only this one becomes integer.
            let mut kept: BTreeSet<String> = self.plan.left_alone.iter().map(|left| left.node.clone()).collect();
            kept.extend(all.iter().filter(|name| **name != site.name).map(|&name| name.to_owned()));
            ranking.push((site.name.clone(), self.quantize(&kept)?.divergence));
        }
        ranking.sort_by(|a, b| b.1.total_cmp(&a.1));
        Ok(ranking)
    }
}
