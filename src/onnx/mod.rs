//! Model files: ONNX's messages, the model card, and the validation and rewriting of a model before
//! ONNX Runtime sees it.

pub mod build;
#[expect(missing_docs, clippy::all, reason = "generated from ONNX's own schema")]
pub mod types;

mod card;
mod classes;
mod cut;
mod dequantize;
mod epilogue;
mod external;
mod gpu_form;
mod graph;
mod in_memory_weights;
mod input;
mod limits;
mod metadata_names;
mod output;

mod shape;
mod sizes;
mod trial;
mod validate;

use prost::Message;

pub use card::{ModelCard, NATIVE_SIDES, TEMPERATURES};
pub(crate) use classes::label_classes;
pub(crate) use cut::Tail;
pub(crate) use dequantize::{dequantize_weights, without_integers};
pub(crate) use epilogue::{Epilogue, end};
pub(crate) use external::{Loaded, from_file, from_memory};
pub(crate) use gpu_form::{names, on_device};
pub(crate) use graph::hoist_constants;
pub(crate) use in_memory_weights::{FILE, encode_without_weights};
pub(crate) use input::{AdaptedInput, ImageInput, image_input};
pub(crate) use limits::MAX_NODES;
pub(crate) use metadata_names::metadata_names;
pub(crate) use output::{Form, Hints, PixelValues, choose_output};
pub use shape::TensorLayout;
pub(crate) use trial::{TrialRun, sizes as trial_sizes};
pub use validate::parse;
pub(crate) use validate::parse_shared;

use crate::{Error, Result, memory};
use types::{ModelProto, TensorProto, tensor_proto::DataType};

/// The subject of the error message if a tensor cannot be copied.
const WEIGHTS: &str = "the model's weights";

/// Encodes a model.
pub fn encode(model: &ModelProto) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    memory::reserve(&mut bytes, model.encoded_len(), "the model's graph")?;
    model.encode_raw(&mut bytes);
    Ok(bytes)
}

/// The values of a float32 tensor in any storage.
pub(crate) fn floats(tensor: &TensorProto) -> Result<Vec<f32>> {
    if tensor.data_type != Some(DataType::Float as i32) {
        return Err(Error::Model(format!(
            "tensor '{}' has ONNX element type {}; float32 (1) is expected",
            tensor.name(),
            tensor.data_type()
        )));
    }
    let values = if tensor.raw_data().is_empty() {
        memory::copy(&tensor.float_data, WEIGHTS)?
    } else {
        let values = tensor.raw_data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        memory::collect(values, WEIGHTS)?
    };
    expect_count(tensor, values.len())?;
    Ok(values)
}

/// Checks that a tensor has as many values as its shape requires.
fn expect_count(tensor: &TensorProto, found: usize) -> Result<()> {
    let expected = tensor.dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(usize::try_from(dim).ok()?));
    if expected != Some(found) {
        return Err(Error::Model(format!(
            "tensor '{}' has {found} values, but its shape is {:?}",
            tensor.name(),
            tensor.dims
        )));
    }
    Ok(())
}
