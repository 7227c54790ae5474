//! Polygons in the format of YOLO's segmentation networks (Ultralytics, Roboflow, Label Studio,
//! CVAT): for each photo below a folder `images`, a text file below a folder `labels` with a line
//! `class x1 y1 x2 y2 ...` per object; coordinates are fractions of the photo's width and height. A
//! photo without such a file is background.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::{
    ImportSettings, LabelledPhoto, LabelledPhotos, LeftOut, MaskSource, Shape, classes, entries, is_background,
    photo_size, polygon, stem,
};
use crate::error::{Error, Result};
use crate::folder::{PHOTO_ENDINGS, has_ending};
use crate::text;

/// Folders deeper than this are not data sets.
const DEEPEST: usize = 6;

/// A data set's description.
#[derive(Deserialize, Default)]
struct YoloDescription {
    #[serde(default)]
    names: Option<Names>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    List(Vec<String>),
    ByIndex(BTreeMap<usize, String>),
}

/// Whether a folder looks like such a data set.
pub fn is_one(root: &Path) -> bool {
    let below = |folder: &Path| folder.join("images").is_dir() && folder.join("labels").is_dir();
    below(root) || ["train", "val", "valid"].iter().any(|split| below(&root.join(split)))
}

/// Finds a folder's photos and their objects. The splits are its folders (`images/train` or
/// `train/images`; `valid` is `val`), otherwise `settings.split`. Class n of the files is index n +
/// 1, after the background; a class called background is the background. Smaller objects are drawn
/// over larger ones.
pub fn find(root: &Path, settings: &ImportSettings<'_>) -> Result<LabelledPhotos> {
    let mut left_out = LeftOut::new(settings);
    let mut photos = Vec::new();
    photos_below(root, 0, &mut photos)?;
    photos.retain(|photo| place_of(root, photo, "images").is_some());
    if photos.is_empty() {
        return Err(Error::new(format!("{} has no photos in a folder images", root.display())));
    }
    let mut drawn: Vec<YoloPhoto> = Vec::new();
    for photo in photos {
        match self::drawn(root, &photo, &mut left_out) {
            Ok(found) => drawn.push(found),
            Err(error) => left_out.add(error.to_string())?,
        }
    }
    if drawn.is_empty() {
        return Err(Error::new(format!("{} gives no photo: {}", root.display(), left_out.first())));
    }
    let own = names(root)?;
    let used: BTreeSet<usize> = drawn.iter().flat_map(|drawn| drawn.shapes.iter().map(|(class, _)| *class)).collect();
    let most = used.last().map_or(0, |largest| largest + 1);
    let own = match own {
        Some((names, file)) if most > names.len() => {
            return Err(Error::new(format!(
                "{} names {} classes, but the labels have class {}; complete the names",
                file.display(),
                names.len(),
                most - 1
            )));
        }
        Some((names, _)) => names,
        None => {
            left_out.note(format!(
                "{} has no data.yaml or classes.txt, so the classes have no names but their numbers",
                root.display()
            ));
            (0..most).map(|class| format!("class_{class}")).collect()
        }
    };
    let others = || own.iter().filter(|name| !is_background(name));
    if let Some(name) = settings.names.into_iter().flatten().find(|name| others().all(|other| other != *name)) {
        let all: Vec<&str> = others().map(String::as_str).collect();
        return Err(Error::new(format!("{} has no class {name}; it has {}", root.display(), all.join(", "))));
    }
    let classes = classes(settings.names.map_or_else(|| others().cloned().collect(), <[String]>::to_vec))?;
    let index = |class: usize| {
        if is_background(&own[class]) {
            Some(0)
        } else {
            classes.iter().position(|known| known.name == own[class]).map(|index| index as u8)
        }
    };
    let mut splits: BTreeMap<String, Vec<LabelledPhoto>> = BTreeMap::new();
    for YoloPhoto { photo, labels, split, size, shapes } in drawn {
        let shapes = shapes.into_iter().filter_map(|(class, shape)| Some((shape, index(class)?))).collect();
        let mask = MaskSource::Shapes { size, file: labels, shapes };
        let split = split.unwrap_or_else(|| settings.split.to_owned());
        splits.entry(split).or_default().push(LabelledPhoto { id: stem(&photo)?, photo, mask });
    }
    let (left_out, notes) = (left_out.sentences, left_out.notes);
    Ok(LabelledPhotos { classes, splits, left_out, notes, unpacked: None })
}

/// A photo with its objects.
struct YoloPhoto {
    photo: PathBuf,
    /// The text file, which may be missing.
    labels: PathBuf,
    split: Option<String>,
    size: (usize, usize),
    /// In drawing order.
    shapes: Vec<(usize, Shape)>,
}

fn drawn(root: &Path, photo: &Path, left_out: &mut LeftOut) -> Result<YoloPhoto> {
    let (height, width) = photo_size(photo)?;
    let labels = labels_of(root, photo);
    let mut shapes = Vec::new();
    if labels.symlink_metadata().is_ok() {
        for (number, line) in (1..).zip(text::read(&labels)?.lines()) {
            if line.trim().is_empty() {
                continue;
            }
            match self::line(line, (width, height)) {
                Ok((class, area, shape)) => shapes.push((Reverse(area), class, shape)),
                Err(error) => left_out.add(format!("{} line {number}: {error}", labels.display()))?,
            }
        }
    }
    shapes.sort_by_key(|(area, ..)| *area);
    let shapes = shapes.into_iter().map(|(_, class, shape)| (class, shape)).collect();
    Ok(YoloPhoto { split: split_of(root, photo), photo: photo.to_owned(), labels, size: (width, height), shapes })
}

/// A line's class, and its shape with the number of pixels it covers.
fn line(line: &str, (width, height): (usize, usize)) -> Result<(usize, usize, Shape)> {
    let mut words = line.split_ascii_whitespace();
    let first = words.next().unwrap_or_default();
    // Some tools write 0.0.
    let class = first.parse::<f64>().ok().filter(|class| (0.0..1e6).contains(class) && class.fract() == 0.0);
    let class = class.ok_or_else(|| Error::new(format!("\"{first}\" is no class number")))? as usize;
    let shares: Option<Vec<f64>> = words.map(|word| word.parse().ok()).collect();
    let shares = shares.ok_or_else(|| Error::new("has a coordinate that is no number"))?;
    if shares.len() == 4 {
        return Err(Error::new("is a box and no polygon; export the data set for segmentation"));
    }
    let pixels = shares.iter().enumerate().map(|(place, share)| share * [width, height][place % 2] as f64);
    let values: Vec<serde_json::Value> = pixels.map(Into::into).collect();
    let shape = Shape::Polygons(vec![polygon(&values.iter().collect::<Vec<_>>())?]);
    match shape.area(width, height)? {
        0 => Err(Error::new("covers no pixel of the photo")),
        area => Ok((class, area, shape)),
    }
}

/// The photos in and below a folder, in path order. Links to folders are not followed.
fn photos_below(folder: &Path, depth: usize, photos: &mut Vec<PathBuf>) -> Result<()> {
    for path in entries(folder)? {
        if path.is_dir() && !path.is_symlink() && depth < DEEPEST {
            photos_below(&path, depth + 1, photos)?;
        } else if path.is_file() && has_ending(&path, &PHOTO_ENDINGS) {
            photos.push(path);
        }
    }
    Ok(())
}

/// The position, among the parts of a path below `root`, of the last folder called `name`.
fn place_of(root: &Path, path: &Path, name: &str) -> Option<usize> {
    let parts: Vec<Component> = path.strip_prefix(root).ok()?.components().collect();
    parts[..parts.len() - 1].iter().rposition(|part| part.as_os_str() == OsStr::new(name))
}

/// A photo's text file: the same path with `labels` for `images`.
fn labels_of(root: &Path, photo: &Path) -> PathBuf {
    let below = photo.strip_prefix(root).unwrap_or(photo);
    let images = place_of(root, photo, "images");
    let part = |(place, part): (usize, Component)| {
        if Some(place) == images { OsStr::new("labels").to_owned() } else { part.as_os_str().to_owned() }
    };
    root.join(below.components().enumerate().map(part).collect::<PathBuf>()).with_extension("txt")
}

/// The split named by a photo's folders.
fn split_of(root: &Path, photo: &Path) -> Option<String> {
    let folders = photo.strip_prefix(root).ok()?.parent()?;
    let mut names = folders.components().filter_map(|part| part.as_os_str().to_str());
    names.find_map(|name| match name.to_ascii_lowercase().as_str() {
        "train" | "train2017" => Some("train".to_owned()),
        "val" | "valid" | "validation" | "val2017" => Some("val".to_owned()),
        "test" => Some("test".to_owned()),
        _ => None,
    })
}

/// The class names, and the file that contains them.
fn names(root: &Path) -> Result<Option<(Vec<String>, PathBuf)>> {
    for path in entries(root)? {
        if !path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml") || !path.is_file() {
            continue;
        }
        let description: YoloDescription = serde_saphyr::from_str(&text::read(&path)?).map_err(|error| {
            let first = error.to_string().lines().next().unwrap_or_default().to_owned();
            Error::new(format!("{} is no description of a data set: {first}", path.display()))
        })?;
        let names = match description.names {
            None => continue,
            Some(Names::List(names)) => names,
            Some(Names::ByIndex(names)) => {
                let most = names.keys().next_back().map_or(0, |largest| largest + 1);
                if most > crate::labelmap::MAX_CLASSES {
                    return Err(Error::new(format!(
                        "{} has a class {}, but there are at most {} beside the background",
                        path.display(),
                        most - 1,
                        crate::labelmap::MAX_CLASSES - 1
                    )));
                }
                (0..most).map(|class| names.get(&class).cloned().unwrap_or(format!("class_{class}"))).collect()
            }
        };
        return Ok(Some((names, path)));
    }
    let lists = ["classes.txt", "obj.names"].map(|name| root.join(name));
    let Some(list) = lists.into_iter().find(|path| path.is_file()) else { return Ok(None) };
    let text = text::read(&list)?;
    let names = text.lines().map(str::trim).filter(|name| !name.is_empty());
    Ok(Some((names.map(str::to_owned).collect(), list)))
}
