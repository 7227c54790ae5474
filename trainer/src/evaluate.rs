//! Measures a network on a split.

use tch::{Device, Kind, Tensor, no_grad};

use crate::augment::{Normalise, normalise_whole};
use crate::data::{Dataset, VOID};
use crate::error::Result;
use crate::metrics::Confusion;
use crate::model::{Network, channels_last};

/// Labels a whole photo (RGB, row by row): padded with the mean colour at the right and at the bottom to sides that 32
/// divides, and cut back. The same as libfcn's size mode `pad`.
pub fn label(network: &Network, rgb: &[u8], width: usize, height: usize, normalise: &Normalise) -> Result<Vec<u8>> {
    let (h, w) = (height.next_multiple_of(Network::STRIDE), width.next_multiple_of(Network::STRIDE));
    let mut image = vec![0.0; 3 * h * w];
    normalise_whole(rgb, width, height, normalise, h, w, &mut image);
    let image = Tensor::from_slice(&image).view([1, 3, h as i64, w as i64]).to_device(network.graph.device);
    let scores = no_grad(|| network.graph.forward(&channels_last(&image), false))?;
    let labels = scores.f_argmax(1, false)?.f_narrow(1, 0, height as i64)?.f_narrow(2, 0, width as i64)?;
    let labels = labels.f_to_kind(Kind::Uint8)?.f_to_device(Device::Cpu)?.f_contiguous()?;
    let mut bytes = vec![0; width * height];
    labels.f_copy_data_u8(&mut bytes, width * height)?;
    Ok(bytes)
}

/// Labels every photo of `dataset` and counts. `void_is_background` counts void pixels as class 0. `go_on` is asked after
/// every photo; where it says no, there is no result.
pub fn measure(
    network: &Network,
    dataset: &Dataset,
    void_is_background: bool,
    mut go_on: impl FnMut() -> bool,
) -> Result<Option<Confusion>> {
    let normalise = network.spec.backbone.normalise();
    let mut confusion = Confusion::new(dataset.classes().len());
    for index in 0..dataset.len() {
        let mut sample = dataset.read(index)?;
        if void_is_background {
            void_to_background(&mut sample.mask);
        }
        let labels = label(network, &sample.image, sample.width, sample.height, &normalise)?;
        confusion.add(&sample.mask, &labels);
        if !go_on() {
            return Ok(None);
        }
    }
    Ok(Some(confusion))
}

/// Gives void pixels class 0.
pub fn void_to_background(mask: &mut [u8]) {
    for label in mask {
        if *label == VOID {
            *label = 0;
        }
    }
}
