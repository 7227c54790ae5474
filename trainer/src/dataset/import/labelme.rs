//! labelme's JSON files: one for each photo, beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{BACKGROUND, Item, Mask, Shape, Source, classes, entries, read_text, stem};
use crate::data::{VOID, photo_size};
use crate::error::{Error, Result};

/// Labels of pixels that belong to no class, as labelme's own conversion to VOC has it.
const IGNORE: &str = "__ignore__";
/// Another name for the background.
const OTHER_BACKGROUND: &str = "_background_";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    image_path: String,
    image_width: Option<usize>,
    image_height: Option<usize>,
    shapes: Vec<Drawn>,
}

#[derive(Deserialize)]
struct Drawn {
    label: String,
    points: Vec<(f64, f64)>,
    #[serde(default = "polygon")]
    shape_type: String,
}

fn polygon() -> String {
    "polygon".to_owned()
}

/// Finds the .json files of a folder and their photos. Classes are the labels in alphabetical order after the
/// background, or those of `names`; other labels are then background.
pub fn find(folder: &Path, split: &str, names: Option<&[String]>) -> Result<Source> {
    let mut files: Vec<(PathBuf, File)> = Vec::new();
    for path in entries(folder)?.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "json")) {
        let failed = |error| Error::new(format!("{} is not a file of labelme: {error}", path.display()));
        let file = serde_json::from_str(&read_text(&path)?).map_err(failed)?;
        files.push((path, file));
    }
    if files.is_empty() {
        return Err(Error::new(format!("{} holds no .json file of labelme", folder.display())));
    }
    let labels: BTreeSet<&str> = files.iter().flat_map(|(_, file)| &file.shapes).map(|s| s.label.as_str()).collect();
    let found = labels.into_iter().filter(|label| ![BACKGROUND, OTHER_BACKGROUND, IGNORE].contains(label));
    let classes = classes(names.map_or_else(|| found.map(str::to_owned).collect(), <[String]>::to_vec))?;
    let index = |label: &str| match label {
        IGNORE => VOID,
        label => classes.iter().position(|class| class.name == label).unwrap_or(0) as u8,
    };
    let items = files.iter().map(|(path, file)| item(path, file, index)).collect::<Result<Vec<_>>>()?;
    Ok(Source { classes: classes.clone(), splits: BTreeMap::from([(split.to_owned(), items)]) })
}

fn item(path: &Path, file: &File, index: impl Fn(&str) -> u8) -> Result<Item> {
    // labelme on Windows writes its separators.
    let photo = path.with_file_name("").join(file.image_path.replace('\\', "/"));
    if !photo.is_file() {
        return Err(Error::new(format!("{} names the photo {}, which is not there", path.display(), photo.display())));
    }
    let size = match (file.image_width, file.image_height) {
        (Some(width), Some(height)) => (width, height),
        _ => {
            let (height, width) = photo_size(&photo)?;
            (width, height)
        }
    };
    let shapes = file.shapes.iter().map(|drawn| Ok((shape(path, drawn)?, index(&drawn.label))));
    let shapes = shapes.collect::<Result<Vec<_>>>()?;
    Ok(Item { id: stem(&photo)?, photo, mask: Mask::Shapes { size, file: path.to_owned(), shapes } })
}

fn shape(path: &Path, drawn: &Drawn) -> Result<Shape> {
    match (drawn.shape_type.as_str(), drawn.points.as_slice()) {
        ("polygon", [_, _, _, ..]) => Ok(Shape::Polygons(vec![drawn.points.clone()])),
        ("rectangle", [a, b]) => Ok(Shape::rectangle(*a, *b)),
        // A centre, and a point on the circle.
        ("circle", [(x, y), (u, v)]) => Ok(Shape::Circle((*x, *y), (u - x).hypot(v - y))),
        (kind, points) => Err(Error::new(format!(
            "{}: \"{}\" is a {kind} of {} points; polygons of at least 3, rectangles of 2 and circles of 2 can be \
             imported: draw it as a polygon",
            path.display(),
            drawn.label,
            points.len()
        ))),
    }
}
