//! Writes the networks of `make bench`: 21 or 150 classes and untrained weights, because they do not
//! affect the time.
//!
//!     bench_models FOLDER EFFICIENTNET_WEIGHTS.pth PHOTO

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fcn::palette::{Class, voc_color};
use fcn::{file, onnx};
use tch::Device;
use trainer::checkpoint::{CheckpointState, Progress};
use trainer::config::Config;
use trainer::data::Dataset;
use trainer::error::{Error, Result};
use trainer::export::calibrate::Calibration;
use trainer::export::{self, Precision};
use trainer::model::graph::Op;
use trainer::model::{Architecture, Backbone, Init, Network, Spec, UpsampleTraining, weights};

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let mut next =
        || arguments.next().ok_or_else(|| Error::new("usage: bench_models FOLDER EFFICIENTNET_WEIGHTS.pth PHOTO"));
    let (folder, pretrained, photo) = (next()?, next()?, next()?);
    let photos = one_photo(&folder.join("calibration"), &photo)?;
    let resnet = |upsample| network(Architecture::Fcn32s, Backbone::ResNet18, 21, upsample);
    let learned = resnet(UpsampleTraining::Learned)?;
    save(&folder.join("resnet18-fcn32s.onnx"), &learned, &Precision::Full)?;
    let int8 = Precision::Int8(Calibration::new(&learned, None, &photos, 1, &mut |_| {})?);
    save(&folder.join("resnet18-fcn32s-int8.onnx"), &learned, &int8)?;
    save(&folder.join("resnet18-fcn32s-fp16.onnx"), &learned, &Precision::Half)?;
    save(&folder.join("resnet18-fcn32s-frozen.onnx"), &resnet(UpsampleTraining::Frozen)?, &Precision::Full)?;
    let lite0 = |classes, upsample| {
        let network = network(Architecture::Fcn8s, Backbone::EfficientNetLite0, classes, upsample)?;
        // With random weights its activations fade to nothing; ImageNet weights keep them in the usual
        // range.
        weights::load(&network.graph, &weights::read(&pretrained)?)?;
        Ok::<Network, Error>(network)
    };
    let many = lite0(150, UpsampleTraining::Frozen)?;
    let lite0 = lite0(21, UpsampleTraining::Learned)?;
    save(&folder.join("efficientnet_lite0-fcn8s.onnx"), &lite0, &Precision::Full)?;
    let int8 = Precision::Int8(Calibration::new(&lite0, None, &photos, 1, &mut |_| {})?);
    save(&folder.join("efficientnet_lite0-fcn8s-int8.onnx"), &lite0, &int8)?;
    save(&folder.join("efficientnet_lite0-fcn8s-fp16.onnx"), &lite0, &Precision::Half)?;
    save(&folder.join("efficientnet_lite0-fcn8s-150.onnx"), &many, &Precision::Full)?;
    let int8 = Precision::Int8(Calibration::new(&many, None, &photos, 1, &mut |_| {})?);
    save(&folder.join("efficientnet_lite0-fcn8s-150-int8.onnx"), &many, &int8)
}

/// A data set of one photo for calibration.
fn one_photo(folder: &Path, photo: &Path) -> Result<Dataset> {
    for name in ["JPEGImages", "SegmentationClass", "ImageSets/Segmentation"] {
        std::fs::create_dir_all(folder.join(name))?;
    }
    let fcn::Image { width, height, .. } = fcn::read_image(photo)?;
    std::fs::copy(photo, folder.join("JPEGImages/photo.png"))?;
    let mask = vec![0; width as usize * height as usize];
    let classes = fcn::palette::voc_classes();
    fcn::write_labels(folder.join("SegmentationClass/photo.png"), &mask, width, height, &classes)?;
    std::fs::write(folder.join("ImageSets/Segmentation/val.txt"), "photo\n")?;
    Dataset::open(folder, "val")
}

/// An initial network with noise in what training would change: the bilinear kernel of a learned
/// upsampling is diagonal, and the zero-initialised skips have no effect.
fn network(
    architecture: Architecture,
    backbone: Backbone,
    classes: i64,
    upsample: UpsampleTraining,
) -> Result<Network> {
    let spec = Spec { architecture, backbone, classes, upsample, init: Init::Bilinear };
    let network = Network::new(spec, 1, Device::Cpu);
    tch::no_grad(|| {
        for node in &network.graph.nodes {
            match &node.op {
                Op::Conv(conv) if conv.name.starts_with("score") => {
                    let _ = conv.weight.shallow_clone().f_uniform_(-0.1, 0.1)?;
                }
                Op::ConvTranspose(up) if up.learned => {
                    let noise = up.weight.f_rand_like()?.f_mul_scalar(0.02)?;
                    let _ = up.weight.shallow_clone().f_add_(&noise)?;
                }
                _ => {}
            }
        }
        Ok::<(), Error>(())
    })?;
    Ok(network)
}

fn save(path: &Path, network: &Network, form: &Precision) -> Result<()> {
    let normalise = network.spec.backbone.normalise();
    let state = CheckpointState {
        native_side: None,
        config: Config { arch: network.spec.architecture, backbone: network.spec.backbone, ..Config::standard() },
        spec: network.spec,
        classes: (0..network.spec.classes)
            .map(|index| Class { name: format!("class {index}"), color: voc_color(index as u8) })
            .collect(),
        mean: normalise.mean,
        std: normalise.std,
        progress: Progress::default(),
    };
    let card = export::card(&state, "none".to_owned(), BTreeMap::new());
    Ok(file::write(path, &onnx::encode(&export::onnx(network, form, &card)?)?)?)
}
