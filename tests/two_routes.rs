//! One suite, two routes: the same frames through the Rust API and through the C API give the same masks, bit by bit, and
//! what is wrong gives the same sentence.

#[path = "common/models.rs"]
mod models;

use std::{
    ffi::{CStr, CString, c_void},
    ptr, slice,
};

use fcn::{
    ColorMatrix, ColorRange, Error, Frame, Mask, Options, Outputs, PixelFormat, Provider, Rect, Result, Rotation,
    Segmenter, SizeMode, ffi,
};
use models::{Spec, network, random_bytes};

/// A frame and how it is to be looked at.
#[derive(Debug, Clone, Copy)]
struct Case {
    format: PixelFormat,
    width: u32,
    height: u32,
    /// Bytes beyond the end of a row; `None` for stride 0.
    padding: Option<usize>,
    crop: Option<[u32; 4]>,
    rotation: Rotation,
    mirror: bool,
    matrix: ColorMatrix,
    range: ColorRange,
    size_mode: Option<SizeMode>,
    outputs: Outputs,
}

const PLAIN: Case = Case {
    format: PixelFormat::Rgb8,
    width: 50,
    height: 37,
    padding: None,
    crop: None,
    rotation: Rotation::None,
    mirror: false,
    matrix: ColorMatrix::Bt601,
    range: ColorRange::Limited,
    size_mode: None,
    outputs: Outputs { confidence: false, scores: false },
};

const ALL: Outputs = Outputs { confidence: true, scores: true };

const CASES: [Case; 24] = [
    PLAIN,
    Case { format: PixelFormat::Bgr8, ..PLAIN },
    Case { format: PixelFormat::Rgba8, outputs: ALL, ..PLAIN },
    Case { format: PixelFormat::Bgra8, padding: Some(13), ..PLAIN },
    Case { format: PixelFormat::Gray8, padding: Some(0), ..PLAIN },
    Case { format: PixelFormat::Rgbx8, padding: Some(4), ..PLAIN },
    Case { format: PixelFormat::Bgrx8, mirror: true, ..PLAIN },
    Case { format: PixelFormat::Gray16, padding: Some(2), ..PLAIN },
    Case { format: PixelFormat::Nv12, padding: Some(14), range: ColorRange::Full, ..PLAIN },
    Case { format: PixelFormat::Nv21, width: 51, matrix: ColorMatrix::Bt709, ..PLAIN },
    Case { format: PixelFormat::I420, width: 51, padding: Some(3), rotation: Rotation::Clockwise90, ..PLAIN },
    Case { format: PixelFormat::Yuyv, size_mode: Some(SizeMode::Resize { width: 64, height: 40 }), ..PLAIN },
    Case { format: PixelFormat::Uyvy, crop: Some([3, 5, 41, 20]), matrix: ColorMatrix::Bt709, ..PLAIN },
    Case { padding: Some(1), outputs: Outputs { confidence: true, scores: false }, ..PLAIN },
    Case { crop: Some([3, 5, 40, 20]), ..PLAIN },
    Case { crop: Some([49, 36, 1, 1]), outputs: ALL, ..PLAIN },
    Case { rotation: Rotation::Clockwise90, ..PLAIN },
    Case { rotation: Rotation::Half, padding: Some(7), ..PLAIN },
    Case { rotation: Rotation::CounterClockwise90, crop: Some([10, 0, 17, 37]), ..PLAIN },
    Case { mirror: true, ..PLAIN },
    Case { rotation: Rotation::Clockwise90, mirror: true, crop: Some([0, 1, 50, 30]), outputs: ALL, ..PLAIN },
    Case { size_mode: Some(SizeMode::Pad), width: 64, height: 32, ..PLAIN },
    Case { size_mode: Some(SizeMode::Resize { width: 64, height: 40 }), outputs: ALL, ..PLAIN },
    Case { size_mode: Some(SizeMode::Tile { width: 32, height: 24, overlap: 8 }), outputs: ALL, ..PLAIN },
];

/// Frames that are wrong in one respect each.
const WRONG: [Case; 7] = [
    Case { width: 0, ..PLAIN },
    Case { height: 32768, ..PLAIN },
    Case { padding: Some(usize::MAX / 2), ..PLAIN },
    Case { crop: Some([0, 0, 51, 1]), ..PLAIN },
    Case { crop: Some([50, 0, 1, 1]), ..PLAIN },
    Case { crop: Some([u32::MAX, 0, 2, 1]), ..PLAIN },
    Case { crop: Some([0, 0, 0, 5]), ..PLAIN },
];

impl Case {
    fn stride(&self) -> usize {
        self.padding.map_or(0, |padding| self.width as usize * self.format.bytes() + padding)
    }

    fn pixels(&self) -> Vec<u8> {
        // Enough for the largest frame of the tables; the wrong ones must not be followed so far.
        random_bytes(11, 64 * 64 * 5)
    }
}

/// What a frame yields, by either route.
#[derive(Debug, PartialEq)]
struct Answer {
    size: (u32, u32),
    labels: Vec<u8>,
    confidence: Option<Vec<f32>>,
    scores: Option<Vec<f32>>,
    pixels: Vec<u64>,
}

fn through_rust(model: &[u8], case: &Case) -> Result<Answer> {
    let mut options = Options::default();
    options.provider = Provider::Cpu;
    options.size_mode = case.size_mode;
    let segmenter = Segmenter::from_memory(model, &options)?;
    let pixels = case.pixels();
    let mut frame = Frame::contiguous(case.format, &pixels, case.width, case.height, case.stride())?;
    frame = frame.color(case.matrix, case.range);
    if let Some([x, y, width, height]) = case.crop {
        frame = frame.crop(Rect { x, y, width, height })?;
    }
    frame = frame.rotate(case.rotation);
    if case.mirror {
        frame = frame.mirror();
    }
    let mut mask = Mask::with_outputs(case.outputs);
    segmenter.segment(&frame, &mut mask)?;
    Ok(Answer {
        size: (mask.width(), mask.height()),
        labels: mask.labels().to_vec(),
        confidence: mask.confidence().map(<[f32]>::to_vec),
        scores: mask.scores().map(|scores| scores.iter().copied().collect()),
        pixels: mask.pixels().to_vec(),
    })
}

/// A status as a `Result`, with this thread's message.
fn checked(status: ffi::fcn_status) -> Result<()> {
    use ffi::fcn_status::*;
    // SAFETY: fcn_last_error gives a NUL-terminated string that stays until the next failure on this thread.
    let message = unsafe { CStr::from_ptr(ffi::fcn_last_error()) }.to_str().expect("messages are UTF-8").to_owned();
    Err(match status {
        FCN_OK => return Ok(()),
        FCN_ERROR_NULL_ARGUMENT => Error::NullArgument(message),
        FCN_ERROR_INVALID_ARGUMENT => Error::InvalidArgument(message),
        FCN_ERROR_UNSUPPORTED_FORMAT => Error::UnsupportedFormat(message),
        FCN_ERROR_IO => Error::Io(message),
        FCN_ERROR_MODEL => Error::Model(message),
        FCN_ERROR_RUNTIME => Error::Runtime(message),
        FCN_ERROR_PROVIDER => Error::Provider(message),
        FCN_ERROR_OUT_OF_MEMORY => Error::OutOfMemory(message),
        FCN_ERROR_INTERNAL => Error::Internal(message),
        FCN_ERROR_CANCELLED => Error::Cancelled(message),
        FCN_ERROR_TIMEOUT => Error::Timeout(message),
    })
}

fn through_c(model: &[u8], case: &Case) -> Result<Answer> {
    let mut options = ffi::fcn_options_new();
    // SAFETY: the options are alive and used by this thread only.
    unsafe {
        checked(ffi::fcn_options_set_provider(options.as_deref_mut(), ffi::fcn_provider::FCN_PROVIDER_CPU as i32))?;
        checked(match case.size_mode {
            None => ffi::fcn_status::FCN_OK,
            Some(SizeMode::Pad) => ffi::fcn_options_set_pad(options.as_deref_mut()),
            Some(SizeMode::Resize { width, height }) => {
                ffi::fcn_options_set_resize(options.as_deref_mut(), width, height)
            }
            Some(SizeMode::Tile { width, height, overlap }) => {
                ffi::fcn_options_set_tile(options.as_deref_mut(), width, height, overlap)
            }
        })?;
    }
    let mut segmenter = ptr::null_mut();
    let bytes = model.as_ptr().cast::<c_void>();
    // SAFETY: `bytes` points to `model.len()` bytes, and `segmenter` is a place to write to.
    checked(unsafe { ffi::fcn_create_from_memory(bytes, model.len(), options.as_deref(), &mut segmenter) })?;
    // SAFETY: fcn_create_from_memory succeeded, so it stored a segmenter that nobody else has.
    let segmenter = unsafe { Box::from_raw(segmenter) };

    let (mut format, name) = (0, CString::new(case.format.name()).expect("a name without NUL"));
    // SAFETY: `name` is a NUL-terminated string, and `format` a place to write to.
    checked(unsafe { ffi::fcn_format_from_name(name.as_ptr(), &mut format) })?;
    // SAFETY: the name is a NUL-terminated string that stays.
    assert_eq!(unsafe { CStr::from_ptr(ffi::fcn_format_name(format)) }, &*name);
    let pixels = case.pixels();
    let data = pixels.as_ptr().cast::<c_void>();
    let mut frame = ffi::fcn_frame_contiguous(format, data, case.width, case.height, case.stride());
    frame.matrix = match case.matrix {
        ColorMatrix::Bt601 => ffi::fcn_matrix::FCN_MATRIX_BT601 as u32,
        ColorMatrix::Bt709 => ffi::fcn_matrix::FCN_MATRIX_BT709 as u32,
    };
    frame.range = match case.range {
        ColorRange::Limited => ffi::fcn_range::FCN_RANGE_LIMITED as u32,
        ColorRange::Full => ffi::fcn_range::FCN_RANGE_FULL as u32,
    };
    if let Some([x, y, width, height]) = case.crop {
        frame.crop = ffi::fcn_rect { x, y, width, height };
    }
    frame.rotation = match case.rotation {
        Rotation::None => 0,
        Rotation::Clockwise90 => 90,
        Rotation::Half => 180,
        Rotation::CounterClockwise90 => 270,
    };
    frame.mirror = case.mirror.into();

    let mut mask = ffi::fcn_mask_new();
    let outputs = [
        (case.outputs.confidence, ffi::fcn_output::FCN_OUTPUT_CONFIDENCE),
        (case.outputs.scores, ffi::fcn_output::FCN_OUTPUT_SCORES),
    ];
    let outputs = outputs.into_iter().filter(|(wanted, _)| *wanted).map(|(_, output)| output as u32).sum();
    // SAFETY: everything is alive and used by this thread only; the frame's pixels reach as far as the good cases say,
    // and the wrong ones are refused before anyone looks at them.
    unsafe {
        checked(ffi::fcn_mask_set_outputs(mask.as_deref_mut(), outputs))?;
        checked(ffi::fcn_segment(Some(&segmenter), Some(&frame), mask.as_deref_mut()))?;
    }
    let mask = mask.as_deref();
    // SAFETY: the mask is alive; its arrays have the lengths that fcn.h gives.
    let answer = unsafe {
        let (width, height) = (ffi::fcn_mask_width(mask), ffi::fcn_mask_height(mask));
        let classes = ffi::fcn_mask_classes(mask) as usize;
        let area = width as usize * height as usize;
        let floats =
            |pointer: *const f32, length| (!pointer.is_null()).then(|| slice::from_raw_parts(pointer, length).to_vec());
        Answer {
            size: (width, height),
            labels: slice::from_raw_parts(ffi::fcn_mask_labels(mask), area).to_vec(),
            confidence: floats(ffi::fcn_mask_confidence(mask), area),
            scores: floats(ffi::fcn_mask_scores(mask), area * classes),
            pixels: slice::from_raw_parts(ffi::fcn_mask_pixels(mask), classes).to_vec(),
        }
    };
    // SAFETY: nobody else has the options.
    unsafe { ffi::fcn_options_free(options) };
    Ok(answer)
}

#[test]
fn both_routes_give_the_same_mask() {
    let model = network(Spec::default());
    for case in &CASES {
        let rust = through_rust(&model, case).unwrap_or_else(|error| panic!("{case:?}: {error}"));
        let c = through_c(&model, case).unwrap_or_else(|error| panic!("{case:?}: {error}"));
        assert!(rust == c, "{case:?}");
        let turned = matches!(case.rotation, Rotation::Clockwise90 | Rotation::CounterClockwise90);
        let (width, height) = case.crop.map_or((case.width, case.height), |crop| (crop[2], crop[3]));
        assert_eq!(rust.size, if turned { (height, width) } else { (width, height) }, "{case:?}");
        let present = (rust.confidence.is_some(), rust.scores.is_some());
        assert_eq!(present, (case.outputs.confidence, case.outputs.scores), "{case:?}");
        assert_eq!(rust.pixels.iter().sum::<u64>(), rust.labels.len() as u64, "{case:?}");
        // A picture of noise that is all of one class would prove nothing.
        let several = rust.pixels.iter().filter(|pixels| **pixels > 0).count() > 1;
        assert!(several || rust.labels.len() == 1, "{case:?}");
    }
}

#[test]
fn both_routes_refuse_with_the_same_sentence() {
    let model = network(Spec::default());
    for case in &WRONG {
        let rust = through_rust(&model, case).expect_err("a wrong frame");
        let c = through_c(&model, case).expect_err("a wrong frame");
        assert_eq!(rust, c, "{case:?}");
        assert!(matches!(rust, Error::InvalidArgument(_)), "{case:?}");
    }
    for (what, bytes) in [("empty", &b""[..]), ("text", b"no model"), ("half", &model[..model.len() / 2])] {
        let rust = through_rust(bytes, &PLAIN).expect_err(what);
        assert_eq!(rust, through_c(bytes, &PLAIN).expect_err(what), "{what}");
        assert!(matches!(rust, Error::Model(_)), "{what}: {rust}");
    }
}
