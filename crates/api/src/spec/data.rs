//! The domain's data: where it lies, how it becomes model inputs, and its named parts.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::rules::in_schema;

/// What a slice's name looks like: a DNS label, so that it can be a label value anywhere.
pub(crate) const SLICE_NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

/// Calibration and evaluation data, how a row becomes a tensor, and the slices.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Data {
    /// What importance and refits are measured on. Labels are not used.
    pub calibration: DataSource,
    /// Labelled data; split by the seed into a part that judges stages and a part that only the final report sees.
    pub evaluation: DataSource,
    /// From stored values to what the model takes.
    #[serde(default)]
    pub preprocess: Preprocess,
    /// Named parts of the domain that are judged on their own.
    #[serde(default)]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub slices: Vec<Slice>,
}

/// One set of rows: an `.npz`, a single `.npy`, a `.csv` with a file column, or a folder holding `labels.csv`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DataSource {
    /// Where it lies; a plain path is relative to the manifest.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = in_schema::URI_SCHEME.for_schema())]
    pub uri: String,
    /// npz only: model input name to array name. May be left out when the model has one input and the array is `x`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "names")]
    pub inputs: BTreeMap<String, String>,
    /// The array (npz) or column (CSV) holding the labels; `y` and `label` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub labels: Option<String>,
    /// npz only: column name, as slices use it, to array name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "names")]
    pub columns: BTreeMap<String, String>,
    /// Only the rows this selector takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#where: Option<Selector>,
    /// At most this many rows, drawn with the seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub limit: Option<u32>,
}

/// A bounded map of names to names.
fn names(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": { "type": "string", "minLength": 1, "maxLength": 253 },
        "maxProperties": 64
    })
}

/// `input = (stored · scale − mean) / std`, reshaped to `shape` per row.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = in_schema::MEAN_AND_STD.for_schema(), validation = in_schema::STD_NOT_ZERO.for_schema())]
pub struct Preprocess {
    /// Multiplies each stored value first: 0.003921568627451 (1/255) for bytes. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// Subtracted after scaling: one number, or one for each channel (the first axis of a row).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096))]
    pub mean: Vec<f64>,
    /// Divides after the mean: one number, or one for each channel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096))]
    pub std: Vec<f64>,
    /// Shape of one row as the model takes it, without the batch axis. Left out: the stored shape.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(range(min = 1, max = 16_777_216)))]
    pub shape: Vec<u32>,
    /// Pictures only: size and channels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageLayout>,
}

/// How a picture becomes channels × height × width.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = in_schema::CHANNELS.for_schema())]
pub struct ImageLayout {
    /// Pixels.
    #[schemars(range(min = 1, max = 8192))]
    pub height: u32,
    /// Pixels.
    #[schemars(range(min = 1, max = 8192))]
    pub width: u32,
    /// 1 (grey) or 3 (red, green, blue).
    #[schemars(range(min = 1, max = 3))]
    pub channels: u8,
    /// What to do with another aspect ratio.
    #[serde(default)]
    pub fit: Fit,
}

/// How a picture of another shape is fitted.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fit {
    /// Stretch to height × width.
    #[default]
    Stretch,
    /// Scale to the height, keep the ratio, pad with zeros on the right (text lines).
    PadRight,
}

/// A named part of the domain's data.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Slice {
    /// Unique in the manifest; a label value of the metrics.
    #[schemars(length(min = 1, max = 63), regex(pattern = SLICE_NAME))]
    #[x_kube(validation = in_schema::SLICE_NAME_FREE.for_schema())]
    pub name: String,
    /// Which rows.
    pub selector: Selector,
    /// How much this slice counts in importance, relative to its share of the data. Default 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub weight: f64,
}

fn one() -> f64 {
    1.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_one(weight: &f64) -> bool {
    (*weight - 1.0).abs() < f64::EPSILON
}

/// Takes the rows whose column has one of these values (`in`) or none of them (`notIn`).
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = in_schema::SELECTOR_LISTS.for_schema())]
pub struct Selector {
    /// A column of the data; `label` is always there when rows are labelled.
    #[schemars(length(min = 1, max = 253))]
    pub column: String,
    /// One of these values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024), inner(length(max = 253)))]
    pub r#in: Vec<String>,
    /// None of these values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024), inner(length(max = 253)))]
    pub not_in: Vec<String>,
}

impl Selector {
    /// Whether a row with this value in the column is taken.
    #[must_use]
    pub fn takes(&self, value: &str) -> bool {
        let listed = |list: &[String]| list.iter().any(|entry| entry == value);
        (self.r#in.is_empty() || listed(&self.r#in)) && !listed(&self.not_in)
    }
}
