//! `trainer dataset check` and `trainer dataset import`; what pycocotools makes of COCO's masks stands in
//! tests/reference/dataset.json.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use data::{Folder, trainer};
use image::{GrayImage, Luma, Rgb, RgbImage};
use serde_json::{Value, json};
use tempfile::TempDir;
use trainer::data::{Dataset, MissingMasks, Place, Sample};
use trainer::dataset::check::check;
use trainer::import::{Counts, Runs, Shape};

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
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
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
fn labelme_mistakes_are_left_out_and_named_or_stop_a_strict_import() {
    let mistakes: [(&str, Spoil, &str, usize); 13] = [
        ("a point", |dir| edit(dir, |file| file["shapes"][0]["shape_type"] = json!("point")), "\"tree\" is a point", 2),
        (
            "a line",
            |dir| edit(dir, |file| file["shapes"][0]["shape_type"] = json!("linestrip")),
            "is a linestrip and",
            2,
        ),
        ("a cube", |dir| edit(dir, |file| file["shapes"][0]["shape_type"] = json!("cube")), "is a cube of 4 points", 2),
        (
            "two points",
            |dir| edit(dir, |file| file["shapes"][0]["points"] = json!([[0, 0], [9, 9]])),
            "of 2 points has",
            2,
        ),
        (
            "no numbers",
            |dir| edit(dir, |file| file["shapes"][0]["points"][1] = json!(["a", 0])),
            "no pair of numbers",
            2,
        ),
        (
            "outside",
            |dir| edit(dir, |file| file["shapes"][0]["points"] = json!([[90, 0], [99, 0], [99, 9]])),
            "no pixel",
            2,
        ),
        ("no label", |dir| edit(dir, |file| file["shapes"][0]["label"] = json!(null)), "shape 1 has no label", 2),
        ("a mask", |dir| edit(dir, |file| file["shapes"][0]["shape_type"] = json!("mask")), "a mask that is no PNG", 2),
        (
            "far away",
            |dir| edit(dir, |file| file["shapes"][0]["points"][0] = json!([1e300, 0])),
            "numbers up to 1e7",
            2,
        ),
        (
            "no photo",
            |dir| fs::remove_file(dir.join("street.png")).unwrap(),
            "names the photo \"street.png\", which",
            1,
        ),
        ("a size", |dir| edit(dir, |file| file["imageWidth"] = json!(5)), "was drawn on 5 x 5 pixels", 1),
        ("no JSON", |dir| fs::write(dir.join("street.json"), "{").unwrap(), "is not a file of labelme", 1),
        ("no photo's bytes", |dir| fs::write(dir.join("street.png"), "x").unwrap(), "neither a JPEG nor a PNG file", 1),
    ];
    for (name, spoil, expected, photos) in mistakes {
        let (dir, out) = (labelme(), tempfile::tempdir().unwrap());
        let out = out.path().join("voc");
        spoil(dir.path());
        let said = run("dataset import labelme {} --out {} --strict", &[dir.path(), &out]).unwrap_err();
        assert!(said.starts_with("trainer: ") && said.contains(expected), "{name}: {said}");
        assert!(!out.exists(), "{name}: something was written");
        let said = run("dataset import labelme {} --out {}", &[dir.path(), &out]).unwrap();
        assert!(said.contains(&format!("photos: train {photos}\n")) && said.contains(expected), "{name}: {said}");
        assert!(said.contains("--strict makes an error: 1\n"), "{name}: {said}");
        assert!(!names(&out, "train").contains(&"tree".to_owned()), "{name}: a class of nothing");
        assert_eq!(rows(&samples(&out, "train")["yard"]).len(), 4, "{name}");
    }
    // What no mask could be made of stops the import.
    for (spoil, expected) in [
        ((|dir| edit(dir, |file| file["shapes"][0]["label"] = json!("a:b"))) as Spoil, "cannot be called"),
        (|dir| drop(["street.png", "photos/yard.png"].map(|photo| fs::remove_file(dir.join(photo)))), "gives no photo"),
    ] {
        let (dir, out) = (labelme(), tempfile::tempdir().unwrap());
        spoil(dir.path());
        let said = run("dataset import labelme {} --out {}", &[dir.path(), &out.path().join("voc")]).unwrap_err();
        assert!(said.contains(expected) && !out.path().join("voc").exists(), "{said}");
    }
    let empty = tempfile::tempdir().unwrap();
    let said = run("dataset import labelme {} --out {}", &[empty.path(), &empty.path().join("out")]).unwrap_err();
    assert!(said.contains("holds no .json file of labelme"), "{said}");
}

#[test]
fn labelme_files_of_all_kinds_become_masks() {
    let dir = tempfile::tempdir().unwrap();
    let base64 = |bytes: &[u8]| base64::engine::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
    photo(&dir.path().join("kept/yard.PNG"), 6, 4, 2);
    photo(&dir.path().join("hidden.png"), 4, 3, 5);
    let hidden = fs::read(dir.path().join("hidden.png")).unwrap();
    fs::remove_file(dir.path().join("hidden.png")).unwrap();
    GrayImage::from_fn(3, 2, |x, y| Luma([if x == y { 255 } else { 0 }])).save(dir.path().join("mask.png")).unwrap();
    let mask = fs::read(dir.path().join("mask.png")).unwrap();
    fs::remove_file(dir.path().join("mask.png")).unwrap();
    let yard = json!({"imagePath": "..\\pictures\\kept\\yard.PNG", "imageWidth": 6.0, "imageHeight": "4", "shapes": [
        // labelme 3 leaves the kind of polygons out, other programs write null.
        {"label": "a", "points": [[0, 0], [2, 0], [2, 1], [0, 1]]},
        {"label": "b", "shape_type": null, "points": [[2, 0], [4, 0], [4, 1], [2, 1]], "flags": {}},
        {"label": "c", "shape_type": "rectangle", "points": [[4, 0], [9, 0], [9, 1], [4, 1]]},
        {"label": 7, "shape_type": "mask", "points": [[1, 2], [3, 3]], "mask": base64(&mask)},
        {"label": "__background__", "shape_type": "rotation", "points": [[0, 0], [1, 0], [1, 1], [0, 1]]},
        {"label": "note", "shape_type": "point", "points": [[1, 1]]},
    ]});
    write(&dir.path().join("yard.json"), &yard);
    // The photo is in the file alone, whose text is UTF-16.
    let text = json!({"imagePath": "hidden.bmp", "imageData": base64(&hidden), "shapes": [
        {"label": "Stra\u{df}e", "shape_type": "circle", "points": [[2.0, 1.5], [2.0, 2.6]]}]})
    .to_string();
    let units = std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes);
    fs::write(dir.path().join("hidden.JSON"), units.collect::<Vec<u8>>()).unwrap();

    let out = dir.path().join("voc");
    let said = run("dataset import labelme {} --out {}", &[dir.path(), &out]).unwrap();
    assert!(said.contains("photos: train 2\nleft out, which --strict makes an error: 1\n"), "{said}");
    assert!(said.contains("yard in ") && said.ends_with("\"note\" is a point and has no area\n"), "{said}");
    assert_eq!(names(&out, "train"), ["background", "7", "Stra\u{df}e", "a", "b", "c"]);
    let read = samples(&out, "train");
    assert_eq!(rows(&read["yard"]), ["034455", "000000", "010000", "001000"]);
    assert_eq!(rows(&read["hidden"]), ["0000", "0220", "0000"]);
    assert_eq!(fs::read(out.join("JPEGImages/hidden.png")).unwrap(), hidden);

    // Labels that are chosen away need not be good.
    let line = "dataset import labelme {} --out {} --classes a --strict";
    run(line, &[dir.path(), &out.with_file_name("chosen")]).unwrap();
    // Bytes of another encoding.
    let latin =
        json!({"imagePath": "kept/yard.PNG", "shapes": [{"label": "Stra#e", "points": [[0, 0], [2, 0], [2, 1]]}]});
    fs::write(
        dir.path().join("yard.json"),
        latin.to_string().bytes().map(|b| if b == b'#' { 0xdf } else { b }).collect::<Vec<u8>>(),
    )
    .unwrap();
    for (more, told) in [("", true), (" --encoding latin1", false)] {
        let out = tempfile::tempdir().unwrap();
        let line = format!("dataset import labelme {{}} --out {{}}{more}");
        let said = run(&line, &[dir.path(), &out.path().join("voc")]).unwrap();
        assert_eq!(names(&out.path().join("voc"), "train"), ["background", "Stra\u{df}e"]);
        assert_eq!(said.contains("read as Windows-1252; --encoding names another"), told, "{said}");
    }
    let said = run("dataset import labelme {} --out {} --encoding klingon", &[dir.path(), &out]).unwrap_err();
    assert!(said.contains("klingon"), "{said}");
}

#[test]
fn photos_in_labelme_files_of_dotted_names_stay_apart() {
    let dir = tempfile::tempdir().unwrap();
    for (name, shade, width) in [("a.1", 10, 8), ("a.2", 200, 6), ("a", 90, 5)] {
        photo(&dir.path().join("photo.png"), width, 4, shade);
        let bytes = fs::read(dir.path().join("photo.png")).unwrap();
        let data = base64::engine::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
        let shapes = json!([{"label": "cat", "points": [[0, 0], [2, 0], [2, 2]]}]);
        write(
            &dir.path().join(format!("{name}.json")),
            &json!({"imagePath": "x", "imageData": data, "shapes": shapes}),
        );
    }
    fs::remove_file(dir.path().join("photo.png")).unwrap();
    let out = dir.path().join("voc");
    let said = run("dataset import labelme {} --out {} --classes cat,dog", &[dir.path(), &out]).unwrap();
    assert!(said.ends_with("photos: train 3\n  nothing is labelled dog\n"), "{said}");
    let read = samples(&out, "train");
    for (name, shade, width) in [("a.1", 10, 8), ("a.2", 200, 6), ("a", 90, 5)] {
        assert_eq!((read[name].width, read[name].image[0]), (width, shade), "{name}");
    }
}

#[test]
fn imports_write_only_below_their_folder_and_names_that_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    photo(&path("photos/a.png"), 6, 4, 1);
    let write_file = |category: &str| {
        let annotation = json!({"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[0, 0, 6, 0, 6, 4]]});
        let image = json!({"id": 1, "file_name": "a.png"});
        let file = json!({"images": [image], "annotations": [annotation], "categories": [{"id": 1, "name": category}]});
        write(&path("a.json"), &file);
    };
    write_file("ball");
    let (file, photos) = (path("a.json"), path("photos"));
    for split in ["../evil", "a/b", "a\\b", "..", ".hidden"] {
        let line = format!("dataset import coco {{}} --photos {{}} --out {{}} --split {split}");
        let said = run(&line, &[&file, &photos, &path("voc")]).unwrap_err();
        assert!(said.contains("a split is the name of a file"), "{split}: {said}");
    }
    let line = "dataset import coco {} --photos {} --out {}";
    for name in ["#2", "\u{feff}ball", "ba\0ll", "a:b"] {
        write_file(name);
        let said = run(line, &[&file, &photos, &path("voc")]).unwrap_err();
        assert!(said.contains("a class cannot be called"), "{name:?}: {said}");
    }
    assert!(!path("voc").exists());
    // The longest name that fits, and one more.
    write_file("ball");
    for (length, good) in [(200, true), (201, false)] {
        let name = "b".repeat(length) + ".png";
        photo(&path("photos").join(&name), 6, 4, 1);
        let text = fs::read_to_string(&file).unwrap().replace("a.png", &name);
        fs::write(path("long.json"), text).unwrap();
        let result = run(line, &[&path("long.json"), &photos, &path(&length.to_string())]);
        assert_eq!(result.is_ok(), good, "{result:?}");
    }
}

#[test]
fn ids_that_stand_for_several_things_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    photo(&path("photos/a.png"), 6, 4, 1);
    photo(&path("photos/b.png"), 6, 4, 2);
    let image = |id: Value, name: &str| json!({"id": id, "file_name": name});
    let annotation = |image: Value| json!({"image_id": image, "category_id": 1, "segmentation": [[0, 0, 6, 0, 6, 4]]});
    let import = |images: Value, annotation: Value, categories: Value| {
        write(&path("a.json"), &json!({"images": images, "annotations": [annotation], "categories": categories}));
        let _ = fs::remove_dir_all(path("voc"));
        run("dataset import coco {} --photos {} --out {}", &[&path("a.json"), &path("photos"), &path("voc")])
    };
    let ball = || json!([{"id": 1, "name": "ball"}]);
    // Texts that look alike as numbers.
    import(json!([image(json!("007"), "a.png"), image(json!("7"), "b.png")]), annotation(json!("7")), ball()).unwrap();
    let read = samples(&path("voc"), "train");
    assert!(!read["a"].mask.contains(&1) && read["b"].mask.contains(&1));
    // The photo of one of two images is missing: the other one's shapes are not known.
    for gone in ["gone.png", "a.png"] {
        let images = json!([image(json!(1), gone), image(json!(1), "b.png")]);
        let said = import(images, annotation(json!(1)), ball()).unwrap_err();
        assert!(said.contains("gives no photo") && !path("voc").exists(), "{said}");
    }
    let said = import(
        json!([image(json!(1), "a.png")]),
        annotation(json!(1)),
        json!([{"id": 1, "name": "cat"}, {"id": "1", "name": "dog"}]),
    );
    assert!(said.unwrap_err().contains("the category ID 1 stands for cat and dog"));
}

#[test]
fn masks_that_cannot_be_had_are_not_missing_ones_and_their_size_is_known_first() {
    let folder = Folder::new(2);
    let line = "dataset check {} --splits train --missing-masks background";
    let mask = folder.path("SegmentationClass/p0.png");
    fs::remove_file(&mask).unwrap();
    let said = trainer(line, &[folder.root()]).output().unwrap();
    assert!(
        String::from_utf8(said.stderr).unwrap().contains("no class is called so; the classes are floor, wall, box")
    );
    fs::write(folder.path("labelmap.txt"), "background:10,20,30::\nwall:200,100,0::\nbox:0,0,250::\n").unwrap();
    let said = trainer(line, &[folder.root()]).output().unwrap();
    assert!(
        String::from_utf8(said.stdout).unwrap().contains("1 of 2 photos have no mask and are background everywhere")
    );
    std::os::unix::fs::symlink("nowhere.png", &mask).unwrap();
    let said = String::from_utf8(trainer(line, &[folder.root()]).output().unwrap().stdout).unwrap();
    assert!(said.contains("p0.png is not a file, or a link that leads nowhere"), "{said}");
    fs::remove_file(&mask).unwrap();
    // A header alone, of 10 GB.
    let mut header = b"IHDR\0\x01\x86\xa0\0\x01\x86\xa0\x08\0\0\0\0".to_vec();
    let checksum = crc(&header).to_be_bytes();
    header.extend(checksum);
    fs::write(&mask, [&b"\x89PNG\r\n\x1a\n\0\0\0\x0d"[..], &header, b"\0\0\0\0IDAT\x35\xaf\x06\x1e"].concat()).unwrap();
    let said = String::from_utf8(trainer(line, &[folder.root()]).output().unwrap().stdout).unwrap();
    assert!(said.contains("p0.png is 100000 x 100000 pixels, but its photo"), "{said}");
}

/// The checksum of a PNG file's part.
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    };
    !bytes.iter().fold(!0, step)
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
        (json!([[1, 1, 3, 1]]), "a polygon of 2 points has no area"),
        (json!([[1, 1, 3, 1, 3, null]]), "a coordinate that is no number"),
        (json!([[1, 1, 3, 1, 3, 1e8]]), "a coordinate that is no number"),
        (json!([[90, 90, 99, 90, 99, 99]]), "covers no pixel"),
        (json!(null), "has no segmentation"),
        (json!([]), "has an empty segmentation"),
        (json!("x"), "neither polygons nor a run-length mask"),
        (json!({"size": [4, 5], "counts": [20]}), "lies on a photo of 6 x 4"),
        (json!({"size": [4, 6], "counts": [20]}), "cover 20 of 24 pixels"),
        (json!({"size": [4, 6]}), "without size and counts"),
        (json!({"size": [4, 6], "counts": [0, -1, 25]}), "without size and counts"),
    ] {
        let mut broken = instances.clone();
        broken["annotations"][0]["segmentation"] = change.clone();
        write(&path("broken.json"), &broken);
        let line = line.trim_end_matches(" --classes");
        let paths = [path("broken.json"), path("photos"), path("none")];
        let paths = paths.each_ref().map(PathBuf::as_path);
        let said = run(&format!("{line} --strict"), &paths).unwrap_err();
        assert!(said.contains(expected) && said.contains("sub/one.png"), "{change}: {said}");
        assert!(!path("none").exists());
        let said = run(line, &paths).unwrap();
        assert!(said.contains("--strict makes an error: 1\n") && said.contains(expected), "{change}: {said}");
        assert_eq!(rows(&samples(&path("none"), "train")["one"]), ["111111", "111111", "000000", "000001"], "{change}");
        fs::remove_dir_all(path("none")).unwrap();
    }
}

#[test]
fn coco_files_of_other_programs_become_masks() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for name in ["photos/one.JPG", "photos/sub/two.png"] {
        photo(&path(name), 6, 4, 1);
    }
    let square = json!([[1, 1, 3, 1, 3, 3, 1, 3]]);
    struct Case {
        name: &'static str,
        categories: Value,
        /// What is written over an annotation of photo one.
        annotation: Value,
        classes: &'static [&'static str],
        rows: [&'static str; 4],
        /// Sentences at the end.
        said: &'static [&'static str],
    }
    let ball = || json!([{"id": 1, "name": "ball"}]);
    const SQUARE: [&str; 4] = ["000000", "011000", "011000", "000000"];
    const NOTHING: [&str; 4] = ["000000"; 4];
    const BALL: &[&str] = &["background", "ball"];
    let cases = [
        Case { name: "plain", categories: ball(), annotation: json!({}), classes: BALL, rows: SQUARE, said: &[] },
        Case {
            name: "no category IDs in common",
            categories: json!([{"id": "1", "name": "ball"}]),
            annotation: json!({"category_id": 1.0}),
            classes: BALL,
            rows: SQUARE,
            said: &[],
        },
        Case {
            name: "image ID as text",
            categories: ball(),
            annotation: json!({"image_id": "1"}),
            classes: BALL,
            rows: SQUARE,
            said: &[],
        },
        Case {
            name: "flat polygon",
            categories: ball(),
            annotation: json!({"segmentation": [1, 1, 3, 1, 3, 3, 1, 3]}),
            classes: BALL,
            rows: SQUARE,
            said: &[],
        },
        Case {
            name: "points",
            categories: ball(),
            annotation: json!({"segmentation": [[1, 1], [3, 1], [3, 3], [1, 3]]}),
            classes: BALL,
            rows: SQUARE,
            said: &[],
        },
        Case {
            name: "lists of points",
            categories: ball(),
            annotation: json!({"segmentation": [[[1, 1], [3, 1], [3, 3], [1, 3]]]}),
            classes: BALL,
            rows: SQUARE,
            said: &[],
        },
        Case {
            name: "numbers as texts",
            categories: ball(),
            annotation: json!({"segmentation": [["1", "1", "3", "1", "3", "3", "1", "3"]]}),
            classes: BALL,
            rows: SQUARE,
            said: &[],
        },
        Case {
            name: "beyond the photo",
            categories: ball(),
            annotation: json!({"segmentation": [[1, 1, 99, 1, 99, 99, 1, 99]]}),
            classes: BALL,
            rows: ["000000", "011111", "011111", "011111"],
            said: &[],
        },
        Case {
            name: "a bad part",
            categories: ball(),
            annotation: json!({"segmentation": [square[0], [0, 0, 1, 1]]}),
            classes: BALL,
            rows: SQUARE,
            said: &["a part of it: a polygon of 2 points"],
        },
        Case {
            name: "crowd as bool",
            categories: ball(),
            annotation: json!({"iscrowd": false}),
            classes: BALL,
            rows: SQUARE,
            said: &[],
        },
        Case {
            name: "runs as floats",
            categories: ball(),
            annotation: json!({"segmentation": {"size": [4.0, 6.0], "counts": [5.0, 2.0, 2.0, 2.0, 13.0]}}),
            classes: BALL,
            rows: SQUARE,
            said: &[],
        },
        Case {
            name: "no image",
            categories: ball(),
            annotation: json!({"image_id": null}),
            classes: BALL,
            rows: NOTHING,
            said: &["names no image"],
        },
        Case {
            name: "a strange image",
            categories: ball(),
            annotation: json!({"image_id": 9}),
            classes: BALL,
            rows: NOTHING,
            said: &["annotations of the image 9, which is not listed: 1"],
        },
        Case {
            name: "a strange category",
            categories: ball(),
            annotation: json!({"category_id": 9}),
            classes: BALL,
            rows: NOTHING,
            said: &["names the category 9, which is none"],
        },
        Case {
            name: "background",
            categories: json!([{"id": 0, "name": "Background"}, {"id": 1, "name": "ball"}]),
            annotation: json!({}),
            classes: BALL,
            rows: SQUARE,
            said: &[],
        },
        Case {
            name: "labelled background",
            categories: json!([{"id": 1, "name": "_background_"}, {"id": 2, "name": "ball"}]),
            annotation: json!({}),
            classes: BALL,
            rows: NOTHING,
            said: &[],
        },
        Case {
            name: "one name twice",
            categories: json!([{"id": 0, "name": "ball"}, {"id": 1, "name": "ball", "supercategory": "ball"}]),
            annotation: json!({}),
            classes: BALL,
            rows: SQUARE,
            said: &[],
        },
        Case {
            name: "a group",
            categories: json!([{"id": 0, "name": "balls", "supercategory": "none"}, {"id": 1, "name": "ball", "supercategory": "balls"}]),
            annotation: json!({}),
            classes: BALL,
            rows: SQUARE,
            said: &["balls (0) groups others"],
        },
        // It labels something.
        Case {
            name: "no group",
            categories: json!([{"id": 1, "name": "balls"}, {"id": 2, "name": "ball", "supercategory": "balls"}]),
            annotation: json!({}),
            classes: &["background", "balls", "ball"],
            rows: SQUARE,
            said: &[],
        },
        // Nothing belongs to it.
        Case {
            name: "unused",
            categories: json!([{"id": 0, "name": "cup", "supercategory": "none"}, {"id": 1, "name": "ball"}]),
            annotation: json!({}),
            classes: &["background", "cup", "ball"],
            rows: ["000000", "022000", "022000", "000000"],
            said: &[],
        },
        Case {
            name: "a nameless one",
            categories: json!([{"id": 1, "name": "ball"}, {"id": 2}]),
            annotation: json!({}),
            classes: BALL,
            rows: SQUARE,
            said: &["a category without an ID or a name"],
        },
    ];
    for Case { name, categories, annotation, classes, rows: expected, said: sentences } in cases {
        let mut written = json!({"id": 5, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": square});
        annotation.as_object().unwrap().iter().for_each(|(key, value)| written[key] = value.clone());
        let file = json!({"images": [
                {"id": 1, "file_name": "C:\\data\\one.JPG", "width": 6, "height": 4},
                {"id": 2.0, "file_name": "../../sub/two.png", "width": null},
            ], "annotations": [written], "categories": categories});
        write(&path("a.json"), &file);
        let out = tempfile::tempdir().unwrap();
        let voc = out.path().join("voc");
        let line = "dataset import coco {} --photos {} --out {}";
        let said =
            run(line, &[&path("a.json"), &path("photos"), &voc]).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(
            said.contains("photos: train 2\n") && sentences.iter().all(|part| said.contains(part)),
            "{name}: {said}"
        );
        assert_eq!(said.lines().filter(|line| line.starts_with("  ")).count(), sentences.len(), "{name}: {said}");
        assert_eq!(names(&voc, "train"), classes, "{name}");
        assert_eq!(rows(&samples(&voc, "train")["one"]), expected, "{name}");
    }
}

#[test]
fn bad_images_and_python_numbers_in_coco_files_do_not_stop_an_import() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    photo(&path("photos/one.png"), 6, 4, 1);
    photo(&path("outside.png"), 6, 4, 1);
    fs::write(path("photos/gif.gif"), "GIF").unwrap();
    let images = [
        (json!({"id": 1, "file_name": "one.png", "width": 6, "height": 4}), ""),
        (json!({"id": 2, "file_name": "two.png", "width": 6, "height": 4}), "two.png is not in"),
        (json!({"id": 3, "file_name": "../outside.png"}), "../outside.png is not in"),
        (json!({"id": 4, "file_name": "one.png"}), "one.png is listed twice"),
        (json!({"id": 5}), "an image cannot be read"),
        (json!({"file_name": "one.png", "id": null}), "one.png has no ID"),
        (json!({"id": 7, "file_name": "gif.gif"}), "gif.gif"),
    ];
    let annotations: Vec<Value> = (1..=7)
        .map(|image| json!({"id": image, "image_id": image, "category_id": 1, "segmentation": [[0, 0, 6, 0, 6, 4]]}))
        .collect();
    let listed: Vec<&Value> = images.iter().map(|(image, _)| image).collect();
    let file = json!({"images": listed, "annotations": annotations, "categories": [{"id": 1, "name": "ball"}]});
    let text = file.to_string().replace("\"id\":1,\"image_id\"", "\"score\":NaN,\"id\":1,\"image_id\"");
    assert!(text.contains("NaN"));
    fs::write(path("a.json"), text).unwrap();
    let said = run("dataset import coco {} --photos {} --out {}", &[&path("a.json"), &path("photos"), &path("voc")]);
    let said = said.unwrap();
    assert!(said.contains("photos: train 1\n"), "{said}");
    for (image, sentence) in &images {
        assert!(said.contains(sentence), "{image}: {said}");
    }
    assert!(samples(&path("voc"), "train")["one"].mask.contains(&1));
    // Names of others do not reach the terminal as they are.
    let text = file.to_string().replace("\"ball\"", "\"ball\\u001b[2J\"");
    fs::write(path("a.json"), text.replace("two.png", "two\\u001b[2J.png")).unwrap();
    let said = run("dataset import coco {} --photos {} --out {}", &[&path("a.json"), &path("photos"), &path("none")]);
    let said = said.unwrap_err();
    assert!(said.contains("cannot be called \"ball\\u{1b}[2J\"") && !said.contains('\u{1b}'), "{said:?}");
    fs::write(path("a.json"), "{\"images\": []").unwrap();
    let said = run("dataset import coco {} --photos {} --out {}", &[&path("a.json"), &path("photos"), &path("none")]);
    assert!(said.unwrap_err().contains("is not a file of COCO instances"));
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
        "there is no JPEGImages/gone.jpg (or .jpeg, .png)",
        "  listed more than once: p5\n",
        "  void everywhere, so that they teach nothing: 1 photos\n",
        "the same photo: train/p0, val/copy\n",
        "the same photo: train/p4, val/p4\n",
        "\n6 problems\n",
    ] {
        assert!(said.contains(expected), "{expected} is not in {said}");
    }
    let report = check(&Place::new(folder.root(), MissingMasks::Refuse), &["train".to_owned()]).unwrap();
    assert_eq!((report.problems(), report.duplicates.len(), report.splits[0].broken.len()), (4, 0, 3));
    let missing = run("dataset check {} --splits dusk", &[folder.root()]).unwrap_err();
    assert!(missing.contains("the splits here are train, val"), "{missing}");
}
