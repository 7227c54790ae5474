//! `trainer predict`, run as a program, on random networks and small pictures.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use fcn::onnx;
use fcn::palette::Class;
use image::{Rgb, RgbImage};
use tch::Device;
use tempfile::TempDir;
use trainer::checkpoint::{self, CheckpointState, Progress};
use trainer::config::Config;
use trainer::data::{Dataset, VOID};
use trainer::evaluate::Predictor;
use trainer::export::{self, Precision};
use trainer::model::{Architecture, Backbone, Init, Network, Spec, UpsampleTraining};

const COLORS: [[u8; 3]; 4] = [[0, 0, 0], [200, 40, 0], [0, 120, 255], [8, 250, 90]];
const LABELMAP: &str = "background:0,0,0::\ncat:200,40,0::\nsea:0,120,255::\nleaf:8,250,90::\n";
const VOID_COLOR: [u8; 3] = [224, 224, 192];

fn classes() -> Vec<Class> {
    let names = ["background", "cat", "sea", "leaf"];
    names.into_iter().zip(COLORS).map(|(name, color)| Class { name: name.to_owned(), color }).collect()
}

/// A random network as the bytes of a checkpoint and of an ONNX file. Made once: libtorch's random numbers are shared by
/// all threads, so that two tests that make one at a time would disturb each other.
fn models() -> &'static (Vec<u8>, Vec<u8>) {
    static MODELS: OnceLock<(Vec<u8>, Vec<u8>)> = OnceLock::new();
    MODELS.get_or_init(|| {
        let spec = Spec {
            architecture: Architecture::Fcn8s,
            backbone: Backbone::ResNet18,
            classes: 4,
            upsample: UpsampleTraining::Learned,
            init: Init::Bilinear,
        };
        // Of the first seeds, this one labels pictures most evenly.
        let network = Network::new(spec, 8, Device::Cpu);
        let normalise = spec.backbone.normalise();
        let state = CheckpointState {
            config: Config::standard(),
            spec,
            classes: classes(),
            mean: normalise.mean,
            std: normalise.std,
            native_side: None,
            progress: Progress::default(),
        };
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("checkpoint");
        checkpoint::save(&file, &network, None, &state).expect("a checkpoint");
        let card = export::card(&state, "none".to_owned(), BTreeMap::new());
        let onnx = onnx::encode(&export::onnx(&network, &Precision::Full, &card).expect("a model")).expect("bytes");
        (fs::read(file).expect("a checkpoint"), onnx)
    })
}

/// A folder with a random network as a run (`run/best.safetensors`) and as `net.onnx`.
struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        let (checkpoint, onnx) = models();
        let folder = Folder(tempfile::tempdir().expect("a folder"));
        fs::create_dir(folder.path("run")).expect("a folder");
        fs::write(checkpoint::best(&folder.path("run")), checkpoint).expect("a file");
        fs::write(folder.path("net.onnx"), onnx).expect("a file");
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn photo(&self, name: &str, width: u32, height: u32) -> RgbImage {
        // Stripes and slopes, so that a random network sees differences.
        let photo = RgbImage::from_fn(width, height, |x, y| {
            Rgb([(x * 255 / width) as u8, if y / 16 % 2 == 0 { 230 } else { 20 }, (x * y % 251) as u8])
        });
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        photo.save(&path).expect("a photo");
        photo
    }

    /// Runs `trainer predict` here.
    fn predict(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
        command.arg("predict").args(arguments).current_dir(self.0.path()).output().expect("the trainer runs")
    }

    /// What it prints where it succeeds.
    fn success(&self, arguments: &[&str]) -> String {
        let output = self.predict(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// The labels that a network gives a photo as `trainer evaluate` measures it: several classes, background and cat
    /// among them.
    fn labels(&self, model: &str, photo: &RgbImage) -> Vec<u8> {
        let mut predictor = Predictor::open(&self.path(model), None, Device::Cpu).expect("a model");
        let labels = predictor.label(photo.as_raw(), photo.width() as usize, photo.height() as usize).expect("labels");
        assert!(labels.contains(&0) && labels.contains(&1), "the network must tell something apart");
        labels
    }

    /// Two photos with masks, in the Pascal VOC layout, in `voc`: `small` of 96 x 64 and `large` of 640 x 400 pixels.
    /// Masks give each quarter of the width its class; the lowest quarter of the height is void.
    fn voc(&self) -> Dataset {
        for (id, width, height) in [("small", 96, 64), ("large", 640, 400)] {
            self.photo(&format!("voc/JPEGImages/{id}.png"), width, height);
            let mask = RgbImage::from_fn(width, height, |x, y| {
                Rgb(if y >= height * 3 / 4 { VOID_COLOR } else { COLORS[(x * 4 / width) as usize] })
            });
            fs::create_dir_all(self.path("voc/SegmentationClass")).expect("a folder");
            mask.save(self.path(&format!("voc/SegmentationClass/{id}.png"))).expect("a mask");
        }
        fs::create_dir_all(self.path("voc/ImageSets/Segmentation")).expect("a folder");
        fs::write(self.path("voc/ImageSets/Segmentation/val.txt"), "small\nlarge\n").expect("a split");
        fs::write(self.path("voc/labelmap.txt"), LABELMAP).expect("a labelmap");
        Dataset::open(&self.path("voc"), "val").expect("a dataset")
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).expect("a folder");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }
}

/// Indices and palette of a PNG.
fn palette_png(path: &Path) -> (Vec<u8>, Vec<u8>) {
    let file = std::io::BufReader::new(fs::File::open(path).expect("a file"));
    let mut decoder = png::Decoder::new(file);
    decoder.set_transformations(png::Transformations::IDENTITY);
    let mut reader = decoder.read_info().expect("a PNG");
    assert_eq!(reader.output_color_type(), (png::ColorType::Indexed, png::BitDepth::Eight));
    let mut indices = vec![0; reader.output_buffer_size().expect("a size")];
    reader.next_frame(&mut indices).expect("pixels");
    (indices, reader.info().palette.as_ref().expect("a palette").to_vec())
}

fn rgb(path: &Path) -> RgbImage {
    image::open(path).expect("a picture").into_rgb8()
}

#[test]
fn labels_are_the_networks_and_the_overlay_blends_their_colours() {
    let folder = Folder::new();
    let photo = folder.photo("stripes.png", 150, 100);
    let labels = folder.labels("run", &photo);

    let printed = folder.success(&["run", "stripes.png", "--out", "new/results", "--outline", "0"]);
    assert_eq!(folder.names("new/results"), ["stripes.png", "stripes_overlay.png"]);
    let (indices, palette) = palette_png(&folder.path("new/results/stripes.png"));
    assert_eq!(indices, labels);
    assert_eq!(palette[..12], *COLORS.as_flattened());
    assert_eq!(palette[3 * 255..], VOID_COLOR);

    // 0.4 of the photo and 0.6 of the colour that is drawn; background shows the photo.
    let drawn: Vec<_> = classes().iter().map(Class::display_color).collect();
    let overlay = rgb(&folder.path("new/results/stripes_overlay.png"));
    assert_eq!(overlay.dimensions(), (150, 100));
    for ((after, before), &label) in overlay.pixels().zip(photo.pixels()).zip(&labels) {
        let blend = |channel: usize| {
            let (photo, color) = (u32::from(before[channel]), u32::from(drawn[label as usize][channel]));
            ((4 * photo + 6 * color + 5) / 10) as u8
        };
        let expected = if label == 0 { *before } else { Rgb([blend(0), blend(1), blend(2)]) };
        assert_eq!(*after, expected, "label {label} on {before:?}");
    }
    // Covered entirely, the class shows its colour alone: 160 + 95 * 200 / 255 = 234.5 of red, and a fifth of that of green.
    folder.success(&["run/best.safetensors", "stripes.png", "--out", "solid", "--alpha", "1"]);
    let solid = rgb(&folder.path("solid/stripes_overlay.png"));
    let place = labels.iter().position(|&label| label == 1).expect("class 1") as u32;
    assert_eq!(solid.get_pixel(place % 150, place / 150).0, [235, 47, 0]);

    // By default, pixels next to another label are opaque; with a width of 2, also the next ones.
    let differs = |x: i64, y: i64, label: u8| {
        (0..150).contains(&x) && (0..100).contains(&y) && labels[(y * 150 + x) as usize] != label
    };
    for (width, option) in [(1, &[][..]), (2, &["--outline", "2"])] {
        let out = format!("outlined{width}");
        folder.success(&[&["run", "stripes.png", "--out", &out], option].concat());
        let outlined = rgb(&folder.path(&format!("{out}/stripes_overlay.png")));
        for ((x, y, after), &label) in outlined.enumerate_pixels().zip(&labels) {
            let (column, row) = (i64::from(x), i64::from(y));
            let border = (1..=width).any(|step| {
                [(step, 0), (-step, 0), (0, step), (0, -step)]
                    .iter()
                    .any(|(dx, dy)| differs(column + dx, row + dy, label))
            });
            let expected = if border && label != 0 { Rgb(drawn[label as usize]) } else { *overlay.get_pixel(x, y) };
            assert_eq!(*after, expected, "width {width} at {x}, {y}");
        }
    }

    let share = |class: u8| 100.0 * labels.iter().filter(|&&label| label == class).count() as f64 / 15_000.0;
    assert!(printed.starts_with("stripes.png: ") && printed.ends_with(" ms\n"), "{printed}");
    for (name, class) in [("background", 0), ("cat", 1)] {
        assert!(printed.contains(&format!("{name} {:.1} %", share(class))), "{printed}");
    }
}

#[test]
fn folders_give_their_photos_in_order_and_labels_are_masks() {
    let folder = Folder::new();
    let photo = folder.photo("in/b.PNG", 70, 50);
    folder.photo("in/a.jpg", 64, 64);
    folder.photo("in/deeper/c.png", 8, 8);
    fs::write(folder.path("in/notes.txt"), "no photo").expect("a file");
    folder.photo("single.png", 1, 1);
    let printed = folder.success(&["net.onnx", "single.png", "in", "--out", "out", "--device", "cpu"]);
    let files: Vec<&str> = printed.lines().filter_map(|line| Some(line.split_once(": ")?.0)).collect();
    assert_eq!(files, ["single.png", "in/a.jpg", "in/b.PNG"]);
    assert_eq!(
        folder.names("out"),
        ["a.png", "a_overlay.png", "b.png", "b_overlay.png", "single.png", "single_overlay.png"]
    );
    let labels = folder.labels("net.onnx", &photo);

    // The label file is a mask that training reads.
    let masks = folder.path("voc/SegmentationClass");
    folder.voc();
    folder.photo("voc/JPEGImages/b.png", 70, 50);
    fs::copy(folder.path("out/b.png"), masks.join("b.png")).expect("a copy");
    fs::write(folder.path("voc/ImageSets/Segmentation/new.txt"), "b").expect("a split");
    let sample = Dataset::open(&folder.path("voc"), "new").expect("a dataset").read(0).expect("a sample");
    assert_eq!(sample.mask, labels);
}

#[test]
fn compare_draws_photos_predictions_and_truths_in_rows() {
    let folder = Folder::new();
    let dataset = folder.voc();
    let printed = folder.success(&["run", "--compare", "--data", "voc", "--count", "2", "--out", "docs/rows.png"]);
    assert_eq!(printed, "docs/rows.png: 2 photos in 644 x 608 pixels\n");
    let picture = rgb(&folder.path("docs/rows.png"));
    // `large` is halved to 320 x 200: two columns and three rows of such cells, with gaps of 4.
    assert_eq!(picture.dimensions(), (2 * 320 + 4, 3 * 200 + 2 * 4));
    let white = Rgb([255; 3]);
    for x in 0..644 {
        assert!((200..204).chain(404..408).all(|y| *picture.get_pixel(x, y) == white), "gap at x {x}");
    }
    for y in 0..608 {
        assert!((320..324).all(|x| *picture.get_pixel(x, y) == white), "gap at y {y}");
    }

    // `small`, 96 x 64, is not enlarged, but stands in the middle: (320 - 96) / 2 = 112, (200 - 64) / 2 = 68.
    let small = dataset.read(0).expect("a sample");
    let prediction = folder.labels("run", &RgbImage::from_raw(96, 64, small.image.clone()).expect("a photo"));
    let color = |label: u8| Rgb(if label == VOID { VOID_COLOR } else { COLORS[label as usize] });
    for y in 0..200 {
        for x in 0..320 {
            let inside = (112..208).contains(&x) && (68..132).contains(&y);
            let expected = if inside {
                let place = ((y - 68) * 96 + x - 112) as usize;
                let photo = Rgb([small.image[3 * place], small.image[3 * place + 1], small.image[3 * place + 2]]);
                [photo, color(prediction[place]), color(small.mask[place])]
            } else {
                [white; 3]
            };
            let rows = [0, 204, 408].map(|top| *picture.get_pixel(x, top + y));
            assert_eq!(rows, expected, "x {x}, y {y}");
        }
    }

    // `large`: labels are one of the four neighbours that halving chooses from; its truth has four vertical stripes of
    // 80 x 150 pixels above 50 rows of void.
    let large = dataset.read(1).expect("a sample");
    let prediction = folder.labels("run", &RgbImage::from_raw(640, 400, large.image.clone()).expect("a photo"));
    for y in 0..200 {
        for x in 0..320 {
            let near = |row: u32, column: u32| color(prediction[((2 * y + row) * 640 + 2 * x + column) as usize]);
            let shown = *picture.get_pixel(324 + x, 204 + y);
            assert!([near(0, 0), near(0, 1), near(1, 0), near(1, 1)].contains(&shown), "x {x}, y {y}: {shown:?}");
            let truth = if y >= 150 { Rgb(VOID_COLOR) } else { Rgb(COLORS[(x / 80) as usize]) };
            assert_eq!(*picture.get_pixel(324 + x, 408 + y), truth, "x {x}, y {y}");
        }
    }
    // The photo is shrunk smoothly: its red slope keeps its values, 255 x / 320.
    for x in 10..310 {
        let red = i32::from(picture.get_pixel(324 + x, 100)[0]);
        assert!((red - (255 * x / 320) as i32).abs() <= 1, "x {x}: {red}");
    }

    folder.success(&["net.onnx", "--compare", "--data", "voc", "--count=1", "--first=1", "--out", "one.png"]);
    let one = rgb(&folder.path("one.png"));
    assert_eq!(one.dimensions(), (320, 608));
    assert_eq!(one.get_pixel(0, 0), picture.get_pixel(324, 0));
}

#[test]
fn existing_files_are_not_replaced() {
    let folder = Folder::new();
    for photo in ["photos/a.jpg", "masks/b.png"] {
        folder.photo(photo, 48, 32);
    }
    let refused = |arguments: &[&str], message: &str| {
        let output = folder.predict(arguments);
        let text = String::from_utf8(output.stderr).expect("text");
        assert!(!output.status.success() && text.contains(message), "{arguments:?}: {text}");
    };
    // A mask drawn by hand.
    let mask = folder.path("masks/a.png");
    fs::write(&mask, "by hand").expect("a file");
    let exists = "masks/a.png exists already; choose another --out, or replace it with --force";
    refused(&["run", "photos", "--out", "masks"], exists);
    assert_eq!(fs::read(&mask).expect("a file"), b"by hand");
    assert!(!folder.path("masks/a_overlay.png").exists());
    folder.success(&["run", "photos", "--out", "masks", "--force"]);
    assert_ne!(fs::read(&mask).expect("a file"), b"by hand");

    for file in ["SegmentationClass/a.png", "labelmap.txt", "ImageSets/Segmentation/default.txt"] {
        let path = folder.path("voc").join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, "by hand").expect("a file");
        for arguments in [&[][..], &["--force"]] {
            let all = [&["run", "photos", "--out", "voc", "--format", "cvat"], arguments].concat();
            refused(&all, &format!("voc/{file} exists already, perhaps with corrections"));
        }
        assert_eq!(folder.names("voc").len(), 1);
        fs::remove_dir_all(folder.path("voc")).expect("a folder");
    }
    refused(&["run", "photos", "--out", "photos"], "--out is the folder of the photos photos");
}

#[test]
fn annotations_need_names_of_their_own_in_utf_8() {
    let folder = Folder::new();
    for photo in ["s/x.jpg", "t/x.jpg", "lines/a\nb.png", "beside/p.png"] {
        folder.photo(photo, 48, 32);
    }
    let latin1 = folder.path("latin1");
    fs::create_dir(&latin1).expect("a folder");
    fs::copy(folder.path("s/x.jpg"), latin1.join(OsStr::from_bytes(b"\xe4.jpg"))).expect("a copy");
    let predict = |format: &str, photos: &[&str]| {
        let output = folder.predict(&[&["run", "--out", format, "--format", format], photos].concat());
        String::from_utf8(output.stderr).expect("text")
    };
    for format in ["labelme", "cvat"] {
        assert!(predict(format, &["s", "t"]).contains("s/x.jpg and t/x.jpg would both be called x; rename one"));
    }
    // It names each photo with its folder.
    assert_eq!(predict("coco", &["s", "t"]), "");
    for photos in ["lines", "latin1"] {
        for format in ["labelme", "cvat"] {
            let text = predict(format, &[photos]);
            assert!(text.contains("is not UTF-8 or has a line break"), "{text}");
        }
        folder.success(&["run", photos, "--out", "png"]);
    }
    // labelme expects its files beside the photos.
    folder.success(&["run", "beside", "--out", "beside", "--format", "labelme"]);
    assert_eq!(folder.names("beside"), ["p.json", "p.png"]);
}

#[test]
fn errors_are_one_sentence_and_nothing_is_written() {
    let folder = Folder::new();
    folder.voc();
    for photo in ["a.jpg", "a.png", "b.png", "b_overlay.jpg", "more/a.JPEG", "full/x.png"] {
        folder.photo(photo, 8, 8);
    }
    fs::create_dir(folder.path("empty")).expect("a folder");
    fs::write(folder.path("broken.jpg"), "no photo").expect("a file");
    let before = folder.names(".");
    let cases: [(&[&str], &str); 14] = [
        (
            &["run", "a.jpg", "more", "--out", "out"],
            "a.jpg and more/a.JPEG would both be written to out/a_overlay.png; rename one, or give them different --out",
        ),
        (
            &["run", "b.png", "b_overlay.jpg", "--out", "out"],
            "b.png and b_overlay.jpg would both be written to out/b_o",
        ),
        (
            &["run", "full/x.png", "--out", "full"],
            "full/x.png would replace the input full/x.png; choose another --out",
        ),
        (&["run", "empty", "--out", "out"], "empty has no photo; give a folder with"),
        (&["run", "nothing.jpg", "--out", "out"], "nothing.jpg cannot be read: No such file or directory"),
        (&["nothing", "a.jpg", "--out", "out"], "nothing cannot be read as a checkpoint: No such file"),
        (&["run", "a.jpg", "--out", "b.png"], "the folder b.png cannot be made: File exists"),
        (&["run", "--compare", "--data", "voc", "--out", "out"], "--out out: --compare draws one PNG file"),
        (
            &["run", "--compare", "--data", "voc", "--out", "o.png"],
            "--first 0 --count 4: split val of voc has 2 photos, counted from 0; choose a smaller --first or --count",
        ),
        (
            &["run", "--compare", "--data", "voc", "--split=x", "--out=o.png"],
            "x.txt does not exist; the splits here are",
        ),
        (&["run", "--compare", "--out", "o.png"], "--data <FOLDER>"),
        (&["run", "a.jpg", "--compare", "--data", "voc", "--out", "o.png"], "cannot be used with"),
        (&["run", "a.jpg", "--count", "2", "--out", "out"], "--compare"),
        (
            &["run", "a.jpg", "--alpha", "1.5", "--out", "out"],
            "invalid value '1.5' for '--alpha <SHARE>': must be from",
        ),
    ];
    for (arguments, message) in cases {
        let output = folder.predict(arguments);
        let text = String::from_utf8(output.stderr).expect("text");
        assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}");
        assert!(text.contains(message), "{arguments:?}: {text}");
        assert_eq!(folder.names("."), before, "{arguments:?}");
    }
    // Photos that cannot be read stop no others.
    let output = folder.predict(&["run", "broken.jpg", "a.jpg", "--out", "out"]);
    assert_eq!(
        String::from_utf8(output.stderr).expect("text"),
        "trainer: 1 of 2 photos could not be read; the output names them\n"
    );
    let lines = String::from_utf8(output.stdout).expect("text");
    assert!(lines.starts_with("not labelled: broken.jpg is neither a JPEG nor a PNG file\na.jpg: "), "{lines}");
    assert!(!output.status.success());
    assert_eq!(folder.names("out"), ["a.png", "a_overlay.png"]);

    // Other classes than the network's.
    fs::write(folder.path("voc/labelmap.txt"), LABELMAP.replace("leaf", "tree:1,1,1::\nleaf")).expect("a labelmap");
    let output = folder.predict(&["run", "--compare", "--data", "voc", "--count", "2", "--out", "o.png"]);
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(text.contains("the dataset has 5 classes, but the network has 4"), "{text}");
}
