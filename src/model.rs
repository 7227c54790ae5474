//! What is known of a model: read from its file and its card, completed by the options.

use std::sync::Arc;

use prost::bytes::Bytes;

use crate::{
    Error, Options, Result, SizeMode,
    head::Upsampling,
    onnx::{self, ImageInput, ModelCard, Tail, types::ModelProto},
    palette::{Class, voc_color},
    preprocess::Normalise,
    runtime::OutputKind,
};

/// The stride of networks that do not tell theirs.
const DEFAULT_STRIDE: usize = 32;

/// Rows and columns of tiles for networks that do not tell what they were trained on: the chapter's crop.
const DEFAULT_TILE: [u32; 2] = [320, 480];

/// A model file, checked and changed to what ONNX Runtime is to run.
pub(crate) struct PreparedModel {
    /// The network up to its last upsampling.
    pub(crate) network: ModelProto,
    /// The whole network.
    whole: ModelProto,
    input: ImageInput,
    tail: Tail,
    card: Option<ModelCard>,
    normalise: Normalise,
}

/// Everything that a frame needs to know of the network.
pub(crate) struct Model {
    pub(crate) classes: Vec<Class>,
    pub(crate) card: Option<ModelCard>,
    pub(crate) stride: usize,
    pub(crate) normalise: Normalise,
    pub(crate) upsampling: Upsampling,
    pub(crate) answers_labels: bool,
    /// Height and width, where the network takes only one size.
    fixed: Option<(usize, usize)>,
}

impl Model {
    /// Parses a model file, refuses what is unsafe, restores quantized weights, and cuts off the last upsampling.
    pub(crate) fn prepare(file: &Arc<[u8]>, options: &Options) -> Result<PreparedModel> {
        let mut model = onnx::parse_shared(Bytes::from_owner(Arc::clone(file)))?;
        let card = ModelCard::of(&model)?;
        let graph = model.graph.as_mut().ok_or_else(|| Error::Model("the model has no graph".into()))?;
        let input = onnx::image_input(graph)?;
        onnx::dequantize_weights(graph)?;
        let whole = model.clone();
        let graph = model.graph.as_mut().ok_or_else(|| Error::Model("the model has no graph".into()))?;
        let tail = onnx::cut(graph)?;
        if let (Some(card), Some(names)) = (&card, &options.class_names)
            && card.classes.len() != names.len()
        {
            return Err(Error::InvalidArgument(format!(
                "{} class names are given, but the model card lists {} classes",
                names.len(),
                card.classes.len()
            )));
        }
        let normalise = normalise(card.as_ref(), options);
        Ok(PreparedModel { network: model, whole, input, tail, card, normalise })
    }

    /// The size of the network's input that holds a frame of this size.
    pub(crate) fn padded(&self, height: usize, width: usize) -> Result<(usize, usize)> {
        match self.fixed {
            Some((rows, columns)) if height > rows || width > columns => Err(Error::InvalidArgument(format!(
                "the frame of {width} x {height} pixels is larger than the {columns} x {rows} that the model takes; choose \
                 the size mode resize or tile"
            ))),
            Some(fixed) => Ok(fixed),
            None => Ok(self.rounded_up((height, width))),
        }
    }

    /// The size of the network's input that is next to `size`: multiples of the stride, or the only one there is.
    pub(crate) fn rounded_up(&self, size: (usize, usize)) -> (usize, usize) {
        self.fixed.unwrap_or((size.0.next_multiple_of(self.stride), size.1.next_multiple_of(self.stride)))
    }

    /// The size mode asked for, completed and checked, or the default.
    pub(crate) fn size_mode(&self, asked: Option<SizeMode>) -> Result<SizeMode> {
        let Some(mode) = asked else {
            return Ok(match self.fixed {
                Some(_) => SizeMode::Resize { width: 0, height: 0 },
                None => SizeMode::Pad,
            });
        };
        let SizeMode::Tile { width, height, overlap } = mode else { return Ok(mode) };
        if self.answers_labels {
            return Err(Error::InvalidArgument(
                "the model answers class indices, which cannot be averaged over tiles; choose the size mode pad or resize"
                    .into(),
            ));
        }
        if self.fixed.is_some() {
            return Err(Error::InvalidArgument(
                "the model takes one size only, so frames cannot be covered by tiles of others; choose the size mode resize"
                    .into(),
            ));
        }
        let [rows, columns] = self.card.as_ref().map_or(DEFAULT_TILE, |card| card.training_crop);
        let (width, height) = (if width == 0 { columns } else { width }, if height == 0 { rows } else { height });
        let least = width.min(height);
        if overlap >= least.max(1) {
            return Err(Error::InvalidArgument(format!(
                "tiles of {width} x {height} pixels cannot share {overlap}; the overlap must be less than {least}"
            )));
        }
        Ok(SizeMode::Tile { width, height, overlap })
    }

    /// Whether the network answers as many scores for a pixel as there are classes.
    pub(crate) fn expect_classes(&self, channels: usize) -> Result<()> {
        if channels == self.classes.len() {
            return Ok(());
        }
        Err(Error::Model(format!(
            "the network answers {channels} scores for each pixel, but there are {} classes",
            self.classes.len()
        )))
    }
}

impl PreparedModel {
    /// The network as it is best for a GPU, where it can be put into that form.
    pub(crate) fn on_device(&self) -> Option<ModelProto> {
        // Only of networks whose end is known it is sure that they score every pixel of their input.
        if self.tail == Tail::Whole {
            return None;
        }
        let (scale, offset) = self.normalise.factors();
        onnx::on_device(&self.whole, &self.input.name, scale, offset)
    }

    /// Puts together what the file, the session and the options say.
    pub(crate) fn finish(self, output: OutputKind, options: &Options) -> Result<Model> {
        let PreparedModel { input, tail, card, normalise, .. } = self;
        let channels = match output {
            OutputKind::Scores { channels } => channels,
            OutputKind::Labels => None,
        };
        if let Some(count @ (0 | 1 | 256..)) = channels {
            return Err(Error::Model(format!(
                "the network answers {count} scores for each pixel; networks of 2 to 255 classes can be used"
            )));
        }
        let named = |names: &Vec<String>| {
            let colors = |index: usize| {
                let class = card.as_ref().and_then(|card| card.classes.get(index));
                class.map_or(voc_color(index as u8), |class| class.color)
            };
            names.iter().enumerate().map(|(i, name)| Class { name: name.clone(), color: colors(i) }).collect::<Vec<_>>()
        };
        let numbered = |count| {
            let class = |index| Class { name: format!("class {index}"), color: voc_color(index as u8) };
            (0..count).map(class).collect()
        };
        let classes = match (&options.class_names, &card, channels) {
            (Some(names), _, _) => named(names),
            (None, Some(card), _) => card.classes.clone(),
            (None, None, Some(count)) => numbered(count),
            (None, None, None) => {
                return Err(Error::Model(
                    "the model does not tell how many classes it has; give their names in the option class_names"
                        .into(),
                ));
            }
        };
        let stride = card.as_ref().map_or(DEFAULT_STRIDE, |card| card.stride as usize);
        let fixed = input.height.zip(input.width);
        let model = Model {
            normalise,
            upsampling: Upsampling::new(tail, classes.len()),
            answers_labels: output == OutputKind::Labels,
            classes,
            card,
            stride,
            fixed,
        };
        channels.map_or(Ok(()), |channels| model.expect_classes(channels))?;
        Ok(model)
    }
}

/// The options' mean and std before the card's before none at all (values of 0 to 1).
fn normalise(card: Option<&ModelCard>, options: &Options) -> Normalise {
    let channels = match card {
        Some(card) if card.channels == "bgr" => [2, 1, 0],
        _ => [0, 1, 2],
    };
    // Options give red, green, blue; the card gives the network's own order.
    let ordered = |rgb: [f32; 3]| channels.map(|channel| rgb[channel]);
    let mean = options.mean.map(ordered).or(card.map(|card| card.mean)).unwrap_or([0.0; 3]);
    let std = options.std.map(ordered).or(card.map(|card| card.std)).unwrap_or([1.0; 3]);
    Normalise::new(mean, std, channels)
}
