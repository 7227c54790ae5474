//! The checked-in C header matches the sources.

use std::{env, fs, path::Path};

#[test]
fn checked_in_header_is_up_to_date() {
    let generated = include_str!(concat!(env!("OUT_DIR"), "/fcn.h"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/fcn.h");
    if env::var_os("FCN_UPDATE_HEADER").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, generated).unwrap();
    }
    let checked_in = fs::read_to_string(&path).unwrap_or_default();
    assert!(checked_in == generated, "include/fcn.h differs from what src/ffi says: call `make header`");
    assert!(generated.contains("fcn_version("), "the header declares no functions");
}
