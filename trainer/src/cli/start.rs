//! The initial parameters of a new run.

use std::path::Path;

use crate::error::{Error, Result};

/// The value of `--weights` for random initialisation.
const NONE: &str = "none";

/// A new run's weights file; `None` means random initialisation. The chapter's recipe starts from
/// an ImageNet network, so omitting `--weights` is an error there.
pub(super) fn file(weights: Option<&Path>, is_chapter: bool) -> Result<Option<&Path>> {
    match weights {
        Some(path) if path.as_os_str() == NONE => Ok(None),
        None if is_chapter => Err(Error::new(
            "the recipe d2l starts from a network trained on ImageNet, for ResNet-18 torchvision's resnet18-f37072fd.pth from \
             https://download.pytorch.org/models/resnet18-f37072fd.pth; name the file with --weights FILE, or start at random \
             with --weights none",
        )),
        file => Ok(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chapter_starts_from_a_file_or_is_told_not_to() {
        let (model, none) = (Path::new("resnet18.pth"), Path::new("none"));
        let error = file(None, true).unwrap_err().to_string();
        assert!(error.contains("https://download.pytorch.org/models/resnet18-f37072fd.pth"), "{error}");
        assert!(error.contains("--weights none"), "{error}");
        assert_eq!(file(None, false), Ok(None));
        for is_chapter in [true, false] {
            assert_eq!(file(Some(none), is_chapter), Ok(None));
            assert_eq!(file(Some(model), is_chapter), Ok(Some(model)));
            // A file with that name can be given as a path with a folder.
            let file_none = Path::new("./none");
            assert_eq!(file(Some(file_none), is_chapter), Ok(Some(file_none)));
        }
    }
}
