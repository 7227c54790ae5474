//! The same cases through the Rust API and the C API: masks must be equal bit by bit, and errors
//! must have the same message.

#[path = "common/models.rs"]
mod models;

use std::{
    ffi::{CStr, CString, c_void},
    ptr, slice,
};

use fcn::{
    ColorMatrix, ColorRange, Contour, Error, Frame, LabelMap, Mask, Options, Outputs, OverlayStyle, PixelFormat,
    Provider, Rect, Region, Result, Rotation, Segmenter, SizeMode, ffi, overlay_styled, palette::Palette,
};
use models::{Spec, network, random_bytes};

/// Large enough for the labels of each case.
const BUFFER: usize = 64 * 64;

/// Regions and contours of fewer pixels are left out.
const MIN_AREA: u32 = 8;

const STYLE: OverlayStyle = OverlayStyle { alpha: 0.5, outline: 1, legend: true };

/// A frame and its view.
#[derive(Debug, Clone, Copy)]
struct Case {
    format: PixelFormat,
    width: u32,
    height: u32,
    /// Padding bytes per row; `None` for stride 0.
    padding: Option<usize>,
    crop: Option<[u32; 4]>,
    rotation: Rotation,
    mirror: bool,
    matrix: ColorMatrix,
    range: ColorRange,
    size_mode: Option<SizeMode>,
    native_side: Option<u32>,
    outputs: Outputs,
    /// Columns and rows of the mask.
    size: (u32, u32),
    /// The caller's memory for labels, with this many padding bytes per row.
    buffer: Option<usize>,
    threshold: f32,
    classes: &'static [u8],
    remap: Option<&'static [u8]>,
    min_region: u32,
    smoothing: f32,
    palette: Option<Palette>,
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
    native_side: None,
    outputs: Outputs { confidence: false, confidence_u8: false, margin: false, scores: false },
    size: (0, 0),
    buffer: None,
    threshold: 0.0,
    classes: &[],
    remap: None,
    min_region: 0,
    smoothing: 1.0,
    palette: None,
};

const ALL: Outputs = Outputs { confidence: true, confidence_u8: true, margin: true, scores: true };

const CASES: [Case; 40] = [
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
    Case { padding: Some(1), outputs: Outputs { confidence: true, ..PLAIN.outputs }, ..PLAIN },
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
    Case { native_side: Some(40), ..PLAIN },
    Case { native_side: Some(80), outputs: ALL, ..PLAIN },
    Case { native_side: Some(32767), size_mode: Some(SizeMode::ShortSide(24)), ..PLAIN },
    Case { native_side: Some(16), size_mode: Some(SizeMode::Auto), format: PixelFormat::Nv12, ..PLAIN },
    Case { size: (99, 20), outputs: ALL, ..PLAIN },
    Case { size: (0, 70), rotation: Rotation::Clockwise90, ..PLAIN },
    Case { size: (130, 0), size_mode: Some(SizeMode::Tile { width: 32, height: 24, overlap: 8 }), ..PLAIN },
    Case { buffer: Some(0), outputs: Outputs { confidence_u8: true, ..PLAIN.outputs }, ..PLAIN },
    Case { buffer: Some(7), size: (40, 41), outputs: Outputs { margin: true, ..PLAIN.outputs }, ..PLAIN },
    Case { buffer: Some(3), threshold: 0.6, palette: Some(Palette::Cityscapes), ..PLAIN },
    Case { classes: &[4, 2], outputs: ALL, palette: Some(Palette::Voc), ..PLAIN },
    Case { remap: Some(&[3, 3, 0, 1, 4]), smoothing: 0.25, ..PLAIN },
    Case { classes: &[0, 1, 3], remap: Some(&[7; 256]), threshold: 0.5, smoothing: 0.5, outputs: ALL, ..PLAIN },
    Case { min_region: 6, outputs: ALL, ..PLAIN },
    Case { min_region: 5, threshold: 0.6, buffer: Some(5), size: (60, 45), ..PLAIN },
    Case {
        min_region: 4,
        size_mode: Some(SizeMode::Tile { width: 32, height: 24, overlap: 8 }),
        smoothing: 0.5,
        ..PLAIN
    },
];

/// Frames with one error each.
const WRONG: [Case; 7] = [
    Case { width: 0, ..PLAIN },
    Case { height: 32768, ..PLAIN },
    Case { padding: Some(usize::MAX / 4), ..PLAIN },
    Case { crop: Some([0, 0, 51, 1]), ..PLAIN },
    Case { crop: Some([50, 0, 1, 1]), ..PLAIN },
    Case { crop: Some([u32::MAX, 0, 2, 1]), ..PLAIN },
    Case { crop: Some([0, 0, 0, 5]), ..PLAIN },
];

impl Case {
    fn stride(&self) -> usize {
        self.padding.map_or(0, |padding| self.width as usize * self.format.bytes() + padding)
    }

    /// Pixels of the frame and of the previous one, for smoothing.
    fn pixels(&self) -> [Vec<u8>; 2] {
        // Large enough for the largest frame of the tables; the invalid ones must be rejected
        // before they are read.
        [11, 12].map(|seed| random_bytes(seed, 64 * 64 * 5))
    }

    fn frame<'a>(&self, pixels: &'a [u8]) -> Result<Frame<'a>> {
        let mut frame = Frame::contiguous(self.format, pixels, self.width, self.height, self.stride())?;
        frame = frame.color(self.matrix, self.range);
        if let Some([x, y, width, height]) = self.crop {
            frame = frame.crop(Rect { x, y, width, height })?;
        }
        frame = frame.rotate(self.rotation);
        Ok(if self.mirror { frame.mirror() } else { frame })
    }
}

/// The result of a frame.
#[derive(Debug, PartialEq)]
struct Answer {
    size: (u32, u32),
    working_size: (u32, u32),
    labels: Vec<u8>,
    confidence: Option<Vec<f32>>,
    confidence_u8: Option<Vec<u8>>,
    margin: Option<Vec<f32>>,
    scores: Option<Vec<f32>>,
    pixels: Vec<u64>,
    regions: [Region; 256],
    contours: Vec<Contour>,
    /// Without regions of fewer pixels than [`MIN_AREA`].
    filtered: ([Region; 256], Vec<Contour>),
    /// The classes drawn over white RGB pixels of the frame's size.
    overlay: Vec<u8>,
}

fn through_rust(model: &[u8], case: &Case) -> Result<Answer> {
    let mut options = Options::default();
    options.provider = Provider::Cpu;
    options.size_mode = case.size_mode;
    options.native_side = case.native_side;
    options.palette = case.palette;
    let segmenter = Segmenter::from_memory(model, &options)?;
    let pixels = case.pixels();
    let [frame, earlier] = [case.frame(&pixels[0])?, case.frame(&pixels[1])?];
    let mut mask = Mask::with_outputs(case.outputs);
    mask.set_size(case.size.0, case.size.1)?;
    mask.set_threshold(case.threshold)?;
    mask.set_classes(case.classes);
    mask.set_remap(case.remap)?;
    mask.set_min_region(case.min_region);
    mask.set_smoothing(case.smoothing)?;
    let mut memory = vec![0; BUFFER];
    let stride = match case.buffer {
        None => {
            segmenter.segment(&earlier, &mut mask)?;
            segmenter.segment(&frame, &mut mask)?;
            0
        }
        Some(padding) => {
            let width = if case.size.0 == 0 { frame.width() } else { case.size.0 };
            let stride = width as usize + padding;
            segmenter.segment_into(&earlier, &mut mask, &mut memory, stride)?;
            segmenter.segment_into(&frame, &mut mask, &mut memory, stride)?;
            stride
        }
    };
    let own = case.buffer.is_none();
    let map = LabelMap::new(if own { mask.labels() } else { &memory }, mask.width(), mask.height(), stride)?;
    let mut overlay = vec![255; mask.width() as usize * mask.height() as usize * 3];
    // Labels that are not classes cannot be drawn, which both routes report.
    let drawn =
        overlay_styled(&mut overlay, PixelFormat::Rgb8, 0, map, segmenter.classes(), segmenter.background(), STYLE);
    assert!(drawn.is_ok() || case.remap.is_some(), "{drawn:?}");
    Ok(Answer {
        size: (mask.width(), mask.height()),
        working_size: mask.working_size(),
        labels: map.rows().flatten().copied().collect(),
        confidence: mask.confidence().map(<[f32]>::to_vec),
        confidence_u8: mask.confidence_u8().map(<[u8]>::to_vec),
        margin: mask.margin().map(<[f32]>::to_vec),
        scores: mask.scores().map(|scores| scores.iter().copied().collect()),
        pixels: mask.pixels().to_vec(),
        regions: map.regions(),
        contours: map.contours(1)?,
        filtered: (map.regions_filtered(MIN_AREA)?, map.contours_filtered(1, MIN_AREA)?),
        overlay,
    })
}

/// Converts a status to a `Result`, with this thread's message.
fn checked(status: ffi::fcn_status) -> Result<()> {
    use ffi::fcn_status::*;
    // SAFETY: fcn_last_error returns a NUL-terminated string that stays valid until the next
    // failure on this thread.
    let message = unsafe { CStr::from_ptr(ffi::fcn_last_error()) }.to_str().expect("messages are UTF-8").to_owned();
    Err(match status {
        FCN_OK => return Ok(()),
        FCN_ERROR_NULL_ARGUMENT => panic!("{message}"),
        FCN_ERROR_INVALID_ARGUMENT => Error::InvalidArgument(message),
        FCN_ERROR_UNSUPPORTED_FORMAT => Error::UnsupportedFormat(message),
        FCN_ERROR_IO => Error::Io(message.into()),
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
    // SAFETY: the options are alive and used only by this thread.
    unsafe {
        checked(ffi::fcn_options_set_provider(options.as_deref_mut(), ffi::fcn_provider::FCN_PROVIDER_CPU as i32))?;
        checked(match case.size_mode {
            None => ffi::fcn_status::FCN_OK,
            Some(SizeMode::Auto) => ffi::fcn_options_set_auto_size(options.as_deref_mut()),
            Some(SizeMode::ShortSide(pixels)) => ffi::fcn_options_set_short_side(options.as_deref_mut(), pixels),
            Some(SizeMode::Pad) => ffi::fcn_options_set_pad(options.as_deref_mut()),
            Some(SizeMode::Resize { width, height }) => {
                ffi::fcn_options_set_resize(options.as_deref_mut(), width, height)
            }
            Some(SizeMode::Tile { width, height, overlap }) => {
                ffi::fcn_options_set_tile(options.as_deref_mut(), width, height, overlap)
            }
        })?;
        if let Some(side) = case.native_side {
            checked(ffi::fcn_options_set_native_side(options.as_deref_mut(), side))?;
        }
        let palette = case.palette.map(|palette| if palette == Palette::Voc { c"voc" } else { c"cityscapes" });
        checked(ffi::fcn_options_set_palette(options.as_deref_mut(), palette.map_or(ptr::null(), CStr::as_ptr)))?;
    }
    let mut segmenter = ptr::null_mut();
    let bytes = model.as_ptr().cast::<c_void>();
    // SAFETY: `bytes` points to `model.len()` bytes, and `segmenter` is valid for writes.
    checked(unsafe { ffi::fcn_create_from_memory(bytes, model.len(), options.as_deref(), &mut segmenter) })?;
    // SAFETY: fcn_create_from_memory succeeded, so it stored a segmenter that is not shared.
    let segmenter = unsafe { Box::from_raw(segmenter) };

    let (mut format, name) = (0, CString::new(case.format.name()).expect("a name without NUL"));
    // SAFETY: `name` is a NUL-terminated string, and `format` is valid for writes.
    checked(unsafe { ffi::fcn_format_from_name(name.as_ptr(), &mut format) })?;
    // SAFETY: the name is a static NUL-terminated string.
    assert_eq!(unsafe { CStr::from_ptr(ffi::fcn_format_name(format)) }, &*name);
    let pixels = case.pixels();
    let layout = |pixels: &[u8]| {
        ffi::fcn_frame_contiguous(format, pixels.as_ptr().cast(), case.width, case.height, case.stride())
    };
    let mut frame = layout(&pixels[0]);
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
        (case.outputs.confidence_u8, ffi::fcn_output::FCN_OUTPUT_CONFIDENCE_U8),
        (case.outputs.margin, ffi::fcn_output::FCN_OUTPUT_MARGIN),
    ];
    let classes: Vec<u32> = case.classes.iter().map(|&class| class.into()).collect();
    let chosen = if classes.is_empty() { ptr::null() } else { classes.as_ptr() };
    let mut memory = vec![0u8; BUFFER];
    let earlier = ffi::fcn_frame { planes: layout(&pixels[1]).planes, ..frame };
    let outputs = outputs.into_iter().filter(|(wanted, _)| *wanted).map(|(_, output)| output as u32).sum();
    // SAFETY: everything is alive and used only by this thread. The pixels are large enough for the
    // valid cases, and invalid frames are rejected before they are read.
    unsafe {
        checked(ffi::fcn_mask_set_outputs(mask.as_deref_mut(), outputs))?;
        checked(ffi::fcn_mask_set_size(mask.as_deref_mut(), case.size.0, case.size.1))?;
        checked(ffi::fcn_mask_set_threshold(mask.as_deref_mut(), case.threshold))?;
        checked(ffi::fcn_mask_set_classes(mask.as_deref_mut(), chosen, classes.len()))?;
        let labels = case.remap.unwrap_or_default();
        let remap = if labels.is_empty() { ptr::null() } else { labels.as_ptr() };
        checked(ffi::fcn_mask_set_remap(mask.as_deref_mut(), remap, labels.len()))?;
        checked(ffi::fcn_mask_set_min_region(mask.as_deref_mut(), case.min_region))?;
        checked(ffi::fcn_mask_set_smoothing(mask.as_deref_mut(), case.smoothing))?;
        if let Some(padding) = case.buffer {
            let width = if case.size.0 == 0 { case.width } else { case.size.0 };
            let stride = width as usize + padding;
            checked(ffi::fcn_mask_set_buffer(mask.as_deref_mut(), memory.as_mut_ptr(), BUFFER, stride))?;
        }
        checked(ffi::fcn_segment(Some(&segmenter), Some(&earlier), mask.as_deref_mut()))?;
        checked(ffi::fcn_segment(Some(&segmenter), Some(&frame), mask.as_deref_mut()))?;
    }
    let mask = mask.as_deref();
    // SAFETY: the mask is alive; its arrays have the lengths that fcn.h documents.
    let answer = unsafe {
        let (width, height) = (ffi::fcn_mask_width(mask), ffi::fcn_mask_height(mask));
        let classes = ffi::fcn_mask_classes(mask) as usize;
        let area = width as usize * height as usize;
        let floats =
            |pointer: *const f32, length| (!pointer.is_null()).then(|| slice::from_raw_parts(pointer, length).to_vec());
        let (labels, stride) = (ffi::fcn_mask_labels(mask), ffi::fcn_mask_stride(mask));
        assert_eq!(case.buffer.is_some(), ptr::eq(labels, memory.as_ptr()));
        let row = |y: usize| slice::from_raw_parts(labels.add(y * stride), width as usize);
        let bytes = ffi::fcn_mask_confidence_u8(mask);
        let mut overlay = vec![255u8; area * 3];
        let OverlayStyle { alpha, outline, legend } = STYLE;
        let style = ffi::fcn_overlay_style { alpha, outline, legend: legend.into(), reserved: [0; 5] };
        let (format, target) = (ffi::fcn_format::FCN_FORMAT_RGB8 as u32, overlay.as_mut_ptr().cast::<c_void>());
        let drawn =
            checked(ffi::fcn_overlay_styled(Some(&segmenter), mask, Some(&style), format, target, width, height, 0));
        assert!(drawn.is_ok() || case.remap.is_some(), "{drawn:?}");
        let mut working_size = (0, 0);
        checked(ffi::fcn_mask_working_size(mask, Some(&mut working_size.0), Some(&mut working_size.1)))?;
        Answer {
            size: (width, height),
            working_size,
            labels: (0..height as usize).flat_map(row).copied().collect(),
            confidence: floats(ffi::fcn_mask_confidence(mask), area),
            confidence_u8: (!bytes.is_null()).then(|| slice::from_raw_parts(bytes, area).to_vec()),
            margin: floats(ffi::fcn_mask_margin(mask), area),
            scores: floats(ffi::fcn_mask_scores(mask), area * classes),
            pixels: slice::from_raw_parts(ffi::fcn_mask_pixels(mask), classes).to_vec(),
            // SAFETY: the mask is alive, there is room for 256 regions, and the contours' place is
            // valid for writes.
            regions: regions(|regions| ffi::fcn_mask_regions(mask, regions, 256))?,
            contours: contours(|contours| ffi::fcn_mask_contours(mask, 1, contours))?,
            filtered: (
                regions(|regions| ffi::fcn_mask_regions_filtered(mask, MIN_AREA, regions, 256))?,
                contours(|contours| ffi::fcn_mask_contours_filtered(mask, 1, MIN_AREA, contours))?,
            ),
            overlay,
        }
    };
    // SAFETY: the options are not shared.
    unsafe { ffi::fcn_options_free(options) };
    Ok(answer)
}

/// The regions that a function stores.
fn regions(store: impl FnOnce(*mut ffi::fcn_region) -> ffi::fcn_status) -> Result<[Region; 256]> {
    let empty = ffi::fcn_rect::default();
    let mut regions = [ffi::fcn_region { pixels: 77, centroid_x: 0.0, centroid_y: 0.0, bounds: empty }; 256];
    checked(store(regions.as_mut_ptr()))?;
    Ok(regions.map(
        |ffi::fcn_region {
             pixels,
             centroid_x,
             centroid_y,
             bounds: ffi::fcn_rect { x: left, y: top, width, height },
         }| {
            Region { pixels, bounds: Rect { x: left, y: top, width, height }, centroid: (centroid_x, centroid_y) }
        },
    ))
}

/// The contours that a function stores.
fn contours(store: impl FnOnce(*mut *mut ffi::fcn_contours) -> ffi::fcn_status) -> Result<Vec<Contour>> {
    let mut contours = ptr::null_mut();
    checked(store(&mut contours))?;
    // SAFETY: the function succeeded, so it stored contours that are not shared.
    let contours = unsafe { Box::from_raw(contours) };
    // SAFETY: the contours are alive, and each has the given number of points.
    unsafe {
        let contour = |index| {
            let mut count = 0;
            let points = ffi::fcn_contours_points(Some(&contours), index, Some(&mut count));
            let points = slice::from_raw_parts(points, count).iter().map(|point| [point.x, point.y]).collect();
            let hole = ffi::fcn_contours_is_hole(Some(&contours), index) == 1;
            let parent = usize::try_from(ffi::fcn_contours_parent(Some(&contours), index)).ok();
            Contour { points, hole, parent }
        };
        Ok((0..ffi::fcn_contours_count(Some(&contours))).map(contour).collect())
    }
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
        let (width, height) = if turned { (height, width) } else { (width, height) };
        let pick = |asked: u32, own: u32| if asked == 0 { own } else { asked };
        assert_eq!(rust.size, (pick(case.size.0, width), pick(case.size.1, height)), "{case:?}");
        let outputs = Outputs {
            confidence: rust.confidence.is_some(),
            confidence_u8: rust.confidence_u8.is_some(),
            margin: rust.margin.is_some(),
            scores: rust.scores.is_some(),
        };
        assert_eq!(outputs, case.outputs, "{case:?}");
        assert_eq!(rust.regions.iter().map(|region| region.pixels).sum::<u64>(), rust.labels.len() as u64, "{case:?}");
        // A noisy image with a single class would prove nothing.
        assert!(rust.filtered.1.len() <= rust.contours.len(), "{case:?}");
        let several = rust.regions.iter().filter(|region| region.pixels > 0).count() > 1;
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
