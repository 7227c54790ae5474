//! Options that say what a model made elsewhere expects and answers.

use std::ffi::{CStr, c_char};

use super::{
    fcn_options, fcn_status, guard,
    options::{change, one_of, text},
    required,
};
use crate::{ChannelOrder, Result, TensorLayout};

/// In which order a network takes the colours of a pixel.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum fcn_channel_order {
    /// What the model's card says; without a card RGB. The default.
    FCN_CHANNELS_AUTO = 0,
    /// Red, green, blue.
    FCN_CHANNELS_RGB = 1,
    /// Blue, green, red.
    FCN_CHANNELS_BGR = 2,
}

use fcn_channel_order::*;

/// In which order the dimensions of a network's input or output come.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum fcn_layout {
    /// What the model's shapes tell. The default.
    FCN_LAYOUT_AUTO = 0,
    /// Channels before rows and columns, as PyTorch orders them: N x C x H x W.
    FCN_LAYOUT_NCHW = 1,
    /// Channels last, as TensorFlow orders them: N x H x W x C.
    FCN_LAYOUT_NHWC = 2,
}

use fcn_layout::*;

/// What the scores of a network are.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum fcn_values {
    /// Probabilities behind a softmax or a sigmoid, else logits. The default.
    FCN_VALUES_AUTO = 0,
    /// Logits: any number; softmax, or sigmoid for a single one, makes probabilities of them.
    FCN_VALUES_LOGITS = 1,
    /// Probabilities, 0 to 1.
    FCN_VALUES_PROBABILITIES = 2,
}

use fcn_values::*;

/// What each value, 0 to 255, is multiplied by before mean and std: for a model that takes values of 0 to 255 as they are 1,
/// and 0 for the default of 1 / 255. Finite and not negative. With a model that takes bytes (uint8) an error of fcn_create().
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_scale(options: Option<&mut fcn_options>, scale: f32) -> fcn_status {
    guard(|| change(options, |options| options.scale = (scale != 0.0).then_some(scale)))
}

/// The order of the model's channels: one of FCN_CHANNELS_*. Wins over a card.
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

/// The layouts by their numbers.
fn layout(number: i32) -> Result<Option<TensorLayout>> {
    let known = [
        (FCN_LAYOUT_AUTO as i32, None),
        (FCN_LAYOUT_NCHW as i32, Some(TensorLayout::Nchw)),
        (FCN_LAYOUT_NHWC as i32, Some(TensorLayout::Nhwc)),
    ];
    one_of("layout", number, &known, "FCN_LAYOUT_AUTO (0), FCN_LAYOUT_NCHW (1) and FCN_LAYOUT_NHWC (2)")
}

/// The layout of the model's input, one of FCN_LAYOUT_*, for models whose input's shape does not tell: fcn_create() says so.
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

/// The name of the output that is the segmentation, for models with several; it is copied. NULL, the default, means the first
/// that can be one.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses; `name` is NULL or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_output(options: Option<&mut fcn_options>, name: *const c_char) -> fcn_status {
    guard(|| {
        let options = required(options, "options")?;
        // SAFETY: not NULL, and the caller promises a NUL-terminated string.
        let name = (!name.is_null()).then(|| text(unsafe { CStr::from_ptr(name) }, "name")).transpose()?;
        change(Some(options), |options| options.output = name)
    })
}

/// The layout of the model's output, one of FCN_LAYOUT_*, for models whose output's shape does not tell: fcn_create() says so.
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

/// What the model's scores are, one of FCN_VALUES_*. A model with one score for each pixel has two classes, "background" and
/// "foreground" unless fcn_options_set_class_names() names them: foreground is a logit above 0, or a probability above 0.5.
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

/// For models whose classes do not exclude each other (multilabel: a sigmoid for each), and for those with one score: the
/// probability that a class must reach, between 0 and 1; 0 for the default. A pixel belongs to the class with the highest score, or
/// to the background if none reaches `probability`. The background is class 0, in front of the model's own, so
/// fcn_options_set_class_names() takes one name more. Confidence is the softmax of all logits, the background's being that of
/// `probability`.
///
/// By default the highest score of several classes counts, however low, and a single score is foreground above 0.5. With a model
/// that has a card, a softmax or class indices an error of fcn_create().
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcn_options_set_multilabel(options: Option<&mut fcn_options>, probability: f32) -> fcn_status {
    guard(|| change(options, |options| options.multilabel = (probability != 0.0).then_some(probability)))
}
