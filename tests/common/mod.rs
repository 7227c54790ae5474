//! What the test programs share: tools that may be missing, tests that skip, and the library as C programs link it.
#![allow(dead_code, reason = "each test program uses its own part of this file")]

use std::{
    env, fs,
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{self, Command},
    thread,
};

/// Leaves a test out for want of a tool: call it once and return. `make test` lists it; with `FCN_NO_SKIP` set, as in
/// continuous integration, it is a failure.
pub(crate) fn skip(what: &str, why: &str) {
    assert!(env::var_os("FCN_NO_SKIP").is_none(), "{what} was skipped, which FCN_NO_SKIP forbids: {why}");
    note_skip(what, why);
}

/// Leaves a test out for want of data that is no part of the repository: listed, but nowhere a failure.
pub(crate) fn skip_data(what: &str, why: &str) {
    note_skip(what, why);
}

fn note_skip(what: &str, why: &str) {
    let line = format!("{what}: {why}\n");
    #[expect(clippy::print_stderr, reason = "plain `cargo test -- --nocapture` shows it")]
    {
        eprint!("skipped: {line}");
    }
    let mut file = fs::File::options().create(true).append(true).open(target_dir().join("skipped.txt")).unwrap();
    // One write, so that lines of tests that skip at the same time stay whole.
    file.write_all(line.as_bytes()).unwrap();
}

/// Where the program `name` is found along PATH.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Runs a command that must succeed, and gives what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}:\n{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// A folder with `libfcn.so` and its SONAME `libfcn.so.MAJOR.MINOR`, the library that was built for these tests: link a
/// C program with `-L` and `-Wl,-rpath,` of it.
pub(crate) fn library_dir() -> PathBuf {
    let library = profile_dir().join("deps/libfcn.so");
    assert!(library.is_file(), "{} is missing: `cargo test` of the package fcn builds it", library.display());
    let folder = profile_dir().join("linked");
    fs::create_dir_all(&folder).unwrap();
    for name in ["libfcn.so", &soname()] {
        // Test programs may run side by side: a link is renamed to its place, so that it is there at every moment.
        let new = folder.join(format!("{name}.{}.{:?}", process::id(), thread::current().id()));
        symlink(&library, &new).unwrap();
        fs::rename(&new, folder.join(name)).unwrap();
    }
    folder
}

/// The library's SONAME, as build.rs gives it.
pub(crate) fn soname() -> String {
    format!("libfcn.so.{}.{}", env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"))
}

/// `target/debug` (or `target/release`), where this test program was built.
pub(crate) fn profile_dir() -> PathBuf {
    ancestor(2)
}

/// `target`.
fn target_dir() -> PathBuf {
    ancestor(3)
}

fn ancestor(level: usize) -> PathBuf {
    // target/debug/deps/program-0123456789abcdef
    env::current_exe().unwrap().ancestors().nth(level).map(Path::to_path_buf).unwrap()
}
