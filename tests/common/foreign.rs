//! Networks in the forms that other exporters write, and their outputs by plain arithmetic.
#![allow(unreachable_pub, dead_code, missing_docs, reason = "each suite takes what it needs")]

use fcn::onnx::{
    TensorLayout,
    build::{self, Dim},
    types::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, tensor_proto::DataType},
};
use ndarray::Array3;
use prost::Message;

use crate::models::random;

/// The epilogue of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "the last dimension is what they tell apart")]
pub enum Last {
    Scores,
    /// N x h x w x C.
    ChannelsLast,
    /// C x h x w.
    NoBatch,
    /// h x w x C.
    NoBatchChannelsLast,
    Softmax,
    LogSoftmax,
    /// N x h x w x C, normalised over the last axis.
    SoftmaxChannelsLast,
    /// As exported before opset 13: between two Transposes.
    SoftmaxBetweenSwaps,
    /// Followed by a node that hides it.
    HiddenSoftmax,
    /// A sigmoid of several classes.
    Sigmoid,
    /// ArgMax to this type, with this rank, 2 to 4.
    ArgMax(DataType, usize),
    /// ArgMax of channels last.
    ArgMaxChannelsLast,
    /// The same, followed by a node that hides it.
    HiddenArgMax(DataType, usize),
    /// One logit: N x 1 x h x w.
    Logit,
    /// N x h x w x 1.
    LogitChannelsLast,
    /// N x h x w.
    LogitNoChannel,
    /// h x w x 1
    LogitNoBatchChannelsLast,
    /// One probability: N x 1 x h x w.
    Probability,
    /// The same, followed by a node that hides it.
    HiddenProbability,
    /// Whether the logit is above 0: bool, N x 1 x h x w.
    Above,
}

/// The upsampling before the epilogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enlarge {
    No,
    /// Resize by scales.
    Scales,
    /// Resize to the sizes of the input, which other nodes reassemble.
    Sizes,
    /// As `Sizes`, in opset 11, with nodes for which ONNX Runtime infers no shape.
    HiddenSizes,
    /// ConvTranspose with a bilinear kernel, per class.
    Transposed,
}

/// A network: a convolution of `stride` x `stride` pixels, an upsampling and an epilogue.
#[derive(Debug, Clone, Copy)]
pub struct Foreign {
    pub layout: TensorLayout,
    pub element: DataType,
    /// 3 or 1.
    pub channels: usize,
    pub size: (Option<i64>, Option<i64>),
    /// Whether a node hides the conversion of bytes to floats.
    pub hidden_bytes: bool,
    /// Whether the dimensions of the output are declared.
    pub told: bool,
    pub classes: usize,
    pub stride: usize,
    pub enlarge: Enlarge,
    pub last: Last,
}

pub const PLAIN: Foreign = Foreign {
    layout: TensorLayout::Nchw,
    element: DataType::Float,
    channels: 3,
    size: (None, None),
    hidden_bytes: false,
    told: true,
    classes: 5,
    stride: 1,
    enlarge: Enlarge::No,
    last: Last::Scores,
};

/// The normalisation of frames.
#[derive(Debug, Clone, Copy)]
pub struct Normal {
    pub scale: f64,
    pub mean: [f64; 3],
    pub std: [f64; 3],
    pub bgr: bool,
}

impl Foreign {
    /// Whether it distinguishes two classes by one number.
    pub fn is_binary(&self) -> bool {
        use Last::*;
        matches!(
            self.last,
            Logit
                | LogitChannelsLast
                | LogitNoChannel
                | LogitNoBatchChannelsLast
                | Probability
                | HiddenProbability
                | Above
        )
    }

    fn outputs(&self) -> usize {
        if self.is_binary() { 1 } else { self.classes }
    }

    fn weights(&self) -> Vec<f32> {
        // Bytes are large numbers.
        let factor = if self.element == DataType::Uint8 { 0.02 } else { 2.0 };
        let count = self.outputs() * self.channels * self.stride * self.stride;
        random(1, count).into_iter().map(|weight| weight * factor / self.stride as f32).collect()
    }

    fn bias(&self) -> Vec<f32> {
        random(2, self.outputs()).into_iter().map(|bias| bias - 0.4).collect()
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.model().encode_to_vec()
    }

    pub fn model(&self) -> ModelProto {
        let Foreign { layout, element, channels, size, stride, enlarge, last, .. } = *self;
        let (outputs, s) = (self.outputs() as i64, stride as i64);
        let mut net = Net { nodes: Vec::new(), weights: Vec::new(), value: "picture".into() };
        let bytes = element == DataType::Uint8;
        if bytes && self.hidden_bytes {
            net.push("Identity", &[], vec![]);
        }
        // Before the cast for some networks and after it for others, so that both orders occur.
        if layout == TensorLayout::Nhwc && bytes {
            net.push("Transpose", &[], vec![build::ints("perm", &[0, 3, 1, 2])]);
        }
        if bytes {
            net.push("Cast", &[], vec![build::int("to", DataType::Float as i64)]);
        }
        if layout == TensorLayout::Nhwc && !bytes {
            net.push("Transpose", &[], vec![build::ints("perm", &[0, 3, 1, 2])]);
        }
        net.weights.extend([
            build::floats("weight", &[outputs, channels as i64, s, s], &self.weights()),
            build::floats("bias", &[outputs], &self.bias()),
        ]);
        let kernel = vec![build::ints("kernel_shape", &[s, s]), build::ints("strides", &[s, s])];
        net.push("Conv", &["weight", "bias"], kernel);
        let linear = || {
            vec![build::string("mode", "linear"), build::string("coordinate_transformation_mode", "pytorch_half_pixel")]
        };
        match enlarge {
            Enlarge::No => {}
            Enlarge::Scales => {
                net.weights.push(build::floats("scales", &[4], &[1.0, 1.0, s as f32, s as f32]));
                net.push("Resize", &["", "scales"], linear());
            }
            Enlarge::Sizes | Enlarge::HiddenSizes => {
                let low = std::mem::replace(&mut net.value, "picture".into());
                let side = |at| if layout == TensorLayout::Nchw { at } else { at - 1 };
                for (name, at) in [("start", side(2)), ("end", side(4)), ("zero", 0), ("two", 2)] {
                    // A constant as a node, as in PyTorch's export.
                    let value = AttributeProto {
                        name: Some("value".into()),
                        r#type: Some(4),
                        t: Some(build::int64s("", &[1], &[at])),
                        ..AttributeProto::default()
                    };
                    net.nodes.push(build::node("Constant", &[], name, vec![value]));
                }
                net.push("Shape", &[], vec![]);
                net.push("Slice", &["start", "end", "zero"], vec![]);
                let sides = std::mem::replace(&mut net.value, low.clone());
                net.push("Shape", &[], vec![]);
                net.push("Slice", &["zero", "two", "zero"], vec![]);
                net.push("Concat", &[&sides], vec![build::int("axis", 0)]);
                if enlarge == Enlarge::HiddenSizes {
                    net.weights.push(build::floats("one", &[1], &[1.0]));
                    net.push("Cast", &[], vec![build::int("to", DataType::Float as i64)]);
                    net.push("Mul", &["one"], vec![]);
                    net.push("Cast", &[], vec![build::int("to", DataType::Int64 as i64)]);
                }
                let sizes = std::mem::replace(&mut net.value, low);
                let mut unused = "";
                if enlarge == Enlarge::HiddenSizes {
                    // Before opset 13 this input is required.
                    net.weights.push(build::floats("unused", &[0], &[]));
                    unused = "unused";
                }
                net.push("Resize", &[unused, unused, &sizes], linear());
            }
            Enlarge::Transposed => {
                let line = |at: usize| 1.0 - (at as f32 - (stride as f32 - 0.5)).abs() / stride as f32;
                let tent = (0..4 * stride * stride).map(|tap| line(tap / (2 * stride)) * line(tap % (2 * stride)));
                let kernel: Vec<f32> = tent.collect::<Vec<_>>().repeat(outputs as usize);
                net.weights.push(build::floats("tent", &[outputs, 1, 2 * s, 2 * s], &kernel));
                net.push(
                    "ConvTranspose",
                    &["tent"],
                    vec![
                        build::ints("kernel_shape", &[2 * s, 2 * s]),
                        build::ints("strides", &[s, s]),
                        build::ints("pads", &[s / 2; 4]),
                        build::int("group", outputs),
                    ],
                );
            }
        }
        let low = |side: Option<i64>, name| match side {
            Some(side) if enlarge == Enlarge::No => Dim::Fixed(side / s),
            Some(side) => Dim::Fixed(side),
            None => Dim::Named(name),
        };
        let (h, w, n, c) = (low(size.0, "h"), low(size.1, "w"), Dim::Named("N"), Dim::Fixed(outputs));
        let (element, dims) = net.end(last, [n, c, h, w]);
        let side = |value: Option<i64>, name| value.map_or(Dim::Named(name), Dim::Fixed);
        let (rows, columns, colours) = (side(size.0, "H"), side(size.1, "W"), Dim::Fixed(channels as i64));
        let input = match layout {
            TensorLayout::Nchw => [n, colours, rows, columns],
            TensorLayout::Nhwc => [n, rows, columns, colours],
        };
        let dims: Vec<Dim> = if self.told { dims } else { dims.iter().map(|_| Dim::Named("x")).collect() };
        let graph = GraphProto {
            name: Some("foreign".into()),
            node: net.nodes,
            initializer: net.weights,
            input: vec![build::value("picture", self.element, &input)],
            output: vec![build::value(&net.value, element, &dims)],
            ..GraphProto::default()
        };
        let mut model = build::model(graph, None);
        if last == Last::SoftmaxBetweenSwaps || enlarge == Enlarge::HiddenSizes {
            model.opset_import[0].version = Some(11);
        }
        model
    }

    /// The convolution's output for an RGB image, in double precision. `height` and `width` are
    /// multiples of the stride.
    pub fn low(&self, rgb: &[u8], height: usize, width: usize, normal: &Normal) -> Array3<f64> {
        let Foreign { channels, stride, .. } = *self;
        let value = |channel: usize, y: usize, x: usize| {
            let pixel = &rgb[3 * (y * width + x)..][..3];
            let byte = match channels {
                1 => 0.299 * f64::from(pixel[0]) + 0.587 * f64::from(pixel[1]) + 0.114 * f64::from(pixel[2]),
                _ => f64::from(pixel[if normal.bgr { 2 - channel } else { channel }]),
            };
            if self.element == DataType::Uint8 {
                return if channels == 1 && self.hidden_bytes { byte.round() } else { byte };
            }
            // Means are in RGB order.
            let rgb = if normal.bgr && channels == 3 { 2 - channel } else { channel };
            (byte * normal.scale - normal.mean[rgb]) / normal.std[rgb]
        };
        let (weights, bias) = (self.weights(), self.bias());
        Array3::from_shape_fn((self.outputs(), height / stride, width / stride), |(class, y, x)| {
            let mut sum = f64::from(bias[class]);
            for channel in 0..channels {
                for dy in 0..stride {
                    for dx in 0..stride {
                        let weight = weights[((class * channels + channel) * stride + dy) * stride + dx];
                        sum += f64::from(weight) * value(channel, y * stride + dy, x * stride + dx);
                    }
                }
            }
            sum
        })
    }

    /// The logits of each class at each pixel of the image.
    pub fn logits(&self, rgb: &[u8], height: usize, width: usize, normal: &Normal) -> Array3<f64> {
        let low = self.low(rgb, height, width, normal);
        let full = match self.enlarge {
            Enlarge::Transposed => self.transposed(&low, height, width),
            _ => bilinear(&low, height, width),
        };
        if !self.is_binary() {
            return full;
        }
        Array3::from_shape_fn((2, height, width), |(class, y, x)| if class == 0 { 0.0 } else { full[[0, y, x]] })
    }

    /// A transposed convolution by its definition: each score is spread over the pixels around it.
    fn transposed(&self, low: &Array3<f64>, height: usize, width: usize) -> Array3<f64> {
        let s = self.stride;
        let line = |at: usize| 1.0 - (at as f64 - (s as f64 - 0.5)).abs() / s as f64;
        let mut full = Array3::zeros((low.dim().0, height, width));
        for ((class, i, j), score) in low.indexed_iter() {
            for (dy, dx) in (0..2 * s).flat_map(|dy| (0..2 * s).map(move |dx| (dy, dx))) {
                let (y, x) = ((i * s + dy).wrapping_sub(s / 2), (j * s + dx).wrapping_sub(s / 2));
                if let Some(sum) = full.get_mut([class, y, x]) {
                    *sum += score * line(dy) * line(dx);
                }
            }
        }
        full
    }
}

/// Bilinear interpolation with half-pixel centres.
pub fn bilinear(source: &Array3<f64>, height: usize, width: usize) -> Array3<f64> {
    let (channels, rows, columns) = source.dim();
    let place = |to: usize, from: usize, at: usize| {
        let position = ((at as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, from as f64 - 1.0);
        (position as usize, (position as usize + 1).min(from - 1), position.fract())
    };
    Array3::from_shape_fn((channels, height, width), |(c, y, x)| {
        let ((y0, y1, v), (x0, x1, u)) = (place(height, rows, y), place(width, columns, x));
        let row = |y: usize| source[[c, y, x0]] * (1.0 - u) + source[[c, y, x1]] * u;
        row(y0) * (1.0 - v) + row(y1) * v
    })
}

/// A graph under construction.
struct Net {
    nodes: Vec<NodeProto>,
    weights: Vec<TensorProto>,
    /// The output of the last node.
    value: String,
}

impl Net {
    /// Appends a node that reads the last output and `others`.
    fn push(&mut self, operator: &str, others: &[&str], attributes: Vec<AttributeProto>) {
        let output = format!("{operator}.{}", self.nodes.len());
        let inputs: Vec<&str> = std::iter::once(&self.value[..]).chain(others.iter().copied()).collect();
        self.nodes.push(build::node(operator, &inputs, &output, attributes));
        self.value = output;
    }

    fn transpose(&mut self, perm: &[i64]) {
        self.push("Transpose", &[], vec![build::ints("perm", perm)]);
    }

    /// Removes an axis of length 1.
    fn squeeze(&mut self, axis: i64) {
        let name = format!("axis.{}", self.nodes.len());
        self.weights.push(build::int64s(&name, &[1], &[axis]));
        self.push("Squeeze", &[&name], vec![]);
    }

    /// Appends a node that libfcn does not recognise.
    fn hide(&mut self) {
        self.push("Clip", &[], vec![]);
    }

    /// Appends the epilogue. Returns the type and the dimensions of the output.
    fn end(&mut self, last: Last, [n, c, h, w]: [Dim; 4]) -> (DataType, Vec<Dim>) {
        let axis = |axis| vec![build::int("axis", axis)];
        let argmax = |axis, keep| vec![build::int("axis", axis), build::int("keepdims", keep)];
        let one = Dim::Fixed(1);
        match last {
            Last::Scores | Last::Logit => {}
            Last::ChannelsLast | Last::LogitChannelsLast => self.transpose(&[0, 2, 3, 1]),
            Last::NoBatch | Last::LogitNoChannel => self.squeeze(if last == Last::NoBatch { 0 } else { 1 }),
            Last::NoBatchChannelsLast | Last::LogitNoBatchChannelsLast => {
                self.squeeze(0);
                self.transpose(&[1, 2, 0]);
            }
            Last::Softmax => self.push("Softmax", &[], axis(1)),
            Last::LogSoftmax => self.push("LogSoftmax", &[], axis(1)),
            Last::SoftmaxChannelsLast => {
                self.transpose(&[0, 2, 3, 1]);
                self.push("Softmax", &[], axis(-1));
            }
            Last::SoftmaxBetweenSwaps => {
                self.transpose(&[0, 3, 2, 1]);
                self.push("Softmax", &[], axis(3));
                self.transpose(&[0, 3, 2, 1]);
            }
            Last::HiddenSoftmax => {
                self.push("Softmax", &[], axis(1));
                self.hide();
            }
            Last::Sigmoid | Last::Probability => self.push("Sigmoid", &[], vec![]),
            Last::HiddenProbability => {
                self.push("Sigmoid", &[], vec![]);
                self.hide();
            }
            Last::ArgMax(element, rank) | Last::HiddenArgMax(element, rank) => {
                self.push("ArgMax", &[], argmax(1, i64::from(rank == 4)));
                if element != DataType::Int64 {
                    self.push("Cast", &[], vec![build::int("to", element as i64)]);
                }
                if rank == 2 {
                    self.squeeze(0);
                }
                if matches!(last, Last::HiddenArgMax(..)) {
                    self.hide();
                }
                let dims = match rank {
                    2 => vec![h, w],
                    3 => vec![n, h, w],
                    _ => vec![n, one, h, w],
                };
                return (element, dims);
            }
            Last::ArgMaxChannelsLast => {
                self.transpose(&[0, 2, 3, 1]);
                self.push("ArgMax", &[], argmax(-1, 0));
                return (DataType::Int64, vec![n, h, w]);
            }
            Last::Above => {
                self.weights.push(build::floats("threshold", &[], &[0.0]));
                self.push("Greater", &["threshold"], vec![]);
                return (DataType::Bool, vec![n, one, h, w]);
            }
        }
        let dims = match last {
            Last::ChannelsLast | Last::SoftmaxChannelsLast | Last::LogitChannelsLast => vec![n, h, w, c],
            Last::NoBatch => vec![c, h, w],
            Last::NoBatchChannelsLast | Last::LogitNoBatchChannelsLast => vec![h, w, c],
            Last::LogitNoChannel => vec![n, h, w],
            _ => vec![n, c, h, w],
        };
        (DataType::Float, dims)
    }
}
