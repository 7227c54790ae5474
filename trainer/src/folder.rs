//! Folders of photos and results.

use std::path::Path;

use crate::error::{Error, Result};

/// The file extensions of photos, in either case.
pub(crate) const PHOTO_ENDINGS: [&str; 3] = ["jpg", "jpeg", "png"];

/// Whether a file has one of these extensions, in either case.
pub(crate) fn has_ending(file: &Path, endings: &[&str]) -> bool {
    file.extension().is_some_and(|own| endings.iter().any(|ending| own.eq_ignore_ascii_case(ending)))
}

/// Makes a folder and those above it, if they are missing.
pub(crate) fn make(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .map_err(|error| Error::new(format!("the folder {} cannot be made: {error}", folder.display())))
}
