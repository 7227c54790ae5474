//! Evaluation with several views of each photo, against plain arithmetic.

use std::path::Path;

use fcn::SizeMode;
use tch::{Device, Kind, Tensor, no_grad};
use trainer::evaluate::{Predictor, Views, input, label};
use trainer::model::{Architecture, Backbone, Init, Network, Spec, UpsampleTraining};

const WIDTH: usize = 50;
const HEIGHT: usize = 45;
const CLASSES: usize = 4;

/// A network whose scores differ from place to place, and a photo.
fn network() -> (Network, Vec<u8>) {
    let (architecture, backbone) = (Architecture::Fcn8s, Backbone::EfficientNetLite0);
    let (classes, upsample, init) = (CLASSES as i64, UpsampleTraining::Learned, Init::Bilinear);
    let network = Network::new(Spec { architecture, backbone, classes, upsample, init }, 1, Device::Cpu);
    no_grad(|| {
        for parameter in network.graph.parameters().iter().filter(|p| p.name.starts_with("score")) {
            let _ = parameter.tensor.shallow_clone().uniform_(-3.0, 3.0);
        }
    });
    let rgb: Vec<u8> = (0..3 * WIDTH * HEIGHT).map(|i| (i * 31 % 253) as u8 ^ (i / 97 * 5 % 256) as u8).collect();
    // No class wins everywhere once each one's mean score is 0.
    no_grad(|| {
        let scores = network.graph.forward(&input(&network, None, &rgb, WIDTH, HEIGHT).unwrap(), false).unwrap();
        let mean = scores.mean_dim([0i64, 2, 3].as_slice(), false, Kind::Float);
        let bias = network.graph.parameters().into_iter().find(|p| p.name == "upsample.bias").unwrap();
        let _ = bias.tensor.shallow_clone().g_sub_(&mean);
    });
    (network, rgb)
}

/// Softmax of a network's scores for planes of normalised values, computed number by number: class, row, column.
fn chances(network: &Network, planes: &[f32], height: usize, width: usize) -> Vec<f64> {
    let (h, w) = (height.next_multiple_of(32), width.next_multiple_of(32));
    let mut padded = vec![0f32; 3 * h * w];
    for (i, value) in planes.iter().enumerate() {
        padded[(i / (height * width) * h + i / width % height) * w + i % width] = *value;
    }
    let image = Tensor::from_slice(&padded).view([1, 3, h as i64, w as i64]);
    let scores = no_grad(|| network.graph.forward(&image, false)).unwrap();
    let scores: Vec<f32> = scores.contiguous().view([-1]).try_into().unwrap();
    let mut chances = vec![0.0; CLASSES * height * width];
    for y in 0..height {
        for x in 0..width {
            let scores: Vec<f64> = (0..CLASSES).map(|c| f64::from(scores[(c * h + y) * w + x]).exp()).collect();
            let sum: f64 = scores.iter().sum();
            scores.iter().enumerate().for_each(|(c, s)| chances[(c * height + y) * width + x] = s / sum);
        }
    }
    chances
}

fn mirrored<T: Copy>(values: &[T], width: usize) -> Vec<T> {
    values.chunks(width).flat_map(|row| row.iter().rev().copied()).collect()
}

/// Bilinear with half-pixel centres.
fn resized(values: &[f64], (height, width): (usize, usize), (to_height, to_width): (usize, usize)) -> Vec<f64> {
    let place = |at: usize, from: usize, to: usize| {
        let center = ((at as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
        let first = (center as usize).min(from - 1);
        (first, (first + 1).min(from - 1), center - first as f64)
    };
    let mut result = Vec::new();
    for plane in values.chunks(height * width) {
        for y in 0..to_height {
            let (top, bottom, down) = place(y, height, to_height);
            for x in 0..to_width {
                let (left, right, along) = place(x, width, to_width);
                let row = |y: usize| plane[y * width + left] * (1.0 - along) + plane[y * width + right] * along;
                result.push(row(top) * (1.0 - down) + row(bottom) * down);
            }
        }
    }
    result
}

#[test]
fn probabilities_of_all_views_are_added() {
    let (network, rgb) = network();
    let whole: Vec<f32> =
        input(&network, None, &rgb, WIDTH, HEIGHT).unwrap().contiguous().view([-1]).try_into().unwrap();
    let (h, w) = (HEIGHT.next_multiple_of(32), WIDTH.next_multiple_of(32));
    let planes: Vec<f64> = whole
        .chunks(h * w)
        .flat_map(|plane| plane.chunks(w).take(HEIGHT).flat_map(|row| row[..WIDTH].iter().map(|v| f64::from(*v))))
        .collect();
    let mut sum = vec![0.0; CLASSES * HEIGHT * WIDTH];
    for scale in [0.7, 1.0, 1.6] {
        let size = [HEIGHT, WIDTH].map(|side| (side as f64 * scale).round() as usize);
        let size = (size[0], size[1]);
        let image: Vec<f32> = resized(&planes, (HEIGHT, WIDTH), size).iter().map(|value| *value as f32).collect();
        let plain = chances(&network, &image, size.0, size.1);
        let turned = mirrored(&chances(&network, &mirrored(&image, size.1), size.0, size.1), size.1);
        for view in [plain, turned] {
            resized(&view, size, (HEIGHT, WIDTH)).iter().zip(&mut sum).for_each(|(value, sum)| *sum += value);
        }
    }
    let views = Views::new(true, vec![0.7, 1.0, 1.6]).unwrap();
    let got = views.probabilities(&network, None, &rgb, WIDTH, HEIGHT).unwrap();
    assert_eq!(got.size(), [1, CLASSES as i64, HEIGHT as i64, WIDTH as i64]);
    let got: Vec<f32> = got.to_kind(Kind::Float).contiguous().view([-1]).try_into().unwrap();
    for (place, (got, expected)) in got.iter().zip(&sum).enumerate() {
        assert!((f64::from(*got) - expected).abs() < 2e-3, "value {place}: {got}, not {expected}");
    }
    let labels = views.label(&network, None, &rgb, WIDTH, HEIGHT).unwrap();
    let at = |class: usize, place: usize| sum[class * HEIGHT * WIDTH + place];
    let mut clear = 0;
    for (place, &label) in labels.iter().enumerate() {
        let best = (0..CLASSES).max_by(|a, b| at(*a, place).total_cmp(&at(*b, place))).unwrap();
        if (0..CLASSES).all(|class| class == best || at(class, place) < at(best, place) - 0.01) {
            clear += 1;
            assert_eq!(usize::from(label), best, "pixel {place}");
        }
    }
    assert!(clear > WIDTH * HEIGHT / 2, "{clear} pixels are not nearly tied");
}

#[test]
fn one_view_is_plain_labelling() {
    let (network, rgb) = network();
    let one = Views::default().label(&network, None, &rgb, WIDTH, HEIGHT).unwrap();
    assert_eq!(one, label(&network, None, &rgb, WIDTH, HEIGHT).unwrap());
    assert!((0..CLASSES as u8).filter(|class| one.contains(class)).count() > 1, "several classes are seen");
}

#[test]
fn views_that_cannot_be_are_refused() {
    for (scales, said) in [(vec![0.0], "--scales 0"), (vec![1.0, f64::NAN], "--scales NaN"), (vec![], "at least one")] {
        let error = Views::new(false, scales).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/animals.onnx");
    let predictor = Predictor::open(&model, None, Device::Cpu).unwrap();
    let predictor = predictor.with_views(Views::default()).unwrap();
    let error = predictor.with_views(Views { flip: true, scales: vec![1.0] }).err().unwrap().to_string();
    assert!(error.contains("--flip and --scales are for checkpoints"), "{error}");
}

#[test]
fn onnx_files_are_measured_in_the_size_that_is_asked_for() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/animals.onnx");
    let photo =
        image::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.deps/photos/chelsea.png")).unwrap().to_rgb8();
    let (width, height) = photo.dimensions();
    let size_modes = [
        SizeMode::Resize { width: 256, height: 192 },
        SizeMode::Tile { width: 192, height: 160, overlap: 0 },
        SizeMode::Tile { width: 192, height: 160, overlap: 64 },
    ];
    let plain =
        Predictor::open(&model, None, Device::Cpu).unwrap().label(&photo, width as usize, height as usize).unwrap();
    for size_mode in size_modes {
        let mut predictor = Predictor::onnx(&model, size_mode).unwrap();
        let labels = predictor.label(&photo, width as usize, height as usize).unwrap();
        let mut options = fcn::Options::default();
        (options.provider, options.size_mode) = (fcn::Provider::Cpu, Some(size_mode));
        let mut mask = fcn::Mask::new();
        let frame = fcn::Frame::packed(fcn::PixelFormat::Rgb8, &photo, width, height, 0).unwrap();
        fcn::Segmenter::from_file(&model, &options).unwrap().segment(&frame, &mut mask).unwrap();
        assert!(labels == mask.labels() && labels != plain, "{size_mode:?}");
    }
    let resized = SizeMode::Resize { width: 160, height: 96 };
    let [native, resized] = [Predictor::open(&model, Some(128), Device::Cpu), Predictor::onnx(&model, resized)]
        .map(|predictor| predictor.unwrap().label(&photo, width as usize, height as usize).unwrap());
    assert!(native == resized && native != plain);
    let error = Predictor::onnx(Path::new("run"), size_modes[0]).err().unwrap().to_string();
    assert!(error.contains("--resize, --tile, --provider and --precision are for those"), "{error}");
}
