//! Labelled photos in the Pascal VOC layout: `JPEGImages/ID.jpg` (also `.jpeg`, `.png`), `SegmentationClass/ID.png`,
//! `ImageSets/Segmentation/SPLIT.txt` with an ID a line, and `labelmap.txt` with the classes. Endings may be in capitals.
//!
//! Photos are turned upright, as their EXIF orientation says and as programs for labelling show them. A mask of the upright
//! photo's size lies on it as it is; one of the stored photo's size is turned with it. If the sizes do not tell, the mask is
//! upright.

mod files;
mod mask;
mod palette;
#[cfg(test)]
pub(crate) mod tests;

use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use clap::ValueEnum;
use fcn::palette::{Class, background, voc_classes};
use fcn::{ImageLayout, image_layout, read_image};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::labelmap::{self, ColorIndex};
use crate::text;
use files::Files;

/// The value of a mask's pixel that belongs to no class: it is not learned and not counted.
pub const VOID: u8 = 255;

/// What becomes of photos that a split lists and that have no mask: CVAT writes none for photos without annotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MissingMasks {
    /// They are an error.
    #[default]
    Refuse,
    /// All of their pixels are of the class that is called background.
    Background,
}

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

/// The photos of one split, found but not yet read.
pub struct Dataset {
    entries: Vec<Entry>,
    classes: Vec<Class>,
    /// The way from colours to classes; an error where the classes have no distinct colours, which only matters once a
    /// coloured mask turns up.
    colors: Result<ColorIndex>,
}

struct Entry {
    id: String,
    photo: PathBuf,
    /// `None` for a photo that is background everywhere.
    mask: Option<PathBuf>,
    /// Once somebody asked.
    layout: OnceLock<ImageLayout>,
}

/// What had to be decided about a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    /// The mask lay as the photo is stored, and was turned with it.
    pub turned: bool,
    /// The photo is turned, and no size tells whether the mask was drawn on the upright one: it is taken to be.
    pub unsure: bool,
    /// The palette has the classes' colours in another order, so the classes are those of the colours.
    pub by_color: bool,
    /// There is no mask: the photo is background everywhere.
    pub no_mask: bool,
}

impl Dataset {
    /// Opens split `split` (for example `train`) of the folder `root`, and checks that every photo and mask exists.
    /// Without a `labelmap.txt` the classes are VOC's 21.
    pub fn open(root: &Path, split: &str) -> Result<Dataset> {
        Dataset::open_with(root, split, MissingMasks::Refuse)
    }

    /// The same, with a choice for photos without a mask.
    pub fn open_with(root: &Path, split: &str, missing_masks: MissingMasks) -> Result<Dataset> {
        let (dataset, missing) = Dataset::survey(root, split, missing_masks)?;
        missing.into_iter().next().map_or(Ok(dataset), Err)
    }

    /// Opens a split as far as its photos and masks exist: it may be empty. An error for each of the others.
    pub fn survey(root: &Path, split: &str, missing_masks: MissingMasks) -> Result<(Dataset, Vec<Error>)> {
        if !root.is_dir() {
            return Err(Error::new(format!("{} is not a folder; give one in the Pascal VOC layout", root.display())));
        }
        let labelmap = root.join("labelmap.txt");
        let classes = if labelmap.symlink_metadata().is_ok() { labelmap::read(&labelmap)? } else { voc_classes() };
        let list = root.join("ImageSets/Segmentation").join(format!("{split}.txt"));
        if !list.exists() {
            return Err(missing_split(&list));
        }
        let text = text::read(&list)?;
        let ids = text.lines().map(str::trim).filter(|id| !id.is_empty());
        let (mut entries, mut missing) = (Vec::new(), Vec::new());
        let mut files = Files::new(root);
        for id in ids {
            match find(&mut files, id, &list, missing_masks) {
                Ok(entry) if entry.mask.is_none() && background(&classes).is_none() => {
                    return Err(no_background(&classes));
                }
                Ok(entry) => entries.push(entry),
                Err(error) => missing.push(error),
            }
        }
        if entries.is_empty() && missing.is_empty() {
            return Err(Error::new(format!("{} names no photo; write one ID a line", list.display())));
        }
        let colors = ColorIndex::new(&classes);
        Ok((Dataset { entries, classes, colors }, missing))
    }

    /// How many photos the split has: at least one.
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

    /// Height and width of photo `i` in pixels, upright, from the file's header. Read once, then remembered.
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

    /// Reads the mask of photo `i` alone: class indices, or [`VOID`], row by row.
    pub fn read_mask(&self, i: usize) -> Result<Vec<u8>> {
        Ok(self.read_mask_with_facts(i)?.0)
    }

    /// The same, and what had to be decided for it.
    pub fn read_mask_with_facts(&self, i: usize) -> Result<(Vec<u8>, Facts)> {
        let entry = &self.entries[i];
        let layout = self.layout(i)?;
        let Some(mask) = &entry.mask else {
            // Without that class the dataset would not have opened.
            let label = background(&self.classes).ok_or_else(|| no_background(&self.classes))?;
            let mask = vec![label; layout.width as usize * layout.height as usize];
            return Ok((mask, Facts { no_mask: true, ..Facts::default() }));
        };
        let classes: Vec<[u8; 3]> = self.classes.iter().map(|class| class.color).collect();
        mask::open(mask, (&entry.photo, layout))?.read(&classes, &self.colors)
    }

    /// Reads photo `i` and its mask.
    pub fn read(&self, i: usize) -> Result<Sample> {
        Ok(self.read_with_facts(i)?.0)
    }

    /// The same, and what had to be decided for the mask.
    pub fn read_with_facts(&self, i: usize) -> Result<(Sample, Facts)> {
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

/// Finds the files of `id`, which stands in `list`.
fn find(files: &mut Files<'_>, id: &str, list: &Path, missing_masks: MissingMasks) -> Result<Entry> {
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
    let mask = files.mask(id)?;
    if mask.is_none() && missing_masks == MissingMasks::Refuse {
        return Err(Error::new(format!(
            "{} lists {id}, but there is no SegmentationClass/{id}.png; add the file, remove the line, or take photos \
             without a mask for background everywhere with --missing-masks background",
            list.display()
        )));
    }
    Ok(Entry { id: id.to_owned(), photo, mask, layout: OnceLock::new() })
}

/// The error for a split that is not there, with those that are.
fn missing_split(list: &Path) -> Error {
    let folder = list.parent().and_then(|folder| folder.read_dir().ok());
    let files = folder.into_iter().flatten().flatten().map(|file| file.path());
    let lists = files.filter(|path| path.extension().is_some_and(|ending| ending == "txt"));
    let mut splits: Vec<String> =
        lists.filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).collect();
    splits.sort();
    let advice = match splits.is_empty() {
        true => "write the IDs of its photos there, one a line".to_owned(),
        false => format!("the splits here are {}", splits.join(", ")),
    };
    Error::new(format!("{} does not exist; {advice}", list.display()))
}

/// Height and width of a photo in pixels, upright.
pub(crate) fn photo_size(path: &Path) -> Result<(usize, usize)> {
    let (width, height) = image_layout(path)?.upright();
    Ok((height as usize, width as usize))
}

/// The values of a palette or greyscale PNG, whatever they mean, for this photo once it is upright.
pub(crate) fn read_indices(path: &Path, photo: &Path) -> Result<Vec<u8>> {
    mask::open(path, (photo, &image_layout(photo)?))?.values()
}

fn unreadable(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::new(format!("{} cannot be read: {error}", path.display()))
}
