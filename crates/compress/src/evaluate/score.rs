//! From answers to a score for each row, and from scores to measurements.

use sentei_api::{
    evidence::Measurement,
    spec::{OfflineMetric, Task},
};

use super::{EvaluateError, answer::Answers, interval, text::edit_distance};
use crate::data::Truth;

/// Squared error counted for an answer that is no number: larger than any real one, yet finite, so that the mean and
/// its interval can be written down.
const NO_ANSWER_ERROR: f64 = 1e30;

/// One metric, row by row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scores {
    metric: OfflineMetric,
    baseline: Vec<f64>,
    candidate: Vec<f64>,
    /// What the sum of scores is divided by: 1 for each row, or the length of its text.
    weights: Vec<f64>,
}

impl Scores {
    fn each_row(metric: OfflineMetric, baseline: Vec<f64>, candidate: Vec<f64>) -> Self {
        let weights = vec![1.0; baseline.len()];
        Self { metric, baseline, candidate, weights }
    }

    /// Yes or no for each row of both.
    fn shares(metric: OfflineMetric, baseline: Vec<bool>, candidate: Vec<bool>) -> Self {
        let real = |flags: Vec<bool>| flags.into_iter().map(|flag| f64::from(u8::from(flag))).collect();
        Self::each_row(metric, real(baseline), real(candidate))
    }

    /// The measurement on these rows.
    pub fn measure(&self, slice: Option<&str>, rows: &[usize]) -> Measurement {
        let pick = |values: &[f64]| -> Vec<f64> { rows.iter().map(|&row| values[row]).collect() };
        let (baseline, candidate, weights) = (pick(&self.baseline), pick(&self.candidate), pick(&self.weights));
        let is_share =
            matches!(self.metric, OfflineMetric::Accuracy | OfflineMetric::ExactMatch | OfflineMetric::Agreement);
        let (baseline, candidate, difference) = if is_share {
            let n = rows.len() as u64;
            let count = |test: fn(f64, f64) -> bool| {
                baseline.iter().zip(&candidate).filter(|(base, cand)| test(**base, **cand)).count() as u64
            };
            let (gained, lost) = (count(|base, cand| cand > base), count(|base, cand| cand < base));
            let right = |values: &[f64]| values.iter().filter(|value| **value > 0.5).count() as u64;
            (
                interval::proportion(right(&baseline), n),
                interval::proportion(right(&candidate), n),
                interval::paired_proportions(gained, lost, n),
            )
        } else {
            let change: Vec<f64> = candidate.iter().zip(&baseline).map(|(cand, base)| cand - base).collect();
            (
                interval::ratio(&baseline, &weights),
                interval::ratio(&candidate, &weights),
                interval::ratio(&change, &weights),
            )
        };
        Measurement { metric: self.metric, slice: slice.map(str::to_owned), candidate, baseline, difference }
    }
}

/// Every metric of the task, row by row.
pub(crate) fn scores(
    task: &Task,
    truth: &Truth,
    baseline: &Answers,
    candidate: &Answers,
) -> Result<Vec<Scores>, EvaluateError> {
    match (task, truth, baseline, candidate) {
        (
            Task::Classification(_),
            Truth::Classes(truth),
            Answers::Classes { rows: baseline, .. },
            Answers::Classes { rows: candidate, .. },
        ) => Ok(exact(OfflineMetric::Accuracy, truth, baseline, candidate)),
        (
            Task::Regression(task),
            Truth::Numbers { width: wanted, values },
            Answers::Vectors { width: base, rows: baseline },
            Answers::Vectors { width: cand, rows: candidate },
        ) => {
            if base != wanted || cand != wanted {
                return Err(EvaluateError::Width {
                    found: if base == wanted { *cand } else { *base },
                    labels: *wanted,
                });
            }
            Ok(regression(task.tolerance, values, *wanted, baseline, candidate))
        }
        (
            Task::Embedding(task),
            _,
            Answers::Vectors { rows: baseline, .. },
            Answers::Vectors { rows: candidate, .. },
        ) => Ok(embedding(task.min_cosine, baseline, candidate)),
        (Task::Ctc(_), Truth::Texts(truth), Answers::Texts(baseline), Answers::Texts(candidate)) => {
            let mut scores = exact(OfflineMetric::ExactMatch, truth, baseline, candidate);
            scores.push(character_errors(truth, baseline, candidate));
            Ok(scores)
        }
        _ => Err(EvaluateError::Mismatch),
    }
}

/// Right answers, and agreement with the baseline.
fn exact<T: PartialEq>(
    metric: OfflineMetric,
    truth: &[T],
    baseline: &[Option<T>],
    candidate: &[Option<T>],
) -> Vec<Scores> {
    let right = |answers: &[Option<T>]| -> Vec<bool> {
        answers.iter().zip(truth).map(|(answer, truth)| answer.as_ref() == Some(truth)).collect()
    };
    let agree = |answers: &[Option<T>]| -> Vec<bool> {
        answers.iter().zip(baseline).map(|(answer, base)| answer.is_some() && answer == base).collect()
    };
    vec![
        Scores::shares(metric, right(baseline), right(candidate)),
        Scores::shares(OfflineMetric::Agreement, agree(baseline), agree(candidate)),
    ]
}

fn regression(
    tolerance: f64,
    truth: &[f64],
    width: usize,
    baseline: &[Option<Vec<f32>>],
    candidate: &[Option<Vec<f32>>],
) -> Vec<Scores> {
    let wanted = || truth.chunks(width.max(1));
    let near = |answer: &[f32], wanted: &[f64]| {
        answer.iter().zip(wanted).all(|(found, wanted)| (f64::from(*found) - wanted).abs() <= tolerance)
    };
    let right = |answers: &[Option<Vec<f32>>]| -> Vec<bool> {
        answers.iter().zip(wanted()).map(|(answer, wanted)| answer.as_ref().is_some_and(|a| near(a, wanted))).collect()
    };
    let error = |answers: &[Option<Vec<f32>>]| -> Vec<f64> {
        let squared = |answer: &Vec<f32>, wanted: &[f64]| {
            let squares = answer.iter().zip(wanted).map(|(found, wanted)| (f64::from(*found) - wanted).powi(2));
            (squares.sum::<f64>() / width.max(1) as f64).min(NO_ANSWER_ERROR)
        };
        let each = answers.iter().zip(wanted());
        each.map(|(answer, wanted)| answer.as_ref().map_or(NO_ANSWER_ERROR, |a| squared(a, wanted))).collect()
    };
    let agree = |answers: &[Option<Vec<f32>>]| -> Vec<bool> {
        let agree = |(answer, base): (&Option<Vec<f32>>, &Option<Vec<f32>>)| match (answer, base) {
            (Some(answer), Some(base)) => near(answer, &base.iter().map(|v| f64::from(*v)).collect::<Vec<_>>()),
            _ => false,
        };
        answers.iter().zip(baseline).map(agree).collect()
    };
    vec![
        Scores::shares(OfflineMetric::Accuracy, right(baseline), right(candidate)),
        Scores::each_row(OfflineMetric::MeanSquaredError, error(baseline), error(candidate)),
        Scores::shares(OfflineMetric::Agreement, agree(baseline), agree(candidate)),
    ]
}

fn embedding(min_cosine: f64, baseline: &[Option<Vec<f32>>], candidate: &[Option<Vec<f32>>]) -> Vec<Scores> {
    let cosines = |answers: &[Option<Vec<f32>>]| -> Vec<f64> {
        let cosine = |(answer, base): (&Option<Vec<f32>>, &Option<Vec<f32>>)| match (answer, base) {
            (Some(answer), Some(base)) => cosine(answer, base),
            _ => -1.0,
        };
        answers.iter().zip(baseline).map(cosine).collect()
    };
    let (base, cand) = (cosines(baseline), cosines(candidate));
    let agree = |cosines: &[f64]| cosines.iter().map(|cosine| *cosine >= min_cosine).collect();
    let agreement = Scores::shares(OfflineMetric::Agreement, agree(&base), agree(&cand));
    vec![Scores::each_row(OfflineMetric::Cosine, base, cand), agreement]
}

/// Cosine of the angle between two vectors; 0 when one is zero and the other is not.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    if norms > 0.0 { (dot(a, b) / norms).clamp(-1.0, 1.0) } else { f64::from(u8::from(a == b)) }
}

fn character_errors(truth: &[String], baseline: &[Option<String>], candidate: &[Option<String>]) -> Scores {
    let edits = |answers: &[Option<String>]| -> Vec<f64> {
        let edits = |(answer, truth): (&Option<String>, &String)| {
            edit_distance(answer.as_deref().unwrap_or_default(), truth) as f64
        };
        answers.iter().zip(truth).map(edits).collect()
    };
    let weights = truth.iter().map(|text| text.chars().count() as f64).collect();
    Scores {
        metric: OfflineMetric::CharacterErrorRate,
        baseline: edits(baseline),
        candidate: edits(candidate),
        weights,
    }
}

#[cfg(test)]
mod tests {
    use sentei_api::spec::task::{Classification, Ctc, Embedding, Regression};

    use super::*;

    fn found(scores: &[Scores], metric: OfflineMetric, rows: usize) -> Measurement {
        let rows: Vec<usize> = (0..rows).collect();
        scores.iter().find(|scores| scores.metric == metric).unwrap().measure(None, &rows)
    }

    fn classes(rows: &[usize]) -> Answers {
        Answers::Classes { of: 10, rows: rows.iter().map(|class| Some(*class)).collect() }
    }

    #[test]
    fn classification_counts_right_answers_and_agreement() {
        let truth = Truth::Classes(vec![0, 1, 2, 3]);
        let task = Task::Classification(Classification::default());
        let scores = scores(&task, &truth, &classes(&[0, 1, 2, 9]), &classes(&[0, 1, 7, 9])).unwrap();
        let accuracy = found(&scores, OfflineMetric::Accuracy, 4);
        assert_eq!((accuracy.baseline.value, accuracy.candidate.value, accuracy.difference.value), (0.75, 0.5, -0.25));
        assert_eq!(accuracy.difference.samples, 4);
        let agreement = found(&scores, OfflineMetric::Agreement, 4);
        assert_eq!((agreement.baseline.value, agreement.candidate.value), (1.0, 0.75));
    }

    #[test]
    fn an_answer_of_nan_is_wrong_even_when_the_baseline_gives_it_too() {
        let truth = Truth::Classes(vec![0, 1]);
        let task = Task::Classification(Classification::default());
        let nan = Answers::Classes { of: 10, rows: vec![None, Some(1)] };
        let scores = scores(&task, &truth, &nan, &nan).unwrap();
        assert!((found(&scores, OfflineMetric::Accuracy, 2).candidate.value - 0.5).abs() < 1e-12);
        assert!((found(&scores, OfflineMetric::Agreement, 2).candidate.value - 0.5).abs() < 1e-12);
    }

    #[test]
    fn regression_is_right_within_the_tolerance() {
        let vectors = |rows: &[Option<f32>]| Answers::Vectors {
            width: 1,
            rows: rows.iter().map(|value| value.map(|value| vec![value])).collect(),
        };
        let truth = Truth::Numbers { width: 1, values: vec![1.0, 2.0, 3.0] };
        let task = Task::Regression(Regression { output: None, tolerance: 0.5 });
        let (base, cand) = (vectors(&[Some(1.0), Some(2.5), Some(3.0)]), vectors(&[Some(1.5), Some(3.5), Some(3.0)]));
        let all = scores(&task, &truth, &base, &cand).unwrap();
        let accuracy = found(&all, OfflineMetric::Accuracy, 3);
        assert!((accuracy.baseline.value - 1.0).abs() < 1e-12 && (accuracy.candidate.value - 2.0 / 3.0).abs() < 1e-12);
        let error = found(&all, OfflineMetric::MeanSquaredError, 3);
        assert!((error.candidate.value - (0.25 + 2.25) / 3.0).abs() < 1e-12);
        let agreement = found(&all, OfflineMetric::Agreement, 3);
        assert!((agreement.candidate.value - 2.0 / 3.0).abs() < 1e-12);
        let broken = scores(&task, &truth, &base, &vectors(&[None, Some(2.0), Some(3.0)])).unwrap();
        let error = found(&broken, OfflineMetric::MeanSquaredError, 3);
        assert!(error.candidate.value > 1e29 && error.candidate.high.is_finite());
        let wide = Truth::Numbers { width: 3, values: vec![1.0, 2.0, 3.0] };
        assert!(scores(&task, &wide, &base, &cand).unwrap_err().to_string().starts_with("the model gives 1 numbers"));
    }

    #[test]
    fn embeddings_are_held_against_the_baselines() {
        let vectors = |rows: &[[f32; 2]]| Answers::Vectors {
            width: 2,
            rows: rows.iter().map(|row| Some(row.to_vec())).collect(),
        };
        let task = Task::Embedding(Embedding { output: None, min_cosine: 0.95 });
        let (base, cand) = (vectors(&[[1.0, 0.0], [0.0, 2.0]]), vectors(&[[3.0, 0.0], [1.0, 1.0]]));
        let scores = scores(&task, &Truth::Unneeded, &base, &cand).unwrap();
        let cosine = found(&scores, OfflineMetric::Cosine, 2);
        assert!((cosine.candidate.value - f64::midpoint(1.0, 0.5_f64.sqrt())).abs() < 1e-9);
        assert!((found(&scores, OfflineMetric::Agreement, 2).candidate.value - 0.5).abs() < 1e-12);
    }

    #[test]
    fn texts_are_matched_whole_and_by_character() {
        let texts = |rows: &[&str]| Answers::Texts(rows.iter().map(|text| Some((*text).to_owned())).collect());
        let truth = Truth::Texts(vec!["1234".into(), "56".into()]);
        let scores =
            scores(&Task::Ctc(Ctc::default()), &truth, &texts(&["1234", "56"]), &texts(&["1224", "56"])).unwrap();
        assert!((found(&scores, OfflineMetric::ExactMatch, 2).candidate.value - 0.5).abs() < 1e-12);
        let errors = found(&scores, OfflineMetric::CharacterErrorRate, 2);
        assert!((errors.candidate.value - 1.0 / 6.0).abs() < 1e-12);
        assert!((errors.difference.value - 1.0 / 6.0).abs() < 1e-12);
    }
}
