//! Nodes and constants of an ONNX graph under construction.

use fcn::onnx::build;
use fcn::onnx::types::tensor_proto::DataType;
use fcn::onnx::types::{AttributeProto, NodeProto, TensorProto};
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::model::attention::LinearAttention;
use crate::model::graph::{Conv, ConvTranspose, MaxPool, Padding};

/// How a weight tensor is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WeightFormat {
    /// As float32.
    Full,
    /// As int8 with one scale per output channel, and a DequantizeLinear.
    Compact,
    /// As float16.
    Half,
}

#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) nodes: Vec<NodeProto>,
    pub(super) constants: Vec<TensorProto>,
}

impl Writer {
    pub(super) fn node(
        &mut self,
        operator: &str,
        inputs: &[&str],
        output: &str,
        attributes: Vec<AttributeProto>,
    ) -> String {
        self.nodes.push(build::node(operator, inputs, output, attributes));
        output.to_owned()
    }

    pub(super) fn conv(&mut self, conv: &Conv, weights: WeightFormat, input: &str, output: &str) -> Result<String> {
        let weight = self.weight(&format!("{}.weight", conv.name), &conv.weight, weights, 0)?;
        let bias = self.bias(&conv.name, conv.bias.as_ref(), weights)?;
        let inputs: Vec<&str> = [input, &weight].into_iter().chain(bias.as_deref()).collect();
        Ok(self.node("Conv", &inputs, output, conv_attributes(conv)))
    }

    pub(super) fn conv_transpose(
        &mut self,
        up: &ConvTranspose,
        weights: WeightFormat,
        input: &str,
        output: &str,
    ) -> Result<String> {
        let kernel = up.weight.size()[2];
        let attributes = vec![
            build::ints("kernel_shape", &[kernel, kernel]),
            build::ints("strides", &[up.stride, up.stride]),
            build::ints("pads", &[up.padding; 4]),
        ];
        let weight = self.weight(&format!("{}.weight", up.name), &up.weight, weights, 1)?;
        let bias = self.bias(&up.name, up.bias.as_ref(), weights)?;
        let inputs: Vec<&str> = [input, &weight].into_iter().chain(bias.as_deref()).collect();
        Ok(self.node("ConvTranspose", &inputs, output, attributes))
    }

    pub(super) fn max_pool(&mut self, pool: &MaxPool, input: &str, output: &str) -> String {
        let attributes = vec![
            build::ints("kernel_shape", &[pool.kernel; 2]),
            build::ints("strides", &[pool.stride; 2]),
            build::ints("pads", &[pool.padding; 4]),
        ];
        self.node("MaxPool", &[input], output, attributes)
    }

    /// Repeats every pixel twice in each direction, with constant factors shared by all such nodes.
    pub(super) fn double(&mut self, input: &str, output: &str) -> String {
        if self.constants.iter().all(|tensor| tensor.name() != "double") {
            self.constants.push(build::floats("double", &[4], &[1.0, 1.0, 2.0, 2.0]));
        }
        let attributes = vec![
            build::string("coordinate_transformation_mode", "asymmetric"),
            build::string("mode", "nearest"),
            build::string("nearest_mode", "floor"),
        ];
        self.node("Resize", &[input, "", "double"], output, attributes)
    }

    /// `min(max(x, 0), 6)`, with constant bounds shared by all such nodes.
    pub(super) fn clip(&mut self, half: bool, input: &str, output: &str) -> String {
        if self.constants.iter().all(|tensor| tensor.name() != "zero") {
            self.constants.extend(if half {
                // The float16 bits of 0 and 6.
                [build::halves("zero", &[], &[0]), build::halves("six", &[], &[0x4600])]
            } else {
                [build::floats("zero", &[], &[0.0]), build::floats("six", &[], &[6.0])]
            });
        }
        self.node("Clip", &[input, "zero", "six"], output, vec![])
    }

    /// Linear attention, computed in float32.
    pub(super) fn linear_attention(
        &mut self,
        attention: LinearAttention,
        half: bool,
        input: &str,
        output: &str,
    ) -> String {
        let LinearAttention { heads, width } = attention;
        let name = |what: &str| format!("{output}.{what}");
        let constants = ["heads", "widths", "keys.axis", "epsilon", "channels"].map(name);
        let [into_heads, widths, pixels, epsilon, channels] = constants.each_ref().map(String::as_str);
        self.constants.extend([
            // 0 keeps N, and -1 is the number of pixels.
            build::int64s(into_heads, &[4], &[0, heads, 3 * width, -1]),
            build::int64s(widths, &[3], &[width; 3]),
            build::int64s(pixels, &[1], &[2]),
            build::floats(epsilon, &[], &[LinearAttention::EPSILON as f32]),
            build::int64s(channels, &[2], &[0, heads * width]),
        ]);
        let input = if half { self.cast(DataType::Float, input, &name("float")) } else { input.to_owned() };
        let parts = self.node("Reshape", &[&input, into_heads], &name("parts"), vec![]);
        let [queries, keys, values] = ["queries", "keys", "values"].map(name);
        let mut split = build::node("Split", &[&parts, widths], &queries, vec![build::int("axis", 2)]);
        split.output.extend([keys.clone(), values.clone()]);
        self.nodes.push(split);
        let queries = self.node("Relu", &[&queries], &name("queries.relu"), vec![]);
        let keys = self.node("Relu", &[&keys], &name("keys.relu"), vec![]);
        let order = vec![build::ints("perm", &[0, 1, 3, 2])];
        let keys = self.node("Transpose", &[&keys], &name("keys.transposed"), order);
        let products = self.node("MatMul", &[&values, &keys], &name("products"), vec![]);
        let sums = self.node("ReduceSum", &[&keys, pixels], &name("sums"), vec![build::int("keepdims", 1)]);
        let total = self.node("MatMul", &[&sums, &queries], &name("similarities"), vec![]);
        let total = self.node("Add", &[&total, epsilon], &name("total"), vec![]);
        let result = self.node("MatMul", &[&products, &queries], &name("weighted"), vec![]);
        let result = self.node("Div", &[&result, &total], &name("mean"), vec![]);
        let sides = self.node("Shape", &[&input], &name("sides"), vec![build::int("start", 2)]);
        let size = self.node("Concat", &[channels, &sides], &name("size"), vec![build::int("axis", 0)]);
        if !half {
            return self.node("Reshape", &[&result, &size], output, vec![]);
        }
        let result = self.node("Reshape", &[&result, &size], &name("result"), vec![]);
        self.cast(DataType::Float16, &result, output)
    }

    pub(super) fn cast(&mut self, to: DataType, input: &str, output: &str) -> String {
        self.node("Cast", &[input], output, vec![build::int("to", to as i64)])
    }

    /// Stores a weight whose output channels are along `axis`.
    fn weight(&mut self, name: &str, tensor: &Tensor, weights: WeightFormat, axis: i64) -> Result<String> {
        match weights {
            WeightFormat::Full => self.floats(name, tensor),
            WeightFormat::Compact => self.int8s(name, tensor, axis),
            WeightFormat::Half => self.halves(name, tensor),
        }
    }

    /// Stores a layer's bias, if it has one.
    fn bias(&mut self, layer: &str, bias: Option<&Tensor>, weights: WeightFormat) -> Result<Option<String>> {
        let name = format!("{layer}.bias");
        bias.map(|bias| match weights {
            WeightFormat::Full | WeightFormat::Compact => self.floats(&name, bias),
            WeightFormat::Half => self.halves(&name, bias),
        })
        .transpose()
    }

    pub(super) fn floats(&mut self, name: &str, tensor: &Tensor) -> Result<String> {
        self.constants.push(build::floats(name, &tensor.size(), &values(tensor)?));
        Ok(name.to_owned())
    }

    fn halves(&mut self, name: &str, tensor: &Tensor) -> Result<String> {
        let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Half)?.f_contiguous()?;
        if !bool::try_from(tensor.f_isfinite()?.f_all()?)? {
            return Err(Error::new(format!(
                "{name} holds values beyond 65504, the largest of float16; export it without --fp16"
            )));
        }
        let mut bits = vec![0i16; tensor.numel()];
        tensor.f_view_dtype(Kind::Int16)?.f_copy_data(&mut bits, tensor.numel())?;
        self.constants.push(build::halves(name, &tensor.size(), &bits));
        Ok(name.to_owned())
    }
}

pub(super) fn conv_attributes(conv: &Conv) -> Vec<AttributeProto> {
    let kernel = conv.weight.size()[2];
    let Padding { before, after } = conv.padding;
    vec![
        build::ints("kernel_shape", &[kernel, kernel]),
        build::ints("strides", &[conv.stride, conv.stride]),
        build::ints("pads", &[before, before, after, after]),
        build::int("group", conv.groups),
    ]
}

/// A tensor's values as float32, row by row.
pub(super) fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()?;
    let mut values = vec![0.0; tensor.numel()];
    tensor.f_copy_data(&mut values, tensor.numel())?;
    Ok(values)
}
