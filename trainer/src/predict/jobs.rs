//! The photos to label, and the output files.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::folder::{PHOTO_ENDINGS, has_ending};

/// A photo and its output files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhotoJob {
    /// The JPEG or PNG file.
    pub photo: PathBuf,
    /// Its name without the extension.
    pub id: String,
    /// `ID.png`: a palette PNG of class indices.
    pub labels: PathBuf,
    /// `ID_overlay.png`: the photo with class colours.
    pub overlay: PathBuf,
}

/// The photos of `inputs`, files and folders, with their output files in folder `out`. A folder
/// contributes its JPEG and PNG files sorted by name, without subfolders and hidden files. Two
/// outputs with the same name, and an output that would replace a photo, are errors.
pub fn jobs(inputs: &[PathBuf], out: &Path) -> Result<Vec<PhotoJob>> {
    let mut jobs = Vec::new();
    for input in inputs {
        let metadata = fs::metadata(input).map_err(|error| {
            Error::new(format!("{} cannot be read: {error}; give photos or folders of photos", input.display()))
        })?;
        let photos = if metadata.is_dir() { photos_in(input)? } else { vec![input.clone()] };
        jobs.extend(photos.into_iter().map(|photo| job(photo, out)));
    }
    check(&jobs)?;
    Ok(jobs)
}

fn job(photo: PathBuf, out: &Path) -> PhotoJob {
    let id = photo.file_stem().unwrap_or(photo.as_os_str());
    let result = |ending: &str| {
        let mut name = id.to_owned();
        name.push(ending);
        out.join(name)
    };
    let id = id.to_string_lossy().into_owned();
    PhotoJob { labels: result(".png"), overlay: result("_overlay.png"), id, photo }
}

/// The photos directly in a folder, sorted by name, at least one.
fn photos_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error| Error::new(format!("{} cannot be read: {error}", folder.display()));
    let mut photos = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_file() && is_photo(&path) {
            photos.push(path);
        }
    }
    if photos.is_empty() {
        return Err(Error::new(format!(
            "{} holds no photo; give a folder with .jpg, .jpeg or .png files (those in its subfolders do not count)",
            folder.display()
        )));
    }
    photos.sort();
    Ok(photos)
}

fn is_photo(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && has_ending(path, &PHOTO_ENDINGS)
}

/// No output may replace another one or a photo.
fn check(jobs: &[PhotoJob]) -> Result<()> {
    let photos: HashSet<PathBuf> = jobs.iter().filter_map(|job| job.photo.canonicalize().ok()).collect();
    let mut makers = HashMap::new();
    for job in jobs {
        for result in [&job.labels, &job.overlay] {
            if let Some(other) = makers.insert(result, &job.photo) {
                return Err(Error::new(format!(
                    "{} and {} would both be written as {}; rename one, or label them into different folders",
                    other.display(),
                    job.photo.display(),
                    result.display()
                )));
            }
            if result.canonicalize().is_ok_and(|path| photos.contains(&path)) {
                return Err(Error::new(format!(
                    "{} is one of the photos and would be replaced by a result; choose another folder with --out",
                    result.display()
                )));
            }
        }
    }
    Ok(())
}
