//! COCO's instances: one JSON file for all photos of a folder.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use serde::Deserialize;

use super::{Item, Mask, Runs, Shape, Source, classes, read_text, stem};
use crate::error::{Error, Result};

#[derive(Deserialize)]
struct File {
    images: Vec<Image>,
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    file_name: String,
    width: usize,
    height: usize,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: u64,
    category_id: u64,
    segmentation: Segmentation,
    #[serde(default)]
    iscrowd: u8,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Segmentation {
    Polygons(Vec<Vec<f64>>),
    Runs(Runs),
}

#[derive(Deserialize)]
struct Category {
    id: u64,
    name: String,
}

/// Reads an instances file whose photos lie in `photos`. Classes are the categories in the order of their IDs after the
/// background, or those of `names`; other categories are then background. Where instances overlap the smaller one is
/// seen, and crowds lie below all others.
pub fn find(file: &Path, photos: &Path, split: &str, names: Option<&[String]>) -> Result<Source> {
    let shown = file.display();
    let parsed: File = serde_json::from_str(&read_text(file)?)
        .map_err(|error| Error::new(format!("{shown} is not a file of COCO instances: {error}")))?;
    let mut categories: Vec<&Category> = parsed.categories.iter().collect();
    categories.sort_by_key(|category| category.id);
    let all = || categories.iter().map(|category| category.name.clone()).collect();
    if let Some(name) = names.into_iter().flatten().find(|name| categories.iter().all(|c| c.name != **name)) {
        let all: Vec<String> = all();
        return Err(Error::new(format!("{shown} has no category {name}; it has {}", all.join(", "))));
    }
    let classes = classes(names.map_or_else(all, <[String]>::to_vec))?;
    let position = |name: &str| classes.iter().position(|class| class.name == name).map(|index| index as u8);
    let indices: HashMap<u64, Option<u8>> = categories.iter().map(|c| (c.id, position(&c.name))).collect();

    let mut by_image: HashMap<u64, Vec<&Annotation>> = HashMap::new();
    for annotation in &parsed.annotations {
        by_image.entry(annotation.image_id).or_default().push(annotation);
    }
    let known: HashSet<u64> = parsed.images.iter().map(|image| image.id).collect();
    if let Some(unknown) = by_image.keys().find(|id| !known.contains(id)) {
        return Err(Error::new(format!("{shown} annotates the image {unknown}, which it does not list")));
    }
    let mut items = Vec::new();
    for image in &parsed.images {
        let (photo, size) = (photos.join(&image.file_name), (image.width, image.height));
        let mask = |shapes| Mask::Shapes { size, file: file.to_owned(), shapes };
        let mut item = Item { id: stem(&photo)?, mask: mask(Vec::new()), photo };
        // Before anything is drawn: what the file says of a size may be anything.
        item.check()?;
        let mut shapes = Vec::new();
        for annotation in by_image.remove(&image.id).unwrap_or_default() {
            let known = indices.get(&annotation.category_id).ok_or_else(|| {
                Error::new(format!("{shown} has no category {}, which an annotation names", annotation.category_id))
            })?;
            if let Some(index) = known {
                let shape = shape(&annotation.segmentation).and_then(|shape| {
                    let area = shape.area(image.width, image.height)?;
                    Ok((annotation.iscrowd == 0, Reverse(area), shape))
                });
                let shape = shape.map_err(|error| Error::new(format!("{shown}, {}: {error}", image.file_name)))?;
                shapes.push((shape, *index));
            }
        }
        shapes.sort_by_key(|((is_single, area, _), _)| (*is_single, *area));
        item.mask = mask(shapes.into_iter().map(|((_, _, shape), index)| (shape, index)).collect());
        items.push(item);
    }
    if items.is_empty() {
        return Err(Error::new(format!("{shown} lists no image")));
    }
    Ok(Source { classes, splits: BTreeMap::from([(split.to_owned(), items)]) })
}

fn shape(segmentation: &Segmentation) -> Result<Shape> {
    Ok(match segmentation {
        Segmentation::Runs(runs) => Shape::Runs(runs.clone()),
        Segmentation::Polygons(polygons) => {
            if let Some(polygon) = polygons.iter().find(|polygon| polygon.len() % 2 == 1) {
                return Err(Error::new(format!("a polygon of {} numbers is no list of points", polygon.len())));
            }
            let points = |polygon: &Vec<f64>| polygon.chunks_exact(2).map(|point| (point[0], point[1])).collect();
            Shape::Polygons(polygons.iter().map(points).collect())
        }
    })
}
