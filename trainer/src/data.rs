//! Labelled photos in the Pascal VOC layout: `JPEGImages/ID.jpg` (also `.jpeg`, `.png`),
//! `SegmentationClass/ID.png`, `ImageSets/Segmentation/SPLIT.txt` with one ID per line, and
//! `labelmap.txt` with the classes. Extensions may be upper case.
//!
//! Photos are rotated according to their EXIF orientation, as labelling tools show them. A mask of
//! the upright photo's size is used as it is; one of the stored photo's size is rotated with it. If
//! the sizes do not decide, the mask is upright.
//!
//! Other tools' folders are read directly: labelme's, YOLO's polygons, and a folder of photos next
//! to one of masks. A run's folder stands for the photos of that run.

mod divide;
mod files;
mod layout;
pub mod of_run;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, OnceLock};

use fcn::palette::{Class, background, voc_classes};
use fcn::{ImageLayout, image_layout, read_image};
use tempfile::TempDir;

use crate::error::{Error, Result};
use crate::import::{LabelledPhoto, LabelledPhotos, MaskSource};
use crate::labelmap;
use crate::mask::ClassColors;
use crate::text;
use files::Files;
use layout::Layout;
use of_run::Photos;

pub use crate::import::MissingMasks;
pub use crate::labelmap::VOID;
pub use crate::mask::MaskFacts;

/// The split that is trained on, unless another is named.
pub const TRAIN_SPLIT: &str = "train";

/// One photo with its mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The photo's name in the split file.
    pub id: String,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `height` x `width` x 3 bytes: red, green, blue, row by row.
    pub image: Vec<u8>,
    /// `height` x `width` class indices, or [`VOID`].
    pub mask: Vec<u8>,
}

/// The location of photos and masks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The folder of a data set, or of the photos only if `masks` is given.
    pub root: PathBuf,
    /// The folder of the masks.
    pub masks: Option<PathBuf>,
    /// How to treat photos without a mask.
    pub missing_masks: MissingMasks,
}

/// The photos of one split, found but not yet read.
pub struct Dataset {
    entries: Vec<PhotoEntry>,
    classes: Vec<Class>,
    /// Assumptions made and items skipped, a sentence each.
    notes: Vec<String>,
    left_out: Vec<String>,
    /// Photos that had to be unpacked.
    unpacked: Option<Arc<TempDir>>,
}

#[derive(Clone)]
struct PhotoEntry {
    id: String,
    photo: PathBuf,
    mask: MaskSource,
    /// Filled on first use.
    layout: OnceLock<ImageLayout>,
}

impl Place {
    /// The folder of a data set.
    pub fn new(root: &Path, missing_masks: MissingMasks) -> Place {
        Place { root: root.to_owned(), masks: None, missing_masks }
    }

    /// Opens a split, and checks that every photo and mask exists.
    pub fn open(&self, split: &str) -> Result<Dataset> {
        let (dataset, missing) = self.survey(split)?;
        missing.into_iter().next().map_or(Ok(dataset), Err)
    }

    /// Opens the split whose photos are to be held out from: the one named, `train`, or the only
    /// one there is.
    pub fn open_whole(&self, named: Option<&str>) -> Result<(String, Dataset)> {
        let source = self.source()?;
        let splits = match &source {
            Some(source) => source.splits.keys().cloned().collect(),
            None => splits(&lists(&self.root)),
        };
        let split = match (named, splits.as_slice()) {
            (Some(named), _) => named.to_owned(),
            (None, [only]) => only.clone(),
            (None, splits) if splits.iter().any(|split| split == TRAIN_SPLIT) => TRAIN_SPLIT.to_owned(),
            (None, []) => return Err(missing_split(&lists(&self.root).join(format!("{TRAIN_SPLIT}.txt")))),
            (None, splits) => {
                return Err(Error::new(format!(
                    "{} has the splits {}; --train-split names the one to divide",
                    self.root.display(),
                    splits.join(", ")
                )));
            }
        };
        let dataset = match source {
            Some(source) => Dataset::of_source(source, &split, &self.root)?,
            None => self.open(&split)?,
        };
        Ok((split, dataset))
    }

    /// The splits to check if none is named: `train` and `val`, or all if neither exists.
    pub fn usual_splits(&self) -> Result<Vec<String>> {
        let usual = || ["train", "val"].map(str::to_owned);
        let all: Vec<String> = match self.source()? {
            Some(source) => source.splits.into_keys().collect(),
            None if Layout::of(&self.root)? == Layout::Run => usual().to_vec(),
            None => splits(&lists(&self.root)),
        };
        let is_usual = usual().iter().any(|split| all.contains(split));
        Ok(if is_usual || all.is_empty() { usual().to_vec() } else { all })
    }

    /// The contents of a folder without split lists.
    fn source(&self) -> Result<Option<LabelledPhotos>> {
        let layout = match &self.masks {
            Some(masks) => Layout::Masks { images: self.root.clone(), masks: masks.clone() },
            None => Layout::of(&self.root)?,
        };
        layout.source(&self.root, self.missing_masks)
    }

    /// Opens a split with the photos and masks that exist, possibly none, and an error for each of
    /// the others.
    pub fn survey(&self, split: &str) -> Result<(Dataset, Vec<Error>)> {
        if self.masks.is_none() && Layout::of(&self.root)? == Layout::Run {
            return Photos::survey(&self.root, split, self.missing_masks);
        }
        match self.source()? {
            Some(source) => Ok((Dataset::of_source(source, split, &self.root)?, Vec::new())),
            None => Dataset::of_lists(&self.root, split, self.missing_masks),
        }
    }
}

impl Dataset {
    /// Opens split `split` (for example `train`) of the folder `root`, and checks that every photo
    /// and mask exists. Without a `labelmap.txt`, the classes are VOC's 21.
    pub fn open(root: &Path, split: &str) -> Result<Dataset> {
        Place::new(root, MissingMasks::Refuse).open(split)
    }

    /// A split in the Pascal VOC layout.
    fn of_lists(root: &Path, split: &str, missing_masks: MissingMasks) -> Result<(Dataset, Vec<Error>)> {
        let labelmap = root.join("labelmap.txt");
        let classes = if labelmap.symlink_metadata().is_ok() { labelmap::read(&labelmap)? } else { voc_classes() };
        let list = lists(root).join(format!("{split}.txt"));
        if !list.exists() {
            return Err(missing_split(&list));
        }
        let text = text::read(&list)?;
        let ids = text.lines().map(str::trim).filter(|id| !id.is_empty());
        let (mut entries, mut missing) = (Vec::new(), Vec::new());
        let mut files = Files::new(root);
        let colors = Arc::new(ClassColors::new(&classes));
        for id in ids {
            match find(&mut files, id, &list, missing_masks, &colors) {
                Ok(PhotoEntry { mask: MaskSource::Background, .. }) if background(&classes).is_none() => {
                    return Err(no_background(&classes));
                }
                Ok(entry) => entries.push(entry),
                Err(error) => missing.push(error),
            }
        }
        if entries.is_empty() && missing.is_empty() {
            return Err(Error::new(format!("{} names no photo; write one ID a line", list.display())));
        }
        Ok((Dataset { entries, classes, notes: Vec::new(), left_out: Vec::new(), unpacked: None }, missing))
    }

    /// A split of photos from another layout.
    fn of_source(mut source: LabelledPhotos, split: &str, root: &Path) -> Result<Dataset> {
        let Some(items) = source.splits.remove(split) else {
            let splits: Vec<&str> = source.splits.keys().map(String::as_str).collect();
            return Err(Error::new(format!(
                "{} has no split {split}, but {}; name it, or divide the photos with --val-share 0.2",
                root.display(),
                splits.join(", ")
            )));
        };
        // A run identifies its photos by ID.
        let mut names = HashMap::new();
        for item in &items {
            if let Some(other) = names.insert(&item.id, &item.photo) {
                return Err(Error::new(format!(
                    "{} and {} have the same ID, {}; rename one",
                    other.display(),
                    item.photo.display(),
                    item.id
                )));
            }
        }
        let entry = |LabelledPhoto { id, photo, mask }| PhotoEntry { id, photo, mask, layout: OnceLock::new() };
        Ok(Dataset {
            entries: items.into_iter().map(entry).collect(),
            classes: source.classes,
            notes: source.notes,
            left_out: source.left_out,
            unpacked: source.unpacked,
        })
    }

    /// Some of the photos, in this order.
    fn part(&self, indices: &[usize]) -> Dataset {
        Dataset {
            entries: indices.iter().map(|&index| self.entries[index].clone()).collect(),
            classes: self.classes.clone(),
            notes: self.notes.clone(),
            left_out: self.left_out.clone(),
            unpacked: self.unpacked.clone(),
        }
    }

    /// Assumptions made while finding the photos, a sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Items skipped while finding the photos, a sentence each.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// The number of photos in the split, at least one.
    #[expect(clippy::len_without_is_empty, reason = "an empty split does not open")]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The name of photo `i` in the split file.
    pub fn id(&self, i: usize) -> &str {
        &self.entries[i].id
    }

    /// The classes, in index order.
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// Height and width of photo `i` in pixels, upright, from the file's header; cached.
    pub fn size(&self, i: usize) -> Result<(usize, usize)> {
        let (width, height) = self.layout(i)?.upright();
        Ok((height as usize, width as usize))
    }

    fn layout(&self, i: usize) -> Result<&ImageLayout> {
        let entry = &self.entries[i];
        if let Some(layout) = entry.layout.get() {
            return Ok(layout);
        }
        let layout = image_layout(&entry.photo)?;
        Ok(entry.layout.get_or_init(|| layout))
    }

    /// Reads only the mask of photo `i`: class indices, or [`VOID`], row by row.
    pub fn read_mask(&self, i: usize) -> Result<Vec<u8>> {
        Ok(self.read_mask_with_facts(i)?.0)
    }

    /// The same, and the decisions made about it.
    pub fn read_mask_with_facts(&self, i: usize) -> Result<(Vec<u8>, MaskFacts)> {
        let entry = &self.entries[i];
        let layout = self.layout(i)?;
        if let MaskSource::Background = entry.mask {
            // The data set would not have opened without that class.
            let label = background(&self.classes).ok_or_else(|| no_background(&self.classes))?;
            let mask = vec![label; layout.width as usize * layout.height as usize];
            return Ok((mask, MaskFacts { no_mask: true, ..MaskFacts::default() }));
        }
        entry.mask.labels(&entry.photo, layout)
    }

    /// Reads photo `i` and its mask.
    pub fn read(&self, i: usize) -> Result<Sample> {
        Ok(self.read_with_facts(i)?.0)
    }

    /// The same, and the decisions made about the mask.
    pub fn read_with_facts(&self, i: usize) -> Result<(Sample, MaskFacts)> {
        let entry = &self.entries[i];
        let photo = read_image(&entry.photo)?;
        let (mask, facts) = self.read_mask_with_facts(i)?;
        let (width, height) = (photo.width as usize, photo.height as usize);
        Ok((Sample { id: entry.id.clone(), width, height, image: photo.pixels, mask }, facts))
    }
}

fn no_background(classes: &[Class]) -> Error {
    let names: Vec<&str> = classes.iter().map(|class| class.name.as_str()).collect();
    Error::new(format!(
        "photos without a mask cannot be background, because no class is called so; the classes are {}",
        names.join(", ")
    ))
}

/// Finds the files of `id`, which is in `list`.
fn find(
    files: &mut Files<'_>,
    id: &str,
    list: &Path,
    missing_masks: MissingMasks,
    colors: &Arc<ClassColors>,
) -> Result<PhotoEntry> {
    if !Path::new(id).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(Error::new(format!(
            "{} lists {id}, which leads out of the data's folders; write the file's name without its ending",
            list.display()
        )));
    }
    let Some(photo) = files.photo(id)? else {
        return Err(Error::new(format!(
            "{} lists {id}, but there is no JPEGImages/{id}.jpg (or .jpeg, .png); add the file or remove the line",
            list.display()
        )));
    };
    let path = files.mask(id)?;
    if path.is_none() && missing_masks == MissingMasks::Refuse {
        return Err(Error::new(format!(
            "{} lists {id}, but there is no SegmentationClass/{id}.png; add the file, remove the line, or take photos \
             without a mask for background everywhere with --missing-masks background",
            list.display()
        )));
    }
    let mask = path.map_or(MaskSource::Background, |path| MaskSource::Classes { path, colors: colors.clone() });
    Ok(PhotoEntry { id: id.to_owned(), photo, mask, layout: OnceLock::new() })
}

/// The folder of a data set's lists.
fn lists(root: &Path) -> PathBuf {
    root.join("ImageSets/Segmentation")
}

/// The lists in a folder.
fn splits(folder: &Path) -> Vec<String> {
    let files = folder.read_dir().into_iter().flatten().flatten().map(|file| file.path());
    let lists = files.filter(|path| path.extension().is_some_and(|ending| ending == "txt"));
    let mut splits: Vec<String> =
        lists.filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).collect();
    splits.sort();
    splits
}

/// The error for a missing split, with the existing ones.
fn missing_split(list: &Path) -> Error {
    let splits = list.parent().map(splits).unwrap_or_default();
    let advice = match splits.as_slice() {
        [] => "write the IDs of its photos there, one a line".to_owned(),
        [only] => format!(
            "the splits here are {only}; if nobody divided the photos, trainer train --val-share 0.2 holds some of them out"
        ),
        splits => format!("the splits here are {}", splits.join(", ")),
    };
    Error::new(format!("{} does not exist; {advice}", list.display()))
}
