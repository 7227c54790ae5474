//! A folder of photos and a folder of masks, as written by labelme2voc, Supervisely, CamVid and
//! others.
//!
//! A mask belongs to the photo with its name, or with the beginning of its name before a `_`, `-`
//! or `.`: `0001.jpg` and `0001.png`, `0001_mask.png` or `0001_L.png`. Classes are read from a
//! labelmap.txt, or a list of names (class_names.txt, classes.txt) in the folder of masks or one of
//! the folders above both. Without a list they follow from the masks:
//!
//! - colours: one class each, black is the background;
//! - only 0 and 255: background and object;
//! - values: class indices, unless most numbers up to the largest one are missing; then one class
//!   each, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fcn::palette::{Class, voc_color};

use super::{BACKGROUND, LabelledPhoto, LabelledPhotos, MaskSource, MissingMasks, all_void, classes, entries, stem};
use crate::error::{Error, Result};
use crate::folder::{PHOTO_ENDINGS, has_ending};
use crate::labelmap::{self, MAX_CLASSES, VOID, VOID_COLOR};
use crate::mask::{self, ClassColors, Content, MOST_COLORS};
use crate::parallel::on_all_processors;
use crate::text;

/// File names of class lists.
const NAME_LISTS: [&str; 3] = ["class_names.txt", "classes.txt", "obj.names"];

/// Finds the photos of a folder and their masks in another one, all in the split `split`.
pub fn find(images: &Path, masks: &Path, split: &str, missing: MissingMasks) -> Result<LabelledPhotos> {
    let mut source = LabelledPhotos::default();
    let photos = files(images, &PHOTO_ENDINGS)?;
    let masks_by_stem = by_stem(files(masks, &["png"])?)?;
    let mut pairs = Vec::new();
    for photo in photos {
        let id = stem(&photo)?;
        let mask = mask_of(&id, &photo, &masks_by_stem)?;
        if mask.is_none() && missing == MissingMasks::Refuse {
            return Err(Error::new(format!(
                "{} has no mask in {}: {id}.png, or {id} with an ending such as _mask.png; add it, or take photos without a mask for \
                 background everywhere with --missing-masks background",
                photo.display(),
                masks.display()
            )));
        }
        pairs.push((id, photo, mask));
    }
    if pairs.iter().all(|(.., mask)| mask.is_none()) {
        return Err(Error::new(format!("{} holds no photo with a mask in {}", images.display(), masks.display())));
    }
    let contents = contents(&pairs)?;
    let named = named(images, masks)?;
    let meaning = MaskMeaning::of(named, &contents, masks, &mut source.notes)?;
    let items = pairs.into_iter().map(|(id, photo, mask)| {
        let mask = match (mask, &meaning.values) {
            (None, _) => MaskSource::Background,
            (Some(path), Some(values)) => MaskSource::File { path, values: values.clone() },
            (Some(path), None) => MaskSource::Classes { path, colors: meaning.colors.clone() },
        };
        LabelledPhoto { id, photo, mask }
    });
    source.splits = BTreeMap::from([(split.to_owned(), items.collect())]);
    source.classes = meaning.classes;
    Ok(source)
}

/// A folder's files with one of these extensions, in name order.
fn files(folder: &Path, endings: &[&str]) -> Result<Vec<PathBuf>> {
    let is_one = |path: &PathBuf| has_ending(path, endings) && path.is_file();
    let files: Vec<PathBuf> = entries(folder)?.into_iter().filter(is_one).collect();
    if files.is_empty() {
        Err(Error::new(format!("{} holds no .{} file", folder.display(), endings.join(" or ."))))
    } else {
        Ok(files)
    }
}

fn by_stem(files: Vec<PathBuf>) -> Result<BTreeMap<String, PathBuf>> {
    files.into_iter().map(|path| Ok((stem(&path)?, path))).collect()
}

/// The mask of a photo: with the same name, or the only one whose name begins with it.
fn mask_of(id: &str, photo: &Path, masks: &BTreeMap<String, PathBuf>) -> Result<Option<PathBuf>> {
    // A mask next to its photo has another name.
    if let Some(mask) = masks.get(id).filter(|mask| *mask != photo) {
        return Ok(Some(mask.clone()));
    }
    let from_here = masks.range(id.to_owned()..).take_while(|(name, _)| name.starts_with(id));
    let mut own = from_here.filter(|(name, _)| name[id.len()..].starts_with(['_', '-', '.']));
    match (own.next(), own.next()) {
        (Some((_, first)), Some((_, second))) => Err(Error::new(format!(
            "{} and {} may both be the mask of {}; remove one",
            first.display(),
            second.display(),
            photo.display()
        ))),
        (first, _) => Ok(first.map(|(_, mask)| mask.clone())),
    }
}

/// The masks' pixel values.
fn contents(pairs: &[(String, PathBuf, Option<PathBuf>)]) -> Result<Vec<Content>> {
    let masked: Vec<(&PathBuf, &PathBuf)> =
        pairs.iter().filter_map(|(_, photo, mask)| mask.as_ref().map(|mask| (photo, mask))).collect();
    let look = |index: usize| {
        let (photo, mask) = masked[index];
        Ok(mask::open(mask, (photo, &fcn::image_layout(photo)?))?.content())
    };
    on_all_processors(masked.len(), look).into_iter().collect()
}

/// Classes from a file next to the masks.
enum NamedClasses {
    /// With their colours.
    Classes(Vec<Class>),
    /// Only their names.
    Names(Vec<String>, PathBuf),
    Nothing,
}

fn named(images: &Path, masks: &Path) -> Result<NamedClasses> {
    let parent = masks.parent().filter(|parent| images.parent() == Some(*parent));
    for folder in [Some(masks), parent].into_iter().flatten() {
        let labelmap = folder.join("labelmap.txt");
        if labelmap.is_file() {
            return labelmap::read(&labelmap).map(NamedClasses::Classes);
        }
        if let Some(list) = NAME_LISTS.iter().map(|name| folder.join(name)).find(|path| path.is_file()) {
            let text = text::read(&list)?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            // labelme's list begins with void, which has no index.
            let names: Vec<String> = lines.filter(|name| *name != "__ignore__").map(str::to_owned).collect();
            return Ok(NamedClasses::Names(names, list));
        }
    }
    Ok(NamedClasses::Nothing)
}

/// The meaning of the masks.
struct MaskMeaning {
    classes: Vec<Class>,
    colors: Arc<ClassColors>,
    /// The class of each value, if values are not indices.
    values: Option<Box<[u8; 256]>>,
}

impl MaskMeaning {
    fn of(named: NamedClasses, contents: &[Content], masks: &Path, notes: &mut Vec<String>) -> Result<MaskMeaning> {
        let (mut used, mut palette, mut colors) = ([false; 256], None, BTreeSet::new());
        let mut counts = (0, 0);
        for content in contents {
            match content {
                Content::Values(values, own) => {
                    counts.0 += 1;
                    (0..256).for_each(|value| used[value] |= values[value]);
                    palette = palette.or(own.as_ref());
                }
                Content::Colors(own) => {
                    counts.1 += 1;
                    colors.extend(own);
                }
            }
        }
        let shown = masks.display();
        let names = match named {
            NamedClasses::Classes(classes) => return Ok(MaskMeaning::indices(classes)),
            NamedClasses::Names(_, list) if counts.1 > 0 => {
                return Err(Error::new(format!(
                    "{} names classes without colours, but masks in {shown} are coloured; write a labelmap.txt with lines \
                     name:R,G,B::",
                    list.display()
                )));
            }
            NamedClasses::Names(names, _) => Some(names),
            NamedClasses::Nothing => None,
        };
        match (names, counts) {
            (_, (1.., 1..)) => Err(Error::new(format!(
                "{shown} has masks of values and masks of colours; write a labelmap.txt with lines name:R,G,B:: there, which tells \
                 what both mean"
            ))),
            (None, (0, _)) => MaskMeaning::colors(&colors, masks, notes),
            (names, _) => MaskMeaning::values(names, &used, palette, masks, notes),
        }
    }

    /// Masks of class indices or of the classes' colours.
    fn indices(classes: Vec<Class>) -> MaskMeaning {
        MaskMeaning { colors: Arc::new(ClassColors::new(&classes)), classes, values: None }
    }

    /// One class per colour, black first.
    fn colors(colors: &BTreeSet<[u8; 3]>, masks: &Path, notes: &mut Vec<String>) -> Result<MaskMeaning> {
        if colors.len() > MOST_COLORS {
            return Err(Error::new(format!(
                "the masks in {} have more than {MOST_COLORS} colours, which are no classes; take masks without smooth edges that \
                 were never JPEG files",
                masks.display()
            )));
        }
        let colors: Vec<[u8; 3]> = colors.iter().copied().filter(|color| *color != VOID_COLOR).collect();
        if colors.len() > MAX_CLASSES {
            return Err(Error::new(format!(
                "the masks in {} have {} colours, but there are at most {MAX_CLASSES} classes",
                masks.display(),
                colors.len()
            )));
        }
        let name = |color: &[u8; 3]| match color {
            [0, 0, 0] => BACKGROUND.to_owned(),
            [red, green, blue] => format!("color_{red:02x}{green:02x}{blue:02x}"),
        };
        let classes: Vec<Class> = colors.iter().map(|color| Class { name: name(color), color: *color }).collect();
        notes.push(format!(
            "{} has no labelmap.txt, so each colour of its masks is a class: {}",
            masks.display(),
            class_names(&classes)
        ));
        at_least_two(&classes, masks)?;
        Ok(MaskMeaning::indices(classes))
    }

    /// Classes of values.
    fn values(
        names: Option<Vec<String>>,
        used: &[bool; 256],
        palette: Option<&Vec<[u8; 3]>>,
        masks: &Path,
        notes: &mut Vec<String>,
    ) -> Result<MaskMeaning> {
        let shown = masks.display();
        let own: Vec<usize> = (0..usize::from(VOID)).filter(|value| used[*value]).collect();
        let largest = own.last().copied().unwrap_or(0);
        if let Some(names) = names {
            let names: Vec<String> = names
                .into_iter()
                .map(|name| if super::is_background(&name) { BACKGROUND.to_owned() } else { name })
                .collect();
            let known = if names.first().is_some_and(|name| name == BACKGROUND) { names[1..].to_vec() } else { names };
            let classes = classes(known)?;
            if largest >= classes.len() {
                return Err(Error::new(format!(
                    "the masks in {shown} have the value {largest}, but there are {} classes with the background; complete the list \
                     of classes",
                    classes.len()
                )));
            }
            return Ok(MaskMeaning::indices(classes));
        }
        if own == [0] && used[usize::from(VOID)] {
            let classes = classes(["object".to_owned()])?;
            let mut values = all_void();
            (values[0], values[255]) = (0, 1);
            notes.push(format!(
                "the masks in {shown} are of 0 and 255 alone, which are taken for background and object"
            ));
            return Ok(MaskMeaning { values: Some(values), ..MaskMeaning::indices(classes) });
        }
        // Tools that draw classes as shades of grey leave gaps.
        if largest >= 2 * own.len() {
            let classes = classes(own.iter().filter(|value| **value != 0).map(|value| format!("value_{value}")))?;
            let mut values = all_void();
            let places = own.iter().filter(|value| **value != 0);
            (1u8..).zip(places).for_each(|(index, value)| values[*value] = index);
            values[0] = 0;
            notes.push(format!(
                "{shown} has no labelmap.txt, so each value of its masks is a class: {}",
                class_names(&classes)
            ));
            return Ok(MaskMeaning { values: Some(values), ..MaskMeaning::indices(classes) });
        }
        if largest == 0 {
            return Err(Error::new(format!(
                "the masks in {shown} have no value but 0, and one class cannot be told from anything; label something"
            )));
        }
        let mut classes = classes((1..=largest).map(|index| format!("class_{index}")))?;
        // The masks' own colours, if they distinguish the classes.
        let colors: Vec<[u8; 3]> =
            palette.map(|palette| palette.iter().copied().take(largest + 1).collect()).unwrap_or_default();
        let distinct: BTreeSet<[u8; 3]> = colors.iter().copied().collect();
        let is_grey = colors.iter().all(|[red, green, blue]| red == green && green == blue);
        if distinct.len() == classes.len() && !is_grey {
            classes.iter_mut().zip(colors).for_each(|(class, color)| class.color = color);
        } else {
            (0u8..).zip(&mut classes).for_each(|(index, class)| class.color = voc_color(index));
        }
        notes.push(format!(
            "{shown} has no labelmap.txt, so the values of its masks are classes without names: {}",
            class_names(&classes)
        ));
        Ok(MaskMeaning::indices(classes))
    }
}

fn at_least_two(classes: &[Class], masks: &Path) -> Result<()> {
    match classes.len() {
        0 | 1 => Err(Error::new(format!(
            "the masks in {} have one colour, and one class cannot be told from anything; label something",
            masks.display()
        ))),
        _ => Ok(()),
    }
}

/// Names for a sentence.
fn class_names(classes: &[Class]) -> String {
    const SHOWN: usize = 12;
    let names: Vec<&str> = classes.iter().take(SHOWN).map(|class| class.name.as_str()).collect();
    let more = classes.len().saturating_sub(SHOWN);
    names.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}
