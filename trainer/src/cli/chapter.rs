//! `trainer chapter`: outputs of Dive into Deep Learning, section 13.11, that no other command
//! prints. docs/d2l.md goes through the whole section.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use fcn::{Image, read_image, write_png};
use tch::{Device, Kind, Tensor, no_grad};

use super::say;
use crate::error::Result;
use crate::model::graph::{Op, Value};
use crate::model::{Architecture, Backbone, Init, Network, Spec, UpsampleTraining, init, is_head};

/// Pascal VOC's classes.
const CLASSES: i64 = 21;
/// Height and width of the section's crops.
const CROP: [i64; 2] = [320, 480];

/// Commands of `trainer chapter`.
#[derive(Debug, Subcommand)]
pub(super) enum Chapter {
    /// Print the last layers of the section's network, and their shapes for an image of 320 x 480
    /// pixels.
    Network,
    /// Double an image by a transposed convolution with the bilinear kernel.
    Double {
        /// A JPEG or PNG file.
        picture: PathBuf,
        /// The PNG file to write.
        doubled: PathBuf,
    },
}

impl Chapter {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self {
            Chapter::Network => network()?,
            Chapter::Double { picture, doubled } => double(&picture, &doubled)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// "Constructing a Model": ResNet-18's last block, the head, and why its kernel, padding and stride
/// fit.
fn network() -> Result<()> {
    let (architecture, backbone) = (Architecture::Fcn32s, Backbone::ResNet18);
    let (upsample, init) = (UpsampleTraining::Learned, Init::Bilinear);
    let network = Network::new(Spec { architecture, backbone, classes: CLASSES, upsample, init }, 1, Device::Cpu);
    let graph = &network.graph;
    let x = Tensor::f_rand([1, 3, CROP[0], CROP[1]], (Kind::Float, Device::Cpu))?;
    let all: Vec<Value> = (1..=graph.nodes.len()).map(Value).collect();
    let values = no_grad(|| graph.evaluate(&x, false, &all))?;
    for (node, value) in graph.nodes.iter().zip(&values) {
        let (name, what) = match &node.op {
            Op::Conv(conv) => {
                let &[output, input, kernel, _] = &conv.weight.size()[..] else { continue };
                (&conv.name, format!("convolution {kernel} x {kernel}, {input} -> {output}, stride {}", conv.stride))
            }
            Op::ConvTranspose(up) => {
                let (kernel, padding, stride) = (up.weight.size()[2], up.padding, up.stride);
                (&up.name, format!("transposed convolution, kernel {kernel}, padding {padding}, stride {stride}"))
            }
            _ => continue,
        };
        if name.starts_with("layer4.1") || is_head(name) {
            say(&format!("{name:<14} {:<18} {what}", shape(&value.size())))?;
        }
    }
    say(&format!("net(X).shape: {}", shape(&values[network.features.stride32.value.0 - 1].size())))?;
    // A convolution's output shape, for the one that the upsampling transposes.
    let Some(Op::ConvTranspose(up)) = graph.nodes.last().map(|node| &node.op) else { return Ok(()) };
    let (kernel, padding, stride) = (up.weight.size()[2], up.padding, up.stride);
    for side in CROP {
        let features = (side - kernel + 2 * padding + stride) / stride;
        say(&format!("({side} - {kernel} + {padding} x 2 + {stride}) / {stride} = {features}"))?;
    }
    Ok(())
}

/// "Initializing the Transposed Convolution Layer": pixels as numbers from 0 to 1, and zeros around
/// the image.
fn double(picture: &Path, doubled: &Path) -> Result<()> {
    let picture = read_image(picture)?;
    let (height, width) = (i64::from(picture.height), i64::from(picture.width));
    say(&format!("input image shape: {}", shape(&[height, width, 3])))?;
    let x = Tensor::f_from_slice(&picture.pixels)?.f_view([1, height, width, 3])?;
    // HWC => CHW and back.
    let x = x.f_permute([0, 3, 1, 2])?.f_to_kind(Kind::Float)?.f_div_scalar(255.0)?;
    let kernel = init::bilinear_kernel(3, 4, Device::Cpu);
    let y = x.f_conv_transpose2d(&kernel, None::<&Tensor>, [2, 2], [1, 1], [0, 0], 1, [1, 1])?;
    let y = y.f_permute([0, 2, 3, 1])?.f_squeeze_dim(0)?;
    say(&format!("output image shape: {}", shape(&y.size())))?;
    let bytes = y.f_mul_scalar(255.0)?.f_round()?.f_to_kind(Kind::Uint8)?.f_contiguous()?;
    let mut pixels = vec![0; bytes.numel()];
    let count = pixels.len();
    bytes.f_copy_data_u8(&mut pixels, count)?;
    Ok(write_png(doubled, &Image { width: 2 * picture.width, height: 2 * picture.height, pixels })?)
}

/// In Python's notation.
fn shape(size: &[i64]) -> String {
    let sides: Vec<String> = size.iter().map(i64::to_string).collect();
    format!("({})", sides.join(", "))
}
