//! Writes the networks of `make bench`: 21 classes, and weights that nobody trained, because time does not depend on
//! them.
//!
//!     bench_models FOLDER EFFICIENTNET_WEIGHTS.pth

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fcn::onnx;
use tch::Device;
use trainer::checkpoint::{Progress, State};
use trainer::config::Config;
use trainer::error::{Error, Result};
use trainer::export::{self, Storage};
use trainer::file;
use trainer::model::graph::Op;
use trainer::model::{Architecture, Backbone, Init, Network, Spec, Upsampling, weights};

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(folder), Some(pretrained), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err(Error::new("usage: bench_models FOLDER EFFICIENTNET_WEIGHTS.pth"));
    };
    let resnet = |upsample| network(Architecture::Fcn32s, Backbone::ResNet18, upsample);
    save(&folder.join("resnet18-fcn32s.onnx"), &resnet(Upsampling::Learned)?)?;
    save(&folder.join("resnet18-fcn32s-frozen.onnx"), &resnet(Upsampling::Frozen)?)?;
    let lite0 = network(Architecture::Fcn8s, Backbone::EfficientNetLite0, Upsampling::Learned)?;
    // Its random start has activations that fade to nothing; ImageNet's weights keep them in the usual range.
    weights::load(&lite0.graph, &weights::read(&pretrained)?)?;
    save(&folder.join("efficientnet_lite0-fcn8s.onnx"), &lite0)
}

/// A network at its start, with noise in what training would have changed: the bilinear kernel a learned upsampling
/// starts from is diagonal, and the zeros that skips start from make them vanish.
fn network(architecture: Architecture, backbone: Backbone, upsample: Upsampling) -> Result<Network> {
    let spec = Spec { architecture, backbone, classes: 21, upsample, init: Init::Bilinear };
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

fn save(path: &Path, network: &Network) -> Result<()> {
    let normalise = network.spec.backbone.normalise();
    let state = State {
        config: Config { arch: network.spec.architecture, backbone: network.spec.backbone, ..Config::standard() },
        spec: network.spec,
        classes: fcn::palette::voc_classes(),
        mean: normalise.mean,
        std: normalise.std,
        progress: Progress::default(),
    };
    let card = export::card(&state, "none".to_owned(), BTreeMap::new());
    file::write(path, &onnx::encode(&export::onnx(network, Storage::Full, &card)?))
}
