//! A network as a list of operations. Training, inference and the ONNX writer walk the same list,
//! so they cannot diverge.

use tch::{Device, Kind, Tensor};

use super::attention::LinearAttention;
use super::is_head;
use crate::distributed::Ranks;
use crate::error::Result;

/// A tensor that flows through the network: 0 is the image, `n` the result of node `n - 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value(pub usize);

/// One operation and its inputs.
#[derive(Debug)]
pub struct Node {
    /// The operation.
    pub op: Op,
    /// One value, or two for [`Op::Add`] and [`Op::Concat`].
    pub inputs: Vec<Value>,
}

/// The operations of networks. Values are N x C x H x W float32.
#[derive(Debug)]
pub enum Op {
    /// Convolution.
    Conv(Conv),
    /// Batch normalisation (Ioffe and Szegedy 2015).
    BatchNorm(BatchNorm),
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x * min(max(x + 3, 0), 6) / 6` (Howard et al. 2019, section 5.2).
    HardSwish,
    /// The sum of two values of the same shape.
    Add,
    /// The channels of two values of the same size.
    Concat,
    /// Attention over all pixels.
    LinearAttention(LinearAttention),
    /// Every pixel repeated twice in each direction.
    Double,
    /// The largest value of each window.
    MaxPool(MaxPool),
    /// Transposed convolution, which upsamples by its stride.
    ConvTranspose(ConvTranspose),
}

/// Zero padding, the same for rows and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Padding {
    /// At the top and left, in pixels.
    pub before: i64,
    /// At the bottom and right, in pixels.
    pub after: i64,
}

impl Padding {
    /// The same on all four sides.
    pub fn even(pixels: i64) -> Padding {
        Padding { before: pixels, after: pixels }
    }
}

/// A convolution with a square kernel.
#[derive(Debug)]
pub struct Conv {
    /// The parameters are `NAME.weight` and `NAME.bias`.
    pub name: String,
    /// Out x in / groups x k x k.
    pub weight: Tensor,
    /// One number per output channel.
    pub bias: Option<Tensor>,
    /// In pixels, on both axes.
    pub stride: i64,
    /// Zero padding of the input.
    pub padding: Padding,
    /// 1, or the number of channels for a depthwise convolution.
    pub groups: i64,
}

/// Batch normalisation; all tensors have one number per channel.
#[derive(Debug)]
pub struct BatchNorm {
    /// The parameters are `NAME.weight`, `NAME.bias`, `NAME.running_mean` and `NAME.running_var`.
    pub name: String,
    /// The scale.
    pub weight: Tensor,
    /// The shift.
    pub bias: Tensor,
    /// The mean subtracted in inference.
    pub running_mean: Tensor,
    /// The variance divided by in inference.
    pub running_var: Tensor,
    /// Epsilon, added to the variance.
    pub eps: f64,
    /// The momentum of the running statistics.
    pub momentum: f64,
    /// Whether training normalises by the batch's statistics and updates running statistics, scale
    /// and shift; otherwise it computes as in inference.
    pub learned: bool,
}

/// Max pooling with a square window; padding never wins.
#[derive(Debug, Clone, Copy)]
pub struct MaxPool {
    /// The window's side.
    pub kernel: i64,
    /// In pixels, on both axes.
    pub stride: i64,
    /// On all four sides.
    pub padding: i64,
}

/// A transposed convolution with a square kernel.
#[derive(Debug)]
pub struct ConvTranspose {
    /// The parameters are `NAME.weight` and `NAME.bias`.
    pub name: String,
    /// In x out x k x k.
    pub weight: Tensor,
    /// One number per output channel.
    pub bias: Option<Tensor>,
    /// The upsampling factor.
    pub stride: i64,
    /// Pixels cropped from the result on all four sides.
    pub padding: i64,
    /// Whether the parameters are trained.
    pub learned: bool,
}

/// A named tensor that shares its memory with the network.
#[derive(Debug)]
pub struct Parameter {
    /// For example `layer1.0.conv1.weight`.
    pub name: String,
    /// The numbers.
    pub tensor: Tensor,
    /// Whether the optimizer updates it; false for running statistics and frozen upsampling.
    pub learned: bool,
}

/// The whole network.
#[derive(Debug)]
pub struct Graph {
    /// In order of computation.
    pub nodes: Vec<Node>,
    /// The output value.
    pub output: Value,
    /// The device of the parameters.
    pub device: Device,
    /// The ranks whose batches batch normalisation takes its statistics from; by default, this
    /// one's alone.
    pub sync: Option<Ranks>,
}

impl Graph {
    /// Every tensor of the network, in order.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut all = Vec::new();
        let mut push = |layer: &str, kind: &str, tensor: &Tensor, learned: bool| {
            all.push(Parameter { name: format!("{layer}.{kind}"), tensor: tensor.shallow_clone(), learned });
        };
        for node in &self.nodes {
            match &node.op {
                Op::Conv(conv) => {
                    push(&conv.name, "weight", &conv.weight, true);
                    conv.bias.iter().for_each(|bias| push(&conv.name, "bias", bias, true));
                }
                Op::BatchNorm(norm) => {
                    push(&norm.name, "weight", &norm.weight, norm.learned);
                    push(&norm.name, "bias", &norm.bias, norm.learned);
                    push(&norm.name, "running_mean", &norm.running_mean, false);
                    push(&norm.name, "running_var", &norm.running_var, false);
                }
                Op::ConvTranspose(up) => {
                    push(&up.name, "weight", &up.weight, up.learned);
                    up.bias.iter().for_each(|bias| push(&up.name, "bias", bias, up.learned));
                }
                Op::Relu
                | Op::Relu6
                | Op::HardSwish
                | Op::Add
                | Op::Concat
                | Op::LinearAttention(_)
                | Op::Double
                | Op::MaxPool(_) => {}
            }
        }
        all
    }

    /// Freezes the backbone's batch normalisation from now on; the head's has nothing to keep.
    pub fn freeze_norms(&mut self) {
        for node in &mut self.nodes {
            if let Op::BatchNorm(norm) = &mut node.op {
                norm.learned = is_head(&norm.name);
            }
        }
        self.mark_learned();
    }

    /// Whether the backbone's batch normalisation is frozen.
    pub fn norms_are_frozen(&self) -> bool {
        self.nodes.iter().any(|node| matches!(&node.op, Op::BatchNorm(norm) if !norm.learned))
    }

    /// Whether training changes the statistics of a batch normalisation.
    pub fn learns_norms(&self) -> bool {
        self.nodes.iter().any(|node| matches!(&node.op, Op::BatchNorm(norm) if norm.learned))
    }

    /// Sets the running statistics of batch normalisation to the mean over these images, N x 3 x H
    /// x W each, with the current weights (Izmailov et al. 2018, section 3.2). Frozen ones do not
    /// change.
    pub fn fit_norms(&mut self, images: impl Iterator<Item = Result<Tensor>>) -> Result<()> {
        let usual: Vec<f64> = self.norms().map(|norm| norm.momentum).collect();
        let fitted = images.zip(1u32..).try_for_each(|(image, count)| {
            // The newest image's share in the mean of all.
            self.norms().for_each(|norm| norm.momentum = 1.0 / f64::from(count));
            let image = image?;
            tch::no_grad(|| self.forward(&image, true)).map(drop)
        });
        self.norms().zip(usual).for_each(|(norm, momentum)| norm.momentum = momentum);
        fitted
    }

    /// The batch normalisations that are not frozen.
    fn norms(&mut self) -> impl Iterator<Item = &mut BatchNorm> {
        self.nodes.iter_mut().filter_map(|node| match &mut node.op {
            Op::BatchNorm(norm) if norm.learned => Some(norm),
            _ => None,
        })
    }

    /// Enables gradients for the trainable parameters only.
    pub(super) fn mark_learned(&self) {
        for parameter in self.parameters() {
            let _ = parameter.tensor.set_requires_grad(parameter.learned);
        }
    }

    /// Computes the network's output. `training` normalises by the batch's statistics and updates
    /// the running ones.
    pub fn forward(&self, image: &Tensor, training: bool) -> Result<Tensor> {
        let mut values = self.evaluate(image, training, &[self.output])?;
        Ok(values.remove(0))
    }

    /// Computes several values of the network, for example the backbone's features.
    pub fn evaluate(&self, image: &Tensor, training: bool, wanted: &[Value]) -> Result<Vec<Tensor>> {
        self.walk(image, training, wanted, |_, _| Ok(()))
    }

    /// Computes the network's output in inference mode, and passes every new value to `see`.
    pub fn observe(&self, image: &Tensor, see: impl FnMut(Value, &Tensor) -> Result<()>) -> Result<()> {
        self.walk(image, false, &[self.output], see).map(|_| ())
    }

    fn walk(
        &self,
        image: &Tensor,
        training: bool,
        wanted: &[Value],
        mut see: impl FnMut(Value, &Tensor) -> Result<()>,
    ) -> Result<Vec<Tensor>> {
        let last = wanted.iter().map(|value| value.0).max().unwrap_or(0);
        let mut uses = vec![0; self.nodes.len() + 1];
        for input in self.nodes[..last].iter().flat_map(|node| &node.inputs).chain(wanted) {
            uses[input.0] += 1;
        }
        let mut values: Vec<Option<Tensor>> = uses.iter().map(|_| None).collect();
        values[0] = Some(image.shallow_clone());
        for (index, node) in self.nodes[..last].iter().enumerate() {
            let inputs: Vec<Tensor> = node.inputs.iter().map(|v| shared(&values, *v)).collect();
            // A value is dropped after its last use, so that inference holds few at a time.
            for input in &node.inputs {
                uses[input.0] -= 1;
                if uses[input.0] == 0 {
                    values[input.0] = None;
                }
            }
            // Activations work in place on values with no other user. Value 0 belongs to the
            // caller.
            let spare = node.inputs.iter().all(|v| v.0 > 0 && uses[v.0] == 0);
            let result = match (&node.op, &self.sync) {
                (Op::BatchNorm(norm), Some(ranks)) if training && norm.learned => norm.of_ranks(&inputs[0], ranks)?,
                (op, _) => op.apply(inputs, spare, training)?,
            };
            see(Value(index + 1), &result)?;
            values[index + 1] = Some(result);
        }
        Ok(wanted.iter().map(|v| shared(&values, *v)).collect())
    }
}

fn shared(values: &[Option<Tensor>], value: Value) -> Tensor {
    values[value.0].as_ref().expect("a value is computed before its use and kept until its last").shallow_clone()
}

impl BatchNorm {
    /// Normalises by the statistics of all ranks' batches, and updates the running ones, as
    /// PyTorch's `SyncBatchNorm`. The mean comes first, because a variance from sums of squares
    /// would be lost in rounding.
    fn of_ranks(&self, x: &Tensor, ranks: &Ranks) -> Result<Tensor> {
        let channels = x.size()[1];
        let x = x.f_to_kind(Kind::Float)?;
        let own = (x.numel() as i64 / channels) as f64;
        let sums = x.f_sum_dim_intlist([0, 2, 3].as_slice(), false, Kind::Float)?;
        let count = Tensor::f_full([1], own, (Kind::Float, x.device()))?;
        let totals = ranks.learned_sum(&Tensor::f_cat(&[sums, count], 0)?)?;
        let count = totals.f_narrow(0, channels, 1)?.detach();
        let mean = totals.f_narrow(0, 0, channels)?.f_div(&count)?;
        let shape = [1, channels, 1, 1];
        let centred = x.f_sub(&mean.f_view(shape)?)?;
        let squares = centred.f_square()?.f_sum_dim_intlist([0, 2, 3].as_slice(), false, Kind::Float)?;
        let squares = ranks.learned_sum(&squares)?;
        let scale = squares.f_div(&count)?.f_add_scalar(self.eps)?.f_rsqrt()?.f_mul(&self.weight)?;
        tch::no_grad(|| -> Result<()> {
            let unbiased = squares.detach().f_div(&count.f_sub_scalar(1.0)?.f_clamp_min(1.0)?)?;
            let (mut running_mean, mut running_var) =
                (self.running_mean.shallow_clone(), self.running_var.shallow_clone());
            let _ = running_mean.f_lerp_(&mean.detach(), self.momentum)?;
            let _ = running_var.f_lerp_(&unbiased, self.momentum)?;
            Ok(())
        })?;
        Ok(centred.f_mul(&scale.f_view(shape)?)?.f_add(&self.bias.f_view(shape)?)?)
    }
}

impl Op {
    fn apply(&self, mut inputs: Vec<Tensor>, spare: bool, training: bool) -> Result<Tensor> {
        let mut x = inputs.remove(0);
        Ok(match self {
            Op::Conv(conv) => {
                let Padding { before, after } = conv.padding;
                if before != after {
                    x = x.f_constant_pad_nd([before, after, before, after])?;
                }
                let padding = if before == after { before } else { 0 };
                let (stride, padding) = ([conv.stride; 2], [padding; 2]);
                x.f_conv2d(&conv.weight, conv.bias.as_ref(), stride, padding, [1, 1], conv.groups)?
            }
            Op::BatchNorm(norm) => x.f_batch_norm(
                Some(&norm.weight),
                Some(&norm.bias),
                Some(&norm.running_mean),
                Some(&norm.running_var),
                training && norm.learned,
                norm.momentum,
                norm.eps,
                true,
            )?,
            Op::Relu if spare => x.f_relu_()?,
            Op::Relu => x.f_relu()?,
            Op::Relu6 if spare => x.f_relu6_()?,
            Op::Relu6 => x.f_relu6()?,
            Op::HardSwish => x.f_hardswish()?,
            Op::Add => x.f_add(&inputs[0])?,
            Op::Concat => Tensor::f_cat(&[&x, &inputs[0]], 1)?,
            Op::LinearAttention(attention) => attention.apply(&x)?,
            Op::Double => {
                let (height, width) = (x.size()[2], x.size()[3]);
                x.f_upsample_nearest2d([2 * height, 2 * width], None, None)?
            }
            Op::MaxPool(MaxPool { kernel, stride, padding }) => {
                x.f_max_pool2d([*kernel; 2], [*stride; 2], [*padding; 2], [1, 1], false)?
            }
            Op::ConvTranspose(up) => {
                x.f_conv_transpose2d(&up.weight, up.bias.as_ref(), [up.stride; 2], [up.padding; 2], [0, 0], 1, [1, 1])?
            }
        })
    }
}
