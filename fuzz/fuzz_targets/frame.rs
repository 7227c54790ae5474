//! Frames in every format, view and size mode, through the C API to every output. Each plane is an allocation of its own that
//! is exactly as large as the header says it must be, so that AddressSanitizer sees the first byte beside it.
#![no_main]

#[path = "../../tests/common/models.rs"]
mod models;

use std::{ffi::c_void, ptr, sync::LazyLock};

use fcn::ffi::*;
use libfuzzer_sys::{
    arbitrary::{Result, Unstructured},
    fuzz_target,
};
use models::{End, Spec, network};

type Segmenter = Box<fcn_segmenter>;

/// One segmenter per path of a frame.
static SEGMENTERS: LazyLock<Vec<Segmenter>> = LazyLock::new(|| {
    let pad: fn(&mut fcn_options) = |options| ok(unsafe { fcn_options_set_pad(Some(options)) });
    let resize: fn(&mut fcn_options) = |options| ok(unsafe { fcn_options_set_resize(Some(options), 40, 24) });
    let shrink: fn(&mut fcn_options) = |options| ok(unsafe { fcn_options_set_short_side(Some(options), 8) });
    let tile: fn(&mut fcn_options) = |options| ok(unsafe { fcn_options_set_tile(Some(options), 32, 16, 8) });
    let specs = [
        (Spec::default(), pad),
        (Spec::default(), tile),
        (Spec { end: End::Grouped, ..Spec::default() }, resize),
        (Spec { end: End::Grouped, classes: 21, ..Spec::default() }, tile),
        (Spec { end: End::Resize, uncut: true, ..Spec::default() }, pad),
        (Spec { end: End::Resize, card: false, stride: 16, ..Spec::default() }, shrink),
        (Spec { end: End::Low, ..Spec::default() }, resize),
        (Spec { end: End::Labels, ..Spec::default() }, pad),
        (Spec { fixed: Some((32, 48)), ..Spec::default() }, resize),
    ];
    specs.into_iter().enumerate().map(|(place, (spec, mode))| create(spec, mode, 1 + place as u32 % 2)).collect()
});

fn create(spec: Spec, mode: fn(&mut fcn_options), threads: u32) -> Segmenter {
    let mut options = fcn_options_new().expect("options");
    mode(&mut options);
    let (model, mut segmenter) = (network(spec), ptr::null_mut());
    // SAFETY: the model is as long as it says, and there is a place for the segmenter.
    unsafe {
        ok(fcn_options_set_provider(Some(&mut options), fcn_provider::FCN_PROVIDER_CPU as i32));
        ok(fcn_options_set_threads(Some(&mut options), threads));
        ok(fcn_create_from_memory(model.as_ptr().cast(), model.len(), Some(&options), &mut segmenter));
        Box::from_raw(segmenter)
    }
}

/// The call must succeed.
#[track_caller]
fn ok(status: fcn_status) {
    assert_eq!(status, fcn_status::FCN_OK, "{}", message());
}

/// The call may fail, but a panic inside is a defect. Whether it succeeded.
#[track_caller]
fn sound(status: fcn_status) -> bool {
    assert_ne!(status, fcn_status::FCN_ERROR_INTERNAL, "{}", message());
    status == fcn_status::FCN_OK
}

fn message() -> String {
    // SAFETY: the message is a string that lasts until this thread's next call.
    unsafe { std::ffi::CStr::from_ptr(fcn_last_error()) }.to_string_lossy().into_owned()
}

/// The rows of each plane and the bytes in each, as fcn.h says.
fn planes(format: u32, width: usize, height: usize) -> Vec<(usize, usize)> {
    let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
    match format {
        1 | 2 => vec![(height, 3 * width)],
        3 | 4 | 6 | 7 => vec![(height, 4 * width)],
        5 => vec![(height, width)],
        8 => vec![(height, 2 * width)],
        9 | 10 => vec![(height, width), (half_height, 2 * half_width)],
        11 | 17 => vec![(height, width), (half_height, half_width), (half_height, half_width)],
        12 | 13 => vec![(height, 4 * half_width)],
        14 | 18 => vec![(height, width), (height, half_width), (height, half_width)],
        15 | 19 => vec![(height, width), (half_height, width), (half_height, width)],
        _ => vec![(height, width); 3],
    }
}

/// A plane in memory of its own.
struct Plane {
    bytes: Box<[u8]>,
    stride: isize,
}

impl Plane {
    fn new(u: &mut Unstructured<'_>, rows: usize, row: usize) -> Result<Plane> {
        let stride = row + u.choose(&[0, 0, 1, 7])?;
        let pattern = u.bytes(u.len().min(16))?;
        let length = stride * (rows - 1) + row;
        let bytes = (0..length).map(|place| pattern.get(place % 17).copied().unwrap_or(place as u8)).collect();
        Ok(Plane { bytes, stride: if u.ratio(1, 4)? { -(stride as isize) } else { stride as isize } })
    }

    /// Where the first row lies.
    fn start(&mut self) -> *mut u8 {
        let last_row = self.bytes.len() - (self.bytes.len() - 1) % self.stride.unsigned_abs() - 1;
        let offset = if self.stride < 0 { last_row } else { 0 };
        self.bytes[offset..].as_mut_ptr()
    }
}

fn side(u: &mut Unstructured<'_>) -> Result<u32> {
    let most = *u.choose(&[1, 4, 40, 70])?;
    u.int_in_range(1..=most)
}

fn label(u: &mut Unstructured<'_>, segmenter: &fcn_segmenter, mask: &mut fcn_mask) -> Result<()> {
    let (width, height, format) = (side(u)?, side(u)?, u.int_in_range(1..=20)?);
    let layout = planes(format, width as usize, height as usize);
    let mut planes = layout.into_iter().map(|(rows, row)| Plane::new(u, rows, row)).collect::<Result<Vec<Plane>>>()?;
    let mut places = [(ptr::null(), 0); 3];
    for (place, plane) in places.iter_mut().zip(&mut planes) {
        *place = (plane.start().cast_const().cast::<c_void>(), plane.stride as usize);
    }
    let [(first, first_stride), (second, second_stride), (third, third_stride)] = places;
    let mut frame =
        fcn_frame_planar(format, width, height, first, first_stride, second, second_stride, third, third_stride);
    if u.ratio(1, 3)? {
        let (x, y) = (u.int_in_range(0..=width)?, u.int_in_range(0..=height)?);
        frame.crop = fcn_rect { x, y, width: side(u)?.min(width - x), height: side(u)?.min(height - y) };
    }
    frame.rotation = 90 * u.int_in_range(0..=3)?;
    (frame.mirror, frame.matrix, frame.range) =
        (u.int_in_range(0..=1)?, u.int_in_range(0..=1)?, u.int_in_range(0..=1)?);
    // SAFETY: the planes are as large as the header asks for.
    if sound(unsafe { fcn_segment(Some(segmenter), Some(&frame), Some(&mut *mask)) }) {
        look(u, segmenter, mask)?;
    }
    Ok(())
}

/// A mask's settings. A buffer lives as long as its mask.
fn choose(u: &mut Unstructured<'_>, mask: &mut fcn_mask, buffer: &mut [u8]) -> Result<()> {
    let outputs = u.int_in_range(0..=15)?;
    let (width, height) = *u.choose(&[(0, 0), (0, 0), (33, 0), (0, 1), (64, 50), (3, 5)])?;
    let (threshold, share) = (*u.choose(&[0.0, 0.0, 0.3, 1.0])?, *u.choose(&[1.0, 1.0, 0.5])?);
    let classes: Vec<u32> = (0..*u.choose(&[0, 0, 1, 3])?).map(|_| u.int_in_range(0..=6)).collect::<Result<_>>()?;
    let remap: Vec<u8> = (0..*u.choose(&[0, 0, 5, 21])?).map(|_| u.arbitrary()).collect::<Result<_>>()?;
    let bytes = *u.choose(&[0, 0, 100, buffer.len()])?;
    let stride = *u.choose(&[0, 0, 80])?;
    let min_region = *u.choose(&[0, 0, 2, 20, u32::MAX])?;
    // SAFETY: lists are as long as they say, and the buffer outlives the mask.
    unsafe {
        sound(fcn_mask_set_outputs(Some(mask), outputs));
        sound(fcn_mask_set_size(Some(mask), width, height));
        sound(fcn_mask_set_threshold(Some(mask), threshold));
        sound(fcn_mask_set_smoothing(Some(mask), share));
        sound(fcn_mask_set_classes(Some(mask), classes.as_ptr(), classes.len()));
        sound(fcn_mask_set_remap(Some(mask), if remap.is_empty() { ptr::null() } else { remap.as_ptr() }, remap.len()));
        sound(fcn_mask_set_min_region(Some(mask), min_region));
        let labels = if bytes == 0 { ptr::null_mut() } else { buffer.as_mut_ptr() };
        sound(fcn_mask_set_buffer(Some(mask), labels, bytes, if bytes == 0 { 0 } else { stride }));
    }
    Ok(())
}

/// Reads all that a filled mask has.
fn look(u: &mut Unstructured<'_>, segmenter: &fcn_segmenter, mask: &fcn_mask) -> Result<()> {
    // SAFETY: the segmenter and the mask live, and each pointer has as many values behind it as the header promises.
    unsafe {
        let (width, height) = (fcn_mask_width(Some(mask)), fcn_mask_height(Some(mask)));
        let (columns, rows, classes) = (width as usize, height as usize, fcn_mask_classes(Some(mask)) as usize);
        let (labels, stride) = (fcn_mask_labels(Some(mask)), fcn_mask_stride(Some(mask)));
        let labels = std::slice::from_raw_parts(labels, stride * (rows - 1) + columns);
        let counted: u64 = std::slice::from_raw_parts(fcn_mask_pixels(Some(mask)), classes).iter().sum();
        assert!(counted <= (columns * rows) as u64, "{counted} labels of {columns} x {rows} pixels");
        for (values, count) in [
            (fcn_mask_confidence(Some(mask)), columns * rows),
            (fcn_mask_margin(Some(mask)), columns * rows),
            (fcn_mask_scores(Some(mask)), classes * columns * rows),
        ] {
            if !values.is_null() {
                assert!(std::slice::from_raw_parts(values, count).iter().all(|value| !value.is_nan()));
            }
        }
        let mut regions = Vec::with_capacity(256);
        sound(fcn_mask_regions_filtered(Some(mask), u.int_in_range(0..=5)?, regions.as_mut_ptr(), 256));
        let mut contours = ptr::null_mut();
        let label = labels[u.choose_index(rows)? * stride];
        if sound(fcn_mask_contours_filtered(Some(mask), label.into(), u.int_in_range(0..=5)?, &mut contours)) {
            fcn_contours_free(Some(Box::from_raw(contours)));
        }
        let format = *u.choose(&[1, 2, 3, 4, 6, 7])?;
        let mut picture = Plane::new(u, rows, columns * if format < 3 { 3 } else { 4 })?;
        let style = fcn_overlay_style {
            alpha: *u.choose(&[0.0, 0.5, 1.0])?,
            outline: u.int_in_range(0..=64)?,
            legend: u.int_in_range(0..=1)?,
            reserved: [0; 5],
        };
        let (pixels, stride) = (picture.start().cast(), picture.stride as usize);
        sound(fcn_overlay_styled(Some(segmenter), Some(mask), Some(&style), format, pixels, width, height, stride));
    }
    Ok(())
}

fuzz_target!(|bytes: &[u8]| {
    let u = &mut Unstructured::new(bytes);
    let mut buffer = vec![0; 80 * 80].into_boxed_slice();
    let mut mask = fcn_mask_new().expect("a mask");
    let Ok(segmenter) = u.choose(&SEGMENTERS) else { return };
    for _ in 0..3 {
        // The input ends here.
        if u.is_empty() || choose(u, &mut mask, &mut buffer).and_then(|()| label(u, segmenter, &mut mask)).is_err() {
            break;
        }
    }
    // SAFETY: nobody uses it any more.
    unsafe { fcn_mask_free(Some(mask)) };
});
