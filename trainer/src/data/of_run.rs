//! `dataset.json` in a run's folder lists the run's training and validation photos. A resumed run
//! thus has the same photos, and its folder stands for them wherever a data set is expected.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Dataset, MissingMasks, Place};
use crate::error::{Error, Result};

/// The photos of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Photos {
    /// The folder of the data set, or of the photos alone.
    data: PathBuf,
    /// The folder of the masks, if given.
    masks: Option<PathBuf>,
    missing_masks: MissingMasks,
    /// The training photos.
    train: List,
    /// The validation photos.
    val: List,
}

/// Photos of a split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct List {
    /// The data set's split that contains them.
    split: String,
    ids: Vec<String>,
}

/// Its path.
pub fn path(run: &Path) -> PathBuf {
    run.join("dataset.json")
}

impl Photos {
    /// The photos of two data sets, found in these splits of `place`.
    pub fn new(place: &Place, train: (&str, &Dataset), val: (&str, &Dataset)) -> Result<Photos> {
        refuse_run(place)?;
        let list = |(split, dataset): (&str, &Dataset)| List {
            split: split.to_owned(),
            ids: (0..dataset.len()).map(|index| dataset.id(index).to_owned()).collect(),
        };
        let absolute = |path: &Path| {
            std::path::absolute(path)
                .map_err(|error| Error::new(format!("{} cannot be found: {error}", path.display())))
        };
        Ok(Photos {
            data: absolute(&place.root)?,
            masks: place.masks.as_deref().map(absolute).transpose()?,
            missing_masks: place.missing_masks,
            train: list(train),
            val: list(val),
        })
    }

    /// The names of all photos, wherever they are.
    pub fn names(&self) -> String {
        let names: Vec<&str> =
            [&self.train, &self.val].into_iter().flat_map(|list| &list.ids).map(String::as_str).collect();
        format!("{} {}", self.train.ids.len(), names.join("\n"))
    }

    /// Reads a run's list; `None` for runs without one.
    pub fn read(run: &Path) -> Result<Option<Photos>> {
        let path = path(run);
        if path.symlink_metadata().is_err() {
            return Ok(None);
        }
        let text = crate::text::read(&path)?;
        let photos = serde_json::from_str(&text);
        photos.map(Some).map_err(|error| Error::new(format!("{} cannot be read: {error}", path.display())))
    }

    /// Writes it into the folder of a run.
    pub fn write(&self, run: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|error| Error::new(error.to_string()))?;
        Ok(fcn::file::write(&path(run), text.as_bytes())?)
    }

    /// A run's photos under the names `train` and `val`, and under the names of the splits that
    /// they came from.
    pub(super) fn survey(run: &Path, split: &str, missing_masks: MissingMasks) -> Result<(Dataset, Vec<Error>)> {
        let file = path(run);
        let Some(photos) = Photos::read(run)? else {
            return Err(Error::new(format!("{} is not there any more", file.display())));
        };
        let Photos { train, val, .. } = &photos;
        let named = [("train", train), ("val", val), (&train.split, train), (&val.split, val)];
        let Some((_, list)) = named.into_iter().find(|(name, _)| *name == split) else {
            return Err(Error::new(format!("{} has the splits train and val, not {split}", file.display())));
        };
        let missing_masks = match missing_masks {
            MissingMasks::Refuse => photos.missing_masks,
            MissingMasks::Background => missing_masks,
        };
        let photos = Photos { missing_masks, ..photos.clone() };
        let (dataset, missing) = photos.place()?.survey(&list.split)?;
        Ok((dataset.choose(&list.ids, &photos.data)?, missing))
    }

    /// The same photos in another folder.
    pub fn moved(self, data: &Path) -> Photos {
        Photos { data: data.to_owned(), ..self }
    }

    /// The training and the validation photos.
    pub fn open(&self) -> Result<(Dataset, Dataset)> {
        let open = |list: &List| self.place()?.open(&list.split)?.choose(&list.ids, &self.data);
        Ok((open(&self.train)?, open(&self.val)?))
    }

    fn place(&self) -> Result<Place> {
        let place = Place { root: self.data.clone(), masks: self.masks.clone(), missing_masks: self.missing_masks };
        refuse_run(&place)?;
        Ok(place)
    }
}

/// A run's photos must come from a data set: runs that refer to each other would never resolve.
fn refuse_run(place: &Place) -> Result<()> {
    if place.masks.is_none() && path(&place.root).exists() {
        Err(Error::new(format!(
            "{} is the folder of a run, which cannot be trained on; give the data set that its dataset.json names",
            place.root.display()
        )))
    } else {
        Ok(())
    }
}

impl Dataset {
    /// The photos that a list names, in its order.
    fn choose(self, ids: &[String], data: &Path) -> Result<Dataset> {
        let places: HashMap<&str, usize> = (0..self.len()).map(|index| (self.id(index), index)).collect();
        let chosen: Result<Vec<usize>> = ids
            .iter()
            .map(|id| {
                places.get(id.as_str()).copied().ok_or_else(|| {
                    Error::new(format!(
                        "the photo {id} of the run is not in {} any more; put it back, or begin a new run",
                        data.display()
                    ))
                })
            })
            .collect();
        Ok(self.part(&chosen?))
    }
}
