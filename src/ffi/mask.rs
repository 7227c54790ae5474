//! `fcn_mask`: the reusable result.

use std::ptr;

use super::{answer, fcn_status, guard, required};
use crate::{Error, Mask, Outputs};

/// What a mask holds beside the labels: bits for fcn_mask_set_outputs(). Each costs time and memory.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum fcn_output {
    /// The highest softmax probability of each pixel: fcn_mask_confidence().
    FCN_OUTPUT_CONFIDENCE = 1,
    /// The scores of each class at each pixel: fcn_mask_scores().
    FCN_OUTPUT_SCORES = 2,
}

use fcn_output::*;

/// The labels of a frame, and what else was asked for. Made by fcn_mask_new(), freed by fcn_mask_free(). Use one mask
/// again for every frame: its memory is kept, and sizes may change from frame to frame.
///
/// One thread at a time may use a mask; give each thread its own. What its functions point to belongs to the mask and
/// stays until the next fcn_segment() into it, or until it is freed. A call that fails leaves it as it was.
pub struct fcn_mask(pub(super) Mask);

/// An empty mask that will hold labels and pixels per class. Free it with fcn_mask_free().
#[unsafe(no_mangle)]
pub extern "C" fn fcn_mask_new() -> Option<Box<fcn_mask>> {
    answer(None, || Some(Some(Box::new(fcn_mask(Mask::new())))))
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

/// Chooses what later calls of fcn_segment() are to yield beside the labels: FCN_OUTPUT_CONFIDENCE and
/// FCN_OUTPUT_SCORES joined by `|`, or 0. What the mask holds now stays.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_set_outputs(mask: Option<&mut fcn_mask>, outputs: u32) -> fcn_status {
    guard(|| {
        let mask = required(mask, "mask")?;
        let has = |output: fcn_output| outputs & output as u32 != 0;
        let known = FCN_OUTPUT_CONFIDENCE as u32 | FCN_OUTPUT_SCORES as u32;
        if outputs & !known != 0 {
            return Err(Error::InvalidArgument(format!(
                "outputs {outputs:#x} has the unknown bits {:#x}; there are FCN_OUTPUT_CONFIDENCE (0x1) and FCN_OUTPUT_SCORES (0x2)",
                outputs & !known
            )));
        }
        mask.0.set_outputs(Outputs { confidence: has(FCN_OUTPUT_CONFIDENCE), scores: has(FCN_OUTPUT_SCORES) });
        Ok(())
    })
}

/// Columns of the frame, after crop and rotation; 0 before the first frame.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_width(mask: Option<&fcn_mask>) -> u32 {
    answer(0, || Some(mask?.0.width()))
}

/// Rows of the frame, after crop and rotation; 0 before the first frame.
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
pub unsafe extern "C" fn fcn_mask_classes(mask: Option<&fcn_mask>) -> u32 {
    answer(0, || u32::try_from(mask?.0.pixels().len()).ok())
}

/// The class index of each pixel, row by row without padding: height x width bytes, each less than the number of
/// classes. NULL before the first frame.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_labels(mask: Option<&fcn_mask>) -> *const u8 {
    answer(ptr::null(), || pointer(mask?.0.labels()))
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

/// The scores before softmax: classes x height x width floats. NULL where the last frame was segmented without
/// FCN_OUTPUT_SCORES.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_scores(mask: Option<&fcn_mask>) -> *const f32 {
    answer(ptr::null(), || Some(mask?.0.scores()?.as_ptr()))
}

/// The number of pixels of each class, in class order: fcn_mask_classes() values that add up to height x width. NULL
/// before the first frame.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_mask_pixels(mask: Option<&fcn_mask>) -> *const u64 {
    answer(ptr::null(), || pointer(mask?.0.pixels()))
}

/// Where the values lie; none where there are none.
fn pointer<T>(values: &[T]) -> Option<*const T> {
    (!values.is_empty()).then_some(values.as_ptr())
}
