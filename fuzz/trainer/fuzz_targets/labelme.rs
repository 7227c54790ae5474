//! labelme's files.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use trainer::import::labelme;

#[path = "folder.rs"]
mod folder;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = folder::new();
    folder::photo(folder.path(), "a.png");
    folder
});

fuzz_target!(|bytes: &[u8]| {
    folder::write(FOLDER.path(), "a.json", bytes);
    for is_strict in [false, true] {
        if let Ok(source) = labelme::find(FOLDER.path(), None, &folder::settings(is_strict)) {
            folder::draw(&source);
        }
    }
});
