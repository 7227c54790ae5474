//! Expected masks by plain slow arithmetic.
#![allow(unreachable_pub, dead_code, missing_docs, reason = "each suite takes what it needs")]

use fcn::{Frame, Mask, Options, Outputs, PixelFormat, Segmenter, SizeMode};
use ndarray::{Array3, ArrayView3, s};

use crate::models::{Spec, network, provider};

/// Options with the provider to test.
pub fn options(size_mode: Option<SizeMode>) -> Options {
    let mut options = Options::default();
    options.provider = provider();
    options.size_mode = size_mode;
    options
}

pub fn segmenter(spec: Spec, size_mode: Option<SizeMode>) -> Segmenter {
    Segmenter::from_memory(&network(spec), &options(size_mode)).unwrap()
}

pub fn everything(segmenter: &Segmenter, frame: Frame<'_>) -> Mask {
    let mut mask = Mask::with_outputs(Outputs { confidence: true, confidence_u8: true, margin: true, scores: true });
    segmenter.segment(&frame, &mut mask).unwrap();
    mask
}

pub fn rgb(pixels: &[u8], width: u32, height: u32) -> Frame<'_> {
    Frame::packed(PixelFormat::Rgb8, pixels, width, height, 0).unwrap()
}

/// The argmax of each pixel.
pub fn argmax(scores: ArrayView3<'_, f32>) -> Vec<u8> {
    let (classes, height, width) = scores.dim();
    let mut labels = Vec::with_capacity(height * width);
    for y in 0..height {
        for x in 0..width {
            let best = (0..classes).fold(0, |best, c| if scores[[c, y, x]] > scores[[best, y, x]] { c } else { best });
            labels.push(best as u8);
        }
    }
    labels
}

/// Checks a mask against the expected scores. Scores must be equal within 1e-4 of their range, and
/// so must labels unless the two best scores differ by less. Counts and confidences must match the
/// mask's own labels and scores.
pub fn assert_same(name: &str, mask: &Mask, truth: ArrayView3<'_, f32>) {
    let range = truth.iter().fold(f32::MIN, |a, &b| a.max(b)) - truth.iter().fold(f32::MAX, |a, &b| a.min(b));
    let scores = mask.scores().unwrap();
    assert_eq!(scores.dim(), truth.dim(), "{name}");
    let worst = scores.iter().zip(&truth).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
    assert!(range > 0.0 && worst <= 1e-4 * range, "{name}: scores differ by {worst} of a range of {range}");
    let (classes, _, width) = truth.dim();
    for (i, (&found, best)) in mask.labels().iter().zip(argmax(truth)).enumerate() {
        let at = |class: u8| truth[[class as usize, i / width, i % width]];
        assert!(found == best || at(best) - at(found) < 1e-4 * range, "{name}: pixel {i} is {found}, not {best}");
    }
    let mut pixels = vec![0u64; classes];
    mask.labels().iter().for_each(|&label| pixels[label as usize] += 1);
    assert_eq!(mask.pixels(), pixels, "{name}");
    let (confidence, bytes, margin) =
        (mask.confidence().unwrap(), mask.confidence_u8().unwrap(), mask.margin().unwrap());
    for i in 0..confidence.len() {
        let pixel = scores.slice(s![.., i / width, i % width]);
        let (best, second) = probabilities(pixel.iter().copied());
        assert!((f64::from(confidence[i]) - best).abs() < 1e-5, "{name}: confidence of pixel {i}");
        assert!((f64::from(bytes[i]) - 255.0 * best).abs() <= 0.51, "{name}: confidence of pixel {i} in a byte");
        assert!((f64::from(margin[i]) - (best - second)).abs() < 1e-5, "{name}: margin of pixel {i}");
    }
}

/// The two highest softmax probabilities; 0 if there is no second one.
pub fn probabilities(scores: impl Iterator<Item = f32> + Clone) -> (f64, f64) {
    let best = f64::from(scores.clone().fold(f32::MIN, f32::max));
    let mut exponentials: Vec<f64> = scores.map(|score| (f64::from(score) - best).exp()).collect();
    exponentials.sort_by(|a, b| b.total_cmp(a));
    let sum: f64 = exponentials.iter().sum();
    (exponentials[0] / sum, exponentials.get(1).map_or(0.0, |second| second / sum))
}

/// Bilinear interpolation with half-pixel centres, written as plainly as possible.
pub fn bilinear(source: ArrayView3<'_, f32>, height: usize, width: usize) -> Array3<f32> {
    let (channels, rows, columns) = source.dim();
    let place = |to: usize, from: usize, at: usize| {
        let position = ((at as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, from as f64 - 1.0);
        (position.floor() as usize, (position.floor() as usize + 1).min(from - 1), position.fract())
    };
    Array3::from_shape_fn((channels, height, width), |(c, y, x)| {
        let ((y0, y1, v), (x0, x1, u)) = (place(height, rows, y), place(width, columns, x));
        let at = |y: usize, x: usize| f64::from(source[[c, y, x]]);
        let (upper, lower) = (at(y0, x0) * (1.0 - u) + at(y0, x1) * u, at(y1, x0) * (1.0 - u) + at(y1, x1) * u);
        (upper * (1.0 - v) + lower * v) as f32
    })
}
