//! Dequantizes int8 weights to float32 when a model is loaded, so that ONNX Runtime can fold and
//! pack them. If the activations that they are combined with are quantized, too, both stay as they
//! are and ONNX Runtime uses integer arithmetic. It has none for CUDA, so there everything is
//! dequantized.

use std::collections::{HashMap, HashSet};

use super::{
    WEIGHTS, build, expect_count, floats,
    graph::{drop_unused, drop_unused_weights},
    types::{GraphProto, ModelProto, NodeProto, TensorProto, tensor_proto::DataType},
};
use prost::bytes::Bytes;

use crate::{Error, Result, error::plain, memory};

/// Replaces each DequantizeLinear node with constant inputs by its float32 result, unless a node
/// that reads it also reads a DequantizeLinear of computed values.
pub(crate) fn dequantize_weights(graph: &mut GraphProto) -> Result<()> {
    let beside_integers = beside_integers(graph);
    let constants: HashMap<&str, &TensorProto> =
        graph.initializer.iter().map(|tensor| (tensor.name(), tensor)).collect();
    // Several nodes may read one tensor, and each of them creates another copy.
    let mut left = MAX_COPIES * graph.initializer.iter().map(stored).sum::<usize>();
    let mut weights = Vec::new();
    let mut kept = Vec::with_capacity(graph.node.len());
    for node in std::mem::take(&mut graph.node) {
        let inputs: Option<Vec<_>> = node
            .input
            .iter()
            .filter(|name| !name.is_empty())
            .map(|name| constants.get(name.as_str()).copied())
            .collect();
        match inputs {
            Some(inputs)
                if node.op_type() == "DequantizeLinear"
                    && is_supported(&node, &inputs)
                    && node.output.iter().all(|output| !beside_integers.contains(output)) =>
            {
                left = left.checked_sub(stored(inputs[0])).ok_or_else(|| {
                    Error::Model(format!(
                        "node '{}' of the model dequantizes a tensor that other nodes have \
                         dequantized already, more than {MAX_COPIES} times on average; share the \
                         result of one node instead",
                        plain(node.name())
                    ))
                })?;
                weights.push(dequantize(&node, &inputs)?);
            }
            _ => kept.push(node),
        }
    }
    graph.node = kept;
    graph.initializer.extend(weights);
    drop_unused_weights(graph);
    Ok(())
}

/// The maximum number of float32 tensors per integer tensor, on average.
const MAX_COPIES: usize = 2;

/// The number of stored values in a tensor of 8-bit integers.
fn stored(tensor: &TensorProto) -> usize {
    tensor.raw_data().len().max(tensor.int32_data.len())
}

/// The first ONNX opset in which Clip takes its bounds as inputs.
const MIN_OPSET: i64 = 11;

/// Removes integers from the model: weights become float32, and a value that is quantized and
/// dequantized is clipped to the quantized range instead, which may stand for an activation
/// function. Other kinds of quantization are not changed.
pub(crate) fn without_integers(model: &ModelProto) -> Result<ModelProto> {
    let mut model = model.clone();
    let opset =
        model.opset_import.iter().find(|import| import.domain().is_empty()).map_or(0, |import| import.version());
    let Some(graph) = model.graph.as_mut().filter(|_| opset >= MIN_OPSET) else { return Ok(model) };
    let constants: HashMap<&str, &TensorProto> =
        graph.initializer.iter().map(|tensor| (tensor.name(), tensor)).collect();
    let stored: HashMap<&str, &NodeProto> = graph
        .node
        .iter()
        .filter(|node| node.op_type() == "QuantizeLinear")
        .flat_map(|node| node.output.iter().map(move |output| (output.as_str(), node)))
        .collect();
    let mut nodes = Vec::with_capacity(graph.node.len());
    let mut added = Vec::new();
    for node in &graph.node {
        let inputs: Option<Vec<_>> = node.input.iter().map(|name| constants.get(name.as_str()).copied()).collect();
        let quantize = node.input.first().and_then(|name| stored.get(name.as_str()));
        match (node.op_type(), inputs, quantize) {
            ("DequantizeLinear", Some(inputs), _) if is_supported(node, &inputs) || is_bias(&inputs) => {
                added.push(dequantize(node, &inputs)?);
            }
            ("DequantizeLinear", None, Some(quantize)) => match range(quantize, node, &constants) {
                Some((lowest, highest)) => {
                    let output = node.output.first().map_or("", String::as_str);
                    let [low, high] = ["lowest", "highest"].map(|bound| format!("fcn.{bound}.{output}"));
                    added.extend([build::floats(&low, &[], &[lowest]), build::floats(&high, &[], &[highest])]);
                    nodes.push(build::node("Clip", &[&quantize.input[0], &low, &high], output, vec![]));
                }
                None => nodes.push(node.clone()),
            },
            _ => nodes.push(node.clone()),
        }
    }
    graph.node = nodes;
    graph.initializer.extend(added);
    drop_unused(graph);
    Ok(model)
}

/// The lowest and the highest value that can be represented between these two nodes. They must
/// share one scale and one zero point, and use 8-bit integers.
fn range(quantize: &NodeProto, dequantize: &NodeProto, constants: &HashMap<&str, &TensorProto>) -> Option<(f32, f32)> {
    let plain = |node: &NodeProto| {
        let [_, scale, zero] = &node.input[..] else { return None };
        let (scale, zero) = (constants.get(scale.as_str())?, constants.get(zero.as_str())?);
        let (scales, zeros) = (floats(scale).ok()?, integers(zero).ok()?);
        let ([scale], [point]) = (&scales[..], &zeros[..]) else { return None };
        Some((*scale, *point, zero.data_type()))
    };
    let (scale, point, element) = plain(quantize)?;
    let (least, most) = match element {
        element if element == DataType::Int8 as i32 => (-128, 127),
        element if element == DataType::Uint8 as i32 => (0, 255),
        _ => return None,
    };
    (plain(dequantize)? == (scale, point, element))
        .then(|| ((least - point) as f32 * scale, (most - point) as f32 * scale))
}

/// Whether these are the inputs of a quantized bias: int32, with one float32 scale or one per
/// value.
fn is_bias(inputs: &[&TensorProto]) -> bool {
    matches!(inputs, [x, scale] if x.data_type() == DataType::Int32 as i32 && x.dims.len() == 1 && is_scale(scale))
}

/// Whether this is one float32 scale, or a list of them.
fn is_scale(tensor: &TensorProto) -> bool {
    tensor.data_type() == DataType::Float as i32 && tensor.dims.len() <= 1
}

/// Names read by nodes that also read dequantized activations.
fn beside_integers(graph: &GraphProto) -> HashSet<String> {
    let constants: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name()).collect();
    let values: HashSet<&String> = graph
        .node
        .iter()
        .filter(|node| node.op_type() == "DequantizeLinear")
        .filter(|node| node.input.first().is_some_and(|input| !constants.contains(input.as_str())))
        .flat_map(|node| &node.output)
        .collect();
    let readers = graph.node.iter().filter(|node| node.input.iter().any(|input| values.contains(input)));
    readers.flat_map(|node| node.input.iter().cloned()).collect()
}

/// Whether these are the inputs of quantized weights: 8-bit integers, with one float32 scale or one
/// per index of an axis.
fn is_supported(node: &NodeProto, inputs: &[&TensorProto]) -> bool {
    let integer = |t: &TensorProto| [DataType::Int8 as i32, DataType::Uint8 as i32].contains(&t.data_type());
    let blocked = node.attribute.iter().any(|a| a.name() == "block_size" && a.i() != 0);
    match inputs {
        [x, scale] => integer(x) && is_scale(scale) && !blocked,
        [x, scale, zero] => integer(x) && integer(zero) && is_scale(scale) && zero.dims.len() <= 1 && !blocked,
        _ => false,
    }
}

fn dequantize(node: &NodeProto, inputs: &[&TensorProto]) -> Result<TensorProto> {
    let x = inputs[0];
    let values = integers(x)?;
    let scales = floats(inputs[1])?;
    let zeros = inputs.get(2).map_or(Ok(vec![0]), |zero| integers(zero))?;
    let rank = x.dims.len() as i64;
    let axis = node.attribute.iter().find(|a| a.name() == "axis").map_or(1, |a| a.i());
    let axis = if axis < 0 { axis + rank } else { axis };
    let (channels, inner) = if scales.len() == 1 && zeros.len() == 1 {
        (1, values.len().max(1))
    } else {
        let Some(&channels) = usize::try_from(axis).ok().and_then(|axis| x.dims.get(axis)) else {
            return Err(Error::Model(format!(
                "node '{}' has axis {axis} for a tensor of {rank} dimensions",
                node.name()
            )));
        };
        // The product of all dimensions equals the number of values, unless that is 0.
        let inner = x.dims[axis as usize + 1..].iter().fold(1i64, |product, dim| product.wrapping_mul(*dim));
        (channels as usize, (inner as usize).max(1))
    };
    let bad = |what: &str, found: usize| {
        Error::Model(format!("node '{}' has {found} {what} for {channels} channels", node.name()))
    };
    if scales.len() != channels {
        return Err(bad("scales", scales.len()));
    }
    if zeros.len() != 1 && zeros.len() != channels {
        return Err(bad("zero points", zeros.len()));
    }
    let floats = values.iter().enumerate().map(|(i, &value)| {
        let channel = i / inner % channels;
        (i64::from(value) - i64::from(zeros[channel % zeros.len()])) as f32 * scales[channel]
    });
    let floats = memory::collect(floats, WEIGHTS)?;
    Ok(TensorProto {
        name: node.output.first().cloned(),
        dims: x.dims.clone(),
        data_type: Some(DataType::Float as i32),
        raw_data: Some(raw(&floats)?),
        ..TensorProto::default()
    })
}

/// Little-endian bytes of float32 values, as in `raw_data`.
fn raw(values: &[f32]) -> Result<Bytes> {
    let mut bytes = Vec::new();
    memory::reserve(&mut bytes, size_of_val(values), WEIGHTS)?;
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    Ok(bytes.into())
}

/// The values of a tensor of 8-bit integers or of int32.
fn integers(tensor: &TensorProto) -> Result<Vec<i32>> {
    let bytes = tensor.raw_data();
    let values: Vec<i32> = match tensor.data_type() {
        _ if bytes.is_empty() => memory::copy(&tensor.int32_data, WEIGHTS)?,
        kind if kind == DataType::Int32 as i32 => {
            memory::collect(bytes.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]])), WEIGHTS)?
        }
        kind if kind == DataType::Int8 as i32 => {
            memory::collect(bytes.iter().map(|byte| i32::from(byte.cast_signed())), WEIGHTS)?
        }
        _ => memory::collect(bytes.iter().map(|&byte| i32::from(byte)), WEIGHTS)?,
    };
    expect_count(tensor, values.len())?;
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::super::{build, types::AttributeProto};
    use super::*;

    /// A convolution of `input` with weights 2 x -3 and bias 2 x 5, both stored as integers.
    fn graph(input: &str, mut nodes: Vec<NodeProto>) -> GraphProto {
        nodes.push(build::node("DequantizeLinear", &["w.int8", "step"], "w", vec![]));
        nodes.push(build::node("DequantizeLinear", &["b.int8", "step"], "b", vec![]));
        nodes.push(build::node("Conv", &[input, "w", "b"], "y", vec![]));
        GraphProto {
            node: nodes,
            initializer: vec![
                build::int8s("w.int8", &[1, 1, 1, 1], &[-3]),
                build::int8s("b.int8", &[1], &[5]),
                build::floats("step", &[], &[2.0]),
                build::uint8s("zero", &[], &[7]),
            ],
            ..GraphProto::default()
        }
    }

    fn operators(graph: &GraphProto) -> Vec<&str> {
        graph.node.iter().map(|node| node.op_type()).collect()
    }

    #[test]
    fn weights_beside_floats_become_floats() {
        let mut graph = graph("x", vec![]);
        dequantize_weights(&mut graph).unwrap();
        assert_eq!(operators(&graph), ["Conv"]);
        let value = |name| floats(graph.initializer.iter().find(|tensor| tensor.name() == name).unwrap()).unwrap();
        assert_eq!((value("w"), value("b")), (vec![-6.0], vec![10.0]));
        assert_eq!(graph.initializer.len(), 2);
    }

    #[test]
    fn weights_beside_stored_values_stay_integers() {
        let quantize = build::node("QuantizeLinear", &["x", "step", "zero"], "x.uint8", vec![]);
        let dequantize = build::node("DequantizeLinear", &["x.uint8", "step", "zero"], "x.stored", vec![]);
        let mut graph = graph("x.stored", vec![quantize, dequantize]);
        let before = graph.clone();
        dequantize_weights(&mut graph).unwrap();
        assert_eq!(graph, before);
    }

    fn model(graph: GraphProto) -> ModelProto {
        let mut model = build::model(graph, None);
        model.graph.as_mut().unwrap().output =
            vec![build::value("y", DataType::Float, &[build::Dim::Fixed(1), build::Dim::Named("H")])];
        model
    }

    #[test]
    fn without_integers_values_are_cut_to_what_was_stored() {
        let quantize = build::node("QuantizeLinear", &["x", "step", "zero"], "x.uint8", vec![]);
        let dequantize = build::node("DequantizeLinear", &["x.uint8", "step", "zero"], "x.stored", vec![]);
        let mut graph = graph("x.stored", vec![quantize, dequantize]);
        let bias = graph.initializer.iter_mut().find(|tensor| tensor.name() == "b.int8").unwrap();
        *bias = build::int32s("b.int8", &[1], &[-70_000]);
        let plain = without_integers(&model(graph)).unwrap().graph.unwrap();
        assert_eq!(operators(&plain), ["Clip", "Conv"]);
        let value =
            |name: &str| floats(plain.initializer.iter().find(|tensor| tensor.name() == name).unwrap()).unwrap();
        assert_eq!((value("w"), value("b")), (vec![-6.0], vec![-140_000.0]));
        let [_, low, high] = &plain.node[0].input[..] else { panic!("a Clip has three inputs") };
        assert_eq!((value(low), value(high)), (vec![-14.0], vec![496.0]));
    }

    #[test]
    fn other_scales_on_the_way_back_are_left_alone() {
        let quantize = build::node("QuantizeLinear", &["x", "step", "zero"], "x.uint8", vec![]);
        let dequantize = build::node("DequantizeLinear", &["x.uint8", "other", "zero"], "x.stored", vec![]);
        let mut graph = graph("x.stored", vec![quantize, dequantize]);
        graph.initializer.push(build::floats("other", &[], &[3.0]));
        let plain = without_integers(&model(graph)).unwrap().graph.unwrap();
        assert_eq!(operators(&plain), ["QuantizeLinear", "DequantizeLinear", "Conv"]);
    }

    /// A DequantizeLinear, its inputs, and its float32 result; `None` if it stays, or the words of
    /// an error.
    struct Case {
        name: &'static str,
        inputs: &'static [&'static str],
        attributes: Vec<AttributeProto>,
        constants: Vec<TensorProto>,
        becomes: std::result::Result<Option<Vec<f32>>, &'static str>,
    }

    fn check(cases: Vec<Case>) {
        for Case { name, inputs, attributes, constants, becomes } in cases {
            let dims = constants[0].dims.clone();
            let mut graph = GraphProto {
                node: vec![
                    build::node("DequantizeLinear", inputs, "w", attributes),
                    build::node("Conv", &["image", "w"], "y", vec![]),
                ],
                initializer: constants,
                ..GraphProto::default()
            };
            let before = graph.clone();
            match (dequantize_weights(&mut graph), becomes) {
                (Ok(()), Ok(Some(values))) => {
                    assert_eq!(operators(&graph), ["Conv"], "{name}");
                    let [tensor] = &graph.initializer[..] else { panic!("{name}: {:?}", graph.initializer) };
                    assert_eq!((tensor.name(), &tensor.dims), ("w", &dims), "{name}");
                    assert_eq!(floats(tensor).unwrap(), values, "{name}");
                }
                (Ok(()), Ok(None)) => assert_eq!(graph, before, "{name}"),
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{name}: {error}"),
                (found, becomes) => panic!("{name}: {found:?}, not {becomes:?}"),
            }
        }
    }

    #[test]
    fn weights_of_every_form_and_their_near_misses() {
        const TWO: &[&str] = &["x", "s"];
        const THREE: &[&str] = &["x", "s", "z"];
        let x = || build::int8s("x", &[2, 2], &[1, -2, 3, -4]);
        let s = |values: &[f32]| build::floats("s", &[values.len() as i64], values);
        let z = |values: &[i8]| build::int8s("z", &[values.len() as i64], values);
        let one = || build::floats("s", &[], &[0.5]);
        let axis = |axis| vec![build::int("axis", axis)];
        let case = |name, inputs, attributes, constants: &[TensorProto], becomes| Case {
            name,
            inputs,
            attributes,
            constants: constants.to_vec(),
            becomes,
        };
        let values = |values: &[f32]| Ok(Some(values.to_vec()));
        let (first, last) = (&[1.0, -2.0, 30.0, -40.0], &[1.0, -20.0, 3.0, -40.0]);
        let tens = || s(&[1.0, 10.0]);
        let mut listed = x();
        (listed.raw_data, listed.int32_data) = (None, vec![1, -2, 3, -4]);
        let mut short = x();
        short.raw_data = Some(vec![1, 2, 3].into());
        let deep = build::int8s("x", &[2, 3, 2], &[1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1]);
        let half = build::halves("s", &[], &[0x3c00]);
        check(vec![
            case("one scale", TWO, vec![], &[x(), one()], values(&[0.5, -1.0, 1.5, -2.0])),
            case("one in a list", TWO, vec![], &[x(), s(&[0.5])], values(&[0.5, -1.0, 1.5, -2.0])),
            case("a zero point", THREE, vec![], &[x(), one(), z(&[-4])], values(&[2.5, 1.0, 3.5, 0.0])),
            case("without a name", &["x", "s", ""], vec![], &[x(), one()], values(&[0.5, -1.0, 1.5, -2.0])),
            case(
                "bytes",
                THREE,
                vec![],
                &[build::uint8s("x", &[3], &[0, 128, 255]), one(), build::uint8s("z", &[], &[128])],
                values(&[-64.0, 0.0, 63.5]),
            ),
            case("listed values", TWO, vec![], &[listed, one()], values(&[0.5, -1.0, 1.5, -2.0])),
            case("no values", TWO, vec![], &[build::int8s("x", &[0, 2], &[]), tens()], values(&[])),
            case("scales of axis 0", TWO, axis(0), &[x(), tens()], values(first)),
            case("of axis 1", TWO, axis(1), &[x(), tens()], values(last)),
            case("of axis 1 by default", TWO, vec![], &[x(), tens()], values(last)),
            case("of the last axis", TWO, axis(-1), &[x(), tens()], values(last)),
            case("of the last but one", TWO, axis(-2), &[x(), tens()], values(first)),
            case("zero points of axis 0", THREE, axis(0), &[x(), tens(), z(&[1, 3])], values(&[0.0, -3.0, 0.0, -70.0])),
            case("one zero point for all", THREE, axis(0), &[x(), tens(), z(&[1])], values(&[0.0, -3.0, 20.0, -50.0])),
            case("the middle of three axes", TWO, axis(1), &[deep, s(&[1.0, 2.0, 3.0])], {
                values(&[1.0, 1.0, 2.0, 2.0, 3.0, 3.0, -1.0, -1.0, -2.0, -2.0, -3.0, -3.0])
            }),
            case(
                "blocks of no size",
                TWO,
                vec![build::int("block_size", 0)],
                &[x(), one()],
                values(&[0.5, -1.0, 1.5, -2.0]),
            ),
            case("blocks", TWO, vec![build::int("block_size", 2)], &[x(), one()], Ok(None)),
            case("other integers", TWO, vec![], &[build::int32s("x", &[1], &[1]), one()], Ok(None)),
            case("other zero points", THREE, vec![], &[x(), one(), build::int32s("z", &[], &[1])], Ok(None)),
            case("scales of two axes", TWO, vec![], &[x(), build::floats("s", &[2, 2], &[1.0; 4])], Ok(None)),
            case("zero points of two axes", THREE, vec![], &[x(), one(), build::int8s("z", &[1, 1], &[1])], Ok(None)),
            case("half precision", TWO, vec![], &[x(), half], Ok(None)),
            case("a scale that is computed", TWO, vec![], &[x()], Ok(None)),
            case("a zero point that is computed", THREE, vec![], &[x(), one()], Ok(None)),
            case("values that are computed", TWO, vec![], &[one()], Ok(None)),
            case("no scale", &["x"], vec![], &[x()], Ok(None)),
            case("an axis too many", TWO, axis(2), &[x(), tens()], Err("has axis 2 for a tensor of 2 dimensions")),
            case("an axis before the first", TWO, axis(-3), &[x(), tens()], Err("has axis -1 for")),
            case("a scale too many", TWO, axis(0), &[x(), s(&[1.0; 3])], Err("has 3 scales for 2 channels")),
            case("a scale too few", THREE, axis(0), &[x(), one(), z(&[1, 2])], Err("has 1 scales for 2 channels")),
            case("zero points too many", THREE, axis(0), &[x(), tens(), z(&[1, 2, 3])], Err("3 zero points for 2")),
            case("a value too few", TWO, vec![], &[short, one()], Err("has 3 values, but its shape is [2, 2]")),
        ]);
    }

    #[test]
    fn a_tensor_becomes_floats_as_often_as_there_are_bytes_for() {
        // Four integers in any storage, and four bytes of a scale, twice.
        let mut listed = build::int8s("x", &[4], &[]);
        listed.int32_data = vec![1, 2, 3, 4];
        for integers in [build::int8s("x", &[4], &[1, 2, 3, 4]), listed] {
            for (readers, fits) in [(4, true), (5, false)] {
                let node = |reader: i32| build::node("DequantizeLinear", &["x", "s"], &format!("y{reader}"), vec![]);
                let mut graph = GraphProto {
                    node: (0..readers).map(node).collect(),
                    initializer: vec![integers.clone(), build::floats("s", &[], &[0.5])],
                    ..GraphProto::default()
                };
                let message = dequantize_weights(&mut graph).err().map(|error| error.to_string());
                assert_eq!(message.is_none(), fits, "{readers}: {message:?}");
                assert!(
                    message
                        .is_none_or(|text| text.contains("node 'y4'") && text.contains("more than 2 times on average"))
                );
            }
        }
    }

    #[test]
    fn weights_stay_only_where_their_own_node_reads_integers() {
        let stored = build::node("DequantizeLinear", &["x.uint8", "step", "zero"], "x.stored", vec![]);
        let mut graph = graph("x.stored", vec![stored]);
        graph.node.extend([
            build::node("DequantizeLinear", &["v.int8", "step"], "v", vec![]),
            build::node("Conv", &["y", "v"], "z", vec![]),
        ]);
        graph.initializer.push(build::int8s("v.int8", &[1, 1, 1, 1], &[4]));
        dequantize_weights(&mut graph).unwrap();
        // The second convolution reads the output of the first one.
        assert_eq!(operators(&graph), ["DequantizeLinear", "DequantizeLinear", "DequantizeLinear", "Conv", "Conv"]);
        assert_eq!(floats(graph.initializer.iter().find(|tensor| tensor.name() == "v").unwrap()).unwrap(), [8.0]);
    }

    #[test]
    fn ranges_that_stand_for_integers_and_their_near_misses() {
        struct Case {
            name: &'static str,
            /// Scale and zero point of both nodes.
            on_the_way: &'static [&'static str],
            back: &'static [&'static str],
            opset: i64,
            range: Option<(f32, f32)>,
        }
        const BYTES: &[&str] = &["2", "7.uint8"];
        let case = |name, on_the_way, back, range| Case { name, on_the_way, back, opset: 17, range };
        let bytes = Some((-14.0, 496.0));
        let cases = [
            case("bytes", BYTES, BYTES, bytes),
            case("with a sign", &["2", "7.int8"], &["2", "7.int8"], Some((-270.0, 240.0))),
            case("the same by another name", BYTES, &["two", "seven"], bytes),
            case("another scale", BYTES, &["3", "7.uint8"], None),
            case("another zero point", BYTES, &["2", "8.uint8"], None),
            case("another sign", BYTES, &["2", "7.int8"], None),
            case("no zero point back", BYTES, &["2"], None),
            case("no zero points", &["2"], &["2"], None),
            case("other integers", &["2", "7.int32"], &["2", "7.int32"], None),
            case("two scales", &["2, 2", "7.uint8"], &["2, 2", "7.uint8"], None),
            case("two zero points", &["2", "7, 7"], &["2", "7, 7"], None),
            case("a scale that is computed", &["x", "7.uint8"], &["x", "7.uint8"], None),
            case("a zero point that is computed", &["2", "x"], &["2", "x"], None),
            case("integers for a scale", &["7.uint8", "7.uint8"], &["7.uint8", "7.uint8"], None),
            Case { opset: 11, ..case("version 11", BYTES, BYTES, bytes) },
            Case { opset: 10, ..case("version 10", BYTES, BYTES, None) },
        ];
        for Case { name, on_the_way, back, opset, range } in cases {
            let node = |operator: &str, from: &str, more: &[&str], to: &str| {
                build::node(operator, &[&[from], more].concat(), to, vec![])
            };
            let mut model = model(GraphProto {
                node: vec![
                    node("QuantizeLinear", "x", on_the_way, "stored"),
                    node("DequantizeLinear", "stored", back, "y"),
                ],
                initializer: vec![
                    build::floats("2", &[], &[2.0]),
                    build::floats("two", &[1], &[2.0]),
                    build::floats("3", &[], &[3.0]),
                    build::floats("2, 2", &[2], &[2.0; 2]),
                    build::uint8s("7.uint8", &[], &[7]),
                    build::uint8s("seven", &[1], &[7]),
                    build::uint8s("8.uint8", &[], &[8]),
                    build::uint8s("7, 7", &[2], &[7; 2]),
                    build::int8s("7.int8", &[], &[7]),
                    build::int32s("7.int32", &[], &[7]),
                ],
                ..GraphProto::default()
            });
            model.opset_import[0].version = Some(opset);
            let plain = without_integers(&model).unwrap().graph.unwrap();
            match range {
                None => assert_eq!(operators(&plain), ["QuantizeLinear", "DequantizeLinear"], "{name}"),
                Some((low, high)) => {
                    assert_eq!(operators(&plain), ["Clip"], "{name}");
                    let bound =
                        |name: &str| floats(plain.initializer.iter().find(|t| t.name() == name).unwrap()).unwrap();
                    let inputs = &plain.node[0].input;
                    assert_eq!(
                        (&inputs[0][..], bound(&inputs[1]), bound(&inputs[2])),
                        ("x", vec![low], vec![high]),
                        "{name}"
                    );
                }
            }
        }
    }

    #[test]
    fn biases_and_their_near_misses() {
        for (name, bias, scale, more, becomes) in [
            ("one scale", build::int32s("b", &[2], &[5, -70_000]), vec![], None, Some([10.0, -140_000.0])),
            ("a list of one", build::int32s("b", &[2], &[5, 6]), vec![1], None, Some([10.0, 12.0])),
            ("two dimensions", build::int32s("b", &[1, 2], &[5, 6]), vec![], None, None),
            ("longer integers", build::int64s("b", &[2], &[5, 6]), vec![], None, None),
            ("a scale of two dimensions", build::int32s("b", &[2], &[5, 6]), vec![1, 1], None, None),
            ("a zero point", build::int32s("b", &[2], &[5, 6]), vec![], Some("zero"), None),
        ] {
            let inputs: Vec<_> = ["b", "scale"].into_iter().chain(more).collect();
            let model = model(GraphProto {
                node: vec![build::node("DequantizeLinear", &inputs, "y", vec![])],
                initializer: vec![bias, build::floats("scale", &scale, &[2.0]), build::int32s("zero", &[], &[0])],
                ..GraphProto::default()
            });
            let plain = without_integers(&model).unwrap().graph.unwrap();
            let found =
                plain.initializer.iter().find(|tensor| tensor.name() == "y").map(|tensor| floats(tensor).unwrap());
            assert_eq!(found, becomes.map(Vec::from), "{name}");
            assert_eq!(plain.node.len(), usize::from(becomes.is_none()), "{name}");
        }
    }
}
