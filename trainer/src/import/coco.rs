//! COCO instances: one JSON file for all photos of a folder, also as Roboflow, Label Studio, VIA
//! and CVAT write it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{
    Counts, ImportSettings, LabelledPhoto, LabelledPhotos, LeftOut, MaskSource, Runs, Shape, classes, is_background,
    json, photo_size, photos, polygon, stem,
};
use crate::error::{Error, Result};

/// Entries are read one by one, so that a bad one can be skipped.
#[derive(Deserialize)]
struct CocoFile<'a> {
    #[serde(borrow)]
    images: Vec<&'a RawValue>,
    #[serde(borrow)]
    annotations: Vec<&'a RawValue>,
    #[serde(borrow)]
    categories: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct CocoImage {
    id: Value,
    file_name: String,
    #[serde(default)]
    width: Value,
    #[serde(default)]
    height: Value,
}

/// The part of an annotation that identifies its image.
#[derive(Deserialize)]
struct AnnotatedImage {
    #[serde(default)]
    image_id: Value,
    #[serde(default)]
    category_id: Value,
}

#[derive(Deserialize)]
struct Annotation {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    category_id: Value,
    #[serde(default)]
    segmentation: Value,
    #[serde(default)]
    iscrowd: Value,
}

#[derive(Deserialize)]
struct Category {
    id: Value,
    name: Value,
    #[serde(default)]
    supercategory: Value,
}

/// A usable category.
struct NamedCategory {
    id: String,
    name: String,
    supercategory: Option<String>,
}

/// Reads an instances file whose photos are in `photos`. Classes are the categories after the
/// background in the order of their IDs, or the selected ones; other categories then become
/// background. Categories with the same name are one class, a category called background is the
/// background, and one that only groups others is ignored. Smaller instances are drawn over larger
/// ones, and crowds below all others.
pub fn find(file: &Path, photos: &Path, settings: &ImportSettings<'_>) -> Result<LabelledPhotos> {
    let shown = file.display();
    let mut left_out = LeftOut::new(settings);
    let (text, is_assumed) = json::read(file, settings.encoding)?;
    if is_assumed {
        left_out.note(format!("{shown} is not UTF-8 and was read as Windows-1252; --encoding names another encoding"));
    }
    let parsed: CocoFile<'_> = serde_json::from_str(&text)
        .map_err(|error| Error::new(format!("{shown} is not a file of COCO instances: {error}")))?;

    let mut by_image: HashMap<String, Vec<&RawValue>> = HashMap::new();
    let mut annotated = HashSet::new();
    for annotation in parsed.annotations {
        match serde_json::from_str::<AnnotatedImage>(annotation.get()) {
            Ok(AnnotatedImage { image_id, category_id }) => {
                annotated.extend(json::id(&category_id));
                match json::id(&image_id) {
                    Some(image) => by_image.entry(image).or_default().push(annotation),
                    None => left_out.add(format!("{shown}: an annotation names no image"))?,
                }
            }
            Err(error) => left_out.add(format!("{shown}: an annotation cannot be read: {error}"))?,
        }
    }

    let categories = categories(&parsed.categories, &annotated, &mut left_out, file)?;
    let found = || categories.iter().map(|category| &category.name).filter(|name| !is_background(name));
    if let Some(name) = settings.names.into_iter().flatten().find(|name| found().all(|found| found != *name)) {
        let all: Vec<&str> = found().map(String::as_str).collect();
        return Err(Error::new(format!("{shown} has no category {name}; it has {}", all.join(", "))));
    }
    let mut seen = HashSet::new();
    let all = found().filter(|name| seen.insert(*name)).cloned();
    let classes = classes(settings.names.map_or_else(|| all.collect(), <[String]>::to_vec))?;
    let index = |name: &str| {
        if is_background(name) {
            Some(0)
        } else {
            classes.iter().position(|class| class.name == name).map(|index| index as u8)
        }
    };
    let indices: HashMap<&str, Option<u8>> =
        categories.iter().map(|category| (&category.id[..], index(&category.name))).collect();

    let mut items = Vec::new();
    let mut known = HashSet::new();
    let images: Vec<_> = parsed.images.iter().map(|image| self::image(image, file, photos, &mut known)).collect();
    let mut uses: HashMap<&str, usize> = HashMap::new();
    for image in &images {
        let id = image.as_ref().map_or_else(|(id, _)| id.as_deref(), |(id, ..)| Some(id));
        id.into_iter().for_each(|id| *uses.entry(id).or_default() += 1);
    }
    let shared: HashSet<String> =
        uses.into_iter().filter(|(_, count)| *count > 1).map(|(id, _)| id.to_owned()).collect();
    for image in images {
        match image {
            Ok((id, item, _)) if shared.contains(&id) => {
                let photo = item.photo.display();
                left_out.add(format!("{shown}: {photo} has the ID {id}, which another image has as well"))?;
            }
            Ok((id, mut item, size)) => {
                let annotations = by_image.remove(&id).unwrap_or_default();
                let shapes = shapes(&annotations, size, &item.photo, &indices, &mut left_out)?;
                item.mask = MaskSource::Shapes { size, file: file.to_owned(), shapes };
                items.push(item);
            }
            Err((id, error)) => {
                let id = id.filter(|id| !shared.contains(id));
                let lost = id.and_then(|id| by_image.remove(&id)).map_or(0, |annotations| annotations.len());
                left_out.add(format!("{error} (its annotations: {lost})"))?;
            }
        }
    }
    let mut strangers: Vec<(String, usize)> = by_image.into_iter().map(|(id, list)| (id, list.len())).collect();
    strangers.sort();
    for (id, count) in strangers {
        let what = if shared.contains(&id) { "stands for several images" } else { "is not listed" };
        left_out.add(format!("{shown}: annotations of the image {id}, which {what}: {count}"))?;
    }
    if items.is_empty() {
        let reason = if parsed.images.is_empty() { "it lists no image" } else { left_out.first() };
        return Err(Error::new(format!("{shown} gives no photo: {reason}")));
    }
    let splits = BTreeMap::from([(settings.split.to_owned(), items)]);
    Ok(LabelledPhotos {
        classes,
        splits,
        left_out: left_out.sentences,
        notes: left_out.notes,
        ..LabelledPhotos::default()
    })
}

/// The categories used as classes, in ID order.
fn categories(
    entries: &[&RawValue],
    annotated: &HashSet<String>,
    left_out: &mut LeftOut,
    file: &Path,
) -> Result<Vec<NamedCategory>> {
    let mut categories = Vec::new();
    for entry in entries {
        let parsed = serde_json::from_str::<Category>(entry.get()).ok();
        match parsed.and_then(|c| Some((json::id(&c.id)?, json::name(&c.name)?, json::name(&c.supercategory)))) {
            Some((id, name, supercategory)) => categories.push(NamedCategory { id, name, supercategory }),
            None => left_out.add(format!("{}: a category without an ID or a name: {entry}", file.display()))?,
        }
    }
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for NamedCategory { id, name, .. } in &categories {
        if let Some(other) = seen.insert(id, name) {
            return Err(Error::new(format!("{}: the category ID {id} stands for {other} and {name}", file.display())));
        }
    }
    // Roboflow writes a category for the whole project, the parent of the others.
    let is_group = |category: &NamedCategory| {
        let names_it =
            |other: &NamedCategory| other.id != category.id && other.supercategory.as_ref() == Some(&category.name);
        let shares_its_name = |other: &NamedCategory| other.id != category.id && other.name == category.name;
        !annotated.contains(&category.id) && categories.iter().any(names_it) && !categories.iter().any(shares_its_name)
    };
    for category in categories.iter().filter(|category| is_group(category)) {
        let NamedCategory { id, name, .. } = category;
        left_out.note(format!("the category {name} ({id}) groups others and labels nothing, so it is no class"));
    }
    let groups: Vec<bool> = categories.iter().map(is_group).collect();
    let mut groups = groups.into_iter();
    categories.retain(|_| groups.next() == Some(false));
    categories.sort_by(|a, b| {
        let number = |category: &NamedCategory| category.id.parse::<f64>().unwrap_or(f64::INFINITY);
        number(a).total_cmp(&number(b)).then_with(|| a.id.cmp(&b.id))
    });
    Ok(categories)
}

/// An ID, if readable, and the problem of the image.
type Refused = (Option<String>, Error);

/// An image whose photo exists, with its ID and the size that its annotations were drawn on.
fn image(
    entry: &RawValue,
    file: &Path,
    photos: &Path,
    known: &mut HashSet<PathBuf>,
) -> std::result::Result<(String, LabelledPhoto, (usize, usize)), Refused> {
    let shown = file.display();
    let image: CocoImage = serde_json::from_str(entry.get())
        .map_err(|error| (None, Error::new(format!("{shown}: an image cannot be read: {error}"))))?;
    let name = &image.file_name;
    let id = json::id(&image.id).ok_or_else(|| (None, Error::new(format!("{shown}: {name} has no ID"))))?;
    let check = |known: &mut HashSet<PathBuf>| -> Result<(LabelledPhoto, (usize, usize))> {
        let photo = photos::find(photos, name)
            .ok_or_else(|| Error::new(format!("{shown}: the photo {name} is not in {}", photos.display())))?;
        let size = match (json::length(&image.width), json::length(&image.height)) {
            (Some(width), Some(height)) => (width, height),
            _ => photo_size(&photo).map(|(height, width)| (width, height))?,
        };
        let mask = MaskSource::Shapes { size, file: file.to_owned(), shapes: Vec::new() };
        let item = LabelledPhoto { id: stem(&photo)?, mask, photo };
        // Checked before drawing, because the file can state any size.
        item.check()?;
        if !known.insert(item.photo.clone()) {
            return Err(Error::new(format!("{shown}: {name} is listed twice")));
        }
        Ok((item, size))
    };
    match check(known) {
        Ok((item, size)) => Ok((id, item, size)),
        Err(error) => Err((Some(id), error)),
    }
}

/// The shapes of a photo, in drawing order.
fn shapes(
    annotations: &[&RawValue],
    (width, height): (usize, usize),
    photo: &Path,
    indices: &HashMap<&str, Option<u8>>,
    left_out: &mut LeftOut,
) -> Result<Vec<(Shape, u8)>> {
    let mut shapes = Vec::new();
    for (place, entry) in (1..).zip(annotations) {
        let mut name = format!("{}: annotation (number {place} of its own)", photo.display());
        let mut shape = || -> Result<Option<_>> {
            let annotation: Annotation =
                serde_json::from_str(entry.get()).map_err(|error| Error::new(format!("cannot be read: {error}")))?;
            if let Some(id) = json::id(&annotation.id) {
                name = format!("{}: annotation {id}", photo.display());
            }
            let category = json::id(&annotation.category_id).ok_or_else(|| Error::new("names no category"))?;
            let index = indices.get(&category[..]);
            let Some(index) =
                index.ok_or_else(|| Error::new(format!("names the category {category}, which is none")))?
            else {
                return Ok(None);
            };
            let (shape, bad) = self::shape(&annotation.segmentation)?;
            let area = shape.area(width, height)?;
            if area == 0 {
                return Err(Error::new("covers no pixel of the photo"));
            }
            Ok(Some(((!json::flag(&annotation.iscrowd), Reverse(area), shape, *index), bad)))
        };
        match shape() {
            Ok(None) => {}
            Ok(Some((shape, bad))) => {
                shapes.push(shape);
                bad.into_iter().try_for_each(|error| left_out.add(format!("{name}: a part of it: {error}")))?;
            }
            Err(error) => left_out.add(format!("{name} {error}"))?,
        }
    }
    shapes.sort_by_key(|(is_single, area, _, _)| (*is_single, *area));
    Ok(shapes.into_iter().map(|(_, _, shape, index)| (shape, index)).collect())
}

/// The shape of a segmentation, and the problems of its skipped parts.
fn shape(segmentation: &Value) -> Result<(Shape, Vec<Error>)> {
    let list = match segmentation {
        Value::Null => return Err(Error::new("has no segmentation, at most a box")),
        Value::Object(runs) => return Ok((Shape::Runs(self::runs(runs)?), Vec::new())),
        Value::Array(list) if list.is_empty() => return Err(Error::new("has an empty segmentation, at most a box")),
        Value::Array(list) => list,
        _ => return Err(Error::new("has a segmentation that is neither polygons nor a run-length mask")),
    };
    let lists = |values: &[Value]| values.iter().all(Value::is_array);
    let is_point = |value: &Value| value.as_array().is_some_and(|point| point.len() == 2 && !lists(point));
    // A single polygon may lack the list around it: as numbers, or as points.
    let polygons: Vec<&Vec<Value>> = match list.as_slice() {
        points if points.len() >= 3 && points.iter().all(is_point) => vec![list],
        values if !lists(values) => vec![list],
        polygons => polygons.iter().filter_map(Value::as_array).collect(),
    };
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for values in polygons {
        let values: Vec<&Value> = if lists(values) {
            values.iter().filter_map(Value::as_array).flatten().collect()
        } else {
            values.iter().collect()
        };
        match polygon(&values) {
            Ok(polygon) => good.push(polygon),
            Err(error) => bad.push(error),
        }
    }
    match (good.is_empty(), bad.len()) {
        (true, 1) => Err(bad.remove(0)),
        (true, _) => Err(Error::new("has no polygon with an area")),
        _ => Ok((Shape::Polygons(good), bad)),
    }
}

fn runs(object: &serde_json::Map<String, Value>) -> Result<Runs> {
    let failed = || Error::new("has a run-length mask without size and counts");
    let number = |value: &Value| json::number(value).filter(|number| *number >= 0.0 && number.fract() == 0.0);
    let numbers = |value: &Value| value.as_array()?.iter().map(number).collect::<Option<Vec<f64>>>();
    let size = object.get("size").and_then(numbers).ok_or_else(failed)?;
    let [height, width] = size.as_slice() else { return Err(failed()) };
    let counts = match object.get("counts") {
        Some(Value::String(text)) => Counts::Compressed(text.clone()),
        Some(list) => Counts::Plain(numbers(list).ok_or_else(failed)?.into_iter().map(|run| run as u64).collect()),
        None => return Err(failed()),
    };
    Ok(Runs { size: [*height as usize, *width as usize], counts })
}
