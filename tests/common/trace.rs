//! Traces a program's access to files and sockets with strace.
#![allow(unreachable_pub, dead_code, missing_docs, reason = "each suite takes what it needs")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Variables that disable ONNX Runtime's telemetry: a test must not pass because it runs in a CI
/// system.
const SILENCERS: [&str; 6] =
    ["CI", "GITLAB_CI", "CIRCLECI", "TEAMCITY_VERSION", "ORT_RUNNING_UNIT_TESTS", "ORT_DISABLE_TELEMETRY"];

/// The trace of a program.
pub struct Trace {
    /// Calls that create Internet sockets.
    pub sockets: Vec<String>,
    /// Calls that may create or change a file.
    pub writes: Vec<String>,
    /// Files in its home folder after it ended.
    pub files_at_home: Vec<PathBuf>,
}

/// Runs a program that must succeed, with its home and temporary files in `folder`.
pub fn trace(folder: &Path, program: &Path, arguments: &[&Path], variables: &[(&str, &str)]) -> Trace {
    let (home, log) = (folder.join("home"), folder.join("strace.log"));
    fs::create_dir_all(&home).unwrap();
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=%network,%file", "-o"]).arg(&log).arg(program).args(arguments);
    SILENCERS.iter().chain(&["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"]).for_each(|name| {
        command.env_remove(name);
    });
    command.env("HOME", &home).env("TMPDIR", folder).envs(variables.iter().copied());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    let log = fs::read_to_string(log).unwrap();
    let calls = |wanted: &dyn Fn(&str) -> bool| log.lines().filter(|line| wanted(line)).map(str::to_owned).collect();
    let reads = ["access(", "faccessat", "stat", "readlink", "getcwd", "execve", "chdir", "statfs"];
    Trace {
        sockets: calls(&|line| line.contains("AF_INET") || line.contains("connect(")),
        writes: calls(&|line| {
            if line.contains("open(") || line.contains("openat(") {
                ["O_WRONLY", "O_RDWR", "O_CREAT"].iter().any(|flag| line.contains(flag))
            } else {
                line.contains('"') && !reads.iter().any(|call| line.contains(call))
            }
        }),
        files_at_home: files(&home),
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.into_iter().flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
