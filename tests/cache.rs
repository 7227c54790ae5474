//! Optimized networks on disk: used where they fit, and harmless where they do not.

#[path = "common/models.rs"]
mod models;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use fcn::{Frame, Mask, Options, PixelFormat, Provider, Segmenter};
use models::{Spec, network, random_bytes};

fn options(cache: Option<&Path>) -> Options {
    let mut options = Options::default();
    (options.provider, options.threads, options.cache) = (Provider::Cpu, 1, cache.map(Path::to_owned));
    options
}

fn labels(model: &[u8], options: &Options) -> Vec<u8> {
    let pixels = random_bytes(1, 3 * 96 * 64);
    let mut mask = Mask::new();
    let segmenter = Segmenter::from_memory(model, options).unwrap();
    segmenter.segment(&Frame::packed(PixelFormat::Rgb8, &pixels, 96, 64, 0).unwrap(), &mut mask).unwrap();
    mask.labels().to_vec()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The one file of a cache, split behind its five lines of header.
fn entry(folder: &Path) -> (PathBuf, Vec<u8>, Vec<u8>) {
    let [path] = &files(folder)[..] else { panic!("one file, not {:?}", files(folder)) };
    let content = fs::read(path).unwrap();
    let end = content.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(4).unwrap().0 + 1;
    (path.clone(), content[..end].to_vec(), content[end..].to_vec())
}

#[test]
fn a_kept_network_is_used_and_labels_the_same() {
    let (first, second) = (network(Spec::default()), network(Spec { classes: 4, ..Spec::default() }));
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let truth = labels(&first, &options(None));
    for time in ["written", "read", "read again"] {
        assert_eq!(labels(&first, &options(Some(folder.path()))), truth, "{time}");
    }
    let (path, header, network) = entry(folder.path());
    assert!(String::from_utf8(header.clone()).unwrap().contains("ONNX Runtime 1."));
    // That it is used shows where somebody puts another network into it: then the segmenter is that other network.
    labels(&second, &options(Some(other.path())));
    let (_, _, foreign) = entry(other.path());
    fs::write(&path, [&header[..], &foreign[..]].concat()).unwrap();
    let error = Segmenter::from_memory(&first, &options(Some(folder.path()))).err().expect("it has 4 classes, not 5");
    assert!(error.to_string().contains("4 scores"), "{error}");
    fs::write(&path, [&header[..], &network[..]].concat()).unwrap();
    assert_eq!(labels(&first, &options(Some(folder.path()))), truth);
}

#[test]
fn what_does_not_fit_is_made_anew() {
    let model = network(Spec::default());
    let folder = tempfile::tempdir().unwrap();
    let truth = labels(&model, &options(Some(folder.path())));
    let (path, header, network) = entry(folder.path());
    let whole = [&header[..], &network[..]].concat();
    let stale = String::from_utf8(header.clone()).unwrap().replace("ONNX Runtime 1.", "ONNX Runtime 0.").into_bytes();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for (name, content) in [
        ("empty", vec![]),
        ("cut", whole[..whole.len() - 1].to_vec()),
        ("cut in the header", whole[..20].to_vec()),
        ("another version's", [&stale[..], &network[..]].concat()),
        ("damaged", flipped),
        ("something else", b"something else".to_vec()),
    ] {
        fs::write(&path, &content).unwrap();
        assert_eq!(labels(&model, &options(Some(folder.path()))), truth, "{name}");
        assert_eq!(entry(folder.path()).1, header, "{name}: it is made anew");
    }
}

#[test]
fn a_cache_that_cannot_be_written_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let said = Arc::new(Mutex::new(Vec::new()));
    let mut options = options(Some(&folder.path().join("missing")));
    let heard = Arc::clone(&said);
    options.log = Some(Arc::new(move |_, message: &str| heard.lock().unwrap().push(message.to_owned())));
    let model = network(Spec::default());
    assert_eq!(labels(&model, &options), labels(&model, &self::options(None)));
    let said = said.lock().unwrap();
    assert!(said.iter().any(|message| message.contains("not kept") && message.contains("missing")), "{said:?}");
    assert!(files(folder.path()).is_empty());
}
