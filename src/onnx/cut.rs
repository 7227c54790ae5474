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

#[cfg(test)]
mod tests {
    use super::{
        super::{
            build,
            shape::TensorLayout,
            types::{AttributeProto, TensorProto},
        },
        *,
    };

    const MODE: &str = "coordinate_transformation_mode";
    const POLICY: &str = "keep_aspect_ratio_policy";

    /// A change to a graph that can be cut, and whether it still can.
    struct Case {
        name: &'static str,
        change: fn(&mut GraphProto),
        cut: bool,
    }

    const fn case(name: &'static str, cut: bool, change: fn(&mut GraphProto)) -> Case {
        Case { name, change, cut }
    }

    fn input(height: Option<usize>, width: Option<usize>) -> ImageInput {
        let element = DataType::Float;
        ImageInput { name: "image".into(), height, width, layout: TensorLayout::Nchw, grey: false, element }
    }

    /// A convolution and the node that computes `scores` from its result, `low`.
    fn graph(last: NodeProto, initializer: Vec<TensorProto>) -> GraphProto {
        GraphProto {
            node: vec![build::node("Conv", &["image", "kernel"], "low", vec![]), last],
            initializer,
            output: vec![build::value("scores", DataType::Float, &[])],
            ..GraphProto::default()
        }
    }

    fn numbers(count: i64) -> Vec<f32> {
        (0..count).map(|number| number as f32 + 1.0).collect()
    }

    fn weight(dims: [i64; 4]) -> TensorProto {
        build::floats("weight", &dims, &numbers(dims.iter().product()))
    }

    /// Three classes, upsampled by four.
    fn transposed_graph() -> GraphProto {
        let attributes = vec![build::ints("strides", &[4, 4]), build::ints("pads", &[2; 4])];
        let last = build::node("ConvTranspose", &["low", "weight", "bias"], "scores", attributes);
        graph(last, vec![weight([3, 3, 8, 8]), build::floats("bias", &[3], &[0.5, -1.0, 2.0])])
    }

    fn bilinear_graph() -> GraphProto {
        let last = build::node("Resize", &["low", "", "scales"], "scores", vec![build::string("mode", "linear")]);
        graph(last, vec![build::floats("scales", &[4], &[1.0, 1.0, 4.0, 4.0])])
    }

    /// Sets an attribute of the last node.
    fn set(graph: &mut GraphProto, attribute: AttributeProto) {
        remove(graph, attribute.name());
        graph.node[1].attribute.push(attribute);
    }

    fn remove(graph: &mut GraphProto, attribute: &str) {
        graph.node[1].attribute.retain(|other| other.name() != attribute);
    }

    /// Sets a constant of the graph.
    fn put(graph: &mut GraphProto, constant: TensorProto) {
        graph.initializer.retain(|other| other.name() != constant.name());
        graph.initializer.push(constant);
    }

    /// Turns a constant into a computed value.
    fn compute(graph: &mut GraphProto, constant: &str) {
        graph.initializer.retain(|other| other.name() != constant);
        graph.node.insert(0, build::node("Identity", &["image"], constant, vec![]));
    }

    fn strided(graph: &mut GraphProto, stride: i64) {
        set(graph, build::ints("strides", &[stride; 2]));
        set(graph, build::ints("pads", &[stride / 2; 4]));
        put(graph, weight([3, 3, 2 * stride, 2 * stride]));
    }

    fn grouped(graph: &mut GraphProto, group: i64, [inputs, outputs]: [i64; 2]) {
        set(graph, build::int("group", group));
        put(graph, weight([inputs, outputs, 8, 8]));
        put(graph, build::floats("bias", &[inputs], &numbers(inputs)));
    }

    fn scaled(graph: &mut GraphProto, scales: &[f32]) {
        put(graph, build::floats("scales", &[scales.len() as i64], scales));
    }

    fn check(cases: &[Case], start: fn() -> GraphProto) {
        for Case { name, change, cut } in cases {
            let mut graph = start();
            change(&mut graph);
            let before = graph.clone();
            let (tail, whole) = super::cut(&mut graph, &input(None, None)).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(tail != Tail::Whole, *cut, "{name}");
            if *cut {
                assert_eq!((whole, graph.output[0].name()), (Some(before), "low"), "{name}");
            } else {
                assert_eq!((whole, graph), (None, before), "{name}");
            }
        }
    }

    #[test]
    fn transposed_convolutions_that_are_cut_and_their_near_misses() {
        check(
            &[
                case("as it is", true, |_| ()),
                case("stride 2", true, |g| strided(g, 2)),
                case("stride 1", false, |g| strided(g, 1)),
                case("an odd stride", false, |g| strided(g, 3)),
                case("stride 64", true, |g| strided(g, 64)),
                case("stride 66", false, |g| strided(g, 66)),
                case("two strides", false, |g| set(g, build::ints("strides", &[4, 2]))),
                case("three strides", false, |g| set(g, build::ints("strides", &[4, 4, 4]))),
                case("no strides", false, |g| remove(g, "strides")),
                case("a taller kernel", false, |g| put(g, weight([3, 3, 10, 8]))),
                case("a wider kernel", false, |g| put(g, weight([3, 3, 8, 10]))),
                case("less padding", false, |g| set(g, build::ints("pads", &[1; 4]))),
                case("less padding on one side", false, |g| set(g, build::ints("pads", &[2, 2, 2, 1]))),
                case("no padding", false, |g| remove(g, "pads")),
                case("dilations of 1", true, |g| set(g, build::ints("dilations", &[1, 1]))),
                case("dilations", false, |g| set(g, build::ints("dilations", &[1, 2]))),
                case("output padding of 0", true, |g| set(g, build::ints("output_padding", &[0, 0]))),
                case("output padding", false, |g| set(g, build::ints("output_padding", &[0, 1]))),
                case("an output shape", false, |g| set(g, build::ints("output_shape", &[64, 96]))),
                case("auto_pad NOTSET", true, |g| set(g, build::string("auto_pad", "NOTSET"))),
                case("auto_pad without a value", true, |g| set(g, build::string("auto_pad", ""))),
                case("auto_pad SAME_UPPER", false, |g| set(g, build::string("auto_pad", "SAME_UPPER"))),
                case("a group", true, |g| set(g, build::int("group", 1))),
                case("a group for each class", true, |g| grouped(g, 3, [3, 1])),
                case("a group for each two classes", false, |g| grouped(g, 2, [4, 2])),
                case("groups with two outputs each", false, |g| grouped(g, 3, [3, 2])),
                case("one output of all classes", false, |g| grouped(g, 1, [3, 1])),
                case("more outputs than inputs", false, |g| grouped(g, 1, [3, 4])),
                case("one class", true, |g| grouped(g, 1, [1, 1])),
                case("255 classes", true, |g| grouped(g, 255, [255, 1])),
                case("256 classes", false, |g| grouped(g, 256, [256, 1])),
                case("computed weights", false, |g| compute(g, "weight")),
                case("half precision", false, |g| put(g, build::halves("weight", &[3, 3, 8, 8], &[0; 576]))),
                case("weights of three dimensions", false, |g| {
                    put(g, build::floats("weight", &[9, 8, 8], &[1.0; 576]));
                }),
                case("no bias", true, |g| drop(g.node[1].input.pop())),
                case("a bias without a name", true, |g| g.node[1].input[2].clear()),
                case("a bias that is computed", false, |g| compute(g, "bias")),
                case("the picture itself", false, |g| g.node[1].input[0] = "image".into()),
                case("another operator", false, |g| g.node[1].op_type = Some("Conv".into())),
                case("two outputs", false, |g| g.output.push(build::value("low", DataType::Float, &[]))),
            ],
            transposed_graph,
        );
    }

    #[test]
    fn resizes_that_are_cut_and_their_near_misses() {
        check(
            &[
                case("as it is", true, |_| ()),
                case("no mode", false, |g| remove(g, "mode")),
                case("cubic", false, |g| set(g, build::string("mode", "cubic"))),
                case("half_pixel", true, |g| set(g, build::string(MODE, "half_pixel"))),
                case("pytorch_half_pixel", true, |g| set(g, build::string(MODE, "pytorch_half_pixel"))),
                case("align_corners", false, |g| set(g, build::string(MODE, "align_corners"))),
                case("asymmetric", false, |g| set(g, build::string(MODE, "asymmetric"))),
                case("axes", false, |g| set(g, build::ints("axes", &[0, 1, 2, 3]))),
                case("stretch", true, |g| set(g, build::string(POLICY, "stretch"))),
                case("a policy without a value", true, |g| set(g, build::string(POLICY, ""))),
                case("not_larger", false, |g| set(g, build::string(POLICY, "not_larger"))),
                case("antialias 0", true, |g| set(g, build::int("antialias", 0))),
                case("antialias 1", false, |g| set(g, build::int("antialias", 1))),
                case("by 2", true, |g| scaled(g, &[1.0, 1.0, 2.0, 2.0])),
                case("by 1", false, |g| scaled(g, &[1.0, 1.0, 1.0, 1.0])),
                case("by 64", true, |g| scaled(g, &[1.0, 1.0, 64.0, 64.0])),
                case("by 65", false, |g| scaled(g, &[1.0, 1.0, 65.0, 65.0])),
                case("by 2.5", false, |g| scaled(g, &[1.0, 1.0, 2.5, 2.5])),
                case("by 4 and 2", false, |g| scaled(g, &[1.0, 1.0, 4.0, 2.0])),
                case("more channels", false, |g| scaled(g, &[1.0, 2.0, 4.0, 4.0])),
                case("more pictures", false, |g| scaled(g, &[2.0, 1.0, 4.0, 4.0])),
                case("two scales", false, |g| scaled(g, &[4.0, 4.0])),
                case("scales that are computed", false, |g| compute(g, "scales")),
                case("scales that are no floats", false, |g| {
                    put(g, build::int64s("scales", &[4], &[1, 1, 4, 4]));
                }),
                case("scales of another number", false, |g| {
                    put(g, build::floats("scales", &[5], &[1.0, 1.0, 4.0, 4.0]));
                }),
                case("no scales", false, |g| g.node[1].input.truncate(2)),
                case("sizes without a name", true, |g| g.node[1].input.push(String::new())),
                case("sizes of a picture of any size", false, |g| {
                    g.node[1].input.push("sizes".into());
                    put(g, build::int64s("sizes", &[4], &[1, 3, 64, 96]));
                }),
                case("the picture itself", false, |g| g.node[1].input[0] = "image".into()),
            ],
            bilinear_graph,
        );
    }

    #[test]
    fn a_tail_has_what_was_cut_off() {
        let cut = |mut graph: GraphProto, input: &ImageInput| super::cut(&mut graph, input).unwrap().0;
        let open = input(None, None);
        let (stride, classes, bias) = (4, 3, vec![0.5, -1.0, 2.0]);
        let dense = numbers(576);
        let mut graph = transposed_graph();
        let expected =
            Tail::Transposed { stride, classes, separate: false, weights: dense.clone(), bias: bias.clone() };
        assert_eq!(cut(graph.clone(), &open), expected);
        // Zeros off the diagonal.
        let on_diagonal = |index: usize| [0, 4, 8].contains(&(index / 64));
        let mut diagonal: Vec<f32> =
            dense.iter().enumerate().map(|(i, &value)| if on_diagonal(i) { value } else { 0.0 }).collect();
        put(&mut graph, build::floats("weight", &[3, 3, 8, 8], &diagonal));
        let weights: Vec<f32> = diagonal.iter().copied().filter(|&value| value != 0.0).collect();
        assert_eq!(weights.len(), 3 * 64);
        let expected = Tail::Transposed { stride, classes, separate: true, weights, bias: bias.clone() };
        assert_eq!(cut(graph.clone(), &open), expected);
        // One that is not zero.
        diagonal[64] = -1e-30;
        put(&mut graph, build::floats("weight", &[3, 3, 8, 8], &diagonal));
        graph.node[1].input.pop();
        let expected = Tail::Transposed { stride, classes, separate: false, weights: diagonal, bias: vec![0.0; 3] };
        assert_eq!(cut(graph, &open), expected);
        // Each class independently.
        let mut graph = transposed_graph();
        grouped(&mut graph, 3, [3, 1]);
        let expected = Tail::Transposed { stride, classes, separate: true, weights: numbers(192), bias: numbers(3) };
        assert_eq!(cut(graph, &open), expected);
        assert_eq!(cut(bilinear_graph(), &open), Tail::Bilinear { factor: 4 });
        // Sizes in the model, for images of one size.
        for (height, width, tail) in [(64, 96, Tail::ToInput), (65, 96, Tail::Whole), (64, 95, Tail::Whole)] {
            let mut graph = bilinear_graph();
            graph.node[1].input.push("sizes".into());
            put(&mut graph, build::int64s("sizes", &[4], &[1, 3, height, width]));
            assert_eq!(cut(graph, &input(Some(64), Some(96))), tail, "{height} x {width}");
        }
    }

    #[test]
    fn contradictions_are_errors() {
        let mut graph = transposed_graph();
        put(&mut graph, build::floats("bias", &[2], &[0.5, -1.0]));
        let error = super::cut(&mut graph, &input(None, None)).unwrap_err().to_string();
        assert!(error.contains("has 2 bias values for 3 channels"), "{error}");
        let mut graph = transposed_graph();
        graph.output[0].name = Some("nothing".into());
        let error = super::cut(&mut graph, &input(None, None)).unwrap_err().to_string();
        assert!(error.contains("computes its output 'nothing'"), "{error}");
    }

    #[test]
    fn a_background_in_front_takes_nothing_from_the_others() {
        const TAPS: usize = 4 * 2 * 2;
        let blocks = |values: &[f32]| -> Vec<f32> { values.iter().flat_map(|&value| [value; TAPS]).collect() };
        let tail = |classes, separate, weights: &[f32], bias: &[f32]| Tail::Transposed {
            stride: 2,
            classes,
            separate,
            weights: blocks(weights),
            bias: bias.to_vec(),
        };
        // From each class to each class.
        let dense = tail(2, false, &[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0]);
        let expected = tail(3, false, &[0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 0.0, 3.0, 4.0], &[-0.5, 5.0, 6.0]);
        assert_eq!(dense.with_background(-0.5).unwrap(), expected);
        let separate = tail(2, true, &[1.0, 2.0], &[5.0, 6.0]);
        assert_eq!(separate.with_background(0.0).unwrap(), tail(3, true, &[0.0, 1.0, 2.0], &[0.0, 5.0, 6.0]));
        let one = tail(1, false, &[1.0], &[5.0]);
        assert_eq!(one.with_background(0.0).unwrap(), tail(2, true, &[0.0, 1.0], &[0.0, 5.0]));
        for tail in [Tail::Whole, Tail::ToInput, Tail::Bilinear { factor: 3 }] {
            assert_eq!(tail.clone().with_background(1.0).unwrap(), tail);
        }
    }

    #[test]
    fn the_factor_is_how_many_times_scores_grow() {
        let weights = vec![0.0; 16];
        let transposed = Tail::Transposed { stride: 2, classes: 1, separate: true, weights, bias: vec![0.0] };
        let factors = [transposed, Tail::Bilinear { factor: 3 }, Tail::Whole, Tail::ToInput].map(|tail| tail.factor());
        assert_eq!(factors, [Some(2), Some(3), None, None]);
    }
}
