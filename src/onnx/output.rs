//! Finds the output of a model that is the segmentation, and its form.

use super::{
    graph::{self, Index},
    input::{ImageInput, is_float},
    shape::{Declared, TensorLayout},
    trial::{self, Run},
    types::{ModelProto, tensor_proto::DataType},
};
use crate::{Error, Result};

/// The values of a segmentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One score per class.
    Scores,
    /// A single score: foreground or background.
    Foreground,
    /// Class indices.
    Labels {
        /// Whether they are of type bool, so that there are two classes.
        binary: bool,
    },
}

/// The form of a model's segmentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) kind: Kind,
    /// The position of the channels; meaningless for labels.
    pub(super) layout: TensorLayout,
    /// The type of its values.
    pub(super) element: DataType,
    /// The number of dimensions, if known.
    pub(super) rank: Option<usize>,
    /// The number of scores per pixel, if known.
    pub(super) channels: Option<usize>,
}

impl Form {
    /// The layout of scores.
    pub(crate) fn scores_layout(&self) -> Option<TensorLayout> {
        (!matches!(self.kind, Kind::Labels { .. })).then_some(self.layout)
    }
}

/// Facts from outside the model file.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Hints<'a> {
    /// The name of the requested output.
    pub(crate) output: Option<&'a str>,
    /// The requested layout.
    pub(crate) layout: Option<TensorLayout>,
    /// The number of classes.
    pub(crate) classes: Option<usize>,
    /// The layout of a network whose shapes allow both.
    pub(crate) usual: Option<TensorLayout>,
}

/// The supported outputs, for error messages.
const EXPECTED: &str = "scores (float32, float16 or float64, N x C x h x w or N x h x w x C, N = 1 or left out, 2 to \
     255 classes or C = 1 for two classes) or class indices (int64, int32, uint8 or bool, N x h x \
     w) are supported";

/// Reduces the model to the output that is the segmentation, and returns its form: the requested
/// output, or the first one that is suitable. If the declared shape does not suffice, `run` finds
/// out the shape.
pub(crate) fn choose_output(
    model: &mut ModelProto,
    input: &ImageInput,
    hints: &Hints<'_>,
    run: &mut Run<'_>,
) -> Result<Form> {
    let graph = model.graph.as_ref().ok_or_else(|| Error::Internal("the graph is missing".into()))?;
    let index = Index::of(graph);
    if hints.output.is_none() {
        refuse_instances(&index, input, hints)?;
    }
    let asked = graph.output.iter().filter(|output| hints.output.is_none_or(|name| name == output.name()));
    let mut refused = Vec::new();
    let mut chosen = None;
    for output in asked {
        let (mut output, mut declared) = (output.clone(), Declared::of(output));
        let mut found = form(&index, output.name(), &declared, input, hints);
        // One channel is another kind than several, and even the position of the channels may be
        // unknown.
        let told = match found {
            Ok(Form { kind: Kind::Scores, channels, .. }) => channels.is_some(),
            Ok(Form { rank, .. }) => rank.is_some(),
            Err(Unfit::No) => true,
            Err(Unfit::Unclear) => false,
        };
        if !told && let Declared::Tensor { dims, .. } = &mut declared {
            match trial::shape(model, input, output.name(), run) {
                Ok(trial) => {
                    *dims = Some(trial.dims);
                    let input = ImageInput { height: Some(trial.size.0), width: Some(trial.size.1), ..input.clone() };
                    found = form(&index, output.name(), &declared, &input, hints);
                    // ONNX Runtime would check outputs against the declared shape.
                    graph::forget_shape(&mut output);
                }
                Err(error @ Error::Timeout(_)) => return Err(error),
                Err(error) if matches!(found, Ok(Form { rank: None, .. })) => return Err(error),
                // The network may accept other sizes, and an option can resolve the ambiguity.
                Err(_) => {}
            }
        }
        match found {
            Ok(form) => {
                chosen = Some((output, form));
                break;
            }
            Err(Unfit::No) => refused.push(format!("output '{}' is {declared}", output.name())),
            Err(Unfit::Unclear) => {
                return Err(Error::Model(format!(
                    "output '{}' is {declared}, which can be N x C x h x w or N x h x w x C; set \
                     the option output_layout",
                    output.name()
                )));
            }
        }
    }
    let Some((output, form)) = chosen else {
        return Err(match hints.output {
            Some(name) if refused.is_empty() => {
                let names: Vec<_> = graph.output.iter().map(|output| output.name()).collect();
                Error::InvalidArgument(format!("the model has no output '{name}'; it has {names:?}"))
            }
            _ => Error::Model(format!("{}; {EXPECTED}", refused.join(", "))),
        });
    };
    if let Some(graph) = &mut model.graph {
        let several = graph.output.len() > 1;
        graph.output = vec![output];
        if several {
            graph::drop_unused(graph);
        }
    }
    Ok(form)
}

/// The minimum number of prototypes in networks that combine instance masks from them.
const MIN_PROTOTYPES: usize = 16;

/// Rejects networks for instance segmentation. Besides maps, they output a list of boxes, of
/// coefficients for each map, or of a class for each map.
fn refuse_instances(index: &Index<'_>, input: &ImageInput, hints: &Hints<'_>) -> Result<()> {
    let graph = index.graph;
    let maps = graph.output.iter().filter_map(|output| {
        let form = form(index, output.name(), &Declared::of(output), input, hints).ok()?;
        (form.rank == Some(4) && form.scores_layout().is_some()).then_some((output.name(), form.channels))
    });
    for ((name, maps), list) in maps.flat_map(|maps| graph.output.iter().map(move |list| (maps, list))) {
        let declared = Declared::of(list);
        let Declared::Tensor { element: Some(element), dims: Some(dims) } = &declared else { continue };
        let (count, length) = match dims[..] {
            [count, length] | [None | Some(1), count, length] => (count, length),
            _ => continue,
        };
        let maps = maps.filter(|&maps| maps >= MIN_PROTOTYPES && dims.len() == 3);
        // A box, a class and a coefficient per prototype; such lists come in both orders.
        let shorter = count.into_iter().chain(length).min();
        let factors = maps.is_some_and(|maps| shorter.is_some_and(|shorter| shorter >= maps + 5));
        let queries = maps.is_some() && count == maps;
        if is_float(*element) && (length == Some(4) || factors || queries) {
            return Err(Error::Model(format!(
                "output '{name}' comes with a list of objects, output '{}', which is {declared}: \
                 the model is for instance segmentation, with a mask per object and no class per \
                 pixel; use a model for semantic segmentation, or name an output in the option \
                 output",
                list.name()
            )));
        }
    }
    Ok(())
}

/// Why an output is rejected.
enum Unfit {
    /// It is not a segmentation.
    No,
    /// Its shape is ambiguous.
    Unclear,
}

/// A possible interpretation of a shape.
#[derive(Debug, Clone, Copy)]
struct Reading {
    layout: TensorLayout,
    channels: Option<usize>,
    height: Option<usize>,
    width: Option<usize>,
}

fn form(
    index: &Index<'_>,
    output: &str,
    declared: &Declared,
    input: &ImageInput,
    hints: &Hints<'_>,
) -> std::result::Result<Form, Unfit> {
    let Declared::Tensor { element: Some(element), dims } = declared else { return Err(Unfit::No) };
    let rank = dims.as_ref().map(Vec::len);
    let spatial = |height, width| is_spatial(input, height, width);
    match *element {
        DataType::Int64 | DataType::Int32 | DataType::Uint8 | DataType::Bool => {
            let fits = match dims.as_deref() {
                None => true,
                Some(&[height, width]) => spatial(height, width),
                Some(&[first, second, third]) => {
                    (one(first) && spatial(second, third)) || (one(third) && spatial(first, second))
                }
                Some(&[batch, second, third, fourth]) => {
                    one(batch) && ((one(second) && spatial(third, fourth)) || (one(fourth) && spatial(second, third)))
                }
                Some(_) => false,
            };
            let kind = Kind::Labels { binary: *element == DataType::Bool };
            fits.then_some(Form { kind, layout: TensorLayout::Nchw, element: *element, rank, channels: None })
                .ok_or(Unfit::No)
        }
        element if is_float(element) => {
            let Some(dims) = dims else {
                let layout = hints.layout.unwrap_or(TensorLayout::Nchw);
                return Ok(Form { kind: Kind::Scores, layout, element, rank: None, channels: None });
            };
            let (first, second, third, left_out) = match dims[..] {
                [None | Some(1), first, second, third] => (first, second, third, false),
                [first, second, third] => (first, second, third, true),
                _ => return Err(Unfit::No),
            };
            // An unknown dimension before two sides is the batch, unless there are more than two
            // classes.
            let pictures = left_out && hints.classes.is_none_or(|classes| classes == 2);
            let channels = first.or(pictures.then_some(1));
            let readings = [
                Reading { layout: TensorLayout::Nchw, channels, height: second, width: third },
                Reading { layout: TensorLayout::Nhwc, channels: third, height: first, width: second },
            ];
            let possible = readings
                .into_iter()
                .filter(|reading| reading.channels.is_none_or(|channels| channels <= 255))
                .filter(|reading| spatial(reading.height, reading.width))
                .filter(|reading| hints.layout.is_none_or(|layout| layout == reading.layout))
                .collect();
            let reading = likeliest(index, output, possible, hints)?;
            let kind = if reading.channels == Some(1) { Kind::Foreground } else { Kind::Scores };
            Ok(Form { kind, layout: reading.layout, element, rank, channels: reading.channels })
        }
        _ => Err(Unfit::No),
    }
}

/// The interpretation with the strongest evidence.
fn likeliest(
    index: &Index<'_>,
    output: &str,
    mut possible: Vec<Reading>,
    hints: &Hints<'_>,
) -> std::result::Result<Reading, Unfit> {
    let nodes = layout_of_nodes(index, output);
    let count = |reading: &Reading| reading.channels.is_some_and(|channels| hints.classes == Some(channels));
    let evidence: [&dyn Fn(&Reading) -> bool; 5] = [
        &|reading| reading.channels.is_some(),
        &count,
        // Known sides have been compared with the input's.
        &|reading| reading.height.is_some() && reading.width.is_some(),
        &|reading| nodes == Some(reading.layout),
        &|reading| hints.usual == Some(reading.layout),
    ];
    for speaks_for in evidence {
        if possible.len() > 1 && possible.iter().any(speaks_for) {
            possible.retain(speaks_for);
        }
    }
    match possible[..] {
        [] => Err(Unfit::No),
        [reading] => Ok(reading),
        _ => Err(Unfit::Unclear),
    }
}

fn one(dim: Option<usize>) -> bool {
    dim.is_none_or(|dim| dim == 1)
}

/// Whether these can be the sides of an output for an image of the input's size: a grid with the
/// same aspect ratio.
fn is_spatial(input: &ImageInput, height: Option<usize>, width: Option<usize>) -> bool {
    let (Some(height), Some(width)) = (height, width) else {
        // If the input has any size, so does the output.
        return height.is_some() == width.is_some() || (input.height, input.width) != (None, None);
    };
    let (Some(rows), Some(columns)) = (input.height, input.width) else { return height > 1 && width > 1 };
    // After rounding, a side differs from the exact ratio by less than one.
    let (across, down) = (height as u128 * columns as u128, width as u128 * rows as u128);
    across.abs_diff(down) < rows.max(columns) as u128 && (height, width) != (1, 1)
}

/// The layout of a value, derived from the operator that computed it.
fn layout_of_nodes(index: &Index<'_>, output: &str) -> Option<TensorLayout> {
    let (mut value, mut swapped) = (output, false);
    loop {
        let node = index.producer(value)?;
        match node.op_type() {
            "Conv" | "ConvTranspose" | "BatchNormalization" | "MaxPool" | "AveragePool" | "DepthToSpace" => {
                return (!swapped).then_some(TensorLayout::Nchw);
            }
            // PyTorch's export of a softmax over channels before opset 13: a Transpose before and
            // after it.
            "Transpose" if graph::ints(node, "perm")? == [0, 3, 2, 1] => {
                swapped = !swapped;
                value = node.input.first()?;
            }
            "Transpose" => {
                return match graph::ints(node, "perm")? {
                    [0, 2, 3, 1] | [1, 2, 0] => Some(TensorLayout::Nhwc),
                    [0, 3, 1, 2] | [2, 0, 1] => Some(TensorLayout::Nchw),
                    _ => None,
                };
            }
            "Sigmoid" | "Softmax" | "LogSoftmax" | "Identity" | "Cast" | "Resize" | "Clip" | "Relu" | "Add" | "Mul" => {
                value = node.input.first()?;
            }
            _ => return None,
        }
    }
}
