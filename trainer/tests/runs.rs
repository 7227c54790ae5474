//! Whole runs of the program `trainer train`: killed, interrupted, resumed, and with the chapter's recipe.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use data::{Folder, differences, tensors, trainer};
use tempfile::TempDir;
use trainer::checkpoint::{Checkpoint, best, last};
use trainer::config::Config;
use trainer::recipe::Recipe;

mod data;

const EPOCHS: u32 = 8;
/// Momentum, the poly schedule, random crops and flips: everything that a resumed run has to find again. Checkpoints
/// fall within epochs and leave steps behind that a kill loses.
const RUN: &str = "train --data {} --out {} --crop 64x64 --batch 2 --epochs 8 --val-every 2 --seed 7 \
    --recipe standard --optimizer sgd --warmup 0 --ema 0 --max-class-share 1 --brightness 0 --contrast 0 --saturation 0 --hue 0 \
                   --checkpoint-every 3 --threads 2";
const RESUME: &str = "train --resume {} --checkpoint-every 3 --threads 2";

/// A run that nothing disturbed.
struct Reference {
    data: Folder,
    out: TempDir,
    stdout: String,
    /// Of an epoch, the start of the program spread over all.
    epoch: Duration,
}

static REFERENCE: LazyLock<Reference> = LazyLock::new(|| {
    let (data, out) = (Folder::new(8), tempfile::tempdir().unwrap());
    let started = Instant::now();
    let output = trainer(RUN, &[data.root(), out.path()]).output().unwrap();
    let epoch = started.elapsed() / EPOCHS;
    Reference { stdout: success(output), data, out, epoch }
});

fn success(output: Output) -> String {
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// The numbers of a run's last epoch, without its speed.
fn last_line(stdout: &str) -> &str {
    let line = stdout.lines().rfind(|line| line.starts_with("epoch ")).unwrap();
    assert!(line.starts_with("epoch 8/8, loss "), "{line}");
    line.rsplit_once(", ").unwrap().0
}

/// Starts a run and returns once it has printed an epoch's line.
fn start(line: &str, paths: &[&Path]) -> (Child, BufReader<ChildStdout>) {
    let mut child = trainer(line, paths).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains("\nepoch ") {
        assert_ne!(stdout.read_line(&mut text).unwrap(), 0, "it ended early: {text}");
    }
    (child, stdout)
}

fn files(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn assert_same_as_reference(out: &Path, what: &str) {
    for file in [last, best] {
        let (expected, got) = (tensors(&file(REFERENCE.out.path())), tensors(&file(out)));
        assert_eq!(differences(&expected, &got), [""; 0], "{what}: {}", file(out).display());
    }
    assert!(tensors(&last(out)).keys().any(|name| name.starts_with("momentum/")));
    let mut files = files(out);
    files.retain(|name| !name.starts_with("events.out.tfevents."));
    assert_eq!(
        files,
        ["best.safetensors", "dataset.json", "last.safetensors", "metrics.csv", "sessions.jsonl"],
        "{what}"
    );
}

/// How often [`killed_runs_end_with_the_same_weights`] kills.
const KILLS: usize = 20;

#[test]
fn killed_runs_end_with_the_same_weights() {
    let mut kills = Vec::new();
    while kills.len() < KILLS {
        let out = tempfile::tempdir().unwrap();
        let (mut child, _stdout) = start(RUN, &[REFERENCE.data.root(), out.path()]);
        loop {
            // A moment while the program starts, reads the checkpoint, learns, measures or writes.
            let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
            let delay = REFERENCE.epoch.mul_f64(f64::from(nanos % 1000) / 500.0);
            thread::sleep(delay);
            child.kill().unwrap();
            // It may have been done before.
            if child.wait().unwrap().signal() != Some(libc::SIGKILL) {
                break;
            }
            kills.push(delay);
            if kills.len() == KILLS {
                break;
            }
            let mut resume = trainer(RESUME, &[out.path()]);
            child = resume.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        }
        // A run that was done has nothing left to do, and prints no epoch.
        let stdout = success(trainer(RESUME, &[out.path()]).output().unwrap());
        assert!(!stdout.contains("epoch ") || last_line(&stdout) == last_line(&REFERENCE.stdout), "{stdout}");
        assert_same_as_reference(out.path(), &format!("killed {kills:?} after its start"));
    }
}

#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let out = tempfile::tempdir().unwrap();
    let (mut child, mut stdout) = start(RUN, &[REFERENCE.data.root(), out.path()]);
    // SAFETY: kill takes plain integers, and the child has not been waited for, so its number is still its own.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGINT) }, 0);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    let advice = format!("stopped and saved; continue with: trainer train --resume {}\n", out.path().display());
    assert!(rest.ends_with(&advice), "{rest}");
    let progress = Checkpoint::read(out.path()).unwrap().state.progress;
    assert!((1..u64::from(EPOCHS)).contains(&progress.epoch), "{progress:?}");

    let stdout = success(trainer(RESUME, &[out.path()]).output().unwrap());
    assert!(stdout.ends_with(&format!("done: {}\n", best(out.path()).display())), "{stdout}");
    assert_same_as_reference(out.path(), "interrupted");
    assert_eq!(last_line(&stdout), last_line(&REFERENCE.stdout));

    // A complete run has nothing left to do.
    let before = fs::metadata(last(out.path())).unwrap().modified().unwrap();
    let stdout = success(trainer(RESUME, &[out.path()]).output().unwrap());
    assert!(!stdout.contains("epoch ") && stdout.contains("done: "), "{stdout}");
    assert_eq!(fs::metadata(last(out.path())).unwrap().modified().unwrap(), before);
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_that_leaves_nothing() {
    let out = tempfile::tempdir().unwrap();
    // In blocks of 512 bytes, of which the file needs some ten thousand; and without a limit.
    for (limit, is_good) in [("100", false), ("unlimited", true)] {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "ulimit -f $0; exec \"$1\" export \"$2\" --onnx \"$3\"",
            limit,
            env!("CARGO_BIN_EXE_trainer"),
        ]);
        let output = command.args([REFERENCE.out.path(), &out.path().join("net.onnx")]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(i32::from(!is_good)), "{stderr}");
        assert_eq!(stderr.contains("net.onnx cannot be written: File too large"), !is_good, "{stderr}");
        assert_eq!(files(out.path()).len(), usize::from(is_good), "{:?}", files(out.path()));
    }
}

#[test]
fn d2l_is_the_chapter() {
    let data = Folder::new(3);
    // One too flat and one too narrow for the crop: three photos are left.
    data.photo("flat", 96, 63);
    data.photo("narrow", 95, 64);
    data.photo("exact", 96, 64);
    data.photo("p0", 120, 90);
    data.photo("p1", 96, 70);
    data.split("train", &["p0", "flat", "p1", "narrow", "exact"]);
    let out = tempfile::tempdir().unwrap();
    // The chapter starts from an ImageNet network: without one, a run says so before it looks at anything.
    let output = trainer("train --data {} --out {} --recipe d2l", &[data.root(), out.path()]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("https://download.pytorch.org/models/resnet18-f37072fd.pth"), "{said}");
    assert_eq!((output.status.code(), fs::read_dir(out.path()).unwrap().count()), (Some(1), 0));

    let line = "train --data {} --out {} --recipe d2l --weights none --crop 64x96 --epochs 2 --threads 1 --batch";
    let output = trainer(&format!("{line} 4"), &[data.root(), out.path()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("3 photos do not fill one batch of 4"));

    let stdout = success(trainer(&format!("{line} 3"), &[data.root(), out.path()]).output().unwrap());
    let config = Checkpoint::read(out.path()).unwrap().state.config;
    let recipe = Recipe::D2l.config(3, Some(3), Some(2));
    let changed = Config { data: data.root().to_owned(), crop: (64, 96), ..recipe };
    assert_eq!(config, changed);
    let epochs: Vec<&str> = stdout.lines().filter(|line| line.starts_with("epoch ")).collect();
    assert_eq!(epochs.len(), 2, "{stdout}");
    for (number, line) in (1..).zip(epochs) {
        assert_epoch_line(line, &format!("epoch {number}/2"));
    }
}

/// For example `epoch 1/2, loss 1.0986, train acc 0.3333, val acc 0.3333, val mIoU 0.1111, 9.9 examples/sec on cpu (1
/// threads); 2s left`.
fn assert_epoch_line(line: &str, epoch: &str) {
    let parts: Vec<&str> = line.split(", ").collect();
    assert_eq!((parts.len(), parts[0]), (6, epoch), "{line}");
    for (part, name) in parts[1..5].iter().zip(["loss ", "train acc ", "val acc ", "val mIoU "]) {
        let number: f64 = part.strip_prefix(name).unwrap_or_else(|| panic!("{line}")).parse().unwrap();
        assert!(number >= 0.0 && (name == "loss " || number <= 1.0), "{line}");
    }
    let (speed, device) = parts[5].split_once(" examples/sec on ").unwrap();
    assert!(speed.parse::<f64>().unwrap() > 0.0, "{line}");
    let (device, left) = device.split_once("; ").unwrap_or((device, ""));
    assert!(device == "cpu (1 threads)" || device.starts_with("cuda:"), "{line}");
    assert_eq!(left.ends_with("s left"), epoch == "epoch 1/2", "{line}");
}

#[test]
fn loss_falls() {
    let losses: Vec<f64> = REFERENCE
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("epoch ")?.split(", ").nth(1)?.strip_prefix("loss ")?.parse().ok())
        .collect();
    assert_eq!(losses.len(), EPOCHS as usize);
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    assert!(mean(&losses[5..]) < 0.85 * mean(&losses[..3]), "{losses:?}");
}
