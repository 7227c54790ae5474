//! Finds out shapes that a model does not declare, by running it once on a blank image.

use super::{
    build::{self, Dim},
    graph,
    input::ImageInput,
    types::{ModelProto, tensor_proto::DataType},
};
use crate::{Result, Size};

/// Runs a network whose input is 1 x 3 x H x W float32 and whose only output is int64, at the first
/// of these sizes that it accepts. Returns that size and the output.
pub(crate) type TrialRun<'a> = dyn FnMut(&ModelProto, &[Size]) -> Result<(Size, Vec<i64>)> + 'a;

/// The sizes to try. Small ones come first, and most have unequal sides, to distinguish rows from
/// columns.
const SIZES: [Size; 6] = [
    Size::new(96, 64),
    Size::new(192, 128),
    Size::new(384, 256),
    Size::new(768, 512),
    Size::new(224, 224),
    Size::new(512, 512),
];

/// The sizes to try for a network whose height or width may be fixed.
pub(crate) fn sizes(height: Option<usize>, width: Option<usize>) -> Vec<Size> {
    let size = |usual: Size| Size::new(width.unwrap_or(usual.width), height.unwrap_or(usual.height));
    let mut sizes = SIZES.map(size).to_vec();
    sizes.dedup();
    sizes
}

/// The shape of a value.
pub(super) struct FoundShape {
    /// The size of the image for which the value has this shape.
    pub(super) size: Size,
    pub(super) dims: Vec<Option<usize>>,
}

/// The shape of `value` for an image of some size.
pub(super) fn shape(model: &ModelProto, input: &ImageInput, value: &str, run: &mut TrialRun<'_>) -> Result<FoundShape> {
    let mut model = model.clone();
    if let Some(graph) = &mut model.graph {
        graph::end_at(graph, value);
        graph.node.push(build::node("Shape", &[value], "fcn.shape", vec![]));
        graph.output = vec![build::value("fcn.shape", DataType::Int64, &[Dim::Named("fcn.rank")])];
        input.adapt(graph);
    }
    let (size, shape) = run(&model, &sizes(input.height, input.width))?;
    Ok(FoundShape { size, dims: shape.into_iter().map(|side| usize::try_from(side).ok()).collect() })
}
