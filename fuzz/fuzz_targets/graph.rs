//! Random graphs of the operators that libfcn inspects, which mutated files rarely reach.
#![no_main]

use std::sync::LazyLock;

use fcn::{
    ChannelOrder, Options, SizeMode, TensorLayout, fuzzing,
    onnx::{
        self, ModelCard,
        types::{
            AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
            StringStringEntryProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto,
            type_proto,
        },
    },
};
use libfuzzer_sys::{
    arbitrary::{Result, Unstructured},
    fuzz_target,
};

static OPERATORS: LazyLock<Vec<&str>> = LazyLock::new(|| {
    "
    Abs Add ArgMax BatchNormalization Cast Clip Concat Constant ConstantOfShape Conv ConvTranspose
    DepthToSpace DequantizeLinear Div Equal Exp Expand Flatten Gather Greater Identity If IsNaN Log
    LogSoftmax Loop Max Mul Neg Pad QLinearConv QuantizeLinear Range ReduceMax ReduceSum Relu
    Reshape Resize Scan Shape Sigmoid Slice Softmax Split Squeeze Sub Tile TopK Transpose Unsqueeze
    Upsample Where Widened"
        .split_whitespace()
        .collect()
});

static ATTRIBUTES: LazyLock<Vec<&str>> = LazyLock::new(|| {
    "
    allowzero auto_pad axes axis block_size body coordinate_transformation_mode dilations
    else_branch group keepdims kernel_shape largest mode nearest_mode num_outputs output_padding
    output_shape pads perm scales select_last_index sorted strides then_branch to value value_ints"
        .split_whitespace()
        .collect()
});

const STRINGS: [&str; 12] = [
    "linear",
    "nearest",
    "cubic",
    "half_pixel",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "NOTSET",
    "SAME_UPPER",
    "VALID",
    "reflect",
    "",
];

/// Usual and unusual dimensions.
fn number(u: &mut Unstructured<'_>) -> Result<i64> {
    Ok(match u.int_in_range(0..=15)? {
        0 => i64::MIN,
        1 => i64::MAX,
        2 => 1 << 31,
        3 => -1,
        4 => 0,
        5 => 1,
        6 => 2,
        7 => 3,
        8 => 4,
        9 => 16,
        10 => 32,
        11 => i64::from(u.arbitrary::<i16>()?),
        _ => u.int_in_range(1..=8)?,
    })
}

fn numbers(u: &mut Unstructured<'_>) -> Result<Vec<i64>> {
    let count = *u.choose(&[4, 4, 2, 2, 1, 0, 3, 5, 8])?;
    (0..count).map(|_| number(u)).collect()
}

/// A tensor, most of whose values fit its shape.
fn tensor(u: &mut Unstructured<'_>, name: &str) -> Result<TensorProto> {
    let data_type = *u.choose(&[1, 1, 1, 7, 7, 2, 3, 6, 10, 11, 9, 21, 22, 8, 0, 99])?;
    let width = match data_type {
        2 | 3 | 9 | 21 | 22 => 1,
        10 => 2,
        7 | 11 => 8,
        _ => 4,
    };
    let mut dims = if u.ratio(1, 6)? { numbers(u)? } else { Vec::new() };
    if dims.is_empty() {
        for _ in 0..u.int_in_range(0..=4)? {
            dims.push(u.int_in_range(1..=4)?);
        }
    }
    let count = dims.iter().try_fold(1usize, |count, side| count.checked_mul(usize::try_from(*side).ok()?));
    let count = count.filter(|count| *count <= 4096).unwrap_or(1);
    let mut tensor =
        TensorProto { name: Some(name.into()), data_type: Some(data_type), dims, ..TensorProto::default() };
    match u.int_in_range(0..=7)? {
        0 => tensor.float_data = vec![1.5; count],
        1 => tensor.int64_data = (0..count.min(8)).map(|_| number(u)).collect::<Result<_>>()?,
        2 => tensor.int32_data = vec![u.arbitrary()?; count],
        3 => tensor.raw_data = Some(vec![u.arbitrary()?; u.int_in_range(0..=64)?].into()),
        _ => {
            let pattern = number(u)?.to_le_bytes();
            let values: Vec<u8> = pattern.into_iter().cycle().take(count * width).collect();
            tensor.raw_data = Some(values.into());
        }
    }
    Ok(tensor)
}

fn attribute(u: &mut Unstructured<'_>, depth: usize) -> Result<AttributeProto> {
    let mut attribute = AttributeProto { name: Some((*u.choose(&ATTRIBUTES)?).into()), ..AttributeProto::default() };
    let kind = u.int_in_range(0..=if depth < 3 { 5 } else { 4 })?;
    match kind {
        0 => attribute.i = Some(number(u)?),
        1 => attribute.ints = numbers(u)?,
        2 => attribute.s = Some(u.choose(&STRINGS)?.as_bytes().to_vec()),
        3 => attribute.t = Some(tensor(u, "")?),
        4 => attribute.f = Some(u.arbitrary()?),
        _ => attribute.g = Some(graph(u, depth + 1)?),
    }
    attribute.r#type = Some(if u.ratio(1, 8)? { u.int_in_range(0..=14)? } else { [2, 7, 3, 4, 1, 5][kind] });
    Ok(attribute)
}

fn value(u: &mut Unstructured<'_>, name: &str) -> Result<ValueInfoProto> {
    let dims = match u.int_in_range(0..=5)? {
        0 => numbers(u)?,
        1 => vec![1, -1, -1, 3],
        2 => vec![1, 1, -1, -1],
        3 => vec![1, 3, 32, 64],
        _ => vec![1, 3, -1, -1],
    };
    let dims = dims.into_iter().map(|side| {
        let value = match side {
            -1 => tensor_shape_proto::dimension::Value::DimParam("side".into()),
            side => tensor_shape_proto::dimension::Value::DimValue(side),
        };
        tensor_shape_proto::Dimension { value: Some(value), ..Default::default() }
    });
    let shape = TensorShapeProto { dim: dims.collect() };
    let elem_type = Some(*u.choose(&[1, 1, 1, 1, 2, 7, 9, 10, 6, 0])?);
    let tensor = type_proto::Tensor { elem_type, shape: if u.ratio(1, 10)? { None } else { Some(shape) } };
    let r#type = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    Ok(ValueInfoProto { name: Some(name.into()), r#type: Some(r#type), ..ValueInfoProto::default() })
}

fn nodes(u: &mut Unstructured<'_>, names: &mut Vec<String>, depth: usize) -> Result<Vec<NodeProto>> {
    let mut nodes = Vec::new();
    for place in 0..u.int_in_range(1..=10)? {
        let mut node = NodeProto { op_type: Some((*u.choose(&OPERATORS)?).into()), ..NodeProto::default() };
        for input in 0..u.int_in_range(0..=4)? {
            node.input.push(match u.int_in_range(0..=9)? {
                0 => String::new(),
                1 => "unknown".into(),
                // What the node before made.
                2..7 if input == 0 => names.last().cloned().unwrap_or_default(),
                _ => u.choose(names)?.clone(),
            });
        }
        for output in 0..*u.choose(&[1, 1, 1, 1, 0, 2, 3])? {
            let name = if u.ratio(1, 30)? { u.choose(names)?.clone() } else { format!("{depth}.{place}.{output}") };
            names.push(name.clone());
            node.output.push(name);
        }
        if u.ratio(1, 20)? {
            node.domain = Some((*u.choose(&["ai.onnx", "com.microsoft", "own"])?).into());
        }
        for _ in 0..u.int_in_range(0..=3)? {
            node.attribute.push(attribute(u, depth)?);
        }
        nodes.push(node);
    }
    Ok(nodes)
}

fn graph(u: &mut Unstructured<'_>, depth: usize) -> Result<GraphProto> {
    let mut graph = GraphProto::default();
    let mut names = vec!["picture".to_owned()];
    for place in 0..u.int_in_range(0..=6)? {
        let name = format!("{depth}.w{place}");
        graph.initializer.push(tensor(u, &name)?);
        names.insert(0, name);
    }
    graph.input.push(value(u, "picture")?);
    if u.ratio(1, 10)? {
        let name = u.choose(&names)?.clone();
        graph.input.push(value(u, &name)?);
    }
    graph.node = nodes(u, &mut names, depth)?;
    let last = names.last().cloned().unwrap_or_default();
    graph.output.push(value(u, &last)?);
    for _ in 0..*u.choose(&[0, 0, 0, 1, 2])? {
        let name = u.choose(&names)?.clone();
        graph.output.push(value(u, &name)?);
    }
    for _ in 0..u.int_in_range(0..=2)? {
        let name = u.choose(&names)?.clone();
        graph.value_info.push(value(u, &name)?);
    }
    Ok(graph)
}

fn model(u: &mut Unstructured<'_>) -> Result<ModelProto> {
    let version = *u.choose(&[17, 17, 11, 9, 13, 21, 0, i64::MAX])?;
    let opset = |domain: &str| OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) };
    let mut model = ModelProto {
        ir_version: Some(8),
        opset_import: vec![opset(""), opset("own")],
        graph: Some(graph(u, 0)?),
        ..ModelProto::default()
    };
    if u.ratio(1, 10)? {
        let mut names = vec!["in".to_owned()];
        model.functions.push(FunctionProto {
            name: Some("Widened".into()),
            domain: Some("own".into()),
            node: nodes(u, &mut names, 9)?,
            ..FunctionProto::default()
        });
    }
    if u.ratio(1, 6)? {
        let sides = [u.int_in_range(0..=64)?, u.arbitrary()?];
        let card = serde_json::json!({
            "version": 1, "architecture": "test", "void_index": 255, "mean": [0.4, 0.4, 0.4], "std": [0.2, 0.2, 0.2],
            "classes": (0..u.int_in_range(0..=5)?).map(|class| serde_json::json!({"name": format!("{class}"), "color": [class, 0, 0]}))
                .collect::<Vec<_>>(),
            "channels": u.choose(&["rgb", "bgr", "cmy"])?, "stride": sides[0], "training_crop": [64, sides[1]],
            "dataset": "none", "metrics": {},
        });
        let entry = StringStringEntryProto { key: Some(ModelCard::KEY.into()), value: Some(card.to_string()) };
        model.metadata_props.push(entry);
    }
    Ok(model)
}

fn options(u: &mut Unstructured<'_>) -> Result<Options> {
    let mut options = Options::default();
    let layouts = [None, None, Some(TensorLayout::Nchw), Some(TensorLayout::Nhwc)];
    (options.input_layout, options.output_layout) = (*u.choose(&layouts)?, *u.choose(&layouts)?);
    options.probabilities = *u.choose(&[None, None, Some(true), Some(false)])?;
    options.multilabel = *u.choose(&[None, None, Some(0.5), Some(0.001)])?;
    options.channel_order = *u.choose(&[None, Some(ChannelOrder::Rgb), Some(ChannelOrder::Bgr)])?;
    options.output = u.choose(&[None, None, None, Some("0.0.0"), Some("picture")])?.map(String::from);
    if u.ratio(1, 4)? {
        options.class_names = Some((0..u.int_in_range(2..=5)?).map(|class: u32| class.to_string()).collect());
    }
    let tile = SizeMode::Tile { width: 64, height: 0, overlap: 8 };
    options.size_mode = *u.choose(&[None, None, Some(SizeMode::Pad), Some(SizeMode::ShortSide(100)), Some(tile)])?;
    Ok(options)
}

/// Reads choices from the rest of the input.
struct Answers<'a, 'b>(&'a mut Unstructured<'b>);

impl fuzzing::Answers for Answers<'_, '_> {
    fn trial(&mut self, sizes: usize) -> Option<(usize, Vec<i64>)> {
        let Answers(u) = self;
        if u.ratio(1, 4).ok()? {
            return None;
        }
        Some((u.choose_index(sizes).ok()?, numbers(u).ok()?))
    }

    fn uncut(&mut self) -> bool {
        self.0.ratio(1, 2).unwrap_or(false)
    }

    fn output(&mut self) -> Option<Option<usize>> {
        let Answers(u) = self;
        let channels = u.int_in_range(0..=300).ok()?;
        Some(if channels < 5 { None } else { Some(channels) }).filter(|_| channels != 5)
    }
}

fuzz_target!(|bytes: &[u8]| {
    let u = &mut Unstructured::new(bytes);
    let (Ok(options), Ok(model)) = (options(u), model(u)) else { return };
    // An error is what most graphs deserve.
    let model = onnx::encode(&model).expect("enough memory");
    let _ = fuzzing::prepare(&model, &options, &mut Answers(u));
});
