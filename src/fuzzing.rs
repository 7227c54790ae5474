//! Internals for the fuzz targets in `fuzz/`, compiled only with `--cfg fuzzing`.

use std::{fs, path::Path};

use prost::Message;

use crate::{
    Options, Result, Size,
    cache::{CacheEntry, Folder},
    model::Model,
    onnx::{self, types::ModelProto},
    runtime::OutputKind,
};

/// Stands in for ONNX Runtime.
pub trait Answers {
    /// The output of a trial run, and which of `sizes` sizes the network took; `None` if it takes
    /// none.
    fn trial(&mut self, sizes: usize) -> Option<(usize, Vec<i64>)>;

    /// Whether the scores do not have the size that the cut-off upsampling requires.
    fn uncut(&mut self) -> bool;

    /// The channels of the network's output: `None` for one of labels, `Some(None)` if they are
    /// not known.
    fn output(&mut self) -> Option<Option<usize>>;
}

/// Runs all steps on a model before and after ONNX Runtime, for each provider.
pub fn prepare(bytes: &[u8], options: &Options, answers: &mut dyn Answers) -> Result<()> {
    options.check()?;
    let (file, model) = onnx::from_memory(bytes)?;
    let mut prepared = Model::prepare(model, options, &mut |network, sizes| {
        check_encoded(network, &file);
        let answer = answers.trial(sizes.len());
        let (size, values) = answer.ok_or_else(|| crate::Error::Runtime("it takes no size".into()))?;
        Ok((sizes[size], values))
    })?;
    let networks = [Some(prepared.network.clone()), prepared.on_device()];
    for network in networks.iter().flatten() {
        check_encoded(network, &file);
        if let Ok(network) = onnx::without_integers(network) {
            check_encoded(&network, &file);
        }
    }
    if answers.uncut() {
        prepared.uncut();
        check_encoded(&prepared.network, &file);
    }
    let output = answers.output().map_or(OutputKind::Labels, |channels| OutputKind::Scores { channels });
    let model = prepared.finish(output, options)?;
    let mode = model.size_mode(options.size_mode)?;
    for (width, height) in [(1, 1), (64, 97), (640, 480), (1, 32767)] {
        // Models with a fixed size return an error here.
        let _ = model.working_size(mode, Size { width, height });
    }
    Ok(())
}

/// Checks that the bytes for ONNX Runtime can be decoded.
fn check_encoded(network: &ModelProto, file: &[u8]) {
    for bytes in [onnx::encode_without_weights(network, file), onnx::encode(network)] {
        let bytes = bytes.expect("enough memory");
        ModelProto::decode(&bytes[..]).expect("what libfcn wrote");
    }
}

/// Stores `network` in a cache in `folder`, damages the entry, and returns what is read back.
pub fn read_damaged(folder: &Path, network: &[u8], damage: impl FnOnce(&mut Vec<u8>)) -> Option<Vec<u8>> {
    let opened = Folder::open(folder).expect("a cache folder");
    let entry = CacheEntry::new(&opened, b"model", b"graph", "1.0", "cpu");
    let temporary = entry.temporary().expect("a temporary file");
    fs::write(&temporary, network).expect("a network");
    entry.keep(temporary).expect("an entry");
    let own = fs::read_dir(folder).expect("a folder").flatten().next().expect("a cache folder");
    let file = fs::read_dir(own.path()).expect("a cache folder").flatten().next().expect("an entry").path();
    let mut content = fs::read(&file).expect("an entry");
    damage(&mut content);
    fs::write(&file, content).expect("an entry");
    entry.read().map(|cached| cached.network().to_vec())
}
