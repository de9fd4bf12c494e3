//! Labels as the task understands them.

use sentei_api::spec::Task;
use sentei_runtime::Data;

use super::{
    error::DataError,
    source::{Labels, Rows},
    values::{Values, reals},
};

/// What the right answers are, row by row.
#[derive(Debug, Clone, PartialEq)]
pub enum Truth {
    /// The class of each row.
    Classes(Vec<usize>),
    /// `width` finite numbers for each row.
    Numbers {
        /// Numbers in one row's answer.
        width: usize,
        /// Row after row.
        values: Vec<f64>,
    },
    /// The text of each row.
    Texts(Vec<String>),
    /// The task compares with the baseline alone.
    Unneeded,
}

/// Reads the labels of these rows for this task, whose model has `classes` classes.
pub(crate) fn parse(rows: &Rows, picked: &[usize], task: &Task, classes: usize) -> Result<Truth, DataError> {
    let remedy = match task {
        Task::Embedding(_) => return Ok(Truth::Unneeded),
        Task::Classification(_) => "name their array or column in data.evaluation.labels (default `y`, CSV `label`)",
        Task::Regression(_) => "name the array of true values in data.evaluation.labels (default `y`, CSV `label`)",
        Task::Ctc(_) => "name the column of texts in data.evaluation.labels (default `label`)",
    };
    let Some(labels) = &rows.labels else {
        return Err(DataError::NoLabels { field: "data.evaluation", path: rows.path.clone(), remedy });
    };
    match task {
        Task::Classification(task) => {
            one_each(labels, "one class for each row")?;
            let texts = labels.values.texts();
            let class = |&row: &usize| class(&texts[row], &task.classes, classes);
            picked
                .iter()
                .map(|row| class(row).map_err(|expected| wrong(labels, rows, *row, expected)))
                .collect::<Result<_, _>>()
                .map(Truth::Classes)
        }
        Task::Regression(_) => {
            let mut values = Vec::with_capacity(picked.len() * labels.width);
            for &row in picked {
                let numbers = numbers(labels, row);
                let numbers = numbers.ok_or_else(|| wrong(labels, rows, row, "finite numbers".to_owned()))?;
                values.extend(numbers);
            }
            Ok(Truth::Numbers { width: labels.width, values })
        }
        Task::Ctc(_) => {
            one_each(labels, "one text for each row")?;
            let texts = labels.values.texts();
            Ok(Truth::Texts(picked.iter().map(|&row| texts[row].clone()).collect()))
        }
        Task::Embedding(_) => Ok(Truth::Unneeded),
    }
}

fn one_each(labels: &Labels, expected: &str) -> Result<(), DataError> {
    if labels.width == 1 {
        return Ok(());
    }
    let found = format!("{} values for each row", labels.width);
    Err(DataError::LabelKind { place: labels.place.clone(), found, expected: expected.to_owned() })
}

/// A class by its name, or by its number when no names are given or none is this one.
fn class(label: &str, names: &[String], classes: usize) -> Result<usize, String> {
    let named = names.iter().position(|name| name == label);
    match named.or_else(|| label.parse().ok()) {
        Some(class) if class < classes => Ok(class),
        _ if names.is_empty() => Err(format!("a class from 0 to {}", classes.saturating_sub(1))),
        _ => Err(format!(
            "one of the {} names in task.classification.classes, or a class from 0 to {}",
            names.len(),
            classes.saturating_sub(1)
        )),
    }
}

fn numbers(labels: &Labels, row: usize) -> Option<Vec<f64>> {
    let (from, to) = (row * labels.width, (row + 1) * labels.width);
    let numbers: Vec<f64> = match &labels.values {
        Values::Numbers(Data::Bool(_)) => return None,
        Values::Numbers(data) => reals(data, labels.width, row),
        Values::Text(texts) => texts[from..to].iter().map(|text| text.parse().ok()).collect::<Option<_>>()?,
    };
    numbers.iter().all(|number| number.is_finite()).then_some(numbers)
}

fn wrong(labels: &Labels, rows: &Rows, row: usize, expected: String) -> DataError {
    let found = labels.values.select(labels.width, &[row]).texts().join(" ");
    DataError::Label { place: labels.place.clone(), row: rows.origin[row], found, expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_known_by_name_or_number() {
        let names = ["cat".to_owned(), "7".to_owned()];
        assert_eq!(class("cat", &names, 2), Ok(0));
        assert_eq!(class("7", &names, 2), Ok(1));
        assert_eq!(class("0", &names, 2), Ok(0));
        assert_eq!(class("10", &[], 10), Err("a class from 0 to 9".to_owned()));
        assert_eq!(class("-1", &[], 10), Err("a class from 0 to 9".to_owned()));
        assert!(class("dog", &names, 2).unwrap_err().starts_with("one of the 2 names"));
    }
}
