//! A model for ONNX Runtime without a copy of its weights: the graph as a small file, and its tensors where they lie, in the
//! bytes of the file that the model came from.

use super::{
    encode,
    types::{ModelProto, StringStringEntryProto, tensor_proto::DataLocation},
};

/// The name under which the graph refers to the bytes of the model's file.
pub(crate) const FILE: &str = "fcn.model";

/// Tensors of fewer bytes are written into the graph: ONNX Runtime looks into small ones while it infers shapes.
const MIN_BYTES: usize = 1024;

/// The bytes of the model, with tensors that lie in `file` as references to [`FILE`].
pub(crate) fn encode_beside(model: &ModelProto, file: &[u8]) -> Vec<u8> {
    let mut model = model.clone();
    let start = file.as_ptr().addr();
    for tensor in model.graph.iter_mut().flat_map(|graph| &mut graph.initializer) {
        let Some(data) = tensor.raw_data.take_if(|data| data.len() >= MIN_BYTES) else { continue };
        let offset = data.as_ptr().addr().wrapping_sub(start);
        if offset.checked_add(data.len()).is_none_or(|end| end > file.len()) {
            tensor.raw_data = Some(data);
            continue;
        }
        let entry = |key: &str, value: String| StringStringEntryProto { key: Some(key.into()), value: Some(value) };
        tensor.data_location = Some(DataLocation::External as i32);
        tensor.external_data = vec![
            entry("location", FILE.into()),
            entry("offset", offset.to_string()),
            entry("length", data.len().to_string()),
        ];
    }
    encode(&model)
}
