//! Models with external data, as torch.onnx.export writes them: read, or rejected with a clear
//! message.

#[path = "common/models.rs"]
mod models;

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::Path,
};

use fcn::{
    Error, Frame, Mask, Options, PixelFormat, Segmenter,
    onnx::types::{
        AttributeProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto, attribute_proto::AttributeType,
        tensor_proto::DataLocation,
    },
};
use models::{Spec, cache_entries, model, random_bytes};
use prost::Message;

fn options() -> Options {
    let mut options = Options::default();
    (options.provider, options.threads) = (models::provider(), 1);
    options
}

fn labels(segmenter: &Segmenter) -> Vec<u8> {
    let pixels = random_bytes(1, 3 * 96 * 64);
    let mut mask = Mask::new();
    segmenter.segment(&Frame::packed(PixelFormat::Rgb8, &pixels, 96, 64, 0).unwrap(), &mut mask).unwrap();
    mask.labels().to_vec()
}

fn truth() -> Vec<u8> {
    labels(&Segmenter::from_memory(&model(Spec::default()).encode_to_vec(), &options()).unwrap())
}

fn entry(key: &str, value: impl ToString) -> StringStringEntryProto {
    StringStringEntryProto { key: Some(key.into()), value: Some(value.to_string()) }
}

/// Makes a tensor external and returns its values.
fn send_away(tensor: &mut TensorProto, entries: Vec<StringStringEntryProto>) -> Vec<u8> {
    (tensor.data_location, tensor.external_data) = (Some(DataLocation::External as i32), entries);
    tensor.raw_data.take().expect("weights are stored as bytes").to_vec()
}

/// The model with all weights in `data`, `gap` bytes apart.
fn in_one_file(data: &str, gap: usize) -> (ModelProto, Vec<u8>) {
    let mut model = model(Spec::default());
    let mut bytes = Vec::new();
    for tensor in &mut model.graph.as_mut().unwrap().initializer {
        bytes.extend(vec![0xaa; gap]);
        let length = tensor.raw_data().len();
        let place = vec![entry("location", data), entry("offset", bytes.len()), entry("length", length)];
        bytes.extend(send_away(tensor, place));
    }
    assert!(bytes.len() > 1000);
    (model, bytes)
}

fn open(folder: &Path, model: &ModelProto) -> fcn::Result<Segmenter> {
    let path = folder.join("model.onnx");
    fs::write(&path, model.encode_to_vec()).unwrap();
    Segmenter::from_file(&path, &options())
}

#[test]
fn tensors_beside_the_model_are_read_wherever_they_stand() {
    let folder = tempfile::tempdir().unwrap();
    for gap in [0, 1, 4096] {
        let (model, data) = in_one_file("model.onnx.data", gap);
        fs::write(folder.path().join("model.onnx.data"), data).unwrap();
        assert_eq!(labels(&open(folder.path(), &model).unwrap()), truth(), "gap {gap}");
    }
    // One file per tensor, without offset or length; one is a link that stays in the folder.
    let mut each = model(Spec::default());
    for (index, tensor) in each.graph.as_mut().unwrap().initializer.iter_mut().enumerate() {
        let name = format!("weight \u{e4} {index}");
        let data = send_away(tensor, vec![entry("location", &name), entry("checksum", "of no interest")]);
        fs::write(folder.path().join(&name), data).unwrap();
        if index == 0 {
            fs::rename(folder.path().join(&name), folder.path().join("real")).unwrap();
            symlink("real", folder.path().join(&name)).unwrap();
        }
    }
    assert_eq!(labels(&open(folder.path(), &each).unwrap()), truth());
    // In an attribute of a Constant node.
    let (mut constant, data) = in_one_file("model.onnx.data", 0);
    fs::write(folder.path().join("model.onnx.data"), data).unwrap();
    let graph = constant.graph.as_mut().unwrap();
    let nodes: Vec<NodeProto> = std::mem::take(&mut graph.initializer)
        .into_iter()
        .map(|tensor| NodeProto {
            op_type: Some("Constant".into()),
            output: vec![tensor.name().to_owned()],
            attribute: vec![AttributeProto {
                name: Some("value".into()),
                r#type: Some(AttributeType::Tensor as i32),
                t: Some(tensor),
                ..AttributeProto::default()
            }],
            ..NodeProto::default()
        })
        .collect();
    graph.node.splice(0..0, nodes);
    assert_eq!(labels(&open(folder.path(), &constant).unwrap()), truth());
    // The folder may be reached through a link.
    let link = tempfile::tempdir().unwrap();
    symlink(folder.path(), link.path().join("folder")).unwrap();
    let segmenter = Segmenter::from_file(link.path().join("folder/model.onnx"), &options()).unwrap();
    assert_eq!(labels(&segmenter), truth());
}

#[test]
fn other_places_are_refused_in_a_sentence() {
    let outside = tempfile::tempdir().unwrap();
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("models");
    fs::create_dir(&folder).unwrap();
    let (good, data) = in_one_file("w", 0);
    let size = data.len();
    for place in [folder.join("w"), parent.path().join("w"), outside.path().join("w")] {
        fs::write(place, &data).unwrap();
    }
    fs::create_dir(folder.join("sub")).unwrap();
    fs::write(folder.join("sub/w"), &data).unwrap();
    symlink("../w", folder.join("up")).unwrap();
    symlink(outside.path().join("w"), folder.join("out")).unwrap();
    symlink("sub/w", folder.join("down")).unwrap();
    symlink("/dev/zero", folder.join("device")).unwrap();
    symlink("twice", folder.join("thrice")).unwrap();
    symlink("w", folder.join("twice")).unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(folder.join("fifo")).status().unwrap();
    assert!(fifo.success());
    fs::write(folder.join("short"), &data[..size - 1]).unwrap();

    let located = |name: &str| {
        let mut model = good.clone();
        let tensors = model.graph.as_mut().unwrap().initializer.iter_mut();
        tensors.for_each(|tensor| tensor.external_data[0] = entry("location", name));
        model
    };
    // The last weight is at the end of the file.
    let changed = |change: &dyn Fn(&mut TensorProto)| {
        let mut model = good.clone();
        change(model.graph.as_mut().unwrap().initializer.last_mut().unwrap());
        model
    };
    let last = good.graph.as_ref().unwrap().initializer.last().unwrap().external_data[2].value().to_owned();
    let (short, needed) = (format!("which has {} bytes", size - 1), format!("need {last}"));
    let cases: Vec<(&str, ModelProto, Vec<&str>)> = vec![
        ("above", located("../w"), vec!["'../w'", "own folder"]),
        ("absolute", located(outside.path().join("w").to_str().unwrap()), vec!["own folder"]),
        ("below", located("sub/w"), vec!["'sub/w'", "own folder"]),
        ("here", located("./w"), vec!["'./w'", "own folder"]),
        ("Windows", located("..\\w"), vec!["own folder"]),
        ("no name", located(""), vec!["''", "own folder"]),
        ("the folder", located("."), vec!["own folder"]),
        ("its parent", located(".."), vec!["own folder"]),
        ("NUL", located("w\0"), vec!["own folder"]),
        ("missing", located("nothing"), vec!["'nothing'", "No such file"]),
        ("a folder", located("sub"), vec!["'sub'", "not a regular file"]),
        ("a pipe", located("fifo"), vec!["'fifo'", "not a regular file"]),
        ("a link up", located("up"), vec!["'up'", "leaves the folder"]),
        ("a link out", located("out"), vec!["'out'", "leaves the folder"]),
        ("a link down", located("down"), vec!["'down'", "leaves the folder"]),
        ("a device", located("device"), vec!["'device'", "leaves the folder"]),
        ("a link to a link", located("thrice"), vec!["'thrice'"]),
        ("too short", located("short"), vec!["'short'", &short]),
        (
            "a byte less",
            changed(&|t| t.external_data[2] = entry("length", last.parse::<usize>().unwrap() - 1)),
            vec![&needed],
        ),
        (
            "a byte later",
            changed(&|t| t.external_data[1] = entry("offset", size - last.parse::<usize>().unwrap() + 1)),
            vec!["from byte"],
        ),
        (
            "far away",
            changed(&|t| t.external_data[1] = entry("offset", u64::MAX)),
            vec!["from byte 18446744073709551615"],
        ),
        ("negative", changed(&|t| t.external_data[1] = entry("offset", -1)), vec!["offset '-1'"]),
        ("not a number", changed(&|t| t.external_data[2] = entry("length", "x")), vec!["length 'x'"]),
        ("another folder", changed(&|t| t.external_data.push(entry("basepath", "/"))), vec!["'basepath'"]),
        ("no file", changed(&|t| drop(t.external_data.remove(0))), vec!["no file is named"]),
        ("no entry", changed(&|t| t.external_data.clear()), vec!["no file is named"]),
        ("text", changed(&|t| t.data_type = Some(8)), vec!["type 8"]),
        ("negative side", changed(&|t| t.dims = vec![-1]), vec!["[-1]"]),
        ("overflow", changed(&|t| t.dims = vec![i64::MAX, 4]), vec!["no size"]),
        ("too large", changed(&|t| t.dims = vec![1 << 29, 1]), vec!["2147483648 bytes, which is the limit"]),
    ];
    for (name, mut model, words) in cases {
        if name == "too large" {
            model.graph.as_mut().unwrap().initializer.last_mut().unwrap().external_data.truncate(1);
        }
        let error = open(&folder, &model).err().unwrap_or_else(|| panic!("{name}"));
        assert!(matches!(error, Error::Model(_) | Error::Io(_)), "{name}: {error:?}");
        let text = error.to_string();
        let subject = if name == "too large" { "external data" } else { "tensor" };
        assert!(text.contains("model.onnx'") && text.contains(subject), "{name}: {text}");
        assert!(words.iter().all(|word| text.contains(word)) && !text.contains('\n'), "{name}: {text}");
    }
    // The original works. From memory there is no folder.
    assert_eq!(labels(&open(&folder, &good).unwrap()), truth());
    assert_eq!(labels(&open(&folder, &located("twice")).unwrap()), truth());
    let error = Segmenter::from_memory(&good.encode_to_vec(), &options()).err().unwrap().to_string();
    assert!(error.contains("in 'w'") && error.contains("external_data=False"), "{error}");
}

#[test]
fn a_cache_tells_other_data_apart() {
    let (folder, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (model, mut data) = in_one_file("w", 0);
    fs::write(folder.path().join("model.onnx"), model.encode_to_vec()).unwrap();
    let mut cached = options();
    cached.cache = Some(cache.path().to_owned());
    let run = |data: &[u8]| {
        fs::write(folder.path().join("w"), data).unwrap();
        labels(&Segmenter::from_file(folder.path().join("model.onnx"), &cached).unwrap())
    };
    assert_eq!([run(&data), run(&data)], [truth(), truth()]);
    // One network, and on GPUs its form for them, too.
    let entries = cache_entries(cache.path()).len();
    assert!((1..=2).contains(&entries), "{entries}");
    // Exponents of 0 are weights of nearly 0.
    data.chunks_exact_mut(4).skip(7).step_by(3).for_each(|weight| weight[3] = 0);
    let other = run(&data);
    assert!(other != truth() && run(&data) == other);
    assert_eq!(cache_entries(cache.path()).len(), 2 * entries);
}

#[test]
fn a_file_that_shrinks_is_an_error() {
    // The files may change afterwards: libfcn has a copy.
    let folder = tempfile::tempdir().unwrap();
    let (model, data) = in_one_file("w", 0);
    fs::write(folder.path().join("w"), &data).unwrap();
    let segmenter = open(folder.path(), &model).unwrap();
    File::create(folder.path().join("w")).unwrap();
    assert_eq!(labels(&segmenter), truth());
    let error = open(folder.path(), &model).err().unwrap().to_string();
    assert!(error.contains("which has 0 bytes"), "{error}");
}

#[test]
fn tensors_that_share_bytes_do_not_become_many() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, data) = in_one_file("data", 0);
    fs::write(folder.path().join("data"), &data).unwrap();
    let with = |copies: usize| {
        let mut model = plain.clone();
        let initializer = &mut model.graph.as_mut().unwrap().initializer;
        let whole = initializer.clone();
        for copy in 1..copies {
            let renamed =
                |tensor: &TensorProto| TensorProto { name: Some(format!("{}{copy}", tensor.name())), ..tensor.clone() };
            initializer.extend(whole.iter().map(renamed));
        }
        open(folder.path(), &model)
    };
    assert_eq!(labels(&with(2).unwrap()), truth());
    let message = with(3).map(|_| ()).unwrap_err().to_string();
    let bytes = data.len();
    assert!(
        message.contains(&format!("read {} bytes of external data from files of {bytes} bytes", 3 * bytes)),
        "{message}"
    );
}

#[test]
fn a_file_of_more_than_two_gigabytes_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    // It has no content: reading it would take memory, but no disk.
    File::create(&path).unwrap().set_len((1 << 31) + 1).unwrap();
    let error = Segmenter::from_file(&path, &options()).err().unwrap();
    let words = "has 2147483649 bytes; at most 2147483648 are supported";
    assert!(matches!(&error, Error::Io(text) if text.to_string().contains(words)), "{error:?}");
}
