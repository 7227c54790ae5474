//! The size at which the network sees a frame: the default (auto), the short side, and the size
//! that a mask reports.

#[path = "common/arrays.rs"]
mod arrays;
#[path = "common/models.rs"]
mod models;
#[path = "common/truth.rs"]
mod truth;

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use fcn::{Error, LogLevel, Mask, Options, Segmenter, SizeMode};
use models::{Spec, card, model, network, random_bytes};
use prost::Message;
use truth::{everything, options, rgb};

/// A segmenter of the test network (stride 8) with native side 96.
fn with_native_side(size_mode: Option<SizeMode>) -> Segmenter {
    let mut options = options(size_mode);
    options.native_side = Some(96);
    Segmenter::from_memory(&network(Spec::default()), &options).unwrap()
}

fn same(name: &str, a: &Mask, b: &Mask) {
    assert!(a.labels() == b.labels() && a.scores() == b.scores(), "{name}");
    assert_eq!(a.working_size(), b.working_size(), "{name}");
}

#[test]
fn near_frames_are_padded_and_others_resampled() {
    struct Case {
        frame: (u32, u32),
        mode: SizeMode,
        working: (u32, u32),
    }
    let resize = |width, height| SizeMode::Resize { width, height };
    let cases = [
        Case { frame: (96, 96), mode: SizeMode::Pad, working: (96, 96) },
        // sqrt(96 x 62) = 77.1 is more than 4/5 of 96, 76.8; sqrt(95 x 62) = 76.7 is not.
        Case { frame: (96, 62), mode: SizeMode::Pad, working: (96, 64) },
        Case { frame: (95, 62), mode: resize(120, 80), working: (120, 80) },
        // 5/4 of 96 is 120.
        Case { frame: (160, 90), mode: SizeMode::Pad, working: (160, 96) },
        Case { frame: (161, 90), mode: resize(128, 72), working: (128, 72) },
        Case { frame: (384, 216), mode: resize(128, 72), working: (128, 72) },
        Case { frame: (216, 384), mode: resize(72, 128), working: (72, 128) },
        Case { frame: (20, 10), mode: resize(136, 64), working: (136, 64) },
        Case { frame: (1, 1), mode: resize(96, 96), working: (96, 96) },
    ];
    let auto = with_native_side(None);
    for Case { frame: (width, height), mode, working } in cases {
        let name = format!("{width} x {height}");
        let pixels = random_bytes(3, 3 * width as usize * height as usize);
        let mask = everything(&auto, rgb(&pixels, width, height));
        assert_eq!((mask.width(), mask.height()), (width, height), "{name}");
        assert_eq!(mask.working_size(), working, "{name}");
        same(&name, &mask, &everything(&with_native_side(Some(mode)), rgb(&pixels, width, height)));
    }
    same(
        "auto by name",
        &everything(&with_native_side(Some(SizeMode::Auto)), rgb(&[9; 3 * 384 * 216], 384, 216)),
        &everything(&auto, rgb(&[9; 3 * 384 * 216], 384, 216)),
    );
}

#[test]
fn the_short_side_keeps_proportions() {
    let short = with_native_side(Some(SizeMode::ShortSide(48)));
    for (frame, working) in [((192, 108), (88, 48)), ((108, 192), (48, 88)), ((48, 48), (48, 48)), ((10, 20), (48, 96))]
    {
        let mask = everything(&short, rgb(&vec![7; 3 * frame.0 * frame.1], frame.0 as u32, frame.1 as u32));
        assert_eq!(mask.working_size(), working, "{frame:?}");
        assert_eq!((mask.width() as usize, mask.height() as usize), frame);
    }
}

#[test]
fn a_mask_without_a_frame_has_no_working_size() {
    assert_eq!(Mask::new().working_size(), (0, 0));
    let tiles = with_native_side(Some(SizeMode::Tile { width: 32, height: 24, overlap: 8 }));
    assert_eq!(everything(&tiles, rgb(&[7; 3 * 100 * 50], 100, 50)).working_size(), (32, 24));
}

/// The messages of [`LogLevel::Info`] during creation.
fn told(model: &[u8], mut options: Options) -> (Segmenter, Vec<String>) {
    let messages = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&messages);
    options.log = Some(Arc::new(move |level, message| {
        if level == LogLevel::Info {
            log.lock().unwrap().push(message.to_owned());
        }
    }));
    let segmenter = Segmenter::from_memory(model, &options).unwrap();
    let messages = messages.lock().unwrap().clone();
    (segmenter, messages)
}

#[test]
fn the_native_side_is_the_options_before_the_cards_and_the_log_says_when_it_is_unknown() {
    let mut carded = model(Spec { card: false, ..Spec::default() });
    let graph = carded.graph.take().unwrap();
    let bytes = |native_side| {
        let card = fcn::onnx::ModelCard { native_side, ..card(5, 8) };
        fcn::onnx::build::model(graph.clone(), Some(&card)).encode_to_vec()
    };
    let unknown = |messages: &[String]| messages.iter().filter(|message| message.contains("native_side")).count();
    let pixels = [40; 3 * 256 * 256];
    for (of_card, of_options, mode, working, told_once) in [
        (None, None, None, 256, true),
        (None, None, Some(SizeMode::Pad), 256, false),
        (Some(64), None, None, 64, false),
        (Some(64), Some(128), None, 128, false),
        (None, Some(128), None, 128, false),
    ] {
        let mut options = options(mode);
        options.native_side = of_options;
        let (segmenter, messages) = told(&bytes(of_card), options);
        let mask = everything(&segmenter, rgb(&pixels, 256, 256));
        assert_eq!(mask.working_size(), (working, working), "{of_card:?} {of_options:?} {mode:?}");
        assert_eq!(unknown(&messages), usize::from(told_once), "{of_card:?} {of_options:?} {mode:?}: {messages:?}");
    }
    // A network with a fixed size has no choice.
    let fixed = network(Spec { fixed: Some((64, 64)), ..Spec::default() });
    let (segmenter, messages) = told(&fixed, options(None));
    assert_eq!(everything(&segmenter, rgb(&pixels, 256, 256)).working_size(), (64, 64));
    assert_eq!(unknown(&messages), 0);
}

#[test]
fn sides_out_of_range_are_refused() {
    let model = network(Spec::default());
    let made = |side: Option<u32>, mode| {
        let mut options = options(mode);
        options.native_side = side;
        Segmenter::from_memory(&model, &options).map(drop)
    };
    for (side, good) in [(15, false), (16, true), (32767, true), (32768, false)] {
        match made(Some(side), None) {
            Err(Error::InvalidArgument(message)) => assert!(!good && message.contains(&side.to_string()), "{message}"),
            other => assert!(good && other.is_ok(), "native side {side}: {other:?}"),
        }
    }
    for (side, good) in [(0, false), (1, true), (32767, true), (32768, false)] {
        match made(None, Some(SizeMode::ShortSide(side))) {
            Err(Error::InvalidArgument(message)) => assert!(!good && message.contains(&side.to_string()), "{message}"),
            other => assert!(good && other.is_ok(), "short side {side}: {other:?}"),
        }
    }
}

/// The photo that `make demo` labels, with the demo's model.
#[test]
#[cfg(feature = "image")]
fn a_photo_three_times_as_large_gets_the_same_labels() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let small = fcn::read_image(root.join(".deps/photos/china.jpg")).unwrap();
    let (width, height) = (small.width, small.height);
    let large = enlarged(&small.pixels, width as usize, height as usize, 3);
    // Both sizes are far from the native side, so the network sees both alike.
    let mut options = options(None);
    options.native_side = Some(384);
    let segmenter = Segmenter::from_file(root.join("models/street.onnx"), &options).unwrap();
    let (mut at_once, mut at_three) = (Mask::new(), Mask::new());
    segmenter.segment(&rgb(&small.pixels, width, height), &mut at_once).unwrap();
    segmenter.segment(&rgb(&large, 3 * width, 3 * height), &mut at_three).unwrap();
    let three = at_three.labels().chunks_exact(3 * width as usize).skip(1).step_by(3);
    let same = three
        .zip(at_once.labels().chunks_exact(width as usize))
        .flat_map(|(large, small)| large.iter().skip(1).step_by(3).zip(small).map(|(a, b)| a == b));
    let share = same.clone().filter(|same| *same).count() as f64 / same.count() as f64;
    assert!(share > 0.97, "{share}");
}

/// Enlarges an image by `factor`, bilinear with half-pixel centres.
fn enlarged(pixels: &[u8], width: usize, height: usize, factor: usize) -> Vec<u8> {
    let planes =
        ndarray::Array3::from_shape_fn((3, height, width), |(c, y, x)| f32::from(pixels[3 * (y * width + x) + c]));
    let large = truth::bilinear(planes.view(), factor * height, factor * width);
    let bytes =
        (0..factor * height).flat_map(|y| (0..factor * width).flat_map(move |x| (0..3).map(move |c| (c, y, x))));
    bytes.map(|at| large[at].round() as u8).collect()
}
