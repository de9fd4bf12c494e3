//! Pruning without judging: proposes a ticket for a model as it stands, and makes the model of a ticket.

use std::collections::BTreeSet;

use sentei_api::evidence::{GroupCut, RemovedUnit};
use sentei_api::spec::{Importance, Refit};
use sentei_onnx::{
    Model, Shapes,
    coupling::{Coupling, Group, analyse},
    linear::LinearOp,
    surgery,
};
use sentei_runtime::Runtime;

use crate::{
    cuts::{Kept, compose, remains},
    importance::{Reconstruction, reconstruction},
    moments::{Layer, Rows, Sampling, StreamError},
    refit::{DenseTargets, RefitError, Refitter, Step, plan},
    search::{
        Allocation, Answers, Divergence, Grain, Measure, ProbeError, Subject, Survey, allocate, answers_of, levels, structure,
    },
    shapes,
};

/// Why pruning failed.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// A model could not be run or solved.
    #[error(transparent)]
    Refit(#[from] RefitError),
    /// A group could not be probed.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// Units could not be removed.
    #[error("cannot cut the model: {0}")]
    Surgery(#[from] surgery::SurgeryError),
}

impl From<StreamError> for PruneError {
    fn from(error: StreamError) -> Self {
        Self::Refit(error.into())
    }
}

/// How to prune.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// How units are ranked.
    pub importance: Importance,
    /// How what is kept makes up for what is gone.
    pub refit: Refit,
    /// Which positions are read.
    pub sampling: Sampling,
}

/// The dense model and everything that stays the same while it is pruned.
pub struct Pruner<'a> {
    runtime: &'a Runtime,
    dense: &'a Model,
    /// Calibration rows.
    rows: &'a Rows,
    /// Those of them that curves are measured on.
    probed: Rows,
    /// The dense answers on the probed rows.
    answers: Divergence,
    output: String,
    settings: Settings,
    coupling: Coupling,
    layers: Vec<Layer>,
    steps: Vec<Step>,
    targets: DenseTargets,
}

/// A model on the way.
#[derive(Debug, Clone)]
pub struct State {
    /// The model.
    pub model: Model,
    /// What it kept, by the uncompressed model's indices; groups not named are whole.
    pub kept: Kept,
}

/// A cut proposed.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// What would be kept, by the uncompressed model's indices.
    pub kept: Kept,
    /// What would go and why.
    pub cuts: Vec<GroupCut>,
    /// The predicted divergence of the cut model.
    pub predicted: f64,
    /// Whether the cost asked for would be met.
    pub reaches_target: bool,
}

impl<'a> Pruner<'a> {
    /// Looks at the dense model (in normal form): its shapes, groups and layers, and its answers on the first
    /// `probed` rows. `classes` says that the answers are scores or probabilities over the output's last axis.
    ///
    /// # Errors
    /// [`PruneError`] when the model cannot be run.
    pub fn new(
        runtime: &'a Runtime,
        dense: &'a Model,
        rows: &'a Rows,
        probed: usize,
        output: &str,
        classes: bool,
        settings: Settings,
    ) -> Result<Self, PruneError> {
        let shapes = shapes::measure(runtime, dense, rows)?;
        let coupling = analyse(dense, &shapes);
        let layers = Layer::all(dense);
        let steps = plan(dense, &layers, &shapes);
        let probed = rows.first(probed);
        let dense_answers = answers_of(runtime, dense, output, &probed)?;
        let axis = shapes.get(output).and_then(|dims| dims.last()?.size()).unwrap_or(1);
        let meaning = if classes { Answers::of_classes(&dense_answers, axis) } else { Answers::Values };
        let answers = Divergence::new(meaning, dense_answers, probed.len(), axis);
        let targets = DenseTargets::default();
        let output = output.to_owned();
        Ok(Self { runtime, dense, rows, probed, answers, output, settings, coupling, layers, steps, targets })
    }

    /// The uncompressed model's groups.
    #[must_use]
    pub fn coupling(&self) -> &Coupling {
        &self.coupling
    }

    /// The dense model, nothing cut.
    #[must_use]
    pub fn start(&self) -> State {
        State { model: self.dense.clone(), kept: Kept::new() }
    }

    /// Chooses what to cut from `state` so that its cost falls to `share` of what it is. Groups in `left_alone` are not
    /// touched. `None` when nothing can be cut.
    ///
    /// # Errors
    /// [`PruneError`] when a model cannot be run.
    pub fn propose(
        &self,
        state: &State,
        measure: Measure,
        share: f64,
        left_alone: &BTreeSet<String>,
    ) -> Result<Option<Ticket>, PruneError> {
        let shapes: Shapes = shapes::measure(self.runtime, &state.model, self.rows)?;
        let coupling = analyse(&state.model, &shapes);
        let layers = Layer::all(&state.model);
        let structure = structure(&state.model, &coupling, &shapes, &layers, measure);
        let levels: Vec<Vec<usize>> = coupling
            .groups
            .iter()
            .map(|group| {
                // Groups are named alike in the dense model and here; one that is not cannot be traced back.
                let known = self.coupling.group(&group.name).is_some() && !group.consumers.is_empty();
                if !known || left_alone.contains(&group.name) { Vec::new() } else { levels(group.units, grain(group, measure)) }
            })
            .collect();
        let groups: Vec<usize> = (0..levels.len()).filter(|&group| !levels[group].is_empty()).collect();
        if groups.is_empty() {
            return Ok(None);
        }
        let subject = Subject {
            runtime: self.runtime,
            model: &state.model,
            coupling: &coupling,
            layers: &layers,
            importance: self.settings.importance,
            refit: self.settings.refit,
            sampling: self.settings.sampling,
            probed: &self.probed,
            answers: &self.answers,
            output: &self.output,
        };
        let mut survey = Survey::new(subject, &groups, self.rows)?;
        let target = structure.full_cost() * share;
        let allocation = allocate(&structure, &levels, target, |group, width| survey.damage(group, width))?;
        if allocation.widths == structure.widths {
            return Ok(None);
        }
        self.ticket(state, &coupling, &mut survey, &allocation, target).map(Some)
    }

    fn ticket(
        &self,
        state: &State,
        coupling: &Coupling,
        survey: &mut Survey<'_>,
        allocation: &Allocation,
        target: f64,
    ) -> Result<Ticket, PruneError> {
        let mut next = Kept::new();
        let mut cuts = Vec::new();
        for (index, group) in coupling.groups.iter().enumerate() {
            let width = allocation.widths[index];
            if width == group.units {
                continue;
            }
            let kept = survey.kept(index, width)?;
            let gone = survey.order(index)?[..group.units - width].to_vec();
            let units: Vec<usize> = gone.iter().map(|removal| removal.unit).collect();
            let explained = survey.gram(index).map(|gram| reconstruction(gram, &kept, &units)).unwrap_or_default();
            let original = |unit: usize| state.kept.get(&group.name).map_or(unit, |now| now[unit]) as u32;
            let removed = gone.iter().enumerate().map(|(at, removal)| {
                let why = explained.get(at).cloned().unwrap_or(Reconstruction { shares: vec![], substitutes: vec![] });
                RemovedUnit {
                    unit: original(removal.unit),
                    loss: removal.loss,
                    reconstructed: why.shares,
                    substitutes: why.substitutes.into_iter().map(original).collect(),
                }
            });
            cuts.push(GroupCut {
                group: group.name.clone(),
                before: group.units as u32,
                after: width as u32,
                original: self.coupling.group(&group.name).map_or(group.units, |group| group.units) as u32,
                predicted_divergence: allocation.damage[index],
                removed: removed.collect(),
            });
            next.insert(group.name.clone(), kept);
        }
        Ok(Ticket {
            kept: compose(&state.kept, &next),
            cuts,
            predicted: survey.divergence_now() + allocation.damage.iter().sum::<f64>(),
            reaches_target: allocation.cost <= target,
        })
    }

    /// The model that keeps only `kept`: cut from the dense one, its weights solved again.
    ///
    /// # Errors
    /// [`PruneError`] when units cannot be removed or a model cannot be run.
    pub fn apply(&mut self, kept: &Kept) -> Result<Model, PruneError> {
        let mut model = surgery::keep_units(self.dense, &self.coupling, kept)?;
        let left: Vec<_> = self.layers.iter().map(|layer| remains(&self.coupling, kept, layer)).collect();
        let refitter = Refitter {
            runtime: self.runtime,
            dense: self.dense,
            layers: &self.layers,
            steps: &self.steps,
            rows: self.rows,
            sampling: self.settings.sampling,
        };
        match self.settings.refit {
            Refit::ResidualAware => refitter.residual_aware(&mut model, &left, &mut self.targets)?,
            Refit::LeastSquares => refitter.least_squares(&mut model, &left)?,
            Refit::None => {}
        }
        Ok(model)
    }

    /// Mean divergence of a model from the dense one on the probed rows.
    ///
    /// # Errors
    /// [`PruneError`] when the model cannot be run.
    pub fn divergence(&self, model: &Model) -> Result<f64, PruneError> {
        let rows = self.answers.of_rows(&answers_of(self.runtime, model, &self.output, &self.probed)?);
        Ok(rows.iter().sum::<f64>() / rows.len().max(1) as f64)
    }
}

/// What the widths of a group must be multiples of.
fn grain(group: &Group, measure: Measure) -> Grain {
    let mut sites = group.producers.iter().chain(&group.through).chain(&group.consumers).map(|link| &link.site.op);
    let wide = group.producers.iter().chain(&group.consumers).flat_map(|link| &link.maps).any(|map| map.inner > 1);
    if sites.any(|op| matches!(op, LinearOp::Conv(_))) {
        if measure == Measure::Time { Grain::Blocks } else { Grain::Channels }
    } else if wide && group.units < 32 {
        Grain::Single
    } else {
        Grain::Features
    }
}

