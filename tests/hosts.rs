//! Programs that are hosts of libfcn: built with the host's own packages, run, and compared with the plain functions.

mod common;
#[path = "common/models.rs"]
mod models;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use common::{build_with, have, have_packages, make, root, run};
use fcn::{Frame, Image, Mask, Options, PixelFormat, Segmenter};
use models::{Spec, network, random_bytes};

/// The model of these tests in `folder`: 5 classes, stride 8, a card.
fn model(folder: &Path) -> PathBuf {
    let path = folder.join("model.onnx");
    fs::write(&path, network(Spec::default())).unwrap();
    path
}

/// Labels a picture without padding and draws the overlay into it, through libfcn alone.
fn draw(segmenter: &Segmenter, format: PixelFormat, pixels: &mut [u8], width: u32, height: u32) -> Mask {
    let mut mask = Mask::new();
    segmenter.segment(&Frame::packed(format, pixels, width, height, 0).unwrap(), &mut mask).unwrap();
    fcn::overlay(pixels, format, width, height, 0, mask.labels(), segmenter.classes(), 0.5).unwrap();
    mask
}

/// What pkg-config says about the packages; their headers are the system's, whose warnings do not count.
fn flags(packages: &[&str]) -> Vec<String> {
    let answer = run(Command::new("pkg-config").args(["--cflags", "--libs"]).args(packages));
    answer.split_whitespace().map(|flag| flag.replacen("-I", "-isystem", 1)).collect()
}

#[test]
fn opencv_gives_and_takes_matrices_without_a_copy() {
    let what = "C++ with OpenCV";
    if !have_packages(what, &["opencv4"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let libraries = run(Command::new("pkg-config").args(["--variable", "libdir", "opencv4"]));
    let mut more = flags(&["opencv4"]);
    more.retain(|flag| !flag.starts_with("-l"));
    more.extend(["-I".into(), root().join("examples/opencv").display().to_string()]);
    more.extend([format!("-L{}", libraries.trim()), "-lopencv_core".into()]);
    for (compiler, standard) in [("g++", "c++11"), ("clang++", "c++20")] {
        if have(what, &[compiler]) {
            let program = build_with(folder.path(), compiler, standard, "tests/c/opencv.cpp", &more);
            assert_eq!(run(Command::new(program).arg(&model)), "0 failures\n", "{compiler}");
        }
    }
}

#[test]
fn opencv_example_is_built_with_cmake_alone() {
    let what = "examples/opencv";
    if !have_packages(what, &["opencv4"]) || !have(what, &["cmake", "make", "c++"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    make("install", &[format!("PREFIX={}", path("prefix").display())]);
    let source = root().join("examples/opencv");
    run(Command::new("cmake").env("CMAKE_PREFIX_PATH", path("prefix")).args([
        "-S".as_ref(),
        source.as_os_str(),
        "-B".as_ref(),
        path("build").as_os_str(),
    ]));
    run(Command::new("cmake").arg("--build").arg(path("build")));

    let model = model(folder.path());
    let segmenter = Segmenter::from_file(&model, &Options::default()).unwrap();
    let (width, height) = (90, 60);
    let picture = Image { width, height, pixels: random_bytes(5, 90 * 60 * 3) };
    fcn::write_png(path("picture.png"), &picture).unwrap();
    for part in [None, Some([13, 5, 50, 37])] {
        let numbers = part.iter().flatten().map(u32::to_string).collect::<Vec<_>>();
        let files = [&model, &path("picture.png"), &path("overlay.png")];
        let answer = run(Command::new(path("build/segment")).args(files).args(numbers));

        // The same through libfcn alone: the part is cut out by hand.
        let [x, y, w, h] = part.unwrap_or([0, 0, width, height]).map(|value| value as usize);
        let row = |row: usize| (row * width as usize + x) * 3..(row * width as usize + x + w) * 3;
        let mut pixels: Vec<u8> = (y..y + h).flat_map(|y| &picture.pixels[row(y)]).copied().collect();
        let mask = draw(&segmenter, PixelFormat::Rgb8, &mut pixels, w as u32, h as u32);
        let counts = mask.pixels().iter().zip(segmenter.classes()).filter(|(count, _)| **count > 0);
        let expected: String = counts.map(|(count, class)| format!("{count} {}\n", class.name)).collect();
        assert_eq!(answer, expected);
        let mut overlay = picture.pixels.clone();
        for (index, line) in pixels.chunks_exact(w * 3).enumerate() {
            overlay[row(y + index)].copy_from_slice(line);
        }
        let drawn = fcn::read_image(path("overlay.png")).unwrap();
        assert!(drawn.pixels == overlay && overlay != picture.pixels);
    }
    let wrong = Command::new(path("build/segment"))
        .args([&model, &path("picture.png"), &path("overlay.png")])
        .args(["50", "0", "50", "10"])
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(1));
}
