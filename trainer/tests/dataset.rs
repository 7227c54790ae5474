//! `trainer dataset check` and `trainer dataset import`; what pycocotools makes of COCO's masks stands in
//! tests/reference/dataset.json.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use data::{Folder, trainer};
use image::{GrayImage, Luma, Rgb, RgbImage};
use serde_json::{Value, json};
use tempfile::TempDir;
use trainer::data::{Dataset, Sample};
use trainer::dataset::check::check;
use trainer::dataset::import::{Counts, Runs, Shape};

mod data;

fn reference() -> Value {
    serde_json::from_str(include_str!("reference/dataset.json")).unwrap()
}

fn pixels(value: &Value) -> Vec<u8> {
    value.as_str().unwrap().bytes().map(|digit| digit - b'0').collect()
}

fn size(value: &Value) -> [usize; 2] {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn run_length_masks_are_read_as_by_pycocotools() {
    let cases = reference()["runs"].as_array().unwrap().clone();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let size = size(&case["size"]);
        let [height, width] = size;
        let plain: Vec<u64> = serde_json::from_value(case["plain"].clone()).unwrap();
        let compressed = Counts::Compressed(case["compressed"].as_str().unwrap().to_owned());
        assert_eq!(Runs { size, counts: compressed.clone() }.lengths(), Ok(plain.clone()));
        for counts in [compressed, Counts::Plain(plain)] {
            let mut labels = vec![0; width * height];
            Shape::Runs(Runs { size, counts }).draw(&mut labels, width, height, 1).unwrap();
            assert_eq!(labels, pixels(&case["pixels"]), "{height} x {width}");
        }
    }
}

#[test]
fn broken_run_length_masks_are_refused() {
    let draw = |counts| {
        let shape = Shape::Runs(Runs { size: [2, 3], counts });
        shape.draw(&mut [0; 6], 3, 2, 1).map_err(|error| error.to_string())
    };
    assert_eq!(draw(Counts::Plain(vec![1, 5])), Ok(()));
    assert!(draw(Counts::Plain(vec![1, 4])).unwrap_err().contains("cover 5 of 6 pixels"));
    assert!(draw(Counts::Plain(vec![u64::MAX, 7])).unwrap_err().contains("too many of 6 pixels"));
    for text in ["o", "\u{7f}", " ", "ooooooooooooooooooooo0", "O", "P0P0"] {
        draw(Counts::Compressed(text.to_owned())).unwrap_err();
    }
    let shape = Shape::Runs(Runs { size: [3, 2], counts: Counts::Plain(vec![6]) });
    assert!(
        shape.draw(&mut [0; 6], 3, 2, 1).unwrap_err().to_string().contains("2 x 3 pixels lies on a photo of 3 x 2")
    );
}

#[test]
fn polygons_are_close_to_those_of_pycocotools() {
    for case in reference()["polygons"].as_array().unwrap() {
        let flat: Vec<f64> = serde_json::from_value(case["polygon"].clone()).unwrap();
        let points: Vec<(f64, f64)> = flat.chunks_exact(2).map(|point| (point[0], point[1])).collect();
        let mut labels = vec![0; 60 * 80];
        Shape::Polygons(vec![points.clone()]).draw(&mut labels, 80, 60, 1).unwrap();
        let expected = pixels(&case["pixels"]);
        // pycocotools walks the outline in steps of a fifth of a pixel, so pixels that the outline cuts may differ.
        let from_outline = |place: usize| {
            let (x, y) = ((place % 80) as f64 + 0.5, (place / 80) as f64 + 0.5);
            let ends = points.iter().zip(points.iter().cycle().skip(1));
            let distances = ends.map(|(&(x0, y0), &(x1, y1))| {
                let (dx, dy) = (x1 - x0, y1 - y0);
                let part = (((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy)).clamp(0.0, 1.0);
                (x - x0 - part * dx).hypot(y - y0 - part * dy)
            });
            distances.fold(f64::MAX, f64::min)
        };
        let differences: Vec<usize> = (0..labels.len()).filter(|&place| labels[place] != expected[place]).collect();
        assert!(differences.iter().all(|&place| from_outline(place) < 1.0), "{} corners", points.len());
        assert!(labels.iter().filter(|&&label| label == 1).count() > 10 * differences.len(), "{differences:?}");
    }
}

fn photo(path: &Path, width: u32, height: u32, shade: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_fn(width, height, |x, y| Rgb([shade, x as u8, y as u8])).save(path).unwrap();
}

fn write(path: &Path, value: &Value) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, value.to_string()).unwrap();
}

/// Runs the program; its output, or what it says on stderr.
fn run(line: &str, paths: &[&Path]) -> Result<String, String> {
    let output = trainer(line, paths).output().unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

fn samples(root: &Path, split: &str) -> BTreeMap<String, Sample> {
    let dataset = Dataset::open(root, split).unwrap();
    (0..dataset.len()).map(|index| dataset.read(index).unwrap()).map(|sample| (sample.id.clone(), sample)).collect()
}

fn names(root: &Path, split: &str) -> Vec<String> {
    Dataset::open(root, split).unwrap().classes().iter().map(|class| class.name.clone()).collect()
}

/// The rows of a mask as text.
fn rows(sample: &Sample) -> Vec<String> {
    let digit = |label: &u8| if *label == 255 { 'x' } else { char::from(b'0' + label) };
    sample.mask.chunks(sample.width).map(|row| row.iter().map(digit).collect()).collect()
}

/// A folder of two photos, `street` and `yard`, with labelme's files.
fn labelme() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let shape = |label: &str, kind: &str, points: Value| json!({"label": label, "shape_type": kind, "points": points});
    photo(&dir.path().join("street.png"), 8, 5, 1);
    photo(&dir.path().join("photos/yard.png"), 6, 4, 2);
    write(
        &dir.path().join("street.json"),
        &json!({"version": "5.4.1", "flags": {}, "imagePath": "street.png", "imageData": null, "imageWidth": 8,
        "imageHeight": 5, "shapes": [
            shape("tree", "polygon", json!([[0.0, 0.0], [3.0, 0.0], [3.0, 5.0], [0.0, 5.0]])),
            shape("car", "rectangle", json!([[6.0, 4.0], [2.0, 1.0]])),
            shape("__ignore__", "rectangle", json!([[7.0, 0.0], [8.0, 5.0]])),
        ]}),
    );
    write(
        &dir.path().join("yard.json"),
        &json!({"imagePath": "photos\\yard.png", "imageWidth": 6, "imageHeight": 4, "shapes": [
            shape("bush", "circle", json!([[2.0, 2.0], [2.0, 3.6]])), shape("_background_", "rectangle",
            json!([[0.0, 0.0], [2.0, 4.0]]))]}),
    );
    dir
}

#[test]
fn labelme_files_become_masks() {
    let (dir, out) = (labelme(), tempfile::tempdir().unwrap());
    let out = out.path().join("voc");
    let said = run("dataset import labelme {} --out {}", &[dir.path(), &out]).unwrap();
    assert!(said.ends_with(": 4 classes, photos: train 2\n"), "{said}");
    assert_eq!(names(&out, "train"), ["background", "bush", "car", "tree"]);
    let samples = samples(&out, "train");
    assert_eq!(rows(&samples["street"]), ["3330000x", "3322220x", "3322220x", "3322220x", "3330000x"]);
    assert_eq!(rows(&samples["yard"]), ["001000", "001100", "001100", "001000"]);
    assert_eq!(
        fs::read(out.join("JPEGImages/street.png")).unwrap(),
        fs::read(dir.path().join("street.png")).unwrap(),
        "photos are copied as they are"
    );

    let before = fs::read(out.join("SegmentationClass/street.png")).unwrap();
    let refused = run("dataset import labelme {} --out {}", &[dir.path(), &out]).unwrap_err();
    assert!(refused.contains("street.png exists already and is not overwritten"), "{refused}");
    assert_eq!(fs::read(out.join("SegmentationClass/street.png")).unwrap(), before);

    let other = out.with_file_name("other");
    let line = "dataset import labelme {} --out {} --classes tree,pond --split all --val-share 0.5";
    run(line, &[dir.path(), &other]).unwrap();
    assert_eq!(names(&other, "all"), ["background", "tree", "pond"]);
    let (all, val) = (self::samples(&other, "all"), self::samples(&other, "val"));
    assert_eq!((all.len(), val.len()), (1, 1));
    let street = all.get("street").or(val.get("street")).unwrap();
    assert_eq!(rows(street)[1], "1100000x", "the car became background, and hides the tree");
}

/// Makes a mistake in a folder of labelme's.
type Spoil = fn(&Path);

#[test]
fn labelme_mistakes_are_named_and_nothing_is_written() {
    let mistakes: [(&str, Spoil, &str); 6] = [
        ("a point", |dir| edit(dir, |file| file["shapes"][0]["shape_type"] = json!("point")), "is a point of 4 points"),
        ("no photo", |dir| fs::remove_file(dir.join("street.png")).unwrap(), "street.png, which is not there"),
        ("a size", |dir| edit(dir, |file| file["imageWidth"] = json!(5)), "was drawn on 5 x 5 pixels"),
        ("no JSON", |dir| fs::write(dir.join("street.json"), "{").unwrap(), "is not a file of labelme"),
        ("a name", |dir| edit(dir, |file| file["shapes"][0]["label"] = json!("a:b")), "cannot be called"),
        ("no photo's bytes", |dir| fs::write(dir.join("street.png"), "x").unwrap(), "is neither a JPEG nor a PNG file"),
    ];
    for (name, spoil, expected) in mistakes {
        let (dir, out) = (labelme(), tempfile::tempdir().unwrap());
        let out = out.path().join("voc");
        spoil(dir.path());
        let said = run("dataset import labelme {} --out {}", &[dir.path(), &out]).unwrap_err();
        assert!(said.starts_with("trainer: ") && said.contains(expected), "{name}: {said}");
        assert!(!out.exists(), "{name}: something was written");
    }
    let empty = tempfile::tempdir().unwrap();
    let said = run("dataset import labelme {} --out {}", &[empty.path(), &empty.path().join("out")]).unwrap_err();
    assert!(said.contains("holds no .json file of labelme"), "{said}");
}

fn edit(dir: &Path, change: impl Fn(&mut Value)) {
    let path = dir.join("street.json");
    let mut file = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut file);
    write(&path, &file);
}

#[test]
fn coco_instances_become_masks() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    photo(&path("photos/sub/one.png"), 6, 4, 1);
    photo(&path("photos/two.png"), 5, 2, 2);
    let annotation = |image: u64, category: u64, crowd: u8, segmentation: Value| json!({"id": 1, "image_id": image, "category_id": category, "iscrowd": crowd, "segmentation": segmentation});
    let instances = json!({
        "images": [
            {"id": 7, "file_name": "sub/one.png", "width": 6, "height": 4},
            {"id": 3, "file_name": "two.png", "width": 5, "height": 2},
        ],
        "annotations": [
            // The small one first: it must end on top.
            annotation(7, 90, 0, json!([[1, 1, 3, 1, 3, 2, 1, 2]])),
            annotation(7, 2, 0, json!([[0, 0, 6, 0, 6, 2, 0, 2], [5, 3, 6, 3, 6, 4, 5, 4]])),
            // A crowd, smaller than all, lies below.
            annotation(7, 90, 1, json!({"size": [4, 6], "counts": [0, 1, 23]})),
            // Down the columns: 3 outside, then 2 inside.
            annotation(3, 90, 1, json!({"size": [2, 5], "counts": [3, 2, 5]})),
            annotation(3, 2, 1, json!({"size": [2, 5], "counts": "91"})),
        ],
        "categories": [{"id": 90, "name": "cat"}, {"id": 2, "name": "bus"}],
    });
    write(&path("instances.json"), &instances);
    let line = "dataset import coco {} --photos {} --out {} --split val";
    run(line, &[&path("instances.json"), &path("photos"), &path("voc")]).unwrap();
    assert_eq!(names(&path("voc"), "val"), ["background", "bus", "cat"]);
    let read = samples(&path("voc"), "val");
    assert_eq!(rows(&read["one"]), ["111111", "122111", "000000", "000001"]);
    assert_eq!(rows(&read["two"]), ["00200", "02001"]);

    let line = "dataset import coco {} --photos {} --out {} --classes";
    let owned = [path("instances.json"), path("photos"), path("cats")];
    let paths = owned.each_ref().map(PathBuf::as_path);
    assert!(run(&format!("{line} dog"), &paths).unwrap_err().contains("has no category dog; it has bus, cat"));
    run(&format!("{line} cat"), &paths).unwrap();
    assert_eq!(rows(&samples(&path("cats"), "train")["one"]), ["100000", "011000", "000000", "000000"]);

    for (change, expected) in [
        (json!([[1, 1, 3]]), "a polygon of 3 numbers"),
        (json!({"size": [4, 5], "counts": [20]}), "lies on a photo of 6 x 4"),
        (json!({"size": [4, 6], "counts": [20]}), "cover 20 of 24 pixels"),
    ] {
        let mut broken = instances.clone();
        broken["annotations"][0]["segmentation"] = change;
        write(&path("broken.json"), &broken);
        let said = run(line.trim_end_matches(" --classes"), &[&path("broken.json"), &path("photos"), &path("none")]);
        let said = said.unwrap_err();
        assert!(said.contains(expected) && said.contains("sub/one.png"), "{said}");
        assert!(!path("none").exists());
    }
}

#[test]
fn cityscapes_folders_become_masks() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let mask = |name: &str, values: [u8; 6]| {
        fs::create_dir_all(path(name).parent().unwrap()).unwrap();
        GrayImage::from_fn(3, 2, |x, y| Luma([values[(y * 3 + x) as usize]])).save(path(name)).unwrap();
    };
    photo(&path("leftImg8bit/train/ulm/ulm_000000_000019_leftImg8bit.png"), 3, 2, 1);
    photo(&path("leftImg8bit/val/bonn/bonn_000001_000019_leftImg8bit.png"), 3, 2, 2);
    mask("gtFine/train/ulm/ulm_000000_000019_gtFine_labelIds.png", [0, 7, 8, 24, 33, 1]);
    mask("gtFine/val/bonn/bonn_000001_000019_gtFine_labelTrainIds.png", [255, 0, 1, 5, 7, 19]);
    mask("gtFine/val/bonn/bonn_000001_000019_gtFine_labelIds.png", [0; 6]);
    run("dataset import cityscapes {} --out {}", &[dir.path(), &path("voc")]).unwrap();
    let names = names(&path("voc"), "train");
    assert_eq!((names.len(), names[0].as_str(), names[18].as_str()), (19, "road", "bicycle"));
    assert_eq!(samples(&path("voc"), "train")["ulm_000000_000019"].mask, [255, 0, 1, 11, 18, 255]);
    assert_eq!(samples(&path("voc"), "val")["bonn_000001_000019"].mask, [255, 0, 1, 5, 7, 255]);
    let missing = run("dataset import cityscapes {} --out {} --splits test", &[dir.path(), &path("x")]).unwrap_err();
    assert!(missing.contains("leftImg8bit/test cannot be read"), "{missing}");
}

#[test]
fn a_sound_data_set_has_no_problems() {
    let folder = Folder::new(4);
    // Photos of the test's data set may be alike, but not in size.
    let said = run("dataset check {}", &[folder.root()]).unwrap();
    assert!(said.starts_with("train: 4 photos, "), "{said}");
    assert!(said.ends_with("\nno problems\n"), "{said}");
    let json: Value = serde_json::from_str(&run("dataset check {} --json", &[folder.root()]).unwrap()).unwrap();
    let train = &json["splits"][0];
    assert_eq!((train["name"].as_str(), train["photos"].as_u64()), (Some("train"), Some(4)));
    // By hand: photo n has 90 + n columns and 80 + n rows, of which the first 4 are void, the others in three stripes.
    let (mut void, mut all, mut floor) = (0, 0, 0);
    for number in 0..4u64 {
        let (width, height) = (90 + number, 80 + number);
        void += 4 * width;
        all += width * height;
        floor += (height - 4) * (0..width).filter(|x| x * 3 / width == 0).count() as u64;
    }
    assert_eq!(train["void_share"].as_f64(), Some(void as f64 / all as f64));
    let class = &train["classes"][0];
    assert_eq!(
        (class["name"].as_str(), class["pixels"].as_u64(), class["photos"].as_u64()),
        (Some("floor"), Some(floor), Some(4))
    );
    assert_eq!(class["share"].as_f64(), Some(floor as f64 / (all - void) as f64));
    assert_eq!(train["sizes"].as_array().unwrap().len(), 4);
    assert_eq!(json["splits"][1]["photos"].as_u64(), Some(2));
}

#[test]
fn problems_of_a_data_set_are_found() {
    let folder = Folder::new(6);
    // The same pixels under another name, in the other split; a photo listed twice; three broken ones.
    fs::copy(folder.path("JPEGImages/p0.png"), folder.path("JPEGImages/copy.png")).unwrap();
    fs::copy(folder.path("SegmentationClass/p0.png"), folder.path("SegmentationClass/copy.png")).unwrap();
    fs::write(folder.path("JPEGImages/p1.png"), "no photo").unwrap();
    folder.mask("p2", 10, 10, |_, _| 0);
    folder.mask("p3", 93, 83, |_, _| 255);
    folder.split("train", &["p0", "p1", "p2", "p3", "p4", "p5", "p5", "gone"]);
    folder.split("val", &["p6", "copy", "p4"]);

    let output = trainer("dataset check {} --splits train,val", &[folder.root()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    for expected in [
        "train: 5 photos, ",
        "  broken: ",
        "JPEGImages/p1.png is neither a JPEG nor a PNG file",
        "p2.png is 10 x 10 pixels, but its photo",
        "gone.jpg (or .jpeg, .png) is missing",
        "  listed more than once: p5\n",
        "  void everywhere, so that they teach nothing: 1 photos\n",
        "the same photo: train/p0, val/copy\n",
        "the same photo: train/p4, val/p4\n",
        "\n6 problems\n",
    ] {
        assert!(said.contains(expected), "{expected} is not in {said}");
    }
    let report = check(folder.root(), &["train".to_owned()]).unwrap();
    assert_eq!((report.problems(), report.duplicates.len(), report.splits[0].broken.len()), (4, 0, 3));
    let missing = run("dataset check {} --splits dusk", &[folder.root()]).unwrap_err();
    assert!(missing.contains("the splits here are train, val"), "{missing}");
}
