//! `make install` into a folder that then moves elsewhere: a C program outside the tree is built with pkg-config alone,
//! and runs with the ONNX Runtime that lies beside libfcn.

mod common;

use std::{fs, path::Path, process::Command};

use common::run;

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

#[test]
fn installed_library_works_from_any_prefix() {
    let what = "make install";
    for name in ["make", "cc", "pkg-config", "readelf"] {
        if common::tool(name).is_none() {
            return common::skip(what, &format!("{name} not found"));
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let first = folder.path().join("first");
    run(Command::new("make")
        .current_dir(root)
        .arg("install")
        .args([format!("PREFIX={}", first.display()), format!("FROM={}", common::library_dir().display())]));
    let prefix = folder.path().join("moved");
    fs::rename(first, &prefix).unwrap();

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

    let pkg_config = |question: &str| {
        let answer =
            run(Command::new("pkg-config").env("PKG_CONFIG_PATH", lib.join("pkgconfig")).args([question, "fcn"]));
        answer.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(pkg_config("--modversion"), [env!("CARGO_PKG_VERSION")]);
    let source = folder.path().join("program.c");
    let program = folder.path().join("program");
    fs::write(&source, PROGRAM).unwrap();
    run(Command::new("cc")
        .args(pkg_config("--cflags"))
        .arg(&source)
        .args(pkg_config("--libs"))
        .arg(format!("-Wl,-rpath,{}", lib.display()))
        .arg("-o")
        .arg(&program));
    let answer = run(Command::new(&program)
        .current_dir(folder.path())
        .env_remove("ORT_DYLIB_PATH")
        .env_remove("LD_LIBRARY_PATH")
        .arg(root.join("models/animals.onnx")));
    assert_eq!(answer, format!("version {}\n", env!("CARGO_PKG_VERSION")));
}
