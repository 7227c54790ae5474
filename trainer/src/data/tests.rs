use std::fs;
use std::path::{Path, PathBuf};

use image::RgbImage;
use png::{BitDepth, ColorType};
use tempfile::TempDir;

use super::*;

/// A small data set in its own folder.
pub(crate) struct Folder {
    dir: TempDir,
}

impl Folder {
    pub(crate) fn new() -> Folder {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["JPEGImages", "SegmentationClass", "ImageSets/Segmentation"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        Folder { dir }
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.root().join(path);
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn split(&self, ids: &[&str]) {
        self.write("ImageSets/Segmentation/train.txt", ids.join("\n"));
    }

    /// A lossless photo, so that tests can identify its pixels.
    pub(crate) fn photo(&self, id: &str, width: u32, height: u32, pixel: impl Fn(u32, u32) -> [u8; 3]) {
        let photo = RgbImage::from_fn(width, height, |x, y| image::Rgb(pixel(x, y)));
        photo.save(self.root().join(format!("JPEGImages/{id}.png"))).unwrap();
    }

    pub(crate) fn mask(&self, id: &str, width: u32, height: u32, index: impl Fn(u32, u32) -> u8) {
        let indices: Vec<u8> =
            (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| index(x, y)).collect();
        self.png(id, ColorType::Indexed, BitDepth::Eight, (width, height), &indices);
    }

    /// A mask from raw rows in PNG's packed form.
    fn png(&self, id: &str, color: ColorType, depth: BitDepth, (width, height): (u32, u32), rows: &[u8]) {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if color == ColorType::Indexed {
            // Colours that differ from the labelmap's: only the indices should matter.
            let entries = 1usize << (depth as usize);
            encoder.set_palette((0..3 * entries).map(|i| (i * 7 % 256) as u8).collect::<Vec<u8>>());
        }
        encoder.write_header().unwrap().write_image_data(rows).unwrap();
        self.write(&format!("SegmentationClass/{id}.png"), bytes);
    }
}

/// One photo `a` of 5 x 2 pixels with a mask of class 0.
fn one_photo() -> Folder {
    let folder = Folder::new();
    folder.photo("a", 5, 2, |x, y| [x as u8, y as u8, 7]);
    folder.mask("a", 5, 2, |_, _| 0);
    folder.split(&["a"]);
    folder
}

const LABELMAP: &str =
    "# label:color_rgb:parts:actions\nsky:1,2,3::\n\nroad:10,20,30:wheel:\nvoid:0,0,0::\n tree : 9, 8, 7\n";
/// The colours of `INDICES` by `LABELMAP`.
const COLORS: [[u8; 3]; 10] = [
    [1, 2, 3],
    [10, 20, 30],
    [0, 0, 0],
    [9, 8, 7],
    [224, 224, 192],
    [1, 2, 3],
    [1, 2, 3],
    [0, 0, 0],
    [224, 224, 192],
    [9, 8, 7],
];
const INDICES: [u8; 10] = [0, 1, 2, 3, VOID, 0, 0, 2, VOID, 3];

#[test]
fn labelmap_gives_classes_in_its_order() {
    let folder = one_photo();
    folder.write("labelmap.txt", LABELMAP);
    let dataset = Dataset::open(folder.root(), "train").unwrap();
    let classes: Vec<_> = dataset.classes().iter().map(|class| (class.name.as_str(), class.color)).collect();
    assert_eq!(classes, [("sky", [1, 2, 3]), ("road", [10, 20, 30]), ("void", [0, 0, 0]), ("tree", [9, 8, 7])]);
}

#[test]
fn without_labelmap_the_classes_are_those_of_voc() {
    let dataset = Dataset::open(one_photo().root(), "train").unwrap();
    assert_eq!(dataset.classes().len(), 21);
    assert_eq!(dataset.classes()[8].name, "cat");
}

#[test]
fn photo_and_mask_are_read_as_stored() {
    let folder = one_photo();
    folder.mask("a", 5, 2, |x, y| if x == 4 { VOID } else { (x + 10 * y) as u8 });
    folder.write("ImageSets/Segmentation/train.txt", "\r\n a \r\n\r\n");
    let dataset = Dataset::open(folder.root(), "train").unwrap();
    assert_eq!((dataset.len(), dataset.id(0), dataset.size(0)), (1, "a", Ok((2, 5))));
    let sample = dataset.read(0).unwrap();
    assert_eq!((sample.id.as_str(), sample.width, sample.height), ("a", 5, 2));
    assert_eq!(sample.image[..6], [0, 0, 7, 1, 0, 7]);
    assert_eq!(sample.image[15..18], [0, 1, 7]);
    assert_eq!(sample.mask, [0, 1, 2, 3, VOID, 10, 11, 12, 13, VOID]);
}

#[test]
fn jpeg_photos_are_found_by_either_ending() {
    for ending in ["jpg", "jpeg"] {
        let folder = one_photo();
        fs::remove_file(folder.root().join("JPEGImages/a.png")).unwrap();
        let grey = RgbImage::from_pixel(5, 2, image::Rgb([90, 90, 90]));
        grey.save(folder.root().join(format!("JPEGImages/a.{ending}"))).unwrap();
        let dataset = Dataset::open(folder.root(), "train").unwrap();
        assert_eq!(dataset.size(0), Ok((2, 5)), "{ending}");
        let image = dataset.read(0).unwrap().image;
        assert!(image.len() == 30 && image.iter().all(|&value| value.abs_diff(90) <= 2), "{ending}: {image:?}");
    }
}

#[test]
fn all_kinds_of_masks_give_the_same_indices() {
    let rgb = COLORS.concat();
    let rgba: Vec<u8> = COLORS.iter().flat_map(|&[r, g, b]| [r, g, b, 100]).collect();
    let cases = [
        ("palette", ColorType::Indexed, INDICES.to_vec()),
        ("greyscale", ColorType::Grayscale, INDICES.to_vec()),
        ("RGB", ColorType::Rgb, rgb),
        ("RGBA", ColorType::Rgba, rgba),
    ];
    for (name, color, rows) in cases {
        let folder = one_photo();
        folder.write("labelmap.txt", LABELMAP);
        folder.png("a", color, BitDepth::Eight, (5, 2), &rows);
        let sample = Dataset::open(folder.root(), "train").unwrap().read(0).unwrap();
        assert_eq!(sample.mask, INDICES, "{name}");
    }
}

#[test]
fn packed_palettes_are_unpacked() {
    // 5 x 2 pixels, written out by hand: the first pixel of a byte is in its highest bits, and rows
    // start a new byte.
    let cases: [(BitDepth, &[u8], [u8; 10]); 3] = [
        (BitDepth::One, &[0b1011_0000, 0b0100_1111], [1, 0, 1, 1, 0, 0, 1, 0, 0, 1]),
        (BitDepth::Two, &[0b00_01_10_11, 0b10_00_00_00, 0b11_10_01_00, 0b01_11_11_11], [0, 1, 2, 3, 2, 3, 2, 1, 0, 1]),
        (BitDepth::Four, &[0x0f, 0x1e, 0x20, 0x43, 0x56, 0x7f], [0, 15, 1, 14, 2, 4, 3, 5, 6, 7]),
    ];
    for (depth, rows, expected) in cases {
        for color in [ColorType::Indexed, ColorType::Grayscale] {
            let folder = one_photo();
            folder.png("a", color, depth, (5, 2), rows);
            let sample = Dataset::open(folder.root(), "train").unwrap().read(0).unwrap();
            assert_eq!(sample.mask, expected, "{color:?} {depth:?}");
        }
    }
}

#[test]
fn a_class_may_take_the_void_colour() {
    let folder = one_photo();
    folder.write("labelmap.txt", "sky:1,2,3::\nvoid:224,224,192::\n");
    folder.png("a", ColorType::Rgb, BitDepth::Eight, (5, 2), &[224, 224, 192].repeat(10));
    let sample = Dataset::open(folder.root(), "train").unwrap().read(0).unwrap();
    assert_eq!(sample.mask, [1; 10]);
}

/// Opens and reads everything, and returns the expected error.
fn failure(folder: &Folder) -> String {
    let read_all = |dataset: Dataset| {
        dataset.size(0)?;
        dataset.read(0)
    };
    Dataset::open(folder.root(), "train").and_then(read_all).expect_err("bad input").to_string()
}

#[test]
fn errors_name_the_file_and_the_value() {
    struct Case {
        name: &'static str,
        spoil: fn(&Folder),
        /// The message after the folder's name; the folder's name itself is written `ROOT`.
        message: &'static str,
    }
    let cases = [
        Case {
            name: "split without a photo",
            spoil: |folder| folder.split(&["", "  "]),
            message: "ROOT/ImageSets/Segmentation/train.txt names no photo; write one ID a line",
        },
        Case {
            name: "split is not text",
            spoil: |folder| drop(folder.write("ImageSets/Segmentation/train.txt", [0xff, 0xfe])),
            message: "ROOT/ImageSets/Segmentation/train.txt cannot be read: it is UTF-16 or no text at all; save it as UTF-8",
        },
        Case {
            name: "photo is missing",
            spoil: |folder| folder.split(&["a", "b"]),
            message: "ROOT/ImageSets/Segmentation/train.txt lists b, but there is no JPEGImages/b.jpg (or .jpeg, .png); \
                      add the file or remove the line",
        },
        Case {
            name: "mask is missing",
            spoil: |folder| fs::remove_file(folder.root().join("SegmentationClass/a.png")).unwrap(),
            message: "ROOT/ImageSets/Segmentation/train.txt lists a, but there is no SegmentationClass/a.png; add the file, \
                      remove the line, or take photos without a mask for background everywhere with --missing-masks \
                      background",
        },
        Case {
            name: "two photos of an ID",
            spoil: |folder| drop(folder.write("JPEGImages/a.JPG", "")),
            message: "ROOT/JPEGImages/a.JPG and ROOT/JPEGImages/a.png have the same ID; remove one of them",
        },
        Case {
            name: "size mismatch",
            spoil: |folder| folder.mask("a", 4, 3, |_, _| 0),
            message: "ROOT/SegmentationClass/a.png is 4 x 3 pixels, but its photo ROOT/JPEGImages/a.png is 5 x 2; a \
                      mask must have its photo's size",
        },
        Case {
            name: "index out of range",
            spoil: |folder| folder.mask("a", 5, 2, |x, y| if (x, y) == (3, 1) { 21 } else { 20 }),
            message: "ROOT/SegmentationClass/a.png: the pixel at x 3, y 1 has class index 21, but there are 21 classes \
                      (0 to 20, and 255 for void); correct the mask or add the class to labelmap.txt",
        },
        Case {
            name: "unknown colour",
            spoil: |folder| {
                let mut pixels = [[0, 0, 0]; 10];
                pixels[7] = [1, 2, 200];
                folder.png("a", ColorType::Rgb, BitDepth::Eight, (5, 2), &pixels.concat());
            },
            message: "ROOT/SegmentationClass/a.png: the pixel at x 2, y 1 has the colour (1, 2, 200), which belongs to \
                      no class; correct the mask or add the colour to labelmap.txt",
        },
        Case {
            name: "classes of one colour, coloured mask",
            spoil: |folder| {
                folder.write("labelmap.txt", "sky:1,2,3::\nroad:0,0,0::\ntree:1,2,3::");
                folder.png("a", ColorType::Rgb, BitDepth::Eight, (5, 2), &[0; 30]);
            },
            message: "ROOT/SegmentationClass/a.png is a coloured mask, but classes \"sky\" and \"tree\" share the \
                      colour (1, 2, 3), so a coloured mask cannot tell them apart; give each its own colour",
        },
        Case {
            name: "mask of 16 bits",
            spoil: |folder| folder.png("a", ColorType::Grayscale, BitDepth::Sixteen, (5, 2), &[0; 20]),
            message: "ROOT/SegmentationClass/a.png is a Grayscale PNG of 16 bits a channel; a mask must be palette, \
                      greyscale, RGB or RGBA of at most 8 bits",
        },
        Case {
            name: "labelmap line without colour",
            spoil: |folder| drop(folder.write("labelmap.txt", "# names\nsky:1,2,3::\nroad:::\n")),
            message: "ROOT/labelmap.txt line 3: \"road:::\" is not of the form name:R,G,B:: with R, G and B from 0 to \
                      255",
        },
        Case {
            name: "labelmap colour beyond a byte",
            spoil: |folder| drop(folder.write("labelmap.txt", "sky:1,2,256::")),
            message: "ROOT/labelmap.txt line 1: \"sky:1,2,256::\" is not of the form name:R,G,B:: with R, G and B from \
                      0 to 255",
        },
        Case {
            name: "labelmap without classes",
            spoil: |folder| drop(folder.write("labelmap.txt", "# nothing\n")),
            message: "ROOT/labelmap.txt names no class; write one as name:R,G,B:: a line",
        },
        Case {
            name: "too many classes",
            spoil: |folder| drop(folder.write("labelmap.txt", "x:1,2,3::\n".repeat(256))),
            message: "ROOT/labelmap.txt names 256 classes, more than the 255 that fit a mask's byte beside void; merge \
                      some",
        },
    ];
    for Case { name, spoil, message } in cases {
        let folder = one_photo();
        spoil(&folder);
        let root = folder.root().display().to_string();
        assert_eq!(failure(&folder).replace(&root, "ROOT"), message, "{name}");
    }
}

#[test]
fn endings_may_be_in_capitals_and_ids_in_folders() {
    for (photo, mask, id) in [
        ("JPEGImages/a.PNG", "SegmentationClass/a.PNG", "a"),
        ("JPEGImages/a.JPG", "SegmentationClass/a.Png", "a"),
        ("JPEGImages/a.Jpeg", "SegmentationClass/a.png", "a"),
        ("JPEGImages/x/y/a.PNG", "SegmentationClass/x/y/a.png", "x/y/a"),
        ("JPEGImages/a.b.jpg", "SegmentationClass/a.b.png", "a.b"),
    ] {
        let folder = one_photo();
        for (from, to) in [("JPEGImages/a.png", photo), ("SegmentationClass/a.png", mask)] {
            let [from, to] = [from, to].map(|file| folder.root().join(file));
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::rename(from, to).unwrap();
        }
        folder.split(&[id]);
        assert_eq!(Dataset::open(folder.root(), "train").unwrap().read(0).unwrap().id, id);
    }
    // Other kinds of files next to the photo do not count.
    let folder = one_photo();
    folder.write("JPEGImages/a.json", "{}");
    assert!(Dataset::open(folder.root(), "train").is_ok());
}

#[test]
fn photos_without_a_mask_may_be_background_everywhere() {
    for (labelmap, label) in [("background:0,0,0::\nsky:1,2,3::", 0), ("apple:1,2,3::\nbackground:0,0,0::", 1)] {
        let folder = one_photo();
        folder.write("labelmap.txt", labelmap);
        fs::remove_file(folder.root().join("SegmentationClass/a.png")).unwrap();
        let dataset = Place::new(folder.root(), MissingMasks::Background).open("train").unwrap();
        let (sample, facts) = dataset.read_with_facts(0).unwrap();
        assert_eq!(
            (sample.mask, facts),
            (vec![label; 10], MaskFacts { no_mask: true, ..MaskFacts::default() }),
            "{labelmap}"
        );
    }
}

#[test]
fn without_a_class_called_background_no_photo_is_taken_for_it() {
    let folder = one_photo();
    folder.write("labelmap.txt", "a:0,0,0::\nb:1,1,1::");
    // A missing background class only matters if a mask is missing.
    assert!(Place::new(folder.root(), MissingMasks::Background).open("train").is_ok());
    fs::remove_file(folder.root().join("SegmentationClass/a.png")).unwrap();
    let error = Place::new(folder.root(), MissingMasks::Background).open("train").err().unwrap().to_string();
    assert!(error.ends_with("no class is called so; the classes are a, b"), "{error}");
}

#[test]
fn ids_stay_within_the_folders() {
    let folder = one_photo();
    for (id, good) in [("a", true), ("..", false), ("../a", false), ("/a", false), ("b/../a", false), ("./a", true)] {
        folder.split(&[id]);
        let opened = Dataset::open(folder.root(), "train");
        match opened {
            Ok(_) => assert!(good, "{id}"),
            Err(error) => assert!(!good && error.to_string().contains("leads out of"), "{id}: {error}"),
        }
    }
}

#[test]
fn unreadable_files_are_named() {
    let photo = fs::read(one_photo().root().join("JPEGImages/a.png")).unwrap();
    for (file, content) in [
        ("JPEGImages/a.png", &b""[..]),
        ("JPEGImages/a.png", b"no image at all"),
        ("JPEGImages/a.png", &photo[..photo.len() - 20]),
        ("SegmentationClass/a.png", b""),
        ("SegmentationClass/a.png", b"no image at all"),
        ("SegmentationClass/a.png", &photo[..40]),
    ] {
        let folder = one_photo();
        let path = folder.write(file, content);
        let message = failure(&folder);
        assert!(message.starts_with(&format!("{} ", path.display())), "{file}: {message}");
    }
}

#[test]
fn missing_root_and_split_are_named() {
    let folder = one_photo();
    let open = |root: &Path, split: &str| Dataset::open(root, split).err().expect("nothing there").to_string();
    let nowhere = folder.root().join("nowhere");
    assert_eq!(
        open(&nowhere, "train"),
        format!("{} is not a folder; give one in the Pascal VOC layout", nowhere.display())
    );
    folder.write("ImageSets/Segmentation/val.txt", "a");
    let list = folder.root().join("ImageSets/Segmentation/tset.txt");
    assert_eq!(
        open(folder.root(), "tset"),
        format!("{} does not exist; the splits here are train, val", list.display())
    );
    for name in ["train.txt", "val.txt"] {
        fs::remove_file(folder.root().join("ImageSets/Segmentation").join(name)).unwrap();
    }
    assert_eq!(
        open(folder.root(), "tset"),
        format!("{} does not exist; write the IDs of its photos there, one a line", list.display())
    );
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn the_real_street_scenes_can_be_read() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared = std::env::var_os("FCN_SHARED").map_or(beside, PathBuf::from);
    let root = shared.join("data/camvid");
    if !root.is_dir() {
        eprintln!("skipped: {} is not there", root.display());
        return;
    }
    let dataset = Dataset::open(&root, "val").unwrap();
    assert_eq!((dataset.len(), dataset.classes().len()), (101, 11));
    let mut seen = [false; 256];
    for i in 0..dataset.len() {
        let sample = dataset.read(i).unwrap();
        assert_eq!((sample.height, sample.width, dataset.size(i)), (360, 480, Ok((360, 480))), "{}", sample.id);
        sample.mask.iter().for_each(|&index| seen[index as usize] = true);
    }
    let values: Vec<usize> = (0..256).filter(|&value| seen[value]).collect();
    assert_eq!(values, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255]);
}
