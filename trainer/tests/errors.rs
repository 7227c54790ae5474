//! What `trainer train` says to mistakes: one sentence that names the file, and exit code 1.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use data::{Folder, trainer};
use image::{Rgb, RgbImage};
use safetensors::tensor::{Dtype, TensorView};
use tch::Device;
use trainer::checkpoint::{self, CheckpointState, Progress};
use trainer::config::Config;
use trainer::model::{Network, Spec};

mod data;

struct Case {
    name: &'static str,
    /// Spoils the data set; or returns a path for the option.
    spoil: fn(&Folder) -> PathBuf,
    /// Options beside those of a good run; `{}` is the path.
    options: &'static str,
    /// What the sentence must hold; `{}` is the path.
    expected: &'static [&'static str],
}

const CASES: [Case; 26] = [
    Case {
        name: "no data folder",
        spoil: |folder| folder.path("nowhere"),
        options: "--data {}",
        expected: &["{} is not a folder"],
    },
    Case {
        name: "no such split",
        spoil: |folder| folder.path("ImageSets/Segmentation/dusk.txt"),
        options: "--train-split dusk",
        expected: &["{} does not exist", "train, val"],
    },
    Case {
        name: "empty split",
        spoil: |folder| write(folder, "ImageSets/Segmentation/val.txt", b"\n"),
        options: "",
        expected: &["{} names no photo"],
    },
    Case {
        name: "mask missing",
        spoil: |folder| {
            let path = folder.path("SegmentationClass/p1.png");
            fs::remove_file(&path).unwrap();
            path
        },
        options: "",
        expected: &["train.txt lists p1", "no SegmentationClass/p1.png", "--missing-masks background"],
    },
    Case {
        name: "mask of another size",
        spoil: |folder| {
            folder.mask("p1", 33, 44, |_, _| 0);
            folder.path("SegmentationClass/p1.png")
        },
        options: "",
        expected: &["{} is 33 x 44 pixels", "JPEGImages/p1.png is 91 x 81"],
    },
    Case {
        name: "unknown colour",
        spoil: |folder| {
            let path = folder.path("SegmentationClass/p1.png");
            RgbImage::from_pixel(91, 81, Rgb([1, 2, 3])).save(&path).unwrap();
            path
        },
        options: "",
        expected: &["{}: the pixel at x 0, y 0 has the colour (1, 2, 3)", "labelmap.txt"],
    },
    Case {
        name: "index out of range",
        spoil: |folder| {
            folder.mask("p1", 91, 81, |x, y| if (x, y) == (5, 7) { 3 } else { 0 });
            folder.path("SegmentationClass/p1.png")
        },
        options: "",
        expected: &["{}: the pixel at x 5, y 7 has class index 3, but there are 3 classes"],
    },
    Case {
        name: "photo that is none",
        spoil: |folder| write(folder, "JPEGImages/p1.png", b"hello"),
        options: "",
        expected: &["{} is neither a JPEG nor a PNG file"],
    },
    Case {
        name: "weights of another shape",
        spoil: |folder| safetensors_file(folder, "_conv_stem.weight"),
        options: "--weights {}",
        expected: &["{}: _conv_stem.weight has shape [2] in the file, but [32, 3, 3, 3]"],
    },
    Case {
        name: "weights of another network",
        spoil: |folder| safetensors_file(folder, "conv1.weight"),
        options: "--weights {}",
        expected: &["{}: none of its 1 tensors", "conv1.weight"],
    },
    Case {
        name: "weights that are none",
        spoil: |folder| write(folder, "w.pth", b"hello"),
        options: "--weights {}",
        expected: &["{} cannot be read as weights", "torch.save"],
    },
    Case {
        name: "no weights",
        spoil: |folder| folder.path("w.safetensors"),
        options: "--weights {}",
        expected: &["{} cannot be read as weights", "No such file"],
    },
    Case {
        name: "a run is there already",
        spoil: |folder| {
            write(folder, "run/last.safetensors", b"a run");
            folder.path("run")
        },
        options: "--out {}",
        expected: &["--out {}: it holds a run already", "--resume {}"],
    },
    Case { name: "crop", spoil: root, options: "--crop 64x100", expected: &["--crop 64x100", "32 must divide both"] },
    Case { name: "momentum", spoil: root, options: "--momentum 1", expected: &["--momentum 1", "below 1"] },
    Case { name: "batch", spoil: root, options: "--batch 5", expected: &["4 photos do not fill one batch of 5"] },
    Case { name: "no batch", spoil: root, options: "--batch 0", expected: &["batch of 0", "at least 1"] },
    Case {
        name: "steps without their epochs",
        spoil: root,
        options: "--schedule step",
        expected: &["--schedule step needs --lr-steps"],
    },
    Case { name: "hue", spoil: root, options: "--hue 0.6", expected: &["--hue 0.6", "from 0 to 0.5"] },
    Case { name: "average", spoil: root, options: "--ema 1", expected: &["--ema 1", "from 0 to 0.99"] },
    Case {
        name: "class weights",
        spoil: root,
        options: "--class-weights 1,2",
        expected: &["--class-weights has 2 numbers for 3 classes"],
    },
    Case {
        name: "autocast",
        spoil: root,
        options: "--autocast --device cpu",
        expected: &["--autocast", "--device cuda"],
    },
    Case { name: "scale", spoil: root, options: "--scale 2,1", expected: &["scale goes from 2 to 1"] },
    Case { name: "epochs", spoil: root, options: "--epochs 0", expected: &["--epochs 0", "from 1"] },
    Case {
        name: "learning rate that diverges",
        spoil: root,
        options: "--lr 1e30 --epochs 3",
        expected: &["the loss became", "in epoch 1, step 2, at learning rate ", "the photos p", "--lr below"],
    },
    Case {
        name: "one value a channel",
        spoil: root,
        options: "--crop 32x32 --batch 1",
        expected: &["--crop 32x32 with --batch 1", "one value a channel"],
    },
];

fn root(folder: &Folder) -> PathBuf {
    folder.root().to_owned()
}

fn write(folder: &Folder, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    path
}

/// A file with one tensor of two numbers.
fn safetensors_file(folder: &Folder, tensor: &str) -> PathBuf {
    let view = TensorView::new(Dtype::F32, vec![2], &[0; 8]).unwrap();
    write(folder, "w.safetensors", &safetensors::serialize([(tensor, view)], None).unwrap())
}

/// The sentence of a command that fails.
fn sentence(line: &str, paths: &[&Path]) -> String {
    let output = trainer(line, paths).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{line}: {stderr}");
    let sentence = stderr.strip_prefix("trainer: ").and_then(|text| text.strip_suffix('\n'));
    let sentence = sentence.unwrap_or_else(|| panic!("{line}: {stderr}"));
    assert!(!sentence.contains('\n'), "{line}: {stderr}");
    sentence.to_owned()
}

#[test]
fn mistakes_are_named() {
    for Case { name, spoil, options, expected } in CASES {
        let folder = Folder::new(4);
        let path = spoil(&folder);
        let mut line = "train --crop 64x64 --epochs 1 --threads 1".to_owned();
        let mut paths = Vec::new();
        let (root, out) = (folder.root().to_owned(), folder.path("out"));
        for (option, value) in [("--data", &root), ("--out", &out)] {
            if !options.starts_with(option) {
                line += &format!(" {option} {{}}");
                paths.push(value.as_path());
            }
        }
        if !options.contains("--batch") {
            line += " --batch 2";
        }
        // clap takes each option once.
        line = if options.contains("--crop") { line.replace("--crop 64x64", "") } else { line };
        line = if options.contains("--epochs") { line.replace("--epochs 1", "") } else { line };
        paths.push(&path);
        let sentence = sentence(&format!("{line} {options}"), &paths);
        for part in expected {
            let part = part.replace("{}", &path.display().to_string());
            assert!(sentence.contains(&part), "{name}: {sentence}");
        }
        assert!(!checkpoint::last(&out).exists(), "{name}: nothing was begun");
    }
}

#[test]
fn runs_that_cannot_be_resumed_are_named() {
    let folder = Folder::new(4);
    let run = folder.path("run");
    let last = checkpoint::last(&run);
    let resume = |options: &str| sentence(&format!("train --resume {{}} --threads 1 {options}"), &[&run]);
    let shown = format!("--resume {}: ", run.display());

    assert!(resume("").starts_with(&format!("{shown}it is not a folder")));
    fs::create_dir(&run).unwrap();
    assert!(resume("").starts_with(&format!("{shown}it holds no checkpoint {}", last.display())));

    let unreadable = format!("{} cannot be read as a checkpoint: ", last.display());
    fs::write(&last, "garbage").unwrap();
    assert!(resume("").starts_with(&unreadable));
    fs::write(&last, safetensors::serialize(HashMap::<String, TensorView>::new(), None).unwrap()).unwrap();
    assert!(resume("").contains("holds tensors alone"));

    let config = Config { data: folder.root().to_owned(), ..Config::standard() };
    let Config { arch: architecture, backbone, upsample, init, .. } = config;
    let network = Network::new(Spec { architecture, backbone, classes: 3, upsample, init }, 1, Device::Cpu);
    let class = |name: &str, shade| fcn::palette::Class { name: name.to_owned(), color: [shade; 3] };
    let mut state = CheckpointState {
        spec: network.spec,
        classes: vec![class("a", 1), class("b", 2), class("c", 3)],
        mean: [0.5; 3],
        std: [0.5; 3],
        native_side: None,
        progress: Progress::default(),
        config,
    };
    let save = |state: &CheckpointState| checkpoint::save(&last, &network, None, state).unwrap();
    save(&state);
    assert!(resume("").contains(&format!("{} lacks the tensor momentum/_conv_stem.weight", last.display())));
    assert!(resume("--lr 0.1").starts_with(&format!("{shown}a run continues with the settings it was begun with")));
    assert!(resume("--no-flip").contains("leave out all other options"));
    let file = sentence("train --resume {}", &[&last]);
    assert!(file.contains("last.safetensors: it is not a folder"), "{file}");

    state.classes.push(class("d", 4));
    save(&state);
    assert_eq!(resume(""), format!("{unreadable}it scores 3 classes, but names 4"));
    state.spec.classes = 4;
    save(&state);
    let sentence = resume("");
    assert!(sentence.starts_with(&format!("{}: score32.weight has shape [3, ", last.display())), "{sentence}");

    let whole = fs::read(&last).unwrap();
    for length in [0, 7, 1000, whole.len() / 2, whole.len() - 1] {
        fs::write(&last, &whole[..length]).unwrap();
        let sentence = resume("");
        assert!(sentence.starts_with(&unreadable), "{length} bytes: {sentence}");
    }
}
