//! Finds the photos named in annotation files.

use std::path::{Path, PathBuf};

/// The file below `folder` that another tool calls `name`: a path of any system, from which the
/// longest trailing part that leads to a file is used. Nothing outside the folder is ever found.
pub(super) fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let parts = |separators: &[char]| -> Vec<String> {
        name.split(separators).filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect()
    };
    // A backslash may also be part of a name.
    [parts(&['/']), parts(&['/', '\\'])].into_iter().find_map(|parts| {
        let start = parts.iter().rposition(|part| part == "..").map_or(0, |place| place + 1);
        (start..parts.len()).find_map(|first| {
            let path = parts[first..].iter().fold(folder.to_owned(), |path, part| path.join(part));
            path.is_file().then_some(path)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn paths_of_all_systems_lead_to_files_of_the_folder_alone() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("photos");
        fs::create_dir_all(folder.join("sub")).unwrap();
        for file in ["photos/a.jpg", "photos/sub/a.jpg", "photos/sub/b.jpg", "photos/c\\d.jpg", "outside.jpg"] {
            fs::write(dir.path().join(file), "").unwrap();
        }
        for (name, found) in [
            ("a.jpg", Some("a.jpg")),
            ("sub/a.jpg", Some("sub/a.jpg")),
            ("sub\\b.jpg", Some("sub/b.jpg")),
            ("./sub//b.jpg", Some("sub/b.jpg")),
            ("images\\a.jpg", Some("a.jpg")),
            ("C:\\data\\photos\\sub\\b.jpg", Some("sub/b.jpg")),
            ("/data/upload/3/a.jpg", Some("a.jpg")),
            ("../../upload/a.jpg", Some("a.jpg")),
            ("c\\d.jpg", Some("c\\d.jpg")),
            ("b.jpg", None),
            ("sub", None),
            ("", None),
            ("..", None),
            ("../outside.jpg", None),
            ("..\\outside.jpg", None),
            ("sub/../../outside.jpg", None),
        ] {
            assert_eq!(find(&folder, name), found.map(|path| folder.join(path)), "{name}");
        }
        let outside = dir.path().join("outside.jpg");
        assert_eq!(find(&folder, outside.to_str().unwrap()), None);
    }
}
