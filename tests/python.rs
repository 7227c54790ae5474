//! The Python package in python/: installed as pip installs it, into an environment that has
//! nothing of the checkout, and tested there with python/tests. The expected labels come from the
//! Rust API.

mod common;
#[path = "common/models.rs"]
mod models;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use common::{profile_dir, root, run, skip};
use fcn::{Frame, Image, Mask, Options, Outputs, PixelFormat, Provider, Segmenter};
use models::{Spec, network, random_bytes};

/// Writes the model, and a frame in each format with its labels.
fn write_data(folder: &Path) {
    let network = network(Spec::default());
    fs::write(folder.join("model.onnx"), &network).unwrap();
    let options = Options::default().with_provider(Provider::Cpu).with_threads(1);
    let segmenter = Segmenter::from_memory(&network, &options).unwrap();
    let (width, height) = (90, 61);
    let mut cases = Vec::new();
    for (seed, format) in (10..).zip(PixelFormat::ALL) {
        // More than any format takes; the frame says how much.
        let bytes = random_bytes(seed, 4 * 90 * 61 + 1000);
        let needed = (0..bytes.len())
            .collect::<Vec<_>>()
            .partition_point(|&length| Frame::contiguous(format, &bytes[..length], width, height, 0).is_err());
        let frame = Frame::contiguous(format, &bytes[..needed], width, height, 0).unwrap();
        let mut mask =
            Mask::with_outputs(Outputs { confidence: true, confidence_u8: true, margin: true, scores: true });
        segmenter.segment(&frame, &mut mask).unwrap();
        let write = |end: &str, bytes: &[u8]| fs::write(folder.join(format!("{format}.{end}")), bytes).unwrap();
        let floats = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        write("frame", &bytes[..needed]);
        write("labels", mask.labels());
        write("confidence", &floats(mask.confidence().unwrap()));
        write("confidence_u8", mask.confidence_u8().unwrap());
        write("margin", &floats(mask.margin().unwrap()));
        write("scores", &floats(mask.scores().unwrap().as_slice().unwrap()));
        cases.push(serde_json::json!({ "format": format.name(), "width": width, "height": height }));
    }
    fs::write(folder.join("cases.json"), serde_json::to_string(&cases).unwrap()).unwrap();
    let photo = Image { width: 480, height: 360, pixels: random_bytes(7, 480 * 360 * 3) };
    fcn::write_png(folder.join("photo.png"), &photo).unwrap();
}

/// A command that finds neither ONNX Runtime nor Python packages by environment variables.
fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_remove("ORT_DYLIB_PATH").env_remove("PYTHONPATH");
    command
}

/// The Python of an environment with the package as pip installs it, made once per run of the
/// tests. `None` if wheels are missing.
fn environment() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let install = || {
        let python = root().join(".deps/wheels/bin/python");
        if !python.is_file() {
            return None;
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pyfcn");
        let _ = fs::remove_dir_all(&folder);
        run(clean(&python).args(["-m", "venv", "--without-pip"]).arg(&folder));
        let inside = folder.join("bin/python");
        run(clean(&python)
            .args(["-m", "pip", "--disable-pip-version-check", "--python"])
            .arg(&inside)
            .args(["install", "--quiet", "--no-index", "--find-links"])
            .arg(root().join(".deps/wheels/files"))
            // A folder of its own: the library's files have the same names with other features of
            // its dependencies, and other tests are using them. Little optimisation, because it
            // runs once.
            .env("CARGO_TARGET_DIR", profile_dir().with_file_name("python"))
            .envs([("CARGO_PROFILE_DEV_OPT_LEVEL", "1"), ("CARGO_PROFILE_DEV_DEBUG", "0")])
            .args(["--config-settings", "build-args=--profile dev --locked", "pillow"])
            .arg(root().join("python")));
        Some(inside)
    };
    PYTHON.get_or_init(install).as_deref()
}

/// Runs unittest, which must find at least `least` tests.
fn discover(python: &Path, least: u32, arguments: &[&str], folder: &Path, variables: &[(&str, &Path)]) {
    let mut command = clean(python);
    command.args(arguments).current_dir(folder).envs(variables.iter().copied());
    let tested = command.output().unwrap();
    let report = String::from_utf8_lossy(&tested.stderr);
    assert!(tested.status.success(), "{}\n{report}", String::from_utf8_lossy(&tested.stdout));
    // unittest succeeds if it finds no tests, or skips them.
    let count = report.lines().find_map(|line| line.strip_prefix("Ran ")?.split(' ').next()?.parse::<u32>().ok());
    assert!(count.is_some_and(|count| count >= least) && !report.contains("skipped="), "{report}");
}

#[test]
fn package_is_installed_by_pip_and_passes_its_tests() {
    let Some(python) = environment() else {
        return skip("the Python package", "its wheels are missing: run scripts/deps.py wheels");
    };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("data")).unwrap();
    write_data(&path("data"));
    for file in ["models/street.onnx", "include/fcn.h", "docs/python.md"] {
        fs::copy(root().join(file), path("data").join(Path::new(file).file_name().unwrap())).unwrap();
    }
    fs::create_dir(path("tests")).unwrap();
    for file in fs::read_dir(root().join("python/tests")).unwrap() {
        let file = file.unwrap();
        if file.path().extension().is_some_and(|extension| extension == "py") {
            fs::copy(file.path(), path("tests").join(file.file_name())).unwrap();
        }
    }
    let arguments = ["-I", "-X", "faulthandler", "-m", "unittest", "discover", "--start-directory", "tests"];
    discover(python, 60, &arguments, folder.path(), &[("PYFCN_TEST_DATA", &path("data"))]);
}

/// Two workers on a Ray of this machine. One of them is killed within a batch.
#[test]
fn photos_are_labelled_on_ray() {
    let (ray, command) = (root().join(".deps/ray/site"), profile_dir().join("fcn"));
    let Some(python) = environment() else {
        return skip("Ray", "the wheels of the Python package are missing: run scripts/deps.py wheels");
    };
    if !ray.is_dir() {
        return skip("Ray", "it is missing: run scripts/deps.py ray");
    }
    if !command.is_file() {
        return skip("Ray", "the command fcn is missing: run cargo build --workspace");
    }
    let model = root().join("models/animals.onnx");
    // Of the same version as the package's.
    let library = PathBuf::from(env::var_os("ORT_DYLIB_PATH").expect("cargo sets it"));
    let arguments = ["-m", "unittest", "discover", "--start-directory", "examples/ray"];
    let variables =
        [("PYTHONPATH", &ray), ("FCN_MODEL", &model), ("FCN_COMMAND", &command), ("ORT_DYLIB_PATH", &library)];
    discover(python, 2, &arguments, &root(), &variables.map(|(name, path)| (name, &**path)));
}
