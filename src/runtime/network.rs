//! A session and its tensors: a normalised image in, scores or class indices out.

use ort::{
    memory::Allocator,
    session::{OutputSelector, Session},
    value::{DynTensor, DynValue, Tensor, TensorElementType, ValueType},
};

use super::{
    exit,
    interrupt::{Call, SharedRunOptions},
    one_line,
};
use crate::{Error, Result, Size, scores::Scores};

/// A network that is ready to run, one frame at a time.
pub(crate) struct SessionNetwork {
    session: Session,
    /// For the first run at a size, before the shape of the output is known.
    first: SharedRunOptions,
    bound: Option<BoundImage>,
}

/// The tensors for one image size, reused while the size stays the same.
struct BoundImage {
    size: Size,
    image: Tensor<f32>,
    /// Writes the output to a preallocated tensor, from the second run at a size on.
    output: Option<SharedRunOptions>,
}

/// The output of a network for one image.
pub(crate) enum Answer<'a> {
    /// Scores, channels x height x width.
    Scores(Scores<'a>),
    /// Class indices, height x width.
    Labels { size: Size, labels: Labels<'a> },
}

/// Class indices, in the output's element type.
#[derive(Clone, Copy)]
pub(crate) enum Labels<'a> {
    I64(&'a [i64]),
    I32(&'a [i32]),
    U8(&'a [u8]),
    Bool(&'a [bool]),
}

impl Labels<'_> {
    pub(crate) fn get(&self, index: usize) -> i64 {
        match self {
            Labels::I64(values) => values[index],
            Labels::I32(values) => i64::from(values[index]),
            Labels::U8(values) => i64::from(values[index]),
            Labels::Bool(values) => i64::from(values[index]),
        }
    }
}

/// The kind of a network's first output, as far as the model declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputKind {
    /// N x C x h x w or C x h x w; C if it is declared.
    Scores { channels: Option<usize> },
    /// h x w, possibly with leading or trailing dimensions of 1.
    Labels,
}

impl SessionNetwork {
    pub(super) fn new(session: Session) -> Result<SessionNetwork> {
        let first = SharedRunOptions::new(OutputSelector::default())
            .map_err(|error| Error::Runtime(format!("the network cannot be run: {}", one_line(&error.to_string()))))?;
        Ok(SessionNetwork { session, first, bound: None })
    }

    /// The kind of the first output. An error describes an output that is not a segmentation.
    pub(crate) fn output_kind(&self) -> Result<OutputKind> {
        let output = self.session.outputs().first().ok_or_else(|| Error::Model("the model has no output".into()))?;
        let (element, shape) = match output.dtype() {
            ValueType::Tensor { ty, shape, .. } => (*ty, &shape[..]),
            other => return Err(no_segmentation(output.name(), &format!("{other:?}"))),
        };
        match (element, shape) {
            (TensorElementType::Float32, &[_, channels, _, _] | &[channels, _, _]) => {
                Ok(OutputKind::Scores { channels: usize::try_from(channels).ok() })
            }
            // ONNX Runtime could not infer the rank.
            (TensorElementType::Float32, []) => Ok(OutputKind::Scores { channels: None }),
            (
                TensorElementType::Int64
                | TensorElementType::Int32
                | TensorElementType::Uint8
                | TensorElementType::Bool,
                [] | [_, _] | [_, _, _] | [_, _, _, _],
            ) => Ok(OutputKind::Labels),
            _ => Err(no_segmentation(output.name(), &format!("a {element:?} tensor of shape {shape:?}"))),
        }
    }

    /// The network's input for an image of this size, 3 x height x width; fill it before
    /// [`SessionNetwork::run`].
    pub(crate) fn input(&mut self, size: Size) -> Result<&mut [f32]> {
        if self.bound.as_ref().is_none_or(|bound| bound.size != size) {
            // Free the old tensor first, so that memory never holds two sizes.
            self.bound = None;
            let image = Tensor::new(&Allocator::default(), [1, 3, size.height, size.width]).map_err(|error| {
                Error::OutOfMemory(format!(
                    "cannot allocate the network's input for {size} pixels: {}",
                    one_line(&error.to_string())
                ))
            })?;
            self.bound = Some(BoundImage { size, image, output: None });
        }
        let bound = self.bound.as_mut().ok_or_else(|| Error::Internal("the input was just bound".into()))?;
        Ok(bound.image.extract_tensor_mut().1)
    }

    /// Runs the network on its input unless the call ends early, and passes its output to
    /// `consume`.
    pub(crate) fn run<R>(&mut self, call: &Call<'_>, consume: impl FnOnce(Answer<'_>) -> Result<R>) -> Result<R> {
        let SessionNetwork { session, first, bound } = self;
        let bound = bound.as_mut().ok_or_else(|| Error::Internal("the network has no input yet".into()))?;
        let BoundImage { size, image, output } = bound;
        let failed = |error: ort::Error| {
            Error::Runtime(format!("the network failed on {size} pixels: {}", one_line(&error.to_string())))
        };
        if let Some(options) = output {
            let running = call.begin(options)?;
            let outputs = session.run_with_options(ort::inputs![&*image], options.for_run()).map_err(failed);
            return consume(answer(&running.end(outputs)?[0])?);
        }
        let running = call.begin(first)?;
        let outputs = session.run_with_options(ort::inputs![&*image], first.for_run()).map_err(failed);
        let outputs = running.end(outputs)?;
        exit::libraries_may_be_new();
        let first = answer(&outputs[0])?;
        // The shape is known now, so later runs write to a preallocated tensor.
        if let ValueType::Tensor { ty, shape, .. } = outputs[0].dtype() {
            let name = outputs.keys().next().unwrap_or_default().to_owned();
            let tensor = DynTensor::new(&Allocator::default(), *ty, shape.clone()).map_err(failed)?;
            let selected = OutputSelector::no_default().with(&name).preallocate(name, tensor);
            *output = Some(SharedRunOptions::new(selected).map_err(failed)?);
        }
        consume(first)
    }
}

/// See [`super::run_once`].
pub(super) fn run_once(mut session: Session, sizes: &[Size], call: &Call<'_>) -> Result<(Size, Vec<i64>)> {
    let mut failure = Error::Internal("no size to run the network at".into());
    let mut options = SharedRunOptions::new(OutputSelector::default())
        .map_err(|error| Error::Runtime(format!("the network cannot be run: {}", one_line(&error.to_string()))))?;
    for &size in sizes {
        let failed = |error: ort::Error| {
            Error::Model(format!("the network failed on {size} pixels: {}", one_line(&error.to_string())))
        };
        let mut image = Tensor::<f32>::new(&Allocator::default(), [1, 3, size.height, size.width]).map_err(failed)?;
        image.extract_tensor_mut().1.fill(0.0);
        let running = call.begin(&options)?;
        let found = session.run_with_options(ort::inputs![image], options.for_run()).and_then(|outputs| {
            let (_, values) = outputs[0].try_extract_tensor::<i64>()?;
            Ok(values.to_vec())
        });
        match running.end(found.map_err(failed)) {
            Ok(values) => return Ok((size, values)),
            Err(error @ Error::Timeout(_)) => return Err(error),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Interprets a network's output.
fn answer(output: &DynValue) -> Result<Answer<'_>> {
    let wrong = |found: String| no_segmentation("0", &found);
    let ValueType::Tensor { ty, shape, .. } = output.dtype() else {
        return Err(wrong(format!("{:?}", output.dtype())));
    };
    let found = || wrong(format!("a {ty:?} tensor of shape {shape:?}"));
    let extract = |error: ort::Error| Error::Runtime(one_line(&error.to_string()));
    let labels = match ty {
        TensorElementType::Float32 => None,
        TensorElementType::Int64 => Some(Labels::I64(output.try_extract_tensor().map_err(extract)?.1)),
        TensorElementType::Int32 => Some(Labels::I32(output.try_extract_tensor().map_err(extract)?.1)),
        TensorElementType::Uint8 => Some(Labels::U8(output.try_extract_tensor().map_err(extract)?.1)),
        TensorElementType::Bool => Some(Labels::Bool(output.try_extract_tensor().map_err(extract)?.1)),
        _ => return Err(found()),
    };
    // An output without pixels is invalid, too.
    if shape.iter().any(|&side| side <= 0) {
        return Err(found());
    }
    let size = |height: i64, width: i64| Size::new(width as usize, height as usize);
    match (labels, &shape[..]) {
        (
            Some(labels),
            &[height, width]
            | &[1, height, width]
            | &[height, width, 1]
            | &[1, 1, height, width]
            | &[1, height, width, 1],
        ) => Ok(Answer::Labels { size: size(height, width), labels }),
        (None, &[1, channels, height, width] | &[channels, height, width]) => {
            let (_, data) = output.try_extract_tensor().map_err(extract)?;
            Ok(Answer::Scores(Scores { channels: channels as usize, size: size(height, width), data }))
        }
        _ => Err(found()),
    }
}

fn no_segmentation(output: &str, found: &str) -> Error {
    Error::Model(format!(
        "output '{output}' is {found}; scores (float32, 1 x C x h x w) or class indices (int64, int32, uint8 or bool, 1 x h \
         x w) are expected"
    ))
}
