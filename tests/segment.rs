//! Frames through small networks with random weights: compared with ONNX Runtime on the uncut
//! graph, and with plain slow arithmetic.

#[path = "common/arrays.rs"]
mod arrays;
#[path = "common/models.rs"]
mod models;
#[path = "common/truth.rs"]
mod truth;

use fcn::{Error, Frame, Mask, Outputs, PixelFormat, Rect, Rotation, Segmenter, SizeMode, UNKNOWN, onnx::build};
use models::{End, Spec, model, network, random_bytes};
use ndarray::{Array3, s};
use prost::Message;
use truth::{assert_same, bilinear, everything, options, rgb, segmenter};

#[test]
fn a_cut_graph_labels_as_the_uncut_one_does() {
    let ends = [End::Transposed, End::Diagonal, End::Grouped, End::Resize];
    for (stride, classes, width, height) in [(8, 5, 96, 64), (32, 21, 480, 320), (2, 2, 34, 18), (16, 7, 16, 160)] {
        let pixels = random_bytes(7, 3 * width as usize * height as usize);
        for end in ends {
            let spec = Spec { stride, classes, end, ..Spec::default() };
            let truth = everything(&segmenter(Spec { uncut: true, ..spec }, None), rgb(&pixels, width, height));
            let cut = everything(&segmenter(spec, None), rgb(&pixels, width, height));
            assert_same(&format!("{end:?}, stride {stride}"), &cut, truth.scores().unwrap());
        }
    }
}

#[test]
fn scores_at_a_fraction_of_the_size_are_interpolated() {
    let spec = Spec { end: End::Resize, uncut: true, ..Spec::default() };
    let pixels = random_bytes(3, 3 * 96 * 64);
    let truth = everything(&segmenter(spec, None), rgb(&pixels, 96, 64));
    let low = everything(&segmenter(Spec { end: End::Low, uncut: false, ..spec }, None), rgb(&pixels, 96, 64));
    assert_same("low", &low, truth.scores().unwrap());
}

#[test]
fn padding_is_the_mean_colour_and_is_cut_off_again() {
    // With mean 0, the mean colour is black, which a caller can pad with.
    let mut plain = options(Some(SizeMode::Pad));
    plain.mean = Some([0.0; 3]);
    let segmenter = Segmenter::from_memory(&network(Spec::default()), &plain).unwrap();
    for (width, height) in [(1, 1), (7, 9), (8, 8), (53, 37), (64, 41)] {
        let pixels = random_bytes(5, 3 * width * height);
        let (padded_width, padded_height) = (width.next_multiple_of(8), height.next_multiple_of(8));
        let mut padded = vec![0; 3 * padded_width * padded_height];
        for (row, source) in padded.chunks_mut(3 * padded_width).zip(pixels.chunks(3 * width)) {
            row[..3 * width].copy_from_slice(source);
        }
        let truth = everything(&segmenter, rgb(&padded, padded_width as u32, padded_height as u32));
        let mask = everything(&segmenter, rgb(&pixels, width as u32, height as u32));
        let truth = truth.scores().unwrap();
        assert_same(&format!("{width} x {height}"), &mask, truth.slice(s![.., ..height, ..width]));
    }
}

#[test]
fn resizing_there_and_back_is_bilinear() {
    let spec = Spec::default();
    // An image of one colour is the same at every size, and the random kernel of the transposed
    // convolution makes its scores vary. Unit tests of `preprocess` cover resampling.
    for (width, height, working_width, working_height) in [(50, 30, 50, 30), (64, 48, 32, 24), (24, 16, 96, 64)] {
        let mode = SizeMode::Resize { width: working_width, height: working_height };
        let resized = segmenter(spec, Some(mode));
        let flat = [10u8, 200, 90].repeat(width * height);
        let mask = everything(&resized, rgb(&flat, width as u32, height as u32));
        let (w, h) = ((working_width as usize).next_multiple_of(8), (working_height as usize).next_multiple_of(8));
        let working = [10u8, 200, 90].repeat(w * h);
        let truth = everything(&segmenter(spec, None), rgb(&working, w as u32, h as u32));
        let truth = bilinear(truth.scores().unwrap(), height, width);
        assert_same(&format!("{width} x {height} at {w} x {h}"), &mask, truth.view());
    }
}

#[test]
fn tiles_average_what_the_network_says_of_each() {
    let spec = Spec { classes: 4, ..Spec::default() };
    for (width, height, tile_width, tile_height, overlap) in
        [(100, 60, 32, 24, 8), (97, 61, 40, 32, 0), (50, 50, 48, 48, 40), (16, 16, 16, 16, 0), (5, 30, 16, 16, 4)]
    {
        let mode = SizeMode::Tile { width: tile_width, height: tile_height, overlap };
        let pixels = random_bytes(11, 3 * width * height);
        let frame = rgb(&pixels, width as u32, height as u32);
        let mask = everything(&segmenter(spec, Some(mode)), frame);
        // The rule, implemented plainly: evenly spaced tiles whose sides are the largest multiple
        // of the stride, and the mean for each pixel.
        let one = segmenter(spec, Some(SizeMode::Pad));
        let places = |length: usize, tile: usize| {
            let tile = (tile.min(length) / 8 * 8).max(8);
            let rest = length.saturating_sub(tile);
            let gaps = rest.div_ceil(tile - (overlap as usize).min(tile - 1));
            (0..=gaps).map(move |i| (rest * i / gaps.max(1), tile.min(length))).collect::<Vec<_>>()
        };
        let mut sums = Array3::<f64>::zeros((4, height, width));
        let mut counts = ndarray::Array2::<f64>::zeros((height, width));
        for &(y, rows) in &places(height, tile_height as usize) {
            for &(x, columns) in &places(width, tile_width as usize) {
                let rect = Rect { x: x as u32, y: y as u32, width: columns as u32, height: rows as u32 };
                let part = everything(&one, frame.crop(rect).unwrap());
                let area = s![y..y + rows, x..x + columns];
                counts.slice_mut(area).mapv_inplace(|count| count + 1.0);
                let mut sums = sums.slice_mut(s![.., y..y + rows, x..x + columns]);
                sums += &part.scores().unwrap().mapv(f64::from);
            }
        }
        assert!(counts.iter().all(|&count| count >= 1.0), "every pixel is covered");
        let truth = (sums / counts).mapv(|mean| mean as f32);
        assert_same(&format!("{width} x {height} in {tile_width} x {tile_height}"), &mask, truth.view());
    }
}

#[test]
fn formats_strides_crops_and_turns_are_the_same_picture() {
    let segmenter = segmenter(Spec::default(), None);
    let (width, height) = (40usize, 24usize);
    for format in [PixelFormat::Rgb8, PixelFormat::Bgr8, PixelFormat::Rgba8, PixelFormat::Bgra8, PixelFormat::Gray8] {
        let bytes = match format {
            PixelFormat::Gray8 => 1,
            PixelFormat::Rgb8 | PixelFormat::Bgr8 => 3,
            _ => 4,
        };
        for padding in [0, 1, 13] {
            let stride = width * bytes + padding;
            let data = random_bytes(13 + padding as u64, stride * height);
            let pixel = |x: usize, y: usize| {
                let at = &data[y * stride + x * bytes..];
                match format {
                    PixelFormat::Gray8 => [at[0]; 3],
                    PixelFormat::Rgb8 | PixelFormat::Rgba8 => [at[0], at[1], at[2]],
                    _ => [at[2], at[1], at[0]],
                }
            };
            let frame = Frame::packed(format, &data[..stride * height - padding], width as u32, height as u32, stride);
            let frame = frame.unwrap();
            let check =
                |name: &str, frame: Frame<'_>, w: usize, h: usize, source: &dyn Fn(usize, usize) -> (usize, usize)| {
                    let plain: Vec<u8> = (0..w * h)
                        .flat_map(|i| {
                            let (x, y) = source(i % w, i / w);
                            pixel(x, y)
                        })
                        .collect();
                    let truth = everything(&segmenter, rgb(&plain, w as u32, h as u32));
                    let mask = everything(&segmenter, frame);
                    assert_eq!((mask.width(), mask.height()), (w as u32, h as u32), "{format:?} {name}");
                    assert_eq!(mask.labels(), truth.labels(), "{format:?}, padding {padding}, {name}");
                    assert_eq!(mask.scores(), truth.scores(), "{format:?}, padding {padding}, {name}");
                };
            let (w, h) = (width, height);
            check("as it is", frame, w, h, &|x, y| (x, y));
            check("mirrored", frame.mirror(), w, h, &|x, y| (w - 1 - x, y));
            check("turned 90", frame.rotate(Rotation::Clockwise90), h, w, &|x, y| (y, h - 1 - x));
            check("turned 180", frame.rotate(Rotation::Half), w, h, &|x, y| (w - 1 - x, h - 1 - y));
            check("turned 270", frame.rotate(Rotation::CounterClockwise90), h, w, &|x, y| (w - 1 - y, x));
            let crop = frame.crop(Rect { x: 3, y: 5, width: 17, height: 11 }).unwrap();
            check("cropped", crop, 17, 11, &|x, y| (x + 3, y + 5));
            let all = crop.rotate(Rotation::Clockwise90).mirror();
            check("cropped, turned, mirrored", all, 11, 17, &|x, y| (y + 3, 5 + x));
        }
    }
}

#[test]
fn networks_of_one_size_take_any_frame() {
    let spec = Spec { fixed: Some((64, 96)), ..Spec::default() };
    let free = Spec { fixed: None, ..spec };
    let pixels = random_bytes(17, 3 * 96 * 64);
    let truth = everything(&segmenter(free, None), rgb(&pixels, 96, 64));
    for mode in [None, Some(SizeMode::Pad)] {
        let mask = everything(&segmenter(spec, mode), rgb(&pixels, 96, 64));
        assert_same(&format!("{mode:?}"), &mask, truth.scores().unwrap());
    }
    let large = random_bytes(19, 3 * 200 * 100);
    let mask = everything(&segmenter(spec, None), rgb(&large, 200, 100));
    let same = everything(&segmenter(free, Some(SizeMode::Resize { width: 96, height: 64 })), rgb(&large, 200, 100));
    assert_same("resized", &mask, same.scores().unwrap());
    let error = segmenter(spec, Some(SizeMode::Pad)).segment(&rgb(&large, 200, 100), &mut Mask::new()).unwrap_err();
    assert!(error.to_string().contains("200 x 100") && error.to_string().contains("96 x 64"), "{error}");
}

#[test]
fn class_indices_are_taken_from_networks_that_answer_them() {
    let mut named = options(None);
    named.class_names = Some(["a", "b", "c", "d", "e"].map(String::from).to_vec());
    // An argmax at the very end would be removed.
    let spec = Spec { end: End::Labels, uncut: true, card: false, ..Spec::default() };
    let labels = Segmenter::from_memory(&network(spec), &named);
    let labels = labels.unwrap();
    let pixels = random_bytes(23, 3 * 96 * 64);
    let mut mask = Mask::new();
    labels.segment(&rgb(&pixels, 96, 64), &mut mask).unwrap();
    // The network scores blocks of 8 x 8 pixels, so its class indices are the argmax of each block.
    let scores = segmenter(Spec { end: End::Low, card: false, ..Spec::default() }, None);
    for (x, y) in [(0, 0), (3, 2), (11, 7)] {
        let block = rgb(&pixels, 96, 64).crop(Rect { x: 8 * x, y: 8 * y, width: 8, height: 8 }).unwrap();
        let alone = everything(&scores, block);
        assert_eq!(mask.labels()[(8 * y * 96 + 8 * x) as usize], alone.labels()[0], "block {x}, {y}");
    }
    for (y, row) in mask.labels().chunks(96).enumerate() {
        for (x, label) in row.iter().enumerate() {
            assert_eq!(*label, mask.labels()[y / 8 * 8 * 96 + x / 8 * 8], "each block of 8 x 8 has one label");
        }
    }
    assert!(mask.pixels().iter().filter(|&&count| count > 0).count() > 1);
    let mut wanted = Mask::with_outputs(Outputs { confidence: true, ..Outputs::default() });
    let error = labels.segment(&rgb(&pixels, 96, 64), &mut wanted).unwrap_err();
    assert!(error.to_string().contains("class indices"), "{error}");
}

#[test]
fn a_mask_serves_frames_of_all_sizes_and_changes_only_on_success() {
    let segmenter = segmenter(Spec { fixed: Some((64, 96)), ..Spec::default() }, Some(SizeMode::Pad));
    let mut mask = Mask::new();
    for (width, height) in [(96u32, 64u32), (8, 8), (50, 60), (1, 1), (96, 64)] {
        let pixels = random_bytes(u64::from(width), 3 * (width * height) as usize);
        segmenter.segment(&rgb(&pixels, width, height), &mut mask).unwrap();
        assert_eq!((mask.width(), mask.height()), (width, height));
        assert_eq!(mask.labels().len(), (width * height) as usize);
        assert_eq!(mask.pixels().iter().sum::<u64>(), u64::from(width * height));
        assert!(mask.confidence().is_none() && mask.scores().is_none());
        let before = (mask.labels().to_vec(), mask.pixels().to_vec());
        let large = vec![0; 3 * 97 * 64];
        segmenter.segment(&rgb(&large, 97, 64), &mut mask).unwrap_err();
        assert_eq!((mask.labels().to_vec(), mask.pixels().to_vec()), before);
        assert_eq!((mask.width(), mask.height()), (width, height));
    }
}

#[test]
fn many_threads_share_one_segmenter() {
    for sessions in [1, 3] {
        let mut shared = options(None);
        (shared.sessions, shared.threads) = (sessions, 2);
        let segmenter = Segmenter::from_memory(&network(Spec::default()), &shared).unwrap();
        let pictures: Vec<_> = (0..8u64).map(|seed| random_bytes(seed, 3 * 80 * 56)).collect();
        let truth: Vec<_> = pictures.iter().map(|pixels| everything(&segmenter, rgb(pixels, 80, 56))).collect();
        std::thread::scope(|scope| {
            for (pixels, truth) in pictures.iter().zip(&truth) {
                let segmenter = &segmenter;
                scope.spawn(move || {
                    for _ in 0..10 {
                        let mask = everything(segmenter, rgb(pixels, 80, 56));
                        assert_eq!(mask.labels(), truth.labels());
                    }
                });
            }
        });
    }
}

#[test]
fn the_form_for_gpus_gives_the_same_labels() {
    for end in [End::Transposed, End::Grouped, End::Resize] {
        for fixed in [None, Some((64, 96))] {
            let spec = Spec { end, fixed, ..Spec::default() };
            let mut device = options(Some(SizeMode::Pad));
            device.device_graph = true;
            let device = Segmenter::from_memory(&network(spec), &device).unwrap();
            let plain = segmenter(spec, Some(SizeMode::Pad));
            use PixelFormat::*;
            // The form for GPUs does not support shared bytes and several planes; the segmenter
            // must fall back by itself.
            let formats = [Rgb8, Bgr8, Rgba8, Bgra8, Gray8, Gray16, Nv12, Yuyv];
            let sizes = [(96, 64), (95, 63), (33, 57), (8, 8), (90, 1), (41, 30), (40, 32), (96, 64)];
            for (format, (width, height)) in formats.into_iter().zip(sizes) {
                let name = format!("{end:?}, {fixed:?}, {format:?}, {width} x {height}");
                let stride = width * 4 + 5;
                let data = random_bytes(29, 2 * stride * height);
                let frame = Frame::contiguous(format, &data, width as u32, height as u32, stride).unwrap();
                let truth = everything(&plain, frame);
                let mut mask = Mask::new();
                for _ in 0..3 {
                    device.segment(&frame, &mut mask).unwrap();
                }
                let scores = truth.scores().unwrap();
                let range =
                    scores.iter().fold(f32::MIN, |a, &b| a.max(b)) - scores.iter().fold(f32::MAX, |a, &b| a.min(b));
                for (i, (&found, &best)) in mask.labels().iter().zip(truth.labels()).enumerate() {
                    let at = |class: u8| scores[[class as usize, i / width, i % width]];
                    assert!(
                        found == best || at(best) - at(found) < 1e-4 * range,
                        "{name}: pixel {i} is {found}, not {best}"
                    );
                }
                let mut counts = vec![0; mask.pixels().len()];
                mask.labels().iter().for_each(|&label| counts[usize::from(label)] += 1);
                assert_eq!(mask.pixels(), counts, "{name}");
                // Outputs that the form for GPUs does not compute come from the general path.
                assert_eq!(everything(&device, frame).scores(), truth.scores(), "{name}");
                device.segment(&frame.mirror(), &mut mask).unwrap();
                assert_eq!(mask.labels(), everything(&plain, frame.mirror()).labels(), "{name}, mirrored");
            }
        }
    }
}

/// A network whose low-resolution scores are square roots, some of them NaN.
fn with_roots(spec: Spec) -> Vec<u8> {
    let mut model = model(spec);
    let graph = model.graph.as_mut().unwrap();
    (graph.node[0].name, graph.node[0].output) = (Some("raw".into()), vec!["raw".into()]);
    graph.node.insert(1, build::node("Add", &["raw", "offset"], "shifted", vec![]));
    graph.node.insert(2, build::node("Sqrt", &["shifted"], "low", vec![]));
    graph.initializer.push(build::floats("offset", &[], &[18.0]));
    model.encode_to_vec()
}

#[test]
fn a_frame_without_numbers_is_unknown_and_soon_forgotten() {
    let model = with_roots(Spec::default());
    let segmenter = Segmenter::from_memory(&model, &options(Some(SizeMode::Pad))).unwrap();
    // Random frames have some pixels with NaN scores; a mask of an ordinary network has none.
    let plain = self::segmenter(Spec::default(), Some(SizeMode::Pad));
    let pixels = random_bytes(12, 3 * 96 * 64);
    let mut mask = Mask::new();
    segmenter.segment(&rgb(&pixels, 96, 64), &mut mask).unwrap();
    assert!(mask.not_finite() > 0);
    plain.segment(&rgb(&pixels, 96, 64), &mut mask).unwrap();
    assert!(mask.not_finite() == 0 && !mask.labels().contains(&UNKNOWN));
    // Smoothing: a NaN in one frame does not affect the next one.
    let mut smooth = Mask::with_outputs(Outputs { scores: true, ..Outputs::default() });
    smooth.set_smoothing(0.5).unwrap();
    let other = random_bytes(13, 3 * 96 * 64);
    for frame in [&pixels, &other, &pixels, &other] {
        segmenter.segment(&rgb(frame, 96, 64), &mut smooth).unwrap();
        let own = everything(&segmenter, rgb(frame, 96, 64));
        assert_eq!(smooth.not_finite(), own.not_finite());
    }
}

#[test]
fn pixels_whose_scores_are_no_numbers_are_unknown() {
    let (width, height) = (104, 56);
    let pixels = random_bytes(11, 3 * width * height);
    let modes = [
        SizeMode::Pad,
        SizeMode::Resize { width: 64, height: 40 },
        SizeMode::Resize { width: 240, height: 160 },
        SizeMode::Tile { width: 48, height: 40, overlap: 8 },
    ];
    for end in [End::Transposed, End::Diagonal, End::Resize, End::Low] {
        for mode in modes {
            for uncut in [false, true] {
                let name = format!("{end:?}, {mode:?}, uncut {uncut}");
                let model = with_roots(Spec { end, uncut, ..Spec::default() });
                let segmenter = Segmenter::from_memory(&model, &options(Some(mode))).unwrap();
                let frame = || rgb(&pixels, width as u32, height as u32);
                let mask = everything(&segmenter, frame());
                let scores = mask.scores().unwrap();
                let mut unknown = 0;
                for (place, &label) in mask.labels().iter().enumerate() {
                    let pixel = scores.slice(s![.., place / width, place % width]);
                    let (confidence, margin) = (mask.confidence().unwrap()[place], mask.margin().unwrap()[place]);
                    if pixel.iter().all(|score| score.is_finite()) {
                        assert!(label < 5 && confidence > 0.19, "{name}: pixel {place} is {label}");
                        continue;
                    }
                    unknown += 1;
                    assert_eq!((label, confidence, margin), (UNKNOWN, 0.0, 0.0), "{name}: pixel {place}");
                    assert_eq!(mask.confidence_u8().unwrap()[place], 0, "{name}: pixel {place}");
                }
                assert!(unknown > 0 && unknown < mask.labels().len(), "{name}: {unknown} pixels");
                assert_eq!(
                    (mask.not_finite(), mask.pixels().iter().sum::<u64>()),
                    (unknown as u64, (width * height - unknown) as u64),
                    "{name}"
                );
                // Labels alone use a shorter code path.
                let mut alone = Mask::new();
                segmenter.segment(&frame(), &mut alone).unwrap();
                assert!(alone.labels() == mask.labels() && alone.not_finite() == mask.not_finite(), "{name}");
                // The form for GPUs must agree, too.
                let mut device = options(Some(mode));
                device.device_graph = true;
                let device = Segmenter::from_memory(&model, &device).unwrap();
                device.segment(&frame(), &mut alone).unwrap();
                let mut pairs = alone.labels().iter().zip(mask.labels());
                // ONNX Runtime's interpolation includes values with weight 0, so it yields more NaN
                // pixels.
                if models::provider() != fcn::Provider::Cpu {
                    // A GPU's interpolation differs from libfcn's in the pixels around NaN.
                    let unlike = pairs.filter(|(a, b)| (**a == UNKNOWN) != (**b == UNKNOWN)).count();
                    assert!(unlike * 20 < width * height, "{name}: {unlike} of {} pixels", width * height);
                } else if uncut {
                    assert!(pairs.all(|(a, b)| (*a == UNKNOWN) == (*b == UNKNOWN)), "{name}")
                } else {
                    assert!(pairs.all(|(a, b)| *a == UNKNOWN || *b != UNKNOWN), "{name}")
                }
                let counted: u64 = alone.pixels().iter().sum();
                let unknown_there = alone.labels().iter().filter(|label| **label == UNKNOWN).count() as u64;
                assert_eq!(
                    (alone.not_finite(), counted),
                    (unknown_there, (width * height) as u64 - unknown_there),
                    "{name}"
                );
                // At another size, where pixels between equal classes are skipped.
                alone.set_size(3 * width as u32, 2 * height as u32).unwrap();
                segmenter.segment(&frame(), &mut alone).unwrap();
                assert!(alone.not_finite() > unknown as u64 && alone.labels().contains(&UNKNOWN), "{name}");
            }
        }
    }
}

#[test]
fn class_indices_end_before_the_number_of_classes() {
    let mut named = options(None);
    named.class_names = Some(["a", "b", "c", "d", "e"].map(String::from).to_vec());
    let pixels = random_bytes(29, 3 * 96 * 64);
    // What a network of class indices answers when so much is added to each.
    let moved = |by: i64| {
        let mut model = model(Spec { end: End::Labels, uncut: true, card: false, ..Spec::default() });
        let graph = model.graph.as_mut().unwrap();
        let last = graph.node.last_mut().unwrap();
        (last.name, last.output) = (Some("best".into()), vec!["best".into()]);
        graph.node.push(build::node("Add", &["best", "by"], "labels", vec![]));
        graph.initializer.push(build::int64s("by", &[], &[by]));
        let segmenter = Segmenter::from_memory(&model.encode_to_vec(), &named).unwrap();
        let (mut mask, mut labels) = (Mask::new(), vec![123u8; 96 * 64]);
        segmenter.segment_into(&rgb(&pixels, 96, 64), &mut mask, &mut labels, 0).map_err(|error| {
            assert!(labels == [123; 96 * 64] && mask.width() == 0, "{by}");
            error.to_string()
        })?;
        Ok::<_, String>(labels)
    };
    let best = moved(0).unwrap();
    let (least, most) = (i64::from(*best.iter().min().unwrap()), i64::from(*best.iter().max().unwrap()));
    assert!(least < most);
    for by in [4 - most, -least] {
        let expected: Vec<u8> = best.iter().map(|&label| (i64::from(label) + by) as u8).collect();
        assert!(moved(by).unwrap() == expected, "{by}");
    }
    for (by, class) in
        [(5 - most, "class 5 "), (-least - 1, "class -1 "), (i64::MAX - most, "class 922337203685477580")]
    {
        let message = moved(by).unwrap_err();
        assert!(message.contains(class) && message.contains("has only 5 classes"), "{message}");
    }
}

#[test]
fn one_run_takes_so_many_pixels_and_no_more() {
    // The network answers one row of scores, so that nothing but its input is large.
    let mut model = model(Spec { end: End::Low, ..Spec::default() });
    let graph = model.graph.as_mut().unwrap();
    graph.node = vec![
        build::node("Slice", &["image", "first", "end", "axes"], "part", vec![]),
        build::node(
            "Conv",
            &["part", "score.weight", "score.bias"],
            "scores",
            vec![build::ints("kernel_shape", &[8, 8]), build::ints("strides", &[8, 8])],
        ),
    ];
    for (name, values) in [("first", [0, 0]), ("end", [16, 16]), ("axes", [2, 3])] {
        graph.initializer.push(build::int64s(name, &[2], &values));
    }
    let pixels = random_bytes(31, 3 * 16 * 16);
    // 2^25 pixels are 1024 x 32768, but no side has more than 32767.
    for (width, height, fits) in [(8192, 4096, true), (8192, 4104, false), (8200, 4096, false)] {
        let segmenter =
            Segmenter::from_memory(&model.encode_to_vec(), &options(Some(SizeMode::Resize { width, height })));
        let mut mask = Mask::new();
        match segmenter.unwrap().segment(&rgb(&pixels, 16, 16), &mut mask) {
            Ok(()) => assert!(fits && mask.working_size() == (width, height), "{width} x {height}"),
            Err(Error::InvalidArgument(text)) => {
                assert!(
                    !fits && text.contains(&format!("{width} x {height} pixels are more than the limit of 33554432")),
                    "{text}"
                );
            }
            Err(error) => panic!("{width} x {height}: {error:?}"),
        }
    }
}
