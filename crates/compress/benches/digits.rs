//! Prunes the digits net to several costs and prints what it kept: multiply-accumulates, parameters, accuracy on all
//! 3,000 evaluation rows, CPU seconds and peak memory.
//!
//! `cargo bench -p sentei-compress --bench digits -- 2 4.4` prunes in one go to each ratio; `2/1.25` in steps of 1.25x.

#![expect(clippy::expect_used, reason = "a bench that cannot run should say so and stop")]

use std::{collections::BTreeSet, path::Path, sync::atomic::AtomicBool, time::Instant};

use sentei_api::spec::{Data, DataSource, Importance, Preprocess, Refit};
use sentei_compress::{
    cuts::Kept,
    data::{Dataset, Input, Part},
    moments::{Rows, Sampling},
    search::{Measure, answers_of},
    shapes,
    stages::{Ground, Pruner, Settings, calibration_rows},
};
use sentei_onnx::{Model, cost};
use sentei_runtime::{Dtype, Runtime, locate};

fn main() {
    let ratios: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let ratios = if ratios.is_empty() { vec!["2".to_owned(), "4".to_owned()] } else { ratios };
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/digits"));
    let runtime = Runtime::load(&locate(None).expect("a runtime")).expect("loads");
    let model = Model::load(&folder.join("digits_resnet20.onnx")).expect("the model");
    let input = Input { name: "input".to_owned(), dtype: Dtype::F32, shape: vec![None, Some(1), Some(28), Some(28)] };
    let data = Dataset::open(&digits(), folder, 0, &[input]).expect("the data");
    let calibration = calibration_rows(&data);
    let labelled = Labelled::new(&data);
    let base = macs(&runtime, &model, &calibration);
    let parameters = cost::parameters(&model);
    println!(
        "dense: {:.2} M MACs, {parameters} parameters, {:.2} %",
        base / 1e6,
        100.0 * labelled.accuracy(&runtime, &model)
    );
    for ratio in ratios {
        let (cpu, wall) = (cpu_seconds(), Instant::now());
        let (goal, step) = ratio.split_once('/').unwrap_or((&ratio, "1000"));
        let (goal, step): (f64, f64) = (goal.parse().expect("a ratio"), step.parse().expect("a step"));
        let settings = Settings {
            importance: Importance::Conditional,
            refit: Refit::ResidualAware,
            sampling: Sampling { rows_per_column: 16, least: 16384, seed: 0 },
        };
        let ground = Ground::new(&runtime, model.clone(), &calibration, 256, "logits", true).expect("runs");
        let never = AtomicBool::new(false);
        let mut pruner = Pruner::new(&ground, settings, &never);
        let (mut pruned, mut kept) = (model.clone(), Kept::new());
        loop {
            let now = macs(&runtime, &pruned, &calibration);
            if now <= base / goal {
                break;
            }
            let target = (now / step).max(base / goal);
            let ticket = pruner.propose(&kept, Measure::Macs, target / now, &BTreeSet::new()).expect("runs");
            let Some(ticket) = ticket else { break };
            let asked = cpu_seconds();
            pruned = pruner.apply(&ticket.kept).expect("applies");
            kept = ticket.kept;
            println!(
                "  {:.2}x: predicted {:.4}, measured {:.4}, refit {:.1} s of {:.1} s {:?}",
                base / macs(&runtime, &pruned, &calibration),
                ticket.predicted,
                ground.divergence(&pruned).expect("runs"),
                cpu_seconds() - asked,
                cpu_seconds() - cpu,
                kept.values().map(Vec::len).collect::<Vec<_>>(),
            );
        }
        println!(
            "{ratio}: {:.2}x MACs, {:.2}x parameters, {:.2} %, {:.1} CPU-s, {:.1} s, {} MB peak",
            base / macs(&runtime, &pruned, &calibration),
            parameters as f64 / cost::parameters(&pruned) as f64,
            100.0 * labelled.accuracy(&runtime, &pruned),
            cpu_seconds() - cpu,
            wall.elapsed().as_secs_f64(),
            peak_megabytes(),
        );
    }
}

fn digits() -> Data {
    let source = |array: &str| DataSource {
        uri: "digits.npz".to_owned(),
        inputs: [("input".to_owned(), format!("x_{array}"))].into(),
        labels: Some(format!("y_{array}")),
        columns: [].into(),
        r#where: None,
        limit: None,
    };
    let preprocess = Preprocess {
        scale: Some(1.0 / 255.0),
        mean: vec![0.154_776_364_564_895_63],
        std: vec![0.305_147_707_462_310_8],
        shape: vec![1, 28, 28],
        image: None,
    };
    Data { calibration: source("calibration"), evaluation: source("evaluation"), preprocess, slices: vec![] }
}

struct Labelled {
    rows: Rows,
    labels: Vec<usize>,
}

impl Labelled {
    fn new(data: &Dataset) -> Self {
        let mut labels = Vec::new();
        let mut pixels = Vec::new();
        for part in [Part::Verification, Part::Report] {
            let rows: Vec<usize> = (0..data.len(part)).collect();
            labels.extend(
                rows.iter().map(|&row| data.label(part, row).expect("labelled").parse::<usize>().expect("0-9")),
            );
            let batch = data.batch(part, &rows);
            pixels.extend_from_slice(batch.inputs[0].1.values::<f32>().expect("floats"));
        }
        let tensor = sentei_runtime::Tensor::new([labels.len(), 1, 28, 28], pixels).expect("fits");
        let weights = vec![1.0; labels.len()];
        Self { rows: Rows { inputs: vec![("input".to_owned(), tensor)], weights, slices: vec![] }, labels }
    }

    fn accuracy(&self, runtime: &Runtime, model: &Model) -> f64 {
        let answers = answers_of(runtime, model, "logits", &self.rows).expect("runs");
        let right = answers.chunks_exact(10).zip(&self.labels).filter(|(scores, label)| {
            scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(class, _)| class) == Some(**label)
        });
        right.count() as f64 / self.labels.len() as f64
    }
}

fn macs(runtime: &Runtime, model: &Model, rows: &Rows) -> f64 {
    let shapes = shapes::measure(runtime, model, rows).expect("runs");
    cost::macs(model, &shapes).iter().map(|node| node.macs as f64).sum()
}

/// User and system time of this process.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    [11, 12].iter().filter_map(|&field| fields.get(field)?.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn peak_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
