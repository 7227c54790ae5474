//! Nothing leaves the machine, and no file is written but those that were named.

use std::path::{Path, PathBuf};

#[path = "../../tests/common/mod.rs"]
mod common;
mod data;
#[path = "../../tests/common/trace.rs"]
mod trace;

use data::Folder;
use trace::{Trace, trace};

#[test]
fn nothing_leaves_the_machine() {
    if !common::have("what the trainer does to files and sockets", &["strace"]) {
        return;
    }
    let folder = Folder::new(2);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (model, photo) = (root.join("models/animals.onnx"), root.join(".deps/photos/chelsea.png"));
    let (run, labelled) = (folder.path("run"), folder.path("labelled"));
    let words = |line: &str| line.split(' ').map(PathBuf::from).collect::<Vec<_>>();
    let train = words("--epochs 1 --batch 2 --crop 64x64 --threads 1 --backbone resnet18 --data");
    let commands = [
        ([words("predict"), vec![model, photo], words("--out"), vec![labelled.clone()]].concat(), &labelled),
        ([words("train"), train, vec![folder.root().to_owned()], words("--out"), vec![run.clone()]].concat(), &run),
    ];
    for (arguments, named) in commands {
        let arguments: Vec<&Path> = arguments.iter().map(PathBuf::as_path).collect();
        let program = Path::new(env!("CARGO_BIN_EXE_trainer"));
        let Trace { sockets, mut writes, files_at_home } = trace(folder.root(), program, &arguments, &[]);
        let named = named.to_str().unwrap();
        assert!(writes.iter().any(|write| write.contains(named)), "{arguments:?} wrote nothing");
        // Devices keep nothing.
        writes.retain(|write| !write.contains(named) && !write.contains("\"/dev/"));
        assert!(sockets.is_empty(), "{arguments:?}: {sockets:?}");
        assert!(writes.is_empty(), "{arguments:?}: {writes:?}");
        assert!(files_at_home.is_empty(), "{arguments:?}: {files_at_home:?}");
    }
}
