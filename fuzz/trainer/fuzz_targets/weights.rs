//! Files of weights: what torch.save wrote, .safetensors and checkpoints.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use trainer::{checkpoint::Checkpoint, model::weights};

#[path = "folder.rs"]
mod folder;

static FOLDER: LazyLock<TempDir> = LazyLock::new(folder::new);

fuzz_target!(|bytes: &[u8]| {
    // The ending of the name tells the two apart, so each file is read as both.
    for name in ["weights.pth", "weights.safetensors"] {
        folder::write(FOLDER.path(), name, bytes);
        if let Ok(tensors) = weights::read(&FOLDER.path().join(name)) {
            weights::of_checkpoint(tensors);
        }
    }
    // An error is what most files deserve.
    let _ = Checkpoint::read(&FOLDER.path().join("weights.safetensors"));
});
