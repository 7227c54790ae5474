//! Shared by the targets: a data set of one photo in a folder in memory.

use std::{
    fs,
    path::{Path, PathBuf},
};

use fcn::Image;
use tempfile::TempDir;
use trainer::import::{ImportSettings, LabelledPhotos};

/// Width and height of the photo.
const SIZE: (u32, u32) = (16, 8);

/// A folder in memory.
pub(crate) fn new() -> TempDir {
    tempfile::tempdir_in("/dev/shm").expect("a folder in /dev/shm")
}

/// Writes a file, and the folders that it lies in.
pub(crate) fn write(folder: &Path, name: &str, content: &[u8]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).and_then(|()| fs::write(&path, content)).expect("a file");
}

/// Writes the photo.
pub(crate) fn photo(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    let pixels = vec![100; 3 * SIZE.0 as usize * SIZE.1 as usize];
    fcn::write_png(&path, &Image { width: SIZE.0, height: SIZE.1, pixels }).expect("a photo");
    path
}

/// Settings of an import that skips or reports faults.
#[allow(dead_code, reason = "not every target imports")]
pub(crate) fn settings(is_strict: bool) -> ImportSettings<'static> {
    ImportSettings { split: "train", names: None, is_strict, encoding: None }
}

/// Draws the masks that were found.
#[allow(dead_code, reason = "not every target imports")]
pub(crate) fn draw(source: &LabelledPhotos) {
    for item in source.splits.values().flatten() {
        let layout = fcn::image_layout(&item.photo).expect("an import looks at its photos");
        // labelme's files may hold photos of their own.
        let pixels = layout.width * layout.height;
        if pixels <= 1 << 20
            && let Ok((labels, _)) = item.mask.labels(&item.photo, &layout)
        {
            assert_eq!(labels.len(), pixels as usize);
        }
    }
}
