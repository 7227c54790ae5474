//! Writes the C header to OUT_DIR/fcn.h and gives libfcn.so its SONAME and symbol version.
//!
//! `include/fcn.h` is a checked-in copy of that header: a test compares them, `make header` renews it. A build script
//! may not write there itself, because the sources of a package can be read-only.

use std::{env, path::Path};

fn main() {
    println!("cargo:rerun-if-changed=src/ffi");
    println!("cargo:rerun-if-changed=cbindgen.toml");
    write_header(&Path::new(&variable("OUT_DIR")).join("fcn.h"));
    if variable("CARGO_CFG_TARGET_OS") == "linux" {
        // 0.x versions may break the ABI with each minor version, so it is part of the name that programs ask for.
        let [major, minor, _] = version();
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libfcn.so.{major}.{minor}");
        // ONNX Runtime's threads may still run when a host calls dlclose: libfcn's code must stay in place.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
        // Every export carries the SONAME as its version, so that a host and its plugins can use two versions at once. Only
        // GNU ld adds one to the version script that rustc passes: beside that, a script of our own is an error or is ignored.
        println!("cargo:rustc-cdylib-link-arg=-fuse-ld=bfd");
        println!("cargo:rustc-cdylib-link-arg=-Wl,--default-symver");
    }
}

fn write_header(path: &Path) {
    let mut config = cbindgen::Config::from_file("cbindgen.toml").expect("cbindgen.toml");
    let [major, minor, patch] = version();
    config.after_includes = Some(format!(
        "\n/* The version of this header; fcn_version() tells that of the library. */\n\
         #define FCN_VERSION_MAJOR {major}\n#define FCN_VERSION_MINOR {minor}\n#define FCN_VERSION_PATCH {patch}\n\
         #define FCN_VERSION \"{major}.{minor}.{patch}\"\n\n\
         /* Define FCN_WITHOUT_IMAGE where libfcn was built without its cargo feature `image`. */\n\
         #ifndef FCN_WITHOUT_IMAGE\n#define FCN_WITH_IMAGE 1\n#endif"
    ));
    // cbindgen follows the module's `mod` lines, so the header has the items in that order.
    let builder = cbindgen::Builder::new().with_config(config).with_src("src/ffi/mod.rs");
    builder.generate().expect("the C header from src/ffi").write_to_file(path);
}

fn version() -> [String; 3] {
    ["MAJOR", "MINOR", "PATCH"].map(|part| variable(&format!("CARGO_PKG_VERSION_{part}")))
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}
