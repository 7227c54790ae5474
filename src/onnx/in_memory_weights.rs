//! Encodes a model for ONNX Runtime without copying its weights: a small graph whose tensors refer
//! to the bytes of the model's file in memory.

use prost::{Message, encoding};

use super::types::{GraphProto, ModelProto, StringStringEntryProto, TensorProto, tensor_proto::DataLocation};
use crate::Result;

/// The file name by which the graph refers to the bytes of the model's file.
pub(crate) const FILE: &str = "fcn.model";

/// Smaller tensors are stored in the graph: ONNX Runtime reads their values for shape inference.
const MIN_BYTES: usize = 1024;

/// Encodes the model with tensors inside `file` as references to [`FILE`]. Nodes are encoded
/// without being copied, as there may be many.
pub(crate) fn encode_without_weights(model: &ModelProto, file: &[u8]) -> Result<Vec<u8>> {
    let Some(graph) = &model.graph else { return super::encode(model) };
    let GraphProto {
        node,
        name,
        initializer,
        sparse_initializer,
        doc_string,
        input,
        output,
        value_info,
        quantization_annotation,
        metadata_props,
    } = graph;
    let mut inner = GraphProto {
        node: Vec::new(),
        name: name.clone(),
        initializer: initializer.iter().map(|tensor| reference(tensor, file)).collect(),
        sparse_initializer: sparse_initializer.clone(),
        doc_string: doc_string.clone(),
        input: input.clone(),
        output: output.clone(),
        value_info: value_info.clone(),
        quantization_annotation: quantization_annotation.clone(),
        metadata_props: metadata_props.clone(),
    }
    .encode_to_vec();
    // Protobuf allows a message's fields in any order.
    node.iter().for_each(|node| encoding::message::encode(1, node, &mut inner));
    let ModelProto {
        ir_version,
        opset_import,
        producer_name,
        producer_version,
        domain,
        model_version,
        doc_string,
        graph: _,
        metadata_props,
        training_info: _,
        functions,
        configuration,
    } = model;
    let mut outer = ModelProto {
        ir_version: *ir_version,
        opset_import: opset_import.clone(),
        producer_name: producer_name.clone(),
        producer_version: producer_version.clone(),
        domain: domain.clone(),
        model_version: *model_version,
        doc_string: doc_string.clone(),
        graph: None,
        metadata_props: metadata_props.clone(),
        // Not needed for inference.
        training_info: Vec::new(),
        functions: functions.clone(),
        configuration: configuration.clone(),
    }
    .encode_to_vec();
    encoding::bytes::encode(7, &inner, &mut outer);
    Ok(outer)
}

/// Replaces the tensor's values by a reference if they are inside `file`.
fn reference(tensor: &TensorProto, file: &[u8]) -> TensorProto {
    let data = tensor.raw_data();
    let offset = data.as_ptr().addr().wrapping_sub(file.as_ptr().addr());
    if data.len() < MIN_BYTES || offset.checked_add(data.len()).is_none_or(|end| end > file.len()) {
        return tensor.clone();
    }
    let entry = |key: &str, value: String| StringStringEntryProto { key: Some(key.into()), value: Some(value) };
    TensorProto {
        raw_data: None,
        data_location: Some(DataLocation::External as i32),
        external_data: vec![
            entry("location", FILE.into()),
            entry("offset", offset.to_string()),
            entry("length", data.len().to_string()),
        ],
        ..tensor.clone()
    }
}

#[cfg(test)]
mod tests {
    use prost::bytes::Bytes;

    use super::*;

    #[test]
    fn large_tensors_inside_the_file_become_references() {
        let memory = Bytes::from(vec![7; 4096]);
        let file = &memory[..3000];
        let tensor = |values: Bytes| TensorProto { raw_data: Some(values), ..TensorProto::default() };
        for (start, end) in [(100, 100 + MIN_BYTES), (0, 3000), (1000, 3000)] {
            let referring = reference(&tensor(memory.slice(start..end)), file);
            let value = |index: usize| referring.external_data[index].value.as_deref().unwrap();
            assert_eq!(referring.raw_data, None);
            assert_eq!((value(0), value(1)), (FILE, start.to_string().as_str()));
            assert_eq!(value(2), (end - start).to_string());
        }
        let other = Bytes::from(vec![7; 2048]);
        for (what, values) in [
            ("one byte too small", memory.slice(100..100 + MIN_BYTES - 1)),
            ("one byte too far", memory.slice(1000..3001)),
            ("behind the file", memory.slice(3000..4096)),
            ("elsewhere", other),
        ] {
            let tensor = tensor(values);
            assert_eq!(reference(&tensor, file), tensor, "{what}");
        }
    }
}
