//! Labelled photos in the Pascal VOC layout: `JPEGImages/ID.jpg` (also `.jpeg`, `.png`), `SegmentationClass/ID.png`,
//! `ImageSets/Segmentation/SPLIT.txt` with an ID a line, and `labelmap.txt` with the classes.
//!
//! Photos are read as they are stored: an EXIF orientation is not applied, because masks match the stored pixels.

mod mask;
#[cfg(test)]
pub(crate) mod tests;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use fcn::palette::{Class, voc_classes};
use image::ImageReader;

use crate::error::{Error, Result};
use crate::labelmap::{self, ColorIndex};

/// The value of a mask's pixel that belongs to no class: it is not learned and not counted.
pub const VOID: u8 = 255;

/// The endings a photo may have, in the order they are looked for.
const PHOTO_ENDINGS: [&str; 3] = ["jpg", "jpeg", "png"];

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
    mask: PathBuf,
    /// (height, width), once somebody asked.
    size: OnceLock<(usize, usize)>,
}

impl Dataset {
    /// Opens split `split` (for example `train`) of the folder `root`, and checks that every photo and mask exists.
    /// Without a `labelmap.txt` the classes are VOC's 21.
    pub fn open(root: &Path, split: &str) -> Result<Dataset> {
        let (dataset, missing) = Dataset::survey(root, split)?;
        missing.into_iter().next().map_or(Ok(dataset), Err)
    }

    /// Opens a split as far as its photos and masks exist: it may be empty. An error for each of the others.
    pub fn survey(root: &Path, split: &str) -> Result<(Dataset, Vec<Error>)> {
        if !root.is_dir() {
            return Err(Error::new(format!("{} is not a folder; give one in the Pascal VOC layout", root.display())));
        }
        let labelmap = root.join("labelmap.txt");
        let classes = if labelmap.exists() { labelmap::read(&labelmap)? } else { voc_classes() };
        let list = root.join("ImageSets/Segmentation").join(format!("{split}.txt"));
        let text = std::fs::read_to_string(&list).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => missing_split(&list),
            _ => Error::new(format!("{} cannot be read: {error}", list.display())),
        })?;
        let ids = text.lines().map(str::trim).filter(|id| !id.is_empty());
        let (mut entries, mut missing) = (Vec::new(), Vec::new());
        for id in ids {
            match find(root, id, &list) {
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

    /// Height and width of photo `i` in pixels, from the file's header. Read once, then remembered.
    pub fn size(&self, i: usize) -> Result<(usize, usize)> {
        let entry = &self.entries[i];
        if let Some(&size) = entry.size.get() {
            return Ok(size);
        }
        let size = photo_size(&entry.photo)?;
        Ok(*entry.size.get_or_init(|| size))
    }

    /// Reads the mask of photo `i` alone: class indices, or [`VOID`], row by row.
    pub fn read_mask(&self, i: usize) -> Result<Vec<u8>> {
        mask::open(&self.entries[i].mask)?.read(self.classes.len(), &self.colors)
    }

    /// Reads photo `i` and its mask.
    pub fn read(&self, i: usize) -> Result<Sample> {
        let entry = &self.entries[i];
        let photo = open_photo(&entry.photo)?.decode().map_err(|error| unreadable(&entry.photo, error))?.into_rgb8();
        let (width, height) = (photo.width() as usize, photo.height() as usize);
        let raw = mask::open(&entry.mask)?;
        if raw.size() != (width, height) {
            let (mask_width, mask_height) = raw.size();
            return Err(Error::new(format!(
                "{} is {mask_width} x {mask_height} pixels, but its photo {} is {width} x {height}; a mask must have \
                 its photo's size",
                entry.mask.display(),
                entry.photo.display()
            )));
        }
        let mask = raw.read(self.classes.len(), &self.colors)?;
        Ok(Sample { id: entry.id.clone(), width, height, image: photo.into_raw(), mask })
    }
}

/// Finds the files of `id`, which stands in `list`.
fn find(root: &Path, id: &str, list: &Path) -> Result<Entry> {
    let photos = PHOTO_ENDINGS.map(|ending| root.join("JPEGImages").join(format!("{id}.{ending}")));
    let [jpg, ..] = &photos;
    let wanted_photo = format!("{} (or .jpeg, .png)", jpg.display());
    let mask = root.join("SegmentationClass").join(format!("{id}.png"));
    let missing = |file: String| {
        Error::new(format!("{file} is missing, but {} lists it; add the file or remove the line", list.display()))
    };
    let photo = photos.into_iter().find(|path| path.is_file()).ok_or_else(|| missing(wanted_photo))?;
    if !mask.is_file() {
        return Err(missing(mask.display().to_string()));
    }
    Ok(Entry { id: id.to_owned(), photo, mask, size: OnceLock::new() })
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

/// Height and width of a photo in pixels, as it is stored.
pub(crate) fn photo_size(path: &Path) -> Result<(usize, usize)> {
    let (width, height) = open_photo(path)?.into_dimensions().map_err(|error| unreadable(path, error))?;
    Ok((height as usize, width as usize))
}

/// The values of a palette or greyscale PNG of this width and height, whatever they mean.
pub(crate) fn read_indices(path: &Path, (width, height): (usize, usize)) -> Result<Vec<u8>> {
    let raw = mask::open(path)?;
    if raw.size() != (width, height) {
        let (own_width, own_height) = raw.size();
        return Err(Error::new(format!(
            "{} is {own_width} x {own_height} pixels, but its photo is {width} x {height}",
            path.display()
        )));
    }
    raw.read(256, &Err(Error::new("values are expected: take the file that holds IDs")))
}

/// Opens a photo whose format its content tells, not its name.
fn open_photo(path: &Path) -> Result<ImageReader<std::io::BufReader<std::fs::File>>> {
    let reader = ImageReader::open(path).map_err(|error| unreadable(path, error))?;
    reader.with_guessed_format().map_err(|error| unreadable(path, error))
}

fn unreadable(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::new(format!("{} cannot be read: {error}", path.display()))
}
