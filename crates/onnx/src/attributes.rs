//! Reading a node's attributes and making new ones.

use crate::proto::{AttributeProto, NodeProto, TensorProto, attribute_proto::AttributeType};

/// A value for [`set`].
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    /// A whole number.
    Int(i64),
    /// Whole numbers.
    Ints(Vec<i64>),
    /// A real number.
    Float(f32),
    /// Real numbers.
    Floats(Vec<f32>),
    /// Text.
    Text(String),
    /// A constant.
    Tensor(Box<TensorProto>),
}

fn find<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name() == name)
}

/// A whole-number attribute.
#[must_use]
pub fn int(node: &NodeProto, name: &str) -> Option<i64> {
    find(node, name).and_then(|attribute| attribute.i)
}

/// A whole-number attribute that is a flag; absent means false.
#[must_use]
pub fn flag(node: &NodeProto, name: &str) -> bool {
    int(node, name).unwrap_or(0) != 0
}

/// A list of whole numbers.
#[must_use]
pub fn ints<'a>(node: &'a NodeProto, name: &str) -> Option<&'a [i64]> {
    find(node, name).map(|attribute| attribute.ints.as_slice())
}

/// A list of real numbers.
#[must_use]
pub fn floats<'a>(node: &'a NodeProto, name: &str) -> Option<&'a [f32]> {
    find(node, name).map(|attribute| attribute.floats.as_slice())
}

/// A real-number attribute.
#[must_use]
pub fn float(node: &NodeProto, name: &str) -> Option<f32> {
    find(node, name).and_then(|attribute| attribute.f)
}

/// A text attribute; bytes that are no text count as absent.
#[must_use]
pub fn text<'a>(node: &'a NodeProto, name: &str) -> Option<&'a str> {
    find(node, name).and_then(|attribute| attribute.s.as_deref()).and_then(|s| str::from_utf8(s).ok())
}

/// A constant attribute.
#[must_use]
pub fn tensor<'a>(node: &'a NodeProto, name: &str) -> Option<&'a TensorProto> {
    find(node, name).and_then(|attribute| attribute.t.as_ref())
}

/// Sets an attribute, replacing one of the same name.
pub fn set(node: &mut NodeProto, name: &str, value: Attribute) {
    let mut attribute = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
    let kind = match value {
        Attribute::Int(i) => {
            attribute.i = Some(i);
            AttributeType::Int
        }
        Attribute::Ints(ints) => {
            attribute.ints = ints;
            AttributeType::Ints
        }
        Attribute::Float(f) => {
            attribute.f = Some(f);
            AttributeType::Float
        }
        Attribute::Floats(floats) => {
            attribute.floats = floats;
            AttributeType::Floats
        }
        Attribute::Text(text) => {
            attribute.s = Some(text.into_bytes());
            AttributeType::String
        }
        Attribute::Tensor(tensor) => {
            attribute.t = Some(*tensor);
            AttributeType::Tensor
        }
    };
    attribute.r#type = Some(kind as i32);
    match node.attribute.iter_mut().find(|present| present.name() == name) {
        Some(present) => *present = attribute,
        None => node.attribute.push(attribute),
    }
}

/// Takes an attribute away.
pub fn remove(node: &mut NodeProto, name: &str) {
    node.attribute.retain(|attribute| attribute.name() != name);
}
