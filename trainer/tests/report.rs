//! `trainer report`: what the page says, and how it looks in a browser.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use data::{Folder, success, trainer};
use image::RgbImage;
use serde_json::Value;
use tch::Device;
use tempfile::TempDir;
use trainer::checkpoint::Checkpoint;
use trainer::data::Dataset;
use trainer::evaluate::Predictor;

mod data;

#[path = "../../tests/common/mod.rs"]
mod common;

const COLORS: [[u8; 3]; 3] = [[10, 20, 30], [200, 100, 0], [0, 0, 250]];
const VOID: [u8; 3] = [224, 224, 192];
const WRONG: [u8; 3] = [235, 40, 60];
const PLOTS: [&str; 7] =
    ["loss.png", "learning_rate.png", "accuracy.png", "miou.png", "classes.png", "confusion.png", "reliability.png"];

/// With options of all parts of the recipe, which the page is to tell.
const RUN: &str = "train --data {} --out {} --crop 64x64 --batch 2 --epochs 4 --backbone resnet18 --optimizer adamw --recipe standard \
                   --lr 0.002 --schedule cosine --warmup 2 --ema 0.75 --accumulate 2 --clip 5 --patience 3 \
                   --class-weights median-frequency --brightness 0.4 --hue 0.1 --label-smoothing 0.05 \
                   --log-every 2 --quiet";

/// A run with a report.
struct Reference {
    data: Folder,
    run: TempDir,
    page: String,
}

static REFERENCE: LazyLock<Reference> = LazyLock::new(|| {
    let (data, run) = (Folder::new(6), tempfile::tempdir().unwrap());
    // Eleven photos to measure on: the best four and the worst four do not meet.
    let ids: Vec<String> = (20..31).map(|number| format!("p{number}")).collect();
    for (number, id) in (0..).zip(&ids) {
        data.photo(id, 60 + 9 * number, 120 - 6 * number);
    }
    data.split("val", &ids);
    success(RUN, &[data.root(), run.path()]);
    let said = success("report {} --json", &[run.path()]);
    let said: Value = serde_json::from_str(&said).unwrap();
    let page = run.path().join("report/index.html");
    assert_eq!(said["page"], page.to_str().unwrap());
    assert_eq!(said["plots"].as_array().unwrap().len(), PLOTS.len());
    Reference { data, page: fs::read_to_string(page).unwrap(), run }
});

fn failure(line: &str, paths: &[&Path]) -> String {
    let output = trainer(line, paths).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

/// What stands between two texts, the first time that it does.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("{start} is missing"));
    rest.split_once(end).unwrap_or_else(|| panic!("{end} is missing")).0
}

/// A photo of the validation split, measured by counting pixels.
struct Measured {
    id: String,
    miou: f64,
    accuracy: f64,
    mask: Vec<u8>,
    labels: Vec<u8>,
    size: (u32, u32),
}

/// All photos of the split, the best one first.
fn measured() -> Vec<Measured> {
    let dataset = Dataset::open(REFERENCE.data.root(), "val").unwrap();
    let mut predictor = Predictor::open(REFERENCE.run.path(), None, Device::Cpu).unwrap();
    let mut photos: Vec<Measured> = (0..dataset.len())
        .map(|index| {
            let sample = dataset.read(index).unwrap();
            let labels = predictor.label(&sample.image, sample.width, sample.height).unwrap();
            let counted: Vec<(u8, u8)> =
                sample.mask.iter().copied().zip(labels.iter().copied()).filter(|(truth, _)| *truth != 255).collect();
            let count = |which: &dyn Fn(&(u8, u8)) -> bool| counted.iter().filter(|pair| which(pair)).count() as f64;
            let ious = (0..3).filter_map(|class| {
                let union = count(&|pair| pair.0 == class || pair.1 == class);
                (union > 0.0).then(|| count(&|pair| *pair == (class, class)) / union)
            });
            let ious: Vec<f64> = ious.collect();
            Measured {
                miou: ious.iter().sum::<f64>() / ious.len() as f64,
                accuracy: count(&|pair| pair.0 == pair.1) / counted.len() as f64,
                id: sample.id,
                mask: sample.mask,
                labels,
                size: (sample.width as u32, sample.height as u32),
            }
        })
        .collect();
    photos.sort_by(|a, b| b.miou.total_cmp(&a.miou));
    photos
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// The pictures of a photo's article: photo, truth, prediction, where they differ.
fn pictures(article: &str) -> Vec<RgbImage> {
    let uris = article.split("src=\"data:image/").skip(1).map(|rest| rest.split_once(";base64,").unwrap().1);
    let decode = |rest: &str| {
        let bytes = BASE64_STANDARD.decode(rest.split_once('"').unwrap().0).unwrap();
        image::load_from_memory(&bytes).unwrap().to_rgb8()
    };
    uris.map(decode).collect()
}

fn painted(labels: &[u8], (width, height): (u32, u32)) -> RgbImage {
    let colors = labels.iter().flat_map(|&label| COLORS.get(label as usize).copied().unwrap_or(VOID)).collect();
    RgbImage::from_raw(width, height, colors).unwrap()
}

#[test]
fn the_best_and_the_worst_photos_are_shown_as_they_are() {
    let photos = measured();
    let best = between(&REFERENCE.page, ">Highest mIoU<", ">Lowest mIoU<");
    let worst = between(&REFERENCE.page, ">Lowest mIoU<", "id=\"data\"");
    let mut shown = 0;
    for (section, expected) in
        [(best, photos.iter().take(4).collect::<Vec<_>>()), (worst, photos.iter().rev().take(4).collect::<Vec<_>>())]
    {
        let articles: Vec<&str> = section.split("<article").skip(1).collect();
        assert_eq!(articles.len(), 4);
        for (article, photo) in articles.iter().zip(expected) {
            let Measured { id, miou, accuracy, mask, labels, size } = photo;
            let heading = format!("{id}<span>mIoU {}, accuracy {}</span>", percent(*miou), percent(*accuracy));
            assert!(article.contains(&heading), "{heading} is not in {:.300}", article);
            let pictures = pictures(article);
            assert_eq!(pictures.len(), 4);
            assert!(pictures.iter().all(|picture| picture.dimensions() == *size), "{id}");
            assert!(pictures[1] == painted(mask, *size) && pictures[2] == painted(labels, *size), "{id}");
            let red = |pixel: &&image::Rgb<u8>| pixel.0[0] > 170 && pixel.0[1] < 120;
            let reds = pictures[3].pixels().filter(red).count() as f64;
            let wrong =
                mask.iter().zip(labels).filter(|(truth, label)| **truth != 255 && truth != label).count() as f64;
            // JPEG blurs the borders.
            assert!((reds - wrong).abs() < 30.0 + 0.1 * wrong, "{id}: {reds} red pixels for {wrong} wrong ones");
            shown += 1;
        }
    }
    assert_eq!(shown, 8);
    assert!(photos[0].miou > photos[10].miou, "the photos differ");
    assert!(WRONG[0] > 170 && WRONG[1] < 120);
}

#[test]
fn figures_are_those_of_evaluate() {
    let page = &REFERENCE.page;
    let said = success("evaluate {} --data {} --json", &[REFERENCE.run.path(), REFERENCE.data.root()]);
    let said: Value = serde_json::from_str(&said).unwrap();
    for (tile, key) in [("mIoU", "miou"), ("Pixel accuracy", "pixel_accuracy"), ("Mean accuracy", "mean_accuracy")] {
        let expected = format!("<dt>{tile}</dt><dd>{}<small>", percent(said[key].as_f64().unwrap()));
        assert!(page.contains(&expected), "{expected}");
    }
    let classes = between(page, "id=\"classes\"", "</section>");
    let table = between(classes, "<tbody>", "</tbody>");
    let confusion: Vec<Vec<u64>> = serde_json::from_value(said["confusion"].clone()).unwrap();
    for (index, (row, class)) in table.split("<tr>").skip(1).zip(said["classes"].as_array().unwrap()).enumerate() {
        let cells: Vec<&str> =
            row.split("<td class=\"n\">").skip(1).map(|rest| rest.split_once('<').unwrap().0).collect();
        let predicted: u64 = confusion.iter().map(|row| row[index]).sum();
        let precision = confusion[index][index] as f64 / predicted as f64;
        assert!(row.contains(class["name"].as_str().unwrap()), "{row}");
        assert_eq!(cells[0], percent(class["iou"].as_f64().unwrap()), "{row}");
        assert_eq!(cells[1], percent(class["accuracy"].as_f64().unwrap()), "{row}");
        assert_eq!(cells[2], if predicted > 0 { percent(precision) } else { "–".to_owned() }, "{row}");
        // A third of each photo's width, less a rounded column.
        let share: f64 = cells[3].trim_end_matches(" %").parse().unwrap();
        assert!((share - 33.3).abs() < 1.0, "{row}");
    }
    assert_eq!(table.matches("<tr>").count(), 3);
    for (name, value) in [
        ("backbone", "resnet18"),
        ("crop", "64, 64"),
        ("optimizer", "adamw"),
        ("lr", "0.002"),
        ("schedule", "cosine"),
        ("lr steps", "–"),
        ("warmup", "2"),
        ("ema", "0.75"),
        ("accumulate", "2"),
        ("clip", "5"),
        ("patience", "3"),
        ("class weights source", "median_frequency"),
        ("jitter brightness", "0.4"),
        ("jitter hue", "0.1"),
        ("label smoothing", "0.05"),
        ("ohem share", "–"),
        ("autocast", "false"),
    ] {
        let row = format!("<th scope=\"row\">{name}</th><td class=\"n\"><code>{value}<");
        assert!(page.contains(&row), "{row}");
    }
    // Nothing of the configuration is missing.
    let config = Checkpoint::read(REFERENCE.run.path()).unwrap().state.config;
    let Value::Object(config) = serde_json::to_value(config).unwrap() else { panic!("an object") };
    assert!(config.len() > 30, "{config:?}");
    let is_told = |name: &&String| page.contains(&format!("<th scope=\"row\">{}", name.replace('_', " ")));
    let missing: Vec<&String> = config.keys().filter(|name| !is_told(name)).collect();
    assert_eq!(missing, ["data"], "which stands with the splits");
    assert!(page.contains("keeps an average of its weights (decay 0.75)"));
    assert!(
        page.contains("from step 0, on cpu (")
            && page.contains("<span>--log-every</span> <span>2</span> <span>--quiet</span> </code>")
    );
}

#[test]
fn the_page_needs_no_other_file() {
    let page = &REFERENCE.page;
    let references =
        ["src=\"", "href=\"", "url(", "@import"].map(|start| page.split(start).skip(1).collect::<Vec<_>>());
    assert!(references[0].len() >= 32 && references[1].len() >= 7);
    for reference in references.iter().flatten() {
        assert!(reference.starts_with("data:") || reference.starts_with('#'), "{:.80}", reference);
    }
    assert!(!page.contains("<script"));
}

#[test]
fn plots_are_png_files_with_curves_and_letters() {
    for name in PLOTS {
        let plot = image::open(REFERENCE.run.path().join("report").join(name)).unwrap().to_rgb8();
        assert!(plot.width() >= 300 && plot.height() >= 150, "{name}: {:?}", plot.dimensions());
        let count = |color: [u8; 3]| plot.pixels().filter(|pixel| pixel.0 == color).count();
        let blue = if name == "confusion.png" { 0 } else { count([0x1f, 0x5f, 0xc4]) };
        assert!(blue > 100 || name == "confusion.png", "{name} has {blue} blue pixels");
        // The title in the upper left is drawn in the colour of ink: without a font it would be missing.
        let title = image::imageops::crop_imm(&plot, 0, 0, 200, 60).to_image();
        let ink = title.pixels().filter(|pixel| pixel.0.iter().all(|&channel| channel < 60)).count();
        assert!(ink > 100, "{name} has {ink} pixels of ink in its title");
    }
}

#[test]
fn what_is_missing_is_named() {
    let empty = tempfile::tempdir().unwrap();
    let error = failure("report {}", &[empty.path()]);
    assert!(error.contains("holds no run") && error.contains("last.safetensors"), "{error}");
    let error = failure("report {} --data {}", &[REFERENCE.run.path(), &empty.path().join("nowhere")]);
    assert!(error.contains("nowhere is not a folder") && error.contains("--data FOLDER tells"), "{error}");

    // A run without a table, as of an older version: the page does without curves. The plots stand beside the page.
    let run = empty.path().join("run");
    fs::create_dir(&run).unwrap();
    for file in ["last.safetensors", "best.safetensors"] {
        fs::copy(REFERENCE.run.path().join(file), run.join(file)).unwrap();
    }
    let page = empty.path().join("pages/run.html");
    let moved = empty.path().join("moved");
    std::os::unix::fs::symlink(REFERENCE.data.root(), &moved).unwrap();
    success("report {} --out {} --data {}", &[&run, &page, &moved]);
    let text = fs::read_to_string(&page).unwrap();
    let folders = between(&text, "id=\"data\"", "</p>");
    let (now, before) = (moved.display().to_string(), REFERENCE.data.root().display().to_string());
    assert!(folders.contains(&now) && folders.contains(&before), "{folders}");
    assert!(text.contains("<dt>Time</dt><dd>–<small>not recorded</small>"));
    assert!(text.contains("has no points in metrics.csv") && text.contains("has no sessions.jsonl"));
    let names = fs::read_dir(page.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["classes.png", "confusion.png", "reliability.png", "run.html"]);
}

fn browser() -> Option<PathBuf> {
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(common::tool)
}

#[test]
fn it_reads_well_on_desktop_and_phone_by_day_and_night() {
    let Some(browser) = browser() else {
        return common::skip("the report in a browser", "there is no chromium; on Debian: apt-get install chromium");
    };
    let Some(python) = data::python() else {
        return common::skip("the report in a browser", data::NO_PYTHON);
    };
    let output = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser.py"))
        .args([&browser, &REFERENCE.run.path().join("report/index.html")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let screens: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(screens.len(), 4);
    for found in &screens {
        let name = format!("{} {}", found["screen"], found["scheme"]);
        let number = |key: &str| found[key].as_f64().unwrap_or_else(|| panic!("{name}: {key} in {found}"));
        let none = |key: &str| assert_eq!(found[key], Value::Array(Vec::new()), "{name}: {key}");
        assert_eq!(number("width"), if found["screen"] == "phone" { 390.0 } else { 1280.0 }, "{name}");
        assert_eq!(number("scrollWidth"), number("width"), "{name}: it must not scroll sideways");
        assert_eq!(number("documents"), 1.0, "{name}");
        ["requests", "complaints", "broken", "clipped"].into_iter().for_each(none);
        assert_eq!((number("images"), number("withoutAlt")), (32.0, 0.0), "{name}");
        let plots = found["plots"].as_array().unwrap();
        assert!(plots.len() == 7 && plots.iter().all(|label| label.as_str().unwrap().len() > 20), "{name}: {plots:?}");
        let headings = found["headings"].as_array().unwrap();
        assert_eq!(headings.len(), 8, "{name}: {headings:?}");
        assert_eq!(found["sections"], serde_json::json!([true, true, true, true, true, true, true]), "{name}");
        assert_eq!(number("paper") < 0.1, found["scheme"] == "dark", "{name}: the paper's luminance");
        // WCAG 2.2, 1.4.3, of all texts, those within plots as well.
        let ratio = found["weakest"]["ratio"].as_f64().unwrap();
        assert!(number("texts") > 100.0 && ratio >= 4.5, "{name}: {}", found["weakest"]);
        assert!(number("smallest") >= 10.0, "{name}: {} pixels", found["smallest"]);
    }
}
