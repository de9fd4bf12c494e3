//! An inference's answer, and the pair that a baseline sends to its candidate.

use sentei_runtime::Tensor;
use serde::Serialize;

use super::{
    data::{self, Json},
    datatype,
    request::Labels,
};

/// A body, and how many of its bytes are JSON when tensors follow.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) body: Vec<u8>,
    pub(crate) header: Option<usize>,
}

/// An inference's answer.
#[derive(Debug)]
pub(crate) struct Reply<'a> {
    pub(crate) model: &'a str,
    pub(crate) version: &'a str,
    pub(crate) id: Option<&'a str>,
    pub(crate) token: Option<&'a str>,
    /// Name, tensor, and whether it goes as bytes.
    pub(crate) outputs: Vec<(&'a str, &'a Tensor, bool)>,
}

#[derive(Serialize)]
struct ReplyJson<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<ReplyParameters<'a>>,
    outputs: Vec<TensorJson<'a>>,
}

#[derive(Serialize)]
struct ReplyParameters<'a> {
    feedback_token: &'a str,
}

#[derive(Serialize)]
struct TensorJson<'a> {
    name: &'a str,
    shape: &'a [usize],
    datatype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<TensorParameters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Json<'a>>,
}

#[derive(Serialize)]
struct TensorParameters {
    binary_data_size: usize,
}

fn header<'a>(name: &'a str, tensor: &'a Tensor, binary: bool) -> TensorJson<'a> {
    let size = tensor.len() * tensor.dtype().size();
    TensorJson {
        name,
        shape: tensor.shape(),
        datatype: datatype(tensor.dtype()),
        parameters: binary.then_some(TensorParameters { binary_data_size: size }),
        data: (!binary).then_some(Json(tensor.data())),
    }
}

impl Reply<'_> {
    /// The body.
    pub(crate) fn encode(&self) -> Result<Encoded, serde_json::Error> {
        let json = ReplyJson {
            model_name: self.model,
            model_version: self.version,
            id: self.id,
            parameters: self.token.map(|feedback_token| ReplyParameters { feedback_token }),
            outputs: self.outputs.iter().map(|(name, tensor, binary)| header(name, tensor, *binary)).collect(),
        };
        let mut body = Vec::with_capacity(1024);
        serde_json::to_writer(&mut body, &json)?;
        let length = body.len();
        let mut header = None;
        for (_, tensor, _) in self.outputs.iter().filter(|(_, _, binary)| *binary) {
            data::to_bytes(tensor.data(), &mut body);
            header = Some(length);
        }
        Ok(Encoded { body, header })
    }
}

#[derive(Serialize)]
struct ShadowJson<'a> {
    parameters: ShadowParameters<'a>,
    inputs: Vec<TensorJson<'a>>,
    baseline_outputs: Vec<TensorJson<'a>>,
}

#[derive(Serialize)]
struct ShadowParameters<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    slice: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a Labels>,
}

/// The body of a shadow request: the inputs and the baseline's answer, all tensors as bytes.
pub(crate) fn encode_shadow(
    inputs: &[(String, Tensor)],
    output: (&str, &Tensor),
    slice: Option<&str>,
    label: Option<&Labels>,
) -> Result<Encoded, serde_json::Error> {
    let json = ShadowJson {
        parameters: ShadowParameters { slice, label },
        inputs: inputs.iter().map(|(name, tensor)| header(name, tensor, true)).collect(),
        baseline_outputs: vec![header(output.0, output.1, true)],
    };
    let mut body = serde_json::to_vec(&json)?;
    let length = body.len();
    for (_, tensor) in inputs {
        data::to_bytes(tensor.data(), &mut body);
    }
    data::to_bytes(output.1.data(), &mut body);
    Ok(Encoded { body, header: Some(length) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oip::InferRequest;

    #[test]
    fn an_answer_is_json_unless_bytes_were_asked_for() {
        let tensor = Tensor::new([1, 2], vec![0.5_f32, -1.0]).expect("fits");
        let reply = |binary| Reply {
            model: "m",
            version: "1",
            id: Some("7"),
            token: Some("t"),
            outputs: vec![("y", &tensor, binary)],
        };
        let json = reply(false).encode().expect("written");
        assert_eq!(
            (String::from_utf8(json.body).expect("text").as_str(), json.header),
            (
                r#"{"model_name":"m","model_version":"1","id":"7","parameters":{"feedback_token":"t"},"outputs":[{"name":"y","shape":[1,2],"datatype":"FP32","data":[0.5,-1.0]}]}"#,
                None
            )
        );
        let binary = reply(true).encode().expect("written");
        let (header, tail) = binary.body.split_at(binary.header.expect("binary"));
        assert!(String::from_utf8_lossy(header).ends_with(r#""parameters":{"binary_data_size":8}}]}"#));
        assert_eq!(tail, [0.5_f32.to_le_bytes(), (-1.0_f32).to_le_bytes()].concat());
    }

    #[test]
    fn a_shadow_pair_reads_back_as_it_was() {
        let inputs = vec![("x".to_owned(), Tensor::new([2], vec![1_u8, 2]).expect("fits"))];
        let output = Tensor::new([1, 2], vec![0.5_f32, -1.0]).expect("fits");
        let label = Labels::One(3.0);
        let sent = encode_shadow(&inputs, ("y", &output), Some("round"), Some(&label)).expect("written");
        let read = InferRequest::parse(&sent.body, sent.header).expect("a request");
        assert_eq!((read.inputs, read.baseline_outputs), (inputs, vec![("y".to_owned(), output)]));
        assert_eq!((read.slice.as_deref(), read.labels), (Some("round"), Some(label)));
    }
}
