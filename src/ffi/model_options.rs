//! Options for models without a model card.

use std::ffi::{CStr, c_char};

use super::{
    Result, fcn_options, fcn_status, guard,
    options::{change, one_of, text},
    required,
};
use crate::{ChannelOrder, TensorLayout};

/// Order of colours in the model's input.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum fcn_channel_order {
    /// That of the model card, or RGB without a card (default).
    FCN_CHANNELS_AUTO = 0,
    /// Red, green, blue.
    FCN_CHANNELS_RGB = 1,
    /// Blue, green, red.
    FCN_CHANNELS_BGR = 2,
}

use fcn_channel_order::*;

/// Order of dimensions in the model's input or output.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum fcn_layout {
    /// Inferred from the model's shapes (default).
    FCN_LAYOUT_AUTO = 0,
    /// N x C x H x W: channels first, as in PyTorch.
    FCN_LAYOUT_NCHW = 1,
    /// N x H x W x C: channels last, as in TensorFlow.
    FCN_LAYOUT_NHWC = 2,
}

use fcn_layout::*;

/// Meaning of the model's output values.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum fcn_values {
    /// Probabilities after a softmax or sigmoid, else logits (default).
    FCN_VALUES_AUTO = 0,
    /// Logits: a softmax (for one score, a sigmoid) turns them into probabilities.
    FCN_VALUES_LOGITS = 1,
    /// Probabilities, 0 to 1.
    FCN_VALUES_PROBABILITIES = 2,
}

use fcn_values::*;

/// Sets the factor for values (0 to 255) before mean and std. Finite and positive; 0 (default)
/// means 1 / 255. Use 1 for models that expect 0 to 255. For models with uint8 input, which do not
/// scale, fcn_create() returns FCN_ERROR_INVALID_ARGUMENT.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_scale(options: Option<&mut fcn_options>, scale: f32) -> fcn_status {
    guard(|| change(options, |options| options.scale = (scale != 0.0).then_some(scale)))
}

/// Sets the order of the model's channels: one of FCN_CHANNELS_*. Overrides the model card.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_channel_order(options: Option<&mut fcn_options>, order: i32) -> fcn_status {
    guard(|| {
        let options = required(options, "options")?;
        let known = [
            (FCN_CHANNELS_AUTO as i32, None),
            (FCN_CHANNELS_RGB as i32, Some(ChannelOrder::Rgb)),
            (FCN_CHANNELS_BGR as i32, Some(ChannelOrder::Bgr)),
        ];
        let names = "FCN_CHANNELS_AUTO (0), FCN_CHANNELS_RGB (1) and FCN_CHANNELS_BGR (2)";
        let order = one_of("channel order", order, &known, names)?;
        change(Some(options), |options| options.channel_order = order)
    })
}

/// The layout with this number.
fn layout(number: i32) -> Result<Option<TensorLayout>> {
    let known = [
        (FCN_LAYOUT_AUTO as i32, None),
        (FCN_LAYOUT_NCHW as i32, Some(TensorLayout::Nchw)),
        (FCN_LAYOUT_NHWC as i32, Some(TensorLayout::Nhwc)),
    ];
    one_of("layout", number, &known, "FCN_LAYOUT_AUTO (0), FCN_LAYOUT_NCHW (1) and FCN_LAYOUT_NHWC (2)")
}

/// Sets the layout of the model's input: one of FCN_LAYOUT_*. Needed if fcn_create() reports that
/// the input's shape is ambiguous.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_input_layout(options: Option<&mut fcn_options>, layout: i32) -> fcn_status {
    guard(|| {
        let options = required(options, "options")?;
        let layout = self::layout(layout)?;
        change(Some(options), |options| options.input_layout = layout)
    })
}

/// Selects the output tensor by name. NULL (default): the first usable one.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses; `name` is NULL or a NUL-terminated
/// string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_output(options: Option<&mut fcn_options>, name: *const c_char) -> fcn_status {
    guard(|| {
        let options = required(options, "options")?;
        // SAFETY: not NULL, and the caller promises a NUL-terminated string.
        let name = (!name.is_null()).then(|| text(unsafe { CStr::from_ptr(name) }, "name")).transpose()?;
        change(Some(options), |options| options.output = name)
    })
}

/// Sets the layout of the model's output: one of FCN_LAYOUT_*. Needed if fcn_create() reports that
/// the output's shape is ambiguous.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_output_layout(options: Option<&mut fcn_options>, layout: i32) -> fcn_status {
    guard(|| {
        let options = required(options, "options")?;
        let layout = self::layout(layout)?;
        change(Some(options), |options| options.output_layout = layout)
    })
}

/// Sets what the model's scores are: one of FCN_VALUES_*.
///
/// A model with one score per pixel has two classes, named "background" and "foreground" unless
/// fcn_options_set_class_names() names them. A pixel is foreground if its logit exceeds 0 or its
/// probability exceeds 0.5 (see fcn_options_set_multilabel() for another bound).
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_output_values(options: Option<&mut fcn_options>, values: i32) -> fcn_status {
    guard(|| {
        let options = required(options, "options")?;
        let known = [
            (FCN_VALUES_AUTO as i32, None),
            (FCN_VALUES_LOGITS as i32, Some(false)),
            (FCN_VALUES_PROBABILITIES as i32, Some(true)),
        ];
        let names = "FCN_VALUES_AUTO (0), FCN_VALUES_LOGITS (1) and FCN_VALUES_PROBABILITIES (2)";
        let probabilities = one_of("kind of values", values, &known, names)?;
        change(Some(options), |options| options.probabilities = probabilities)
    })
}

/// Sets the minimum probability of a class for models whose classes do not exclude each other
/// (multilabel: a sigmoid per class), and for those with one score per pixel. Greater than 0 and
/// less than 1; 0 (default) disables it.
///
/// A pixel gets the class with the highest score, or background if no class reaches `probability`.
/// Background becomes class 0, before the model's own classes: fcn_options_set_class_names() takes
/// one more name. Confidence is the softmax over all logits, where background's logit is that of
/// `probability`.
///
/// By default, the highest of several scores wins, however low, and a single score is foreground
/// above 0.5. With a model card, a softmax or class indices, fcn_create() returns
/// FCN_ERROR_INVALID_ARGUMENT.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_multilabel(options: Option<&mut fcn_options>, probability: f32) -> fcn_status {
    guard(|| change(options, |options| options.multilabel = (probability != 0.0).then_some(probability)))
}
