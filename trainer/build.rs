//! Sets the trainer's rpath to libtorch and ONNX Runtime, so that it runs without `LD_LIBRARY_PATH`
//! and `ORT_DYLIB_PATH`, and records libtorch's version. TRAINER_RPATH replaces both folders for a
//! trainer that is installed elsewhere.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

fn main() {
    println!("cargo:rerun-if-changed=src/distributed");
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
    compile_c10d(&libtorch, cuda.exists());
    println!("cargo:rustc-env=LIBTORCH_VERSION={}", version(&libtorch).unwrap_or("unknown".to_owned()));
}

/// Compiles the interface to libtorch's process groups; with NCCL if libtorch has CUDA and the
/// headers of both are there.
fn compile_c10d(libtorch: &Path, cuda: bool) {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++20").file("src/distributed/c10d.cpp").include("src/distributed/include");
    // As system headers, whose warnings are libtorch's.
    for folder in ["include", "include/torch/csrc/api/include"] {
        build.flag("-isystem").flag(libtorch.join(folder));
    }
    build.define("USE_C10D_GLOO", None);
    let headers = |variable: &str, usual: &str, header: &str| {
        println!("cargo:rerun-if-env-changed={variable}");
        let folder = env::var_os(variable).map_or(PathBuf::from(usual), PathBuf::from).join("include");
        folder.join(header).exists().then_some(folder)
    };
    let folders =
        (headers("CUDA_HOME", "/usr/local/cuda", "cuda_runtime_api.h"), headers("NCCL_HOME", "/usr", "nccl.h"));
    if let (true, (Some(runtime), Some(nccl))) = (cuda, folders) {
        build.define("USE_C10D_NCCL", None).flag("-isystem").flag(runtime).flag("-isystem").flag(nccl);
    }
    build.compile("fcn_trainer_c10d");
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
