//! A model's properties: from its file and its card, completed by the options.

mod assumed;

use assumed::{Known, assumptions};

use crate::{
    ChannelOrder, Error, MAX_SIDE, Options, Result, Size, SizeMode, TensorLayout,
    head::{Fit, Upsampling, WorkingSize},
    onnx::{self, AdaptedInput, Epilogue, Hints, ModelCard, PixelValues, Tail, TrialRun, types::ModelProto},
    palette::{self, Class, voc_color},
    preprocess::Normaliser,
    runtime::{Answer, Call, OutputKind, SessionNetwork},
    working_size,
};

/// The maximum number of pixels of one run: 33.5 million, enough for 7680 x 4320.
pub(crate) const MAX_RUN_PIXELS: usize = 1 << 25;

/// The default class names of a network for two classes.
const BINARY: [&str; 2] = ["background", "foreground"];

/// The stride of networks without a model card.
const DEFAULT_STRIDE: usize = 32;

/// Rows and columns of tiles for networks without a model card: the chapter's crop.
const DEFAULT_TILE: [u32; 2] = [320, 480];

/// A model file, validated and rewritten for ONNX Runtime.
pub(crate) struct PreparedModel {
    /// The network up to its last upsampling.
    pub(crate) network: ModelProto,
    /// The whole network, if it differs from `network`.
    whole: Option<ModelProto>,
    input: AdaptedInput,
    kind: PixelValues,
    /// The number of scores per pixel, if the file declares it.
    channels: Option<usize>,
    tail: Tail,
    card: Option<ModelCard>,
    /// The class names in the metadata of a file without a card.
    names: Option<Vec<String>>,
    normalise: Normaliser,
    /// Assumptions about the model, one phrase each.
    pub(crate) assumed: Vec<String>,
}

/// The properties of a network that processing a frame depends on.
pub(crate) struct Model {
    pub(crate) classes: Vec<Class>,
    /// The class that overlays leave transparent.
    pub(crate) background: Option<u8>,
    pub(crate) card: Option<ModelCard>,
    pub(crate) stride: usize,
    pub(crate) normalise: Normaliser,
    pub(crate) upsampling: Upsampling,
    pub(crate) answers_labels: bool,
    /// The native side from the options or else the card: see [`ModelCard::native_side`].
    pub(crate) native_side: Option<u32>,
    /// The input's width and height, if the model fixes them.
    fixed_width: Option<usize>,
    fixed_height: Option<usize>,
}

impl Model {
    /// The factor on scores in the softmax of confidences: see [`ModelCard::temperature`].
    pub(crate) fn sharpness(&self) -> f32 {
        self.card.as_ref().and_then(|card| card.temperature).map_or(1.0, f32::recip)
    }

    /// Dequantizes weights, converts input and output to the one form that `preprocess` and `head`
    /// expect, and cuts off the last upsampling.
    ///
    /// `run` runs a network once if the file does not declare a shape that is needed.
    pub(crate) fn prepare(mut model: ModelProto, options: &Options, run: &mut TrialRun<'_>) -> Result<PreparedModel> {
        let card = ModelCard::of(&model)?;
        let metadata_names = onnx::metadata_names(&model);
        if let (Some(card), Some(names)) = (&card, &options.class_names)
            && card.classes.len() != names.len()
        {
            return Err(Error::InvalidArgument(format!(
                "{} class names are given, but the model card lists {} classes",
                names.len(),
                card.classes.len()
            )));
        }
        // Models with a card come from the trainer, which writes NCHW.
        let usual = card.as_ref().map(|_| TensorLayout::Nchw);
        if card.is_some() && options.multilabel.is_some() {
            return Err(Error::InvalidArgument(
                "the option multilabel adds the class background, but the model card already lists all classes".into(),
            ));
        }
        // The network has no score for the background that the option adds. With two classes, a
        // single score is enough with or without the option.
        let named = |names: usize| if options.multilabel.is_some() && names > 2 { names - 1 } else { names };
        let names = options.class_names.as_ref().map(|names| named(names.len()));
        let hints = Hints {
            output: options.output.as_deref(),
            layout: options.output_layout,
            classes: names.or(card.as_ref().map(|card| card.classes.len())),
            usual,
        };
        let graph = model.graph.as_mut().ok_or_else(|| Error::Model("the model has no graph".into()))?;
        onnx::hoist_constants(graph);
        let input = onnx::image_input(graph, options.input_layout, usual)?;
        if let Some(side) = [input.height, input.width].into_iter().flatten().find(|side| *side > MAX_SIDE as usize) {
            return Err(Error::Model(format!(
                "the model's input has a side of {side} pixels; at most {MAX_SIDE} are supported, \
                 so export the model for smaller images or for any size"
            )));
        }
        if let (Some(height), Some(width)) = (input.height, input.width)
            && height.saturating_mul(width) > MAX_RUN_PIXELS
        {
            return Err(Error::Model(format!(
                "the model's input is {width} x {height} pixels; at most {MAX_RUN_PIXELS} pixels \
                 are supported, so export the model for smaller images or for any size"
            )));
        }
        onnx::dequantize_weights(graph)?;
        let outputs = graph.output.len();
        let form = onnx::choose_output(&mut model, &input, &hints, run)?;
        let output = model.graph.as_ref().and_then(|graph| graph.output.first()).map_or("", |output| output.name());
        let known = Known { card: card.as_ref(), options, input: &input, form, output: (output, outputs) };
        let mut assumed = assumptions(&known);
        let Epilogue { mut kind, mut channels, short: mut network, mut whole, tail, sigmoids } =
            onnx::end(model, form, &input, options.probabilities, options.multilabel)?;
        if sigmoids && card.is_none() && options.multilabel.is_none() {
            assumed.push(
                "each pixel has the class with the highest sigmoid, even if that is low (option multilabel)".into(),
            );
        }
        if kind == (PixelValues::Labels { binary: false }) && hints.classes.is_none() {
            (kind, channels) = onnx::label_classes(&network, &input, run)?;
        }
        let mut adapted = None;
        for graph in std::iter::once(&mut network).chain(&mut whole).filter_map(|model| model.graph.as_mut()) {
            adapted = Some(input.adapt(graph));
        }
        let input = adapted.ok_or_else(|| Error::Internal("the graph is missing".into()))?;
        let normalise = normalise(card.as_ref(), &input, options)?;
        let names = metadata_names.filter(|_| card.is_none() && options.class_names.is_none());
        if names.is_some() {
            assumed.push("class names from the file's metadata, if there is one for each class".into());
        }
        Ok(PreparedModel { network, whole, input, kind, channels, tail, card, names, normalise, assumed })
    }

    /// The size of the network's input that a frame of this size is padded to.
    pub(crate) fn padded(&self, frame: Size) -> Result<Size> {
        let padded = self.rounded_up(frame);
        if frame.width > padded.width || frame.height > padded.height {
            return Err(Error::InvalidArgument(format!(
                "the frame of {frame} pixels is larger than the model's input of {padded}; choose the size mode resize"
            )));
        }
        Ok(padded)
    }

    /// The size of the network's input closest to `size`: multiples of the stride, or the size that
    /// the model fixes.
    pub(crate) fn rounded_up(&self, size: Size) -> Size {
        let side = |fixed: Option<usize>, side: usize| fixed.unwrap_or(side.next_multiple_of(self.stride));
        Size::new(side(self.fixed_width, size.width), side(self.fixed_height, size.height))
    }

    /// Whether the model fixes its input's height or width.
    fn is_fixed(&self) -> bool {
        self.fixed_width.is_some() || self.fixed_height.is_some()
    }

    /// The size of the network's input for a frame of this size in one run, and how the frame is
    /// fitted to it.
    pub(crate) fn working_size(&self, mode: SizeMode, frame: Size) -> Result<WorkingSize> {
        let pick = |asked: u32, own: usize| if asked == 0 { own } else { asked as usize };
        let resampled = |size| Ok(WorkingSize { size: self.rounded_up(size), fit: Fit::Resample });
        let native = |side| working_size::native(frame, side, self.stride);
        match mode {
            SizeMode::Resize { width, height } => {
                resampled(Size::new(pick(width, frame.width), pick(height, frame.height)))
            }
            SizeMode::ShortSide(pixels) => resampled(working_size::short_side(frame, pixels, self.stride)),
            SizeMode::Auto if let Some(size) = self.native_side.and_then(native) => resampled(size),
            SizeMode::Auto | SizeMode::Pad | SizeMode::Tile { .. } => {
                Ok(WorkingSize { size: self.padded(frame)?, fit: Fit::Crop })
            }
        }
    }

    /// The requested or default size mode, completed and checked.
    pub(crate) fn size_mode(&self, asked: Option<SizeMode>) -> Result<SizeMode> {
        let mode = asked.unwrap_or(SizeMode::Auto);
        if mode == SizeMode::Auto && self.is_fixed() {
            return Ok(SizeMode::Resize { width: 0, height: 0 });
        }
        let SizeMode::Tile { width, height, overlap } = mode else { return Ok(mode) };
        if self.answers_labels {
            return Err(Error::InvalidArgument(
                "the model outputs class indices, which cannot be averaged over tiles; choose the \
                 size mode pad or resize"
                    .into(),
            ));
        }
        if self.is_fixed() {
            return Err(Error::InvalidArgument(
                "the model takes one size only, so frames cannot be tiled; choose the size mode resize".into(),
            ));
        }
        let [rows, columns] = self.card.as_ref().map_or(DEFAULT_TILE, |card| card.training_crop);
        let (width, height) = (if width == 0 { columns } else { width }, if height == 0 { rows } else { height });
        let least = width.min(height);
        if overlap >= least.max(1) {
            return Err(Error::InvalidArgument(format!(
                "tiles of {width} x {height} pixels cannot overlap by {overlap}; the overlap must \
                 be less than {least}"
            )));
        }
        Ok(SizeMode::Tile { width, height, overlap })
    }

    /// Fails unless the network outputs one score per class.
    pub(crate) fn expect_classes(&self, channels: usize) -> Result<()> {
        if channels == self.classes.len() {
            return Ok(());
        }
        Err(Error::Model(format!(
            "the network outputs {channels} scores per pixel, but there are {} classes",
            self.classes.len()
        )))
    }
}

impl PreparedModel {
    /// The network in the form for GPUs, if it can be converted.
    pub(crate) fn on_device(&self) -> Option<ModelProto> {
        // Only a network whose epilogue was recognised is sure to score every pixel of its input.
        let whole = self.whole.as_ref()?;
        let (scale, offset) = self.normalise.factors();
        onnx::on_device(whole, (&self.input.name, self.channels?), scale, offset)
    }

    /// Runs the network once if that is needed to find the number of classes, or to check that the
    /// part cut off upsamples scores to the size of the input, as the head does. Returns whether it
    /// does. Always true for models with a card.
    pub(crate) fn try_out<'a>(
        &mut self,
        network: &mut SessionNetwork,
        call: &mut dyn FnMut() -> Result<Call<'a>>,
    ) -> Result<bool> {
        let factor = self.tail.factor().filter(|_| self.card.is_none());
        let told = match network.output_kind()? {
            OutputKind::Scores { channels } => channels.or(self.channels).is_some(),
            OutputKind::Labels => true,
        };
        if factor.is_none() && told {
            return Ok(true);
        }
        for size in onnx::trial_sizes(self.input.height, self.input.width) {
            network.input(size)?.fill(0.0);
            let scores = network.run(&call()?, |answer| match answer {
                Answer::Scores(scores) => Ok(Some((scores.channels, scores.size))),
                Answer::Labels { .. } => Ok(None),
            });
            match scores {
                Ok(scores) => {
                    self.channels = self.channels.or(scores.map(|(channels, _)| channels));
                    let reached = |factor| {
                        scores.is_some_and(|(_, own)| Size::new(own.width * factor, own.height * factor) == size)
                    };
                    return Ok(factor.is_none_or(reached));
                }
                // The network may accept another size.
                Err(Error::Runtime(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(factor.is_none())
    }

    /// Undoes the cut of the last upsampling.
    pub(crate) fn uncut(&mut self) {
        if let Some(whole) = self.whole.take() {
            (self.tail, self.network) = (Tail::Whole, whole);
        }
    }

    /// Combines the properties from the file, the session and the options.
    pub(crate) fn finish(self, output: OutputKind, options: &Options) -> Result<Model> {
        let PreparedModel { input, kind, channels: declared, tail, card, names: metadata_names, normalise, .. } = self;
        let channels = match output {
            OutputKind::Scores { channels } => channels.or(declared),
            OutputKind::Labels => declared,
        };
        if let Some(count @ (0 | 1 | 256..)) = channels {
            return Err(Error::Model(format!("the network has {count} classes; 2 to 255 are supported")));
        }
        let binary = matches!(kind, PixelValues::Foreground | PixelValues::Labels { binary: true });
        if let Some(count) = options.class_names.as_ref().map(Vec::len).filter(|count| binary && *count != 2) {
            return Err(Error::InvalidArgument(format!(
                "{count} class names are given, but the network has two classes"
            )));
        }
        let named = |names: &Vec<String>| {
            let colors = |index: usize| {
                let class = card.as_ref().and_then(|card| card.classes.get(index));
                class.map_or(voc_color(index as u8), |class| class.color)
            };
            names.iter().enumerate().map(|(i, name)| Class { name: name.clone(), color: colors(i) }).collect::<Vec<_>>()
        };
        let multilabel = options.multilabel.is_some();
        let numbered = |count| {
            let class = |index| {
                let name = if multilabel && index == 0 { BINARY[0].into() } else { format!("class {index}") };
                Class { name, color: voc_color(index as u8) }
            };
            (0..count).map(class).collect()
        };
        // The option multilabel adds the background.
        let background = multilabel.then(|| BINARY[0].to_owned());
        let metadata_names = metadata_names.map(|names| background.into_iter().chain(names).collect::<Vec<_>>());
        let fitting = metadata_names.filter(|names| match channels {
            _ if binary => names.len() == 2,
            Some(count) => names.len() == count,
            None => (2..=255).contains(&names.len()),
        });
        let mut classes = match (options.class_names.as_ref().or(fitting.as_ref()), &card, channels) {
            (Some(names), _, _) => named(names),
            (None, Some(card), _) => card.classes.clone(),
            (None, None, _) if binary => named(&BINARY.map(String::from).to_vec()),
            (None, None, Some(count)) => numbered(count),
            (None, None, None) => {
                return Err(Error::Model(
                    "the model does not declare its number of classes; set their names with the \
                     option class_names"
                        .into(),
                ));
            }
        };
        let background = match &card {
            Some(card) => card.background.or_else(|| palette::background(&classes)),
            None if multilabel => Some(0),
            None => palette::background(&classes[..1]),
        };
        if let Some(palette) = options.palette {
            palette.color(&mut classes, background)?;
        }
        let stride = card.as_ref().map_or(DEFAULT_STRIDE, |card| card.stride as usize);
        let model = Model {
            normalise,
            upsampling: Upsampling::new(tail, classes.len())?,
            answers_labels: output == OutputKind::Labels,
            classes,
            background,
            native_side: options.native_side.or(card.as_ref().and_then(|card| card.native_side)),
            card,
            stride,
            fixed_width: input.width,
            fixed_height: input.height,
        };
        channels.map_or(Ok(()), |channels| model.expect_classes(channels))?;
        Ok(model)
    }
}

/// Mean and std from the options, or else the card, or else none (values of 0 to 1). Bytes are
/// passed on unchanged.
fn normalise(card: Option<&ModelCard>, input: &AdaptedInput, options: &Options) -> Result<Normaliser> {
    let order = options.channel_order.unwrap_or(match card {
        Some(card) if card.channels == "bgr" => ChannelOrder::Bgr,
        _ => ChannelOrder::Rgb,
    });
    let channels = match order {
        // The conversion to grey takes RGB.
        _ if input.grey => [0, 1, 2],
        ChannelOrder::Rgb => [0, 1, 2],
        ChannelOrder::Bgr => [2, 1, 0],
    };
    let Options { scale, mean, std, .. } = options;
    if input.bytes {
        if scale.is_some() || mean.is_some() || std.is_some() {
            return Err(Error::InvalidArgument(
                "the model takes bytes (uint8) and normalises them itself, but scale, mean or std are given".into(),
            ));
        }
        // Adding a half turns truncation into rounding.
        let half = if input.truncates { 0.5 } else { 0.0 };
        return Ok(Normaliser::new(Some(1.0), [-half; 3], [1.0; 3], channels));
    }
    // Options are in the order RGB, the card in the network's own order.
    let ordered = |rgb: [f32; 3]| if input.grey { [rgb[0]; 3] } else { channels.map(|channel| rgb[channel]) };
    let mean = mean.map(ordered).or(card.map(|card| card.mean)).unwrap_or([0.0; 3]);
    let std = std.map(ordered).or(card.map(|card| card.std)).unwrap_or([1.0; 3]);
    Ok(Normaliser::new(*scale, mean, std, channels))
}
