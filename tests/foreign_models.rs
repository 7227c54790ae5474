//! Models from other exporters: every supported form of input and output, compared with plain
//! arithmetic, and the error message for each unsupported one.

#[path = "common/arrays.rs"]
mod arrays;
#[path = "common/foreign.rs"]
mod foreign;
#[path = "common/models.rs"]
mod models;

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use fcn::{
    ChannelOrder, Error, Frame, LogLevel, Mask, Options, Outputs, PixelFormat, Provider, Segmenter, SizeMode,
    TensorLayout,
    onnx::{
        ModelCard,
        build::{self, Dim},
        types::{ModelProto, TypeProto, ValueInfoProto, tensor_proto::DataType, type_proto},
    },
};
use foreign::{Enlarge, Foreign, Last, Normal, PLAIN};
use models::{CACHE_CHECKSUM, End, Spec, cache_entries, network, random, random_bytes, split_header};
use ndarray::Array3;
use prost::Message;

const NCHW: TensorLayout = TensorLayout::Nchw;
const NHWC: TensorLayout = TensorLayout::Nhwc;

const RAW: Normal = Normal { scale: 1.0 / 255.0, mean: [0.0; 3], std: [1.0; 3], bgr: false };

fn options() -> Options {
    let mut options = Options::default();
    (options.provider, options.threads) = (models::provider(), 2);
    options
}

fn rgb(pixels: &[u8], width: usize, height: usize) -> Frame<'_> {
    Frame::packed(PixelFormat::Rgb8, pixels, width as u32, height as u32, 0).unwrap()
}

fn log_softmax(scores: &Array3<f64>) -> Array3<f64> {
    let (classes, ..) = scores.dim();
    Array3::from_shape_fn(scores.dim(), |(class, y, x)| {
        let highest = (0..classes).map(|c| scores[[c, y, x]]).fold(f64::MIN, f64::max);
        let sum: f64 = (0..classes).map(|c| (scores[[c, y, x]] - highest).exp()).sum();
        scores[[class, y, x]] - highest - sum.ln()
    })
}

/// Compares labels, pixel counts, and, if the model has scores, confidence and scores with the true
/// logits.
fn check(name: &str, segmenter: &Segmenter, frame: &Frame<'_>, truth: &Array3<f64>, labels_only: bool) {
    let (classes, height, width) = truth.dim();
    assert_eq!(segmenter.classes().len(), classes, "{name}");
    let wanted = Outputs { confidence: !labels_only, scores: !labels_only, ..Outputs::default() };
    let mut mask = Mask::with_outputs(wanted);
    // Later runs take another code path than the first one.
    for _ in 0..3 {
        segmenter.segment(frame, &mut mask).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    assert_eq!((mask.width() as usize, mask.height() as usize), (width, height), "{name}");
    let truth = log_softmax(truth);
    let mut counted = vec![0u64; classes];
    for (i, &label) in mask.labels().iter().enumerate() {
        let (y, x) = (i / width, i % width);
        let best = (0..classes).map(|class| truth[[class, y, x]]).fold(f64::MIN, f64::max);
        let found = truth[[usize::from(label), y, x]];
        assert!(best - found < 1e-3, "{name}: pixel {x}, {y} is {label}, whose log-probability is {found}, not {best}");
        if let Some(confidence) = mask.confidence() {
            let difference = (f64::from(confidence[i]) - found.exp()).abs();
            assert!(difference < 1e-3, "{name}: pixel {x}, {y} has confidence {}, not {}", confidence[i], found.exp());
        }
        counted[usize::from(label)] += 1;
    }
    assert_eq!(mask.pixels(), counted, "{name}");
    assert!(counted.iter().filter(|count| **count > 0).count() > 1, "{name}: all of one class proves nothing");
    if let Some(scores) = mask.scores() {
        let scores = log_softmax(&scores.mapv(f64::from));
        let worst = scores.iter().zip(&truth).fold(0.0f64, |worst, (a, b)| worst.max((a - b).abs()));
        assert!(worst < 2e-3, "{name}: log-probabilities differ by {worst}");
    }
}

#[test]
fn every_form_of_output_labels_as_plain_arithmetic_does() {
    use Last::*;
    let (width, height) = (64, 32);
    let pixels = random_bytes(31, 3 * width * height);
    let lasts = [
        Scores,
        ChannelsLast,
        NoBatch,
        NoBatchChannelsLast,
        Softmax,
        LogSoftmax,
        SoftmaxChannelsLast,
        SoftmaxBetweenSwaps,
        HiddenSoftmax,
        ArgMax(DataType::Int64, 3),
        ArgMax(DataType::Int32, 4),
        ArgMax(DataType::Uint8, 2),
        ArgMax(DataType::Float, 3),
        ArgMaxChannelsLast,
        HiddenArgMax(DataType::Int64, 3),
        HiddenArgMax(DataType::Int64, 2),
        HiddenArgMax(DataType::Int32, 4),
        HiddenArgMax(DataType::Uint8, 3),
        Logit,
        LogitChannelsLast,
        LogitNoChannel,
        LogitNoBatchChannelsLast,
        Probability,
        HiddenProbability,
        Above,
    ];
    for last in lasts {
        for (enlarge, stride) in
            [(Enlarge::No, 1), (Enlarge::Scales, 4), (Enlarge::Sizes, 8), (Enlarge::Sizes, 1), (Enlarge::Transposed, 4)]
        {
            // PyTorch's exporter leaves every dimension open if one is; then nodes reveal the
            // layout.
            let plain =
                [Scores, ChannelsLast, Softmax, SoftmaxChannelsLast, SoftmaxBetweenSwaps, ArgMax(DataType::Int64, 3)];
            let untold = plain.contains(&last).then_some(((None, None), false));
            for (size, told) in [((None, None), true), ((Some(32), Some(64)), true)].into_iter().chain(untold) {
                let foreign = Foreign { last, enlarge, stride, size, told, ..PLAIN };
                let name = format!("{last:?}, {enlarge:?} by {stride}, {size:?}, told {told}");
                let mut options = options();
                // Class indices do not reveal the number of classes.
                let hidden = matches!(last, HiddenArgMax(..));
                options.class_names = hidden.then(|| ["a", "b", "c", "d", "e"].map(String::from).to_vec());
                let segmenter = Segmenter::from_memory(&foreign.bytes(), &options)
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
                let truth = foreign.logits(&pixels, height, width, &RAW);
                check(&name, &segmenter, &rgb(&pixels, width, height), &truth, hidden || last == Above);
            }
        }
    }
}

#[test]
fn the_form_for_gpus_takes_them_as_well() {
    let (width, height) = (64, 32);
    let pixels = random_bytes(33, 3 * width * height);
    let bytes = Foreign { layout: NHWC, element: DataType::Uint8, ..PLAIN };
    for input in [PLAIN, bytes, Foreign { hidden_bytes: true, channels: 1, ..bytes }] {
        for last in [Last::Scores, Last::Softmax, Last::ArgMax(DataType::Int64, 3), Last::Probability, Last::Logit] {
            for (enlarge, stride) in [(Enlarge::Scales, 4), (Enlarge::Transposed, 4)] {
                let foreign = Foreign { last, enlarge, stride, ..input };
                let mut options = options();
                options.device_graph = true;
                let segmenter = Segmenter::from_memory(&foreign.bytes(), &options).unwrap();
                let truth = foreign.logits(&pixels, height, width, &RAW);
                check(&format!("{foreign:?}"), &segmenter, &rgb(&pixels, width, height), &truth, true);
            }
        }
    }
}

#[test]
fn every_form_of_input_is_filled_as_the_options_say() {
    let (width, height) = (64, 32);
    let pixels = random_bytes(37, 3 * width * height);
    let normal = Normal { scale: 1.0, mean: [100.0, 120.0, 140.0], std: [60.0, 50.0, 70.0], bgr: false };
    let mut count = 0;
    for layout in [NCHW, NHWC] {
        for (element, hidden_bytes) in [(DataType::Float, false), (DataType::Uint8, false), (DataType::Uint8, true)] {
            for channels in [3, 1] {
                for (size, bgr) in [
                    ((None, None), false),
                    ((Some(32), Some(64)), true),
                    ((Some(32), None), false),
                    ((None, Some(64)), true),
                ] {
                    let last = if layout == NHWC { Last::SoftmaxChannelsLast } else { Last::Scores };
                    let foreign = Foreign { layout, element, hidden_bytes, channels, size, last, ..PLAIN };
                    let name = format!("{layout:?}, {element:?}, {hidden_bytes}, {channels} channels, {size:?}, {bgr}");
                    let mut options = options();
                    let mut normal = Normal { bgr, ..normal };
                    options.channel_order = bgr.then_some(ChannelOrder::Bgr);
                    if element == DataType::Float {
                        let floats = |values: [f64; 3]| values.map(|value| value as f32);
                        options.scale = Some(normal.scale as f32);
                        (options.mean, options.std) = (Some(floats(normal.mean)), Some(floats(normal.std)));
                    } else {
                        normal = Normal { bgr, ..RAW };
                    }
                    let segmenter = Segmenter::from_memory(&foreign.bytes(), &options)
                        .unwrap_or_else(|error| panic!("{name}: {error}"));
                    let truth = foreign.logits(&pixels, height, width, &normal);
                    check(&name, &segmenter, &rgb(&pixels, width, height), &truth, false);
                    count += 1;
                }
            }
        }
    }
    assert_eq!(count, 48);
}

#[test]
fn bytes_that_are_resampled_are_rounded() {
    let foreign = Foreign { element: DataType::Uint8, hidden_bytes: true, size: (Some(8), Some(8)), ..PLAIN };
    let segmenter = Segmenter::from_memory(&foreign.bytes(), &options()).unwrap();
    let pixels: Vec<u8> = (0..=255u8).flat_map(|i| [i % 16 * 15 + i / 16, i / 2, 255 - i]).collect();
    let mut mask = Mask::with_outputs(Outputs { scores: true, ..Outputs::default() });
    // At half the size, each pixel is the mean of four.
    segmenter.segment(&rgb(&pixels, 16, 16), &mut mask).unwrap();
    let half: Vec<u8> = (0..8 * 8 * 3)
        .map(|i| {
            let (y, x, c) = (i / 24, i / 3 % 8, i % 3);
            let at = |dy: usize, dx: usize| f64::from(pixels[3 * (16 * (2 * y + dy) + 2 * x + dx) + c]);
            ((at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) / 4.0 + 0.5) as u8
        })
        .collect();
    let truth = foreign::bilinear(&foreign.logits(&half, 8, 8, &RAW), 16, 16);
    let worst =
        mask.scores().unwrap().iter().zip(&truth).fold(0.0f64, |worst, (a, b)| worst.max((f64::from(*a) - b).abs()));
    assert!(worst < 1e-4, "scores differ by {worst}");
}

#[test]
fn frames_that_do_not_fit_are_padded_or_resized() {
    let pixels = random_bytes(41, 3 * 50 * 37);
    let truth = PLAIN.logits(&pixels, 37, 50, &RAW);
    // With one score per pixel, padding on the right has no effect.
    for foreign in [PLAIN, Foreign { layout: NHWC, last: Last::ChannelsLast, ..PLAIN }] {
        let segmenter = Segmenter::from_memory(&foreign.bytes(), &options()).unwrap();
        check("padded", &segmenter, &rgb(&pixels, 50, 37), &truth, false);
    }
    // A fixed side makes resize the default; the other side may be chosen.
    let fixed = Foreign { size: (Some(32), None), ..PLAIN };
    let frame = rgb(&pixels, 50, 37);
    let mut answers = Vec::new();
    let resize = |width, height| Some(SizeMode::Resize { width, height });
    for (foreign, mode) in [(fixed, None), (fixed, resize(64, 5)), (PLAIN, resize(64, 32))] {
        let mut options = options();
        options.size_mode = mode;
        let segmenter = Segmenter::from_memory(&foreign.bytes(), &options).unwrap();
        let mut mask = Mask::new();
        segmenter.segment(&frame, &mut mask).unwrap();
        answers.push(mask.labels().to_vec());
    }
    assert!(answers[0] == answers[1] && answers[1] == answers[2]);
    let mut options = options();
    options.size_mode = Some(SizeMode::Pad);
    let segmenter = Segmenter::from_memory(&fixed.bytes(), &options).unwrap();
    let error = segmenter.segment(&frame, &mut Mask::new()).unwrap_err().to_string();
    assert!(error.contains("50 x 37") && error.contains("64 x 32"), "{error}");
    options.size_mode = Some(SizeMode::Tile { width: 0, height: 0, overlap: 0 });
    let error = Segmenter::from_memory(&fixed.bytes(), &options).err().unwrap().to_string();
    assert!(error.contains("one size only"), "{error}");
}

#[test]
fn an_upsampling_that_does_not_reach_the_input_is_left_in() {
    // Scores at a quarter of the size, enlarged by two: half the size, which the head upsamples
    // again.
    let (width, height) = (64, 32);
    let pixels = random_bytes(43, 3 * width * height);
    for size in [(None, None), (Some(32), Some(64))] {
        let foreign = Foreign { enlarge: Enlarge::Scales, stride: 4, size, told: false, ..PLAIN };
        let mut model = foreign.model();
        let scales = model.graph.as_mut().unwrap().initializer.iter_mut().find(|tensor| tensor.name() == "scales");
        *scales.unwrap() = build::floats("scales", &[4], &[1.0, 1.0, 2.0, 2.0]);
        let segmenter = Segmenter::from_memory(&model.encode_to_vec(), &options()).unwrap();
        let low = foreign.low(&pixels, height, width, &RAW);
        let truth = foreign::bilinear(&foreign::bilinear(&low, 16, 32), 32, 64);
        check(&format!("{size:?}"), &segmenter, &rgb(&pixels, width, height), &truth, false);
    }
}

/// The only output of a model.
fn output(model: &mut ModelProto) -> &mut Vec<ValueInfoProto> {
    &mut model.graph.as_mut().unwrap().output
}

#[test]
fn what_a_shape_does_not_tell_the_options_decide() {
    use Dim::{Fixed, Named};
    let (width, height) = (64, 32);
    let pixels = random_bytes(47, 3 * width * height);
    let refused = |model: &ModelProto, options: &Options, words: &str| {
        let error = Segmenter::from_memory(&model.encode_to_vec(), options).expect_err(words).to_string();
        assert!(error.contains(words), "{error}");
    };
    let works = |name: &str, model: &ModelProto, options: &Options, foreign: &Foreign| {
        let segmenter = Segmenter::from_memory(&model.encode_to_vec(), options).unwrap();
        check(name, &segmenter, &rgb(&pixels, width, height), &foreign.logits(&pixels, height, width, &RAW), false);
    };
    for layout in [NCHW, NHWC] {
        // The input.
        let foreign = Foreign { layout, ..PLAIN };
        let mut model = foreign.model();
        let open = [Named("a"), Named("b"), Named("c"), Named("d")];
        model.graph.as_mut().unwrap().input = vec![build::value("picture", DataType::Float, &open)];
        refused(&model, &options(), "'picture' is a float32 tensor ? x ? x ? x ?");
        refused(&model, &options(), "set the option input_layout");
        let mut decided = options();
        decided.input_layout = Some(layout);
        works("input", &model, &decided, &foreign);

        // The output: no node reveals the layout, so the network is run once, even if a shape is
        // declared.
        let last = if layout == NCHW { Last::Scores } else { Last::ChannelsLast };
        let hidden = |foreign: &Foreign, dims: Option<&[Dim]>| {
            let mut model = foreign.model();
            let graph = model.graph.as_mut().unwrap();
            graph.node.push(build::node("Neg", &[graph.output[0].name()], "less", vec![]));
            graph.node.push(build::node("Neg", &["less"], "scores", vec![]));
            graph.output = vec![build::value("scores", DataType::Float, dims.unwrap_or_default())];
            let Some(type_proto::Value::TensorType(tensor)) = &mut graph.output[0].r#type.as_mut().unwrap().value
            else {
                panic!("a tensor")
            };
            tensor.shape.take_if(|_| dims.is_none());
            model
        };
        let foreign = Foreign { last, ..PLAIN };
        for dims in [None, Some(&open[..]), Some(&[Fixed(1), Fixed(5), Fixed(7), Fixed(5)])] {
            works("output", &hidden(&foreign, dims), &options(), &foreign);
        }
        // 1 x 4 x 8 x 16 for an image of 32 x 64 can be a quarter of it with 4 classes, or an
        // eighth with 16.
        let (classes, places) = if layout == NCHW { (4, 4) } else { (16, 8) };
        let foreign = Foreign { last, classes, stride: places, size: (Some(32), Some(64)), ..PLAIN };
        let model = hidden(&foreign, Some(&open));
        refused(&model, &options(), "'scores' is a float32 tensor 1 x 4 x 8 x 16, which");
        refused(&model, &options(), "set the option output_layout");
        let mut decided = options();
        decided.output_layout = Some(layout);
        works("output", &model, &decided, &foreign);
        // The number of classes also decides it.
        let mut decided = options();
        decided.class_names = Some((0..classes).map(|class| class.to_string()).collect());
        works("output", &model, &decided, &foreign);
    }

    // A hidden sigmoid is detected, but not what a Where or a subtraction made of it.
    let foreign = Foreign { last: Last::Probability, ..PLAIN };
    let mut model = foreign.model();
    let graph = model.graph.as_mut().unwrap();
    let probability = graph.output[0].name().to_owned();
    graph.initializer.push(build::floats("nothing", &[], &[0.0]));
    graph.node.push(build::node("Sub", &[&probability, "nothing"], "same", vec![]));
    graph.output[0].name = Some("same".into());
    let mut decided = options();
    decided.probabilities = Some(true);
    works("probabilities", &model, &decided, &foreign);
    // Interpreted as a logit, a probability is always above 0.
    let segmenter = Segmenter::from_memory(&model.encode_to_vec(), &options()).unwrap();
    let mut mask = Mask::new();
    segmenter.segment(&rgb(&pixels, width, height), &mut mask).unwrap();
    assert_eq!(mask.pixels(), [0, (width * height) as u64]);
}

/// Removes the declared shape of the only output.
fn forget_shape(model: &mut ModelProto) {
    let kind = output(model)[0].r#type.as_mut().unwrap();
    let Some(type_proto::Value::TensorType(tensor)) = &mut kind.value else { panic!("a tensor") };
    tensor.shape = None;
}

#[test]
fn what_nothing_tells_one_run_does() {
    use Last::*;
    let (width, height) = (64, 32);
    let pixels = random_bytes(71, 3 * width * height);
    let lasts = [
        Scores,
        ChannelsLast,
        SoftmaxBetweenSwaps,
        Sigmoid,
        ArgMax(DataType::Int64, 3),
        ArgMax(DataType::Int32, 4),
        ArgMaxChannelsLast,
        Logit,
        LogitChannelsLast,
        Probability,
        HiddenProbability,
    ];
    for last in lasts {
        for size in [(None, None), (Some(32), Some(64)), (None, Some(64))] {
            for (layout, element) in
                [(NCHW, DataType::Float), (NHWC, DataType::Float), (NHWC, DataType::Uint8), (NCHW, DataType::Uint8)]
            {
                let foreign = Foreign {
                    last,
                    size,
                    layout,
                    element,
                    stride: 4,
                    enlarge: Enlarge::HiddenSizes,
                    told: false,
                    ..PLAIN
                };
                // Endings written by Paddle's and TensorFlow's converters, and without any shape.
                let plain = foreign.model();
                let mut named = plain.clone();
                let name = output(&mut named)[0].name().to_owned();
                named.graph.as_mut().unwrap().node.push(build::node("Identity", &[&name], "answer", vec![]));
                output(&mut named)[0].name = Some("answer".into());
                let mut shapeless = named.clone();
                forget_shape(&mut shapeless);
                let truth = foreign.logits(&pixels, height, width, &RAW);
                for (model, form) in [(plain, "plain"), (named, "Identity"), (shapeless, "no shape")] {
                    let name = format!("{last:?}, {size:?}, {layout:?}, {element:?}, {form}");
                    let segmenter = Segmenter::from_memory(&model.encode_to_vec(), &options())
                        .unwrap_or_else(|error| panic!("{name}: {error}"));
                    check(&name, &segmenter, &rgb(&pixels, width, height), &truth, false);
                }
            }
        }
    }
    // A shape found by a run can also show that the output is not a segmentation.
    let mut model = PLAIN.model();
    let graph = model.graph.as_mut().unwrap();
    graph.node.push(build::node("GlobalAveragePool", &[graph.output[0].name()], "pooled", vec![]));
    graph.output[0].name = Some("pooled".into());
    forget_shape(&mut model);
    let error = Segmenter::from_memory(&model.encode_to_vec(), &options()).err().unwrap().to_string();
    assert!(error.contains("'pooled' is a float32 tensor 1 x 5 x 1 x 1; scores"), "{error}");
}

/// Converts everything in the model to this type, like PyTorch's `half()`. With `keep`, input and
/// output do not change.
fn of_type(mut model: ModelProto, element: DataType, keep: bool) -> ModelProto {
    let cast = |from: &str, to: &str, element: DataType| {
        build::node("Cast", &[from], to, vec![build::int("to", element as i64)])
    };
    let graph = model.graph.as_mut().unwrap();
    let mut before = Vec::new();
    let names: Vec<String> = graph.initializer.iter().map(|tensor| tensor.name().to_owned()).collect();
    for name in names.iter().filter(|name| ["weight", "bias", "tent"].contains(&name.as_str())) {
        before.push(cast(name, &format!("{name}.cast"), element));
    }
    if keep {
        before.push(cast("picture", "picture.cast", element));
    }
    for input in graph.node.iter_mut().flat_map(|node| &mut node.input) {
        if before.iter().any(|node| node.input[0] == *input) {
            input.push_str(".cast");
        }
    }
    graph.node.splice(0..0, before);
    let scores = graph.output[0].name().to_owned();
    for value in graph.input.iter_mut().chain(&mut graph.output).filter(|_| !keep) {
        let Some(type_proto::Value::TensorType(tensor)) = &mut value.r#type.as_mut().unwrap().value else { panic!() };
        tensor.elem_type = tensor.elem_type.map(|kind| if kind == 1 { element as i32 } else { kind });
    }
    if keep {
        graph.node.push(cast(&scores, "scores.cast", DataType::Float));
        graph.output[0].name = Some("scores.cast".into());
    }
    model
}

#[test]
fn networks_of_half_precision_have_a_cast_at_both_ends() {
    use Last::*;
    let (width, height) = (64, 32);
    let pixels = random_bytes(83, 3 * width * height);
    let frame = rgb(&pixels, width, height);
    let lasts = [
        Scores,
        ChannelsLast,
        Softmax,
        HiddenSoftmax,
        Sigmoid,
        ArgMax(DataType::Int64, 3),
        Logit,
        Probability,
        HiddenProbability,
    ];
    for last in lasts {
        for (enlarge, stride) in [(Enlarge::No, 1), (Enlarge::Scales, 4), (Enlarge::HiddenSizes, 4)] {
            if enlarge == Enlarge::HiddenSizes && matches!(last, Softmax | HiddenSoftmax) {
                continue; // Before version 13 a softmax takes all axes together.
            }
            for (layout, keep) in [(NCHW, false), (NHWC, false), (NCHW, true)] {
                let told = enlarge == Enlarge::No;
                let foreign = Foreign { last, enlarge, stride, layout, told, ..PLAIN };
                let name = format!("{last:?}, {enlarge:?}, {layout:?}, keep {keep}");
                let keep = keep && !matches!(last, ArgMax(..));
                let model = of_type(foreign.model(), DataType::Float16, keep);
                let segmenter = Segmenter::from_memory(&model.encode_to_vec(), &options())
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
                let mut mask = Mask::with_outputs(Outputs { confidence: true, ..Outputs::default() });
                segmenter.segment(&frame, &mut mask).unwrap();
                // Eleven bits of precision.
                let truth = log_softmax(&foreign.logits(&pixels, height, width, &RAW));
                let confidence = mask.confidence().unwrap();
                let mut seen = [0; 5];
                for (i, &label) in mask.labels().iter().enumerate() {
                    let (y, x) = (i / width, i % width);
                    let best = (0..truth.dim().0).map(|class| truth[[class, y, x]]).fold(f64::MIN, f64::max);
                    let found = truth[[usize::from(label), y, x]];
                    assert!(best - found < 2e-2, "{name}: pixel {x}, {y} is {label}: {found}, not {best}");
                    assert!((f64::from(confidence[i]) - found.exp()).abs() < 1e-2, "{name}: pixel {x}, {y}");
                    seen[usize::from(label)] += 1;
                }
                assert!(seen.iter().filter(|count| **count > 0).count() > 1, "{name}: {seen:?}");
            }
        }
    }
    // ONNX Runtime has no float64 convolution on the CPU, so only the input and the output are
    // float64.
    let mut ends = of_type(PLAIN.model(), DataType::Float, true);
    let graph = ends.graph.as_mut().unwrap();
    graph.node.last_mut().unwrap().attribute[0].i = Some(DataType::Double as i64);
    graph.output[0] = build::value(
        "scores.cast",
        DataType::Double,
        &[Dim::Named("N"), Dim::Fixed(5), Dim::Named("h"), Dim::Named("w")],
    );
    graph.input[0] =
        build::value("picture", DataType::Double, &[Dim::Named("N"), Dim::Fixed(3), Dim::Named("H"), Dim::Named("W")]);
    let segmenter = Segmenter::from_memory(&ends.encode_to_vec(), &options()).unwrap();
    check("float64", &segmenter, &frame, &PLAIN.logits(&pixels, height, width, &RAW), false);
    if models::provider() != Provider::Cpu {
        return;
    }
    let double = of_type(PLAIN.model(), DataType::Double, false);
    let error = Segmenter::from_memory(&double.encode_to_vec(), &options()).err().unwrap().to_string();
    assert!(error.contains("Conv"), "{error}");
}

/// Collects the log messages of these options.
fn listen(options: &mut Options) -> Arc<Mutex<Vec<(LogLevel, String)>>> {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::clone(&heard);
    options.log = Some(Arc::new(move |level, message: &str| all.lock().unwrap().push((level, message.to_owned()))));
    heard
}

#[test]
fn independent_classes_leave_pixels_to_the_background() {
    let (width, height) = (64, 32);
    let pixels = random_bytes(89, 3 * width * height);
    let frame = rgb(&pixels, width, height);
    let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
    for last in
        [Last::Sigmoid, Last::Scores, Last::ChannelsLast, Last::Logit, Last::Probability, Last::HiddenProbability]
    {
        for (enlarge, stride) in
            [(Enlarge::No, 1), (Enlarge::Scales, 4), (Enlarge::Transposed, 4), (Enlarge::HiddenSizes, 4)]
        {
            for (probability, told) in [(0.5, true), (0.5, false), (0.6, true), (0.55, true)] {
                let foreign = Foreign { last, enlarge, stride, told, ..PLAIN };
                let name = format!("{last:?}, {enlarge:?} by {stride}, {probability}, told {told}");
                let mut options = options();
                options.multilabel = Some(probability);
                let logit = f64::from(probability / (1.0 - probability)).ln();
                let full = foreign.logits(&pixels, height, width, &RAW);
                // A single score implies a background.
                let own = usize::from(foreign.is_binary());
                let classes = full.dim().0 + 1 - own;
                let truth = Array3::from_shape_fn((classes, height, width), |(class, y, x)| {
                    if class == 0 { logit } else { full[[class + own - 1, y, x]] }
                });
                let segmenter = Segmenter::from_memory(&foreign.bytes(), &options)
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
                check(&name, &segmenter, &frame, &truth, false);
                assert_eq!(
                    (segmenter.background(), &segmenter.classes()[0].name[..]),
                    (Some(0), "background"),
                    "{name}"
                );
            }
        }
    }
    // A dense upsampling, computed by the head and by ONNX Runtime.
    for stride in [2, 8] {
        let mut masks = Vec::new();
        for uncut in [false, true] {
            let spec = Spec { stride, uncut, card: false, end: End::Transposed, ..Spec::default() };
            let mut options = options();
            (options.multilabel, options.class_names) = (Some(0.6), names(&["nothing", "a", "b", "c", "d", "e"]));
            let segmenter = Segmenter::from_memory(&network(spec), &options).unwrap();
            assert_eq!(segmenter.background(), Some(0));
            let mut mask = Mask::with_outputs(Outputs { confidence: true, ..Outputs::default() });
            segmenter.segment(&frame, &mut mask).unwrap();
            masks.push(mask);
        }
        let differing = masks[0].labels().iter().zip(masks[1].labels()).filter(|(a, b)| a != b).count();
        assert!(differing < 4, "{differing} pixels");
        assert!(masks[0].pixels().iter().filter(|count| **count > 0).count() > 2, "{:?}", masks[0].pixels());
        let confidence = masks[0].confidence().unwrap().iter().zip(masks[1].confidence().unwrap());
        assert!(confidence.fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs())) < 1e-3);
    }
    // Without the option the highest score wins, and the log says so.
    let mut silent = options();
    let heard = listen(&mut silent);
    let foreign = Foreign { last: Last::Sigmoid, ..PLAIN };
    let segmenter = Segmenter::from_memory(&foreign.bytes(), &silent).unwrap();
    check("sigmoids", &segmenter, &frame, &foreign.logits(&pixels, height, width, &RAW), false);
    assert!(heard.lock().unwrap().iter().any(|(_, message)| message.contains("option multilabel")));

    let refused = |bytes: &[u8], change: &dyn Fn(&mut Options), words: &str| {
        let mut options = options();
        options.multilabel = Some(0.5);
        change(&mut options);
        let error = Segmenter::from_memory(bytes, &options).expect_err(words);
        assert!(
            matches!(error, Error::InvalidArgument(_) | Error::Model(_)) && error.to_string().contains(words),
            "{error}"
        );
    };
    for last in [Last::Softmax, Last::HiddenSoftmax, Last::SoftmaxBetweenSwaps] {
        refused(&Foreign { last, ..PLAIN }.bytes(), &|_| (), "softmax");
    }
    refused(&Foreign { last: Last::HiddenArgMax(DataType::Int64, 3), ..PLAIN }.bytes(), &|_| (), "class indices");
    refused(&network(Spec::default()), &|_| (), "card");
    refused(&PLAIN.bytes(), &|options| options.class_names = names(&["a", "b", "c", "d", "e"]), "6");
    for wrong in [0.0, 1.0, -0.5, f32::NAN] {
        refused(&PLAIN.bytes(), &|options| options.multilabel = Some(wrong), "between 0 and 1");
    }
}

#[test]
fn the_log_says_once_what_is_taken_for_granted() {
    let said = |model: &ModelProto, change: &dyn Fn(&mut Options)| {
        let mut options = options();
        change(&mut options);
        let heard = listen(&mut options);
        Segmenter::from_memory(&model.encode_to_vec(), &options).unwrap();
        let heard: Vec<_> = heard.lock().unwrap().clone();
        let mut assumed = heard.into_iter().filter(|(_, message)| message.starts_with("assumed"));
        let first = assumed.next().map(|(level, message)| {
            assert_eq!(level, LogLevel::Info);
            message.split_once(": ").unwrap().1.to_owned()
        });
        assert_eq!(assumed.next(), None);
        first.unwrap_or_default()
    };
    let padded = "frames of any size, which are padded and not resampled, because the size that the model labels best is not known \
                  (option native_side)";
    let start = "scale 1 / 255, mean 0 0 0, std 1 1 1, channel order RGB, input NCHW, scores NCHW, ";
    assert_eq!(said(&PLAIN.model(), &|_| ()), format!("{start}{padded}"));
    let fixed = Foreign { size: (Some(32), Some(64)), layout: NHWC, last: Last::ChannelsLast, ..PLAIN }.model();
    let resampled = "frames are resampled to the one size that the model takes";
    let last = start.replace("NCHW", "NHWC");
    assert_eq!(said(&fixed, &|_| ()), format!("{last}{resampled}"));
    let bytes =
        Foreign { element: DataType::Uint8, channels: 1, last: Last::ArgMax(DataType::Int64, 3), ..PLAIN }.model();
    assert_eq!(said(&bytes, &|_| ()), format!("input NCHW, {padded}"));
    // Values set by options are not assumptions.
    let options = |options: &mut Options| {
        (options.scale, options.mean, options.std) = (Some(1.0), Some([0.0; 3]), Some([1.0; 3]));
        (options.channel_order, options.size_mode) = (Some(ChannelOrder::Rgb), Some(SizeMode::Pad));
        (options.input_layout, options.output_layout) = (Some(NCHW), Some(NCHW));
    };
    assert_eq!(said(&PLAIN.model(), &options), "");
    let mut two = PLAIN.model();
    let second = ValueInfoProto { name: Some("again".into()), ..output(&mut two)[0].clone() };
    let graph = two.graph.as_mut().unwrap();
    graph.node.push(build::node("Neg", &[graph.output[0].name()], "again", vec![]));
    graph.output.insert(0, second);
    assert_eq!(said(&two, &options), "output 'again', the first suitable one of 2, is the segmentation");
    assert_eq!(said(&two, &|all| (options(all), all.output = Some("again".into())).0), "");
    // The card specifies all of it.
    let mut own = models::model(Spec::default());
    let card = ModelCard { native_side: Some(64), ..models::card(5, 8) };
    own.metadata_props[0].value = Some(card.to_json());
    assert_eq!(said(&own, &|_| ()), "");
}

#[test]
fn networks_that_find_single_objects_are_told_from_those_that_label_pixels() {
    use Dim::{Fixed, Named};
    // (name, number of classes or prototypes, the other output, whether that makes it instance
    // segmentation)
    let (n, a) = (Named("N"), Named("anchors"));
    let cases: &[(&str, usize, &[Dim], bool)] = &[
        ("YOLO: box, 80 classes, 32 factors", 32, &[n, Fixed(116), a], true),
        ("YOLO, anchors in front", 32, &[Fixed(1), Fixed(8400), Fixed(116)], true),
        ("one class", 32, &[n, Fixed(37), a], true),
        ("no room for a class", 32, &[n, Fixed(36), a], false),
        ("Mask2Former: a class for each of 100 maps", 100, &[n, Fixed(100), Fixed(134)], true),
        ("another number", 100, &[n, Fixed(99), Fixed(104)], false),
        ("boxes", 5, &[a, Fixed(4)], true),
        ("boxes of each picture", 5, &[n, a, Fixed(4)], true),
        ("YOLOP: two roads, and boxes with scores", 2, &[Fixed(1), Fixed(25200), Fixed(6)], false),
        ("a class of the picture", 19, &[n, Fixed(1000)], false),
        ("features", 19, &[n, Fixed(256), Fixed(7), Fixed(7)], false),
    ];
    for &(name, classes, list, instances) in cases {
        let mut model = Foreign { classes, ..PLAIN }.model();
        let graph = model.graph.as_mut().unwrap();
        let maps = graph.output[0].name().to_owned();
        graph.node.push(build::node("Flatten", &[&maps], "list", vec![]));
        // A list before the scores could itself be taken for a segmentation, unless it is a list of
        // objects.
        let place = if instances { 0 } else { 1 };
        graph.output.insert(place, build::value("list", DataType::Float, list));
        let open = |output: Option<&str>| {
            let mut options = options();
            options.output = output.map(str::to_owned);
            Segmenter::from_memory(&model.encode_to_vec(), &options)
        };
        match open(None) {
            Ok(segmenter) => assert!(!instances && segmenter.classes().len() == classes, "{name}"),
            Err(error) => {
                let text = error.to_string();
                assert!(
                    instances && text.contains("'list'") && text.contains("instance segmentation"),
                    "{name}: {text}"
                );
            }
        }
        assert!(open(Some(&maps)).is_ok(), "{name}");
    }
}

#[test]
fn a_network_that_takes_no_small_picture_is_run_at_a_larger_one() {
    // Of all sizes that are tried, only 512 x 512 has this many pixels.
    let (width, height) = (512, 512);
    let pixels = random_bytes(73, 3 * width * height);
    let foreign = Foreign { stride: 4, enlarge: Enlarge::HiddenSizes, told: false, ..PLAIN };
    let mut model = foreign.model();
    let graph = model.graph.as_mut().unwrap();
    let last = graph.output[0].name().to_owned();
    graph.initializer.push(build::int64s("groups", &[3], &[5, -1, 512 * 512]));
    graph.node.extend([
        build::node("Reshape", &[&last, "groups"], "grouped", vec![]),
        build::node("ReduceMean", &["grouped"], "mean", vec![build::int("keepdims", 0)]),
        build::node("Sub", &["mean", "mean"], "nothing", vec![]),
        build::node("Add", &[&last, "nothing"], "answer", vec![]),
    ]);
    graph.output[0].name = Some("answer".into());
    let segmenter = Segmenter::from_memory(&model.encode_to_vec(), &options()).unwrap();
    let truth = foreign.logits(&pixels, height, width, &RAW);
    check("512 x 512", &segmenter, &rgb(&pixels, width, height), &truth, false);
}

#[test]
fn the_classes_of_indices_are_counted_where_they_are_made() {
    let (width, height) = (64, 32);
    let pixels = random_bytes(79, 3 * width * height);
    let frame = rgb(&pixels, width, height);
    let names =
        |segmenter: &Segmenter| -> Vec<_> { segmenter.classes().iter().map(|class| class.name.clone()).collect() };
    // Nodes that do not change indices, although libfcn cannot remove them.
    let hide = |model: &mut ModelProto, to: DataType| {
        let graph = model.graph.as_mut().unwrap();
        let last = graph.output[0].name().to_owned();
        graph.initializer.push(build::floats("same", &[4], &[1.0; 4]));
        graph.node.extend([
            build::node("Cast", &[&last], "floats", vec![build::int("to", DataType::Float as i64)]),
            build::node("Resize", &["floats", "same", "same"], "larger", vec![build::string("mode", "nearest")]),
            build::node("Cast", &["larger"], "indices", vec![build::int("to", to as i64)]),
        ]);
        graph.output =
            vec![build::value("indices", to, &[Dim::Fixed(1), Dim::Fixed(1), Dim::Named("h"), Dim::Named("w")])];
    };
    for last in [Last::ArgMax(DataType::Int64, 4), Last::ArgMax(DataType::Int32, 4), Last::Above] {
        for (to, enlarge) in [(DataType::Int64, Enlarge::No), (DataType::Int32, Enlarge::HiddenSizes)] {
            let foreign =
                Foreign { last, enlarge, stride: if enlarge == Enlarge::No { 1 } else { 4 }, told: false, ..PLAIN };
            let mut model = foreign.model();
            hide(&mut model, to);
            let segmenter = Segmenter::from_memory(&model.encode_to_vec(), &options()).unwrap();
            let expected: &[&str] = match last {
                Last::Above => &["background", "foreground"],
                _ => &["class 0", "class 1", "class 2", "class 3", "class 4"],
            };
            assert_eq!(names(&segmenter), expected, "{last:?}");
            check("hidden", &segmenter, &frame, &foreign.logits(&pixels, height, width, &RAW), true);
        }
    }
    // TopK's second output is the index of the best score.
    let mut model = PLAIN.model();
    let graph = model.graph.as_mut().unwrap();
    graph.initializer.push(build::int64s("k", &[1], &[1]));
    let mut best = build::node("TopK", &[graph.output[0].name(), "k"], "score", vec![build::int("axis", 1)]);
    best.output.push("place".into());
    graph.node.push(best);
    let place = [Dim::Named("N"), Dim::Fixed(1), Dim::Named("h"), Dim::Named("w")];
    graph.output = vec![build::value("place", DataType::Int64, &place)];
    let segmenter = Segmenter::from_memory(&model.encode_to_vec(), &options()).unwrap();
    assert_eq!(segmenter.classes().len(), 5);
    check("TopK", &segmenter, &frame, &PLAIN.logits(&pixels, height, width, &RAW), true);
    // Arithmetic on indices makes their meaning unknown.
    let mut model = Foreign { last: Last::ArgMax(DataType::Int64, 3), ..PLAIN }.model();
    let graph = model.graph.as_mut().unwrap();
    graph.node.push(build::node("Add", &[graph.output[0].name(), graph.output[0].name()], "twice", vec![]));
    graph.output[0].name = Some("twice".into());
    let error = Segmenter::from_memory(&model.encode_to_vec(), &options()).err().unwrap().to_string();
    assert!(error.contains("class_names"), "{error}");
}

#[test]
fn of_several_outputs_the_first_segmentation_or_the_named_one_counts() {
    let (width, height) = (64, 32);
    let pixels = random_bytes(53, 3 * width * height);
    let mut model = PLAIN.model();
    let graph = model.graph.as_mut().unwrap();
    let scores = graph.output[0].clone();
    graph.node.push(build::node("Neg", &[scores.name()], "negative", vec![]));
    graph.node.push(build::node("GlobalAveragePool", &[scores.name()], "pooled", vec![]));
    graph.node.push(build::node("Flatten", &["pooled"], "class", vec![]));
    // It would fail if it ran.
    graph.node.push(build::node("NoSuchOperator", &["picture"], "broken", vec![]));
    let named = |name: &str| ValueInfoProto { name: Some(name.into()), ..scores.clone() };
    let class = build::value("class", DataType::Float, &[Dim::Named("N"), Dim::Fixed(5)]);
    graph.output = vec![class.clone(), named(scores.name()), named("negative"), named("broken")];
    let truth = PLAIN.logits(&pixels, height, width, &RAW);
    let frame = rgb(&pixels, width, height);
    let open = |name: Option<&str>| {
        let mut options = options();
        options.output = name.map(str::to_owned);
        Segmenter::from_memory(&model.encode_to_vec(), &options)
    };
    check("first", &open(None).unwrap(), &frame, &truth, false);
    check("named", &open(Some(scores.name())).unwrap(), &frame, &truth, false);
    check("other", &open(Some("negative")).unwrap(), &frame, &truth.mapv(|score| -score), false);
    let error = open(Some("nothing")).err().unwrap();
    assert!(matches!(error, Error::InvalidArgument(_)) && error.to_string().contains("\"negative\""), "{error}");
    let error = open(Some("class")).err().unwrap();
    assert!(
        matches!(error, Error::Model(_)) && error.to_string().contains("'class' is a float32 tensor ? x 5"),
        "{error}"
    );
}

#[test]
fn what_cannot_work_is_refused_in_a_sentence() {
    use Dim::{Fixed, Named};
    let (n, h, w) = (Named("N"), Named("h"), Named("w"));
    let input = |element, dims: &[Dim]| {
        let mut model = PLAIN.model();
        model.graph.as_mut().unwrap().input = vec![build::value("picture", element, dims)];
        model
    };
    let answers = |element, dims: &[Dim]| {
        let mut model = PLAIN.model();
        let name = output(&mut model)[0].name().to_owned();
        *output(&mut model) = vec![build::value(&name, element, dims)];
        model
    };
    let mut two = PLAIN.model();
    two.graph.as_mut().unwrap().input.push(build::value("second", DataType::Float, &[n, Fixed(3), h, w]));
    let mut none = PLAIN.model();
    none.graph.as_mut().unwrap().input.clear();
    let mut sequence = PLAIN.model();
    let kind = type_proto::Value::SequenceType(Box::new(type_proto::Sequence { elem_type: None }));
    output(&mut sequence)[0].r#type = Some(TypeProto { value: Some(kind), ..TypeProto::default() });
    let mut untyped = PLAIN.model();
    output(&mut untyped)[0].r#type = None;
    let mut fixed = Foreign { size: (Some(32), Some(64)), ..PLAIN }.model();
    let name = output(&mut fixed)[0].name().to_owned();
    let flat = build::value(&name, DataType::Float, &[Fixed(1), Fixed(2048), Fixed(5)]);
    *output(&mut fixed) = vec![flat];

    let (float, byte) = (DataType::Float, DataType::Uint8);
    let cases: [(&str, ModelProto, &[&str]); 23] = [
        ("4 channels", input(float, &[n, Fixed(4), h, w]), &["'picture'", "float32 tensor ? x 4 x ? x ?", "C = 3"]),
        ("4 channels last", input(byte, &[Fixed(1), h, w, Fixed(4)]), &["uint8 tensor 1 x ? x ? x 4", "C = 3"]),
        ("2 channels, fixed", input(float, &[n, Fixed(2), Fixed(64), Fixed(64)]), &["? x 2 x 64 x 64"]),
        ("several pictures", input(float, &[Fixed(4), Fixed(3), h, w]), &["4 x 3 x ? x ?", "N = 1"]),
        ("open channels", input(float, &[n, Named("c"), Fixed(64), Fixed(64)]), &["? x ? x 64 x 64", "input_layout"]),
        ("3 and 3", input(float, &[n, Fixed(3), h, Fixed(3)]), &["? x 3 x ? x 3", "input_layout"]),
        ("bfloat16", input(DataType::Bfloat16, &[n, Fixed(3), h, w]), &["a bfloat16 tensor", "float64 or uint8"]),
        ("int8", input(DataType::Int8, &[n, Fixed(3), h, w]), &["an int8 tensor", "float64 or uint8"]),
        ("int32", input(DataType::Int32, &[n, Fixed(3), h, w]), &["an int32 tensor", "float64 or uint8"]),
        ("no batch", input(float, &[Fixed(3), h, w]), &["3 x ? x ?", "N x C x H x W"]),
        ("two pictures", two, &["2 inputs", "'picture'", "'second'", "one image"]),
        ("no picture", none, &["0 inputs", "one image"]),
        ("a vector", answers(float, &[n, Fixed(1000)]), &["a float32 tensor ? x 1000", "scores"]),
        ("a number", answers(float, &[]), &["a single float32 value", "scores"]),
        ("one cell", answers(float, &[n, Fixed(21), Fixed(1), Fixed(1)]), &["? x 21 x 1 x 1", "scores"]),
        ("5 dimensions", answers(float, &[n, n, Fixed(5), h, w]), &["? x ? x 5 x ? x ?", "scores"]),
        ("512 features", answers(float, &[n, Fixed(512), h, w]), &["? x 512 x ? x ?", "2 to 255 classes"]),
        ("several answers", answers(float, &[Fixed(2), Fixed(5), h, w]), &["2 x 5 x ? x ?", "N = 1"]),
        ("bfloat16 scores", answers(DataType::Bfloat16, &[n, Fixed(5), h, w]), &["a bfloat16 tensor ? x 5", "float32"]),
        ("one-hot", answers(DataType::Int64, &[n, Fixed(5), h, w]), &["an int64 tensor ? x 5", "class indices"]),
        ("a sequence", sequence, &["is a sequence", "scores"]),
        ("no type", untyped, &["without a type", "scores"]),
        ("flattened", fixed, &["1 x 2048 x 5", "scores"]),
    ];
    for (name, model, words) in &cases {
        let error =
            Segmenter::from_memory(&model.encode_to_vec(), &options()).err().unwrap_or_else(|| panic!("{name}"));
        assert!(matches!(error, Error::Model(_)), "{name}: {error:?}");
        let text = error.to_string();
        assert!(words.iter().all(|word| text.contains(word)) && !text.contains('\n'), "{name}: {text}");
    }

    // Options that contradict the model.
    let bytes = Foreign { element: byte, ..PLAIN }.bytes();
    let mut wrong = options();
    wrong.mean = Some([0.5; 3]);
    let error = Segmenter::from_memory(&bytes, &wrong).err().unwrap();
    assert!(matches!(error, Error::InvalidArgument(_)) && error.to_string().contains("takes bytes"), "{error}");
    let mut wrong = options();
    wrong.class_names = Some(["a", "b", "c"].map(String::from).to_vec());
    for (last, words) in [(Last::Logit, "two classes"), (Last::Above, "two classes"), (Last::Scores, "5 scores")] {
        let error = Segmenter::from_memory(&Foreign { last, ..PLAIN }.bytes(), &wrong).err().unwrap().to_string();
        assert!(error.contains(words), "{error}");
    }
    let hidden = Foreign { last: Last::HiddenArgMax(DataType::Int64, 3), ..PLAIN }.bytes();
    let error = Segmenter::from_memory(&hidden, &options()).err().unwrap().to_string();
    assert!(error.contains("class_names"), "{error}");
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let mut wrong = options();
        wrong.scale = Some(scale);
        let error = Segmenter::from_memory(&PLAIN.bytes(), &wrong).err().unwrap();
        assert!(matches!(error, Error::InvalidArgument(_)) && error.to_string().contains("scale"), "{error}");
    }
}

#[test]
fn transpositions_meet_and_vanish() {
    // The cache contains the network after ONNX Runtime's optimization.
    for (element, hidden_bytes, casts) in
        [(DataType::Float, false, 0), (DataType::Uint8, false, 0), (DataType::Uint8, true, 2)]
    {
        let last = Last::ChannelsLast;
        let foreign =
            Foreign { layout: NHWC, element, hidden_bytes, last, stride: 4, enlarge: Enlarge::Scales, ..PLAIN };
        let folder = tempfile::tempdir().unwrap();
        let mut cached = options();
        (cached.provider, cached.cache) = (Provider::Cpu, Some(folder.path().to_owned()));
        Segmenter::from_memory(&foreign.bytes(), &cached).unwrap();
        let files = cache_entries(folder.path());
        let [file] = &files[..] else { panic!("{files:?}") };
        let content = std::fs::read(file).unwrap();
        let (_, behind) = split_header(&content);
        let network = ModelProto::decode(&behind[CACHE_CHECKSUM..]).unwrap();
        let operators: Vec<_> = network.graph.as_ref().unwrap().node.iter().map(|node| node.op_type()).collect();
        let count = |operator: &str| operators.iter().filter(|found| **found == operator).count();
        assert_eq!((count("Transpose"), count("Resize"), count("Cast")), (0, 0, casts), "{element:?}: {operators:?}");
        assert!(count("Conv") + count("FusedConv") > 0, "{operators:?}");
    }
}

#[test]
fn options_tell_cached_networks_apart() {
    let (width, height) = (64, 32);
    let pixels = random_bytes(59, 3 * width * height);
    let mut model = PLAIN.model();
    let graph = model.graph.as_mut().unwrap();
    let scores = graph.output[0].clone();
    graph.node.push(build::node("Neg", &[scores.name()], "negative", vec![]));
    graph.output.push(ValueInfoProto { name: Some("negative".into()), ..scores });
    let folder = tempfile::tempdir().unwrap();
    let truth = PLAIN.logits(&pixels, height, width, &RAW);
    for _ in 0..2 {
        for (output, sign) in [(None, 1.0), (Some("negative"), -1.0)] {
            let mut cached = options();
            (cached.cache, cached.output) = (Some(folder.path().to_owned()), output.map(str::to_owned));
            let segmenter = Segmenter::from_memory(&model.encode_to_vec(), &cached).unwrap();
            check("cached", &segmenter, &rgb(&pixels, width, height), &truth.mapv(|score| sign * score), false);
        }
    }
    assert_eq!(cache_entries(folder.path()).len(), 2);
}

#[test]
fn broken_models_are_statuses() {
    let models = [
        PLAIN,
        Foreign { layout: NHWC, element: DataType::Uint8, last: Last::SoftmaxChannelsLast, ..PLAIN },
        Foreign { stride: 4, enlarge: Enlarge::Sizes, last: Last::ArgMax(DataType::Int32, 4), ..PLAIN },
        Foreign { stride: 2, enlarge: Enlarge::Transposed, last: Last::HiddenProbability, ..PLAIN },
    ];
    let pixels = random_bytes(61, 3 * 32 * 32);
    let mut options = options();
    options.threads = 1;
    let (mut refused, mut taken) = (0, 0);
    for foreign in models {
        let good = foreign.bytes();
        for (round, pair) in random(67, 400).chunks(2).enumerate() {
            let at = |value: f32| ((value + 1.0) / 2.0 * good.len() as f32) as usize % good.len();
            let mut bad = good.clone();
            match round % 3 {
                0 => bad.truncate(at(pair[0])),
                1 => bad[at(pair[0])] ^= 1 << (round / 3 % 8),
                _ => bad[at(pair[0])] = pair[1].to_bits() as u8,
            }
            let Ok(segmenter) = Segmenter::from_memory(&bad, &options) else {
                refused += 1;
                continue;
            };
            taken += 1;
            let mut mask = Mask::new();
            if segmenter.segment(&rgb(&pixels, 32, 32), &mut mask).is_ok() {
                assert_eq!(mask.labels().len(), 32 * 32);
            }
        }
    }
    assert!(refused > 200 && taken > 50, "{refused} refused, {taken} taken");
}

/// `FCN_UPDATE_CORPUS=1 cargo test --test foreign_models` writes the models anew.
#[test]
fn the_fuzzers_start_from_models_that_are_accepted() {
    let own = |end| network(Spec { classes: 3, stride: 2, end, ..Spec::default() });
    let foreign = |foreign: Foreign| Foreign { classes: 3, stride: 2, ..foreign }.bytes();
    let models = [
        ("card", own(End::Transposed)),
        ("grouped", own(End::Grouped)),
        ("resize", network(Spec { classes: 3, stride: 2, end: End::Resize, card: false, ..Spec::default() })),
        ("labels", own(End::Labels)),
        ("sizes", foreign(Foreign { enlarge: Enlarge::HiddenSizes, last: Last::SoftmaxBetweenSwaps, ..PLAIN })),
        ("untold", foreign(Foreign { enlarge: Enlarge::Sizes, told: false, ..PLAIN })),
        ("bytes", foreign(Foreign { element: DataType::Uint8, layout: NHWC, last: Last::ChannelsLast, ..PLAIN })),
        ("grey", foreign(Foreign { channels: 1, last: Last::HiddenProbability, ..PLAIN })),
        ("argmax", foreign(Foreign { enlarge: Enlarge::Scales, last: Last::ArgMax(DataType::Int64, 3), ..PLAIN })),
        ("fixed", foreign(Foreign { size: (Some(32), Some(64)), last: Last::Above, ..PLAIN })),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/model");
    for (name, bytes) in models {
        let path = folder.join(format!("{name}.onnx"));
        if std::env::var_os("FCN_UPDATE_CORPUS").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        assert!(fs::read(&path).unwrap_or_default() == bytes, "{} is not what this test writes", path.display());
        Segmenter::from_memory(&bytes, &options()).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// As in Ultralytics' exports.
#[test]
fn class_names_in_the_metadata_are_used_if_there_is_one_for_each_class() {
    let named = |text: &str| {
        let mut model = PLAIN.model();
        let entry = fcn::onnx::types::StringStringEntryProto { key: Some("names".into()), value: Some(text.into()) };
        model.metadata_props.push(entry);
        model.encode_to_vec()
    };
    let all = |bytes: &[u8], options: &Options| {
        let segmenter = Segmenter::from_memory(bytes, options).unwrap();
        segmenter.classes().iter().map(|class| class.name.clone()).collect::<Vec<_>>()
    };
    let five = named("{0: 'road', 1: 'car', 2: 'bus', 3: 'sky', 4: 'tree'}");
    let mut heard_options = options();
    let heard = listen(&mut heard_options);
    assert_eq!(all(&five, &heard_options), ["road", "car", "bus", "sky", "tree"]);
    assert!(heard.lock().unwrap().iter().any(|(_, message)| message.contains("names from the file's metadata")));
    // One too few.
    let four = named("{0: 'road', 1: 'car', 2: 'bus', 3: 'sky'}");
    assert_eq!(all(&four, &options()), ["class 0", "class 1", "class 2", "class 3", "class 4"]);
    let mut chosen = options();
    chosen.class_names = Some(["a", "b", "c", "d", "e"].map(String::from).to_vec());
    assert_eq!(all(&five, &chosen), ["a", "b", "c", "d", "e"]);
    // The option multilabel adds the background.
    let mut multilabel = options();
    multilabel.multilabel = Some(0.5);
    assert_eq!(all(&five, &multilabel), ["background", "road", "car", "bus", "sky", "tree"]);
}
