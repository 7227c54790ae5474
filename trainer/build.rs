//! Gives the trainer an rpath to libtorch and to ONNX Runtime, so that it runs without `LD_LIBRARY_PATH` and `ORT_DYLIB_PATH`.

use std::{env, path::PathBuf};

fn main() {
    println!("cargo:rerun-if-env-changed=ORT_DYLIB_PATH");
    let runtime = env::var_os("ORT_DYLIB_PATH").and_then(|path| std::path::absolute(PathBuf::from(path)).ok());
    if let Some(folder) = runtime.as_deref().and_then(std::path::Path::parent) {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.display());
    }
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let Some(libtorch) = env::var_os("LIBTORCH").map(PathBuf::from) else { return };
    // A relative LIBTORCH is meant from the folder in which cargo was called, which is not this script's.
    let libtorch = std::fs::canonicalize(&libtorch).unwrap_or(libtorch);
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", libtorch.join("lib").display());
    println!("cargo:rustc-link-arg=-Wl,--no-as-needed");
}
