//! labelme's JSON files: one per photo, next to it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{ImageFormat, ImageReader, Limits};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use super::{
    FARTHEST, ImportSettings, LabelledPhoto, LabelledPhotos, LeftOut, MaskSource, Shape, classes, entries,
    is_background, json, photo_size, photos, polygon, stem,
};
use crate::error::{Error, Result};
use crate::labelmap::VOID;

/// Labels of pixels that belong to no class, as in labelme's own conversion to VOC.
const IGNORE: &str = "__ignore__";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LabelmeFile {
    #[serde(default)]
    image_path: Option<String>,
    #[serde(default)]
    image_width: Value,
    #[serde(default)]
    image_height: Value,
    #[serde(default)]
    image_data: Option<String>,
    shapes: Vec<Value>,
}

#[derive(Deserialize)]
struct LabelmeShape {
    #[serde(default)]
    label: Value,
    #[serde(default)]
    points: Value,
    #[serde(default)]
    shape_type: Option<String>,
    /// For shapes of labelme's AI tools: a PNG file in base64, whose top left corner is the first
    /// point.
    #[serde(default)]
    mask: Option<String>,
}

/// A file whose photo exists.
struct ReadFile {
    item: LabelledPhoto,
    file: PathBuf,
    size: (usize, usize),
    shapes: Vec<(String, Shape)>,
}

/// Finds a folder's .json files and their photos: where the files say, in `photos` if given,
/// otherwise next to them; or stored inside them. Classes are the labels in alphabetical order
/// after the background, or the selected ones; other labels then become background. Shapes without
/// an area, such as points and lines, are skipped.
pub fn find(folder: &Path, photos: Option<&Path>, settings: &ImportSettings<'_>) -> Result<LabelledPhotos> {
    let mut left_out = LeftOut::new(settings);
    let is_json = |path: &PathBuf| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    let paths: Vec<PathBuf> = entries(folder)?.into_iter().filter(is_json).collect();
    if paths.is_empty() {
        return Err(Error::new(format!("{} holds no .json file of labelme", folder.display())));
    }
    let unpacked =
        tempfile::tempdir().map_err(|error| Error::new(format!("a temporary folder cannot be made: {error}")))?;
    let mut files = Vec::new();
    let mut known = HashSet::new();
    for path in paths {
        match labelled(&path, photos.unwrap_or(folder), &unpacked, settings, &mut left_out)? {
            Ok(file) if !known.insert(file.item.photo.clone()) => {
                left_out.add(format!(
                    "{}: another file labels the photo {}",
                    path.display(),
                    file.item.photo.display()
                ))?;
            }
            Ok(file) => files.push(file),
            Err(error) => left_out.add(error.to_string())?,
        }
    }
    if files.is_empty() {
        return Err(Error::new(format!("{} gives no photo: {}", folder.display(), left_out.first())));
    }
    let labels: BTreeSet<&str> = files.iter().flat_map(|file| &file.shapes).map(|(label, _)| label.as_str()).collect();
    let found = labels.iter().filter(|label| !is_background(label) && **label != IGNORE);
    let classes =
        classes(settings.names.map_or_else(|| found.map(|&label| label.to_owned()).collect(), <[String]>::to_vec));
    let classes = classes.map_err(|error| match left_out.first() {
        "" => error,
        first => Error::new(format!("{error} ({first})")),
    })?;
    for name in settings.names.into_iter().flatten().filter(|name| !labels.contains(&name[..])) {
        left_out.note(format!("nothing is labelled {name}"));
    }
    let index = |label: &str| match label {
        IGNORE => VOID,
        label => classes.iter().position(|class| class.name == label).unwrap_or(0) as u8,
    };
    let items = files.into_iter().map(|ReadFile { item, file, size, shapes }| {
        let shapes = shapes.into_iter().map(|(label, shape)| (shape, index(&label))).collect();
        LabelledPhoto { mask: MaskSource::Shapes { size, file, shapes }, ..item }
    });
    let splits = BTreeMap::from([(settings.split.to_owned(), items.collect())]);
    let (left_out, notes) = (left_out.sentences, left_out.notes);
    Ok(LabelledPhotos { classes: classes.clone(), splits, left_out, notes, unpacked: Some(Arc::new(unpacked)) })
}

/// A file's labels, or its problem.
fn labelled(
    path: &Path,
    photos: &Path,
    unpacked: &TempDir,
    settings: &ImportSettings<'_>,
    left_out: &mut LeftOut,
) -> Result<Result<ReadFile>> {
    let read = || -> Result<(LabelmeFile, LabelledPhoto, (usize, usize), bool)> {
        let (text, is_assumed) = json::read(path, settings.encoding)?;
        let file: LabelmeFile = serde_json::from_str(&text)
            .map_err(|error| Error::new(format!("{} is not a file of labelme: {error}", path.display())))?;
        let photo = photo(path, &file, photos, unpacked)?;
        let size = match (json::length(&file.image_width), json::length(&file.image_height)) {
            (Some(width), Some(height)) => (width, height),
            _ => photo_size(&photo).map(|(height, width)| (width, height))?,
        };
        let mask = MaskSource::Shapes { size, file: path.to_owned(), shapes: Vec::new() };
        let item = LabelledPhoto { id: stem(&photo)?, photo, mask };
        // Checked before drawing, because the file can state any size.
        item.check()?;
        Ok((file, item, size, is_assumed))
    };
    let (file, item, size, is_assumed) = match read() {
        Ok(read) => read,
        Err(error) => return Ok(Err(error)),
    };
    if is_assumed {
        let shown = path.display();
        left_out.note(format!("{shown} is not UTF-8 and was read as Windows-1252; --encoding names another encoding"));
    }
    let mut shapes = Vec::new();
    for (place, drawn) in (1..).zip(file.shapes) {
        let shape = shape(drawn, size);
        let is_chosen = |label: &String| label == IGNORE || settings.names.is_none_or(|names| names.contains(label));
        match shape {
            Ok((label, Ok(shape))) => shapes.push((label, shape)),
            // Unselected shapes need not be valid.
            Ok((label, Err(_))) if !is_chosen(&label) => {}
            Ok((label, Err(error))) => {
                left_out.add(format!("{} in {}: \"{label}\" {error}", item.id, path.display()))?;
            }
            Err(error) => {
                left_out.add(format!("{} in {}: shape {place} {error}", item.id, path.display()))?;
            }
        }
    }
    Ok(Ok(ReadFile { item, file: path.to_owned(), size, shapes }))
}

/// A file's photo: the one it names, or the one stored in it.
fn photo(path: &Path, file: &LabelmeFile, folder: &Path, unpacked: &TempDir) -> Result<PathBuf> {
    let named = file.image_path.as_deref().unwrap_or_default();
    if let Some(photo) = photos::find(folder, named) {
        return Ok(photo);
    }
    let Some(data) = file.image_data.as_ref().filter(|data| !data.is_empty()) else {
        return Err(Error::new(format!(
            "{} names the photo \"{named}\", which is not in {}; --photos names the folder of the photos",
            path.display(),
            folder.display()
        )));
    };
    let bytes = decode(data).map_err(|error| Error::new(format!("{}: imageData {error}", path.display())))?;
    let ending = match image::guess_format(&bytes) {
        Ok(ImageFormat::Jpeg) => "jpg",
        Ok(ImageFormat::Png) => "png",
        _ => return Err(Error::new(format!("{}: imageData is neither a JPEG nor a PNG file", path.display()))),
    };
    // One folder each, so that names cannot collide.
    let folder = tempfile::tempdir_in(unpacked).map(TempDir::keep);
    let folder = folder.map_err(|error| Error::new(format!("a temporary folder cannot be made: {error}")))?;
    let photo = folder.join(format!("{}.{ending}", stem(path)?));
    fcn::file::write(&photo, &bytes)?;
    Ok(photo)
}

/// Decodes base64, which may be broken into lines.
fn decode(text: &str) -> Result<Vec<u8>> {
    let text: String = text.split_whitespace().collect();
    STANDARD.decode(text).map_err(|error| Error::new(format!("is no base64: {error}")))
}

/// A shape's label and its form, or the form's problem; an error if it has no label.
fn shape(value: Value, (width, height): (usize, usize)) -> Result<(String, Result<Shape>)> {
    let drawn: LabelmeShape =
        serde_json::from_value(value).map_err(|error| Error::new(format!("cannot be read: {error}")))?;
    let label = json::name(&drawn.label).ok_or_else(|| Error::new("has no label"))?;
    let form = form(&drawn, (width, height)).and_then(|shape| match shape.area(width, height)? {
        0 => Err(Error::new("covers no pixel of the photo")),
        _ => Ok(shape),
    });
    Ok((label, form))
}

fn form(drawn: &LabelmeShape, size: (usize, usize)) -> Result<Shape> {
    let points = drawn.points.as_array().map(Vec::as_slice).unwrap_or_default();
    let point = |value: &Value| {
        let [x, y, ..] = value.as_array()?.as_slice() else { return None };
        json::number(x).zip(json::number(y)).filter(|(x, y)| x.abs().max(y.abs()) <= FARTHEST)
    };
    let points: Option<Vec<(f64, f64)>> = points.iter().map(point).collect();
    let points =
        points.ok_or_else(|| Error::new(format!("has a point that is no pair of numbers up to {FARTHEST:e}")))?;
    match (drawn.shape_type.as_deref().unwrap_or_default(), points.as_slice()) {
        // Two opposite corners; some tools write all four.
        ("rectangle", [a, b]) => Ok(Shape::rectangle(*a, *b)),
        ("" | "polygon" | "rectangle" | "rotation" | "oriented_rectangle", corners) => {
            let numbers: Vec<Value> = corners.iter().flat_map(|(x, y)| [Value::from(*x), Value::from(*y)]).collect();
            Ok(Shape::Polygons(vec![polygon(&numbers.iter().collect::<Vec<_>>())?]))
        }
        // A centre, and a point on the circle.
        ("circle", [(x, y), (u, v)]) => Ok(Shape::Circle((*x, *y), (u - x).hypot(v - y))),
        ("mask", [corner, ..]) => bitmap(drawn.mask.as_deref().unwrap_or_default(), *corner, size),
        ("point" | "points" | "line" | "linestrip", _) => {
            Err(Error::new(format!("is a {} and has no area", drawn.shape_type.as_deref().unwrap_or_default())))
        }
        (kind, points) => Err(Error::new(format!(
            "is a {kind} of {} points; polygons, rectangles, circles and masks can be imported",
            points.len()
        ))),
    }
}

/// A mask of labelme's AI tools: all pixels that are not black are covered.
fn bitmap(text: &str, (x, y): (f64, f64), (width, height): (usize, usize)) -> Result<Shape> {
    let bytes = decode(text)?;
    let mut reader = ImageReader::with_format(Cursor::new(&bytes), ImageFormat::Png);
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(width as u32), Some(height as u32));
    reader.limits(limits);
    let mask = reader.decode().map_err(|error| {
        Error::new(format!("has a mask that is no PNG file of at most {width} x {height} pixels: {error}"))
    })?;
    Ok(Shape::Bitmap {
        corner: (x.round() as i64, y.round() as i64),
        width: mask.width() as usize,
        covered: mask.into_rgb16().pixels().map(|pixel| pixel.0 != [0; 3]).collect(),
    })
}
