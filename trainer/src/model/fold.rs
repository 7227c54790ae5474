//! Folds batch normalisation into the convolutions before it: the network as deployed.

use tch::{Kind, Tensor};

use super::graph::{BatchNorm, Conv, ConvTranspose, Graph, Node, Op, Value};
use crate::error::Result;

impl Graph {
    /// The same function in fewer operations. Its parameters are copies and are not trained.
    pub fn folded(&self) -> Result<Graph> {
        let mut nodes: Vec<Node> = Vec::new();
        // The values of this graph in the folded one.
        let mut places = vec![Value(0)];
        for (index, node) in self.nodes.iter().enumerate() {
            let inputs: Vec<Value> = node.inputs.iter().map(|input| places[input.0]).collect();
            let op = match &node.op {
                Op::Conv(conv) => Op::Conv(folded(conv, self.norm_after(Value(index + 1)))?),
                // Folded into the convolution before it.
                Op::BatchNorm(_) => {
                    places.push(inputs[0]);
                    continue;
                }
                Op::Relu => Op::Relu,
                Op::Relu6 => Op::Relu6,
                Op::HardSwish => Op::HardSwish,
                Op::Add => Op::Add,
                Op::Concat => Op::Concat,
                Op::LinearAttention(attention) => Op::LinearAttention(*attention),
                Op::Double => Op::Double,
                Op::MaxPool(pool) => Op::MaxPool(*pool),
                Op::ConvTranspose(up) => Op::ConvTranspose(ConvTranspose {
                    name: up.name.clone(),
                    weight: up.weight.f_detach()?,
                    bias: up.bias.as_ref().map(Tensor::f_detach).transpose()?,
                    ..*up
                }),
            };
            nodes.push(Node { op, inputs });
            places.push(Value(nodes.len()));
        }
        Ok(Graph { nodes, output: places[self.output.0], device: self.device, sync: None })
    }

    /// The batch normalisation that is the only user of a convolution's result.
    fn norm_after(&self, value: Value) -> Option<&BatchNorm> {
        match self.only_user(value)? {
            Op::BatchNorm(norm) => Some(norm),
            _ => None,
        }
    }

    /// The operation that uses a value, if there is exactly one.
    pub fn only_user(&self, value: Value) -> Option<&Op> {
        let mut users = self.nodes.iter().filter(|node| node.inputs.contains(&value));
        users.next().filter(|_| users.next().is_none()).map(|node| &node.op)
    }
}

/// A convolution with bias, combined with the batch normalisation that follows it, in double
/// precision.
fn folded(conv: &Conv, norm: Option<&BatchNorm>) -> Result<Conv> {
    let double = |tensor: &Tensor| tensor.f_detach()?.f_to_kind(Kind::Double);
    let mut weight = double(&conv.weight)?;
    let outputs = weight.size()[0];
    let mut bias = match &conv.bias {
        Some(bias) => double(bias)?,
        None => Tensor::f_zeros([outputs], (Kind::Double, weight.device()))?,
    };
    if let Some(norm) = norm {
        let deviation = double(&norm.running_var)?.f_add_scalar(norm.eps)?.f_sqrt()?;
        let factor = double(&norm.weight)?.f_div(&deviation)?;
        bias = bias.f_sub(&double(&norm.running_mean)?)?.f_mul(&factor)?.f_add(&double(&norm.bias)?)?;
        weight = weight.f_mul(&factor.f_view([outputs, 1, 1, 1])?)?;
    }
    let single = |tensor: Tensor| tensor.f_to_kind(Kind::Float);
    Ok(Conv { name: conv.name.clone(), weight: single(weight)?, bias: Some(single(bias)?), ..*conv })
}
