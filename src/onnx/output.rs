//! Finds the output of a model that is the segmentation, and its form.

use super::{
    graph::{self, Index},
    input::{ImageInput, is_float},
    shape::{Declared, TensorLayout},
    trial::{self, TrialRun},
    types::{ModelProto, tensor_proto::DataType},
};
use crate::{Error, Result};

/// The values of a segmentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PixelValues {
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
    pub(crate) kind: PixelValues,
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
        (!matches!(self.kind, PixelValues::Labels { .. })).then_some(self.layout)
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
    run: &mut TrialRun<'_>,
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
            Ok(Form { kind: PixelValues::Scores, channels, .. }) => channels.is_some(),
            Ok(Form { rank, .. }) => rank.is_some(),
            Err(Unfit::No) => true,
            Err(Unfit::Unclear) => false,
        };
        if !told && let Declared::Tensor { dims, .. } = &mut declared {
            match trial::shape(model, input, output.name(), run) {
                Ok(trial) => {
                    *dims = Some(trial.dims);
                    let input =
                        ImageInput { height: Some(trial.size.height), width: Some(trial.size.width), ..input.clone() };
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
            let kind = PixelValues::Labels { binary: *element == DataType::Bool };
            fits.then_some(Form { kind, layout: TensorLayout::Nchw, element: *element, rank, channels: None })
                .ok_or(Unfit::No)
        }
        element if is_float(element) => {
            let Some(dims) = dims else {
                let layout = hints.layout.unwrap_or(TensorLayout::Nchw);
                return Ok(Form { kind: PixelValues::Scores, layout, element, rank: None, channels: None });
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
            let kind = if reading.channels == Some(1) { PixelValues::Foreground } else { PixelValues::Scores };
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

#[cfg(test)]
mod tests {
    use super::{
        super::{
            build::{self, Dim},
            types::{GraphProto, NodeProto},
        },
        *,
    };
    use crate::Size;

    const NCHW: TensorLayout = TensorLayout::Nchw;
    const NHWC: TensorLayout = TensorLayout::Nhwc;
    const OPEN: Option<usize> = None;

    fn input(height: Option<usize>, width: Option<usize>) -> ImageInput {
        let element = DataType::Float;
        ImageInput { name: "image".into(), height, width, layout: NCHW, grey: false, element }
    }

    fn graph(nodes: Vec<NodeProto>) -> GraphProto {
        GraphProto { node: nodes, ..GraphProto::default() }
    }

    /// The interpretation of an output of this type and shape: `None` if it is not a segmentation,
    /// `Some(None)` if it is ambiguous.
    fn read(
        nodes: &GraphProto,
        element: DataType,
        dims: Option<&[Option<usize>]>,
        input: &ImageInput,
        hints: &Hints<'_>,
    ) -> Option<Option<Form>> {
        let declared = Declared::Tensor { element: Some(element), dims: dims.map(<[_]>::to_vec) };
        match form(&Index::of(nodes), "scores", &declared, input, hints) {
            Ok(form) => Some(Some(form)),
            Err(Unfit::Unclear) => Some(None),
            Err(Unfit::No) => None,
        }
    }

    fn fixed(side: usize) -> Option<usize> {
        Some(side)
    }

    #[test]
    fn shapes_of_scores_and_their_near_misses() {
        #[derive(Debug, PartialEq)]
        enum Expected {
            Scores(TensorLayout, Option<usize>),
            Foreground(TensorLayout),
            Unclear,
            No,
        }
        use Expected::*;
        struct Case {
            name: &'static str,
            dims: Vec<Option<usize>>,
            /// The image's height and width.
            picture: (Option<usize>, Option<usize>),
            expected: Expected,
        }
        let open = (None, None);
        let case =
            |name, dims: &[Option<usize>], picture, expected| Case { name, dims: dims.to_vec(), picture, expected };
        let (one, five) = (fixed(1), fixed(5));
        let sized = (fixed(64), fixed(96));
        let cases = [
            case("N x 5 x h x w", &[OPEN, five, OPEN, OPEN], open, Scores(NCHW, five)),
            case("1 x 5 x h x w", &[one, five, OPEN, OPEN], open, Scores(NCHW, five)),
            case("2 x 5 x h x w", &[fixed(2), five, OPEN, OPEN], open, No),
            case("N x h x w x 5", &[OPEN, OPEN, OPEN, five], open, Scores(NHWC, five)),
            case("h x w x 5", &[OPEN, OPEN, five], open, Scores(NHWC, five)),
            case("5 x h x w", &[five, OPEN, OPEN], open, Scores(NCHW, five)),
            case("255 classes", &[OPEN, fixed(255), OPEN, OPEN], open, Scores(NCHW, fixed(255))),
            case("256 classes", &[OPEN, fixed(256), OPEN, OPEN], open, No),
            case("N x 1 x h x w", &[OPEN, one, OPEN, OPEN], open, Foreground(NCHW)),
            case("N x h x w x 1", &[OPEN, OPEN, OPEN, one], open, Foreground(NHWC)),
            case("N x h x w", &[OPEN, OPEN, OPEN], open, Foreground(NCHW)),
            case("two dimensions", &[OPEN, OPEN], open, No),
            case("five dimensions", &[OPEN, OPEN, five, OPEN, OPEN], open, No),
            case("all open", &[OPEN, OPEN, OPEN, OPEN], open, Unclear),
            case("two rows", &[OPEN, fixed(255), fixed(2), fixed(256)], open, Scores(NCHW, fixed(255))),
            case("two columns", &[OPEN, fixed(256), fixed(2), five], open, Scores(NHWC, five)),
            case("one row", &[OPEN, fixed(255), one, fixed(256)], open, No),
            case("one column", &[OPEN, one, fixed(256), one], open, No),
            case("one side open", &[OPEN, five, OPEN, fixed(300)], open, No),
            case(
                "one side open, of one fixed",
                &[OPEN, five, OPEN, fixed(300)],
                (None, fixed(300)),
                Scores(NCHW, five),
            ),
            case("all sides of one size", &[OPEN, five, fixed(64), fixed(96)], sized, Scores(NCHW, five)),
            case("half of them", &[OPEN, five, fixed(32), fixed(48)], sized, Scores(NCHW, five)),
            case("rounded up", &[OPEN, five, fixed(10), fixed(14)], (fixed(97), fixed(137)), Scores(NCHW, five)),
            case("other proportions", &[OPEN, five, fixed(32), fixed(50)], sized, No),
            // 49 * 64 - 32 * 96 is less than 96, and 48 * 64 - 31 * 96 is not.
            case("just the same", &[OPEN, five, fixed(32), fixed(49)], sized, Scores(NCHW, five)),
            case("just others", &[OPEN, five, fixed(31), fixed(48)], sized, No),
            case("one cell of one size", &[OPEN, five, one, one], (fixed(32), fixed(32)), No),
            case("one row of one size", &[OPEN, five, one, fixed(2)], (fixed(32), fixed(64)), Scores(NCHW, five)),
            case(
                "a square that can be both",
                &[OPEN, fixed(32), fixed(32), fixed(32)],
                (fixed(64), fixed(64)),
                Unclear,
            ),
        ];
        for Case { name, dims, picture, expected } in cases {
            let found =
                read(&graph(vec![]), DataType::Float, Some(&dims), &input(picture.0, picture.1), &Hints::default());
            let found = match found {
                None => No,
                Some(None) => Unclear,
                Some(Some(form)) => {
                    assert_eq!(form.rank, Some(dims.len()), "{name}");
                    match form.kind {
                        PixelValues::Foreground => {
                            assert_eq!(form.channels, Some(1), "{name}");
                            Foreground(form.layout)
                        }
                        _ => Scores(form.layout, form.channels),
                    }
                }
            };
            assert_eq!(found, expected, "{name}");
        }
        // Without a known shape, the requested layout counts.
        for (layout, expected) in [(None, NCHW), (Some(NCHW), NCHW), (Some(NHWC), NHWC)] {
            let hints = Hints { layout, ..Hints::default() };
            let form = read(&graph(vec![]), DataType::Float16, None, &input(None, None), &hints).flatten().unwrap();
            assert_eq!((form.kind, form.layout, form.rank, form.channels), (PixelValues::Scores, expected, None, None));
        }
    }

    #[test]
    fn shapes_of_class_indices_and_their_near_misses() {
        let (one, five) = (fixed(1), fixed(5));
        let rows: [(&[Option<usize>], bool); 17] = [
            (&[OPEN, OPEN], true),
            (&[fixed(2), fixed(2)], true),
            (&[fixed(2), one], false),
            (&[OPEN, OPEN, OPEN], true),
            (&[one, OPEN, OPEN], true),
            (&[OPEN, OPEN, one], true),
            (&[five, OPEN, OPEN], false),
            (&[OPEN, OPEN, five], false),
            (&[one, five, OPEN], false),
            (&[one, one, OPEN, OPEN], true),
            (&[OPEN, OPEN, OPEN, one], true),
            (&[fixed(2), one, OPEN, OPEN], false),
            (&[one, five, OPEN, OPEN], false),
            (&[one, one, OPEN, five], false),
            (&[one, OPEN, OPEN, five], false),
            (&[OPEN], false),
            (&[one, one, one, OPEN, OPEN], false),
        ];
        let read = |element, dims: Option<&[Option<usize>]>| {
            read(&graph(vec![]), element, dims, &input(None, None), &Hints::default())
        };
        for element in [DataType::Int64, DataType::Int32, DataType::Uint8, DataType::Bool] {
            let kind = PixelValues::Labels { binary: element == DataType::Bool };
            for (dims, fits) in rows {
                let expected = Form { kind, layout: NCHW, element, rank: Some(dims.len()), channels: None };
                assert_eq!(read(element, Some(dims)), fits.then_some(Some(expected)), "{element:?}, {dims:?}");
            }
            assert_eq!(read(element, None).flatten().unwrap().rank, None);
        }
        for element in [DataType::Float, DataType::Float16, DataType::Double] {
            assert!(read(element, Some(&[OPEN, five, OPEN, OPEN])).is_some(), "{element:?}");
        }
        for element in [DataType::Bfloat16, DataType::Int8, DataType::Uint16, DataType::String] {
            assert_eq!(read(element, Some(&[OPEN, one, OPEN, OPEN])), None, "{element:?}");
            assert_eq!(read(element, None), None, "{element:?}");
        }
        let index = graph(vec![]);
        for declared in [Declared::Other("a map"), Declared::Tensor { element: None, dims: None }] {
            let found = form(&Index::of(&index), "scores", &declared, &input(None, None), &Hints::default());
            assert!(matches!(found, Err(Unfit::No)), "{declared:?}");
        }
    }

    /// The nodes from `low` to `scores`.
    fn chain(nodes: &[(&str, &[i64])]) -> GraphProto {
        let name = |place: usize| if place == nodes.len() { "scores".to_owned() } else { format!("value{place}") };
        let node = |(place, (operator, perm)): (usize, &(&str, &[i64]))| {
            let attributes = if perm.is_empty() { vec![] } else { vec![build::ints("perm", perm)] };
            build::node(operator, &[&name(place)], &name(place + 1), attributes)
        };
        graph(nodes.iter().enumerate().map(node).collect())
    }

    #[test]
    fn nodes_tell_where_the_channels_are() {
        const BACK: &[i64] = &[0, 2, 3, 1];
        const SWAP: &[i64] = &[0, 3, 2, 1];
        type Nodes = Vec<(&'static str, &'static [i64])>;
        let mut rows: Vec<(Nodes, Option<TensorLayout>)> = vec![
            (vec![], None),
            (vec![("Transpose", BACK)], Some(NHWC)),
            (vec![("Transpose", &[1, 2, 0])], Some(NHWC)),
            (vec![("Transpose", &[0, 3, 1, 2])], Some(NCHW)),
            (vec![("Transpose", &[2, 0, 1])], Some(NCHW)),
            (vec![("Transpose", &[0, 1, 3, 2])], None),
            (vec![("Transpose", &[])], None),
            (vec![("Conv", &[]), ("Transpose", SWAP)], None),
            (vec![("Conv", &[]), ("Transpose", SWAP), ("Softmax", &[]), ("Transpose", SWAP)], Some(NCHW)),
            (vec![("Conv", &[]), ("Neg", &[])], None),
            (vec![("Transpose", BACK), ("Conv", &[])], Some(NCHW)),
        ];
        for operator in ["Conv", "ConvTranspose", "BatchNormalization", "MaxPool", "AveragePool", "DepthToSpace"] {
            rows.push((vec![(operator, &[])], Some(NCHW)));
        }
        for operator in ["Sigmoid", "Softmax", "LogSoftmax", "Identity", "Cast", "Resize", "Clip", "Relu", "Add", "Mul"]
        {
            rows.push((vec![("Transpose", BACK), (operator, &[])], Some(NHWC)));
        }
        for (nodes, expected) in rows {
            assert_eq!(layout_of_nodes(&Index::of(&chain(&nodes)), "scores"), expected, "{nodes:?}");
        }
    }

    #[test]
    fn what_speaks_for_one_of_two_readings() {
        const BACK: &[(&str, &[i64])] = &[("Transpose", &[0, 2, 3, 1])];
        struct Case {
            name: &'static str,
            dims: [Option<usize>; 4],
            nodes: &'static [(&'static str, &'static [i64])],
            classes: Option<usize>,
            asked: Option<TensorLayout>,
            usual: Option<TensorLayout>,
            expected: Option<TensorLayout>,
        }
        let open = Case {
            name: "nothing",
            dims: [OPEN; 4],
            nodes: &[],
            classes: None,
            asked: None,
            usual: None,
            expected: None,
        };
        let square = [OPEN, fixed(32), fixed(32), fixed(32)];
        let cases = [
            Case { ..open },
            Case { name: "an option", asked: Some(NHWC), expected: Some(NHWC), ..open },
            Case { name: "what is usual", usual: Some(NHWC), expected: Some(NHWC), ..open },
            Case { name: "nodes", nodes: BACK, expected: Some(NHWC), ..open },
            Case { name: "nodes before what is usual", nodes: BACK, usual: Some(NCHW), expected: Some(NHWC), ..open },
            Case { name: "an option before nodes", nodes: BACK, asked: Some(NCHW), expected: Some(NCHW), ..open },
            Case { name: "classes that no reading has", classes: Some(5), nodes: BACK, expected: Some(NHWC), ..open },
            Case { name: "two numbers", dims: [OPEN, fixed(4), fixed(4), fixed(5)], ..open },
            Case {
                name: "the number of classes",
                dims: [OPEN, fixed(4), fixed(4), fixed(5)],
                classes: Some(5),
                expected: Some(NHWC),
                ..open
            },
            Case {
                name: "the number of classes in front",
                dims: [OPEN, fixed(5), fixed(4), fixed(4)],
                classes: Some(5),
                nodes: BACK,
                expected: Some(NCHW),
                ..open
            },
            Case { name: "both the number of classes", dims: square, classes: Some(32), ..open },
            Case { name: "an option for that", dims: square, asked: Some(NHWC), expected: Some(NHWC), ..open },
        ];
        for Case { name, dims, nodes, classes, asked, usual, expected } in cases {
            let hints = Hints { output: None, layout: asked, classes, usual };
            let found = read(&chain(nodes), DataType::Float, Some(&dims), &input(None, None), &hints);
            assert_eq!(found.unwrap().map(|form| form.layout), expected, "{name}");
        }
        // A known number of channels, and then known sides, take precedence over nodes.
        let nodes = chain(&[("Transpose", &[1, 2, 0])]);
        let three = |dims: [Option<usize>; 3], width| {
            read(&nodes, DataType::Float, Some(&dims), &input(None, width), &Hints::default()).flatten().unwrap().layout
        };
        assert_eq!(three([OPEN, OPEN, OPEN], None), NCHW);
        assert_eq!(three([OPEN, fixed(4), fixed(5)], fixed(10)), NCHW);
        assert_eq!(three([fixed(5), fixed(4), fixed(5)], fixed(10)), NHWC);
        // An open dimension before two sides is the batch, unless there are more than two classes.
        let hidden = |classes| {
            let hints = Hints { classes, ..Hints::default() };
            read(&graph(vec![]), DataType::Float, Some(&[OPEN, OPEN, OPEN]), &input(None, None), &hints).unwrap()
        };
        for (classes, kind) in
            [(None, Some(PixelValues::Foreground)), (Some(2), Some(PixelValues::Foreground)), (Some(3), None)]
        {
            assert_eq!(hidden(classes).map(|form| form.kind), kind, "{classes:?}");
        }
    }

    fn value(name: &str, dims: &[Dim]) -> super::super::types::ValueInfoProto {
        build::value(name, DataType::Float, dims)
    }

    #[test]
    fn the_output_that_is_chosen_is_left_alone() {
        use Dim::{Fixed, Named};
        let scores = [Named("N"), Fixed(5), Named("h"), Named("w")];
        let model = |outputs: &[(&str, &[Dim])]| {
            let nodes = ["a", "b"].map(|name| build::node("Conv", &["image"], name, vec![])).to_vec();
            let output = outputs.iter().map(|(name, dims)| value(name, dims)).collect();
            build::model(GraphProto { output, ..graph(nodes) }, None)
        };
        let choose = |model: &mut ModelProto, name: Option<&str>| {
            let hints = Hints { output: name, ..Hints::default() };
            let form =
                choose_output(model, &input(None, None), &hints, &mut |_, _| panic!("nothing is to be found out"));
            let graph = model.graph.as_ref().unwrap();
            let nodes = graph.node.iter().map(|node| node.output[0].clone()).collect::<Vec<_>>().join(" ");
            form.map(|_| (graph.output[0].name().to_owned(), graph.output.len(), nodes))
        };
        let chosen = |name: &str, nodes: &str| (name.to_owned(), 1, nodes.to_owned());
        let both = || model(&[("a", &scores), ("b", &scores)]);
        assert_eq!(choose(&mut both(), None).unwrap(), chosen("a", "a"));
        assert_eq!(choose(&mut both(), Some("b")).unwrap(), chosen("b", "b"));
        // A single output needs no change.
        assert_eq!(choose(&mut model(&[("a", &scores)]), None).unwrap(), chosen("a", "a b"));
        let list = [Named("N"), Fixed(1000)];
        assert_eq!(choose(&mut model(&[("a", &list), ("b", &scores)]), None).unwrap(), chosen("b", "b"));
        let message = |model: &mut ModelProto, name| choose(model, name).unwrap_err().to_string();
        assert!(message(&mut both(), Some("c")).contains("has no output 'c'; it has [\"a\", \"b\"]"));
        assert!(message(&mut model(&[("a", &list)]), Some("a")).contains("'a' is a float32 tensor ? x 1000; scores"));
        assert!(message(&mut model(&[("a", &list), ("b", &list)]), None).contains("1000, output 'b' is"));
    }

    #[test]
    fn lists_of_objects_and_their_near_misses() {
        use Dim::{Fixed, Named};
        struct Case {
            name: &'static str,
            maps: (DataType, Vec<Dim>),
            list: (DataType, Vec<Dim>),
            refused: bool,
        }
        let (float, a) = (DataType::Float, Named("a"));
        let case = |name, maps: i64, list: &[Dim], refused| Case {
            name,
            maps: (float, vec![a, Fixed(maps), a, a]),
            list: (float, list.to_vec()),
            refused,
        };
        let boxes = [a, Fixed(4)];
        let cases = [
            case("boxes", 5, &boxes, true),
            case("boxes of a picture", 5, &[Fixed(1), a, Fixed(4)], true),
            case("boxes of two pictures", 5, &[Fixed(2), a, Fixed(4)], false),
            case("boxes of four dimensions", 5, &[a, a, a, Fixed(4)], false),
            case("five numbers", 5, &[a, Fixed(5)], false),
            case("four lists", 5, &[Fixed(4), a], false),
            Case { list: (DataType::Int64, boxes.to_vec()), ..case("integers", 5, &[], false) },
            Case { list: (DataType::Float16, boxes.to_vec()), ..case("half precision", 5, &[], true) },
            Case { maps: (DataType::Int64, vec![a, Fixed(1), a, a]), ..case("class indices", 1, &boxes, false) },
            Case { maps: (float, vec![Fixed(5), a, a]), ..case("three dimensions", 5, &boxes, false) },
            case("16 prototypes", 16, &[a, Fixed(21), a], true),
            case("the other order", 16, &[a, Fixed(8400), Fixed(21)], true),
            case("no room for a class", 16, &[a, Fixed(20), a], false),
            case("one of two short", 16, &[a, Fixed(8400), Fixed(20)], false),
            case("15 prototypes", 15, &[a, Fixed(20), a], false),
            case("a list of no picture", 16, &[Fixed(21), a], false),
            case("a list of open sides", 16, &[a, a, a], false),
            case("a class for each map", 16, &[a, Fixed(16), Fixed(9)], true),
            case("for each of other maps", 16, &[a, Fixed(17), Fixed(9)], false),
            case("for each of few maps", 15, &[a, Fixed(15), Fixed(9)], false),
        ];
        for Case { name, maps, list, refused } in cases {
            let output = [("maps", maps), ("list", list)];
            let output = output.map(|(name, (element, dims))| build::value(name, element, &dims)).to_vec();
            let graph = GraphProto { output, ..graph(vec![]) };
            let found = refuse_instances(&Index::of(&graph), &input(None, None), &Hints::default());
            let words = found.err().map(|error| error.to_string());
            assert_eq!(words.is_some(), refused, "{name}: {words:?}");
            assert!(words.is_none_or(|words| words.contains("output 'list'")), "{name}");
        }
    }

    #[test]
    fn one_run_tells_what_a_shape_does_not() {
        use Dim::{Fixed, Named};
        let open = [Named("N"), Named("c"), Named("h"), Named("w")];
        let model = |dims: &[Dim]| {
            let output = vec![value("a", dims)];
            build::model(GraphProto { output, ..graph(vec![build::node("Neg", &["image"], "a", vec![])]) }, None)
        };
        let dims = |model: &ModelProto| {
            let Declared::Tensor { dims, .. } = Declared::of(&model.graph.as_ref().unwrap().output[0]) else {
                panic!()
            };
            dims
        };
        let hints = Hints { usual: Some(NCHW), ..Hints::default() };
        let mut runs = 0;
        let mut told = model(&open);
        let form = choose_output(&mut told, &input(None, None), &hints, &mut |network, sizes| {
            runs += 1;
            assert_eq!(network.graph.as_ref().unwrap().output[0].name(), "fcn.shape");
            assert_eq!(sizes[0], Size::new(96, 64));
            Ok((sizes[0], vec![1, 1, 32, 48]))
        });
        // The shape did not reveal that there is a single channel.
        assert_eq!(form.unwrap().kind, PixelValues::Foreground);
        assert_eq!((runs, dims(&told)), (1, None));
        // A failed run does not change the interpretation.
        let mut failed = model(&open);
        let mut fails = |_: &ModelProto, _: &[_]| Err(Error::Runtime("it fails".into()));
        let form = choose_output(&mut failed, &input(None, None), &hints, &mut fails).unwrap();
        assert_eq!((form.kind, form.channels, dims(&failed)), (PixelValues::Scores, None, Some(vec![None; 4])));
        let error = choose_output(&mut model(&open), &input(None, None), &Hints::default(), &mut fails).unwrap_err();
        assert!(error.to_string().contains("set the option output_layout"), "{error}");
        // But a run that times out is an error, and so is one after which nothing is known.
        let mut late = |_: &ModelProto, _: &[_]| Err(Error::Timeout("too late".into()));
        let error = choose_output(&mut model(&open), &input(None, None), &hints, &mut late).unwrap_err();
        assert_eq!(error, Error::Timeout("too late".into()));
        let mut shapeless = model(&open);
        graph::forget_shape(&mut shapeless.graph.as_mut().unwrap().output[0]);
        let error = choose_output(&mut shapeless, &input(None, None), &hints, &mut fails).unwrap_err();
        assert_eq!(error, Error::Runtime("it fails".into()));
        // If the shape is declared, or rules out a segmentation, no run is needed.
        for (dims, fits) in [
            ([Named("N"), Fixed(5), Named("h"), Named("w")], true),
            ([Fixed(2), Fixed(5), Named("h"), Named("w")], false),
        ] {
            let unused = &mut |_: &ModelProto, _: &[_]| panic!("no run is needed");
            assert_eq!(choose_output(&mut model(&dims), &input(None, None), &hints, unused).is_ok(), fits);
        }
    }
}
