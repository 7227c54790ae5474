//! Nothing leaves the machine: no socket is opened and no file is written but those that were named.

mod common;
#[path = "common/models.rs"]
mod models;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use common::{build, have, run};
use models::{Spec, network};

/// What ONNX Runtime looks at before it starts its telemetry: a test must not pass because it runs in a CI system.
const SILENCERS: [&str; 6] =
    ["CI", "GITLAB_CI", "CIRCLECI", "TEAMCITY_VERSION", "ORT_RUNNING_UNIT_TESTS", "ORT_DISABLE_TELEMETRY"];

/// What a program did, as strace saw it.
struct Trace {
    /// Calls that make sockets of the Internet.
    sockets: Vec<String>,
    /// Calls that may create or change a file.
    writes: Vec<String>,
    /// Files below its home folder at its end.
    files_at_home: Vec<PathBuf>,
}

/// Runs a program that must succeed, with an empty home folder.
fn trace(folder: &Path, program: &Path, arguments: &[&Path], variables: &[(&str, &str)]) -> Trace {
    let (home, log) = (folder.join("home"), folder.join("strace.log"));
    fs::create_dir_all(&home).unwrap();
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=%network,%file", "-o"]).arg(&log).arg(program).args(arguments);
    SILENCERS.iter().chain(&["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"]).for_each(|name| {
        command.env_remove(name);
    });
    run(command.env("HOME", &home).env("TMPDIR", folder).envs(variables.iter().copied()));
    let log = fs::read_to_string(log).unwrap();
    let calls = |wanted: &dyn Fn(&str) -> bool| log.lines().filter(|line| wanted(line)).map(str::to_owned).collect();
    let reads = ["access(", "faccessat", "stat", "readlink", "getcwd", "execve", "chdir", "statfs"];
    Trace {
        sockets: calls(&|line| line.contains("AF_INET") || line.contains("connect(")),
        writes: calls(&|line| match line.contains("open(") || line.contains("openat(") {
            true => ["O_WRONLY", "O_RDWR", "O_CREAT"].iter().any(|flag| line.contains(flag)),
            false => line.contains('"') && !reads.iter().any(|call| line.contains(call)),
        }),
        files_at_home: files(&home),
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.into_iter().flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

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
    // The host's own value counts, so this shows that the others would have been noticed.
    let variables = [("ORT_DISABLE_TELEMETRY", "0")];
    let chosen = trace(folder.path(), &program, &[&model, Path::new("free")], &variables);
    assert!(!chosen.files_at_home.is_empty() && !chosen.writes.is_empty(), "ONNX Runtime 1.32 has telemetry");
}
