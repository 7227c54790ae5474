//! Finds the model that the user names.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use fcn_cli::Result;

/// The model that is used if none is named.
pub(crate) const DEFAULT: &str = "animals";

/// The file of `model`: a path, or the name of an installed model such as `street`. A name must not
/// be that of a file, or it is a path.
pub(crate) fn find(model: &Path) -> Result<PathBuf> {
    if model.is_file() || model.components().count() > 1 || model.extension().is_some() {
        return Ok(model.to_owned());
    }
    installed(model).ok_or_else(|| {
        let names = names();
        let known = if names.is_empty() {
            "none is installed".to_owned()
        } else {
            format!("installed are {}", names.join(", "))
        };
        let model = model.display();
        format!("there is no model {model}; give an .onnx file or the name of an installed model ({known})")
    })
}

/// Whether `path` names a model rather than a photo or a video.
pub(crate) fn is_model(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "onnx") || (!path.exists() && installed(path).is_some())
}

fn installed(name: &Path) -> Option<PathBuf> {
    let name = name.to_str()?;
    if name.is_empty() || name.contains(['/', '.']) {
        return None;
    }
    Some(folder()?.join(format!("{name}.onnx"))).filter(|file| file.is_file())
}

fn names() -> Vec<String> {
    let entries = folder().and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "onnx"));
    let mut names: Vec<_> = files.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    names
}

/// Where `make install` puts models: `share/fcn-VERSION/models` next to the folder of this program.
fn folder() -> Option<PathBuf> {
    let program = env::current_exe().ok()?.canonicalize().ok()?;
    let version = format!("fcn-{}.{}", env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
    Some(program.parent()?.parent()?.join("share").join(version).join("models"))
}
