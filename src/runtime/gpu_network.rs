//! A session of a network in the form of [`crate::onnx::on_device`]: a frame's bytes in, labels
//! out. Its tensors stay bound, and on a GPU the frame lies in pinned memory, which the device
//! reads directly.

use ort::{
    memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType},
    session::{OutputSelector, Session},
    value::Tensor,
};

use super::{
    exit,
    interrupt::{Call, SharedRunOptions},
    one_line,
};
use crate::{Error, Result, Size, onnx::names, options::Provider};

/// A network that includes all steps from frame to labels.
pub(crate) struct GpuNetwork {
    session: Session,
    /// Allocates the frames' memory.
    memory: Allocator,
    bound: Option<BoundFrame>,
}

/// The layout of a frame, and how its pixels become the network's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameLayout {
    pub(crate) size: Size,
    /// Bytes per pixel.
    pub(crate) bytes: usize,
    /// For each channel of the network, the index of its byte in a pixel.
    pub(crate) order: [usize; 3],
    /// The size of the network's input.
    pub(crate) padded: Size,
}

/// The tensors for one layout.
struct BoundFrame {
    layout: FrameLayout,
    frame: Tensor<u8>,
    order: Tensor<i64>,
    pads: Tensor<i64>,
    size: Tensor<i64>,
    options: SharedRunOptions,
    has_run: bool,
}

impl GpuNetwork {
    pub(super) fn new(session: Session, provider: Provider, device: u32) -> ort::Result<GpuNetwork> {
        let memory = match provider {
            Provider::Cuda | Provider::TensorRt => {
                let device = device.cast_signed();
                let pinned = AllocationDevice::CUDA_PINNED;
                let info = MemoryInfo::new(pinned, device, AllocatorType::Device, MemoryType::CPUInput)?;
                Allocator::new(&session, info)?
            }
            Provider::Cpu | Provider::OpenVino | Provider::Auto => Allocator::default(),
        };
        Ok(GpuNetwork { session, memory, bound: None })
    }

    /// The buffer for a frame's bytes, row by row without padding; fill it before
    /// [`GpuNetwork::run`].
    pub(crate) fn frame(&mut self, layout: FrameLayout) -> Result<&mut [u8]> {
        if self.bound.as_ref().is_none_or(|bound| bound.layout != layout) {
            self.bound = None;
            self.bound = Some(BoundFrame::new(&self.memory, layout).map_err(|error| {
                Error::OutOfMemory(format!(
                    "cannot allocate memory for frames of {} pixels: {}",
                    layout.size,
                    one_line(&error.to_string())
                ))
            })?);
        }
        let bound = self.bound.as_mut().ok_or_else(|| Error::Internal("the frame was just bound".into()))?;
        Ok(bound.frame.extract_tensor_mut().1)
    }

    /// Runs the network on the frame unless the call ends early, and passes the labels, height x
    /// width, to `consume`.
    pub(crate) fn run<R>(&mut self, call: &Call<'_>, consume: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        let bound = self.bound.as_mut().ok_or_else(|| Error::Internal("the network has no frame yet".into()))?;
        let BoundFrame { layout, frame, order, pads, size, options, has_run } = bound;
        let failed = |error: ort::Error| {
            Error::Runtime(format!("the network failed on {} pixels: {}", layout.size, one_line(&error.to_string())))
        };
        // In the order of the graph's inputs.
        let running = call.begin(options)?;
        let inputs = ort::inputs![&*frame, &*order, &*pads, &*size];
        let outputs = self.session.run_with_options(inputs, options.for_run()).map_err(failed);
        let outputs = running.end(outputs)?;
        if !std::mem::replace(has_run, true) {
            exit::libraries_may_be_new();
        }
        consume(outputs[0].try_extract_tensor::<u8>().map_err(failed)?.1)
    }
}

impl BoundFrame {
    fn new(memory: &Allocator, layout: FrameLayout) -> ort::Result<BoundFrame> {
        let FrameLayout { size: Size { width, height }, bytes, order, padded } = layout;
        let whole = |values: Vec<i64>| Tensor::from_array(([values.len()], values));
        let (below, right) = (padded.height - height, padded.width - width);
        // Not in the device's memory: ONNX Runtime (seen in 1.31.1) then fails with "dst_data !=
        // src_data was false" (https://github.com/microsoft/onnxruntime/issues/29713).
        let labels = Tensor::<u8>::new(&Allocator::default(), [1, 1, height, width])?;
        let selected = OutputSelector::no_default().with(names::LABELS).preallocate(names::LABELS, labels);
        Ok(BoundFrame {
            layout,
            frame: Tensor::new(memory, [1, height, width, bytes])?,
            order: whole(order.iter().map(|&byte| byte as i64).collect())?,
            pads: whole(vec![0, 0, 0, 0, 0, 0, below as i64, right as i64])?,
            size: whole(vec![height as i64, width as i64])?,
            options: SharedRunOptions::new(selected)?,
            has_run: false,
        })
    }
}
