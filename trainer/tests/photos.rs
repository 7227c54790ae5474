//! Photos turned by their EXIF data, damaged ones, and masks whose palettes say something else than labelmap.txt.

use std::fs;
use std::path::Path;

use data::{Folder, trainer};
use png::{BitDepth, ColorType};
use serde_json::json;
use trainer::data::{Dataset, MissingMasks, Place, VOID};
use trainer::dataset::check::check;

mod data;

/// EXIF data with an orientation.
fn exif(orientation: u8) -> Vec<u8> {
    [&b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"[..], &[orientation], &[0; 6]].concat()
}

fn png_file(path: &Path, (width, height): (u32, u32), color: ColorType, orientation: u8, palette: &[u8], bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut info = png::Info::with_size(width, height);
    (info.color_type, info.bit_depth) = (color, BitDepth::Eight);
    info.palette = (color == ColorType::Indexed).then(|| palette.to_vec().into());
    info.exif_metadata = (orientation != 1).then(|| exif(orientation).into());
    let encoder = png::Encoder::with_info(fs::File::create(path).unwrap(), info).unwrap();
    encoder.write_header().unwrap().write_image_data(bytes).unwrap();
}

/// Pixels 1 to 6 stored in two rows, and upright for some orientations, as Pillow's ImageOps.exif_transpose turns them.
const UPRIGHT: [(u8, (u32, u32), [u8; 6]); 8] = [
    (1, (3, 2), [1, 2, 3, 4, 5, 6]),
    (2, (3, 2), [3, 2, 1, 6, 5, 4]),
    (3, (3, 2), [6, 5, 4, 3, 2, 1]),
    (4, (3, 2), [4, 5, 6, 1, 2, 3]),
    (5, (2, 3), [1, 4, 2, 5, 3, 6]),
    (6, (2, 3), [4, 1, 5, 2, 6, 3]),
    (7, (2, 3), [6, 3, 5, 2, 4, 1]),
    (8, (2, 3), [3, 6, 2, 5, 1, 4]),
];

/// A split `train` of one photo `a`, stored as the pixels 1 to 6 in two rows.
fn one_photo(orientation: u8) -> Folder {
    let folder = Folder::new(0);
    png_file(&folder.path("JPEGImages/a.png"), (3, 2), ColorType::Grayscale, orientation, &[], &[1, 2, 3, 4, 5, 6]);
    folder.split("train", &["a"]);
    // VOC's 21 classes.
    fs::remove_file(folder.path("labelmap.txt")).unwrap();
    folder
}

#[test]
fn photos_and_masks_are_turned_upright() {
    for (orientation, size, pixels) in UPRIGHT {
        let folder = one_photo(orientation);
        let mask = folder.path("SegmentationClass/a.png");
        png_file(&mask, size, ColorType::Grayscale, 1, &[], &pixels);
        let dataset = Dataset::open(folder.root(), "train").unwrap();
        let (sample, facts) = dataset.read_with_facts(0).unwrap();
        assert_eq!((sample.width as u32, sample.height as u32), size, "{orientation}");
        assert_eq!(dataset.size(0), Ok((sample.height, sample.width)));
        let grey: Vec<u8> = sample.image.chunks(3).map(|pixel| pixel[0]).collect();
        assert_eq!((&grey[..], &sample.mask[..]), (&pixels[..], &pixels[..]), "{orientation}");
        assert_eq!((facts.turned, facts.unsure), (false, (2..=4).contains(&orientation)), "{orientation}");
        // A mask that lies as the photo is stored.
        if size == (2, 3) {
            png_file(&mask, (3, 2), ColorType::Grayscale, 1, &[], &[1, 2, 3, 4, 5, 6]);
            let (sample, facts) = Dataset::open(folder.root(), "train").unwrap().read_with_facts(0).unwrap();
            assert_eq!((&sample.mask[..], facts.turned, facts.unsure), (&pixels[..], true, false), "{orientation}");
        }
        for wrong in [(6, 1), (1, 6)] {
            png_file(&mask, wrong, ColorType::Grayscale, 1, &[], &[0; 6]);
            let error = Dataset::open(folder.root(), "train").unwrap().read(0).unwrap_err().to_string();
            assert!(error.contains(&format!("but its photo {}", folder.path("JPEGImages/a.png").display())), "{error}");
        }
    }
}

#[test]
fn imported_shapes_lie_on_the_upright_photo() {
    // One pixel, given as labelme and COCO show it, and as programs do that leave photos as they are stored.
    for (orientation, (width, height), pixels) in UPRIGHT {
        for (size, place) in
            [((width, height), pixels.iter().position(|&pixel| pixel == 3).unwrap() as u32), ((3, 2), 2)]
        {
            if size == (width, height) && size == (3, 2) && place == 2 && pixels[2] != 3 {
                continue;
            }
            let dir = tempfile::tempdir().unwrap();
            let photo = dir.path().join("a.png");
            png_file(&photo, (3, 2), ColorType::Grayscale, orientation, &[], &[1, 2, 3, 4, 5, 6]);
            let (x, y) = (place % size.0, place / size.0);
            let corners = [[x, y], [x + 1, y], [x + 1, y + 1], [x, y + 1]];
            let labelme = json!({"imagePath": "a.png", "imageWidth": size.0, "imageHeight": size.1,
                "shapes": [{"label": "cat", "shape_type": "polygon", "points": corners}]});
            let coco = json!({"images": [{"id": 1, "file_name": "a.png", "width": size.0, "height": size.1}],
                "categories": [{"id": 1, "name": "cat"}],
                "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 1,
                    "segmentation": [corners.as_flattened()]}]});
            fs::write(dir.path().join("a.json"), labelme.to_string()).unwrap();
            let coco_file = tempfile::tempdir().unwrap();
            fs::write(coco_file.path().join("coco.json"), coco.to_string()).unwrap();
            let out = tempfile::tempdir().unwrap();
            let runs = [
                ("labelme", vec![dir.path().to_owned()]),
                ("coco", vec![coco_file.path().join("coco.json"), dir.path().to_owned()]),
            ];
            for (kind, mut paths) in runs {
                paths.push(out.path().join(kind));
                let line = if kind == "coco" {
                    "dataset import coco {} --photos {} --out {}"
                } else {
                    "dataset import labelme {} --out {}"
                };
                let paths: Vec<&Path> = paths.iter().map(|path| path.as_path()).collect();
                let output = trainer(line, &paths).output().unwrap();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                let sample = Dataset::open(&out.path().join(kind), "train").unwrap().read(0).unwrap();
                let expected = pixels.map(|pixel| u8::from(pixel == 3));
                assert_eq!(sample.mask, expected, "{kind} {orientation} {size:?}");
            }
        }
    }
}

/// What a mask of the values 0, 1, 1, 2, 2, 255 with this palette is read as; whether it went by colour.
fn read_palette(labelmap: &str, palette: &[[u8; 3]], values: [u8; 6]) -> Result<(Vec<u8>, bool), String> {
    let folder = one_photo(1);
    fs::write(folder.path("labelmap.txt"), labelmap).unwrap();
    let mask = folder.path("SegmentationClass/a.png");
    png_file(&mask, (3, 2), ColorType::Indexed, 1, palette.as_flattened(), &values);
    let read = Dataset::open(folder.root(), "train").unwrap().read_with_facts(0);
    read.map(|(sample, facts)| (sample.mask, facts.by_color)).map_err(|error| error.to_string())
}

const BLACK: [u8; 3] = [0, 0, 0];
const RED: [u8; 3] = [255, 0, 0];
const GREEN: [u8; 3] = [0, 255, 0];
const PINK: [u8; 3] = [255, 0, 255];
const WHITE: [u8; 3] = [255, 255, 255];
const VOID_COLOR: [u8; 3] = [224, 224, 192];
const CLASSES: &str = "background:0,0,0::\ncar:255,0,0::\ntree:0,255,0::\n";

#[test]
fn palettes_in_another_order_go_by_colour() {
    let voc: Vec<[u8; 3]> = (0..=255).map(fcn::palette::voc_color).collect();
    let ramp: Vec<[u8; 3]> = (0..=255).map(|shade| [shade; 3]).collect();
    // The VOC colours of the indices 1, 0 and 2, as CVAT sorts its classes.
    let sorted = "aeroplane:128,0,0::\nbackground:0,0,0::\nbird:0,128,0::\n";
    struct Case<'a> {
        name: &'a str,
        labelmap: &'a str,
        palette: &'a [[u8; 3]],
        values: [u8; 6],
        mask: [u8; 6],
        by_color: bool,
    }
    let case = Case {
        name: "",
        labelmap: CLASSES,
        palette: &[],
        values: [0, 1, 1, 2, 2, VOID],
        mask: [0, 1, 1, 2, 2, VOID],
        by_color: false,
    };
    for Case { name, labelmap, palette, values, mask, by_color } in [
        Case { name: "the classes' own", palette: &[BLACK, RED, GREEN], ..case },
        Case {
            name: "another order",
            palette: &[RED, GREEN, BLACK],
            mask: [1, 2, 2, 0, 0, VOID],
            by_color: true,
            ..case
        },
        Case {
            name: "two exchanged",
            palette: &[BLACK, GREEN, RED],
            mask: [0, 2, 2, 1, 1, VOID],
            by_color: true,
            ..case
        },
        Case {
            name: "void in it",
            palette: &[RED, VOID_COLOR, BLACK, GREEN],
            values: [0, 1, 1, 2, 3, 3],
            mask: [1, VOID, VOID, 0, 2, 2],
            by_color: true,
            ..case
        },
        Case {
            name: "one colour twice",
            palette: &[RED, BLACK, BLACK],
            mask: [1, 0, 0, 0, 0, VOID],
            by_color: true,
            ..case
        },
        Case {
            name: "an index beyond the classes",
            palette: &[BLACK, RED, GREEN, RED],
            values: [0, 3, 3, 2, 2, 0],
            mask: [0, 1, 1, 2, 2, 0],
            by_color: true,
            ..case
        },
        Case {
            name: "unused colours do not count",
            palette: &[BLACK, RED, PINK, WHITE],
            values: [0, 1, 1, 0, 0, 1],
            mask: [0, 1, 1, 0, 0, 1],
            ..case
        },
        Case {
            name: "unused colours do not count beside another order",
            palette: &[RED, BLACK, PINK],
            values: [0, 1, 1, 0, 0, 1],
            mask: [1, 0, 0, 1, 1, 0],
            by_color: true,
            ..case
        },
        Case { name: "colours of nobody", palette: &[PINK, WHITE, [1, 2, 3]], ..case },
        Case { name: "one of nobody beside right ones", palette: &[BLACK, RED, PINK], ..case },
        Case { name: "VOC's palette", palette: &voc, ..case },
        Case { name: "a ramp of greys", palette: &ramp, ..case },
        Case { name: "a short ramp", palette: &ramp[..3], ..case },
        // Index 1 of VOC is index 2 here, by chance: the third colour is nobody's.
        Case {
            name: "VOC's palette, one colour in common",
            labelmap: "a:0,0,0::\nb:9,9,9::\nc:128,0,0::\n",
            palette: &voc,
            ..case
        },
        Case {
            name: "VOC's palette, another order",
            labelmap: sorted,
            palette: &voc,
            mask: [1, 0, 0, 2, 2, VOID],
            by_color: true,
            ..case
        },
        Case {
            name: "the same, shorter",
            labelmap: sorted,
            palette: &voc[..3],
            mask: [1, 0, 0, 2, 2, VOID],
            by_color: true,
            ..case
        },
        Case {
            name: "a ramp whose white is a class",
            labelmap: "background:0,0,0::\nobject:255,255,255::\n",
            palette: &ramp,
            values: [0, 0, 1, 1, 0, VOID],
            mask: [0, 0, 1, 1, 0, VOID],
            ..case
        },
    ] {
        assert_eq!(read_palette(labelmap, palette, values), Ok((mask.to_vec(), by_color)), "{name}");
    }
}

#[test]
fn palettes_that_contradict_the_classes_are_refused() {
    for palette in [[BLACK, GREEN, PINK], [RED, PINK, GREEN], [PINK, BLACK, WHITE]] {
        let error = read_palette(CLASSES, &palette, [0, 1, 1, 2, 2, VOID]).unwrap_err();
        assert!(error.contains("its palette shows index") && error.contains("labelmap.txt"), "{error}");
    }
    // Without the third colour there is no contradiction.
    assert_eq!(
        read_palette(CLASSES, &[BLACK, GREEN, PINK], [0, 1, 1, 1, 0, VOID]),
        Ok((vec![0, 2, 2, 2, 0, VOID], true))
    );
}

#[test]
fn damaged_photos_and_masks_are_problems() {
    let folder = Folder::new(3);
    for (file, share) in [("JPEGImages/p0.png", 0.9), ("JPEGImages/p1.png", 0.5), ("SegmentationClass/p2.png", 0.98)] {
        let whole = fs::read(folder.path(file)).unwrap();
        fs::write(folder.path(file), &whole[..(whole.len() as f64 * share) as usize]).unwrap();
        let report = check(&Place::new(folder.root(), MissingMasks::Refuse), &["train".to_owned()]).unwrap();
        assert!(report.splits[0].broken.iter().any(|sentence| sentence.contains(file)), "{report}");
    }
}

#[test]
fn a_single_class_is_refused_before_training() {
    let folder = Folder::new(2);
    fs::write(folder.path("labelmap.txt"), "\u{feff}disc:250,0,0::\r\n").unwrap();
    let out = folder.path("run");
    for (line, paths) in
        [("train --data {} --out {}", vec![folder.root(), &out]), ("dataset check {}", vec![folder.root()])]
    {
        let output = trainer(line, &paths).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && said.contains("\"disc\" alone") && said.contains("background:0,0,0::"),
            "{said}"
        );
    }
    assert!(!out.exists());
}

#[test]
fn masks_that_teach_nothing_are_problems_and_warnings() {
    let folder = Folder::new(2);
    for id in ["p0", "p1"] {
        let number = u32::from(id == "p1");
        folder.mask(id, 90 + number, 80 + number, |x, _| if x < 30 { 255 } else { 0 });
    }
    let output = trainer("dataset check {} --splits train", &[folder.root()]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("  problem: the masks hold the values 0 and 255 alone") && said.ends_with("\n1 problem\n"),
        "{said}"
    );
    let line = "train --data {} --out {} --epochs 1 --batch 2 --crop 64x64";
    let output = trainer(line, &[folder.root(), &folder.path("run")]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let (warning, epoch) = (said.find("warning: training photos: the masks hold"), said.find("\nepoch "));
    assert!(output.status.success() && warning.is_some() && warning < epoch, "{said}");
}

#[test]
fn the_background_is_found_by_its_name() {
    // As CVAT sorts classes: the second one is the background, which no overlay paints and no palette colours.
    let folder = Folder::new(2);
    fs::write(folder.path("labelmap.txt"), "animal:200,0,0::\nBackground:10,20,30::\nplant:0,200,0::\n").unwrap();
    let (run, file, out) = (folder.path("run"), folder.path("model.onnx"), folder.path("labelled"));
    data::success(
        "train --data {} --out {} --epochs 1 --batch 2 --crop 64x64 --recipe d2l --weights none",
        &[folder.root(), &run],
    );
    data::success("export {} --onnx {}", &[&run, &file]);
    let segmenter = fcn::Segmenter::from_file(&file, &fcn::Options::default()).unwrap();
    assert_eq!((segmenter.card().unwrap().background, segmenter.background()), (Some(1), Some(1)));
    let state = trainer::checkpoint::Checkpoint::best(&run).unwrap().state;
    assert_eq!((state.config.void_is_background, state.config.background), (true, 1));
    let dataset = Dataset::open(folder.root(), "train").unwrap();
    let sample = trainer::evaluate::read(&dataset, 0, true).unwrap();
    assert!(sample.mask[..90].iter().all(|&label| label == 1), "void is background");
    for model in [&run, &file] {
        data::success("predict {} {} --out {} --outline 0 --force", &[model, &folder.path("JPEGImages/p0.png"), &out]);
        let read = |name: &str| fcn::read_image(out.join(name)).unwrap().pixels;
        let (photo, overlay, labels) =
            (fcn::read_image(folder.path("JPEGImages/p0.png")).unwrap().pixels, read("p0_overlay.png"), read("p0.png"));
        for ((photo, overlay), label) in photo.chunks(3).zip(overlay.chunks(3)).zip(labels.chunks(3)) {
            assert_eq!(photo == overlay, label == [10, 20, 30] || blended(photo, label) == photo, "{label:?}");
        }
    }
}

/// A photo's pixel with half of the colour that a class is drawn in.
fn blended(photo: &[u8], color: &[u8]) -> Vec<u8> {
    let color = [color[0], color[1], color[2]];
    let drawn = fcn::palette::Class { name: String::new(), color }.display_color();
    photo.iter().zip(drawn).map(|(&a, b)| (f32::from(a) + (f32::from(b) - f32::from(a)) * 0.5).round() as u8).collect()
}

#[test]
fn byte_order_marks_are_no_part_of_names() {
    let folder = Folder::new(2);
    let marked =
        |name: &str, text: &str| fs::write(folder.path(name), format!("\u{feff}{text}").replace('\n', "\r\n")).unwrap();
    marked("labelmap.txt", "floor:10,20,30::\nwall:200,100,0::\nbox:0,0,250::\n");
    marked("ImageSets/Segmentation/train.txt", "p0\np1\n");
    let dataset = Dataset::open(folder.root(), "train").unwrap();
    assert_eq!((dataset.len(), dataset.id(0), &dataset.classes()[0].name[..]), (2, "p0", "floor"));
    fs::write(folder.path("ImageSets/Segmentation/train.txt"), b"\xff\xfep\x000\x00").unwrap();
    let error = Dataset::open(folder.root(), "train").err().unwrap().to_string();
    assert!(error.contains("train.txt cannot be read: it is UTF-16"), "{error}");
}
