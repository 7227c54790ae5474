//! Measures a network on a split.

use std::ops::RangeInclusive;
use std::path::Path;

use fcn::palette::{Class, background};
use fcn::{Frame, Mask, Outputs, PixelFormat, Provider, Segmenter, SizeMode};
use ndarray::ArrayView3;
use tch::{Device, Kind, Tensor, no_grad};

use crate::augment::{Normalisation, normalise_whole};
use crate::checkpoint::Checkpoint;
use crate::data::{Dataset, Sample, VOID};
use crate::error::{Error, Result};
use crate::metrics::Confusion;
use crate::model::{Network, channels_last};

/// Labels photos: a checkpoint through libtorch, or an ONNX file through libfcn, as deployed.
pub enum Predictor {
    /// A checkpoint's network.
    Checkpoint {
        /// The network.
        network: Box<Network>,
        /// The checkpoint's metadata.
        checkpoint: Box<Checkpoint>,
        /// The views of each photo.
        views: Views,
    },
    /// An ONNX file.
    Onnx {
        /// libfcn.
        segmenter: Box<Segmenter>,
        /// Its result, reused for each photo.
        mask: Box<Mask>,
    },
}

impl Predictor {
    /// Opens an ONNX file (`.onnx`), a checkpoint file, or the best checkpoint of a run folder. A
    /// native side overrides the model's.
    pub fn open(path: &Path, native_side: Option<u32>, device: Device) -> Result<Predictor> {
        if is_onnx(path) {
            let mut options = cpu();
            options.native_side = native_side;
            return Ok(Predictor::libfcn(Segmenter::from_file(path, &options)?));
        }
        let mut checkpoint = Checkpoint::best(path)?;
        checkpoint.state.native_side = native_side.or(checkpoint.state.native_side);
        Predictor::from_checkpoint(checkpoint, device)
    }

    /// Opens an ONNX file with this size mode.
    pub fn onnx(path: &Path, size_mode: SizeMode) -> Result<Predictor> {
        Predictor::onnx_with(path, &cpu().with_size_mode(size_mode))
    }

    /// Opens an ONNX file with these options of libfcn.
    pub fn onnx_with(path: &Path, options: &fcn::Options) -> Result<Predictor> {
        if !is_onnx(path) {
            return Err(Error::new(format!(
                "{} is no ONNX file (.onnx); --resize, --tile, --provider and --precision are for those: leave them out, or \
                 export it first",
                path.display()
            )));
        }
        Ok(Predictor::libfcn(Segmenter::from_file(path, options)?))
    }

    /// The network of a checkpoint.
    pub fn from_checkpoint(checkpoint: Checkpoint, device: Device) -> Result<Predictor> {
        let network = Box::new(checkpoint.network(device)?);
        Ok(Predictor::Checkpoint { network, checkpoint: Box::new(checkpoint), views: Views::default() })
    }

    /// Averages several views of each photo; checkpoints only.
    pub fn with_views(mut self, wanted: Views) -> Result<Predictor> {
        match &mut self {
            Predictor::Checkpoint { views, .. } => *views = wanted,
            Predictor::Onnx { .. } if wanted == Views::default() => {}
            Predictor::Onnx { .. } => {
                return Err(Error::new(
                    "--flip and --scales are for checkpoints: an ONNX file is measured as it is deployed; leave them out",
                ));
            }
        }
        Ok(self)
    }

    /// The bytes of an ONNX file.
    pub fn from_onnx(bytes: &[u8]) -> Result<Predictor> {
        Ok(Predictor::libfcn(Segmenter::from_memory(bytes, &cpu())?))
    }

    fn libfcn(segmenter: Segmenter) -> Predictor {
        Predictor::Onnx { segmenter: Box::new(segmenter), mask: Box::default() }
    }

    /// The classes in index order.
    pub fn classes(&self) -> &[Class] {
        match self {
            Predictor::Checkpoint { checkpoint, .. } => &checkpoint.state.classes,
            Predictor::Onnx { segmenter, .. } => segmenter.classes(),
        }
    }

    /// The class that means "nothing of interest": by name for a checkpoint, from libfcn for an
    /// ONNX file.
    pub fn background(&self) -> Option<u8> {
        match self {
            Predictor::Checkpoint { checkpoint, .. } => background(&checkpoint.state.classes),
            Predictor::Onnx { segmenter, .. } => segmenter.background(),
        }
    }

    /// The provider of an ONNX file and the format of its float32 layers; `None` for a checkpoint.
    pub fn provider(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Predictor::Checkpoint { .. } => None,
            Predictor::Onnx { segmenter, .. } => Some((segmenter.provider(), segmenter.precision())),
        }
    }

    /// Whether void pixels were trained as background; unknown for an ONNX file.
    pub fn void_is_background(&self) -> bool {
        matches!(self, Predictor::Checkpoint { checkpoint, .. } if checkpoint.state.config.void_is_background)
    }

    /// Labels a photo (RGB, row by row) of `width` x `height` pixels.
    pub fn label(&mut self, rgb: &[u8], width: usize, height: usize) -> Result<Vec<u8>> {
        match self {
            Predictor::Checkpoint { network, views, checkpoint } if *views == Views::default() => {
                label(network, checkpoint.state.native_side, rgb, width, height)
            }
            Predictor::Checkpoint { network, views, checkpoint } => {
                views.label(network, checkpoint.state.native_side, rgb, width, height)
            }
            Predictor::Onnx { segmenter, mask } => {
                let frame = Frame::packed(PixelFormat::Rgb8, rgb, width as u32, height as u32, 0)?;
                segmenter.segment(&frame, mask)?;
                Ok(mask.labels().to_vec())
            }
        }
    }

    /// Labels a photo, and returns the margin between the highest and the second highest
    /// probability, averaged over the pixels, 0 to 1.
    pub fn label_with_margin(&mut self, rgb: &[u8], width: usize, height: usize) -> Result<(Vec<u8>, f64)> {
        match self {
            Predictor::Checkpoint { network, checkpoint, .. } => {
                let scores = scores(network, checkpoint.state.native_side, rgb, width, height)?;
                let chances = scores.f_softmax(1, Kind::Float)?;
                let chances = chances.f_narrow(2, 0, height as i64)?.f_narrow(3, 0, width as i64)?;
                let (highest, _) = chances.f_topk(2, 1, true, true)?;
                let margin = highest.f_select(1, 0)?.f_sub(&highest.f_select(1, 1)?)?.f_mean(Kind::Double)?;
                Ok((labels(&scores, width, height)?, margin.f_double_value(&[])?))
            }
            Predictor::Onnx { segmenter, mask } => {
                let frame = Frame::packed(PixelFormat::Rgb8, rgb, width as u32, height as u32, 0)?;
                mask.set_outputs(Outputs { margin: true, ..Outputs::default() });
                segmenter.segment(&frame, mask)?;
                let margins = mask.margin().unwrap_or_default();
                let sum: f64 = margins.iter().map(|margin| f64::from(*margin)).sum();
                Ok((mask.labels().to_vec(), sum / margins.len().max(1) as f64))
            }
        }
    }

    /// Labels a photo, with the confidence of each pixel: the highest probability. `None` for an
    /// ONNX file that outputs no scores.
    pub fn label_with_confidence(
        &mut self,
        rgb: &[u8],
        width: usize,
        height: usize,
    ) -> Result<(Vec<u8>, Option<Vec<f32>>)> {
        match self {
            Predictor::Checkpoint { network, checkpoint, views } => {
                let native_side = checkpoint.state.native_side;
                let (scores, chances) = if *views == Views::default() {
                    let scores = scores(network, native_side, rgb, width, height)?;
                    let chances = scores.f_softmax(1, Kind::Float)?;
                    (scores, chances)
                } else {
                    let sum = views.probabilities(network, native_side, rgb, width, height)?;
                    let mean = sum.f_div_scalar((views.scales.len() * (1 + usize::from(views.flip))) as f64)?;
                    (sum, mean)
                };
                let highest =
                    chances.f_narrow(2, 0, height as i64)?.f_narrow(3, 0, width as i64)?.f_amax([1], false)?;
                let highest = highest.f_to_device(Device::Cpu)?.f_contiguous()?;
                let mut confidence = vec![0.0; width * height];
                highest.f_copy_data(&mut confidence, width * height)?;
                Ok((labels(&scores, width, height)?, Some(confidence)))
            }
            Predictor::Onnx { segmenter, mask } => {
                let frame = Frame::packed(PixelFormat::Rgb8, rgb, width as u32, height as u32, 0)?;
                mask.set_outputs(Outputs { confidence: segmenter.has_scores(), ..Outputs::default() });
                segmenter.segment(&frame, mask)?;
                Ok((mask.labels().to_vec(), mask.confidence().map(<[f32]>::to_vec)))
            }
        }
    }

    /// Checks that a data set has the classes of an ONNX file, and passes all its photos with their
    /// scores, classes x height x width, to `each`.
    pub fn visit_scores(
        &mut self,
        dataset: &Dataset,
        void_is_background: bool,
        mut each: impl FnMut(&Sample, ArrayView3<'_, f32>),
    ) -> Result<()> {
        self.check_classes(dataset)?;
        let Predictor::Onnx { segmenter, mask } = self else {
            return Err(Error::new("scores are those of ONNX files"));
        };
        mask.set_outputs(Outputs { scores: true, ..Outputs::default() });
        for index in 0..dataset.len() {
            let sample = read(dataset, index, void_is_background)?;
            let (width, height) = (sample.width as u32, sample.height as u32);
            segmenter.segment(&Frame::packed(PixelFormat::Rgb8, &sample.image, width, height, 0)?, mask)?;
            if let Some(scores) = mask.scores() {
                each(&sample, scores);
            }
        }
        Ok(())
    }

    /// Checks that a data set has the predictor's classes, labels it, and counts.
    pub fn measure(&mut self, dataset: &Dataset, void_is_background: bool) -> Result<Confusion> {
        let mut confusion = Confusion::new(dataset.classes().len());
        self.visit(dataset, void_is_background, |_, sample, labels| {
            confusion.add(&sample.mask, labels);
            Ok(())
        })?;
        Ok(confusion)
    }

    /// Checks that a data set has the predictor's classes, labels all its photos, and passes each
    /// to `each` with its index in the split and its labels.
    pub fn visit(
        &mut self,
        dataset: &Dataset,
        void_is_background: bool,
        mut each: impl FnMut(usize, &Sample, &[u8]) -> Result<()>,
    ) -> Result<()> {
        self.check_classes(dataset)?;
        for index in 0..dataset.len() {
            let sample = read(dataset, index, void_is_background)?;
            let labels = self.label(&sample.image, sample.width, sample.height)?;
            each(index, &sample, &labels)?;
        }
        Ok(())
    }

    /// As [`Predictor::visit`], with the confidence of each pixel if the predictor has one.
    pub fn visit_with_confidence(
        &mut self,
        dataset: &Dataset,
        void_is_background: bool,
        mut each: impl FnMut(usize, &Sample, &[u8], Option<&[f32]>) -> Result<()>,
    ) -> Result<()> {
        self.check_classes(dataset)?;
        for index in 0..dataset.len() {
            let sample = read(dataset, index, void_is_background)?;
            let (labels, confidence) = self.label_with_confidence(&sample.image, sample.width, sample.height)?;
            each(index, &sample, &labels, confidence.as_deref())?;
        }
        Ok(())
    }

    fn check_classes(&self, dataset: &Dataset) -> Result<()> {
        let (data, network) = (dataset.classes().len(), self.classes().len());
        if data == network {
            return Ok(());
        }
        Err(Error::new(format!(
            "the dataset has {data} classes, but the network has {network}; measure on data with the classes it was trained on"
        )))
    }
}

/// The views of a photo, whose probabilities are averaged.
#[derive(Debug, Clone, PartialEq)]
pub struct Views {
    /// Whether each view is mirrored as well.
    pub flip: bool,
    /// Scale factors, applied after resampling to the network's native side.
    pub scales: Vec<f64>,
}

impl Default for Views {
    fn default() -> Views {
        Views { flip: false, scales: vec![1.0] }
    }
}

/// The bounds of scale factors in evaluation.
const SCALES: RangeInclusive<f64> = 0.1..=8.0;

impl Views {
    /// Checks the scales.
    pub fn new(flip: bool, scales: Vec<f64>) -> Result<Views> {
        match scales.iter().find(|scale| !SCALES.contains(*scale)) {
            Some(scale) => {
                Err(Error::new(format!("--scales {scale}: must be from {} to {}", SCALES.start(), SCALES.end())))
            }
            None if scales.is_empty() => Err(Error::new("--scales: at least one is needed")),
            None => Ok(Views { flip, scales }),
        }
    }

    /// Labels a whole photo (RGB, row by row).
    pub fn label(
        &self,
        network: &Network,
        native_side: Option<u32>,
        rgb: &[u8],
        width: usize,
        height: usize,
    ) -> Result<Vec<u8>> {
        self.probabilities(network, native_side, rgb, width, height).and_then(|mean| labels(&mean, width, height))
    }

    /// The sum of the views' probabilities, 1 x classes x height x width.
    pub fn probabilities(
        &self,
        network: &Network,
        native_side: Option<u32>,
        rgb: &[u8],
        width: usize,
        height: usize,
    ) -> Result<Tensor> {
        let _guard = tch::no_grad_guard();
        let mut image = vec![0.0; 3 * height * width];
        normalise_whole(rgb, width, height, &network.spec.backbone.normalise(), height, width, &mut image);
        let size = [height as i64, width as i64];
        let image =
            Tensor::f_from_slice(&image)?.f_view([1, 3, size[0], size[1]])?.f_to_device(network.graph.device)?;
        let working = working_size(native_side, height, width).unwrap_or([height, width]);
        let mut sum: Option<Tensor> = None;
        for scale in &self.scales {
            let [h, w] = working.map(|side| ((side as f64 * scale).round() as i64).max(1));
            let scaled = if [h, w] == size {
                image.shallow_clone()
            } else {
                image.f_upsample_bilinear2d([h, w], false, None, None)?
            };
            for flip in [false, true].into_iter().take(1 + usize::from(self.flip)) {
                let mirrored = |tensor: &Tensor| if flip { tensor.f_flip([3]) } else { Ok(tensor.shallow_clone()) };
                let padding = [w, h].map(|side| (side as usize).next_multiple_of(Network::STRIDE) as i64 - side);
                let input = mirrored(&scaled)?.f_constant_pad_nd([0, padding[0], 0, padding[1]])?;
                let scores = network.graph.forward(&channels_last(&input), false)?;
                let scores = mirrored(&scores.f_narrow(2, 0, h)?.f_narrow(3, 0, w)?)?;
                let mut chances = scores.f_softmax(1, Kind::Float)?;
                if [h, w] != size {
                    chances = chances.f_upsample_bilinear2d(size, false, None, None)?;
                }
                sum = Some(match sum {
                    Some(sum) => sum.f_add(&chances)?,
                    None => chances,
                });
            }
        }
        sum.ok_or_else(|| Error::new("no view was asked for"))
    }
}

fn is_onnx(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "onnx")
}

/// libfcn on the CPU: libtorch's CUDA and ONNX Runtime's CUDA conflict in one process.
fn cpu() -> fcn::Options {
    let mut options = fcn::Options::default();
    options.provider = Provider::Cpu;
    options
}

/// The height and width to which a photo is resampled for a network; `None` if it is padded.
fn working_size(native_side: Option<u32>, height: usize, width: usize) -> Option<[usize; 2]> {
    let working = fcn::native_size(fcn::Size { width, height }, native_side?, Network::STRIDE)?;
    Some([working.height, working.width])
}

/// A whole photo (RGB, row by row) as the network's input: normalised, and either padded with the
/// mean colour at the right and bottom to multiples of 32, or resampled to its native side. The
/// same as libfcn's size mode auto.
pub fn input(network: &Network, native_side: Option<u32>, rgb: &[u8], width: usize, height: usize) -> Result<Tensor> {
    if let Some([h, w]) = working_size(native_side, height, width) {
        let mut image = vec![0.0; 3 * height * width];
        normalise_whole(rgb, width, height, &network.spec.backbone.normalise(), height, width, &mut image);
        let image = Tensor::f_from_slice(&image)?.f_view([1, 3, height as i64, width as i64])?;
        let image = image.f_upsample_bilinear2d([h as i64, w as i64], false, None, None)?;
        return Ok(channels_last(&image.f_to_device(network.graph.device)?));
    }
    let (h, w) = (height.next_multiple_of(Network::STRIDE), width.next_multiple_of(Network::STRIDE));
    let mut image = vec![0.0; 3 * h * w];
    let normalise: Normalisation = network.spec.backbone.normalise();
    normalise_whole(rgb, width, height, &normalise, h, w, &mut image);
    let image = Tensor::f_from_slice(&image)?.f_view([1, 3, h as i64, w as i64])?.f_to_device(network.graph.device)?;
    Ok(channels_last(&image))
}

/// Labels a whole photo (RGB, row by row).
pub fn label(network: &Network, native_side: Option<u32>, rgb: &[u8], width: usize, height: usize) -> Result<Vec<u8>> {
    labels(&scores(network, native_side, rgb, width, height)?, width, height)
}

/// The scores of a whole photo, possibly with padding at the right and bottom.
fn scores(network: &Network, native_side: Option<u32>, rgb: &[u8], width: usize, height: usize) -> Result<Tensor> {
    let image = input(network, native_side, rgb, width, height)?;
    let mut scores = no_grad(|| network.graph.forward(&image, false))?;
    if working_size(native_side, height, width).is_some() {
        scores = scores.f_upsample_bilinear2d([height as i64, width as i64], false, None, None)?;
    }
    Ok(scores)
}

/// The argmax of each pixel in the top left `width` x `height`.
fn labels(scores: &Tensor, width: usize, height: usize) -> Result<Vec<u8>> {
    let labels = scores.f_argmax(1, false)?.f_narrow(1, 0, height as i64)?.f_narrow(2, 0, width as i64)?;
    let labels = labels.f_to_kind(Kind::Uint8)?.f_to_device(Device::Cpu)?.f_contiguous()?;
    let mut bytes = vec![0; width * height];
    labels.f_copy_data_u8(&mut bytes, width * height)?;
    Ok(bytes)
}

/// Reads photo `index` of a data set with the truth used for counting.
pub fn read(dataset: &Dataset, index: usize, void_is_background: bool) -> Result<Sample> {
    let mut sample = dataset.read(index)?;
    if void_is_background {
        void_to_background(&mut sample.mask, dataset.classes());
    }
    Ok(sample)
}

/// The class of void pixels if they count as background: class 0 if no class has such a name.
pub fn background_or_first(classes: &[Class]) -> u8 {
    background(classes).unwrap_or(0)
}

/// Sets void pixels to the background class.
pub fn void_to_background(mask: &mut [u8], classes: &[Class]) {
    let background = background_or_first(classes);
    for label in mask {
        if *label == VOID {
            *label = background;
        }
    }
}
