//! Cityscapes: `leftImg8bit/SPLIT/CITY/ID_leftImg8bit.png` and `gtFine/SPLIT/CITY/ID_gtFine_*.png`.

use std::collections::BTreeMap;
use std::path::Path;

use fcn::palette::{CITYSCAPES_COLORS, Class};

use super::{LabelledPhoto, LabelledPhotos, MaskSource, all_void, entries};
use crate::error::{Error, Result};

/// The 19 evaluated classes, in the order of their train IDs: the ID in `labelIds` files and name
/// (cityscapesScripts, `labels.py`). All other IDs are void.
const LABELS: [(u8, &str); 19] = [
    (7, "road"),
    (8, "sidewalk"),
    (11, "building"),
    (12, "wall"),
    (13, "fence"),
    (17, "pole"),
    (19, "traffic light"),
    (20, "traffic sign"),
    (21, "vegetation"),
    (22, "terrain"),
    (23, "sky"),
    (24, "person"),
    (25, "rider"),
    (26, "car"),
    (27, "truck"),
    (28, "bus"),
    (31, "train"),
    (32, "motorcycle"),
    (33, "bicycle"),
];

const PHOTO_ENDING: &str = "_leftImg8bit.png";

/// Finds the photos of these splits and their masks: `labelTrainIds` if present, otherwise
/// `labelIds`.
pub fn find(root: &Path, splits: &[String]) -> Result<LabelledPhotos> {
    let class = |((_, name), color): (&(u8, &str), [u8; 3])| Class { name: (*name).to_owned(), color };
    let classes = LABELS.iter().zip(CITYSCAPES_COLORS).map(class).collect();
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
