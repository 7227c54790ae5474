//! Frames of every format, crop, rotation and mirror, seen through a network that returns its
//! input: compared with plain slow arithmetic and with FFmpeg's conversions.

#[path = "common/arrays.rs"]
mod arrays;
mod common;
#[path = "common/models.rs"]
mod models;
#[path = "common/truth.rs"]
mod truth;

use std::{
    io::Write,
    process::{Command, Stdio},
};

use fcn::{
    ColorMatrix, ColorRange, Frame, Mask, Options, Outputs, PixelFormat, Rect, Rotation, Segmenter, SizeMode,
    onnx::{
        ModelCard,
        build::{self, Dim},
        types::tensor_proto::DataType,
    },
};
use models::random_bytes;
use ndarray::Array3;
use prost::Message;
use truth::bilinear;

/// A network whose scores are red, green and blue, 0 to 255.
fn mirror_of_input(size_mode: Option<SizeMode>) -> Segmenter {
    let identity = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
    let sides = |channels| [Dim::Named("N"), Dim::Fixed(channels), Dim::Named("H"), Dim::Named("W")];
    let graph = models::graph(
        vec![build::node("Conv", &["image", "weight"], "scores", vec![build::ints("kernel_shape", &[1, 1])])],
        vec![build::floats("weight", &[3, 3, 1, 1], &identity)],
        build::value("image", DataType::Float, &sides(3)),
        build::value("scores", DataType::Float, &sides(3)),
    );
    let card = ModelCard { mean: [0.0; 3], std: [1.0 / 255.0; 3], ..models::card(3, 1) };
    let mut options = Options::default();
    (options.provider, options.threads, options.size_mode) = (models::provider(), 2, size_mode);
    Segmenter::from_memory(&build::model(graph, Some(&card)).encode_to_vec(), &options).unwrap()
}

/// 3 x height x width.
fn seen(segmenter: &Segmenter, frame: Frame<'_>) -> Array3<f32> {
    let mut mask = Mask::with_outputs(Outputs { scores: true, ..Outputs::default() });
    segmenter.segment(&frame, &mut mask).unwrap();
    mask.scores().unwrap().to_owned()
}

/// The bytes per row and the number of rows of each plane.
fn plane_sizes(format: PixelFormat, width: usize, height: usize) -> Vec<(usize, usize)> {
    use PixelFormat::*;
    let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
    match format {
        Rgb8 | Bgr8 => vec![(3 * width, height)],
        Rgba8 | Bgra8 | Rgbx8 | Bgrx8 => vec![(4 * width, height)],
        Gray8 => vec![(width, height)],
        Gray16 => vec![(2 * width, height)],
        Nv12 | Nv21 => vec![(width, height), (2 * half_width, half_height)],
        I420 | J420 => vec![(width, height), (half_width, half_height), (half_width, half_height)],
        I422 | J422 => vec![(width, height), (half_width, height), (half_width, height)],
        I440 | J440 => vec![(width, height), (width, half_height), (width, half_height)],
        I444 | J444 => vec![(width, height); 3],
        Yuyv | Uyvy => vec![(4 * half_width, height)],
    }
}

/// An image in memory: its planes, including padding.
struct Picture {
    format: PixelFormat,
    width: usize,
    height: usize,
    planes: Vec<(Vec<u8>, usize)>,
    matrix: ColorMatrix,
    range: ColorRange,
}

impl Picture {
    /// Noise, in rows that end with `padding` bytes of more noise.
    fn random(seed: u64, format: PixelFormat, width: usize, height: usize, padding: usize) -> Picture {
        // Each plane has its own padding; the last row of a plane has none.
        let sizes = plane_sizes(format, width, height);
        let planes = sizes.into_iter().zip([padding, 2 * padding, 3 * padding]).zip(seed..);
        let planes = planes.map(|(((row, rows), padding), seed)| {
            let stride = row + padding;
            (random_bytes(seed, stride * rows - padding), stride)
        });
        let planes = planes.collect();
        Picture { format, width, height, planes, matrix: ColorMatrix::Bt601, range: ColorRange::Limited }
    }

    fn frame(&self) -> Frame<'_> {
        let planes: Vec<_> = self.planes.iter().map(|(data, stride)| (&data[..], *stride)).collect();
        let frame = Frame::planar(self.format, &planes, self.width as u32, self.height as u32).unwrap();
        frame.color(self.matrix, self.range)
    }

    /// Red, green and blue of a pixel, directly from the format's definition; not clipped to 0 to
    /// 255.
    fn rgb(&self, x: usize, y: usize) -> [f64; 3] {
        use PixelFormat::*;
        let at = |plane: usize, row: usize, byte: usize| {
            let (data, stride) = &self.planes[plane];
            f64::from(data[row * stride + byte])
        };
        let (half_x, half_y) = (x / 2, y / 2);
        let yuv = match self.format {
            Rgb8 => return [at(0, y, 3 * x), at(0, y, 3 * x + 1), at(0, y, 3 * x + 2)],
            Bgr8 => return [at(0, y, 3 * x + 2), at(0, y, 3 * x + 1), at(0, y, 3 * x)],
            Rgba8 | Rgbx8 => return [at(0, y, 4 * x), at(0, y, 4 * x + 1), at(0, y, 4 * x + 2)],
            Bgra8 | Bgrx8 => return [at(0, y, 4 * x + 2), at(0, y, 4 * x + 1), at(0, y, 4 * x)],
            Gray8 => return [at(0, y, x); 3],
            Gray16 => return [at(0, y, 2 * x + 1); 3],
            Nv12 => [at(0, y, x), at(1, half_y, 2 * half_x), at(1, half_y, 2 * half_x + 1)],
            Nv21 => [at(0, y, x), at(1, half_y, 2 * half_x + 1), at(1, half_y, 2 * half_x)],
            I420 | J420 => [at(0, y, x), at(1, half_y, half_x), at(2, half_y, half_x)],
            I422 | J422 => [at(0, y, x), at(1, y, half_x), at(2, y, half_x)],
            I440 | J440 => [at(0, y, x), at(1, half_y, x), at(2, half_y, x)],
            I444 | J444 => [at(0, y, x), at(1, y, x), at(2, y, x)],
            Yuyv => [at(0, y, 2 * x), at(0, y, 4 * half_x + 1), at(0, y, 4 * half_x + 3)],
            Uyvy => [at(0, y, 2 * x + 1), at(0, y, 4 * half_x), at(0, y, 4 * half_x + 2)],
        };
        // The coefficients in the documentation of FFmpeg and OpenCV, for limited range.
        let [cr_red, cb_green, cr_green, cb_blue] = match self.matrix {
            ColorMatrix::Bt601 => [1.402, -0.344136, -0.714136, 1.772],
            ColorMatrix::Bt709 => [1.5748, -0.187324, -0.468124, 1.8556],
        };
        // J: full range, as in JPEG.
        let jpeg = matches!(self.format, J420 | J422 | J440 | J444);
        let [luma, cb, cr] = match if jpeg { ColorRange::Full } else { self.range } {
            ColorRange::Full => [yuv[0], yuv[1] - 128.0, yuv[2] - 128.0],
            ColorRange::Limited => {
                [(yuv[0] - 16.0) * 255.0 / 219.0, (yuv[1] - 128.0) * 255.0 / 224.0, (yuv[2] - 128.0) * 255.0 / 224.0]
            }
        };
        [luma + cr_red * cr, luma + cb_green * cb + cr_green * cr, luma + cb_blue * cb]
    }
}

/// A view of an image.
#[derive(Debug, Clone, Copy)]
struct View {
    crop: Rect,
    rotation: Rotation,
    mirror: bool,
}

impl View {
    fn of<'a>(&self, frame: Frame<'a>) -> Frame<'a> {
        let frame = frame.crop(self.crop).unwrap().rotate(self.rotation);
        if self.mirror { frame.mirror() } else { frame }
    }

    /// 3 x height x width.
    fn slowly(&self, picture: &Picture) -> Array3<f32> {
        let (width, height) = (self.crop.width as usize, self.crop.height as usize);
        let turned = matches!(self.rotation, Rotation::Clockwise90 | Rotation::CounterClockwise90);
        let (columns, rows) = if turned { (height, width) } else { (width, height) };
        Array3::from_shape_fn((3, rows, columns), |(channel, y, x)| {
            let x = if self.mirror { columns - 1 - x } else { x };
            let (x, y) = match self.rotation {
                Rotation::None => (x, y),
                Rotation::Clockwise90 => (y, height - 1 - x),
                Rotation::Half => (width - 1 - x, height - 1 - y),
                Rotation::CounterClockwise90 => (width - 1 - y, x),
            };
            picture.rgb(x + self.crop.x as usize, y + self.crop.y as usize)[channel] as f32
        })
    }
}

fn clipped(colors: Array3<f32>) -> Array3<f32> {
    colors.mapv_into(|value| value.clamp(0.0, 255.0))
}

fn furthest(found: &Array3<f32>, expected: &Array3<f32>) -> f32 {
    assert_eq!(found.dim(), expected.dim());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

const ROTATIONS: [Rotation; 4] = [Rotation::None, Rotation::Clockwise90, Rotation::Half, Rotation::CounterClockwise90];

#[test]
fn every_format_stride_crop_rotation_and_mirror_is_what_slow_arithmetic_says() {
    let pad = mirror_of_input(None);
    let tile = mirror_of_input(Some(SizeMode::Tile { width: 11, height: 7, overlap: 3 }));
    let working = [(24, 16), (64, 40), (3, 50)];
    let resize = working.map(|(width, height)| mirror_of_input(Some(SizeMode::Resize { width, height })));
    // Even and odd sides, one block of columns and several, one pixel.
    let sizes = [(70, 38), (37, 23), (33, 6), (1, 1), (2, 5)];
    let mut checked = 0;
    for (index, format) in PixelFormat::ALL.into_iter().enumerate() {
        for ((width, height), padding) in sizes.into_iter().flat_map(|size| [(size, 0), (size, 1), (size, 14)]) {
            let mut picture = Picture::random(checked + 7, format, width, height, padding);
            // All four interpretations of Y, Cb and Cr occur.
            picture.matrix = [ColorMatrix::Bt601, ColorMatrix::Bt709][(index + padding) % 2];
            picture.range = [ColorRange::Limited, ColorRange::Full][(index + width / 2) % 2];
            let (w, h) = (width as u32, height as u32);
            let odd = Rect { x: w / 3, y: h / 2, width: (w / 2).max(1), height: (h / 3).max(1) };
            let even = Rect { x: w / 4 * 2, y: 0, width: w - w / 4 * 2, height: h };
            for crop in [Rect { x: 0, y: 0, width: w, height: h }, odd, even] {
                for (rotation, mirror) in ROTATIONS.into_iter().flat_map(|turn| [(turn, false), (turn, true)]) {
                    let view = View { crop, rotation, mirror };
                    let (name, frame) =
                        (format!("{format:?} {width} x {height} + {padding}, {view:?}"), view.of(picture.frame()));
                    let colors = view.slowly(&picture);
                    let expected = clipped(colors.clone());
                    assert!(furthest(&seen(&pad, frame), &expected) < 0.01, "{name}");
                    assert!(furthest(&seen(&tile, frame), &expected) < 0.01, "{name}, in tiles");
                    // Round trip: what the network saw is resampled to the frame's size.
                    let (_, rows, columns) = expected.dim();
                    for ((width, height), resize) in working.into_iter().zip(&resize) {
                        // Y'CbCr is interpolated before its conversion to RGB, which is clipped.
                        let there = clipped(bilinear(colors.view(), height as usize, width as usize));
                        let back = bilinear(there.view(), rows, columns);
                        let distance = furthest(&seen(resize, frame), &back);
                        assert!(distance < 0.02, "{name}, resized to {width} x {height}: {distance}");
                    }
                    checked += 1;
                }
            }
        }
    }
    assert_eq!(checked, 20 * 15 * 24);
}

/// FFmpeg's conversion of an image without padding.
fn ffmpeg(input: &[u8], from: &str, to: &str, (width, height): (usize, usize), scale: &str) -> Vec<u8> {
    let (size, scale) = (format!("{width}x{height}"), format!("scale={scale}"));
    let input_is = ["-v", "error", "-f", "rawvideo", "-pix_fmt", from, "-s", &size, "-i", "-"];
    let mut child = Command::new("ffmpeg")
        .args(input_is)
        .args(["-vf", &scale, "-f", "rawvideo", "-pix_fmt", to, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Less than a pipe's capacity, so that neither side waits for the other.
    assert!(input.len() < 1 << 16);
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "ffmpeg from {from} to {to}");
    output.stdout
}

/// An RGB image whose brightness changes from pixel to pixel, under waves of colour.
fn colourful(width: usize, height: usize) -> Vec<u8> {
    let noise = random_bytes(3, width * height);
    let pixel = |index: usize| {
        let (x, y) = ((index % width) as f32, (index / width) as f32);
        let wave = |phase: f32| 100.0 + f32::from(noise[index]) / 5.0 + 90.0 * (phase / 7.0).sin();
        [wave(x), wave(y + 20.0), wave(x - y)].map(|value| value as u8)
    };
    (0..width * height).flat_map(pixel).collect()
}

#[test]
fn every_format_is_the_picture_that_ffmpeg_sees() {
    if common::tool("ffmpeg").is_none() {
        return common::skip("frames against FFmpeg", "ffmpeg not found");
    }
    let segmenter = mirror_of_input(None);
    let (width, height) = (62, 46);
    let source = colourful(width, height);
    // FFmpeg's scaler is set to nearest-neighbour chroma (neighbor), like libfcn; with
    // interpolation, edges of colour would differ.
    let exact = "accurate_rnd+full_chroma_int";
    let plain = ["rgb24", "bgr24", "rgba", "bgra", "rgb0", "bgr0", "gray", "gray16le"];
    let yuv = ["nv12", "nv21", "yuv420p", "yuyv422", "uyvy422", "yuv422p", "yuv440p", "yuv444p"];
    let jpeg = ["yuvj420p", "yuvj422p", "yuvj440p", "yuvj444p"];
    let mut checked = 0;
    for pixels in plain.into_iter().chain(yuv).chain(jpeg) {
        let format = pixels.parse::<PixelFormat>().unwrap();
        for (matrix, matrix_name) in [(ColorMatrix::Bt601, "bt601"), (ColorMatrix::Bt709, "bt709")] {
            for (range, range_name) in [(ColorRange::Limited, "limited"), (ColorRange::Full, "full")] {
                // Matrix and range affect no other formats. FFmpeg's grey has a range, but libfcn's
                // is always full.
                if jpeg.contains(&pixels) && range == ColorRange::Limited {
                    continue;
                }
                if plain.contains(&pixels) && (matrix, range) != (ColorMatrix::Bt601, ColorRange::Full) {
                    continue;
                }
                let there = format!("out_color_matrix={matrix_name}:out_range={range_name}:flags={exact}");
                let back = format!("in_color_matrix={matrix_name}:in_range={range_name}:flags=neighbor+{exact}");
                let data = ffmpeg(&source, "rgb24", pixels, (width, height), &there);
                let rgb = ffmpeg(&data, pixels, "rgb24", (width, height), &back);
                let (mut rest, mut planes) = (&data[..], Vec::new());
                for (row, rows) in plane_sizes(format, width, height) {
                    planes.push((rest, row));
                    rest = &rest[row * rows..];
                }
                assert!(rest.is_empty());
                // For odd sides, FFmpeg spreads chroma samples evenly instead of assigning each to
                // two pixels. So odd frames are views of the same memory, starting at the first or
                // the second pixel.
                for (columns, rows, first) in
                    [(width, height, 0), (width - 1, height - 1, 0), (width - 3, height - 2, 1)]
                {
                    let whole =
                        Frame::planar(format, &planes, (columns + first) as u32, (rows + first) as u32).unwrap();
                    let (x, y) = (first as u32, first as u32);
                    let part = Rect { x, y, width: columns as u32, height: rows as u32 };
                    // The format's name implies the range.
                    let given = if jpeg.contains(&pixels) { ColorRange::Limited } else { range };
                    let frame = whole.color(matrix, given).crop(part).unwrap();
                    let expected = Array3::from_shape_fn((3, rows, columns), |(channel, y, x)| {
                        f32::from(rgb[3 * ((y + first) * width + x + first) + channel])
                    });
                    let distance = furthest(&seen(&segmenter, frame), &expected);
                    let name = format!("{pixels} {columns} x {rows} {matrix_name} {range_name}");
                    assert!(distance <= 2.0, "{name}: {distance} of 255");
                    checked += 1;
                }
            }
        }
    }
    assert_eq!(checked, 3 * (8 + 8 * 4 + 4 * 2));
}

#[test]
fn bottom_up_pictures_look_like_others() {
    let segmenter = mirror_of_input(Some(SizeMode::Pad));
    let resampling = mirror_of_input(Some(SizeMode::Resize { width: 24, height: 16 }));
    let mut checked = 0;
    for format in PixelFormat::ALL {
        for (width, height, padding) in [(37, 23, 0), (38, 6, 3), (5, 1, 2), (4, 2, 0)] {
            let picture = Picture::random(checked + 7, format, width, height, padding);
            let mut over = Picture { planes: Vec::new(), ..Picture::random(1, format, width, height, 0) };
            // The same rows in reverse order.
            for ((data, stride), (row, rows)) in picture.planes.iter().zip(plane_sizes(format, width, height)) {
                let lines = (0..rows).rev().map(|y| [&data[y * stride..][..row], &[9].repeat(padding)].concat());
                let mut turned: Vec<u8> = lines.flatten().collect();
                turned.truncate(turned.len() - padding);
                over.planes.push((turned, row + padding));
            }
            let crop = Rect { x: width as u32 / 3, y: height as u32 / 2, width: 2, height: 1 };
            let whole = Rect { x: 0, y: 0, width: width as u32, height: height as u32 };
            for (rotation, mirror) in ROTATIONS.into_iter().flat_map(|turn| [(turn, false), (turn, true)]) {
                for crop in [whole, crop] {
                    let view = View { crop, rotation, mirror };
                    let (plain, up) = (view.of(picture.frame()), view.of(over.frame().bottom_up()));
                    for segmenter in [&segmenter, &resampling] {
                        assert!(
                            seen(segmenter, plain) == seen(segmenter, up),
                            "{format:?} {width} x {height}, {view:?}"
                        );
                    }
                    checked += 1;
                }
            }
            let twice = seen(&segmenter, over.frame().bottom_up().bottom_up());
            assert!(twice == seen(&segmenter, over.frame()));
        }
    }
    assert_eq!(checked, 20 * 4 * 16);
}

#[test]
fn planes_that_do_not_hold_the_picture_are_refused() {
    let bytes = [0u8; 64];
    for (planes, words) in [
        (&[(&bytes[..], 0)][..], "1 planes were given; a picture in NV12 has 2"),
        (&[(&bytes[..], 0), (&bytes[..4], 0)], "plane 1 holds 4 bytes, fewer than the 12"),
        (&[(&bytes[..14], 0), (&bytes[..], 0)], "plane 0 holds 14 bytes, fewer than the 15"),
        (&[(&bytes[..], 0), (&bytes[..], 5)], "stride 5 of plane 1 is less than the 6 bytes"),
        (&[(&bytes[..], 4), (&bytes[..], 0)], "stride 4 of plane 0 is less than the 5 bytes"),
        (&[(&bytes[..], 0), (&bytes[..], usize::MAX)], "stride 18446744073709551615 times 2 rows"),
    ] {
        let error = Frame::planar(PixelFormat::Nv12, planes, 5, 3).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    // 5 x 3 in one block: 15 bytes of Y, 3 x 2 of Cb and of Cr.
    for (length, stride, fits) in
        [(27, 0, true), (26, 0, false), (27, 5, true), (29, 6, false), (30, 6, true), (64, usize::MAX, false)]
    {
        assert_eq!(
            Frame::contiguous(PixelFormat::I420, &bytes[..length], 5, 3, stride).is_ok(),
            fits,
            "{length}, {stride}"
        );
    }
    for format in PixelFormat::ALL {
        assert!(
            Frame::contiguous(format, &bytes, 0, 0, 7).is_err() && Frame::contiguous(format, &[], 1, 1, 0).is_err()
        );
    }
}
