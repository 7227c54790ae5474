//! `fcn_mask`: the reusable result.

use std::{
    ptr::{self, NonNull},
    slice,
    time::Duration,
};

use super::{Result, answer, fcn_status, guard, invalid, required};
use crate::{Frame, LabelMap, Mask, Outputs, Segmenter, Timings};

/// Optional outputs of a mask: bits for fcn_mask_set_outputs(). Each costs time and memory.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum fcn_output {
    /// Highest softmax probability of each pixel: fcn_mask_confidence().
    FCN_OUTPUT_CONFIDENCE = 1,
    /// Scores of each class at each pixel: fcn_mask_scores().
    FCN_OUTPUT_SCORES = 2,
    /// Highest softmax probability of each pixel in a byte: fcn_mask_confidence_u8().
    FCN_OUTPUT_CONFIDENCE_U8 = 4,
    /// Difference of the two highest softmax probabilities: fcn_mask_margin().
    FCN_OUTPUT_MARGIN = 8,
}

use fcn_output::*;

/// Each output with its name.
const OUTPUTS: [(fcn_output, &str); 4] = [
    (FCN_OUTPUT_CONFIDENCE, "FCN_OUTPUT_CONFIDENCE (0x1)"),
    (FCN_OUTPUT_SCORES, "FCN_OUTPUT_SCORES (0x2)"),
    (FCN_OUTPUT_CONFIDENCE_U8, "FCN_OUTPUT_CONFIDENCE_U8 (0x4)"),
    (FCN_OUTPUT_MARGIN, "FCN_OUTPUT_MARGIN (0x8)"),
];

/// The result of fcn_segment(): one label per pixel, and optional outputs. Created by
/// fcn_mask_new(), freed by fcn_mask_free(). Reuse one mask for all frames: it keeps its memory,
/// and frames may differ in size. One thread at a time; give each thread its own.
///
/// ```c
/// fcn_mask *mask = fcn_mask_new();
/// fcn_mask_set_outputs(mask, FCN_OUTPUT_CONFIDENCE);
/// if (fcn_segment(segmenter, &frame, mask) == FCN_OK) {
///     const uint8_t *labels = fcn_mask_labels(mask);
///     const float *confidence = fcn_mask_confidence(mask);
///     size_t pixel = (size_t)y * fcn_mask_width(mask) + x;
///     printf("class %d, %.0f %%\n", labels[pixel], 100 * confidence[pixel]);
/// }
/// fcn_mask_free(mask);
/// ```
///
/// Pointers returned by its functions are valid until the next frame is stored in it or it is
/// freed. Setters affect later fcn_segment() calls; the mask's current contents do not change.
/// Label 255 means unknown: the pixel's confidence is below the threshold, or one of its scores is
/// not finite.
pub struct fcn_mask(pub(super) Mask, Buffers);

impl From<Mask> for fcn_mask {
    fn from(mask: Mask) -> Self {
        fcn_mask(mask, Buffers::default())
    }
}

/// The caller's memory for labels.
#[derive(Default)]
struct Buffers {
    /// Where the next frame's labels go.
    next: Option<Buffer>,
    /// Where the last frame's labels are, if not in the mask: exactly their length.
    last: Option<Buffer>,
}

#[derive(Clone, Copy)]
struct Buffer {
    labels: NonNull<u8>,
    bytes: usize,
    stride: usize,
}

// SAFETY: fcn_mask_set_buffer() requires memory that any thread using the mask may access.
unsafe impl Send for Buffers {}

impl fcn_mask {
    /// Labels a frame into this mask and its buffer.
    pub(super) fn fill(&mut self, segmenter: &Segmenter, frame: &Frame<'_>) -> Result<()> {
        let fcn_mask(mask, Buffers { next, last }) = self;
        let Some(Buffer { labels, bytes, stride }) = *next else {
            segmenter.segment(frame, mask)?;
            *last = None;
            return Ok(());
        };
        // SAFETY: fcn_mask_set_buffer() requires this many bytes, which stay valid and which no
        // other thread uses during the call.
        let rows = unsafe { slice::from_raw_parts_mut(labels.as_ptr(), bytes) };
        segmenter.segment_into(frame, mask, rows, stride)?;
        let (width, height) = (mask.width() as usize, mask.height() as usize);
        let stride = if stride == 0 { width } else { stride };
        *last = Some(Buffer { labels, bytes: stride * (height - 1) + width, stride });
        Ok(())
    }

    /// To be called when a result in the mask's own memory was swapped in.
    pub(super) fn exchanged(&mut self) {
        self.1.last = None;
    }

    /// The last frame's labels, in the mask or in the buffer.
    pub(super) fn label_map(&self) -> Result<LabelMap<'_>> {
        let fcn_mask(mask, Buffers { last, .. }) = self;
        let labels = match *last {
            None => mask.label_map(),
            Some(Buffer { labels, bytes, stride }) => {
                // SAFETY: fcn_mask_set_buffer() requires that the buffer stays valid until it is
                // called again.
                let rows = unsafe { slice::from_raw_parts(labels.as_ptr(), bytes) };
                LabelMap::new(rows, mask.width(), mask.height(), stride).ok()
            }
        };
        labels.ok_or_else(|| {
            invalid("the mask has no labels: it is empty, or its buffer was changed; call fcn_segment() first".into())
        })
    }
}

/// Creates an empty mask for labels and pixel counts.
#[unsafe(no_mangle)]
pub extern "C" fn fcn_mask_new() -> Option<Box<fcn_mask>> {
    answer(None, || Some(Some(Box::new(fcn_mask::from(Mask::new())))))
}

/// Frees a mask and the memory its functions returned. NULL is allowed.
///
/// # Safety
/// `mask` is NULL or comes from fcn_mask_new(), was not freed before, and no thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_free(mask: Option<Box<fcn_mask>>) {
    answer((), || {
        drop(mask);
        None
    });
}

/// Selects the outputs beside the labels: FCN_OUTPUT_* combined with `|`, or 0 (default). All are
/// computed in one pass.
///
/// Errors: FCN_ERROR_INVALID_ARGUMENT for unknown bits. fcn_segment() returns it if the model
/// outputs class indices instead of scores.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_set_outputs(mask: Option<&mut fcn_mask>, outputs: u32) -> fcn_status {
    guard(|| {
        let mask = required(mask, "mask")?;
        let has = |output: fcn_output| outputs & output as u32 != 0;
        let unknown = OUTPUTS.iter().fold(outputs, |rest, (output, _)| rest & !(*output as u32));
        if unknown != 0 {
            return Err(invalid(format!(
                "outputs {outputs:#x} has unknown bits {unknown:#x}; supported are {}",
                OUTPUTS.map(|(_, name)| name).join(", ")
            )));
        }
        mask.0.set_outputs(Outputs {
            confidence: has(FCN_OUTPUT_CONFIDENCE),
            confidence_u8: has(FCN_OUTPUT_CONFIDENCE_U8),
            margin: has(FCN_OUTPUT_MARGIN),
            scores: has(FCN_OUTPUT_SCORES),
        });
        Ok(())
    })
}

/// Sets the size of the mask: columns and rows, 1 to 32767; 0 (default) means the frame's width or
/// height after crop and rotation.
///
/// Scores are interpolated directly from the size of the network's input, without padding, to this
/// size (bilinear, half-pixel centres), and labels are taken there. Tiles are averaged at the
/// frame's size first.
///
/// Errors: FCN_ERROR_INVALID_ARGUMENT if a side exceeds 32767.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_set_size(mask: Option<&mut fcn_mask>, width: u32, height: u32) -> fcn_status {
    guard(|| Ok(required(mask, "mask")?.0.set_size(width, height)?))
}

/// Makes later fcn_segment() calls write labels to the caller's memory. NULL (default) means the
/// mask's own.
///
/// - `labels`: memory of `bytes` bytes, valid until the next call of this function or
///   fcn_mask_free(). No other thread may use it during calls with this mask.
/// - `stride`: bytes from row to row; 0 means no padding. The last row needs no padding, and
///   padding is not written.
///
/// Labels are written directly, except with fcn_options_set_tile(), which copies them after the
/// last tile. Once the first label is written, the call cannot fail any more. Labels in the
/// previous buffer no longer belong to the mask: fcn_mask_labels() returns NULL until the next
/// frame. Streams do not use the buffer.
///
/// Errors: fcn_segment() returns FCN_ERROR_INVALID_ARGUMENT if the mask does not fit.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread uses. `labels` is NULL or points to `bytes`
/// bytes that stay until this is called again or the mask is freed, and that no other thread uses
/// while a function has the mask.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_set_buffer(
    mask: Option<&mut fcn_mask>,
    labels: *mut u8,
    bytes: usize,
    stride: usize,
) -> fcn_status {
    guard(|| {
        let fcn_mask(_, buffers) = required(mask, "mask")?;
        if bytes > isize::MAX as usize {
            return Err(invalid(format!("a buffer of {bytes} bytes exceeds the addressable {}", isize::MAX)));
        }
        *buffers = Buffers { next: NonNull::new(labels).map(|labels| Buffer { labels, bytes, stride }), last: None };
        Ok(())
    })
}

/// Gives pixels with less confidence the label 255 (unknown). 0 to 1; 0 (default) disables it.
/// Costs as much as FCN_OUTPUT_CONFIDENCE.
///
/// Errors: FCN_ERROR_INVALID_ARGUMENT if out of range. fcn_segment() returns it if the model
/// outputs class indices.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_set_threshold(mask: Option<&mut fcn_mask>, confidence: f32) -> fcn_status {
    guard(|| Ok(required(mask, "mask")?.0.set_threshold(confidence)?))
}

/// Restricts labels to `count` of the model's classes, at most 256 indices less than 255 in any
/// order: labels, confidence and margin are those of a model without the others. Scores still have
/// all classes. NULL and 0 (default) mean all classes.
///
/// Errors: FCN_ERROR_INVALID_ARGUMENT if out of range. fcn_segment() returns it if the model has
/// fewer classes or outputs class indices.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread uses; `classes` is NULL or points to `count`
/// numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_set_classes(
    mask: Option<&mut fcn_mask>,
    classes: *const u32,
    count: usize,
) -> fcn_status {
    guard(|| {
        let mask = required(mask, "mask")?;
        // SAFETY: the caller promises `count` numbers.
        let classes = unsafe { list(classes, count, "classes") }?;
        let index = |&class: &u32| {
            u8::try_from(class)
                .ok()
                .filter(|&class| class < 255)
                .ok_or_else(|| invalid(format!("class {class} is out of range; class indices are less than 255")))
        };
        let classes = classes.iter().map(index).collect::<Result<Vec<u8>>>()?;
        mask.0.set_classes(&classes);
        Ok(())
    })
}

/// Replaces label i by `labels[i]`. `count` is 1 to 256 and at least the number of classes; several
/// classes may share a label. NULL and 0 (default) disable it. Unknown pixels stay 255.
///
/// Errors: FCN_ERROR_INVALID_ARGUMENT if `count` is out of range. fcn_segment() returns it if the
/// model has more classes.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread uses; `labels` is NULL or points to `count`
/// bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_set_remap(
    mask: Option<&mut fcn_mask>,
    labels: *const u8,
    count: usize,
) -> fcn_status {
    guard(|| {
        let mask = required(mask, "mask")?;
        // SAFETY: the caller promises `count` bytes.
        let table = unsafe { list(labels, count, "labels") }?;
        Ok(mask.0.set_remap((!labels.is_null()).then_some(table))?)
    })
}

/// Removes specks: regions of fewer than `pixels` pixels get the label that borders them most. 0
/// (default) and 1 disable it; any value is allowed.
///
/// Regions are 4-connected here, so that fcn_mask_contours() then finds neither smaller regions nor
/// smaller holes. The smallest region goes first (of equal ones, the one whose first pixel comes
/// first row by row). It gets the label with the longest common border (of equal ones, the lowest)
/// and joins its neighbours of that label. No small region remains unless it is the whole mask.
///
/// Unknown pixels (255) stay unknown, however few, and a speck that borders mostly on them becomes
/// unknown. fcn_mask_pixels() counts the final labels. Confidence, margin, scores,
/// fcn_mask_not_finite() and smoothing are not affected.
///
/// The time is part of `fcn_timings.head` and grows with the number of runs of equal labels: 0.3 ms
/// for a typical 1920 x 1080 mask, 1 microsecond per pixel for noise. Each session reserves 20
/// bytes of address space per pixel and uses as much as there are runs.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_set_min_region(mask: Option<&mut fcn_mask>, pixels: u32) -> fcn_status {
    guard(|| {
        required(mask, "mask")?.0.set_min_region(pixels);
        Ok(())
    })
}

/// Averages scores over consecutive frames, which reduces flicker. `share` is the weight of the
/// newest frame, greater than 0 and at most 1; each earlier frame weighs (1 - share) times its
/// successor. 1 (default) disables it.
///
/// The average is that of the network's low-resolution scores, so it costs little. It restarts if
/// the size, crop, rotation, mirror or segmenter changes, after a frame without smoothing, and
/// after fcn_mask_reset(). Use one mask per camera. A stream takes `share` from the mask given to
/// fcn_stream_create() and keeps an average of its own.
///
/// Errors: FCN_ERROR_INVALID_ARGUMENT if out of range. fcn_segment() returns it if the model
/// outputs class indices.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_set_smoothing(mask: Option<&mut fcn_mask>, share: f32) -> fcn_status {
    guard(|| Ok(required(mask, "mask")?.0.set_smoothing(share)?))
}

/// Restarts smoothing: the next frame is not averaged with earlier ones. Changes nothing else.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_reset(mask: Option<&mut fcn_mask>) -> fcn_status {
    guard(|| {
        required(mask, "mask")?.0.reset();
        Ok(())
    })
}

/// Stores the size of the network's input for the last frame, including padding, in `*width` and
/// `*height`; with tiles, the size of a tile. 0 and 0 before the first frame. Either pointer may be
/// NULL.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to; `width` and `height` are NULL or
/// places to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_working_size(
    mask: Option<&fcn_mask>,
    width: Option<&mut u32>,
    height: Option<&mut u32>,
) -> fcn_status {
    guard(|| {
        let (columns, rows) = required(mask, "mask")?.0.working_size();
        width.into_iter().for_each(|width| *width = columns);
        height.into_iter().for_each(|height| *height = rows);
        Ok(())
    })
}

/// Returns the number of columns: those of the frame after crop and rotation, or of
/// fcn_mask_set_size(). 0 before the first frame.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_width(mask: Option<&fcn_mask>) -> u32 {
    answer(0, || Some(mask?.0.width()))
}

/// Returns the number of rows: those of the frame after crop and rotation, or of
/// fcn_mask_set_size(). 0 before the first frame.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_height(mask: Option<&fcn_mask>) -> u32 {
    answer(0, || Some(mask?.0.height()))
}

/// Returns the number of classes of the model that filled the mask; 0 before the first frame.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_classes(mask: Option<&fcn_mask>) -> u32 {
    answer(0, || u32::try_from(mask?.0.classes()).ok())
}

/// Returns the labels, height x width bytes row by row, in the mask's memory or the buffer of
/// fcn_mask_set_buffer(). Rows are fcn_mask_stride() bytes apart. Labels are class indices, unless
/// fcn_mask_set_remap() changed them; 255 is unknown. NULL before the first frame.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_labels(mask: Option<&fcn_mask>) -> *const u8 {
    answer(ptr::null(), || {
        let fcn_mask(mask, Buffers { last, .. }) = mask?;
        last.map_or_else(|| pointer(mask.labels()), |buffer| Some(buffer.labels.as_ptr().cast_const()))
    })
}

/// Returns the bytes from one row of labels to the next; 0 if fcn_mask_labels() returns NULL. Other
/// outputs have no padding.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_stride(mask: Option<&fcn_mask>) -> usize {
    answer(0, || {
        let fcn_mask(mask, Buffers { last, .. }) = mask?;
        let own = || if mask.labels().is_empty() { 0 } else { mask.width() as usize };
        Some(last.map_or_else(own, |buffer| buffer.stride))
    })
}

/// Returns the highest softmax probability of each pixel, height x width floats row by row, greater
/// than 0 and at most 1. If the model card has a temperature, scores are divided by it before the
/// softmax, so that a confidence of 0.8 is right for about 80 % of the pixels (Guo et al. 2017,
/// section 4.2). NULL if the last frame was segmented without FCN_OUTPUT_CONFIDENCE.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_confidence(mask: Option<&fcn_mask>) -> *const f32 {
    answer(ptr::null(), || pointer(mask?.0.confidence()?))
}

/// Returns the same in height x width bytes: 255 times the probability, rounded. NULL if the last
/// frame was segmented without FCN_OUTPUT_CONFIDENCE_U8.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_confidence_u8(mask: Option<&fcn_mask>) -> *const u8 {
    answer(ptr::null(), || pointer(mask?.0.confidence_u8()?))
}

/// Returns the difference of the two highest softmax probabilities of each pixel, height x width
/// floats row by row, 0 to 1 (1 if only one class competes). NULL if the last frame was segmented
/// without FCN_OUTPUT_MARGIN.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_margin(mask: Option<&fcn_mask>) -> *const f32 {
    answer(ptr::null(), || pointer(mask?.0.margin()?))
}

/// Returns the scores before the softmax, classes x height x width floats. NULL if the last frame
/// was segmented without FCN_OUTPUT_SCORES.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_scores(mask: Option<&fcn_mask>) -> *const f32 {
    answer(ptr::null(), || Some(mask?.0.scores()?.as_ptr()))
}

/// Returns the number of pixels with each label, fcn_mask_classes() values. NULL before the
/// first frame. Pixels with other labels (unknown, or remapped) are not included:
/// fcn_mask_regions() counts any label.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_pixels(mask: Option<&fcn_mask>) -> *const u64 {
    answer(ptr::null(), || pointer(mask?.0.pixels()))
}

/// Returns the number of pixels with an infinite or NaN score; their label is 255, their confidence
/// and margin are 0. More than 0 means that the model or its input is wrong. Always 0 for models
/// that output class indices, before the first frame, and for NULL.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_not_finite(mask: Option<&fcn_mask>) -> u64 {
    answer(0, || Some(mask?.0.not_finite()))
}

/// Duration of the steps of a frame, in microseconds. Filled by fcn_mask_timings().
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fcn_timings {
    /// From the frame to the network's input.
    pub preprocess: u32,
    /// The network, in ONNX Runtime.
    pub inference: u32,
    /// From the network's output to labels.
    pub head: u32,
    /// Everything, including the wait for a free session.
    pub total: u32,
}

/// Stores the durations of the mask's last frame in `*timings`; zeros before the first frame.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to. `timings` is NULL or can be
/// written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_timings(mask: Option<&fcn_mask>, timings: Option<&mut fcn_timings>) -> fcn_status {
    guard(|| {
        let mask = required(mask, "mask")?;
        let timings = required(timings, "timings")?;
        let microseconds = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        let Timings { preprocess, inference, head, total } = mask.0.timings();
        *timings = fcn_timings {
            preprocess: microseconds(preprocess),
            inference: microseconds(inference),
            head: microseconds(head),
            total: microseconds(total),
        };
        Ok(())
    })
}

/// A pointer to the values; `None` if there are none.
fn pointer<T>(values: &[T]) -> Option<*const T> {
    (!values.is_empty()).then_some(values.as_ptr())
}

/// The values of an array, which may be NULL if it is empty.
///
/// # Safety
/// `values` is NULL or points to `count` values that outlive `'a`.
unsafe fn list<'a, T>(values: *const T, count: usize, name: &str) -> Result<&'a [T]> {
    if values.is_null() && count == 0 {
        return Ok(&[]);
    }
    required((!values.is_null()).then_some(()), name)?;
    if count > 256 {
        return Err(invalid(format!("{name} has {count} values; the maximum is 256")));
    }
    // SAFETY: not NULL, and the caller promises `count` values, at most 256.
    Ok(unsafe { slice::from_raw_parts(values, count) })
}
