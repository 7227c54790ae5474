//! Shared by the test programs: skipping tests, tools that may be missing, and linking C programs
//! with the library.
#![allow(dead_code, reason = "each test program uses its own part of this file")]

use std::{
    env, fs,
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{self, Command},
    thread,
    time::Duration,
};

/// Skips a test because a tool is missing: call it once and return. `make test` lists it. With
/// `FCN_NO_SKIP`, as in continuous integration, it fails.
pub(crate) fn skip(what: &str, why: &str) {
    assert!(env::var_os("FCN_NO_SKIP").is_none(), "{what} was skipped, which FCN_NO_SKIP forbids: {why}");
    note_skip(what, why);
}

/// Skips a test because data outside the repository is missing: listed, but never a failure.
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
    // A single write, so that lines of concurrent tests do not mix.
    file.write_all(line.as_bytes()).unwrap();
}

/// The path of the program `name` in PATH. Programs that FCN_TEST_WITHOUT names, separated by
/// spaces, count as missing: `scripts/test_aarch64.sh` names those that cannot follow emulated
/// ones.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let without = env::var("FCN_TEST_WITHOUT").unwrap_or_default();
    if without.split(' ').any(|one| one == name) {
        return None;
    }
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Whether all these tools exist. If not, lists the test `what` as skipped.
pub(crate) fn have(what: &str, tools: &[&str]) -> bool {
    let missing = tools.iter().find(|name| tool(name).is_none());
    if let Some(name) = missing {
        skip(what, &format!("{name} not found"));
    }
    missing.is_none()
}

/// Whether pkg-config and all these packages exist. If not, lists the test `what` as skipped.
pub(crate) fn have_packages(what: &str, packages: &[&str]) -> bool {
    if !have(what, &["pkg-config"]) {
        return false;
    }
    let exists = |name: &str| Command::new("pkg-config").args(["--exists", name]).status().unwrap().success();
    let missing = packages.iter().find(|name| !exists(name));
    if let Some(name) = missing {
        skip(what, &format!("pkg-config does not find {name}"));
    }
    missing.is_none()
}

/// Runs a command that must succeed. Returns its output.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}:\n{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// The project's folder.
pub(crate) fn root() -> PathBuf {
    env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into()).into()
}

/// Warnings that C and C++ code of the project must not cause.
pub(crate) const WARNINGS: [&str; 6] = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror"];

/// Compiles `source` (below the project's folder) with `compiler -std=standard` into `folder`,
/// linked with libfcn.
pub(crate) fn build(folder: &Path, compiler: &str, standard: &str, source: &str) -> PathBuf {
    build_with(folder, compiler, standard, source, &[])
}

/// As [`build`], with `more` arguments for the compiler at the end.
pub(crate) fn build_with(folder: &Path, compiler: &str, standard: &str, source: &str, more: &[String]) -> PathBuf {
    let program = folder.join(Path::new(source).file_stem().unwrap());
    let library = library_dir();
    run(Command::new(compiler)
        .arg(format!("-std={standard}"))
        .args(WARNINGS)
        .arg("-g")
        .arg("-I")
        .arg(root().join("include"))
        .arg(root().join(source))
        .arg("-L")
        .arg(&library)
        .arg(format!("-Wl,-rpath,{}", library.display()))
        .args(["-lfcn", "-pthread", "-o"])
        .arg(&program)
        .args(env::var("FCN_TEST_FLAGS").iter().flat_map(|flags| flags.split(' ')))
        .args(more));
    program
}

/// valgrind, to which a program and its arguments are added. It fails on leaks and invalid
/// accesses. If it is missing, returns `None` and lists the test `what` as skipped.
pub(crate) fn valgrind(what: &str) -> Option<Command> {
    if !have(what, &["valgrind"]) {
        return None;
    }
    let mut command = Command::new("valgrind");
    command
        .args(["--quiet", "--leak-check=full", "--errors-for-leak-kinds=definite", "--show-leak-kinds=definite"])
        // Threads take turns; otherwise one that polls could starve the others.
        .args(["--fair-sched=yes", "--error-exitcode=99"])
        .arg(format!("--suppressions={}", root().join("tests/c/valgrind.supp").display()));
    Some(command)
}

/// Runs make in the project's folder, with the library built for these tests.
pub(crate) fn make(goal: &str, arguments: &[String]) -> String {
    let from = format!("FROM={}", library_dir().display());
    run(Command::new("make").current_dir(root()).args([goal, &from]).args(arguments))
}

/// Waits until a condition holds, at most a minute.
pub(crate) fn wait_for(condition: impl Fn() -> bool) {
    for _ in 0..6000 {
        if condition() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("the condition does not hold after a minute");
}

/// A folder with the library built for these tests, as `libfcn.so` and under its SONAME
/// `libfcn.so.MAJOR.MINOR`: pass it to the C linker with `-L` and `-Wl,-rpath,`.
pub(crate) fn library_dir() -> PathBuf {
    // Or the one with a sanitizer that scripts/sanitize.sh names; it adds FCN_TEST_FLAGS to the
    // compilers' flags.
    let (library, folder) = match env::var_os("FCN_TEST_SANITIZED") {
        Some(library) => (PathBuf::from(library), "linked-sanitized"),
        None => (profile_dir().join("deps/libfcn.so"), "linked"),
    };
    assert!(library.is_file(), "{} is missing: `cargo test` of the package fcn builds it", library.display());
    let folder = profile_dir().join(folder);
    fs::create_dir_all(&folder).unwrap();
    for name in ["libfcn.so", &soname()] {
        // Test programs may run concurrently: renaming replaces the link atomically.
        let new = folder.join(format!("{name}.{}.{:?}", process::id(), thread::current().id()));
        symlink(&library, &new).unwrap();
        fs::rename(&new, folder.join(name)).unwrap();
    }
    folder
}

/// The library's SONAME, as set by build.rs.
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
