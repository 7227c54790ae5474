//! docs/d2l.md: its commands run, with data and crops that are small, and print what the page shows; and `trainer chapter double`
//! against bilinear interpolation by hand.

use std::fs;
use std::path::Path;
use std::process::Command;

use data::{Folder, success};
use image::{Rgb, RgbImage};
use safetensors::tensor::{Dtype, TensorView};
use tch::Device;
use trainer::model::{Architecture, Backbone, Init, Network, Spec, UpsampleTraining};

mod data;

/// A block of the page between two fences.
struct Block<'a> {
    /// What stands behind the first fence: `sh`, `text`, or `text figures`, whose numbers are those of the run that is described.
    kind: &'a str,
    lines: Vec<&'a str>,
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some(kind) if !inside => blocks.push(Block { kind, lines: Vec::new() }),
            Some(_) => {}
            None if inside => blocks.last_mut().unwrap().lines.push(line),
            None => continue,
        }
        inside = line.starts_with("```") != inside;
    }
    blocks
}

/// A line without its numbers, and without the time that is left.
fn shape(line: &str) -> String {
    let line = line.split("; ").next().unwrap();
    let mut shape = String::new();
    for letter in line.chars() {
        match letter {
            '0'..='9' | '.' if shape.ends_with('#') => {}
            '0'..='9' => shape.push('#'),
            ' ' if shape.ends_with(' ') => {}
            _ => shape.push(letter),
        }
    }
    shape
}

/// Whether these lines were printed, one below the other; `...` stands for any number of lines.
fn matches(expected: &[String], printed: &[String]) -> bool {
    match expected.split_first() {
        None => printed.is_empty(),
        Some((line, rest)) if line == "..." => (0..=printed.len()).any(|skipped| matches(rest, &printed[skipped..])),
        Some((line, rest)) => printed.first() == Some(line) && matches(rest, &printed[1..]),
    }
}

/// A ResNet-18 with a classifier, as torchvision's file has it, in a format that can be written here.
fn write_resnet18(path: &Path) {
    let (architecture, backbone) = (Architecture::Fcn32s, Backbone::ResNet18);
    let spec = Spec { architecture, backbone, classes: 21, upsample: UpsampleTraining::Learned, init: Init::Bilinear };
    let network = Network::new(spec, 2, Device::Cpu);
    let backbone = network.graph.parameters().into_iter().filter(|p| !trainer::model::is_head(&p.name));
    let numbers: Vec<(String, Vec<usize>, Vec<u8>)> = backbone
        .map(|p| {
            let size = p.tensor.size().iter().map(|side| *side as usize).collect();
            let values: Vec<f32> = p.tensor.detach().contiguous().view([-1]).try_into().unwrap();
            (p.name, size, values.iter().flat_map(|value| value.to_le_bytes()).collect())
        })
        .chain([("fc.bias".to_owned(), vec![1000], vec![0; 4000])])
        .collect();
    let views =
        numbers.iter().map(|(name, size, bytes)| (name, TensorView::new(Dtype::F32, size.clone(), bytes).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// A folder with all that the page's commands name.
fn folder() -> tempfile::TempDir {
    let data = Folder::new(4);
    // Pascal VOC's classes, of which three occur.
    fs::remove_file(data.path("labelmap.txt")).unwrap();
    let ids = ["v0", "v1", "v2", "v3"];
    ids.iter().for_each(|id| data.photo(id, 100, 75));
    data.split("val", &ids);
    let folder = tempfile::tempdir().unwrap();
    fs::rename(data.root(), folder.path().join("voc-animals")).unwrap();
    RgbImage::from_fn(728, 561, |x, y| Rgb([x as u8, y as u8, (x * y) as u8]))
        .save(folder.path().join("catdog.jpg"))
        .unwrap();
    write_resnet18(&folder.path().join("resnet18.safetensors"));
    folder
}

#[test]
fn commands_of_the_page_print_what_it_shows() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/d2l.md")).unwrap();
    let blocks = blocks(&page);
    let folder = folder();
    let mut commands = 0;
    for pair in blocks.windows(2) {
        let [Block { kind: "sh", lines }, shown] = pair else { continue };
        let [line] = lines[..] else { panic!("one command in a block: {lines:?}") };
        let line = line
            .strip_prefix("trainer ")
            .expect("a command of the trainer")
            .replace("resnet18-f37072fd.pth", "resnet18.safetensors");
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
        command.env("OMP_WAIT_POLICY", "passive").current_dir(folder.path()).args(line.split_whitespace());
        if line.starts_with("train ") {
            command.args(["--crop", "64x64", "--batch", "2", "--device", "cpu"]);
        }
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (printed, errors) = (text(output.stdout), text(output.stderr));
        assert!(output.status.success(), "{line}: {errors}");
        let form = match shown.kind {
            "text" => str::to_owned,
            "text figures" => shape,
            other => panic!("the output of {line} follows it, not {other}"),
        };
        let expected: Vec<String> =
            shown.lines.iter().map(|line| if *line == "..." { "...".into() } else { form(line) }).collect();
        // So small a run may warn of what the page's does not.
        let is_shown = |line: &&str| !line.starts_with("warning: the training photos are labelled");
        let got: Vec<String> = printed.lines().filter(is_shown).map(form).collect();
        assert!(matches(&expected, &got), "{line} prints\n{printed}and the page shows\n{}", shown.lines.join("\n"));
        commands += 1;
    }
    assert_eq!(commands, page.lines().filter(|line| line.starts_with("trainer ")).count());
    assert!(commands >= 5, "{commands} commands");
    assert_eq!(image::image_dimensions(folder.path().join("doubled.png")).unwrap(), (1456, 1122));
}

#[test]
fn pages_and_outputs_are_compared_line_by_line() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(matches(&lines("a\n...\nd"), &lines("a\nb\nc\nd")));
    assert!(matches(&lines("a\n..."), &lines("a")));
    for (expected, printed) in [("a\n...\nd", "a\nb\nc"), ("a", "a\nb"), ("a\nb", "a"), ("", "a")] {
        assert!(!matches(&lines(expected), &lines(printed)), "{expected:?}, {printed:?}");
    }
    assert_eq!(shape("loss 1.25, acc 0.5 on cpu (2 threads); 3m 2s left"), shape("loss 0.7, acc 1 on cpu (1 threads)"));
    assert_ne!(shape("loss 1.25"), shape("loss NaN"));
    let found = blocks("```sh\ntrainer x\n```\nwords\n```text\ny\nz\n```\n");
    assert_eq!(found.iter().map(|block| (block.kind, block.lines.len())).collect::<Vec<_>>(), [("sh", 1), ("text", 2)]);
}

#[test]
fn doubling_is_bilinear_interpolation_with_zeros_around_the_picture() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("small.png"), folder.path().join("large.png"));
    let (width, height) = (37u32, 23u32);
    let small =
        RgbImage::from_fn(width, height, |x, y| Rgb([(x * 41 + y * 17) as u8, (x * y * 7) as u8, 255 - x as u8]));
    small.save(&from).unwrap();
    let printed = success("chapter double {} {}", &[&from, &to]);
    assert_eq!(printed, "input image shape: (23, 37, 3)\noutput image shape: (46, 74, 3)\n");
    let large = image::open(&to).unwrap().into_rgb8();
    assert_eq!(large.dimensions(), (74, 46));
    // Where a pixel of the doubled picture lies in the small one; pixels are squares around their middle.
    let place = |at: u32| (f64::from(at) + 0.5) / 2.0 - 0.5;
    for (x, y, pixel) in large.enumerate_pixels() {
        let (column, row) = (place(x), place(y));
        for (channel, &got) in pixel.0.iter().enumerate() {
            let mut value = 0.0;
            for (c, r) in [(0, 0), (0, 1), (1, 0), (1, 1)]
                .map(|(c, r)| (column.floor() + f64::from(c), row.floor() + f64::from(r)))
            {
                if (0.0..f64::from(width)).contains(&c) && (0.0..f64::from(height)).contains(&r) {
                    let share = (1.0 - (column - c).abs()) * (1.0 - (row - r).abs());
                    value += share * f64::from(small.get_pixel(c as u32, r as u32)[channel]);
                }
            }
            assert!((f64::from(got) - value).abs() < 0.501, "x {x}, y {y}, channel {channel}: {got}, not {value}");
        }
    }
}
