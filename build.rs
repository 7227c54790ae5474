//! Writes the C header to OUT_DIR/fcn.h and gives libfcn.so its SONAME and symbol version.
//!
//! `include/fcn.h` is a checked-in copy of that header: a test compares them, `make header` updates
//! it. A build script must not write there itself: the sources of a package can be read-only.

use std::{env, fs, path::Path};

fn main() {
    println!("cargo:rerun-if-changed=src/ffi");
    println!("cargo:rerun-if-changed=cbindgen.toml");
    write_header(&Path::new(&variable("OUT_DIR")).join("fcn.h"));
    if variable("CARGO_CFG_TARGET_OS") == "linux" {
        // 0.x versions may break the ABI with each minor version, so the SONAME includes it.
        let [major, minor, _] = version();
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libfcn.so.{major}.{minor}");
        // ONNX Runtime's threads may still run when a host calls dlclose(): libfcn must stay mapped.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
        // Every export carries the SONAME as its version, so a host and its plugins can use two
        // versions of libfcn at once. Only GNU ld adds it to rustc's own version script; a second
        // script is an error or is ignored.
        println!("cargo:rustc-cdylib-link-arg=-fuse-ld=bfd");
        println!("cargo:rustc-cdylib-link-arg=-Wl,--default-symver");
    }
}

/// Writes the header: `fcn.h.in`, with each line `@FILE.rs@` replaced by the declarations of that
/// file.
fn write_header(path: &Path) {
    let folder = Path::new("src/ffi");
    let template = fs::read_to_string(folder.join("fcn.h.in")).expect("src/ffi/fcn.h.in");
    let [major, minor, patch] = version();
    let template = template.replace("@MAJOR@", &major).replace("@MINOR@", &minor).replace("@PATCH@", &patch);
    let mut header = String::new();
    for line in template.lines() {
        match line.strip_prefix('@').and_then(|line| line.strip_suffix('@')) {
            Some(file) => header += &declarations(&folder.join(file)),
            None => header += line,
        }
        header.push('\n');
    }
    fs::write(path, header).expect("OUT_DIR can be written");
}

/// The C declarations of a Rust file: handles, other types, functions.
fn declarations(file: &Path) -> String {
    let config = cbindgen::Config::from_file("cbindgen.toml").expect("cbindgen.toml");
    let builder = cbindgen::Builder::new().with_config(config).with_src(file);
    let mut text = Vec::new();
    builder.generate().expect("the declarations of a file of src/ffi").write(&mut text);
    let text = String::from_utf8(text).expect("cbindgen writes UTF-8");
    let mut items: Vec<String> = text.trim().split("\n\n").map(|item| plain_enum(plain_docs(item))).collect();
    // Handles have their typedef at the top of the header, for functions of other sections.
    let is_handle = |item: &String| item.lines().last().is_some_and(|line| line.starts_with("typedef struct "));
    items.sort_by_key(|item| !is_handle(item));
    for item in items.iter_mut().filter(|item| is_handle(item)) {
        let (docs, declaration) = item.rsplit_once("typedef ").expect("a typedef");
        let (declaration, _name) = declaration.rsplit_once(' ').expect("a typedef");
        *item = format!("{docs}{declaration};");
    }
    items.join("\n\n")
}

/// Adapts rustdoc to C: indents code blocks, and removes the section `# Safety`, the last one, because
/// the conventions say the same once.
fn plain_docs(item: &str) -> String {
    let (mut lines, mut is_code, mut is_safety) = (Vec::new(), false, false);
    for line in item.lines() {
        match line.strip_prefix("///") {
            Some(" # Safety") => {
                lines.pop();
                is_safety = true;
            }
            Some(_) if is_safety => {}
            Some(text) if text.starts_with(" ```") => is_code = !is_code,
            Some(text) if is_code => lines.push(format!("///    {text}").trim_end().to_owned()),
            Some(_) => lines.push(line.to_owned()),
            None => {
                is_safety = false;
                lines.push(line.to_owned());
            }
        }
    }
    lines.join("\n")
}

/// Replaces cbindgen's conditional lines around an enum by the header's macro FCN_ENUM.
fn plain_enum(item: String) -> String {
    let Some(start) = item.find("\nenum ") else { return item };
    let (docs, declaration) = item.split_at(start + 1);
    let (head, rest) = declaration.split_once("\n {\n").expect("the constants of an enum");
    let (constants, _) = rest.split_once("\n};").expect("the end of an enum");
    let name = head.lines().next().and_then(|line| line.strip_prefix("enum ")).expect("the name of an enum");
    let integer = head.lines().find_map(|line| line.strip_prefix("  : ")).expect("the integer type of an enum");
    format!("{docs}FCN_ENUM({name}, {integer}) {{\n{constants}\n}};")
}

fn version() -> [String; 3] {
    ["MAJOR", "MINOR", "PATCH"].map(|part| variable(&format!("CARGO_PKG_VERSION_{part}")))
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}
