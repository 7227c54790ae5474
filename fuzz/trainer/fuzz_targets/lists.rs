//! A data set in the Pascal VOC layout: `labelmap.txt`, and behind the first byte 255, which no UTF-8 has, the list of a split.
#![no_main]

use std::{fs, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use trainer::{
    data::{MissingMasks, Place},
    labelmap,
};

#[path = "folder.rs"]
mod folder;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = folder::new();
    folder::photo(folder.path(), "JPEGImages/a.png");
    folder::photo(folder.path(), "JPEGImages/sub/b.png");
    let mask = folder.path().join("SegmentationClass/a.png");
    fs::create_dir_all(mask.parent().expect("a folder")).expect("a folder");
    fcn::write_labels(mask, &[1; 16 * 8], 16, 8, &[]).expect("a mask");
    folder
});

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |byte| *byte == 255);
    folder::write(FOLDER.path(), "labelmap.txt", parts.next().unwrap_or_default());
    folder::write(FOLDER.path(), "ImageSets/Segmentation/train.txt", parts.next().unwrap_or_default());
    if let Ok(classes) = labelmap::read(&FOLDER.path().join("labelmap.txt")) {
        assert!((2..=labelmap::MAX_CLASSES).contains(&classes.len()));
    }
    for missing in [MissingMasks::Refuse, MissingMasks::Background] {
        let Ok((dataset, _)) = Place::new(FOLDER.path(), missing).survey("train") else { continue };
        for photo in 0..dataset.len().min(10) {
            let (height, width) = dataset.size(photo).expect("the photos are whole");
            if let Ok(labels) = dataset.read_mask(photo) {
                assert_eq!(labels.len(), height * width);
            }
        }
    }
});
