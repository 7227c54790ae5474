//! Generates the C header from src/ffi with cbindgen and compares it with `include/fcn.h`; `make
//! header` updates that file. This is not part of the build script, so that users of the crate do
//! not need cbindgen.

use std::{env, fs, path::Path};

#[test]
fn checked_in_header_is_up_to_date() {
    let generated = header();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/fcn.h");
    if env::var_os("FCN_UPDATE_HEADER").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &generated).unwrap();
    }
    let checked_in = fs::read_to_string(&path).unwrap_or_default();
    assert!(checked_in == generated, "include/fcn.h differs from what src/ffi says: call `make header`");
    assert!(generated.contains("fcn_version("), "the header declares no functions");
}

/// The header: `fcn.h.in`, with each line `@FILE.rs@` replaced by the declarations of that file.
fn header() -> String {
    let folder = Path::new("src/ffi");
    let template = fs::read_to_string(folder.join("fcn.h.in")).expect("src/ffi/fcn.h.in");
    let template = template
        .replace("@MAJOR@", env!("CARGO_PKG_VERSION_MAJOR"))
        .replace("@MINOR@", env!("CARGO_PKG_VERSION_MINOR"))
        .replace("@PATCH@", env!("CARGO_PKG_VERSION_PATCH"));
    let mut header = String::new();
    for line in template.lines() {
        match line.strip_prefix('@').and_then(|line| line.strip_suffix('@')) {
            Some(file) => header += &declarations(&folder.join(file)),
            None => header += line,
        }
        header.push('\n');
    }
    header
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

/// Adapts rustdoc to C: indents code blocks, and removes the section `# Safety`, the last one,
/// because the conventions say the same once.
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
