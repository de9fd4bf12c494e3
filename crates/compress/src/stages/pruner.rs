//! Pruning without judging: proposes a ticket for a model as it stands, and makes the model of a ticket.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
};

use sentei_api::{
    evidence::{GroupCut, RemovedUnit},
    spec::{Importance, Refit},
};
use sentei_onnx::{
    Model, Shapes,
    coupling::{Coupling, Group, analyse},
    linear::LinearOp,
    surgery,
};
use sentei_runtime::Runtime;

use crate::{
    cuts::{Kept, remains},
    importance::{Reconstruction, reconstruction},
    moments::{Layer, Rows, Sampling, StreamError},
    refit::{DenseTargets, RefitError, Refitter, Step, plan},
    search::{
        Allocation, Answers, Divergence, Grain, Measure, ProbeError, Subject, Survey, allocate, answers_of, levels,
        structure,
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
    /// The caller asked to stop.
    #[error("stopped on request")]
    Cancelled,
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

/// The dense model and what is known of it before anything is cut.
pub struct Ground<'a> {
    runtime: &'a Runtime,
    /// In normal form.
    dense: Model,
    rows: &'a Rows,
    /// Those of the rows that damage is measured on.
    probed: Rows,
    /// The dense answers on them.
    answers: Divergence,
    output: String,
    shapes: Shapes,
    coupling: Coupling,
    layers: Vec<Layer>,
    steps: Vec<Step>,
}

impl<'a> Ground<'a> {
    /// Looks at the dense model (in normal form): its shapes, groups and layers, and its answers on the first
    /// `probed` rows. `classes` says that the answers are scores or probabilities over the output's last axis.
    ///
    /// # Errors
    /// [`PruneError`] when the model cannot be run.
    pub fn new(
        runtime: &'a Runtime,
        dense: Model,
        rows: &'a Rows,
        probed: usize,
        output: &str,
        classes: bool,
    ) -> Result<Self, PruneError> {
        let shapes = shapes::measure(runtime, &dense, rows)?;
        let coupling = analyse(&dense, &shapes);
        let layers = Layer::all(&dense);
        let steps = plan(&dense, &layers, &shapes);
        let probed = rows.first(probed);
        let values = answers_of(runtime, &dense, output, &probed)?;
        let axis = shapes.get(output).and_then(|dims| dims.last()?.size()).unwrap_or(1);
        let meaning = if classes { Answers::of_classes(&values, axis) } else { Answers::Values };
        let answers = Divergence::new(meaning, values, probed.len(), axis);
        let output = output.to_owned();
        Ok(Self { runtime, dense, rows, probed, answers, output, shapes, coupling, layers, steps })
    }

    /// The dense model.
    #[must_use]
    pub fn dense(&self) -> &Model {
        &self.dense
    }

    /// Its groups.
    #[must_use]
    pub fn coupling(&self) -> &Coupling {
        &self.coupling
    }

    /// Its layers.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.layers
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

/// A cut proposed.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// What would be kept of each group that is not whole, ascending.
    pub kept: Kept,
    /// What would go and why.
    pub cuts: Vec<GroupCut>,
    /// The predicted divergence of the cut model: the sum over its groups.
    pub predicted: f64,
}

/// Prunes the model of a [`Ground`].
pub struct Pruner<'a> {
    ground: &'a Ground<'a>,
    settings: Settings,
    cancel: &'a AtomicBool,
    /// Made by the first proposal.
    survey: Option<Survey<'a>>,
    targets: DenseTargets,
}

impl<'a> Pruner<'a> {
    /// Nothing is measured yet. `cancel` ends a proposal early.
    #[must_use]
    pub fn new(ground: &'a Ground<'a>, settings: Settings, cancel: &'a AtomicBool) -> Self {
        Self { ground, settings, cancel, survey: None, targets: DenseTargets::default() }
    }

    /// Chooses what to cut further from a model that keeps `now`, so that its cost falls to `share` of what it is. Groups
    /// in `spared` are not touched. `None` when nothing can be cut.
    ///
    /// Damage is measured on the dense model, once for each width: measured on a model already cut and solved again, the
    /// same widths cost 0.7 points more on the digits net, and five times the work.
    ///
    /// # Errors
    /// [`PruneError`] when a model cannot be run.
    pub fn propose(
        &mut self,
        now: &Kept,
        measure: Measure,
        share: f64,
        spared: &BTreeSet<String>,
    ) -> Result<Option<Ticket>, PruneError> {
        let Ground { dense, coupling, shapes, layers, .. } = self.ground;
        let structure = structure(dense, coupling, shapes, layers, measure);
        let start: Vec<usize> =
            coupling.groups.iter().map(|group| now.get(&group.name).map_or(group.units, Vec::len)).collect();
        let widths = |(group, &width): (&Group, &usize)| {
            let all = levels(group.units, grain(group, measure));
            // A spared group keeps the levels it has taken, so that its damage counts.
            if spared.contains(&group.name) { all.into_iter().filter(|&level| level >= width).collect() } else { all }
        };
        let mut survey = match self.survey.take() {
            Some(survey) => survey,
            None => self.survey()?,
        };
        let levels: Vec<Vec<usize>> = coupling
            .groups
            .iter()
            .zip(&start)
            .enumerate()
            .map(|(index, group)| if survey.can_rank(index) { widths(group) } else { Vec::new() })
            .collect();
        let target = structure.cost(&start) * share;
        let allocation = allocate(&structure, &levels, &start, target, |group, width| {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(PruneError::Cancelled);
            }
            Ok(survey.damage(group, width)?)
        })?;
        survey.rest();
        let changed = allocation.widths != start;
        let ticket = changed.then(|| self.ticket(&mut survey, &start, &allocation)).transpose();
        self.survey = Some(survey);
        ticket
    }

    fn survey(&self) -> Result<Survey<'a>, PruneError> {
        let ground = self.ground;
        let subject = Subject {
            runtime: ground.runtime,
            model: &ground.dense,
            coupling: &ground.coupling,
            layers: &ground.layers,
            importance: self.settings.importance,
            refit: self.settings.refit,
            sampling: self.settings.sampling,
            probed: &ground.probed,
            answers: &ground.answers,
            output: &ground.output,
        };
        Ok(Survey::new(subject, ground.rows)?)
    }

    fn ticket(&self, survey: &mut Survey<'_>, start: &[usize], allocation: &Allocation) -> Result<Ticket, PruneError> {
        let mut all = Kept::new();
        let mut cuts = Vec::new();
        for (index, group) in self.ground.coupling.groups.iter().enumerate() {
            let (before, width) = (start[index], allocation.widths[index]);
            if width == group.units {
                continue;
            }
            let kept = survey.kept(index, width)?;
            if width < before {
                let gone = survey.order(index)?[group.units - before..group.units - width].to_vec();
                let units: Vec<usize> = gone.iter().map(|removal| removal.unit).collect();
                let explained = survey.gram(index).map(|gram| reconstruction(gram, &kept, &units)).unwrap_or_default();
                let nothing = Reconstruction { shares: vec![], substitutes: vec![] };
                let removed = gone.iter().enumerate().map(|(at, removal)| {
                    let why = explained.get(at).unwrap_or(&nothing);
                    RemovedUnit {
                        unit: removal.unit as u32,
                        loss: removal.loss,
                        reconstructed: why.shares.clone(),
                        substitutes: why.substitutes.iter().map(|&unit| unit as u32).collect(),
                    }
                });
                cuts.push(GroupCut {
                    group: group.name.clone(),
                    before: before as u32,
                    after: width as u32,
                    original: group.units as u32,
                    predicted_divergence: allocation.damage[index],
                    removed: removed.collect(),
                });
            }
            all.insert(group.name.clone(), kept);
        }
        Ok(Ticket { kept: all, cuts, predicted: allocation.damage.iter().sum() })
    }

    /// The model that keeps only `kept`: cut from the dense one, its weights solved again.
    ///
    /// # Errors
    /// [`PruneError`] when units cannot be removed or a model cannot be run.
    pub fn apply(&mut self, kept: &Kept) -> Result<Model, PruneError> {
        let Ground { runtime, dense, rows, coupling, layers, steps, .. } = self.ground;
        let mut model = surgery::keep_units(dense, coupling, kept)?;
        let left: Vec<_> = layers.iter().map(|layer| remains(coupling, kept, layer)).collect();
        let refitter = Refitter { runtime, dense, layers, steps, rows, sampling: self.settings.sampling };
        match self.settings.refit {
            Refit::ResidualAware => refitter.residual_aware(&mut model, &left, &mut self.targets)?,
            Refit::LeastSquares => refitter.least_squares(&mut model, &left)?,
            Refit::None => {}
        }
        Ok(model)
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
