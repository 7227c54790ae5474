//! YOLO's polygons, and behind the first byte 255, which no UTF-8 has, `data.yaml`.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use trainer::import::yolo;

#[path = "folder.rs"]
mod folder;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = folder::new();
    folder::photo(folder.path(), "images/train/a.png");
    folder
});

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |byte| *byte == 255);
    folder::write(FOLDER.path(), "labels/train/a.txt", parts.next().unwrap_or_default());
    folder::write(FOLDER.path(), "data.yaml", parts.next().unwrap_or_default());
    for is_strict in [false, true] {
        if let Ok(source) = yolo::find(FOLDER.path(), &folder::settings(is_strict)) {
            folder::draw(&source);
        }
    }
});
