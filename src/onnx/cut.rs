//! Cuts off a network's last upsampling, which [`crate::head`] then fuses with the argmax.

use super::{
    WEIGHTS, floats,
    graph::{self, Index},
    input::ImageInput,
    sizes,
    types::{GraphProto, NodeProto, tensor_proto::DataType},
};
use crate::{Error, Result, memory};

/// How to compute full-size scores from the output of the (cut) network.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tail {
    /// The network was not cut: it outputs scores or labels.
    Whole,
    /// A transposed convolution with kernel 2 s, stride s and padding s / 2.
    Transposed {
        stride: usize,
        classes: usize,
        /// Whether each class is upsampled independently. Then `weights` is classes x k x k,
        /// otherwise classes x classes x k x k (from, to, row, column).
        separate: bool,
        weights: Vec<f32>,
        bias: Vec<f32>,
    },
    /// A bilinear Resize by an integer factor, with half-pixel centres.
    Bilinear { factor: usize },
    /// A bilinear Resize to the size of the network's input, with half-pixel centres.
    ToInput,
}

impl Tail {
    /// Adds a class in front whose score is `score` everywhere, including the network's output.
    pub(super) fn with_background(self, score: f32) -> Result<Tail> {
        let Tail::Transposed { stride, classes, separate, weights, bias } = self else { return Ok(self) };
        let (separate, taps) = (separate || classes == 1, 4 * stride * stride);
        // The weights from the background to itself and to each class are zero.
        let (before, row, before_row) = if separate { (1, classes, 0) } else { (classes + 1, classes, 1) };
        let rows = weights.len() / (row * taps);
        let mut extended = Vec::new();
        memory::reserve(&mut extended, (before + rows * (before_row + row)) * taps, WEIGHTS)?;
        extended.resize(before * taps, 0.0);
        for row in weights.chunks_exact(row * taps) {
            extended.resize(extended.len() + before_row * taps, 0.0);
            extended.extend(row);
        }
        let bias = [vec![score], bias].concat();
        Ok(Tail::Transposed { stride, classes: classes + 1, separate, weights: extended, bias })
    }

    /// The factor between the network's output and the scores, if it is known.
    pub(crate) fn factor(&self) -> Option<usize> {
        match self {
            Tail::Transposed { stride, .. } => Some(*stride),
            Tail::Bilinear { factor } => Some(*factor),
            Tail::Whole | Tail::ToInput => None,
        }
    }
}

/// If the last node is a supported upsampling, cuts it off and also returns the original graph.
/// Otherwise leaves the graph unchanged.
pub(super) fn cut(graph: &mut GraphProto, input: &ImageInput) -> Result<(Tail, Option<GraphProto>)> {
    let untouched = Ok((Tail::Whole, None));
    let [output] = &graph.output[..] else { return untouched };
    let index = Index::of(graph);
    let Some(node) = index.producer(output.name()) else {
        return Err(Error::Model(format!("no node of the model computes its output '{}'", output.name())));
    };
    let source = node.input.first().cloned().unwrap_or_default();
    // The upsampling's input must be computed by another node.
    if index.producer(&source).is_none() {
        return untouched;
    }
    let tail = match node.op_type() {
        "ConvTranspose" => transposed(&index, node)?,
        "Resize" => bilinear(&index, node, input),
        _ => None,
    };
    let Some(tail) = tail else { return untouched };
    let whole = graph.clone();
    graph::end_at(graph, &source);
    Ok((tail, Some(whole)))
}

fn transposed(index: &Index<'_>, node: &NodeProto) -> Result<Option<Tail>> {
    let Some(weight) = index.constant(node, 1).filter(|weight| weight.data_type() == DataType::Float as i32) else {
        return Ok(None);
    };
    let has_bias = node.input.get(2).is_some_and(|name| !name.is_empty());
    let bias = index.constant(node, 2);
    let [inputs, outputs, rows, columns] = weight.dims[..] else { return Ok(None) };
    let stride = match graph::ints(node, "strides") {
        Some(&[down, right]) if down == right && (2..=64).contains(&down) => down,
        _ => return Ok(None),
    };
    let group = graph::int(node, "group", 1);
    let plain = [rows, columns] == [2 * stride, 2 * stride]
        && stride % 2 == 0
        && graph::ints(node, "pads") == Some(&[stride / 2; 4][..])
        && graph::ints(node, "dilations").is_none_or(|dilations| dilations == [1, 1])
        && graph::ints(node, "output_padding").is_none_or(|padding| padding == [0, 0])
        && graph::ints(node, "output_shape").is_none()
        && matches!(graph::text(node, "auto_pad", "NOTSET"), "NOTSET" | "");
    let dense = group == 1 && inputs == outputs;
    let separate = group == inputs && outputs == 1;
    if !plain || !(dense || separate) || !(1..=255).contains(&inputs) || has_bias != bias.is_some() {
        return Ok(None);
    }
    let (classes, stride) = (inputs as usize, stride as usize);
    let weights = floats(weight)?;
    let bias = bias.map_or(Ok(vec![0.0; classes]), floats)?;
    if bias.len() != classes {
        return Err(Error::Model(format!(
            "node '{}' has {} bias values for {classes} channels",
            node.name(),
            bias.len()
        )));
    }
    let (separate, weights) = if separate { (true, weights) } else { diagonal(weights, classes, 4 * stride * stride)? };
    Ok(Some(Tail::Transposed { stride, classes, separate, weights, bias }))
}

/// Keeps only the diagonal blocks if all others are zero, as in an upsampling that was frozen at
/// its bilinear kernel.
fn diagonal(weights: Vec<f32>, classes: usize, taps: usize) -> Result<(bool, Vec<f32>)> {
    let blocks = || weights.chunks_exact(taps).enumerate();
    let on_diagonal = |block: usize| block / classes == block % classes;
    if blocks().any(|(block, values)| !on_diagonal(block) && values.iter().any(|&value| value != 0.0)) {
        return Ok((false, weights));
    }
    let mut kept = Vec::new();
    memory::reserve(&mut kept, classes * taps, WEIGHTS)?;
    kept.extend(blocks().filter(|(block, _)| on_diagonal(*block)).flat_map(|(_, values)| values));
    Ok((true, kept))
}

fn bilinear(index: &Index<'_>, node: &NodeProto, input: &ImageInput) -> Option<Tail> {
    let plain = graph::text(node, "mode", "nearest") == "linear"
        && matches!(
            graph::text(node, "coordinate_transformation_mode", "half_pixel"),
            // They differ only for sides of one pixel.
            "half_pixel" | "pytorch_half_pixel"
        )
        && graph::attribute(node, "axes").is_none()
        && matches!(graph::text(node, "keep_aspect_ratio_policy", "stretch"), "stretch" | "")
        && graph::int(node, "antialias", 0) == 0;
    if !plain {
        return None;
    }
    if let Some(sizes) = node.input.get(3).filter(|name| !name.is_empty()) {
        return sizes::is_size_of_input(index, sizes, input).then_some(Tail::ToInput);
    }
    match floats(index.constant(node, 2)?).ok()?[..] {
        [1.0, 1.0, down, right] if down == right && down >= 2.0 && down.fract() == 0.0 && down <= 64.0 => {
            Some(Tail::Bilinear { factor: down as usize })
        }
        _ => None,
    }
}
