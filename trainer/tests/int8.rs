//! The command line of `trainer export --int8`: what it asks for, and that files depend on the calibration photos alone.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use data::{Folder, trainer};
use tch::Device;
use tempfile::TempDir;
use trainer::checkpoint::{self, CheckpointState, Progress};
use trainer::config::Config;
use trainer::model::{Architecture, Backbone, Init, Network, Spec, UpsampleTraining};

mod data;

/// A checkpoint that nobody trained, photos to calibrate it on, and a file to write.
struct Run {
    data: Folder,
    dir: TempDir,
}

impl Run {
    fn new() -> Run {
        let run = Run { data: Folder::new(4), dir: tempfile::tempdir().unwrap() };
        let (architecture, backbone) = (Architecture::Fcn32s, Backbone::ResNet18);
        let spec =
            Spec { architecture, backbone, classes: 3, upsample: UpsampleTraining::Learned, init: Init::Bilinear };
        let normalise = backbone.normalise();
        let state = CheckpointState {
            config: Config { arch: architecture, backbone, ..Config::standard() },
            spec,
            classes: fcn::palette::voc_classes()[..3].to_vec(),
            mean: normalise.mean,
            std: normalise.std,
            native_side: None,
            progress: Progress::default(),
        };
        checkpoint::save(&run.path("best.safetensors"), &Network::new(spec, 3, Device::Cpu), None, &state).unwrap();
        run
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Exports with more options, in which `{}` stands for the data.
    fn export(&self, options: &str) -> Output {
        let paths = [self.dir.path(), &self.path("model.onnx"), self.data.root()];
        trainer(&format!("export {{}} --onnx {{}} {options}"), &paths).output().unwrap()
    }

    fn exported(&self, options: &str) -> Vec<u8> {
        let output = self.export(options);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::read(self.path("model.onnx")).unwrap()
    }
}

#[test]
fn calibration_depends_on_its_photos_alone() {
    let run = Run::new();
    let first = run.exported("--int8 --calibrate {} --calibrate-photos 2");
    let again = run.exported("--int8 --calibrate {} --calibrate-photos 2");
    let other = run.exported("--int8 --calibrate {} --calibrate-split val");
    assert!(first == again, "two calibrations on the same photos differ");
    assert!(first != other, "calibrations on other photos give the same ranges");
}

#[test]
fn int8_without_calibration_photos_is_refused() {
    let run = Run::new();
    run.data.split("none", &[""; 0]);
    for (options, said) in [
        ("--int8", "--calibrate <FOLDER>"),
        ("--calibrate {}", "--int8"),
        ("--int8 --calibrate {} --compact", "cannot be used with"),
        ("--int8 --calibrate {} --fp16", "cannot be used with"),
        ("--fp16 --compact", "cannot be used with"),
        ("--int8 --calibrate {} --calibrate-photos 0", "--calibrate-photos"),
        ("--int8 --calibrate {} --calibrate-split none", "none.txt names no photo; write one ID a line"),
        ("--int8 --calibrate {} --calibrate-split nowhere", "the splits here are none, train, val"),
    ] {
        let output = run.export(options);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && stderr.contains(said), "{options}: {stderr}");
        assert!(!run.path("model.onnx").exists(), "{options}: a file was written");
    }
}
