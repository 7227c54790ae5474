//! Mask settings: size, caller's memory, threshold, classes, label remapping and smoothing,
//! compared with plain slow arithmetic.

#[path = "common/arrays.rs"]
mod arrays;
#[path = "common/models.rs"]
mod models;
#[path = "common/regions.rs"]
mod regions;
#[path = "common/truth.rs"]
mod truth;

use std::{sync::Arc, time::Duration};

use fcn::onnx::{ModelCard, build};
use fcn::{Error, Frame, Mask, Outputs, Rect, Rotation, Segmenter, SizeMode, Stream, UNKNOWN};
use models::{End, Spec, network, random, random_bytes};
use ndarray::{Array3, ArrayView3, s};
use prost::Message;
use regions::without_specks;
use truth::{argmax, assert_same, bilinear, everything, options, probabilities, rgb, segmenter};

const ALL: Outputs = Outputs { confidence: true, confidence_u8: true, margin: true, scores: true };

const MODES: [SizeMode; 3] =
    [SizeMode::Pad, SizeMode::Resize { width: 64, height: 40 }, SizeMode::Tile { width: 48, height: 32, overlap: 9 }];

/// Labels a frame with these outputs and settings.
fn mask(segmenter: &Segmenter, frame: &Frame<'_>, outputs: Outputs, choose: impl FnOnce(&mut Mask)) -> Mask {
    let mut mask = Mask::with_outputs(outputs);
    choose(&mut mask);
    segmenter.segment(frame, &mut mask).unwrap();
    mask
}

/// Checks that labels are the argmax of these scores, unless the two best scores differ by less
/// than 1e-4 of their range.
fn assert_best(name: &str, labels: &[u8], truth: ArrayView3<'_, f32>) {
    let width = truth.dim().2;
    let range = truth.iter().fold(f32::MIN, |a, &b| a.max(b)) - truth.iter().fold(f32::MAX, |a, &b| a.min(b));
    for (i, (&found, best)) in labels.iter().zip(argmax(truth)).enumerate() {
        let at = |class: u8| truth[[usize::from(class), i / width, i % width]];
        assert!(found == best || at(best) - at(found) < 1e-4 * range, "{name}: pixel {i} is {found}, not {best}");
    }
}

#[test]
fn masks_of_any_size_are_bilinear_between_the_scores() {
    // Scores of random weights vary from pixel to pixel. Those of a bilinear upsampling vary
    // slowly, so that whole neighbourhoods have one best class.
    let ends = [End::Transposed, End::Resize, End::Low];
    let pixels = random_bytes(31, 3 * 90 * 61);
    let frame = rgb(&pixels, 90, 61);
    for (end, mode) in ends.into_iter().flat_map(|end| MODES.map(|mode| (end, mode))) {
        let segmenter = segmenter(Spec { end, ..Spec::default() }, Some(mode));
        // The size whose scores are interpolated, and those scores.
        let own = if let SizeMode::Resize { width, height } = mode { (width, height) } else { (90, 61) };
        let source = mask(&segmenter, &frame, ALL, |mask| mask.set_size(own.0, own.1).unwrap());
        let source = source.scores().unwrap();
        let (_, rows, columns) = source.dim();
        assert_eq!((columns, rows), (own.0 as usize, own.1 as usize));
        // Larger, much larger, a little smaller, much smaller, unchanged, in one direction only.
        for (width, height) in [(131, 77), (777, 333), (83, 60), (17, 9), (1, 1), own, (90, 200), (300, 61), (0, 0)] {
            let name = format!("{end:?}, {mode:?}, {width} x {height}");
            let size = |mask: &mut Mask| mask.set_size(width, height).unwrap();
            let (width, height) = if width == 0 { (90, 61) } else { (width as usize, height as usize) };
            let truth = bilinear(source, height, width);
            let all = mask(&segmenter, &frame, ALL, size);
            assert_eq!((all.width() as usize, all.height() as usize), (width, height), "{name}");
            // The tables of other sizes were prepared in between.
            assert_same(&name, &all, truth.view());
            let labels = mask(&segmenter, &frame, Outputs::default(), size);
            assert_best(&name, labels.labels(), truth.view());
            assert_eq!(labels.pixels().iter().sum::<u64>(), (width * height) as u64, "{name}");
        }
    }
}

#[test]
fn what_is_clear_beforehand_is_what_computing_it_gives() {
    // An image of two colours: its labels form areas, and the 16 columns of a window differ only at
    // their borders.
    let (width, height) = (96usize, 64usize);
    let pixels: Vec<u8> = (0..width * height)
        .flat_map(|i| if (i % width) * 2 + (i / width) < 110 { [250, 20, 10] } else { [10, 60, 240] })
        .collect();
    let frame = rgb(&pixels, width as u32, height as u32);
    let spec = Spec { end: End::Resize, stride: 8, classes: 21, ..Spec::default() };
    let segmenter = segmenter(spec, Some(SizeMode::Resize { width: 96, height: 64 }));
    // All classes; and some, so that indices among the competing classes differ from class indices.
    for (size, classes) in [
        ((1000, 700), &[][..]),
        ((1000, 700), &[2, 3, 5, 7, 11, 13, 17, 19, 20]),
        ((150, 100), &[]),
        ((100, 333), &[]),
        ((60, 50), &[]),
    ] {
        let choose = |mask: &mut Mask| {
            mask.set_size(size.0, size.1).unwrap();
            mask.set_classes(classes);
        };
        // The reference computes every score of every pixel.
        let all = mask(&segmenter, &frame, ALL, choose);
        let labels = mask(&segmenter, &frame, Outputs::default(), choose);
        let differing = labels.labels().iter().zip(all.labels()).filter(|(a, b)| a != b).count();
        // Only ties, where rounding decides, may differ.
        assert!(differing <= 7, "{size:?}, {classes:?}: {differing} pixels");
        let area = u64::from(size.0 * size.1);
        let large = labels.pixels().iter().filter(|&&count| count > area / 70).count();
        assert!(large >= 2, "{size:?}, {classes:?}: {:?}", labels.pixels());
    }
}

/// A network that ends in one transposed convolution per class, with these weights and biases.
fn with_upsampling(stride: usize, weight: impl Fn(usize, usize) -> f32, bias: [f32; 5]) -> Vec<u8> {
    let mut model = models::model(Spec { stride, end: End::Grouped, ..Spec::default() });
    let taps = 4 * stride * stride;
    for tensor in &mut model.graph.as_mut().unwrap().initializer {
        match tensor.name() {
            "upsample.weight" => {
                let weights: Vec<f32> = (0..5 * taps).map(|index| weight(index / taps, index % taps)).collect();
                *tensor = build::floats("upsample.weight", &[5, 1, 2 * stride as i64, 2 * stride as i64], &weights);
            }
            "upsample.bias" => *tensor = build::floats("upsample.bias", &[5], &bias),
            _ => {}
        }
    }
    model.encode_to_vec()
}

#[test]
fn bilinear_ends_label_as_their_scores_say() {
    // Labels alone of a bilinear end are found without computing most scores.
    let pixels = random_bytes(77, 3 * 150 * 97);
    let frame = rgb(&pixels, 150, 97);
    for stride in [2, 4, 8, 16, 32] {
        let tent = |tap: usize| {
            let line = |at: usize| 1.0 - (at as f32 - (stride as f32 - 0.5)).abs() / stride as f32;
            line(tap / (2 * stride)) * line(tap % (2 * stride))
        };
        let resize = Spec { stride, end: End::Resize, ..Spec::default() };
        let ends = [
            ("tents", with_upsampling(stride, |_, tap| tent(tap), [0.0; 5])),
            ("tents and one bias", with_upsampling(stride, |_, tap| tent(tap), [7.0; 5])),
            ("Resize", network(resize)),
            // Just not bilinear: the zeros around the scores now matter, or one class is larger.
            ("biases", with_upsampling(stride, |_, tap| tent(tap), [0.0, 0.3, -0.2, 0.0, 0.1])),
            (
                "one class",
                with_upsampling(stride, |class, tap| tent(tap) * if class == 3 { 1.3 } else { 1.0 }, [0.0; 5]),
            ),
            (
                "one weight",
                with_upsampling(stride, |class, tap| tent(tap) + f32::from(class == 1 && tap == 0), [0.0; 5]),
            ),
        ];
        for (name, model) in ends {
            for mode in MODES.into_iter().chain([SizeMode::Resize { width: 150, height: 97 }]) {
                let name = format!("{name}, stride {stride}, {mode:?}");
                let segmenter = Segmenter::from_memory(&model, &options(Some(mode))).unwrap();
                let everything = everything(&segmenter, rgb(&pixels, 150, 97));
                let labels = mask(&segmenter, &frame, Outputs::default(), |_| ());
                assert_best(&name, labels.labels(), everything.scores().unwrap());
                let counts: u64 = labels.pixels().iter().sum();
                assert_eq!((counts, labels.not_finite()), (150 * 97, 0), "{name}");
                // At the network's own size, too.
                if let SizeMode::Resize { width, height } = mode {
                    let size = |mask: &mut Mask| mask.set_size(width, height).unwrap();
                    let scores = mask(&segmenter, &frame, ALL, size);
                    let labels = mask(&segmenter, &frame, Outputs::default(), size);
                    assert_best(&name, labels.labels(), scores.scores().unwrap());
                }
            }
        }
    }
}

#[test]
fn a_temperature_changes_confidence_and_no_label() {
    let pixels = random_bytes(78, 3 * 90 * 61);
    let with = |temperature: Option<f32>| {
        let mut model = models::model(Spec::default());
        let card = ModelCard { temperature, ..models::card(5, 8) };
        model.metadata_props[0].value = Some(card.to_json());
        Segmenter::from_memory(&model.encode_to_vec(), &options(Some(SizeMode::Pad)))
    };
    let plain = everything(&with(None).unwrap(), rgb(&pixels, 90, 61));
    let scores = plain.scores().unwrap();
    for temperature in [0.05f32, 0.4, 1.0, 2.5, 20.0] {
        let mask = everything(&with(Some(temperature)).unwrap(), rgb(&pixels, 90, 61));
        assert!(mask.labels() == plain.labels() && mask.scores().unwrap() == scores, "{temperature}");
        for place in 0..90 * 61 {
            let pixel = scores.slice(s![.., place / 90, place % 90]);
            let best = pixel.fold(f32::MIN, |a, &b| a.max(b));
            let mut chances: Vec<f64> =
                pixel.iter().map(|score| (f64::from(score - best) / f64::from(temperature)).exp()).collect();
            let sum: f64 = chances.iter().sum();
            chances.sort_by(f64::total_cmp);
            let [.., second, first] = chances[..] else { panic!("five classes") };
            let (confidence, margin) = (mask.confidence().unwrap()[place], mask.margin().unwrap()[place]);
            assert!((f64::from(confidence) - first / sum).abs() < 1e-5, "{temperature}: {confidence}");
            assert!((f64::from(margin) - (first - second) / sum).abs() < 1e-4, "{temperature}: {margin}");
        }
    }
    for temperature in [0.049, 20.1, 0.0, -1.0] {
        let error = with(Some(temperature)).unwrap_err().to_string();
        assert!(error.contains("0.05 to 20 is supported"), "{error}");
    }
}

#[test]
fn doubtful_pixels_are_unknown() {
    let pixels = random_bytes(37, 3 * 50 * 37);
    let frame = rgb(&pixels, 50, 37);
    for mode in MODES {
        let segmenter = segmenter(Spec::default(), Some(mode));
        let truth = everything(&segmenter, frame);
        let confidence = truth.confidence().unwrap();
        let mut sorted = confidence.to_vec();
        sorted.sort_by(f32::total_cmp);
        let threshold = sorted[sorted.len() / 3];
        for outputs in [Outputs::default(), ALL] {
            let found = mask(&segmenter, &frame, outputs, |mask| mask.set_threshold(threshold).unwrap());
            let mut unknown = 0;
            for (i, &label) in found.labels().iter().enumerate() {
                let doubtful = confidence[i] < threshold;
                assert_eq!(label, if doubtful { UNKNOWN } else { truth.labels()[i] }, "{mode:?}, pixel {i}");
                unknown += u64::from(doubtful);
            }
            assert_eq!(unknown, sorted.len() as u64 / 3, "{mode:?}");
            assert_eq!(found.pixels().iter().sum::<u64>() + unknown, sorted.len() as u64, "{mode:?}");
            let region = found.label_map().unwrap().regions()[usize::from(UNKNOWN)];
            assert_eq!(region.pixels, unknown, "{mode:?}");
        }
    }
}

#[test]
fn only_chosen_classes_compete_and_get_the_labels_chosen_for_them() {
    let pixels = random_bytes(41, 3 * 50 * 37);
    let frame = rgb(&pixels, 50, 37);
    let spec = Spec { classes: 7, ..Spec::default() };
    let remap = [9, 200, 9, 3, 255, 0, 77];
    for (mode, size) in MODES.into_iter().flat_map(|mode| [(mode, (0, 0)), (mode, (120, 99))]) {
        let segmenter = segmenter(spec, Some(mode));
        let sized = |mask: &mut Mask| mask.set_size(size.0, size.1).unwrap();
        let truth = mask(&segmenter, &frame, ALL, sized);
        let scores = truth.scores().unwrap();
        for (chosen, remapped) in [(&[5u8, 1, 1, 2][..], false), (&[5, 1, 2], true), (&[6], true), (&[], true)] {
            let mut kept: Vec<u8> = if chosen.is_empty() { (0..7).collect() } else { chosen.to_vec() };
            kept.sort_unstable();
            kept.dedup();
            let name = format!("{mode:?}, {size:?}, {kept:?}, {remapped}");
            let choose = |mask: &mut Mask| {
                sized(mask);
                mask.set_classes(chosen);
                mask.set_remap(remapped.then_some(&remap[..])).unwrap();
            };
            let indices: Vec<usize> = kept.iter().map(|&class| usize::from(class)).collect();
            let competing = scores.select(ndarray::Axis(0), &indices);
            let (_, _, width) = competing.dim();
            let label = |place: u8| {
                let class = kept[usize::from(place)];
                if remapped { remap[usize::from(class)] } else { class }
            };
            let expected: Vec<u8> = argmax(competing.view()).into_iter().map(label).collect();
            let all = mask(&segmenter, &frame, ALL, choose);
            let labels = mask(&segmenter, &frame, Outputs::default(), choose);
            assert_eq!(all.labels(), expected, "{name}");
            assert_eq!(labels.labels(), expected, "{name}");
            assert_eq!(all.scores(), truth.scores(), "{name}");
            for (i, (confidence, margin)) in all.confidence().unwrap().iter().zip(all.margin().unwrap()).enumerate() {
                let (best, second) = probabilities(competing.slice(s![.., i / width, i % width]).iter().copied());
                assert!((f64::from(*confidence) - best).abs() < 1e-5, "{name}: confidence of pixel {i}");
                assert!((f64::from(*margin) - (best - second)).abs() < 1e-5, "{name}: margin of pixel {i}");
            }
            let counted: Vec<u64> =
                (0..7).map(|label| expected.iter().filter(|&&found| found == label).count() as u64).collect();
            assert_eq!(all.pixels(), counted, "{name}");
        }
        for (choose, words) in [
            (&(|mask: &mut Mask| mask.set_classes(&[1, 7])) as &dyn Fn(&mut Mask), "class 7"),
            (&|mask| mask.set_remap(Some(&[1; 6])).unwrap(), "6 labels"),
        ] {
            let mut wrong = Mask::new();
            choose(&mut wrong);
            let error = segmenter.segment(&frame, &mut wrong).unwrap_err();
            assert!(matches!(&error, Error::InvalidArgument(message) if message.contains(words)), "{error}");
            assert_eq!(wrong.width(), 0);
        }
    }
}

#[test]
fn what_a_mask_cannot_be_is_refused() {
    let mut mask = Mask::new();
    for (result, words) in [
        (mask.set_size(32768, 1), "32768 x 1"),
        (mask.set_threshold(1.5), "1.5"),
        (mask.set_threshold(-0.1), "-0.1"),
        (mask.set_threshold(f32::NAN), "NaN"),
        (mask.set_remap(Some(&[])), "0 labels"),
        (mask.set_remap(Some(&[0; 257])), "257 labels"),
        (mask.set_smoothing(0.0), "share is 0"),
        (mask.set_smoothing(1.1), "1.1"),
        (mask.set_smoothing(f32::NAN), "NaN"),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(&error, Error::InvalidArgument(message) if message.contains(words)), "{words}: {error}");
    }
    let pixels = random_bytes(43, 3 * 8 * 8);
    let frame = rgb(&pixels, 8, 8);
    mask.set_size(32767, 32767).unwrap();
    let error = segmenter(Spec::default(), None).segment(&frame, &mut mask).unwrap_err();
    assert!(error.to_string().contains("the mask has 1073676289 pixels"), "{error}");
}

#[test]
fn labels_go_to_the_callers_memory() {
    let (width, height) = (50, 37);
    let pixels = random_bytes(47, 3 * width * height);
    let frame = rgb(&pixels, width as u32, height as u32);
    let mut device = options(Some(SizeMode::Pad));
    device.device_graph = true;
    let device = Segmenter::from_memory(&network(Spec::default()), &device).unwrap();
    let mut segmenters: Vec<_> = MODES.map(|mode| segmenter(Spec::default(), Some(mode))).into();
    segmenters.extend([device, segmenter(Spec { end: End::Labels, uncut: true, ..Spec::default() }, None)]);
    for (index, segmenter) in segmenters.iter().enumerate() {
        for (size, outputs) in [((0, 0), Outputs::default()), ((70, 41), Outputs::default()), ((0, 0), ALL)] {
            if index == 4 && outputs == ALL {
                continue;
            }
            let sized = |mask: &mut Mask| mask.set_size(size.0, size.1).unwrap();
            let truth = mask(segmenter, &frame, outputs, sized);
            let (columns, rows) = (truth.width() as usize, truth.height() as usize);
            for padding in [0, 1, 19] {
                let name = format!("segmenter {index}, {size:?}, padding {padding}");
                let stride = columns + padding;
                // The exact size: the last row has no padding.
                let mut labels = vec![123u8; stride * (rows - 1) + columns];
                let mut mask = Mask::with_outputs(outputs);
                sized(&mut mask);
                let asked = if padding == 0 { 0 } else { stride };
                segmenter.segment_into(&frame, &mut mask, &mut labels, asked).unwrap();
                for (y, row) in labels.chunks(stride).enumerate() {
                    assert_eq!(row[..columns], truth.labels()[y * columns..][..columns], "{name}, row {y}");
                    assert!(row[columns..].iter().all(|&byte| byte == 123), "{name}, row {y}");
                }
                assert!(mask.labels().is_empty() && mask.label_map().is_none(), "{name}");
                assert_eq!((mask.confidence(), mask.scores()), (truth.confidence(), truth.scores()), "{name}");
                assert_eq!(mask.pixels(), truth.pixels(), "{name}");
                // The next frame may be written to the mask again.
                segmenter.segment(&frame, &mut mask).unwrap();
                assert_eq!(mask.labels(), truth.labels(), "{name}");
            }
        }
        let mut labels = [123u8; 60 * 37];
        for (bytes, stride, words) in
            [(50 * 37 - 1, 0, "1849 bytes"), (60 * 37, 49, "stride 49"), (1, usize::MAX, "1 bytes")]
        {
            let mut mask = Mask::new();
            let error = segmenter.segment_into(&frame, &mut mask, &mut labels[..bytes], stride).unwrap_err();
            assert!(matches!(&error, Error::InvalidArgument(message) if message.contains(words)), "{error}");
            assert!(labels == [123; 60 * 37] && mask.width() == 0);
        }
    }
}

#[test]
fn specks_leave_the_labels_and_nothing_else() {
    const LEAST: u32 = 12;
    let (width, height) = (90, 61);
    let pixels = [71, 72].map(|seed| random_bytes(seed, 3 * width * height));
    let frames = pixels.each_ref().map(|pixels| rgb(pixels, width as u32, height as u32));
    let mut device = options(Some(SizeMode::Pad));
    device.device_graph = true;
    let device = Segmenter::from_memory(&network(Spec::default()), &device).unwrap();
    let mut segmenters: Vec<_> =
        MODES.map(|mode| segmenter(Spec { end: End::Resize, ..Spec::default() }, Some(mode))).into();
    segmenters.extend([device, segmenter(Spec { end: End::Labels, uncut: true, ..Spec::default() }, None)]);
    let (mut unknown, mut removed) = (0, 0);
    for (index, segmenter) in segmenters.into_iter().map(Arc::new).enumerate() {
        for (size, outputs, threshold, smoothing) in [
            ((0, 0), Outputs::default(), 0.0, 1.0),
            ((70, 141), Outputs::default(), 0.0, 1.0),
            ((0, 0), ALL, 0.5, 1.0),
            ((120, 40), ALL, 0.5, 0.4),
        ] {
            // Class indices have no scores.
            if index == 4 && outputs == ALL {
                continue;
            }
            let name = format!("segmenter {index}, {size:?}, {threshold}, {smoothing}");
            let choose = |least: u32| {
                let mut mask = Mask::with_outputs(outputs);
                mask.set_size(size.0, size.1).unwrap();
                mask.set_threshold(threshold).unwrap();
                mask.set_smoothing(smoothing).unwrap();
                mask.set_remap(Some(&[3, 2, 2, 1, 0])).unwrap();
                mask.set_min_region(least);
                mask
            };
            let [mut all, mut one, mut clean, mut buffered] = [0, 1, LEAST, LEAST].map(choose);
            let (columns, rows) = if size.0 == 0 { (width, height) } else { (size.0 as usize, size.1 as usize) };
            let stride = columns + 3;
            let mut memory = vec![123; stride * rows];
            // The second frame is averaged with the first one; removing specks of the first one has
            // no influence.
            for frame in &frames {
                segmenter.segment(frame, &mut all).unwrap();
                segmenter.segment(frame, &mut one).unwrap();
                segmenter.segment(frame, &mut clean).unwrap();
                segmenter.segment_into(frame, &mut buffered, &mut memory, stride).unwrap();
                assert_eq!(one.labels(), all.labels(), "{name}");
                let expected = without_specks(all.labels(), columns, LEAST);
                assert_eq!(clean.labels(), expected, "{name}");
                for (row, expected) in memory.chunks(stride).zip(expected.chunks(columns)) {
                    assert_eq!((&row[..columns], &row[columns..]), (expected, &[123; 3][..]), "{name}");
                }
                let counted: Vec<u64> =
                    (0..5).map(|label| expected.iter().filter(|&&found| found == label).count() as u64).collect();
                assert_eq!((clean.pixels(), buffered.pixels()), (&counted[..], &counted[..]), "{name}");
                assert_eq!(clean.confidence(), all.confidence(), "{name}");
                assert_eq!(clean.confidence_u8(), all.confidence_u8(), "{name}");
                assert_eq!((clean.margin(), clean.scores()), (all.margin(), all.scores()), "{name}");
                assert_eq!(clean.not_finite(), all.not_finite(), "{name}");
                unknown += expected.iter().filter(|&&label| label == UNKNOWN).count();
                removed += expected.iter().zip(all.labels()).filter(|(new, old)| new != old).count();
            }
            let stream = Stream::polling(Arc::clone(&segmenter), choose(LEAST)).unwrap();
            let mut result = Mask::new();
            for frame in &frames {
                stream.push(frame, 0, ()).unwrap();
                stream.wait(&mut result, Duration::from_secs(60)).unwrap().unwrap().status.unwrap();
            }
            assert_eq!(result.labels(), clean.labels(), "{name}");
        }
    }
    assert!(unknown > 1000 && removed > 1000, "{unknown} pixels are unknown, {removed} changed");
}

#[test]
fn class_indices_have_sizes_and_labels_but_no_scores() {
    // After a node that libfcn does not recognise, only class indices are available.
    let labels = segmenter(Spec { end: End::Labels, uncut: true, ..Spec::default() }, None);
    let (width, height) = (90usize, 61usize);
    let pixels = random_bytes(53, 3 * width * height);
    let frame = rgb(&pixels, width as u32, height as u32);
    let own = mask(&labels, &frame, Outputs::default(), |_| {});
    for (columns, rows) in [(180usize, 122usize), (33, 200), (1, 1)] {
        let remap = [10, 20, 30, 40, 50];
        let found = mask(&labels, &frame, Outputs::default(), |mask| {
            mask.set_size(columns as u32, rows as u32).unwrap();
            mask.set_remap(Some(&remap)).unwrap();
        });
        for (i, &label) in found.labels().iter().enumerate() {
            // The frame's pixel that contains the centre of this one. If the centre is on a
            // boundary, either pixel may be used.
            let place = |at: usize, to: usize, from: usize| (at as f64 + 0.5) * from as f64 / to as f64;
            let (x, y) = (place(i % columns, columns, width), place(i / columns, rows, height));
            let near = |at: f64, end: usize| [at.floor() as usize, ((at - 1e-9).floor() as usize).min(end - 1)];
            let candidates =
                near(y, height).map(|y| near(x, width).map(|x| remap[usize::from(own.labels()[y * width + x])]));
            assert!(candidates.as_flattened().contains(&label), "pixel {i} of {columns} x {rows}");
        }
    }
    for (choose, words) in [
        (&(|mask: &mut Mask| mask.set_threshold(0.5).unwrap()) as &dyn Fn(&mut Mask), "threshold"),
        (&|mask| mask.set_classes(&[1]), "choice of classes"),
        (&|mask| mask.set_smoothing(0.5).unwrap(), "smoothing"),
        (&|mask| mask.set_outputs(Outputs { margin: true, ..Outputs::default() }), "neither confidence nor scores"),
    ] {
        let mut wrong = Mask::new();
        choose(&mut wrong);
        let error = labels.segment(&frame, &mut wrong).unwrap_err();
        assert!(matches!(&error, Error::InvalidArgument(message) if message.contains(words)), "{error}");
    }
}

#[test]
fn smoothing_is_the_exponential_mean_of_the_scores() {
    let share = 0.3f32;
    let pictures: Vec<_> = (0..4).map(|seed| random_bytes(59 + seed, 3 * 90 * 61)).collect();
    for (end, mode) in [End::Transposed, End::Resize].into_iter().flat_map(|end| MODES.map(|mode| (end, mode))) {
        let segmenter = segmenter(Spec { end, ..Spec::default() }, Some(mode));
        let single: Vec<Array3<f32>> = pictures
            .iter()
            .map(|pixels| everything(&segmenter, rgb(pixels, 90, 61)).scores().unwrap().to_owned())
            .collect();
        let mut smooth = Mask::with_outputs(ALL);
        smooth.set_smoothing(share).unwrap();
        let mut mean: Option<Array3<f32>> = None;
        for (index, (pixels, scores)) in pictures.iter().zip(&single).enumerate() {
            segmenter.segment(&rgb(pixels, 90, 61), &mut smooth).unwrap();
            let expected = match mean {
                None => scores.clone(),
                Some(mean) => mean * (1.0 - share) + scores * share,
            };
            assert_same(&format!("{end:?}, {mode:?}, frame {index}"), &smooth, expected.view());
            mean = Some(expected);
        }
        // The average restarts: after a reset, for another size, for another segmenter, after a
        // frame without smoothing.
        let alone = |smooth: &Mask, index: usize, what: &str| {
            assert_same(&format!("{end:?}, {mode:?}, {what}"), smooth, single[index].view());
        };
        smooth.reset();
        segmenter.segment(&rgb(&pictures[1], 90, 61), &mut smooth).unwrap();
        alone(&smooth, 1, "after a reset");
        segmenter.segment(&rgb(&pictures[1], 61, 90), &mut smooth).unwrap();
        segmenter.segment(&rgb(&pictures[2], 90, 61), &mut smooth).unwrap();
        alone(&smooth, 2, "after another size");
        segmenter.segment(&rgb(&pictures[1], 90, 61).mirror(), &mut smooth).unwrap();
        segmenter.segment(&rgb(&pictures[0], 90, 61), &mut smooth).unwrap();
        alone(&smooth, 0, "after a mirrored frame");
        segmenter.segment(&rgb(&pictures[1], 90, 61).rotate(Rotation::Half), &mut smooth).unwrap();
        segmenter.segment(&rgb(&pictures[3], 90, 61), &mut smooth).unwrap();
        alone(&smooth, 3, "after a turned frame");
        // A crop at another position shows another part of the image, even if its size is the same.
        let wide = random_bytes(67, 3 * 120 * 61);
        let part = |x| rgb(&wide, 120, 61).crop(Rect { x, y: 0, width: 90, height: 61 }).unwrap();
        for x in [0, 30] {
            segmenter.segment(&part(x), &mut smooth).unwrap();
            let unmoved = everything(&segmenter, part(x));
            assert_same(&format!("{end:?}, {mode:?}, crop at {x}"), &smooth, unmoved.scores().unwrap());
        }
        // What another segmenter made of the same view is another network's.
        segmenter.segment(&rgb(&pictures[2], 90, 61), &mut smooth).unwrap();
        let twin = truth::segmenter(Spec { end, ..Spec::default() }, Some(mode));
        twin.segment(&rgb(&pictures[3], 90, 61), &mut smooth).unwrap();
        alone(&smooth, 3, "with another segmenter");
        smooth.set_smoothing(1.0).unwrap();
        twin.segment(&rgb(&pictures[0], 90, 61), &mut smooth).unwrap();
        smooth.set_smoothing(share).unwrap();
        twin.segment(&rgb(&pictures[1], 90, 61), &mut smooth).unwrap();
        alone(&smooth, 1, "after a frame that stood alone");
        // A failed frame changes nothing; nor does another mask size.
        let mut short = [0u8; 5];
        twin.segment_into(&rgb(&pictures[2], 90, 61), &mut smooth, &mut short, 0).unwrap_err();
        smooth.set_size(45, 30).unwrap();
        twin.segment(&rgb(&pictures[3], 90, 61), &mut smooth).unwrap();
        smooth.set_size(0, 0).unwrap();
        twin.segment(&rgb(&pictures[0], 90, 61), &mut smooth).unwrap();
        let expected = (&single[1] * (1.0 - share) + &single[3] * share) * (1.0 - share) + &single[0] * share;
        assert_same(&format!("{end:?}, {mode:?}, after a failure"), &smooth, expected.view());
    }
}

#[test]
fn taking_a_result_keeps_the_settings_and_the_average() {
    let segmenter = segmenter(Spec::default(), Some(MODES[0]));
    let [mut kept, mut taken] = [(); 2].map(|()| {
        let mut mask = Mask::with_outputs(ALL);
        mask.set_smoothing(0.3).unwrap();
        mask.set_size(45, 30).unwrap();
        mask
    });
    for seed in 59..62 {
        let pixels = random_bytes(seed, 3 * 90 * 61);
        segmenter.segment(&rgb(&pixels, 90, 61), &mut kept).unwrap();
        segmenter.segment(&rgb(&pixels, 90, 61), &mut taken).unwrap();
        let result = taken.take_result();
        assert_eq!(result.labels(), kept.labels());
        assert_eq!(result.scores(), kept.scores());
        assert_eq!((result.width(), result.height(), result.outputs()), (45, 30, ALL));
        assert_eq!((taken.width(), taken.height(), taken.labels().len(), taken.outputs()), (0, 0, 0, ALL));
    }
    // What was taken starts an average of its own.
    let pixels = random_bytes(70, 3 * 90 * 61);
    let mut result = kept.take_result();
    let mut fresh = result.take_result();
    segmenter.segment(&rgb(&pixels, 90, 61), &mut kept).unwrap();
    segmenter.segment(&rgb(&pixels, 90, 61), &mut result).unwrap();
    segmenter.segment(&rgb(&pixels, 90, 61), &mut fresh).unwrap();
    assert_eq!(result.scores(), fresh.scores());
    assert_ne!(result.scores(), kept.scores());
}

/// A grey gradient with a bright square that moves two pixels per frame, and noise.
fn scene(number: usize, noise: f32, (width, height): (usize, usize)) -> Vec<u8> {
    let grain = random(1000 + number as u64, width * height * 3);
    let square = |x: usize, y: usize| (10 + 2 * number..42 + 2 * number).contains(&x) && (20..52).contains(&y);
    (0..width * height * 3)
        .map(|i| {
            let (x, y) = (i / 3 % width, i / 3 / width);
            let slope = 60.0 + 100.0 * (x + y) as f32 / (width + height) as f32;
            let value = if square(x, y) { [220.0, 180.0, 90.0][i % 3] } else { slope };
            (value + noise * grain[i]).clamp(0.0, 255.0) as u8
        })
        .collect()
}

#[test]
fn smoothed_labels_of_a_noisy_scene_flicker_less() {
    let size = (160usize, 96usize);
    let segmenter = segmenter(Spec { end: End::Resize, classes: 6, ..Spec::default() }, None);
    let labels = |mask: &mut Mask, noise: f32, number: usize| {
        segmenter.segment(&rgb(&scene(number, noise, size), size.0 as u32, size.1 as u32), mask).unwrap();
        mask.labels().to_vec()
    };
    // Counts pixels whose label changes between frames although it does not in the scene without
    // noise, and pixels that differ from that scene's labels.
    let flips = |share: f32| {
        let (mut mask, mut clean) = (Mask::new(), Mask::new());
        mask.set_smoothing(share).unwrap();
        let mut before: Option<(Vec<u8>, Vec<u8>)> = None;
        let (mut flips, mut wrong) = (0usize, 0usize);
        for number in 0..40 {
            let (noisy, quiet) = (labels(&mut mask, 10.0, number), labels(&mut clean, 0.0, number));
            if let Some((old, old_quiet)) = before {
                let changes = old.iter().zip(&noisy).zip(old_quiet.iter().zip(&quiet));
                flips += changes.filter(|((a, b), (c, d))| a != b && c == d).count();
            }
            wrong += noisy.iter().zip(&quiet).filter(|(a, b)| a != b).count();
            before = Some((noisy, quiet));
        }
        (flips, wrong)
    };
    let ((plain, plain_wrong), (smooth, smooth_wrong)) = (flips(1.0), flips(0.3));
    #[expect(clippy::print_stdout, reason = "`cargo test -- --nocapture` shows the figures")]
    {
        println!(
            "label flips: {plain} without smoothing, {smooth} with a share of 0.3; wrong: {plain_wrong}, {smooth_wrong}"
        );
    }
    assert!(plain > 2000, "{plain} flips are too few to tell");
    assert!(smooth * 2 < plain, "{smooth} flips with smoothing, {plain} without");
    assert!(smooth_wrong < plain_wrong, "{smooth_wrong} wrong pixels with smoothing, {plain_wrong} without");
}
