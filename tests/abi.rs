//! Compatibility with programs that are already built: compares the exported symbols, their version
//! and the types in their signatures with the stored `tests/abi/libfcn.abi`. Also checks that the
//! C++ wrapper covers every function.
//!
//! The baseline describes the header, because Rust's debug information would add private types: a C
//! library defines every function of the header with an empty body, and `abidw` describes that
//! library. The symbols of the real library are compared with the header's. `make abi` rewrites the
//! baseline.

mod common;

use std::{collections::BTreeSet, env, fs, path::Path, process::Command};

use common::{have, root, run};

const BASELINE: &str = "tests/abi/libfcn.abi";

fn header() -> String {
    fs::read_to_string(root().join("include/fcn.h")).unwrap()
}

/// A function declared in a header.
struct Function {
    name: String,
    /// The declaration without the semicolon.
    prototype: String,
}

/// The functions of a header written by cbindgen: they start at the left margin and end with a
/// semicolon.
fn functions(header: &str) -> Vec<Function> {
    let mut functions = Vec::new();
    let mut lines = header.lines();
    while let Some(line) = lines.next() {
        let starts = line.starts_with(|c: char| c.is_ascii_lowercase()) && !line.starts_with("typedef ");
        let Some((before, _)) = line.split_once('(').filter(|_| starts) else { continue };
        let name = before.rsplit([' ', '*']).next().unwrap().to_owned();
        let mut prototype = line.to_owned();
        while !prototype.ends_with(';') {
            prototype += lines.next().expect("a prototype ends with a semicolon").trim_start();
        }
        prototype.pop();
        functions.push(Function { name, prototype });
    }
    assert!(functions.len() > 40, "only {} functions were found in the header", functions.len());
    functions
}

#[test]
fn the_functions_of_the_header_are_exported_and_nothing_else() {
    let library = common::library_dir().join("libfcn.so");
    let output = run(Command::new("nm").args(["--dynamic", "--defined-only", "--format=posix"]).arg(library));
    // The version is itself a symbol, of type A; an export is "fcn_create@@libfcn.so.0.1 T".
    let soname = common::soname();
    let exported: BTreeSet<&str> = output
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words[..2] != [soname.as_str(), "A"])
        .map(|words| words[0])
        .collect();
    let header = functions(&header());
    let declared: BTreeSet<String> = header.iter().map(|function| format!("{}@@{soname}", function.name)).collect();
    let declared: BTreeSet<&str> = declared.iter().map(String::as_str).collect();
    assert_eq!(exported, declared, "left: exported, right: declared");
}

#[test]
fn wrapper_for_cpp_uses_every_function() {
    let wrapper = fs::read_to_string(root().join("include/fcn.hpp")).unwrap();
    let code: String = wrapper.lines().filter(|line| !line.trim_start().starts_with(['/', '*'])).collect();
    let missing: Vec<String> =
        functions(&header()).into_iter().map(|f| f.name).filter(|name| !code.contains(&format!("{name}("))).collect();
    assert!(missing.is_empty(), "include/fcn.hpp calls none of {missing:?}");
}

/// Writes a description of a header's types and functions to `NAME.abi` in `folder`. Returns its
/// path.
fn describe(folder: &Path, name: &str, header: &str) -> std::path::PathBuf {
    let [source, library, description] = ["c", "so", "abi"].map(|end| folder.join(format!("{name}.{end}")));
    let mut program = header.to_owned();
    for function in functions(header) {
        program += &format!("{} {{ __builtin_unreachable(); }}\n", function.prototype);
    }
    fs::write(&source, program).unwrap();
    run(Command::new("gcc")
        .args(["-std=c99", "-g", "-fno-eliminate-unused-debug-types", "-shared", "-fPIC"])
        .arg(format!("-Wl,-soname,{}", common::soname()))
        .args([&source, Path::new("-o"), &library]));
    // Only what is the same on every machine.
    run(Command::new("abidw")
        .args(["--load-all-types", "--type-id-style", "hash", "--no-architecture", "--no-elf-needed"])
        .args(["--no-show-locs", "--no-corpus-path", "--no-comp-dir-path", "--out-file"])
        .args([&description, &library]));
    let text = fs::read_to_string(&description).unwrap();
    fs::write(&description, text.replace(&source.display().to_string(), "fcn.h")).unwrap();
    description
}

/// Describes what breaks programs built with the first description when they run with the second
/// one; `None` if nothing does.
fn broken(first: &Path, second: &Path) -> Option<String> {
    let output = Command::new("abidiff")
        .args(["--non-reachable-types", "--no-architecture", "--no-corpus-path", "--no-show-locs"])
        .args([first, second])
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    // Bits 0 and 1 of the status mean that the tool failed; additions also set bit 2.
    let status = output.status.code().expect("abidiff ends by itself");
    assert!(status & 3 == 0, "{report}{}", String::from_utf8_lossy(&output.stderr));
    // "Functions changes summary: 0 Removed, 1 Changed (1 filtered out), 2 Added functions", and
    // likewise for variables.
    let counts: Vec<(u32, &str)> = report
        .lines()
        .filter_map(|line| line.split_once(" summary: "))
        .flat_map(|(_, counts)| counts.split(", "))
        .map(|count| count.split_once(' ').unwrap())
        .map(|(number, kind)| (number.parse().unwrap(), kind))
        .collect();
    assert!(status == 0 || counts.len() >= 6, "no summary in: {report}");
    let only_additions = counts.iter().all(|(number, kind)| *number == 0 || kind.to_lowercase().starts_with("added"));
    (!only_additions || status & 8 != 0 || report.contains("SONAME changed")).then_some(report)
}

#[test]
fn programs_that_are_built_already_keep_working() {
    if !have("ABI baseline", &["abidw", "abidiff", "gcc"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let header = header();
    let current = describe(folder.path(), "current", &header);
    let baseline = root().join(BASELINE);
    if env::var_os("FCN_UPDATE_ABI").is_some() {
        fs::create_dir_all(baseline.parent().unwrap()).unwrap();
        fs::copy(&current, &baseline).unwrap();
    }
    if let Some(report) = broken(&baseline, &current) {
        panic!(
            "include/fcn.h breaks programs that are built already:\n{report}\nIf that is meant (a new minor version, or \
             a reserved field that gets a name), call `make abi`."
        );
    }

    // The comparison detects each kind of change: (name, text in the header, replacement).
    let breaks = [
        ("removed function", "uint32_t fcn_mask_width(const fcn_mask *mask);\n", ""),
        ("other result", "uint32_t fcn_mask_width(", "uint64_t fcn_mask_width("),
        (
            "other parameter",
            "(const fcn_segmenter *segmenter, uint32_t width",
            "(const fcn_segmenter *segmenter, int width",
        ),
        ("renumbered", "FCN_FORMAT_BGR8 = 2,", "FCN_FORMAT_BGR8 = 99,"),
        ("renumbered status", "FCN_ERROR_MODEL = 5,", "FCN_ERROR_MODEL = 99,"),
        ("removed number", "    FCN_OUTPUT_SCORES = 2,\n", ""),
        ("grown struct", "    uint32_t mirror;\n", "    uint32_t mirror;\n    uint64_t more;\n"),
        ("callback", "int32_t level, const char *message", "const char *message, int32_t level"),
    ];
    let additions = [
        ("new function", "#endif  /* FCN_H */", "int fcn_new_function(void);\n#endif  /* FCN_H */"),
        ("new number", "    FCN_OUTPUT_SCORES = 2,\n", "    FCN_OUTPUT_SCORES = 2,\n    FCN_OUTPUT_NEW = 1048576,\n"),
        ("new type", "#undef FCN_ENUM", "enum fcn_new { FCN_NEW = 1, };\n#undef FCN_ENUM"),
    ];
    for (breaking, (name, old, new)) in
        breaks.map(|case| (true, case)).into_iter().chain(additions.map(|case| (false, case)))
    {
        assert_eq!(header.matches(old).count(), 1, "{name}: {old}");
        let changed = describe(folder.path(), "changed", &header.replace(old, new));
        let report = broken(&current, &changed);
        assert_eq!(report.is_some(), breaking, "{name}: {report:?}");
    }
}
