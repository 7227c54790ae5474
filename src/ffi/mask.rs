//! `fcn_mask`: the reusable result.

use std::{
    ptr::{self, NonNull},
    slice,
    time::Duration,
};

use super::{answer, fcn_rect, fcn_status, guard, required};
use crate::{Error, Frame, LabelMap, Mask, Outputs, Rect, Region, Result, Segmenter, Timings};

/// What a mask holds beside the labels: bits for fcn_mask_set_outputs(). Each costs time and memory.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum fcn_output {
    /// The highest softmax probability of each pixel: fcn_mask_confidence().
    FCN_OUTPUT_CONFIDENCE = 1,
    /// The scores of each class at each pixel: fcn_mask_scores().
    FCN_OUTPUT_SCORES = 2,
    /// The highest softmax probability of each pixel in a byte: fcn_mask_confidence_u8().
    FCN_OUTPUT_CONFIDENCE_U8 = 4,
    /// How far the highest softmax probability is above the second highest: fcn_mask_margin().
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

/// The labels of a frame, and what else was asked for. Made by fcn_mask_new(), freed by fcn_mask_free(). Use one mask
/// again for every frame: its memory is kept, and sizes may change from frame to frame.
///
/// One thread at a time may use a mask; give each thread its own. What its functions point to belongs to the mask and
/// stays until the next fcn_segment() into it, or until it is freed. A call that fails leaves it as it was. What the setters
/// choose holds for later calls of fcn_segment(); what the mask holds now stays.
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
    /// Where the last frame's are, if they are not the mask's own: exactly as many bytes as they take.
    last: Option<Buffer>,
}

#[derive(Clone, Copy)]
struct Buffer {
    labels: NonNull<u8>,
    bytes: usize,
    stride: usize,
}

// SAFETY: it is memory that fcn_mask_set_buffer() asks to be valid for whichever thread uses the mask.
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
        // SAFETY: fcn_mask_set_buffer() asks for this many bytes, which stay and which nobody else uses during the call.
        let rows = unsafe { slice::from_raw_parts_mut(labels.as_ptr(), bytes) };
        segmenter.segment_into(frame, mask, rows, stride)?;
        let (width, height) = (mask.width() as usize, mask.height() as usize);
        let stride = if stride == 0 { width } else { stride };
        *last = Some(Buffer { labels, bytes: stride * (height - 1) + width, stride });
        Ok(())
    }

    /// After the mask was given a result of its own memory.
    pub(super) fn exchanged(&mut self) {
        self.1.last = None;
    }

    /// The last frame's labels, wherever they are.
    pub(super) fn label_map(&self) -> Result<LabelMap<'_>> {
        let fcn_mask(mask, Buffers { last, .. }) = self;
        let labels = match *last {
            None => mask.label_map(),
            Some(Buffer { labels, bytes, stride }) => {
                // SAFETY: fcn_mask_set_buffer() asks that the labels written there stay readable until it is called again.
                let rows = unsafe { slice::from_raw_parts(labels.as_ptr(), bytes) };
                LabelMap::new(rows, mask.width(), mask.height(), stride).ok()
            }
        };
        labels.ok_or_else(|| {
            Error::InvalidArgument(
                "the mask has no labels: no frame has filled it, or its buffer was changed since; call fcn_segment() first".into(),
            )
        })
    }
}

/// An empty mask that will hold labels and pixels per class. Free it with fcn_mask_free().
#[unsafe(no_mangle)]
pub extern "C" fn fcn_mask_new() -> Option<Box<fcn_mask>> {
    answer(None, || Some(Some(Box::new(fcn_mask::from(Mask::new())))))
}

/// Frees a mask and everything its functions pointed to. NULL is fine.
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

/// Chooses what later calls of fcn_segment() are to yield beside the labels: FCN_OUTPUT_* joined by `|`, or 0. All come out of
/// one pass.
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
            return Err(Error::InvalidArgument(format!(
                "outputs {outputs:#x} has the unknown bits {unknown:#x}; there are {}",
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

/// The size of the mask, whatever that of the frame: columns and rows, each at most 32767; 0, the default, means the
/// frame's own side (after crop and rotation). Scores are interpolated straight to this size (bilinear, half-pixel centres)
/// from the size of the network's input, without what padding added, and labels are taken there. Tiles are averaged
/// at the frame's size first.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_set_size(mask: Option<&mut fcn_mask>, width: u32, height: u32) -> fcn_status {
    guard(|| required(mask, "mask")?.0.set_size(width, height))
}

/// Where labels go from now on: `bytes` bytes of the caller's at `labels`, in rows that start `stride` bytes apart; 0 means rows
/// without padding, and the last one may end without. What lies between rows is not touched. NULL, the default, means the
/// mask's own memory. fcn_segment() is FCN_ERROR_INVALID_ARGUMENT where the mask's size does not fit.
///
/// Labels are written straight there, but for those of tiles (fcn_options_set_tile()), which are copied when the last
/// tile has succeeded. Nothing can fail any more once the first label is written. Streams keep to masks of their own.
///
/// Labels of the last frame that are in the buffer given before are the mask's no longer: fcn_mask_labels() is NULL then.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread uses. `labels` is NULL or points to `bytes` bytes that stay until this is called
/// again or the mask is freed, and that no other thread uses while a function has the mask.
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
            return Err(Error::InvalidArgument(format!(
                "a buffer of {bytes} bytes is more than the {} that can be addressed",
                isize::MAX
            )));
        }
        *buffers = Buffers { next: NonNull::new(labels).map(|labels| Buffer { labels, bytes, stride }), last: None };
        Ok(())
    })
}

/// Pixels whose confidence is less than this, 0 to 1, get the label 255 (unknown); 0, the default, means none. It costs as
/// much as FCN_OUTPUT_CONFIDENCE.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_set_threshold(mask: Option<&mut fcn_mask>, confidence: f32) -> fcn_status {
    guard(|| required(mask, "mask")?.0.set_threshold(confidence))
}

/// Only these class indices, each less than 255, compete: labels, confidence and margin are as if the model had no
/// others; scores have all the same. They are copied; order and repetition do not matter. NULL and 0, the default, mean
/// every class. fcn_segment() is FCN_ERROR_INVALID_ARGUMENT where the model has fewer classes.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread uses; `classes` is NULL or points to `count` numbers.
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
            u8::try_from(class).ok().filter(|&class| class < 255).ok_or_else(|| {
                Error::InvalidArgument(format!("class {class} is to compete; class indices are less than 255"))
            })
        };
        let classes = classes.iter().map(index).collect::<Result<Vec<u8>>>()?;
        mask.0.set_classes(&classes);
        Ok(())
    })
}

/// Writes `labels[i]` where class i wins: 1 to 256 labels, as many as the model has classes or more, which are copied;
/// several classes may share one. NULL and 0, the default, mean the class index itself. Unknown pixels (255) are not
/// looked up.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread uses; `labels` is NULL or points to `count` bytes.
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
        mask.0.set_remap((!labels.is_null()).then_some(table))
    })
}

/// Removes specks: regions of fewer than `pixels` pixels take the label that borders them most. 0, the default, and 1 leave
/// labels as they are; every number is possible.
///
/// A region is here pixels with one label that touch at their sides; those that touch at corners alone are not together, so
/// fcn_mask_contours() then finds neither regions nor holes of fewer pixels. The smallest goes first (of equal ones the one
/// whose first pixel, row by row, comes first) and takes the label with the most sides of pixels along it, of equal ones the
/// lowest; it is one region from then on with those of this label that it touches. So none that is too small is left, unless
/// it is the whole mask.
///
/// Unknown pixels (255) stay so, however few, because nothing makes them certain; a speck that they border most becomes unknown.
/// fcn_mask_pixel_counts() counts the labels as they are then. Confidence, margin, scores and fcn_mask_non_finite_count() stay what the network
/// said of each pixel, and smoothing averages scores that know nothing of it. A stream takes this from the mask that it is made
/// like.
///
/// The time is part of `fcn_timings.head`; it grows with the number of runs of equal labels in the rows: 0.3 ms for the labels of a
/// photo at 1920 x 1080, a microsecond a pixel for noise. Memory for the most runs possible is reserved in each session, 20 bytes
/// a pixel, and used as far as there are runs.
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

/// Averages scores over the frames of a stream, so that labels flicker less: `share` is the weight of the newest frame,
/// greater than 0 and at most 1, and each earlier one weighs (1 - share) times its successor. 1, the default, means that
/// each frame stands alone.
///
/// The average is that of the network's own low-resolution scores, so it costs little. It begins anew with another size, crop,
/// rotation or mirror of the frame, with another segmenter, after a frame without smoothing, and after fcn_mask_reset(). A
/// mask belongs to one camera then; a stream, which takes the share from the mask that it is made like, has an average of its own.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_set_smoothing(mask: Option<&mut fcn_mask>, share: f32) -> fcn_status {
    guard(|| required(mask, "mask")?.0.set_smoothing(share))
}

/// Forgets earlier frames: the next one is not averaged with them. Everything else stays.
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

/// Stores in `*width` and `*height` the columns and rows of the network's input for this frame, with padding; with tiles, those
/// of a tile. 0 and 0 before the first frame. Either pointer may be NULL.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to; `width` and `height` are NULL or places to write to.
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

/// Columns: those of the frame after crop and rotation, or what fcn_mask_set_size() asked for; 0 before the first frame.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_width(mask: Option<&fcn_mask>) -> u32 {
    answer(0, || Some(mask?.0.width()))
}

/// Rows: those of the frame after crop and rotation, or what fcn_mask_set_size() asked for; 0 before the first frame.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_height(mask: Option<&fcn_mask>) -> u32 {
    answer(0, || Some(mask?.0.height()))
}

/// Classes of the model that filled the mask; 0 before the first frame.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_class_count(mask: Option<&fcn_mask>) -> u32 {
    answer(0, || u32::try_from(mask?.0.classes()).ok())
}

/// The class index of each pixel, row by row: height x width bytes, each less than the number of classes unless a threshold or
/// other labels were chosen. They are in the mask's own memory, without padding, or in the buffer that was given to it;
/// fcn_mask_stride() is the distance of rows. NULL before the first frame.
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

/// The distance in bytes from one row of fcn_mask_labels() to the next; 0 where that is NULL. Everything else in a mask has
/// no padding.
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

/// The highest softmax probability of each pixel, row by row: height x width floats, greater than 0 and at most 1.
/// NULL where the last frame was segmented without FCN_OUTPUT_CONFIDENCE.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_confidence(mask: Option<&fcn_mask>) -> *const f32 {
    answer(ptr::null(), || pointer(mask?.0.confidence()?))
}

/// The same in bytes: 255 times the probability, rounded. NULL where the last frame was segmented without
/// FCN_OUTPUT_CONFIDENCE_U8.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_confidence_u8(mask: Option<&fcn_mask>) -> *const u8 {
    answer(ptr::null(), || pointer(mask?.0.confidence_u8()?))
}

/// The highest softmax probability of each pixel less the second highest, row by row: height x width floats, 0 to 1 (1 where
/// only one class competes). NULL where the last frame was segmented without FCN_OUTPUT_MARGIN.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_margin(mask: Option<&fcn_mask>) -> *const f32 {
    answer(ptr::null(), || pointer(mask?.0.margin()?))
}

/// The scores before softmax: classes x height x width floats. NULL where the last frame was segmented without
/// FCN_OUTPUT_SCORES.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_scores(mask: Option<&fcn_mask>) -> *const f32 {
    answer(ptr::null(), || Some(mask?.0.scores()?.as_ptr()))
}

/// How many pixels have each label from 0 to fcn_mask_class_count() - 1, in this order. They add up to height x width, less those
/// with other labels, which come from a threshold or from labels that were chosen; fcn_mask_regions() counts these, too.
/// NULL before the first frame.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_pixel_counts(mask: Option<&fcn_mask>) -> *const u64 {
    answer(ptr::null(), || pointer(mask?.0.pixels()))
}

/// How many pixels have a score that is infinite or NaN. Their label is 255, their confidence and margin are 0. More than 0
/// means that the model, or what it is fed, is broken. 0 before the first frame, for models that answer class indices, and for NULL.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_non_finite_count(mask: Option<&fcn_mask>) -> u64 {
    answer(0, || Some(mask?.0.not_finite()))
}

/// The pixels that have one label. Filled by fcn_mask_regions().
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fcn_region {
    /// How many there are.
    pub pixels: u64,
    /// The mean of their columns, where 0 is the middle of the leftmost; 0 where there are no pixels.
    pub centroid_x: f64,
    /// The mean of their rows, where 0 is the middle of the topmost; 0 where there are no pixels.
    pub centroid_y: f64,
    /// The smallest rectangle that holds them all; all zero where there are none.
    pub bounds: fcn_rect,
}

/// Stores, for each label from 0 to `count` - 1 as it stands in the mask, how many pixels have it, where they are, and their
/// centroid, in the `count` regions at `regions`, 1 to 256. One pass over the labels, about a nanosecond for a pixel or less.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to; `regions` is NULL or has room for `count` regions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_regions(
    mask: Option<&fcn_mask>,
    regions: *mut fcn_region,
    count: usize,
) -> fcn_status {
    guard(|| {
        // SAFETY: the caller promises room for `count` regions, or NULL.
        unsafe { measure(mask, regions, count, |labels| Ok(labels.regions())) }
    })
}

/// As fcn_mask_regions(), without specks: pixels count where at least `min_area` of their label touch each other, at sides or
/// corners, as contours have it. 0 and 1 leave nothing out. This takes memory for up to 12 bytes a pixel.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to; `regions` is NULL or has room for `count` regions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_regions_filtered(
    mask: Option<&fcn_mask>,
    min_area: u32,
    regions: *mut fcn_region,
    count: usize,
) -> fcn_status {
    guard(|| {
        // SAFETY: the caller promises room for `count` regions, or NULL.
        unsafe { measure(mask, regions, count, |labels| labels.regions_filtered(min_area)) }
    })
}

/// # Safety
/// `regions` is NULL or has room for `count` regions.
unsafe fn measure(
    mask: Option<&fcn_mask>,
    regions: *mut fcn_region,
    count: usize,
    measure: impl FnOnce(LabelMap<'_>) -> Result<[Region; 256]>,
) -> Result<()> {
    let mask = required(mask, "mask")?;
    required((!regions.is_null()).then_some(()), "regions")?;
    if !(1..=256).contains(&count) {
        return Err(Error::InvalidArgument(format!("{count} regions are asked for; there are 1 to 256")));
    }
    for (index, region) in measure(mask.label_map()?)?.into_iter().take(count).enumerate() {
        let Rect { x, y, width, height } = region.bounds;
        let (pixels, bounds) = (region.pixels, fcn_rect { x, y, width, height });
        let region = fcn_region { pixels, centroid_x: region.centroid.0, centroid_y: region.centroid.1, bounds };
        // SAFETY: not NULL, and the caller promises room for `count` of them.
        unsafe { regions.add(index).write(region) };
    }
    Ok(())
}

/// How long the steps of a frame took, in microseconds. Filled by fcn_mask_timings().
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fcn_timings {
    /// From the frame to the network's input.
    pub preprocess: u32,
    /// The network itself, in ONNX Runtime.
    pub inference: u32,
    /// From the network's answer to labels.
    pub head: u32,
    /// All of it, and the wait for a free session before.
    pub total: u32,
}

/// How long the last successful fcn_segment() into this mask took; zeros before the first frame.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to. `timings` is NULL or can be written to.
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

/// Where the values lie; none where there are none.
fn pointer<T>(values: &[T]) -> Option<*const T> {
    (!values.is_empty()).then_some(values.as_ptr())
}

/// The values of an array that may be NULL where it is empty.
///
/// # Safety
/// `values` is NULL or points to `count` values that stay as long as `'a`.
unsafe fn list<'a, T>(values: *const T, count: usize, name: &str) -> Result<&'a [T]> {
    if values.is_null() && count == 0 {
        return Ok(&[]);
    }
    required((!values.is_null()).then_some(()), name)?;
    if count > 256 {
        return Err(Error::InvalidArgument(format!("{name} has {count} values; at most 256 are possible")));
    }
    // SAFETY: not NULL, and the caller promises `count` values, at most 256.
    Ok(unsafe { slice::from_raw_parts(values, count) })
}
