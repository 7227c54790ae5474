//! Reads the files of labelling tools and other data sets, and converts them to the Pascal VOC
//! layout.

pub mod cityscapes;
pub mod coco;
mod json;
pub mod labelme;
pub mod masks;
mod photos;
mod raster;
mod rle;
pub mod yolo;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use encoding_rs::Encoding;
use fcn::palette::{Class, voc_color};
use fcn::{ImageLayout, image_layout};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::TempDir;

use crate::error::{Error, Result};
use crate::folder::{self, PHOTO_ENDINGS, has_ending};
use crate::labelmap::{self, MAX_CLASSES, VOID};
use crate::mask::{self, ClassColors, MaskFacts};
pub use raster::Shape;
pub use rle::{Counts, Runs};

/// The class of uncovered pixels.
const BACKGROUND: &str = "background";

/// How to treat photos that a split lists but that have no mask: CVAT writes none for photos
/// without annotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MissingMasks {
    /// They are an error.
    #[default]
    Refuse,
    /// All their pixels belong to the class called background.
    Background,
}

/// Settings for reading annotation files.
#[derive(Debug, Clone, Copy)]
pub struct ImportSettings<'a> {
    /// The photos' split.
    pub split: &'a str,
    /// The classes after the background, in index order; `None` for all.
    pub names: Option<&'a [String]>,
    /// Whether the first skipped item is an error.
    pub is_strict: bool,
    /// The encoding of files without a byte order mark.
    pub encoding: Option<&'static Encoding>,
}

/// Labelled photos, found but not yet written.
#[derive(Debug, Default)]
pub struct LabelledPhotos {
    /// In index order.
    pub classes: Vec<Class>,
    /// The splits by name.
    pub splits: BTreeMap<String, Vec<LabelledPhoto>>,
    /// Skipped items, a sentence each, with the photo.
    pub left_out: Vec<String>,
    /// Assumptions, a sentence each.
    pub notes: Vec<String>,
    /// Photos unpacked from other files; removed with the last reference.
    pub(crate) unpacked: Option<Arc<TempDir>>,
}

/// Collects skipped items, or turns them into errors.
struct LeftOut {
    is_strict: bool,
    sentences: Vec<String>,
    notes: Vec<String>,
}

impl LeftOut {
    fn new(settings: &ImportSettings<'_>) -> LeftOut {
        LeftOut { is_strict: settings.is_strict, sentences: Vec::new(), notes: Vec::new() }
    }

    fn add(&mut self, sentence: String) -> Result<()> {
        if self.is_strict {
            return Err(Error(sentence));
        }
        self.sentences.push(fcn::plain(&sentence));
        Ok(())
    }

    fn note(&mut self, sentence: String) {
        self.notes.push(fcn::plain(&sentence));
    }

    /// The first sentence, or an empty one.
    fn first(&self) -> &str {
        self.sentences.first().map_or("", String::as_str)
    }
}

/// A photo and the source of its mask.
#[derive(Debug, Clone)]
pub struct LabelledPhoto {
    /// Its new name.
    pub id: String,
    /// A JPEG or PNG file.
    pub photo: PathBuf,
    /// Its mask.
    pub mask: MaskSource,
}

/// The source of a mask.
#[derive(Debug, Clone)]
pub enum MaskSource {
    /// Shapes with their class indices, each drawn over those before; class 0 elsewhere. They were
    /// drawn in this file on a photo of this width and height.
    Shapes {
        /// In pixels.
        size: (usize, usize),
        /// The file, for messages.
        file: PathBuf,
        /// In drawing order.
        shapes: Vec<(Shape, u8)>,
    },
    /// A mask file whose values are mapped.
    File {
        /// A PNG file with 8 bits per pixel.
        path: PathBuf,
        /// The class index, or void, of each value.
        values: Box<[u8; 256]>,
    },
    /// A mask file of class indices or of the classes' colours, as in a data set in the Pascal VOC
    /// layout.
    Classes {
        /// A PNG file with at most 8 bits per channel.
        path: PathBuf,
        /// The classes' colours.
        colors: Arc<ClassColors>,
    },
    /// Background everywhere.
    Background,
}

impl MaskSource {
    /// The class indices of the upright photo, row by row, and the decisions made about them.
    pub fn labels(&self, photo: &Path, layout: &ImageLayout) -> Result<(Vec<u8>, MaskFacts)> {
        let labels = match self {
            MaskSource::Shapes { size, shapes, file } => {
                let (width, height) = *size;
                let mut labels = vec![0; width * height];
                for (shape, label) in shapes {
                    shape
                        .draw(&mut labels, width, height, *label)
                        .map_err(|error| Error::new(format!("{}: {error}", file.display())))?;
                }
                // Drawn on the stored photo by a tool that ignores EXIF.
                if is_size(size, layout.upright()) { labels } else { layout.turn(labels) }
            }
            MaskSource::File { path, values } => {
                let mut labels = mask::open(path, (photo, layout))?.values()?;
                labels.iter_mut().for_each(|label| *label = values[usize::from(*label)]);
                labels
            }
            MaskSource::Classes { path, colors } => return mask::open(path, (photo, layout))?.read(colors),
            MaskSource::Background => vec![0; layout.width as usize * layout.height as usize],
        };
        Ok((labels, MaskFacts::default()))
    }
}

impl LabelledPhotos {
    /// Moves a share of the photos of `train` to a split `val`, always the same ones.
    pub fn hold_out(&mut self, train: &str, val: &str, share: f64) -> Result<()> {
        let items = self.splits.remove(train).unwrap_or_default();
        let count = (share * items.len() as f64).round() as usize;
        if count == 0 || count >= items.len() {
            return Err(Error::new(format!(
                "a share of {share} of {} photos is {count} of them; both splits need at least one",
                items.len()
            )));
        }
        let mut order: Vec<usize> = (0..items.len()).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(0));
        let mut is_val = vec![false; items.len()];
        order[..count].iter().for_each(|&index| is_val[index] = true);
        for (item, is_val) in items.into_iter().zip(is_val) {
            self.splits.entry(if is_val { val } else { train }.to_owned()).or_default().push(item);
        }
        Ok(())
    }

    /// Writes photos unchanged, masks, classes and lists to the folder `out`, which may already
    /// contain other splits with the same classes. Nothing is written if a file exists or a photo
    /// cannot be opened. The lists come last, so that an interrupted import lists no photo.
    pub fn write(&self, out: &Path) -> Result<()> {
        let lists = out.join("ImageSets/Segmentation");
        let labelmap = out.join("labelmap.txt");
        let text: String = self.classes.iter().map(labelmap::line).collect();
        let items = || self.splits.values().flatten();
        let has_labelmap = labelmap.symlink_metadata().is_ok();
        if has_labelmap && labelmap::read(&labelmap)? != self.classes {
            return Err(Error::new(format!("{} has other classes; import into another folder", labelmap.display())));
        }
        let mut names = BTreeMap::new();
        for item in items() {
            if let Some(other) = names.insert(&item.id, &item.photo) {
                return Err(Error::new(format!(
                    "{} and {} would both be called {}; rename one",
                    other.display(),
                    item.photo.display(),
                    item.id
                )));
            }
            item.check()?;
        }
        let targets = items().flat_map(|item| [item.photo_in(out), item.mask_in(out)]);
        for target in targets.chain(self.splits.keys().map(|split| lists.join(format!("{split}.txt")))) {
            // A dangling link counts as an existing file.
            if target.symlink_metadata().is_ok() {
                return Err(Error::new(format!(
                    "{} exists already and is not overwritten; import into another folder",
                    target.display()
                )));
            }
        }
        for folder in [out.join("JPEGImages"), out.join("SegmentationClass"), lists.clone()] {
            folder::make(&folder)?;
        }
        for item in items() {
            item.write(out, &self.classes)?;
        }
        if !has_labelmap {
            fcn::file::write(&labelmap, text.as_bytes())?;
        }
        for (split, items) in &self.splits {
            let ids: String = items.iter().map(|item| format!("{}\n", item.id)).collect();
            fcn::file::write(&lists.join(format!("{split}.txt")), ids.as_bytes())?;
        }
        Ok(())
    }
}

impl LabelledPhoto {
    fn photo_in(&self, out: &Path) -> PathBuf {
        let ending = self.photo.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        out.join("JPEGImages").join(format!("{}.{ending}", self.id))
    }

    fn mask_in(&self, out: &Path) -> PathBuf {
        out.join("SegmentationClass").join(format!("{}.png", self.id))
    }

    /// Checks that the photo can be opened and has the size that its shapes were drawn on.
    fn check(&self) -> Result<()> {
        if !has_ending(&self.photo, &PHOTO_ENDINGS) {
            return Err(Error::new(format!(
                "{} is neither .jpg, .jpeg nor .png; convert it first",
                self.photo.display()
            )));
        }
        let layout = fcn::image_layout(&self.photo)?;
        let (width, height) = layout.upright();
        let is_known =
            |size: &(usize, usize)| is_size(size, (width, height)) || is_size(size, (layout.width, layout.height));
        match &self.mask {
            MaskSource::Shapes { size, file, .. } if !is_known(size) => Err(Error::new(format!(
                "{} was drawn on {} x {} pixels, but {} has {width} x {height}; take the photo that was labelled",
                file.display(),
                size.0,
                size.1,
                self.photo.display()
            ))),
            _ => Ok(()),
        }
    }

    fn write(&self, out: &Path, classes: &[Class]) -> Result<()> {
        let layout = fcn::image_layout(&self.photo)?;
        let (width, height) = layout.upright();
        let (labels, _) = self.mask.labels(&self.photo, &layout)?;
        let bytes = fcn::file::read_whole(&self.photo)
            .map_err(|error| Error::new(format!("{} cannot be read: {error}", self.photo.display())))?;
        fcn::write_labels(self.mask_in(out), &labels, width, height, classes)?;
        Ok(fcn::file::write(&self.photo_in(out), &bytes)?)
    }
}

fn is_size(size: &(usize, usize), (width, height): (u32, u32)) -> bool {
    *size == (width as usize, height as usize)
}

/// Class 0 and these names, in VOC's colours.
fn classes(names: impl IntoIterator<Item = String>) -> Result<Vec<Class>> {
    let names: Vec<String> = std::iter::once(BACKGROUND.to_owned()).chain(names).collect();
    if names.len() == 1 {
        return Err(Error::new(format!(
            "nothing is labelled but {BACKGROUND}, and one class cannot be told from anything; label something, or choose \
             other --classes"
        )));
    }
    if names.len() > MAX_CLASSES {
        return Err(Error::new(format!(
            "{} classes with the background are more than the {MAX_CLASSES} that fit a mask's byte beside void; choose \
             some with --classes",
            names.len()
        )));
    }
    if let Some(name) = names.iter().find(|name| name.contains(':') || name.starts_with('#') || !is_id(name)) {
        return Err(Error::new(format!("a class cannot be called {name:?} in labelmap.txt; rename it")));
    }
    let mut seen = std::collections::BTreeSet::new();
    if let Some(name) = names.iter().find(|name| !seen.insert(*name)) {
        return Err(Error::new(format!("the class {name} occurs twice; name each once, and leave {BACKGROUND} out")));
    }
    Ok((0u8..).zip(names).map(|(index, name)| Class { color: voc_color(index), name }).collect())
}

/// Whether a label means background.
fn is_background(name: &str) -> bool {
    name.trim().trim_matches('_').eq_ignore_ascii_case(BACKGROUND)
}

/// Corners farther away from the image are errors.
const FARTHEST: f64 = 1e7;

/// A polygon as alternating x and y.
fn polygon(numbers: &[&Value]) -> Result<Vec<(f64, f64)>> {
    if numbers.len() % 2 == 1 {
        return Err(Error::new(format!("a polygon of {} numbers is no list of points", numbers.len())));
    }
    let coordinate = |value: &Value| json::number(value).filter(|number| number.abs() <= FARTHEST);
    let values: Option<Vec<f64>> = numbers.iter().map(|value| coordinate(value)).collect();
    let values =
        values.ok_or_else(|| Error::new(format!("a polygon has a coordinate that is no number up to {FARTHEST:e}")))?;
    match values.len() / 2 {
        points @ 0..3 => Err(Error::new(format!("a polygon of {points} points has no area"))),
        _ => Ok(values.chunks_exact(2).map(|point| (point[0], point[1])).collect()),
    }
}

/// Height and width of a photo in pixels, upright.
pub(crate) fn photo_size(path: &Path) -> Result<(usize, usize)> {
    let (width, height) = image_layout(path)?.upright();
    Ok((height as usize, width as usize))
}

/// A file's name without folder and extension.
fn stem(path: &Path) -> Result<String> {
    let name = path.file_stem().and_then(|name| name.to_str()).map(str::trim).filter(|name| is_id(name));
    name.map(str::to_owned).ok_or_else(|| Error::new(format!("{} cannot be an ID; rename the file", path.display())))
}

/// The longest ID in bytes: file names, including temporary ones, have at most 255.
const LONGEST_ID: usize = 200;

/// Whether a name can be stored on a line of its own and read back unchanged.
fn is_id(name: &str) -> bool {
    let is_whole = name == name.trim() && !name.starts_with('\u{feff}') && !name.contains(char::is_control);
    is_whole && (1..=LONGEST_ID).contains(&name.len())
}

/// A folder's entries in name order.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error: std::io::Error| Error::new(format!("{} cannot be read: {error}", folder.display()));
    let entries = std::fs::read_dir(folder).map_err(failed)?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>().map_err(failed)?;
    paths.sort();
    Ok(paths)
}

/// Maps every value to void.
fn all_void() -> Box<[u8; 256]> {
    Box::new([VOID; 256])
}
