//! An inference request: parsed once, into tensors that fit their shapes.

use std::borrow::Cow;

use sentei_runtime::{Dtype, Tensor};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{data, data::ValueError, dtype};

/// An inference request, its tensors whole.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct InferRequest {
    pub(crate) id: Option<String>,
    pub(crate) slice: Option<String>,
    /// The truth, where the caller knows it already.
    pub(crate) labels: Option<Labels>,
    pub(crate) inputs: Vec<(String, Tensor)>,
    /// The outputs asked for; `None` is all.
    pub(crate) outputs: Option<Vec<Wanted>>,
    /// Whether outputs of which nothing else is said come as bytes.
    pub(crate) binary: bool,
    /// What the baseline answered; on shadow requests only.
    pub(crate) baseline_outputs: Vec<(String, Tensor)>,
}

/// An output asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) binary: bool,
}

/// One label for the only row, or one a row; null where it is not known.
#[derive(Debug, Clone, PartialEq, Deserialize, serde::Serialize)]
#[serde(untagged)]
pub(crate) enum Labels {
    One(f64),
    Rows(Vec<Option<f64>>),
}

impl Labels {
    /// The label of each of `rows` rows; `None` when their number is another.
    pub(crate) fn rows(&self, rows: usize) -> Option<Vec<Option<f64>>> {
        match self {
            Self::One(label) if rows == 1 => Some(vec![Some(*label)]),
            Self::Rows(labels) if labels.len() == rows => Some(labels.clone()),
            _ => None,
        }
    }

    /// How many labels there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Rows(labels) => labels.len(),
        }
    }
}

/// Why a body is not an inference request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("the body is not an inference request: {0}")]
    Json(#[from] serde_json::Error),
    #[error("inference-header-content-length is {header}, but the body has only {body} bytes")]
    Header { header: usize, body: usize },
    #[error("{name}: datatype `{found}` is not supported; use FP32, FP64, FP16, INT64..INT8, UINT64..UINT8 or BOOL")]
    Datatype { name: String, found: String },
    #[error("{name}: neither `data` nor `parameters.binary_data_size` is given")]
    NoData { name: String },
    #[error("{name}: both `data` and `parameters.binary_data_size` are given; give one")]
    TwoData { name: String },
    #[error("{name}: {source}")]
    Value { name: String, source: ValueError },
    #[error("{name}: shape {shape:?} of {datatype} holds {expected} {unit}, but {found} were given")]
    Size { name: String, shape: Vec<usize>, datatype: String, unit: &'static str, expected: usize, found: usize },
    #[error("{name}: {expected} bytes of binary data are announced, but only {found} are left in the body")]
    Short { name: String, expected: usize, found: usize },
    #[error("{0} bytes of binary data belong to no input; check each input's `binary_data_size`")]
    Surplus(usize),
    #[error("output `{0}`: the classification extension is not supported; ask for the scores")]
    Classification(String),
}

#[derive(Deserialize)]
struct Raw<'a> {
    id: Option<String>,
    #[serde(default)]
    parameters: RawParameters,
    #[serde(borrow)]
    inputs: Vec<RawTensor<'a>>,
    #[serde(borrow, default)]
    outputs: Vec<RawOutput<'a>>,
    #[serde(borrow, default)]
    baseline_outputs: Vec<RawTensor<'a>>,
}

#[derive(Deserialize, Default)]
struct RawParameters {
    slice: Option<String>,
    label: Option<Labels>,
    #[serde(default)]
    binary_data_output: bool,
}

#[derive(Deserialize)]
struct RawTensor<'a> {
    name: String,
    shape: Vec<usize>,
    #[serde(borrow)]
    datatype: Cow<'a, str>,
    #[serde(default)]
    parameters: RawTensorParameters,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct RawTensorParameters {
    binary_data_size: Option<usize>,
}

#[derive(Deserialize)]
struct RawOutput<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(default)]
    parameters: RawOutputParameters,
}

#[derive(Deserialize, Default)]
struct RawOutputParameters {
    binary_data: Option<bool>,
    #[serde(default)]
    classification: u64,
}

impl InferRequest {
    /// Parses a body: all JSON, or `header` bytes of JSON and binary tensors after it.
    ///
    /// # Errors
    /// [`RequestError`], naming the tensor at fault.
    pub(crate) fn parse(body: &[u8], header: Option<usize>) -> Result<Self, RequestError> {
        let header = header.unwrap_or(body.len());
        let (json, mut binary) =
            body.split_at_checked(header).ok_or(RequestError::Header { header, body: body.len() })?;
        let raw: Raw<'_> = serde_json::from_slice(json)?;
        let inputs = raw.inputs.into_iter().map(|raw| tensor("input", raw, &mut binary)).collect::<Result<_, _>>()?;
        let baseline_outputs = raw
            .baseline_outputs
            .into_iter()
            .map(|raw| tensor("baseline output", raw, &mut binary))
            .collect::<Result<_, _>>()?;
        if !binary.is_empty() {
            return Err(RequestError::Surplus(binary.len()));
        }
        let RawParameters { slice, label: labels, binary_data_output } = raw.parameters;
        let outputs =
            raw.outputs.into_iter().map(|raw| wanted(raw, binary_data_output)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            id: raw.id,
            slice,
            labels,
            inputs,
            outputs: (!outputs.is_empty()).then_some(outputs),
            binary: binary_data_output,
            baseline_outputs,
        })
    }
}

fn wanted(raw: RawOutput<'_>, default: bool) -> Result<Wanted, RequestError> {
    let name = raw.name.into_owned();
    if raw.parameters.classification > 0 {
        return Err(RequestError::Classification(name));
    }
    Ok(Wanted { name, binary: raw.parameters.binary_data.unwrap_or(default) })
}

fn tensor(what: &str, raw: RawTensor<'_>, binary: &mut &[u8]) -> Result<(String, Tensor), RequestError> {
    let name = || format!("{what} `{}`", raw.name);
    let dtype = dtype(&raw.datatype)
        .ok_or_else(|| RequestError::Datatype { name: name(), found: raw.datatype.clone().into_owned() })?;
    let elements = raw.shape.iter().fold(1_usize, |product, &dim| product.saturating_mul(dim));
    let data = match (raw.data, raw.parameters.binary_data_size) {
        (None, None) => return Err(RequestError::NoData { name: name() }),
        (Some(_), Some(_)) => return Err(RequestError::TwoData { name: name() }),
        (Some(text), None) => data::from_json(text.get(), dtype, elements)
            .map_err(|source| RequestError::Value { name: name(), source })?,
        (None, Some(size)) => {
            let (bytes, rest) = binary.split_at_checked(size).ok_or(RequestError::Short {
                name: name(),
                expected: size,
                found: binary.len(),
            })?;
            *binary = rest;
            check_size(name, &raw.shape, dtype, elements, size)?;
            data::from_bytes(bytes, dtype)
        }
    };
    let tensor = Tensor::new(raw.shape.clone(), data).map_err(|error| RequestError::Size {
        name: name(),
        shape: error.shape,
        datatype: super::datatype(dtype).to_owned(),
        unit: "values",
        expected: error.expected,
        found: error.found,
    })?;
    Ok((raw.name, tensor))
}

fn check_size(
    name: impl FnOnce() -> String,
    shape: &[usize],
    dtype: Dtype,
    elements: usize,
    found: usize,
) -> Result<(), RequestError> {
    let expected = elements.saturating_mul(dtype.size());
    if expected == found {
        return Ok(());
    }
    let datatype = super::datatype(dtype).to_owned();
    Err(RequestError::Size { name: name(), shape: shape.to_vec(), datatype, unit: "bytes", expected, found })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<InferRequest, RequestError> {
        InferRequest::parse(json.as_bytes(), None)
    }

    #[test]
    fn fields_may_come_in_any_order_and_unknown_ones_are_ignored() {
        let request = parse(
            r#"{"outputs":[{"name":"y"}],"priority":3,"id":"7","parameters":{"slice":"round","label":[1,null],"x":1},
               "inputs":[{"data":[[1,2],[3,4]],"datatype":"INT64","name":"x","shape":[2,2]}]}"#,
        )
        .expect("a request");
        assert_eq!(request.slice.as_deref(), Some("round"));
        assert_eq!(request.labels, Some(Labels::Rows(vec![Some(1.0), None])));
        assert_eq!(request.inputs[0].1, Tensor::new([2, 2], vec![1_i64, 2, 3, 4]).expect("fits"));
        assert_eq!(request.outputs, Some(vec![Wanted { name: "y".into(), binary: false }]));
    }

    #[test]
    fn binary_tensors_follow_the_header_in_order() {
        let json = br#"{"parameters":{"binary_data_output":true},"inputs":[
            {"name":"a","shape":[2],"datatype":"UINT8","parameters":{"binary_data_size":2}},
            {"name":"b","shape":[1],"datatype":"FP32","data":[0.5]},
            {"name":"c","shape":[1],"datatype":"INT16","parameters":{"binary_data_size":2}}],
            "outputs":[{"name":"y"},{"name":"z","parameters":{"binary_data":false}}]}"#;
        let body = [&json[..], &[7, 8, 0xff, 0xff]].concat();
        let request = InferRequest::parse(&body, Some(json.len())).expect("a request");
        assert_eq!(request.inputs[0].1.values::<u8>(), Some(&[7, 8][..]));
        assert_eq!(request.inputs[1].1.values::<f32>(), Some(&[0.5][..]));
        assert_eq!(request.inputs[2].1.values::<i16>(), Some(&[-1][..]));
        let binary: Vec<bool> = request.outputs.expect("two").iter().map(|wanted| wanted.binary).collect();
        assert_eq!(binary, [true, false]);
        let error = InferRequest::parse(&body[..body.len() - 1], Some(json.len())).expect_err("too short");
        assert_eq!(
            error.to_string(),
            "input `c`: 2 bytes of binary data are announced, but only 1 are left in the body"
        );
        let error = InferRequest::parse(&[&body[..], &[0]].concat(), Some(json.len())).expect_err("too long");
        assert!(error.to_string().starts_with("1 bytes of binary data belong to no input"), "{error}");
        let error = InferRequest::parse(&body, Some(body.len() + 1)).expect_err("header past the body");
        assert!(error.to_string().starts_with("inference-header-content-length is "), "{error}");
    }

    #[test]
    fn a_bad_request_is_refused_with_the_tensor_and_the_reason() {
        let message = |json: &str| parse(json).expect_err("must be refused").to_string();
        let input = |rest: &str| format!(r#"{{"inputs":[{{"name":"x",{rest}}}]}}"#);
        for (json, expected) in [
            (
                input(r#""shape":[3],"datatype":"FP32","data":[1,2]"#),
                "input `x`: shape [3] of FP32 holds 3 values, but 2 were given",
            ),
            (input(r#""shape":[1],"datatype":"BYTES","data":["a"]"#), "input `x`: datatype `BYTES` is not supported"),
            (input(r#""shape":[1],"datatype":"FP32""#), "input `x`: neither `data` nor"),
            (
                input(r#""shape":[1],"datatype":"FP32","data":[1],"parameters":{"binary_data_size":4}"#),
                "input `x`: both",
            ),
            (
                input(r#""shape":[1],"datatype":"FP32","data":["a"]"#),
                "input `x`: value 0 is `\"a\"`, which is not FP32",
            ),
            (
                input(r#""shape":[-1],"datatype":"FP32","data":[1]"#),
                "the body is not an inference request: invalid value",
            ),
            ("{".to_owned(), "the body is not an inference request: EOF"),
            ("{}".to_owned(), "the body is not an inference request: missing field `inputs`"),
        ] {
            let message = message(&json);
            assert!(message.starts_with(expected), "{message}");
        }
    }
}
