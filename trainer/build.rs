//! Gives the trainer an rpath to libtorch, so that it runs without `LD_LIBRARY_PATH`.

use std::{env, path::PathBuf};

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let Some(libtorch) = env::var_os("LIBTORCH").map(PathBuf::from) else { return };
    // A relative LIBTORCH is meant from the folder in which cargo was called, which is not this script's.
    let libtorch = std::fs::canonicalize(&libtorch).unwrap_or(libtorch);
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", libtorch.join("lib").display());
    println!("cargo:rustc-link-arg=-Wl,--no-as-needed");
}
