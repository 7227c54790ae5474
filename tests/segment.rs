//! Frames through small networks of random weights, against what ONNX Runtime computes for the uncut graph and against
//! plain slow arithmetic.

#[path = "common/models.rs"]
mod models;

use fcn::{Frame, Mask, Options, Outputs, PixelFormat, Provider, Segmenter, SizeMode};
use models::{End, Spec, network, random_bytes};

fn segmenter(spec: Spec, size_mode: Option<SizeMode>) -> Segmenter {
    let mut options = Options::default();
    options.provider = Provider::Cpu;
    options.size_mode = size_mode;
    Segmenter::from_memory(&network(spec), &options).unwrap()
}

fn segment(segmenter: &Segmenter, pixels: &[u8], width: u32, height: u32) -> Mask {
    let frame = Frame::packed(PixelFormat::Rgb8, pixels, width, height, 0).unwrap();
    let mut mask = Mask::with_outputs(Outputs { confidence: true, scores: true });
    segmenter.segment(&frame, &mut mask).unwrap();
    mask
}

/// The best class of each pixel, from scores alone.
fn argmax(scores: ndarray::ArrayView3<'_, f32>) -> Vec<u8> {
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

/// Checks a mask against the scores it should have: labels equal but where the two best differ by less than 1e-4 of the
/// range of the scores, scores equal within that.
fn assert_same(name: &str, mask: &Mask, truth: ndarray::ArrayView3<'_, f32>) {
    let range = truth.iter().fold(f32::MIN, |a, &b| a.max(b)) - truth.iter().fold(f32::MAX, |a, &b| a.min(b));
    let scores = mask.scores().unwrap();
    assert_eq!(scores.dim(), truth.dim(), "{name}");
    let worst = scores.iter().zip(&truth).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
    assert!(worst <= 1e-4 * range, "{name}: scores differ by {worst} of a range of {range}");
    let (_, _, width) = truth.dim();
    for (i, (&found, best)) in mask.labels().iter().zip(argmax(truth)).enumerate() {
        let at = |class: u8| truth[[class as usize, i / width, i % width]];
        assert!(found == best || at(best) - at(found) < 1e-4 * range, "{name}: pixel {i} is {found}, not {best}");
    }
    let mut pixels = vec![0u64; mask.pixels().len()];
    mask.labels().iter().for_each(|&label| pixels[label as usize] += 1);
    assert_eq!(mask.pixels(), pixels, "{name}");
    for (i, &confidence) in mask.confidence().unwrap().iter().enumerate() {
        let (y, x) = (i / width, i % width);
        let best = scores[[mask.labels()[i] as usize, y, x]];
        let sum: f64 = (0..scores.dim().0).map(|c| f64::from(scores[[c, y, x]] - best).exp()).sum();
        assert!((f64::from(confidence) - 1.0 / sum).abs() < 1e-5, "{name}: confidence of pixel {i}");
    }
}

#[test]
fn a_cut_graph_labels_as_the_uncut_one_does() {
    for (stride, classes, width, height) in [(8, 5, 96, 64), (32, 21, 480, 320), (2, 2, 34, 18), (16, 7, 16, 160)] {
        let pixels = random_bytes(7, 3 * width as usize * height as usize);
        let spec = |end| Spec { stride, classes, end, ..Spec::default() };
        let truth = segment(&segmenter(spec(End::Uncut), None), &pixels, width, height);
        let cut = segment(&segmenter(spec(End::Transposed), None), &pixels, width, height);
        assert_same(&format!("stride {stride}"), &cut, truth.scores().unwrap());
        let grouped = segment(&segmenter(spec(End::Grouped), None), &pixels, width, height);
        let diagonal = segment(&segmenter(spec(End::Diagonal), None), &pixels, width, height);
        assert_same(&format!("diagonal, stride {stride}"), &diagonal, grouped.scores().unwrap());
    }
}
