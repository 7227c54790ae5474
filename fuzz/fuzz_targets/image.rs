//! JPEG and PNG files.
#![no_main]

use std::{fs, path::PathBuf, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

/// A folder in memory.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir_in("/dev/shm").expect("a folder in /dev/shm"));
static FILE: LazyLock<PathBuf> = LazyLock::new(|| FOLDER.path().join("picture"));

fuzz_target!(|bytes: &[u8]| {
    fs::write(&*FILE, bytes).expect("a file in /dev/shm");
    let layout = fcn::image_layout(&*FILE);
    // Small files may hold pictures of a gigabyte, which take their time.
    if layout.as_ref().is_ok_and(|layout| layout.width.saturating_mul(layout.height) > 1 << 20) {
        return;
    }
    if let Ok(image) = fcn::read_image(&*FILE) {
        let layout = layout.expect("a picture that can be read has a size");
        assert_eq!((image.width, image.height), layout.upright());
        assert_eq!(image.pixels.len(), 3 * image.width as usize * image.height as usize);
        let _ = layout.turn(vec![0; image.pixels.len() / 3]);
    }
});
