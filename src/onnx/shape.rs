//! Declared element types and shapes of a model's inputs and outputs, and their description for
//! messages.

use std::fmt;

use super::types::{ValueInfoProto, tensor_proto::DataType, tensor_shape_proto::dimension, type_proto};

/// The order of a tensor's dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorLayout {
    /// Channels first, as in PyTorch: N x C x H x W.
    Nchw,
    /// Channels last, as in TensorFlow: N x H x W x C.
    Nhwc,
}

/// The declared type of an input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Declared {
    Tensor {
        element: Option<DataType>,
        /// The dimensions, `None` for those that are not fixed. `None` if not even the rank is
        /// declared.
        dims: Option<Vec<Option<usize>>>,
    },
    /// Another type: its name with an article.
    Other(&'static str),
}

impl Declared {
    pub(super) fn of(value: &ValueInfoProto) -> Declared {
        use type_proto::Value;
        let tensor = match value.r#type.as_ref().and_then(|kind| kind.value.as_ref()) {
            Some(Value::TensorType(tensor)) => tensor,
            Some(Value::SequenceType(_)) => return Declared::Other("a sequence"),
            Some(Value::MapType(_)) => return Declared::Other("a map"),
            Some(Value::OptionalType(_)) => return Declared::Other("an optional value"),
            Some(Value::SparseTensorType(_)) => return Declared::Other("a sparse tensor"),
            Some(Value::OpaqueType(_)) => return Declared::Other("an opaque value"),
            None => return Declared::Other("a value without a type"),
        };
        let fixed = |value: &Option<dimension::Value>| match value {
            Some(dimension::Value::DimValue(side @ 1..)) => usize::try_from(*side).ok(),
            _ => None,
        };
        let dims = tensor.shape.as_ref().map(|shape| shape.dim.iter().map(|dim| fixed(&dim.value)).collect());
        Declared::Tensor { element: DataType::try_from(tensor.elem_type()).ok(), dims }
    }
}

impl fmt::Display for Declared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (element, dims) = match self {
            Declared::Other(name) => return f.write_str(name),
            Declared::Tensor { element, dims } => (element, dims),
        };
        let name = match element {
            None | Some(DataType::Undefined) => "unknown".to_owned(),
            Some(DataType::Float) => "float32".to_owned(),
            Some(DataType::Double) => "float64".to_owned(),
            Some(other) => other.as_str_name().to_lowercase(),
        };
        let article = if name.starts_with("int") || name == "unknown" { "an" } else { "a" };
        match dims.as_deref() {
            None => write!(f, "{article} {name} tensor of unknown shape"),
            Some([]) => write!(f, "a single {name} value"),
            Some(dims) => {
                let sides: Vec<_> = dims.iter().map(|dim| dim.map_or("?".into(), |side| side.to_string())).collect();
                // A single dimension has no "x" that shows it is one.
                let one = if dims.len() == 1 { " in one dimension" } else { "" };
                write!(f, "{article} {name} tensor {}{one}", sides.join(" x "))
            }
        }
    }
}
