//! Finds the photo and the mask of an ID, whatever the case of their extensions: cameras and tools
//! also write `.JPG` and `.PNG`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::folder::{PHOTO_ENDINGS, has_ending};

const MASK_ENDINGS: [&str; 1] = ["png"];

/// The files of a data set. Each folder is listed once.
pub(super) struct Files<'a> {
    root: &'a Path,
    folders: HashMap<PathBuf, HashMap<String, Vec<PathBuf>>>,
}

impl Files<'_> {
    pub(super) fn new(root: &Path) -> Files<'_> {
        Files { root, folders: HashMap::new() }
    }

    /// The photo of an ID; `None` if there is none, an error if there are several.
    pub(super) fn photo(&mut self, id: &str) -> Result<Option<PathBuf>> {
        self.only("JPEGImages", id, &PHOTO_ENDINGS)
    }

    /// The mask of an ID, likewise.
    pub(super) fn mask(&mut self, id: &str) -> Result<Option<PathBuf>> {
        self.only("SegmentationClass", id, &MASK_ENDINGS)
    }

    fn only(&mut self, folder: &str, id: &str, endings: &[&str]) -> Result<Option<PathBuf>> {
        // IDs may contain folders.
        let (below, name) = id.rsplit_once('/').map_or((None, id), |(below, name)| (Some(below), name));
        let folder = self.root.join(folder).join(below.unwrap_or_default());
        if !self.folders.contains_key(&folder) {
            let files =
                list(&folder).map_err(|error| Error::new(format!("{} cannot be read: {error}", folder.display())))?;
            self.folders.insert(folder.clone(), files);
        }
        let files = &self.folders[&folder];
        let mut found = files.get(name).into_iter().flatten().filter(|path| has_ending(path, endings));
        match (found.next(), found.next()) {
            (Some(first), Some(second)) => Err(Error::new(format!(
                "{} and {} have the same ID; remove one of them",
                first.display(),
                second.display()
            ))),
            (Some(first), None) if !first.is_file() => {
                Err(Error::new(format!("{} is not a file, or a link that leads nowhere", first.display())))
            }
            (first, _) => Ok(first.cloned()),
        }
    }
}

/// The files of a folder by their names without the extension, each in name order; none if the
/// folder does not exist.
fn list(folder: &Path) -> std::io::Result<HashMap<String, Vec<PathBuf>>> {
    let mut files: HashMap<String, Vec<PathBuf>> = HashMap::new();
    let entries = match folder.read_dir() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(files),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) {
            files.entry(stem.to_owned()).or_default().push(path);
        }
    }
    files.values_mut().for_each(|paths| paths.sort());
    Ok(files)
}
