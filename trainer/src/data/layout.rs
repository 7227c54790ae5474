//! The layouts of folders with photos and masks.

use std::path::{Path, PathBuf};

use super::of_run;
use crate::error::{Error, Result};
use crate::import::{self, ImportSettings, LabelledPhotos, MissingMasks};

/// The split of photos that are not divided.
pub(super) const ALL: &str = "all";

/// The kinds of folders that can be used directly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Layout {
    /// Pascal VOC's: lists in `ImageSets/Segmentation`.
    Voc,
    /// A run of the trainer, with its list of photos.
    Run,
    /// labelme's .json files.
    Labelme,
    /// YOLO's polygons.
    Yolo,
    /// Photos in one folder, masks in another one.
    Masks {
        /// The folder of the photos.
        images: PathBuf,
        /// The folder of the masks.
        masks: PathBuf,
    },
}

/// Common names of photo and mask folders side by side.
const PAIRS: [(&str, &[&str]); 3] = [
    ("JPEGImages", &["SegmentationClassPNG", "SegmentationClass"]),
    ("images", &["masks", "annotations", "labels"]),
    ("img", &["masks_machine", "masks", "ann"]),
];

impl Layout {
    /// The layout of a folder.
    pub(super) fn of(root: &Path) -> Result<Layout> {
        if !root.is_dir() {
            return Err(Error::new(format!("{} is not a folder; give one in the Pascal VOC layout", root.display())));
        }
        if of_run::path(root).is_file() {
            return Ok(Layout::Run);
        }
        if root.join("ImageSets/Segmentation").is_dir() {
            return Ok(Layout::Voc);
        }
        for (images, names) in PAIRS {
            let images = root.join(images);
            let has_png = |folder: &Path| has_file(folder, "png");
            let masks = names.iter().map(|name| root.join(name)).find(|folder| images.is_dir() && has_png(folder));
            if let Some(masks) = masks {
                return Ok(Layout::Masks { images, masks });
            }
        }
        if import::yolo::is_one(root) {
            return Ok(Layout::Yolo);
        }
        if has_file(root, "json") {
            return Ok(Layout::Labelme);
        }
        // The most common layout: the error will name what is missing.
        Ok(Layout::Voc)
    }

    /// The contents of a folder of this layout; its photos are in the split [`ALL`] if its folders
    /// do not name splits. `None` for layouts with lists of their own.
    pub(super) fn source(&self, root: &Path, missing: MissingMasks) -> Result<Option<LabelledPhotos>> {
        let settings = ImportSettings { split: ALL, names: None, is_strict: false, encoding: None };
        match self {
            Layout::Voc | Layout::Run => Ok(None),
            Layout::Labelme => import::labelme::find(root, None, &settings).map(Some),
            Layout::Yolo => import::yolo::find(root, &settings).map(Some),
            Layout::Masks { images, masks } => import::masks::find(images, masks, ALL, missing).map(Some),
        }
    }
}

fn has_file(folder: &Path, ending: &str) -> bool {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| path.extension().is_some_and(|own| own.eq_ignore_ascii_case(ending)))
}
