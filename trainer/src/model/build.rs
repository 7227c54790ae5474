//! Adds layers to a [`Graph`] one by one.

use tch::{Device, Kind, Tensor};

use super::attention::LinearAttention;
use super::graph::{BatchNorm, Conv, ConvTranspose, Graph, MaxPool, Node, Op, Padding, Value};
use super::init;

/// PyTorch's epsilon and momentum of batch normalisation.
pub(super) const NORM: (f64, f64) = (1e-5, 0.1);

/// A convolution's shape.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConvolutionShape {
    pub(super) input: i64,
    pub(super) output: i64,
    pub(super) kernel: i64,
    pub(super) stride: i64,
    pub(super) padding: Padding,
    pub(super) groups: i64,
}

impl ConvolutionShape {
    /// With the same padding on all sides, which keeps the size at stride 1.
    pub(super) fn even(input: i64, output: i64, kernel: i64, stride: i64, groups: i64) -> ConvolutionShape {
        ConvolutionShape { input, output, kernel, stride, padding: Padding::even(kernel / 2), groups }
    }
}

/// A backbone's last features at one stride.
#[derive(Debug, Clone, Copy)]
pub struct Feature {
    /// Its value in the graph.
    pub value: Value,
    /// The number of channels.
    pub channels: i64,
}

/// The backbone's features for the head, at strides 4 to 32.
#[derive(Debug, Clone, Copy)]
pub struct Features {
    /// One position per 4 x 4 pixels.
    pub stride4: Feature,
    /// One position per 8 x 8 pixels.
    pub stride8: Feature,
    /// One position per 16 x 16 pixels.
    pub stride16: Feature,
    /// One position per 32 x 32 pixels.
    pub stride32: Feature,
}

#[derive(Debug)]
pub(super) struct Builder {
    nodes: Vec<Node>,
    device: Device,
    /// Epsilon and momentum of all batch normalisations.
    pub(super) norm: (f64, f64),
}

impl Builder {
    pub(super) const IMAGE: Value = Value(0);

    pub(super) fn new(device: Device, norm: (f64, f64)) -> Builder {
        Builder { nodes: Vec::new(), device, norm }
    }

    pub(super) fn device(&self) -> Device {
        self.device
    }

    pub(super) fn finish(self, output: Value) -> Graph {
        let graph = Graph { nodes: self.nodes, output, device: self.device, sync: None };
        graph.mark_learned();
        graph
    }

    /// Appends an operation and returns its value.
    fn push(&mut self, op: Op, inputs: &[Value]) -> Value {
        self.nodes.push(Node { op, inputs: inputs.to_vec() });
        Value(self.nodes.len())
    }

    /// A convolution without bias, as used before batch normalisation.
    pub(super) fn conv(&mut self, input: Value, name: &str, shape: ConvolutionShape) -> Value {
        self.convolve(input, name, shape, None)
    }

    fn convolve(&mut self, input: Value, name: &str, shape: ConvolutionShape, bias: Option<Tensor>) -> Value {
        let ConvolutionShape { stride, padding, groups, .. } = shape;
        let size = [shape.output, shape.input / groups, shape.kernel, shape.kernel];
        let weight = init::he_normal(size, groups, self.device);
        self.push(Op::Conv(Conv { name: name.to_owned(), weight, bias, stride, padding, groups }), &[input])
    }

    /// A convolution with bias, which starts from zero.
    pub(super) fn biased_conv(&mut self, input: Value, name: &str, shape: ConvolutionShape) -> Value {
        let bias = Tensor::zeros([shape.output], (Kind::Float, self.device));
        self.convolve(input, name, shape, Some(bias))
    }

    pub(super) fn batch_norm(&mut self, input: Value, name: &str, channels: i64) -> Value {
        let zeros = || Tensor::zeros([channels], (Kind::Float, self.device));
        let ones = || Tensor::ones([channels], (Kind::Float, self.device));
        let op = Op::BatchNorm(BatchNorm {
            name: name.to_owned(),
            weight: ones(),
            bias: zeros(),
            running_mean: zeros(),
            running_var: ones(),
            eps: self.norm.0,
            momentum: self.norm.1,
            learned: true,
        });
        self.push(op, &[input])
    }

    /// A convolution without bias and its batch normalisation, with their names.
    pub(super) fn conv_norm(&mut self, input: Value, [conv, norm]: [&str; 2], shape: ConvolutionShape) -> Value {
        let x = self.conv(input, conv, shape);
        self.batch_norm(x, norm, shape.output)
    }

    /// A 1 x 1 convolution to the classes, with the given weights and zero biases.
    pub(super) fn score(&mut self, input: Value, name: &str, weight: Tensor) -> Value {
        let bias = Some(Tensor::zeros([weight.size()[0]], (Kind::Float, self.device)));
        let (stride, padding, groups) = (1, Padding::even(0), 1);
        self.push(Op::Conv(Conv { name: name.to_owned(), weight, bias, stride, padding, groups }), &[input])
    }

    /// Upsamples by `stride`: kernel 2 x stride, padding stride / 2.
    pub(super) fn enlarge(&mut self, input: Value, up: Enlarge) -> Value {
        let Enlarge { name, weight, bias, stride, learned } = up;
        let bias = bias.then(|| Tensor::zeros([weight.size()[1]], (Kind::Float, self.device)));
        let name = name.to_owned();
        let padding = stride / 2;
        self.push(Op::ConvTranspose(ConvTranspose { name, weight, bias, stride, padding, learned }), &[input])
    }

    pub(super) fn relu(&mut self, input: Value) -> Value {
        self.push(Op::Relu, &[input])
    }

    pub(super) fn relu6(&mut self, input: Value) -> Value {
        self.push(Op::Relu6, &[input])
    }

    pub(super) fn add(&mut self, a: Value, b: Value) -> Value {
        self.push(Op::Add, &[a, b])
    }

    pub(super) fn hard_swish(&mut self, input: Value) -> Value {
        self.push(Op::HardSwish, &[input])
    }

    pub(super) fn concat(&mut self, a: Value, b: Value) -> Value {
        self.push(Op::Concat, &[a, b])
    }

    pub(super) fn linear_attention(&mut self, input: Value, attention: LinearAttention) -> Value {
        self.push(Op::LinearAttention(attention), &[input])
    }

    pub(super) fn double(&mut self, input: Value) -> Value {
        self.push(Op::Double, &[input])
    }

    pub(super) fn max_pool(&mut self, input: Value, kernel: i64, stride: i64, padding: i64) -> Value {
        self.push(Op::MaxPool(MaxPool { kernel, stride, padding }), &[input])
    }
}

/// A transposed convolution's shape.
#[derive(Debug)]
pub(super) struct Enlarge<'a> {
    pub(super) name: &'a str,
    pub(super) weight: Tensor,
    pub(super) bias: bool,
    pub(super) stride: i64,
    pub(super) learned: bool,
}
