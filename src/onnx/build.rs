//! Helpers for writing ONNX graphs.

use super::{
    ModelCard,
    types::{
        AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
        TensorShapeProto, TypeProto, ValueInfoProto,
        attribute_proto::AttributeType,
        tensor_proto::DataType,
        tensor_shape_proto::{Dimension, dimension},
        type_proto,
    },
};

/// The ONNX opset version that [`model`] declares.
pub const OPSET: i64 = 17;

/// The ONNX IR version that [`model`] declares: the one that introduced [`OPSET`].
const IR_VERSION: i64 = 8;

/// A dimension of a value's shape.
#[derive(Debug, Clone, Copy)]
pub enum Dim {
    /// A fixed size.
    Fixed(i64),
    /// Any size, with this name.
    Named(&'static str),
}

/// A float32 constant.
pub fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    constant(name, dims, DataType::Float, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

/// An int8 constant.
pub fn int8s(name: &str, dims: &[i64], values: &[i8]) -> TensorProto {
    constant(name, dims, DataType::Int8, values.iter().map(|value| value.cast_unsigned()).collect())
}

/// A uint8 constant.
pub fn uint8s(name: &str, dims: &[i64], values: &[u8]) -> TensorProto {
    constant(name, dims, DataType::Uint8, values.to_vec().into())
}

/// A float16 constant, from the bits of each value.
pub fn halves(name: &str, dims: &[i64], bits: &[i16]) -> TensorProto {
    constant(name, dims, DataType::Float16, bits.iter().flat_map(|value| value.to_le_bytes()).collect())
}

/// An int32 constant.
pub fn int32s(name: &str, dims: &[i64], values: &[i32]) -> TensorProto {
    constant(name, dims, DataType::Int32, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

/// An int64 constant.
pub fn int64s(name: &str, dims: &[i64], values: &[i64]) -> TensorProto {
    constant(name, dims, DataType::Int64, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

fn constant(name: &str, dims: &[i64], data_type: DataType, raw_data: prost::bytes::Bytes) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        dims: dims.to_vec(),
        data_type: Some(data_type as i32),
        raw_data: Some(raw_data),
        ..TensorProto::default()
    }
}

/// A node, named after its output.
pub fn node(operator: &str, inputs: &[&str], output: &str, attributes: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        name: Some(output.to_owned()),
        op_type: Some(operator.to_owned()),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        output: vec![output.to_owned()],
        attribute: attributes,
        ..NodeProto::default()
    }
}

/// An attribute with a list of integers.
pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) }
}

/// An attribute with an integer.
pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) }
}

/// An attribute with a float.
pub fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, AttributeType::Float) }
}

/// An attribute with a string.
pub fn string(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: Some(value.as_bytes().to_vec()), ..attribute(name, AttributeType::String) }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), r#type: Some(kind as i32), ..AttributeProto::default() }
}

/// An input or output of the graph.
pub fn value(name: &str, element: DataType, dims: &[Dim]) -> ValueInfoProto {
    let dim = dims
        .iter()
        .map(|dim| Dimension {
            value: Some(match *dim {
                Dim::Fixed(size) => dimension::Value::DimValue(size),
                Dim::Named(name) => dimension::Value::DimParam(name.to_owned()),
            }),
            ..Dimension::default()
        })
        .collect();
    let tensor = type_proto::Tensor { elem_type: Some(element as i32), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() }),
        ..ValueInfoProto::default()
    }
}

/// A model with this graph and card.
pub fn model(graph: GraphProto, card: Option<&ModelCard>) -> ModelProto {
    ModelProto {
        ir_version: Some(IR_VERSION),
        producer_name: Some("fcn".to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) }],
        metadata_props: card
            .iter()
            .map(|card| StringStringEntryProto { key: Some(ModelCard::KEY.to_owned()), value: Some(card.to_json()) })
            .collect(),
        graph: Some(graph),
        ..ModelProto::default()
    }
}
