//! Mask settings in combination with streams, limits, and models from other exporters.

#[path = "common/arrays.rs"]
mod arrays;
#[path = "common/foreign.rs"]
mod foreign;
#[path = "common/models.rs"]
mod models;
#[path = "common/truth.rs"]
mod truth;

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use fcn::{
    Error, Frame, Mask, Outputs, PixelFormat, Rect, Rotation, Segmenter, SizeMode, Stream, StreamResult, UNKNOWN,
    onnx::types::tensor_proto::DataType,
};
use foreign::{Enlarge, Foreign, Last, Normal, PLAIN};
use models::{Spec, endless, network, random_bytes};
use ndarray::{Array3, Axis};
use prost::Message;
use truth::{argmax, assert_same, bilinear, everything, options, rgb};

const ALL: Outputs = Outputs { confidence: true, confidence_u8: true, margin: true, scores: true };
const PATIENCE: Duration = Duration::from_secs(60);

fn assert_equal(name: &str, found: &Mask, expected: &Mask) {
    assert_eq!((found.width(), found.height()), (expected.width(), expected.height()), "{name}");
    assert_eq!(found.labels(), expected.labels(), "{name}");
    assert_eq!(found.confidence(), expected.confidence(), "{name}");
    assert_eq!(found.confidence_u8(), expected.confidence_u8(), "{name}");
    assert_eq!(found.margin(), expected.margin(), "{name}");
    assert_eq!(found.scores(), expected.scores(), "{name}");
    assert_eq!(found.pixels(), expected.pixels(), "{name}");
}

#[test]
fn streams_give_whatever_a_mask_is_asked_for() {
    let pixels = random_bytes(71, 3 * 96 * 64);
    let whole = Frame::contiguous(PixelFormat::Nv12, &pixels, 96, 64, 0).unwrap();
    let frames = [
        rgb(&pixels, 96, 64),
        whole,
        whole.crop(Rect { x: 13, y: 7, width: 41, height: 50 }).unwrap().rotate(Rotation::Clockwise90).mirror(),
    ];
    for mode in [SizeMode::Resize { width: 64, height: 40 }, SizeMode::Tile { width: 48, height: 32, overlap: 8 }] {
        let segmenter = Segmenter::from_memory(&network(Spec::default()), &options(Some(mode))).unwrap();
        let segmenter = Arc::new(segmenter);
        for outputs in [Outputs::default(), ALL] {
            let like = move || {
                let mut mask = Mask::with_outputs(outputs);
                mask.set_size(130, 0).unwrap();
                mask.set_threshold(0.6).unwrap();
                mask.set_classes(&[0, 2, 3]);
                mask.set_remap(Some(&[4, 9, 0, 1, 2])).unwrap();
                mask
            };
            let polled = Stream::polling(Arc::clone(&segmenter), like()).unwrap();
            let (send, receive) = mpsc::channel();
            let called = Stream::new(Arc::clone(&segmenter), like(), move |result: StreamResult<'_, ()>| {
                send.send(std::mem::replace(result.mask.unwrap(), like())).unwrap();
            });
            let called = called.unwrap();
            for (index, frame) in frames.iter().enumerate() {
                let name = format!("{mode:?}, {outputs:?}, frame {index}");
                let mut expected = like();
                segmenter.segment(frame, &mut expected).unwrap();
                assert!(expected.labels().contains(&UNKNOWN), "{name}");
                let mut found = Mask::new();
                polled.push(frame, 0, ()).unwrap();
                polled.wait(&mut found, PATIENCE).unwrap().unwrap().status.unwrap();
                assert_equal(&name, &found, &expected);
                called.push(frame, 0, ()).unwrap();
                assert_equal(&name, &receive.recv_timeout(PATIENCE).unwrap(), &expected);
            }
        }
    }
}

#[test]
fn smoothing_is_that_of_each_stream_and_begins_anew_with_another_view() {
    let share = 0.3f32;
    let pictures: Vec<Vec<u8>> = (0..6).map(|seed| random_bytes(73 + seed, 3 * 80 * 48)).collect();
    let mut options = options(None);
    options.sessions = 2;
    let segmenter = Arc::new(Segmenter::from_memory(&network(Spec::default()), &options).unwrap());
    let like = move || {
        let mut mask = Mask::with_outputs(ALL);
        mask.set_smoothing(share).unwrap();
        mask
    };
    let part =
        |picture: usize, x, y| rgb(&pictures[picture], 80, 48).crop(Rect { x, y, width: 64, height: 40 }).unwrap();
    // What one stream sees: an image, the corner of the crop, and whether the average restarts.
    type View = (usize, (u32, u32), bool);
    let rounds: [[View; 2]; 5] = [
        [(0, (0, 0), true), (5, (3, 8), true)],
        [(1, (0, 0), false), (4, (3, 8), false)],
        [(2, (0, 0), false), (4, (3, 5), true)],
        [(3, (16, 0), true), (2, (3, 5), false)],
        [(4, (16, 0), false), (1, (3, 5), false)],
    ];
    let polled = [(); 2].map(|()| Stream::polling(Arc::clone(&segmenter), like()).unwrap());
    let (send, receive) = mpsc::channel();
    // This callback keeps each mask and leaves another one. The average still belongs to the
    // stream.
    let called = Stream::new(Arc::clone(&segmenter), like(), move |result: StreamResult<'_, ()>| {
        send.send(std::mem::replace(result.mask.unwrap(), like())).unwrap();
    });
    let called = called.unwrap();
    let mut means: [Option<Array3<f32>>; 2] = [None, None];
    for round in rounds {
        // The streams take turns, which would reveal an average stored in the wrong place.
        for (index, ((stream, mean), (picture, (x, y), anew))) in polled.iter().zip(&mut means).zip(round).enumerate() {
            let name = format!("stream {index}, picture {picture} at ({x}, {y})");
            let frame = part(picture, x, y);
            let scores = everything(&segmenter, frame).scores().unwrap().to_owned();
            let expected = match mean.take() {
                Some(mean) if !anew => mean * (1.0 - share) + scores * share,
                _ => scores,
            };
            let mut found = Mask::new();
            stream.push(&frame, 0, ()).unwrap();
            stream.wait(&mut found, PATIENCE).unwrap().unwrap().status.unwrap();
            assert_same(&name, &found, expected.view());
            if index == 0 {
                called.push(&frame, 0, ()).unwrap();
                assert_same(&name, &receive.recv_timeout(PATIENCE).unwrap(), expected.view());
            }
            *mean = Some(expected);
        }
    }
}

#[test]
fn a_frame_that_is_ended_leaves_the_callers_memory_and_the_average() {
    // The lower half is black: there the network's run never ends.
    const SIDE: u32 = 64;
    let mut pixels = random_bytes(79, 3 * (SIDE * SIDE) as usize);
    let half = pixels.len() / 2;
    for (mode, from) in [(SizeMode::Tile { width: 32, height: 32, overlap: 0 }, half), (SizeMode::Pad, 0)] {
        pixels[from..].fill(0);
        let mut options = options(Some(mode));
        options.timeout = Some(Duration::from_millis(3));
        let limited = Segmenter::from_memory(&endless().encode_to_vec(), &options).unwrap();
        let mut mask = Mask::new();
        mask.set_smoothing(0.5).unwrap();
        let mut labels = vec![123u8; (SIDE * SIDE) as usize];
        for _ in 0..3 {
            let error = limited.segment_into(&rgb(&pixels, SIDE, SIDE), &mut mask, &mut labels, 0).unwrap_err();
            assert!(matches!(error, Error::Timeout(_)), "{mode:?}: {error}");
            assert!(labels.iter().all(|&label| label == 123) && mask.width() == 0, "{mode:?}");
        }
    }
}

const RAW: Normal = Normal { scale: 1.0 / 255.0, mean: [0.0; 3], std: [1.0; 3], bgr: false };

/// Subtracts each pixel's mean score, which softmax ignores.
fn centred(mut scores: Array3<f32>) -> Array3<f32> {
    for mut pixel in scores.lanes_mut(Axis(0)) {
        let mean = pixel.mean().unwrap();
        pixel -= mean;
    }
    scores
}

#[test]
fn models_made_elsewhere_have_every_output() {
    use Last::*;
    let (width, height) = (64, 32);
    let pictures = [83, 89].map(|seed| random_bytes(seed, 3 * width * height));
    let nhwc = Foreign { layout: fcn::TensorLayout::Nhwc, element: DataType::Uint8, ..PLAIN };
    let cases = [
        Foreign { last: ChannelsLast, enlarge: Enlarge::Sizes, stride: 8, ..PLAIN },
        Foreign { last: NoBatchChannelsLast, ..nhwc },
        Foreign { last: SoftmaxChannelsLast, ..PLAIN },
        Foreign { last: HiddenSoftmax, ..PLAIN },
        Foreign { last: ArgMax(DataType::Int64, 3), enlarge: Enlarge::Scales, stride: 4, ..PLAIN },
        Foreign { last: ArgMaxChannelsLast, ..PLAIN },
        Foreign { last: Logit, enlarge: Enlarge::Transposed, stride: 4, ..PLAIN },
        Foreign { last: LogitNoBatchChannelsLast, ..PLAIN },
        Foreign { last: Probability, ..PLAIN },
        Foreign { last: HiddenProbability, channels: 1, ..nhwc },
    ];
    for foreign in cases {
        let segmenter = Segmenter::from_memory(&foreign.bytes(), &options(None)).unwrap();
        let truths = [0, 1].map(|index: usize| {
            let logits = foreign.logits(&pictures[index], height, width, &RAW);
            centred(logits.mapv(|score| score as f32))
        });
        let frames = [0, 1].map(|index: usize| rgb(&pictures[index], width as u32, height as u32));
        for (columns, rows) in [(width, height), (150, 99), (30, 32)] {
            let name = format!("{foreign:?}, {columns} x {rows}");
            let choose = |outputs| {
                let mut mask = Mask::with_outputs(outputs);
                mask.set_size(columns as u32, rows as u32).unwrap();
                mask
            };
            let truth = bilinear(truths[0].view(), rows, columns);
            let mut all = choose(ALL);
            segmenter.segment(&frames[0], &mut all).unwrap();
            let scores = all.scores().unwrap().to_owned();
            let worst = centred(scores.clone()).iter().zip(&truth).fold(0.0f32, |w, (a, b)| w.max((a - b).abs()));
            assert!(worst < 3e-3, "{name}: scores differ by {worst}");
            // Compares labels, both forms of confidence, margin and counts with these scores.
            assert_same(&name, &all, scores.view());

            // A threshold, remapping, fewer classes, and the caller's memory.
            let remap = [40, 41, 42, 43, 44];
            let confidence = all.confidence().unwrap();
            let mut sorted = confidence.to_vec();
            sorted.sort_by(f32::total_cmp);
            let threshold = sorted[sorted.len() / 2];
            let expected: Vec<u8> = argmax(scores.view())
                .iter()
                .zip(confidence)
                .map(|(&class, &confidence)| if confidence < threshold { UNKNOWN } else { remap[usize::from(class)] })
                .collect();
            let mut doubtful = choose(Outputs::default());
            doubtful.set_threshold(threshold).unwrap();
            doubtful.set_remap(Some(&remap)).unwrap();
            let stride = columns + 5;
            let mut labels = vec![123; stride * rows];
            segmenter.segment_into(&frames[0], &mut doubtful, &mut labels, stride).unwrap();
            let found: Vec<u8> = labels.chunks(stride).flat_map(|row| &row[..columns]).copied().collect();
            assert_eq!(found, expected, "{name}");
            let mut one = choose(Outputs::default());
            one.set_classes(&[1]);
            segmenter.segment(&frames[0], &mut one).unwrap();
            assert!(one.labels().iter().all(|&label| label == 1), "{name}");

            let mut smooth = choose(ALL);
            smooth.set_smoothing(0.25).unwrap();
            for frame in &frames {
                segmenter.segment(frame, &mut smooth).unwrap();
            }
            let mean = bilinear((&truths[0] * 0.75 + &truths[1] * 0.25).view(), rows, columns);
            let found = centred(smooth.scores().unwrap().to_owned());
            let worst = found.iter().zip(&mean).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
            assert!(worst < 3e-3, "{name}: averages differ by {worst}");
        }
    }
}

#[test]
fn class_indices_of_models_made_elsewhere_are_labels_alone() {
    let (width, height) = (64usize, 32usize);
    let pixels = random_bytes(97, 3 * width * height);
    let frame = rgb(&pixels, width as u32, height as u32);
    for (last, classes) in [
        (Last::HiddenArgMax(DataType::Int64, 3), 5),
        (Last::HiddenArgMax(DataType::Int32, 4), 5),
        (Last::HiddenArgMax(DataType::Uint8, 2), 5),
        (Last::Above, 2),
    ] {
        let foreign = Foreign { last, ..PLAIN };
        let mut options = options(None);
        options.class_names = Some((0..classes).map(|class| format!("class {class}")).collect());
        let segmenter = Segmenter::from_memory(&foreign.bytes(), &options).unwrap();
        let truth = argmax(foreign.logits(&pixels, height, width, &RAW).mapv(|score| score as f32).view());
        // Each pixel is doubled in both directions, in the caller's rows.
        let mut mask = Mask::new();
        mask.set_size(2 * width as u32, 2 * height as u32).unwrap();
        mask.set_remap(Some(&[10, 11, 12, 13, 14])).unwrap();
        let mut labels = vec![123u8; (2 * width + 3) * 2 * height];
        segmenter.segment_into(&frame, &mut mask, &mut labels, 2 * width + 3).unwrap();
        for (i, label) in labels.iter().enumerate() {
            let (x, y) = (i % (2 * width + 3), i / (2 * width + 3));
            let expected = if x < 2 * width { truth[y / 2 * width + x / 2] + 10 } else { 123 };
            assert_eq!(*label, expected, "{last:?}: ({x}, {y})");
        }
        let wanted = Outputs::default();
        for (outputs, choose) in [
            (Outputs { confidence: true, ..wanted }, None),
            (Outputs { confidence_u8: true, ..wanted }, None),
            (Outputs { margin: true, ..wanted }, None),
            (Outputs { scores: true, ..wanted }, None),
            (wanted, Some((|mask| mask.set_threshold(0.5).unwrap()) as fn(&mut Mask))),
            (wanted, Some(|mask| mask.set_classes(&[0]))),
            (wanted, Some(|mask| mask.set_smoothing(0.5).unwrap())),
        ] {
            let mut mask = Mask::with_outputs(outputs);
            choose.into_iter().for_each(|choose| choose(&mut mask));
            let error = segmenter.segment(&frame, &mut mask).unwrap_err();
            let told = matches!(&error, Error::InvalidArgument(message) if message.contains("answers class indices"));
            assert!(told && mask.width() == 0, "{last:?}, {outputs:?}: {error}");
        }
    }
}
