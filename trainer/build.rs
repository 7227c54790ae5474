//! Sets the trainer's rpath to libtorch and ONNX Runtime, so that it runs without `LD_LIBRARY_PATH`
//! and `ORT_DYLIB_PATH`, and records libtorch's version. TRAINER_RPATH replaces both folders for a
//! trainer that is installed elsewhere.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

fn main() {
    println!("cargo:rerun-if-env-changed=ORT_DYLIB_PATH");
    let runtime = env::var_os("ORT_DYLIB_PATH").and_then(|path| std::path::absolute(PathBuf::from(path)).ok());
    println!("cargo:rerun-if-env-changed=TRAINER_RPATH");
    let installed = env::var("TRAINER_RPATH").ok();
    let add = |folder: &Path| {
        if installed.is_none() {
            println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.display());
        }
    };
    if let Some(folders) = &installed {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folders}");
    }
    if let Some(folder) = runtime.as_deref().and_then(std::path::Path::parent) {
        add(folder);
    }
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let Some(libtorch) = env::var_os("LIBTORCH").map(PathBuf::from) else {
        println!("cargo:rustc-env=LIBTORCH_VERSION=unknown");
        return;
    };
    // A relative LIBTORCH is relative to the folder where cargo was called, not to this script's.
    let libtorch = std::fs::canonicalize(&libtorch).unwrap_or(libtorch);
    add(&libtorch.join("lib"));
    // No symbol refers to this library, which adds CUDA to libtorch when it is loaded.
    let cuda = libtorch.join("lib/libtorch_cuda.so");
    if cuda.exists() {
        println!("cargo:rustc-link-arg=-Wl,--no-as-needed,{},--as-needed", cuda.display());
    }
    println!("cargo:rustc-env=LIBTORCH_VERSION={}", version(&libtorch).unwrap_or("unknown".to_owned()));
}

/// libtorch's version, from its header.
fn version(libtorch: &Path) -> Option<String> {
    let header = fs::read_to_string(libtorch.join("include/torch/headeronly/version.h")).ok()?;
    let number = |name: &str| {
        let define = format!("#define TORCH_VERSION_{name} ");
        header.lines().find_map(|line| line.strip_prefix(&define)).map(|number| number.trim().to_owned())
    };
    Some([number("MAJOR")?, number("MINOR")?, number("PATCH")?].join("."))
}
