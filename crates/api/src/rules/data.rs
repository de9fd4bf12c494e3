//! Rules on the model's and the data's whereabouts, preprocessing, slices and the task.

use super::{Rule, Violation};
use crate::{
    finding::{brief, field, item},
    schema::nearest,
    spec::{CompressedModelSpec, DataSource, Preprocess, Selector, Task},
};

/// Schemes Sentei fetches from.
const SCHEMES: [&str; 7] = ["file", "s3", "gs", "az", "https", "oci", "pvc"];

pub(crate) static URI_SCHEME: Rule = Rule::new(
    "a plain path, or one of file://, s3://, gs://, az://, https://, oci://, pvc://",
    Some("!self.contains('://') || self.matches('^(file|s3|gs|az|https|oci|pvc)://.')"),
);
pub(crate) static SELECTOR_LISTS: Rule = Rule::new(
    "values in `in` or in `notIn`",
    Some("(has(self.__in__) && size(self.__in__) > 0) || (has(self.notIn) && size(self.notIn) > 0)"),
);
// Rust alone: every pair of 1024 values is beyond what an API server computes for one object.
static SELECTOR_AGREES: Rule = Rule::new("no value in both `in` and `notIn`", None);
pub(crate) static MEAN_AND_STD: Rule = Rule::new(
    "as many numbers in `std` as in `mean`, or one for all",
    Some(
        "!has(self.mean) || !has(self.std) || size(self.mean) <= 1 || size(self.std) <= 1 || size(self.mean) == size(self.std)",
    ),
);
pub(crate) static STD_NOT_ZERO: Rule =
    Rule::new("numbers other than 0, for they divide", Some("!has(self.std) || self.std.all(x, x != 0.0)"));
pub(crate) static CHANNELS: Rule = Rule::new("1 channel (grey) or 3 (colour)", Some("self.channels != 2"));
pub(crate) static SLICE_NAME_FREE: Rule = Rule::new(
    "a name other than `all` and `other`, which the metrics use for every row and for unnamed slices",
    Some("!(self in ['all', 'other'])"),
);
pub(crate) static CLASSES: Rule =
    Rule::new("two class names or more", Some("!has(self.classes) || size(self.classes) != 1"));

pub(super) static ALL: &[&Rule] = &[
    &URI_SCHEME,
    &SELECTOR_LISTS,
    &SELECTOR_AGREES,
    &MEAN_AND_STD,
    &STD_NOT_ZERO,
    &CHANNELS,
    &SLICE_NAME_FREE,
    &CLASSES,
];

pub(super) fn violations(spec: &CompressedModelSpec) -> Vec<Violation> {
    let mut found = Vec::new();
    found.extend(uri(&spec.source.uri, "spec.source"));
    for (source, path) in
        [(&spec.data.calibration, "spec.data.calibration"), (&spec.data.evaluation, "spec.data.evaluation")]
    {
        source_rules(source, path, &mut found);
    }
    preprocess(&spec.data.preprocess, "spec.data.preprocess", &mut found);
    for (index, slice) in spec.data.slices.iter().enumerate() {
        let path = item("spec.data.slices", index);
        if ["all", "other"].contains(&slice.name.as_str()) {
            found.push(Violation::new(
                &SLICE_NAME_FREE,
                field(&path, "name"),
                brief(&slice.name),
                "choose another name",
            ));
        }
        selector(&slice.selector, &field(&path, "selector"), &mut found);
    }
    if let Task::Classification(task) = &spec.task
        && task.classes.len() == 1
    {
        let path = "spec.task.classification.classes";
        found.push(Violation::new(
            &CLASSES,
            path,
            "one class name",
            "name all classes in the order of the scores, or none",
        ));
    }
    found
}

fn source_rules(source: &DataSource, path: &str, found: &mut Vec<Violation>) {
    found.extend(uri(&source.uri, path));
    if let Some(rows) = &source.r#where {
        selector(rows, &field(path, "where"), found);
    }
}

fn uri(uri: &str, path: &str) -> Option<Violation> {
    let (scheme, rest) = uri.split_once("://")?;
    if SCHEMES.contains(&scheme) && !rest.is_empty() && !rest.starts_with('\n') {
        return None;
    }
    let remedy = match (scheme, nearest(scheme, SCHEMES.into_iter())) {
        _ if rest.is_empty() => "add the path after `://`".to_owned(),
        ("http", _) => "serve it over https, or fetch it first and name the file".to_owned(),
        (_, Some(guess)) => format!("did you mean `{guess}://`?"),
        (_, None) => "fetch it first and name the file".to_owned(),
    };
    Some(Violation::new(&URI_SCHEME, field(path, "uri"), brief(uri), remedy))
}

fn selector(selector: &Selector, path: &str, found: &mut Vec<Violation>) {
    if selector.r#in.is_empty() && selector.not_in.is_empty() {
        found.push(Violation::new(&SELECTOR_LISTS, path, "neither", "a selector without values would take every row"));
    }
    if let Some(both) = selector.r#in.iter().find(|value| selector.not_in.contains(value)) {
        let remedy = "take it out of one of the two lists";
        found.push(Violation::new(&SELECTOR_AGREES, path, format!("{} in both", brief(both)), remedy));
    }
}

fn preprocess(preprocess: &Preprocess, path: &str, found: &mut Vec<Violation>) {
    let (means, stds) = (preprocess.mean.len(), preprocess.std.len());
    if means > 1 && stds > 1 && means != stds {
        let numbers = format!("{means} in `mean` and {stds} in `std`");
        found.push(Violation::new(&MEAN_AND_STD, path, numbers, "give one for each channel, or one for all"));
    }
    if let Some(index) = preprocess.std.iter().position(|std| *std == 0.0) {
        let remedy = "leave the channel unscaled with 1";
        found.push(Violation::new(&STD_NOT_ZERO, item(&field(path, "std"), index), "0", remedy));
    }
    if preprocess.image.as_ref().is_some_and(|image| image.channels == 2) {
        found.push(Violation::new(&CHANNELS, field(&field(path, "image"), "channels"), "2", ""));
    }
}
