//! The inputs of `fcn run`: photos, folders of photos, patterns, videos, cameras and addresses.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

use glob::{MatchOptions, Pattern};

use crate::Result;

/// The extensions of photos, in either case.
const PHOTOS: [&str; 3] = ["jpg", "jpeg", "png"];

/// As [`inputs`], but all files are photos, and neither cameras nor addresses are allowed.
pub fn photos<A: AsRef<OsStr>>(arguments: &[A], results: Option<&Path>) -> Result<Vec<Input>> {
    let photo = |input| match input {
        Input::Photo(path) | Input::Video(path) => Ok(Input::Photo(path)),
        Input::Live(source) => Err(format!("{source} is not a photo; give photos or folders of photos")),
    };
    inputs(arguments, results)?.into_iter().map(photo).collect()
}

/// A source of frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A JPEG or PNG file.
    Photo(PathBuf),
    /// A file with a video, which has an end.
    Video(PathBuf),
    /// A camera (`/dev/video0`) or an address (`rtsp://...`), which may never end.
    Live(String),
}

impl Input {
    /// The name of the outputs, without their extension.
    pub fn id(&self) -> OsString {
        let stem = |path: &Path| path.file_stem().unwrap_or(path.as_os_str()).to_owned();
        match self {
            Input::Photo(path) | Input::Video(path) => stem(path),
            Input::Live(source) => {
                let last = source.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
                let known = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
                stem(Path::new(&last.chars().map(known).collect::<String>()))
            }
        }
    }

    /// The file, camera or address.
    pub fn path(&self) -> &Path {
        match self {
            Input::Photo(path) | Input::Video(path) => path,
            Input::Live(source) => Path::new(source),
        }
    }

    /// How messages name it.
    pub fn name(&self) -> String {
        self.path().display().to_string()
    }
}

/// The inputs that the arguments name, in their order: a file, a folder with its photos sorted by
/// name, a pattern with its files, a camera or an address. No folder may be `results`, where images
/// will be written: the next start would take them for photos.
pub fn inputs<A: AsRef<OsStr>>(arguments: &[A], results: Option<&Path>) -> Result<Vec<Input>> {
    let results = results.and_then(|folder| fs::canonicalize(folder).ok());
    let mut inputs = Vec::new();
    for path in arguments.iter().map(|argument| Path::new(argument.as_ref())) {
        let argument = path.to_string_lossy();
        if argument.split_once("://").is_some_and(|(scheme, _)| scheme.chars().all(|c| c.is_ascii_alphanumeric())) {
            inputs.push(Input::Live(argument.into_owned()));
            continue;
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                if results.is_some() && fs::canonicalize(path).ok() == results {
                    return Err(format!(
                        "--out is the folder of the photos {argument}, where results would be taken for photos; choose \
                         another one"
                    ));
                }
                inputs.extend(photos_in(path)?);
            }
            Ok(metadata) if metadata.file_type().is_char_device() => inputs.push(Input::Live(argument.into_owned())),
            Ok(metadata) if metadata.is_file() => inputs.push(file(path)),
            Ok(_) => return Err(format!("{argument} is not a file, a folder or a camera")),
            Err(error) => {
                let matches = matches(&argument)?;
                if matches.is_empty() {
                    return Err(format!("{argument} cannot be read: {error}"));
                }
                inputs.extend(matches.iter().map(|path| file(path)));
            }
        }
    }
    Ok(inputs)
}

fn file(path: &Path) -> Input {
    if is_photo(path) { Input::Photo(path.to_owned()) } else { Input::Video(path.to_owned()) }
}

/// Hidden files match only patterns that begin with a dot.
const LIKE_A_SHELL: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// The path of a file in a folder, without `./`.
fn path_in(folder: &Path, name: &OsStr) -> PathBuf {
    if folder == Path::new(".") { PathBuf::from(name) } else { folder.join(name) }
}

/// The files that a pattern such as `photos/*.jpg` matches, for shells that leave it as it is.
fn matches(pattern: &str) -> Result<Vec<PathBuf>> {
    if !pattern.contains(['*', '?', '[']) {
        return Ok(Vec::new());
    }
    let malformed = |error| format!("the pattern {pattern} is malformed: {error}");
    // The crate `glob` leaves out names that are not UTF-8, so that it only matches folders.
    let (folders, name) = pattern.rsplit_once('/').map_or((".", pattern), |(folder, name)| (folder, name));
    let name = Pattern::new(name).map_err(malformed)?;
    let folders = if folders.is_empty() { "/" } else { folders };
    let mut found = Vec::new();
    for folder in glob::glob(folders).map_err(malformed)?.flatten() {
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        let matching = entries.filter(|entry| name.matches_with(&entry.file_name().to_string_lossy(), LIKE_A_SHELL));
        let mut files: Vec<PathBuf> = matching.map(|entry| path_in(&folder, &entry.file_name())).collect();
        files.retain(|path| path.is_file());
        files.sort();
        found.extend(files);
    }
    Ok(found)
}

/// The photos directly in a folder, sorted by name, at least one. Hidden files do not count.
fn photos_in(folder: &Path) -> Result<Vec<Input>> {
    let failed = |error| format!("{} cannot be read: {error}", folder.display());
    let mut photos = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && is_photo(&path) && path.is_file() {
            photos.push(path);
        }
    }
    if photos.is_empty() {
        return Err(format!(
            "{} has no photo; give a folder with .jpg, .jpeg or .png files (those in its subfolders do not count)",
            folder.display()
        ));
    }
    photos.sort();
    Ok(photos.into_iter().map(Input::Photo).collect())
}

fn is_photo(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase);
    extension.is_some_and(|extension| PHOTOS.contains(&extension.as_str()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn files_folders_patterns_and_addresses_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.JPG", "a.png", ".hidden.png", "clip.mp4", "notes.txt"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::create_dir(folder.path().join("empty")).unwrap();
        let at = |name: &str| folder.path().join(name);
        let given = |name: &str| inputs(&[at(name)], None);
        assert_eq!(given("").unwrap(), [Input::Photo(at("a.png")), Input::Photo(at("b.JPG"))]);
        assert_eq!(given("clip.mp4").unwrap(), [Input::Video(at("clip.mp4"))]);
        assert_eq!(given("*.JPG").unwrap(), [Input::Photo(at("b.JPG"))]);
        assert!(given("*.jpeg").unwrap_err().contains("cannot be read"));
        assert_eq!(given("*.png").unwrap(), [Input::Photo(at("a.png"))]);
        assert_eq!(given(".h*").unwrap(), [Input::Photo(at(".hidden.png"))]);
        let latin1 = folder.path().join(OsStr::from_bytes(b"empty/m\xfcll.png"));
        fs::write(&latin1, "").unwrap();
        assert_eq!(given("e*/m*l.png").unwrap(), [Input::Photo(latin1.clone())]);
        fs::remove_file(latin1).unwrap();
        assert!(given("missing.png").unwrap_err().contains("cannot be read"));
        assert!(given("empty").unwrap_err().contains("has no photo"));
        let into = |name: &str| inputs(&[folder.path().to_owned()], Some(&at(name)));
        assert!(into(".").unwrap_err().contains("is the folder of the photos"));
        assert_eq!(into("empty"), given(""));
        assert_eq!(into("missing"), given(""));
        assert_eq!(inputs(&["rtsp://host/live"], None).unwrap(), [Input::Live("rtsp://host/live".into())]);
        assert_eq!(inputs(&["/dev/null"], None).unwrap(), [Input::Live("/dev/null".into())]);
    }

    #[test]
    fn outputs_of_live_sources_have_plain_names() {
        for (source, id) in [
            ("/dev/video0", "video0"),
            ("rtsp://user:word@host:554/live/street.sdp?x=1", "street"),
            ("rtsp://host/a b", "a_b"),
            ("http://host/", "host"),
        ] {
            assert_eq!(Input::Live(source.into()).id(), id, "{source}");
        }
    }
}
