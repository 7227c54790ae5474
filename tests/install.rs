//! `make install` into a folder that is moved afterwards, and the Debian packages. A C program
//! outside the tree is built with pkg-config alone and with CMake alone, and runs with the
//! installed ONNX Runtime.

mod common;

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use common::{have, have_packages, make, root, run};

const PROGRAM: &str = r#"
#include <fcn.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    fcn_segmenter *segmenter = NULL;
    if (argc != 2 || strcmp(fcn_version(), FCN_VERSION) != 0) return 1;
    if (fcn_create(argv[1], NULL, &segmenter) != FCN_OK) {
        fprintf(stderr, "%s\n", fcn_last_error());
        return 2;
    }
    fcn_free(segmenter);
    printf("version %s\n", fcn_version());
    return 0;
}
"#;

const CMAKE: &str = "
cmake_minimum_required(VERSION 3.16)
project(outside C)
find_package(fcn ${WANTED} CONFIG REQUIRED)
add_executable(program program.c)
target_link_libraries(program PRIVATE fcn::fcn)
";

/// An installation of libfcn: the folder of its libraries, and the settings that pkg-config and
/// CMake need to find it.
struct Installed {
    libraries: Option<PathBuf>,
    prefix: Option<PathBuf>,
}

impl Installed {
    /// In the subfolder `libraries` of a prefix.
    fn at(prefix: &Path, libraries: &str) -> Installed {
        Installed { libraries: Some(prefix.join(libraries)), prefix: Some(prefix.to_path_buf()) }
    }

    /// A command that finds libfcn only here, and no other ONNX Runtime.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for variable in ["ORT_DYLIB_PATH", "LD_LIBRARY_PATH", "PKG_CONFIG_PATH", "CMAKE_PREFIX_PATH"] {
            command.env_remove(variable);
        }
        if let (Some(libraries), Some(prefix)) = (&self.libraries, &self.prefix) {
            command.env("PKG_CONFIG_PATH", libraries.join("pkgconfig")).env("CMAKE_PREFIX_PATH", prefix);
        }
        command
    }

    /// Builds the program both ways and runs it.
    fn check(&self) {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        fs::write(folder.join("program.c"), PROGRAM).unwrap();
        fs::write(folder.join("CMakeLists.txt"), CMAKE).unwrap();
        let pkg_config = |question: &str| {
            let answer = run(self.command("pkg-config").args([question, "fcn"]));
            answer.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(pkg_config("--modversion"), [env!("CARGO_PKG_VERSION")]);
        let [models] = &pkg_config("--variable=modelsdir")[..] else { panic!("one folder") };
        for name in ["animals.onnx", "street.onnx", "README.md", "LICENSE-APACHE"] {
            assert!(Path::new(models).join(name).is_file(), "{name} in {models}");
        }
        let by_hand = folder.join("program");
        let mut compiler = self.command("cc");
        compiler.args(pkg_config("--cflags")).arg(folder.join("program.c")).args(pkg_config("--libs"));
        if let Some(libraries) = &self.libraries {
            compiler.arg(format!("-Wl,-rpath,{}", libraries.display()));
        }
        run(compiler.arg("-o").arg(&by_hand));

        let configure = |wanted: &str, build: &str| {
            let mut command = self.command("cmake");
            command.arg(format!("-DWANTED={wanted}")).arg("-S").arg(folder).arg("-B").arg(folder.join(build));
            command
        };
        let (major, minor) = (env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
        run(&mut configure(&format!("{major}.{minor}"), "build"));
        run(self.command("cmake").arg("--build").arg(folder.join("build")));
        let next = format!("{major}.{}", minor.parse::<u32>().unwrap() + 1);
        let refused = configure(&next, "refused").output().unwrap();
        let errors = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && errors.contains("not accepted"), "{errors}");

        for program in [by_hand, folder.join("build/program")] {
            let model = Path::new(models).join("animals.onnx");
            let answer = run(self.command(program).current_dir(folder).arg(model));
            assert_eq!(answer, format!("version {}\n", env!("CARGO_PKG_VERSION")));
        }
    }
}

#[test]
fn installed_library_works_from_any_prefix() {
    if !have("make install", &["make", "cc", "pkg-config", "cmake", "readelf"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let first = folder.path().join("first");
    let said = make("install", &[format!("PREFIX={}", first.display())]);
    let prefix = folder.path().join("moved");
    fs::rename(&first, &prefix).unwrap();

    let lib = prefix.join("lib");
    let full = format!("libfcn.so.{}", env!("CARGO_PKG_VERSION"));
    let soname = common::soname();
    assert!(fs::symlink_metadata(lib.join(&full)).unwrap().is_file());
    assert_eq!(fs::read_link(lib.join(&soname)).unwrap(), Path::new(&full));
    assert_eq!(fs::read_link(lib.join("libfcn.so")).unwrap(), Path::new(&soname));
    let dynamic = run(Command::new("readelf").args(["--dynamic", "--wide"]).arg(lib.join("libfcn.so")));
    assert!(dynamic.contains(&format!("Library soname: [{soname}]")), "{dynamic}");
    assert!(dynamic.contains("NODELETE"), "{dynamic}");
    assert!(prefix.join("include/fcn.hpp").is_file());
    let installed = Installed::at(&prefix, "lib");
    installed.check();
    if have_packages("the installed GStreamer element", &["gstreamer-video-1.0"]) {
        let mut command = installed.command("gst-launch-1.0");
        command.env("GST_PLUGIN_PATH", lib.join("gstreamer-1.0")).env("GST_REGISTRY", folder.path().join("registry"));
        run(label_video(&mut command, &prefix.join("share/fcn-0.1/models/animals.onnx")));
        let expected = format!("{HINT}{}/lib/gstreamer-1.0", first.display());
        assert!(said.lines().any(|line| line == expected), "{said}");
    }
}

#[test]
fn element_is_installed_where_gstreamer_looks() {
    let what = "the GStreamer element below GStreamer's prefix";
    if !have(what, &["make", "cc", "gst-launch-1.0"]) || !have_packages(what, &["gstreamer-video-1.0"]) {
        return;
    }
    let variable =
        |name: &str| run(Command::new("pkg-config").args(["--variable", name, "gstreamer-1.0"])).trim().to_owned();
    let (system, plugins) = (variable("prefix"), variable("pluginsdir"));
    let folder = tempfile::tempdir().unwrap();
    let said = make("install", &[format!("PREFIX={system}"), format!("DESTDIR={}", folder.path().display())]);
    assert!(!said.lines().any(|line| line.starts_with(HINT)), "{said}");

    // Because of DESTDIR only, the folder is not the one in which GStreamer looks.
    let below = |path: &str| folder.path().join(path.trim_start_matches('/'));
    let (prefix, plugins) = (below(&system), below(&plugins));
    assert!(plugins.join("libgstfcn.so").is_file());
    let mut command = Installed::at(&prefix, "lib").command("gst-launch-1.0");
    command.env("GST_PLUGIN_PATH", plugins).env("GST_REGISTRY", folder.path().join("registry"));
    run(label_video(&mut command, &prefix.join("share/fcn-0.1/models/animals.onnx")));
}

/// What `make install` says if GStreamer does not find the element by itself, before the folder.
const HINT: &str = "GStreamer finds its element fcn with GST_PLUGIN_PATH=";

/// Adds the arguments of gst-launch-1.0 for labelling three frames.
fn label_video<'a>(command: &'a mut Command, model: &Path) -> &'a mut Command {
    let frames = "videotestsrc num-buffers=3 ! video/x-raw,format=NV12,width=96,height=64";
    command.arg("--quiet").args(frames.split(' ')).args(["!", "fcn"]).arg(format!("model={}", model.display()));
    command.args(["!", "fakesink"])
}

#[test]
fn make_deb_says_what_it_needs() {
    if !have("make deb without cargo-deb", &["make"]) {
        return;
    }
    // Only these tools, so cargo-deb is missing: make must fail before it builds anything.
    let folder = tempfile::tempdir().unwrap();
    for name in ["make", "sh", "sed", "head"] {
        symlink(common::tool(name).unwrap(), folder.path().join(name)).unwrap();
    }
    // Not as a child of the `make test` that runs this: a nested make prints the folders that it
    // enters.
    let mut command = Command::new("make");
    command.current_dir(root()).arg("deb").env("PATH", folder.path());
    for name in ["MAKELEVEL", "MAKEFLAGS", "MFLAGS"] {
        command.env_remove(name);
    }
    let output = command.output().unwrap();
    assert!(!output.status.success() && output.stdout.is_empty());
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("cargo install cargo-deb --locked) and dpkg-dev (apt-get install dpkg-dev)\n"), "{errors}");
}

/// Removes the packages from the system on drop, so even if the test fails.
struct Purge(Vec<String>);

impl Drop for Purge {
    fn drop(&mut self) {
        run(Command::new("dpkg").arg("--purge").args(&self.0));
    }
}

#[test]
fn debian_packages_work() {
    let what = "Debian packages";
    let tools = ["make", "cc", "pkg-config", "cmake", "cargo-deb", "dpkg", "dpkg-deb", "dpkg-architecture", "readelf"];
    if !have(what, &tools) || !have_packages(what, &["gstreamer-video-1.0"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("packages");
    make("deb", &[format!("OUT={}", out.display()), "DEB_FLAGS=--fast".to_owned()]);
    let version = format!("{}-1", env!("CARGO_PKG_VERSION"));
    let library = format!("libfcn{}", common::soname().trim_start_matches("libfcn.so."));
    let names = [library.clone(), "libfcn-dev".to_owned(), "gstreamer1.0-fcn".to_owned()];
    let architecture = run(Command::new("dpkg").arg("--print-architecture"));
    let files = names.clone().map(|name| out.join(format!("{name}_{version}_{}.deb", architecture.trim())));

    // Extracted only, so that nothing on this machine changes.
    let root = folder.path().join("root");
    for file in &files {
        run(Command::new("dpkg-deb").arg("--extract").args([file, &root]));
    }
    let multiarch = run(Command::new("dpkg-architecture").args(["-q", "DEB_HOST_MULTIARCH"]));
    Installed::at(&root.join("usr"), &format!("lib/{}", multiarch.trim())).check();
    let field = |file: &Path, name: &str| run(Command::new("dpkg-deb").arg("--field").arg(file).arg(name));
    assert_eq!(field(&files[1], "Depends").trim(), format!("{library} (= {version})"));
    assert!(field(&files[0], "Depends").contains("libc6 (>= "));
    assert!(field(&files[2], "Depends").contains(&format!("{library} (= {version})")));
    let element = root.join(format!("usr/lib/{}/gstreamer-1.0/libgstfcn.so", multiarch.trim()));
    let needed = run(Command::new("readelf").arg("--dynamic").arg(&element));
    let depends = field(&files[2], "Depends");
    assert_eq!(depends.contains("libgstreamer-plugins-bad1.0-0"), needed.contains("libgstanalytics"), "{depends}");

    // Really installed only in continuous integration, on a disposable machine.
    if env::var_os("FCN_NO_SKIP").is_none() || run(Command::new("id").arg("-u")).trim() != "0" {
        return common::skip_data(
            "Debian packages on this system",
            "only with FCN_NO_SKIP set, as root: it changes the system",
        );
    }
    let purge = Purge(names.into());
    run(Command::new("dpkg").arg("--install").args(&files));
    let installed = Installed { libraries: None, prefix: None };
    installed.check();
    // Found without any variable.
    let mut command = installed.command("gst-launch-1.0");
    let registry = folder.path().join("registry");
    run(label_video(command.env("GST_REGISTRY", registry), Path::new("/usr/share/fcn-0.1/models/animals.onnx")));
    drop(purge);
    let left = Command::new("pkg-config").args(["--exists", "fcn"]).status().unwrap();
    assert!(!left.success(), "fcn.pc is still there after its package was removed");
}
