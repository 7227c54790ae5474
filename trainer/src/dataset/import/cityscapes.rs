//! Cityscapes: `leftImg8bit/SPLIT/CITY/ID_leftImg8bit.png` and `gtFine/SPLIT/CITY/ID_gtFine_*.png`.

use std::collections::BTreeMap;
use std::path::Path;

use fcn::palette::Class;

use super::{LabelledPhoto, LabelledPhotos, MaskSource, all_void, entries};
use crate::error::{Error, Result};

/// The 19 evaluated classes, in the order of their train IDs: the ID in `labelIds` files, name and
/// colour (cityscapesScripts, `labels.py`). All other IDs are void.
const LABELS: [(u8, &str, [u8; 3]); 19] = [
    (7, "road", [128, 64, 128]),
    (8, "sidewalk", [244, 35, 232]),
    (11, "building", [70, 70, 70]),
    (12, "wall", [102, 102, 156]),
    (13, "fence", [190, 153, 153]),
    (17, "pole", [153, 153, 153]),
    (19, "traffic light", [250, 170, 30]),
    (20, "traffic sign", [220, 220, 0]),
    (21, "vegetation", [107, 142, 35]),
    (22, "terrain", [152, 251, 152]),
    (23, "sky", [70, 130, 180]),
    (24, "person", [220, 20, 60]),
    (25, "rider", [255, 0, 0]),
    (26, "car", [0, 0, 142]),
    (27, "truck", [0, 0, 70]),
    (28, "bus", [0, 60, 100]),
    (31, "train", [0, 80, 100]),
    (32, "motorcycle", [0, 0, 230]),
    (33, "bicycle", [119, 11, 32]),
];

const PHOTO_ENDING: &str = "_leftImg8bit.png";

/// Finds the photos of these splits and their masks: `labelTrainIds` if present, otherwise
/// `labelIds`.
pub fn find(root: &Path, splits: &[String]) -> Result<LabelledPhotos> {
    let classes = LABELS.iter().map(|(_, name, color)| Class { name: (*name).to_owned(), color: *color }).collect();
    let splits = splits.iter().map(|split| Ok((split.clone(), items(root, split)?)));
    Ok(LabelledPhotos { classes, splits: splits.collect::<Result<BTreeMap<_, _>>>()?, ..LabelledPhotos::default() })
}

fn items(root: &Path, split: &str) -> Result<Vec<LabelledPhoto>> {
    let folder = root.join("leftImg8bit").join(split);
    let mut items = Vec::new();
    for city in entries(&folder)?.into_iter().filter(|path| path.is_dir()) {
        for photo in entries(&city)? {
            let name = photo.file_name().unwrap_or_default().to_string_lossy();
            let Some(id) = name.strip_suffix(PHOTO_ENDING) else { continue };
            let truth = root.join("gtFine").join(split).join(city.file_name().unwrap_or_default());
            let mask = |kind: &str| truth.join(format!("{id}_gtFine_{kind}.png"));
            let (train_ids, label_ids) = (mask("labelTrainIds"), mask("labelIds"));
            let mut values = all_void();
            let path = if train_ids.is_file() {
                (0..LABELS.len()).for_each(|index| values[index] = index as u8);
                train_ids
            } else if label_ids.is_file() {
                (0u8..).zip(LABELS).for_each(|(index, (id, ..))| values[usize::from(id)] = index);
                label_ids
            } else {
                return Err(Error::new(format!(
                    "{} has no mask: neither {} nor {} is there",
                    photo.display(),
                    train_ids.display(),
                    label_ids.display()
                )));
            };
            items.push(LabelledPhoto {
                id: id.to_owned(),
                photo: photo.clone(),
                mask: MaskSource::File { path, values },
            });
        }
    }
    if items.is_empty() {
        Err(Error::new(format!("{} holds no CITY/*{PHOTO_ENDING}", folder.display())))
    } else {
        Ok(items)
    }
}
