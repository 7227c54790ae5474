//! Quantization in the ONNX graph: which values and weights are stored as integers, and the nodes
//! that convert them.
//!
//! The network computes in integers up to the score layers, a hundredth of the work, which stay in
//! float32. ReLU and ReLU6 are not separate operations: the value before them is stored with the
//! activation's range, which clips the rest.

use fcn::onnx::build;
use tch::Tensor;

use super::rounding::Rounded;
use super::writer::{Writer, conv_attributes, values};
use crate::error::Result;
use crate::model::graph::{Conv, Graph, Op, Value};
use crate::model::is_score;

/// An affine quantization: `(number - zero) * scale`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    /// The step from one number to the next.
    pub(super) scale: f32,
    /// The number for 0.
    pub(super) zero: u8,
}

impl Scale {
    /// Spreads 0 to 255 over a range that contains 0.
    pub(super) fn of(least: f32, most: f32) -> Scale {
        // A value that is always 0 needs a positive scale.
        let scale = if most > least { (most - least) / 255.0 } else { 1.0 };
        Scale { scale, zero: (-least / scale).round() as u8 }
    }
}

/// How a value of the folded network is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueFormat {
    /// As float32.
    Float,
    /// As uint8.
    Int,
    /// Not stored: it goes into the ReLU or ReLU6 that is its only user.
    Inside,
}

/// How each value of a folded graph is stored.
pub(super) fn value_formats(graph: &Graph) -> Vec<ValueFormat> {
    let mut formats = vec![ValueFormat::Int];
    for (index, node) in graph.nodes.iter().enumerate() {
        let inputs_are_integer = node.inputs.iter().all(|input| formats[input.0] != ValueFormat::Float);
        let is_integer = inputs_are_integer
            && match &node.op {
                Op::Conv(conv) => !is_score(&conv.name),
                Op::ConvTranspose(_) | Op::BatchNorm(_) => false,
                Op::Relu | Op::Relu6 | Op::Add | Op::Concat | Op::Double | Op::MaxPool(_) => true,
                // In float32 between stored values.
                Op::HardSwish | Op::LinearAttention(_) => true,
            };
        let computes = matches!(node.op, Op::Conv(_) | Op::Add);
        let limited = matches!(graph.only_user(Value(index + 1)), Some(Op::Relu | Op::Relu6));
        formats.push(match (is_integer, computes && limited) {
            (false, _) => ValueFormat::Float,
            (true, false) => ValueFormat::Int,
            (true, true) => ValueFormat::Inside,
        });
    }
    formats
}

impl Writer {
    /// A convolution with integer input, weights and bias, in the form that ONNX Runtime
    /// recognises: each comes out of a DequantizeLinear.
    pub(super) fn int8_conv(&mut self, conv: &Conv, rounded: &Rounded, input: &str, output: &str) -> String {
        let channels = conv.weight.size()[0];
        let name = |what: &str| format!("{}.{what}", conv.name);
        self.constants.extend([
            build::int8s(&name("weight.int8"), &conv.weight.size(), &rounded.weight),
            build::floats(&name("weight.scale"), &[channels], &rounded.scales),
            build::int8s(&name("weight.zero"), &[channels], &vec![0; rounded.scales.len()]),
            build::int32s(&name("bias.int32"), &[channels], &rounded.bias),
            build::floats(&name("bias.scale"), &[channels], &rounded.bias_scales),
        ]);
        let stored = [name("weight.int8"), name("weight.scale"), name("weight.zero")];
        let weight = self.dequantize(&stored.each_ref().map(String::as_str), &name("weight"), 0);
        let stored = [name("bias.int32"), name("bias.scale")];
        let bias = self.dequantize(&stored.each_ref().map(String::as_str), &name("bias"), 0);
        self.node("Conv", &[input, &weight, &bias], output, conv_attributes(conv))
    }

    /// Stores a value as uint8 and reads it back. ONNX Runtime then turns the nodes around it into
    /// integer arithmetic.
    pub(super) fn store(&mut self, value: &str, scale: Scale) -> String {
        let [step, zero] = ["scale", "zero"].map(|what| format!("{value}.{what}"));
        self.constants.push(build::floats(&step, &[], &[scale.scale]));
        self.constants.push(build::uint8s(&zero, &[], &[scale.zero]));
        let stored = self.node("QuantizeLinear", &[value, &step, &zero], &format!("{value}.uint8"), vec![]);
        self.node("DequantizeLinear", &[&stored, &step, &zero], &format!("{value}.stored"), vec![])
    }

    fn dequantize(&mut self, inputs: &[&str], output: &str, axis: i64) -> String {
        self.node("DequantizeLinear", inputs, output, vec![build::int("axis", axis)])
    }

    /// Symmetric: the largest weight of a channel becomes 127 or -127.
    pub(super) fn int8s(&mut self, name: &str, tensor: &Tensor, axis: i64) -> Result<String> {
        let others: Vec<i64> = (0..tensor.dim() as i64).filter(|dim| *dim != axis).collect();
        let largest = tensor.f_abs()?.f_amax(&others[..], true)?;
        // A channel of zeros needs a positive scale.
        let scale = largest.f_div_scalar(127.0)?.f_clamp_min(f64::from(f32::MIN_POSITIVE))?;
        let rounded: Vec<i8> =
            values(&tensor.f_div(&scale)?.f_round()?)?.into_iter().map(|value| value as i8).collect();
        let (stored, scales) = (format!("{name}.int8"), format!("{name}.scale"));
        self.constants.push(build::int8s(&stored, &tensor.size(), &rounded));
        self.floats(&scales, &scale.f_flatten(0, -1)?)?;
        Ok(self.dequantize(&[&stored, &scales], name, axis))
    }
}
