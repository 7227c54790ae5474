//! One round of labelling: what a network predicts is written for programs that correct it, and comes back as truth.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use data::{Folder, success, trainer};
use tempfile::TempDir;
use trainer::data::Dataset;
use trainer::evaluate::Predictor;

mod data;

/// A network that has learned something, and the photos it learned from.
struct Trained {
    data: Folder,
    _out: TempDir,
    run: PathBuf,
}

static TRAINED: LazyLock<Trained> = LazyLock::new(|| {
    let data = Folder::new(6);
    let out = tempfile::tempdir().unwrap();
    let run = out.path().join("run");
    success(
        "train --data {} --out {} --epochs 8 --crop 64x64 --batch 2 --lr 0.002 --threads 1 --seed 3",
        &[data.root(), &run],
    );
    Trained { data, _out: out, run }
});

fn photos() -> PathBuf {
    TRAINED.data.path("JPEGImages")
}

/// What the network says of each photo of the folder, in the order of their names.
fn predictions() -> Vec<(String, Vec<u8>)> {
    let mut predictor = Predictor::open(&TRAINED.run, None, tch::Device::Cpu).unwrap();
    let mut photos: Vec<PathBuf> = fs::read_dir(photos()).unwrap().map(|entry| entry.unwrap().path()).collect();
    photos.sort();
    let label = |photo: PathBuf| {
        let image = fcn::read_image(&photo).unwrap();
        let labels = predictor.label(&image.pixels, image.width as usize, image.height as usize).unwrap();
        (photo.file_stem().unwrap().to_str().unwrap().to_owned(), labels)
    };
    photos.into_iter().map(label).collect()
}

/// Checks that a data set has the labels that were predicted, but for a share of the pixels. Its classes may be in another order, and
/// `floor`, the first class of the photos, may be the background.
fn assert_labels(data: &Path, split: &str, allowed: f64) {
    let dataset = Dataset::open(data, split).unwrap();
    let name = |label: u8| match dataset.classes()[usize::from(label)].name.as_str() {
        "background" => "floor",
        name => name,
    };
    let known = ["floor", "wall", "box"];
    let (mut wrong, mut all, mut seen) = (0, 0, [false; 3]);
    let predictions = predictions();
    assert_eq!(dataset.len(), predictions.len());
    for index in 0..dataset.len() {
        let (_, labels) = predictions.iter().find(|(id, _)| id == dataset.id(index)).unwrap();
        let mask = dataset.read_mask(index).unwrap();
        assert_eq!(mask.len(), labels.len());
        wrong += mask.iter().zip(labels).filter(|(mask, label)| name(**mask) != known[usize::from(**label)]).count();
        all += mask.len();
        labels.iter().for_each(|label| seen[usize::from(*label)] = true);
    }
    assert!(seen.iter().filter(|seen| **seen).count() >= 2, "the network tells classes apart");
    assert!(wrong as f64 <= allowed * all as f64, "{wrong} of {all} pixels of {}", data.display());
}

#[test]
fn predictions_come_back_from_each_format() {
    let out = tempfile::tempdir().unwrap();
    let path = |name: &str| out.path().join(name);
    let photos = photos();
    let predict = |format: &str| {
        let line = format!("predict {{}} {{}} --out {{}} --format {format} --min-area 1 --device cpu");
        success(&line, &[&TRAINED.run, &photos, &path(format)]);
    };
    predict("labelme");
    success("dataset import labelme {} --photos {} --out {} --strict", &[&path("labelme"), &photos, &path("a")]);
    assert_labels(&path("a"), "train", 0.05);
    // The photo is where the file says.
    let text = fs::read_to_string(path("labelme/p0.json")).unwrap();
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    let photo = path("labelme").join(file["imagePath"].as_str().unwrap());
    assert_eq!(photo.canonicalize().unwrap(), photos.join("p0.png").canonicalize().unwrap());
    assert_eq!((&file["imageWidth"], &file["imageHeight"]), (&90.into(), &80.into()));

    predict("coco");
    let file = path("coco").join("annotations.json");
    success("dataset import coco {} --photos {} --out {} --strict", &[&file, &photos, &path("b")]);
    assert_labels(&path("b"), "train", 0.05);

    predict("cvat");
    let voc = path("cvat");
    fs::create_dir_all(voc.join("JPEGImages")).unwrap();
    for entry in fs::read_dir(&photos).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), voc.join("JPEGImages").join(entry.file_name())).unwrap();
    }
    assert_labels(&voc, "default", 0.0);
}

#[test]
fn corrections_are_not_overwritten() {
    let out = tempfile::tempdir().unwrap();
    for format in ["labelme", "coco", "cvat"] {
        let folder = out.path().join(format);
        let line = format!("predict {{}} {{}} --out {{}} --format {format} --device cpu");
        let run = || trainer(&line, &[&TRAINED.run, &photos(), &folder]).output().unwrap();
        assert!(run().status.success());
        let again = run();
        let stderr = String::from_utf8(again.stderr).unwrap();
        assert!(!again.status.success() && stderr.contains("is not overwritten"), "{format}: {stderr}");
    }
}

#[test]
fn the_least_certain_photos_come_first() {
    let out = tempfile::tempdir().unwrap();
    let onnx = out.path().join("net.onnx");
    success("export {} --onnx {}", &[&TRAINED.run, &onnx]);
    let rank = |model: &Path, folder: &str| -> Vec<(String, f64)> {
        let folder = out.path().join(folder);
        success("predict {} {} --out {} --rank margin --device cpu", &[model, &photos(), &folder]);
        let table = fs::read_to_string(folder.join("ranking.csv")).unwrap();
        let mut lines = table.lines();
        assert_eq!(lines.next(), Some("photo,margin"));
        let row = |line: &str| {
            let (photo, margin) = line.rsplit_once(',').unwrap();
            (photo.to_owned(), margin.parse().unwrap())
        };
        lines.map(row).collect()
    };
    let ranking = rank(&TRAINED.run, "a");
    assert_eq!(ranking.len(), 8);
    assert!(ranking.is_sorted_by(|a, b| a.1 <= b.1) && ranking[0].1 < ranking[7].1, "{ranking:?}");
    assert!(ranking.iter().all(|(_, margin)| (0.0..=1.0).contains(margin)));
    // libtorch and libfcn agree.
    let other = rank(&onnx, "b");
    for (photo, margin) in &ranking {
        let (_, own) = other.iter().find(|(name, _)| name == photo).unwrap();
        assert!((own - margin).abs() < 1e-3, "{photo}: {margin} and {own}");
    }
}
