//! COCO's instances.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use trainer::import::coco;

#[path = "folder.rs"]
mod folder;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = folder::new();
    folder::photo(folder.path(), "a.png");
    folder::photo(folder.path(), "b.png");
    folder
});

fuzz_target!(|bytes: &[u8]| {
    folder::write(FOLDER.path(), "instances.json", bytes);
    for is_strict in [false, true] {
        let found = coco::find(&FOLDER.path().join("instances.json"), FOLDER.path(), &folder::settings(is_strict));
        if let Ok(source) = found {
            folder::draw(&source);
        }
    }
});
