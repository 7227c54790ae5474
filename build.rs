//! Gives libfcn.so its SONAME and symbol version.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if variable("CARGO_CFG_TARGET_OS") == "linux" {
        // 0.x versions may break the ABI with each minor version, so the SONAME includes it.
        let (major, minor) = (variable("CARGO_PKG_VERSION_MAJOR"), variable("CARGO_PKG_VERSION_MINOR"));
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libfcn.so.{major}.{minor}");
        // ONNX Runtime's threads may still run when a host calls dlclose(): libfcn must stay mapped.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
        // Every export carries the SONAME as its version, so a host and its plugins can use two
        // versions of libfcn at once. Only GNU ld adds it to rustc's own version script; a second
        // script is an error or is ignored (docs/decisions.md).
        println!("cargo:rustc-cdylib-link-arg=-fuse-ld=bfd");
        println!("cargo:rustc-cdylib-link-arg=-Wl,--default-symver");
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}
