//! Data sets as other programs write them, read as they are: which photos, which classes, which pixels; and how photos are divided.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use data::{Folder, success, trainer};
use image::{GrayImage, Luma, Rgb, RgbImage};
use tempfile::TempDir;
use trainer::data::{Dataset, MissingMasks, Place};

mod data;

const SIZE: (u32, u32) = (12, 8);

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A photo that no other number has.
fn photo(path: &Path, number: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_fn(SIZE.0, SIZE.1, |x, y| Rgb([number, (x * 20) as u8, (y * 30) as u8])).save(path).unwrap();
}

/// Values of the left and the right half.
fn halves(path: &Path, left: u8, right: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let value = |x| if x < SIZE.0 / 2 { left } else { right };
    GrayImage::from_fn(SIZE.0, SIZE.1, |x, _| Luma([value(x)])).save(path).unwrap();
}

fn color_halves(path: &Path, left: [u8; 3], right: [u8; 3]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_fn(SIZE.0, SIZE.1, |x, _| Rgb(if x < SIZE.0 / 2 { left } else { right })).save(path).unwrap();
}

fn names(dataset: &Dataset) -> Vec<String> {
    dataset.classes().iter().map(|class| class.name.clone()).collect()
}

fn ids(dataset: &Dataset) -> Vec<String> {
    (0..dataset.len()).map(|index| dataset.id(index).to_owned()).collect()
}

/// The labels of the first and the last pixel of a row.
fn ends(dataset: &Dataset, index: usize) -> (u8, u8) {
    let sample = dataset.read(index).unwrap();
    (sample.mask[0], sample.mask[sample.width - 1])
}

fn pair(images: &Path, masks: &Path) -> Place {
    Place { root: images.to_owned(), masks: Some(masks.to_owned()), missing_masks: MissingMasks::Refuse }
}

#[test]
fn masks_beside_photos_are_found_by_name() {
    let dir = folder();
    let (images, masks) = (dir.path().join("photos"), dir.path().join("truth"));
    for (number, (id, mask)) in
        (0..).zip([("a", "a.png"), ("a1", "a1_mask.png"), ("b", "b_L.png"), ("c", "c.seg.png"), ("d", "d-labels.PNG")])
    {
        photo(&images.join(format!("{id}.png")), number);
        halves(&dir.path().join("x.png"), 0, 1 + number % 2);
        fs::create_dir_all(&masks).unwrap();
        fs::rename(dir.path().join("x.png"), masks.join(mask)).unwrap();
    }
    let dataset = pair(&images, &masks).open("all").unwrap();
    assert_eq!(ids(&dataset), ["a", "a1", "b", "c", "d"]);
    assert_eq!(names(&dataset), ["background", "class_1", "class_2"]);
    let labels: Vec<_> = (0..5).map(|index| ends(&dataset, index)).collect();
    assert_eq!(labels, [(0, 1), (0, 2), (0, 1), (0, 2), (0, 1)]);
    assert_eq!(dataset.notes().len(), 1, "{:?}", dataset.notes());

    // Two that may be meant; and none.
    halves(&masks.join("b_R.png"), 0, 1);
    let error = pair(&images, &masks).open("all").err().unwrap().to_string();
    assert!(error.contains("b_L.png") && error.contains("b_R.png"), "{error}");
    fs::remove_file(masks.join("b_R.png")).unwrap();
    photo(&images.join("e.png"), 9);
    let error = pair(&images, &masks).open("all").err().unwrap().to_string();
    assert!(error.contains("e.png has no mask") && error.contains("--missing-masks background"), "{error}");
    let place = Place { missing_masks: MissingMasks::Background, ..pair(&images, &masks) };
    let dataset = place.open("all").unwrap();
    assert_eq!(ends(&dataset, 5), (0, 0));
}

#[test]
fn masks_without_a_labelmap_say_what_classes_there_are() {
    // Left and right halves of two masks; the classes, and the labels of the halves.
    type Case<'a> = ([(u8, u8); 2], &'a [&'a str], [(u8, u8); 2]);
    let cases: [Case<'_>; 6] = [
        ([(0, 1), (0, 2)], &["background", "class_1", "class_2"], [(0, 1), (0, 2)]),
        ([(0, 255), (0, 0)], &["background", "object"], [(0, 1), (0, 0)]),
        // With a class, 255 is void.
        ([(0, 255), (0, 1)], &["background", "class_1"], [(0, 255), (0, 1)]),
        ([(0, 128), (255, 128)], &["background", "value_128"], [(0, 1), (255, 1)]),
        ([(0, 80), (160, 80)], &["background", "value_80", "value_160"], [(0, 1), (2, 1)]),
        // 3 is less than twice the number of values.
        ([(0, 3), (1, 3)], &["background", "class_1", "class_2", "class_3"], [(0, 3), (1, 3)]),
    ];
    for (masks, classes, labels) in cases {
        let dir = folder();
        for (number, (left, right)) in (0u8..).zip(masks) {
            photo(&dir.path().join(format!("images/{number}.png")), number);
            halves(&dir.path().join(format!("masks/{number}.png")), left, right);
        }
        let dataset = Dataset::open(dir.path(), "all").unwrap();
        assert_eq!(names(&dataset), classes, "{masks:?}");
        assert_eq!([ends(&dataset, 0), ends(&dataset, 1)], labels, "{masks:?}");
        assert_eq!(dataset.notes().len(), 1, "{masks:?}");
    }
    let dir = folder();
    for (number, right) in [(0u8, [255, 0, 0]), (1, [0, 0, 255])] {
        photo(&dir.path().join(format!("images/{number}.png")), number);
        color_halves(&dir.path().join(format!("masks/{number}.png")), [0; 3], right);
    }
    let dataset = Dataset::open(dir.path(), "all").unwrap();
    assert_eq!(names(&dataset), ["background", "color_0000ff", "color_ff0000"]);
    assert_eq!([ends(&dataset, 0), ends(&dataset, 1)], [(0, 2), (0, 1)]);

    // One value is no class.
    let zeros = folder();
    photo(&zeros.path().join("images/0.png"), 0);
    halves(&zeros.path().join("masks/0.png"), 0, 0);
    let error = Dataset::open(zeros.path(), "all").err().unwrap().to_string();
    assert!(error.contains("no value but 0"), "{error}");

    // One colour is no class; and neither are the colours of a photo.
    color_halves(&dir.path().join("masks/0.png"), [9; 3], [9; 3]);
    color_halves(&dir.path().join("masks/1.png"), [9; 3], [9; 3]);
    let error = Dataset::open(dir.path(), "all").err().unwrap().to_string();
    assert!(error.contains("one class cannot be told from anything"), "{error}");
    let many = RgbImage::from_fn(SIZE.0, SIZE.1, |x, y| Rgb([x as u8, y as u8, 7]));
    many.save(dir.path().join("masks/0.png")).unwrap();
    assert_eq!(Dataset::open(dir.path(), "all").unwrap().classes().len(), 97, "96 colours are classes, and one more");
    let large = |name: &str| dir.path().join(name).join("0.png");
    RgbImage::new(20, 20).save(large("images")).unwrap();
    RgbImage::from_fn(20, 20, |x, y| Rgb([x as u8, y as u8, 7])).save(large("masks")).unwrap();
    let error = Dataset::open(dir.path(), "all").err().unwrap().to_string();
    assert!(error.contains("more than 256 colours"), "{error}");
}

#[test]
fn lists_of_classes_beside_masks_count() {
    let dir = folder();
    photo(&dir.path().join("JPEGImages/a.png"), 1);
    halves(&dir.path().join("SegmentationClassPNG/a.png"), 0, 2);
    // As labelme2voc writes it.
    fs::write(dir.path().join("class_names.txt"), "__ignore__\n_background_\ncat\ndog\n").unwrap();
    let dataset = Dataset::open(dir.path(), "all").unwrap();
    assert_eq!((names(&dataset), ends(&dataset, 0)), (vec!["background".into(), "cat".into(), "dog".into()], (0, 2)));
    fs::write(dir.path().join("class_names.txt"), "cat\ndog\n").unwrap();
    assert_eq!(names(&Dataset::open(dir.path(), "all").unwrap()), ["background", "cat", "dog"]);
    fs::write(dir.path().join("class_names.txt"), "cat\n").unwrap();
    let error = Dataset::open(dir.path(), "all").err().unwrap().to_string();
    assert!(error.contains("value 2, but there are 2 classes"), "{error}");
    fs::write(dir.path().join("labelmap.txt"), "sky:1,2,3::\nsea:4,5,6::\nsand:7,8,9::\n").unwrap();
    assert_eq!(names(&Dataset::open(dir.path(), "all").unwrap()), ["sky", "sea", "sand"]);
}

/// A data set for YOLO with these label files.
fn yolo(layout: fn(&str) -> (String, String), labels: &[(&str, Option<&str>)]) -> TempDir {
    let dir = folder();
    for (number, (id, text)) in (0u8..).zip(labels) {
        let (image, label) = layout(id);
        photo(&dir.path().join(image), number);
        if let Some(text) = text {
            let label = dir.path().join(label);
            fs::create_dir_all(label.parent().unwrap()).unwrap();
            fs::write(label, text).unwrap();
        }
    }
    dir
}

const RIGHT: &str = "0 0.5 0 1 0 1 1 0.5 1\n";

#[test]
fn polygons_of_yolo_are_drawn() {
    let flat = |id: &str| (format!("images/{id}.png"), format!("labels/{id}.txt"));
    // The second object is smaller, and so over the first one wherever it stands.
    let two = "1 0.75 0 1 0 1 1 0.75 1\n0 0 0 1 0 1 1 0 1\n";
    let dir = yolo(flat, &[("a", Some(RIGHT)), ("b", None), ("c", Some(two)), ("d", Some(""))]);
    fs::write(dir.path().join("data.yaml"), "path: .\nnames:\n  0: cat\n  1: dog\n").unwrap();
    let dataset = Dataset::open(dir.path(), "all").unwrap();
    assert_eq!(names(&dataset), ["background", "cat", "dog"]);
    let labels: Vec<_> = (0..4).map(|index| ends(&dataset, index)).collect();
    assert_eq!(labels, [(0, 1), (0, 0), (1, 2), (0, 0)]);
    assert!(dataset.left_out().is_empty() && dataset.notes().is_empty());
    let sample = dataset.read(0).unwrap();
    assert_eq!(sample.mask.iter().filter(|label| **label == 1).count(), 48, "half of 12 x 8");

    fs::write(dir.path().join("data.yaml"), "names: [cat, dog, fox]\n").unwrap();
    assert_eq!(names(&Dataset::open(dir.path(), "all").unwrap()), ["background", "cat", "dog", "fox"]);
    fs::write(dir.path().join("data.yaml"), "names: [cat]\n").unwrap();
    let error = Dataset::open(dir.path(), "all").err().unwrap().to_string();
    assert!(error.contains("names 1 classes, but the labels have class 1"), "{error}");
    fs::remove_file(dir.path().join("data.yaml")).unwrap();
    let dataset = Dataset::open(dir.path(), "all").unwrap();
    assert_eq!((names(&dataset)[1].as_str(), dataset.notes().len()), ("class_0", 1));
    fs::write(dir.path().join("classes.txt"), "background\ncat\n").unwrap();
    let dataset = Dataset::open(dir.path(), "all").unwrap();
    assert_eq!((names(&dataset), ends(&dataset, 2)), (vec!["background".into(), "cat".into()], (0, 1)));
}

#[test]
fn folders_of_yolo_name_splits() {
    type Layout = fn(&str) -> (String, String);
    let layouts: [Layout; 2] = [
        |id| (format!("images/{id}.png"), format!("labels/{id}.txt")),
        |id| {
            let (split, name) = id.split_once('/').unwrap();
            let split = if split == "val" { "valid" } else { split };
            (format!("{split}/images/{name}.png"), format!("{split}/labels/{name}.txt"))
        },
    ];
    for layout in layouts {
        let dir = yolo(layout, &[("train/a", Some(RIGHT)), ("train/b", Some(RIGHT)), ("val/c", Some(RIGHT))]);
        assert_eq!(ids(&Dataset::open(dir.path(), "train").unwrap()), ["a", "b"]);
        assert_eq!(ids(&Dataset::open(dir.path(), "val").unwrap()), ["c"]);
        let error = Dataset::open(dir.path(), "test").err().unwrap().to_string();
        assert!(error.contains("no split test, but train, val"), "{error}");
    }
}

#[test]
fn a_bad_line_of_yolo_is_left_out_and_told() {
    let flat = |id: &str| (format!("images/{id}.png"), format!("labels/{id}.txt"));
    for (line, told) in [
        ("0 0.5 0.5 1 1", "is a box"),
        ("x 0 0 1 0 1 1", "no class number"),
        ("-1 0 0 1 0 1 1", "no class number"),
        ("0.5 0 0 1 0 1 1", "no class number"),
        ("0 0 0 1 0 1 y", "no number"),
        ("0 0 0 1 0 1 nan", "no number"),
        ("0 0 0 1 0", "is a box"),
        ("0 0 0 1", "no list of points"),
        ("0 0 0 1 0 1 1 1", "no list of points"),
        ("0 2 2 3 2 3 3", "covers no pixel"),
    ] {
        let dir = yolo(flat, &[("a", Some(&format!("{RIGHT}{line}\n")))]);
        let dataset = Dataset::open(dir.path(), "all").unwrap();
        assert_eq!(ends(&dataset, 0), (0, 1), "{line}");
        let [sentence] = dataset.left_out() else { panic!("{line}: {:?}", dataset.left_out()) };
        assert!(sentence.contains(told) && sentence.contains("a.txt line 2"), "{line}: {sentence}");
    }
    // Just good enough: a class written as a float, and a triangle.
    let dir = yolo(flat, &[("a", Some("0.0 0 0 1 0 0 1\n"))]);
    assert!(Dataset::open(dir.path(), "all").unwrap().left_out().is_empty());
}

/// A folder as CVAT exports it: the layout of Pascal VOC with one list.
fn cvat(photos: u32) -> Folder {
    let folder = Folder::new(photos);
    let lists = folder.path("ImageSets/Segmentation");
    let all: String = (0..photos).map(|number| format!("p{number}\n")).collect();
    fs::write(lists.join("default.txt"), all).unwrap();
    ["train.txt", "val.txt"].iter().for_each(|list| fs::remove_file(lists.join(list)).unwrap());
    folder
}

#[test]
fn a_share_is_held_out_by_seed_and_name() {
    let folder = cvat(20);
    let open = || Place::new(folder.root(), MissingMasks::Refuse).open("default").unwrap();
    let divide = |seed| {
        let (train, val) = open().divide(0.2, seed).unwrap();
        (ids(&train), ids(&val))
    };
    let (train, val) = divide(1);
    assert_eq!((train.len(), val.len()), (16, 4));
    let all: BTreeSet<&String> = train.iter().chain(&val).collect();
    assert_eq!(all.len(), 20);
    assert_eq!(divide(1).1, val);
    assert_ne!(divide(2).1, val);
    // The order of the list is nothing to it.
    let backwards: Vec<String> = (0..20).rev().map(|number| format!("p{number}")).collect();
    folder.split("default", &backwards);
    let sorted = |mut ids: Vec<String>| {
        ids.sort();
        ids
    };
    assert_eq!(sorted(divide(1).1), sorted(val.clone()));

    // Ten copies of one photo stay together, whichever side they come to.
    let copies: Vec<String> = (0..10).map(|number| format!("copy{number}")).collect();
    for id in &copies {
        fs::copy(folder.path("JPEGImages/p0.png"), folder.path(&format!("JPEGImages/{id}.png"))).unwrap();
        fs::copy(folder.path("SegmentationClass/p0.png"), folder.path(&format!("SegmentationClass/{id}.png"))).unwrap();
    }
    folder.split("default", &[backwards, copies].concat());
    let mut sides = BTreeSet::new();
    for seed in 0..20 {
        let val = divide(seed).1;
        let count = val.iter().filter(|id| *id == "p0" || id.starts_with("copy")).count();
        assert!(count == 0 || count == 11, "{val:?}");
        sides.insert(count);
    }
    assert_eq!(sides.len(), 2, "both sides were tried");

    // Copies alone cannot be divided; two photos can.
    folder.split("default", &["p0", "copy1", "copy2"]);
    assert!(open().divide(0.5, 1).err().unwrap().to_string().contains("none differs"));
    folder.split("default", &["p0", "p1"]);
    let (train, val) = open().divide(0.9, 1).unwrap();
    assert_eq!((train.len(), val.len()), (1, 1));
}

/// Trains for a moment, and returns the run's folder.
fn train(options: &str, paths: &[&Path]) -> (TempDir, PathBuf, String) {
    let out = folder();
    let run = out.path().join("run");
    let line = format!("train {options} --out {{}} --epochs 1 --crop 32x32 --batch 2 --norm-crops 2 --threads 1");
    let stdout = success(&line, &[paths, &[&run]].concat());
    (out, run, stdout)
}

#[test]
fn each_kind_of_data_set_is_trained_on_in_one_step() {
    let cvat = cvat(6);
    let masks = folder();
    let flat = |id: &str| (format!("images/{id}.png"), format!("labels/{id}.txt"));
    let yolo =
        yolo(flat, &[("a", Some(RIGHT)), ("b", None), ("c", Some(RIGHT)), ("d", Some(RIGHT)), ("e", Some(RIGHT))]);
    let labelme = folder();
    for number in 0..5u8 {
        photo(&masks.path().join(format!("in/{number}.png")), number);
        halves(&masks.path().join(format!("out/{number}_mask.png")), 0, 255);
        photo(&labelme.path().join(format!("{number}.png")), number);
        let points = [[6.0, 0.0], [12.0, 0.0], [12.0, 8.0], [6.0, 8.0]];
        let shape = serde_json::json!({"label": "cat", "points": points, "shape_type": "polygon"});
        let text = serde_json::json!({"imagePath": format!("{number}.png"), "imageWidth": 12, "imageHeight": 8, "shapes": [shape]});
        fs::write(labelme.path().join(format!("{number}.json")), text.to_string()).unwrap();
    }
    let (images, truth) = (masks.path().join("in"), masks.path().join("out"));
    let data = "--data {} --val-share 0.2";
    for (options, paths, photos) in [
        (data, vec![cvat.root()], 5),
        ("--images {} --masks {} --val-share 0.2", vec![images.as_path(), &truth], 4),
        (data, vec![yolo.path()], 4),
        (data, vec![labelme.path()], 4),
    ] {
        let (_out, run, stdout) = train(options, &paths);
        assert!(stdout.contains(&format!("{photos} photos to train on, 1 to measure on")), "{stdout}");
        // The run stands for its photos: no other option is needed to measure it, report it or go on with it.
        let evaluated = success("evaluate {} --device cpu", &[&run]);
        assert!(evaluated.contains("photos            1\n"), "{evaluated}");
        let evaluated = success("evaluate {} --data {} --split train --device cpu", &[&run, &run]);
        assert!(evaluated.contains(&format!("photos            {photos}\n")), "{evaluated}");
        success("report {} --device cpu", &[&run]);
        let stdout = success("train --resume {}", &[&run]);
        assert!(stdout.contains("done: "), "{stdout}");
        let onnx = run.join("model.onnx");
        success("export {} --onnx {} --measure {}", &[&run, &onnx, &run]);
    }
}

#[test]
fn a_run_goes_on_with_the_photos_it_began_with() {
    let data = cvat(6);
    let (_out, run, _) = train("--data {} --val-share 0.2", &[data.root()]);
    let photos = fs::read_to_string(run.join("dataset.json")).unwrap();
    // Photos that came later belong to no run that began before.
    data.photo("later", 90, 80);
    data.split("default", &["later", "p0", "p1", "p2", "p3", "p4", "p5"]);
    success("train --resume {}", &[&run]);
    assert_eq!(fs::read_to_string(run.join("dataset.json")).unwrap(), photos);
    // A photo that is gone is missed by name.
    data.split("default", &["later"]);
    let output = trainer("train --resume {}", &[&run]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("the photo p") && stderr.contains("is not in"), "{stderr}");
}

#[test]
fn a_run_is_no_data_set_to_train_on() {
    let data = cvat(6);
    let (out, run, _) = train("--data {} --val-share 0.2", &[data.root()]);
    let line = "train --data {} --out {} --epochs 1 --crop 32x32 --batch 2 --threads 1";
    let output = trainer(line, &[&run, &out.path().join("other")]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && stderr.contains("is the folder of a run"), "{stderr}");
}

#[test]
fn photos_of_one_name_are_told_apart_or_refused() {
    let nested = |id: &str| (format!("images/{id}.png"), format!("labels/{id}.txt"));
    let dir = yolo(nested, &[("a/1", Some(RIGHT)), ("b/1", Some(RIGHT))]);
    let error = Dataset::open(dir.path(), "all").err().unwrap().to_string();
    assert!(error.contains("a/1.png and") && error.contains("b/1.png have the same ID, 1"), "{error}");
    // In two splits nothing is mixed up.
    let dir = yolo(nested, &[("train/1", Some(RIGHT)), ("val/1", None)]);
    assert_eq!(ends(&Dataset::open(dir.path(), "train").unwrap(), 0), (0, 1));
    assert_eq!(ends(&Dataset::open(dir.path(), "val").unwrap(), 0), (0, 0));
}

#[test]
fn undivided_photos_need_a_share() {
    let data = cvat(6);
    let out = folder();
    let output = trainer("train --data {} --out {}", &[data.root(), &out.path().join("run")]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("the splits here are default") && stderr.contains("--val-share"), "{stderr}");
    for (share, is_good) in [("0", false), ("1", false), ("-0.1", false), ("nan", false), ("0.99", true)] {
        let line =
            format!("train --data {{}} --out {{}} --val-share={share} --epochs 1 --crop 64x64 --batch 1 --threads 1");
        let output = trainer(&line, &[data.root(), &out.path().join(share)]).output().unwrap();
        assert_eq!(output.status.success(), is_good, "{share}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn imports_write_what_is_read_directly() {
    let flat = |id: &str| (format!("images/{id}.png"), format!("labels/{id}.txt"));
    let yolo = yolo(flat, &[("a", Some(RIGHT)), ("b", None)]);
    let out = folder();
    let voc = out.path().join("voc");
    success("dataset import yolo {} --out {}", &[yolo.path(), &voc]);
    let (imported, direct) = (Dataset::open(&voc, "train").unwrap(), Dataset::open(yolo.path(), "all").unwrap());
    assert_eq!(names(&imported), names(&direct));
    (0..2).for_each(|index| assert_eq!(imported.read(index).unwrap(), direct.read(index).unwrap()));

    let masks = folder();
    for number in 0..2u8 {
        photo(&masks.path().join(format!("images/{number}.png")), number);
        halves(&masks.path().join(format!("masks/{number}.png")), 0, 255);
    }
    let voc = out.path().join("voc2");
    success(
        "dataset import masks --images {} --masks {} --out {}",
        &[&masks.path().join("images"), &masks.path().join("masks"), &voc],
    );
    let (imported, direct) = (Dataset::open(&voc, "train").unwrap(), Dataset::open(masks.path(), "all").unwrap());
    assert_eq!(names(&imported), ["background", "object"]);
    (0..2).for_each(|index| assert_eq!(imported.read(index).unwrap(), direct.read(index).unwrap()));
    assert!(success("dataset check {}", &[masks.path()]).contains("all"));
}
