//! What the tests of runs share: a small data set made on the fly, the program, and the tensors of its files.
#![allow(dead_code, reason = "each test program uses its own part of this file")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use image::{GrayImage, Luma, Rgb, RgbImage};
use safetensors::SafeTensors;
use tch::Device;
use tempfile::TempDir;
use trainer::console::Output;
use trainer::execution::Execution;

/// A data set of three classes in the VOC layout, in a folder of its own.
pub(crate) struct Folder {
    dir: TempDir,
}

impl Folder {
    /// Photos `p0`, `p1`, ... of about 90 x 80 pixels: `train` to train on, and two more in the split `val`.
    pub(crate) fn new(train: u32) -> Folder {
        let folder = Folder { dir: tempfile::tempdir().unwrap() };
        for name in ["JPEGImages", "SegmentationClass", "ImageSets/Segmentation"] {
            fs::create_dir_all(folder.path(name)).unwrap();
        }
        fs::write(folder.path("labelmap.txt"), "floor:10,20,30::\nwall:200,100,0::\nbox:0,0,250::\n").unwrap();
        let ids: Vec<String> = (0..train + 2).map(|number| format!("p{number}")).collect();
        for (number, id) in (0..).zip(&ids) {
            folder.photo(id, 90 + number, 80 + number);
        }
        folder.split("train", &ids[..train as usize]);
        folder.split("val", &ids[train as usize..]);
        folder
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// A photo in whose colours the classes show: stripes of them, with a border of void.
    pub(crate) fn photo(&self, id: &str, width: u32, height: u32) {
        let class = |x: u32| (x * 3 / width) as u8;
        let photo = RgbImage::from_fn(width, height, |x, y| {
            let noise = ((x * 31 + y * 17 + x * y) % 60) as u8;
            Rgb([60 * class(x) + noise, 150 - 50 * class(x), (y * 2 % 256) as u8])
        });
        photo.save(self.path(&format!("JPEGImages/{id}.png"))).unwrap();
        self.mask(id, width, height, |x, y| if y < 4 { 255 } else { class(x) });
    }

    /// A mask of class indices.
    pub(crate) fn mask(&self, id: &str, width: u32, height: u32, index: impl Fn(u32, u32) -> u8) {
        let mask = GrayImage::from_fn(width, height, |x, y| Luma([index(x, y)]));
        mask.save(self.path(&format!("SegmentationClass/{id}.png"))).unwrap();
    }

    pub(crate) fn split(&self, name: &str, ids: &[impl AsRef<str>]) {
        let lines: String = ids.iter().map(|id| format!("{}\n", id.as_ref())).collect();
        fs::write(self.path(&format!("ImageSets/Segmentation/{name}.txt")), lines).unwrap();
    }
}

/// The program with a command line in which each `{}` stands for the next of `paths`.
pub(crate) fn trainer(line: &str, paths: &[&Path]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    // Threads that wait must not take the processor from other tests.
    command.env("OMP_WAIT_POLICY", "passive");
    let mut paths = paths.iter();
    for word in line.split_whitespace() {
        match word {
            "{}" => command.arg(paths.next().expect("a path for each {}")),
            _ => command.arg(word),
        };
    }
    command
}

/// What a command line of the program writes to stdout; it must succeed.
pub(crate) fn success(line: &str, paths: &[&Path]) -> String {
    let output = trainer(line, paths).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A run on the CPU that says what it has to say to people.
pub(crate) fn execution(folder: &Path, stop: &Arc<AtomicBool>) -> Execution {
    Execution {
        folder: folder.to_owned(),
        device: Device::Cpu,
        workers: 2,
        checkpoint_every: 100,
        log_every: 10,
        output: Output::Text,
        stop: stop.clone(),
    }
}

/// The Python that `make test` lays into .deps with the packages that the tests need, where it is there.
pub(crate) fn python() -> Option<PathBuf> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.deps/python/bin/python");
    let output = Command::new(&python).args(["-c", "import tensorboard"]).output();
    output.is_ok_and(|output| output.status.success()).then_some(python)
}

/// Why a test that needs [`python`] is left out without it.
pub(crate) const NO_PYTHON: &str = "the tests' Python packages are missing; scripts/deps.py python installs them";

/// The bytes of all tensors of a .safetensors file.
pub(crate) fn tensors(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors: BTreeMap<_, _> = file.iter().map(|(name, view)| (name.to_owned(), view.data().to_vec())).collect();
    assert!(tensors.len() > 100, "{} holds a network", path.display());
    tensors
}

/// Names of tensors that differ.
pub(crate) fn differences<'a>(a: &'a BTreeMap<String, Vec<u8>>, b: &BTreeMap<String, Vec<u8>>) -> Vec<&'a str> {
    assert!(a.keys().eq(b.keys()), "both hold the same tensors");
    a.iter().filter(|(name, bytes)| b[*name] != **bytes).map(|(name, _)| name.as_str()).collect()
}

/// libtorch's random numbers come from one place for the whole process: tests that draw some go one by one.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Stops a run once it has written a line.
pub(crate) struct StopAfterLine(pub(crate) Arc<AtomicBool>);

impl Write for StopAfterLine {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.store(true, Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
