//! Nothing leaves the machine: libfcn opens no socket and writes only files that it was asked to
//! write.

mod common;
#[path = "common/models.rs"]
mod models;
#[path = "common/trace.rs"]
mod trace;

use std::{fs, path::Path};

use common::{build, have};
use models::{Spec, network};
use trace::{Trace, trace};

#[test]
fn nothing_leaves_the_machine() {
    if !have("what libfcn does to files and sockets", &["strace"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.onnx");
    fs::write(&model, network(Spec::default())).unwrap();
    let program = build(folder.path(), "cc", "c11", "tests/c/telemetry.c");
    for how in ["free", "exit", "threads"] {
        let Trace { sockets, writes, files_at_home } = trace(folder.path(), &program, &[&model, Path::new(how)], &[]);
        assert!(sockets.is_empty(), "{how}: {sockets:?}");
        assert!(writes.is_empty(), "{how}: {writes:?}");
        assert!(files_at_home.is_empty(), "{how}: {files_at_home:?}");
    }
    // The host's own value is respected. With it, the trace shows what would otherwise have
    // happened.
    let variables = [("ORT_DISABLE_TELEMETRY", "0")];
    let chosen = trace(folder.path(), &program, &[&model, Path::new("free")], &variables);
    assert!(!chosen.files_at_home.is_empty() && !chosen.writes.is_empty(), "ONNX Runtime 1.32 has telemetry");
}
