//! The bundled models label alike on every machine.

use std::path::{Path, PathBuf};

use fcn::{
    Frame, Mask, Options, PixelFormat, Segmenter,
    onnx::types::{ModelProto, tensor_proto::DataType},
};
use prost::Message;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The areas of classes were counted on x86-64 with AVX-512. ONNX Runtime rounds sums of quantized
/// values (QLinearAdd) differently on other processors, which moves a few outlines by a pixel.
#[test]
fn bundled_models_find_the_same_areas() {
    struct Case {
        model: &'static str,
        photo: &'static str,
        areas: &'static [(&'static str, u64)],
    }
    let cases = [
        Case { model: "animals", photo: "chelsea.png", areas: &[("background", 31349), ("cat", 103951)] },
        Case {
            model: "street",
            photo: "china.jpg",
            areas: &[
                ("sky", 125601),
                ("building", 61049),
                ("pole", 17),
                ("road", 3494),
                ("pavement", 5831),
                ("tree", 77065),
                ("sign", 2),
                ("car", 221),
            ],
        },
    ];
    for Case { model, photo, areas } in cases {
        let segmenter = Segmenter::from_file(path(&format!("models/{model}.onnx")), &Options::default()).unwrap();
        let image = fcn::read_image(path(&format!(".deps/photos/{photo}"))).unwrap();
        let frame = Frame::packed(PixelFormat::Rgb8, &image.pixels, image.width, image.height, 0).unwrap();
        let mut mask = Mask::new();
        segmenter.segment(&frame, &mut mask).unwrap();
        let mut moved = 0;
        for (class, pixels) in segmenter.classes().iter().zip(mask.pixels()) {
            let known = areas.iter().find(|(name, _)| *name == class.name).map_or(0, |(_, pixels)| *pixels);
            moved += known.abs_diff(*pixels);
        }
        let most = u64::from(image.width) * u64::from(image.height) / 500;
        assert!(moved <= most, "{model}: areas differ by {moved} pixels: {:?}", mask.pixels());
    }
}

/// On 64-bit Arm, ONNX Runtime adds two products in 16 bits in depthwise convolutions, and two
/// products of -128 and -128 wrap around.
#[test]
fn no_channel_of_a_depthwise_convolution_has_two_weights_of_the_minimum() {
    for model in ["animals", "street"] {
        let file = std::fs::read(path(&format!("models/{model}.onnx"))).unwrap();
        let model = ModelProto::decode(&file[..]).unwrap();
        let mut channels = 0;
        for tensor in &model.graph.unwrap().initializer {
            let [_, 1, _, _] = tensor.dims[..] else { continue };
            if tensor.data_type != Some(DataType::Int8 as i32) {
                continue;
            }
            let weights = tensor.raw_data.as_ref().expect("weights are raw");
            for channel in weights.chunks_exact((tensor.dims[2] * tensor.dims[3]) as usize) {
                let minima = channel.iter().filter(|weight| **weight as i8 == i8::MIN).count();
                assert!(minima < 2, "{}: {minima} weights of -128", tensor.name());
                channels += 1;
            }
        }
        assert_eq!(channels, 8960);
    }
}
