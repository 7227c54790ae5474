//! What runs leave behind: the table, TensorBoard's event files as its own package reads them, and lines for scripts.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use data::{Folder, success, trainer};
use serde_json::Value;
use tch::Device;
use tempfile::TempDir;
use trainer::checkpoint::Checkpoint;
use trainer::data::Dataset;
use trainer::evaluate::label;
use trainer::logging::{self, MetricsRow, sessions};
use trainer::metrics::Confusion;
use trainer::model::Network;

mod data;

#[path = "../../tests/common/mod.rs"]
mod common;

/// An epoch has 5 steps; lines of the table fall on steps 3, 5, 6, 9, 10, 12, 15 and so on; checkpoints elsewhere.
const RUN: &str = "train --data {} --out {} --crop 64x64 --batch 2 --epochs 4 --val-every 2 --seed 7 \
    --recipe standard --optimizer sgd --warmup 0 --ema 0 --max-class-share 1 --brightness 0 --contrast 0 --saturation 0 --hue 0 \
                   --checkpoint-every 4 --log-every 3 --threads 2 --backbone resnet18";
const RESUME: &str = "train --resume {} --checkpoint-every 4 --log-every 3 --threads 2";
const STEPS: [u64; 9] = [3, 5, 6, 9, 10, 12, 15, 18, 20];

/// A run that nothing disturbed, with what it said to a script.
struct Reference {
    data: Folder,
    out: TempDir,
    said: Vec<Value>,
}

static REFERENCE: LazyLock<Reference> = LazyLock::new(|| {
    let (data, out) = (Folder::new(10), tempfile::tempdir().unwrap());
    let said = objects(&success(&format!("{RUN} --json"), &[data.root(), out.path()]));
    Reference { data, out, said }
});

fn objects(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// The table, without the columns of time, which differ from run to run.
fn table(run: &Path) -> Vec<MetricsRow> {
    let classes = Checkpoint::read(run).unwrap().state.classes;
    let mut rows = logging::read_table(run, &classes).unwrap();
    for row in &mut rows {
        row.train.iter_mut().for_each(|train| (train.seconds, train.examples_per_second) = (0.0, 0.0));
        row.val.iter_mut().for_each(|val| val.seconds = 0.0);
    }
    rows
}

/// What TensorBoard reads, without the speed.
fn tensorboard(python: &Path, run: &Path) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/read_events.py");
    let output = Command::new(python).arg(script).arg(run).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut read: Value = serde_json::from_slice(&output.stdout).unwrap();
    read["scalars"].as_object_mut().unwrap().remove("train/examples_per_second").expect("the speed");
    read
}

#[test]
fn the_table_tells_the_whole_run() {
    let rows = table(REFERENCE.out.path());
    assert_eq!(rows.iter().map(|row| row.step).collect::<Vec<_>>(), STEPS);
    for row in &rows {
        assert_eq!(row.epoch, row.step.div_ceil(5), "{row:?}");
        // The poly schedule (Chen et al. 2017) at the step before, because steps count from 0 there.
        let rate = 0.02 * (1.0 - (row.step - 1) as f64 / 20.0).powf(0.9);
        assert!((row.learning_rate - rate).abs() < 1e-12, "{row:?}");
        assert_eq!(row.val.is_some(), row.step == 10 || row.step == 20, "{row:?}");
        let train = row.train.as_ref().unwrap();
        assert!(train.loss > 0.0 && (0.0..=1.0).contains(&train.accuracy), "{row:?}");
    }
    let best = Checkpoint::best(REFERENCE.out.path()).unwrap().state.progress.best_miou.unwrap();
    let mious = rows.iter().filter_map(|row| Some(row.val.as_ref()?.miou));
    assert_eq!(mious.fold(0.0, f64::max), best);
}

#[test]
fn json_tells_what_the_table_tells() {
    let said = &REFERENCE.said;
    let events = |name: &str| said.iter().filter(|object| object["event"] == name).collect::<Vec<_>>();
    assert_eq!((said[0]["event"].as_str(), said[0]["classes"][2].as_str()), (Some("start"), Some("box")));
    let last = said.last().unwrap();
    assert!(last["event"] == "done" && Path::new(last["best"].as_str().unwrap()).is_file(), "{last}");
    assert_eq!(said.len(), 2 + events("log").len() + events("epoch").len() + 1);
    assert_eq!(said[1]["recipe"], "standard");

    let rows = table(REFERENCE.out.path());
    let steps = |name: &str| events(name).iter().map(|object| object["step"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(steps("log"), [3, 6, 9, 12, 18]);
    assert_eq!(steps("epoch"), [5, 10, 15, 20]);
    for object in events("log") {
        let row = rows.iter().find(|row| object["step"] == row.step).unwrap();
        assert_eq!(object["loss"].as_f64(), row.train.as_ref().map(|train| train.loss), "{object}");
        assert!(object["eta_seconds"].as_f64().unwrap() > 0.0, "{object}");
    }
    for object in events("epoch") {
        let row = rows.iter().find(|row| object["step"] == row.step).unwrap();
        let val = row.val.as_ref();
        assert_eq!(object["val"]["miou"].as_f64(), val.map(|val| val.miou), "{object}");
        assert_eq!(object["val"]["iou"]["wall"].as_f64(), val.and_then(|val| val.iou[1]), "{object}");
        assert_eq!(object["eta_seconds"].is_null(), object["epoch"] == 4, "{object}");
    }
}

#[test]
fn tensorboard_shows_what_the_table_tells() {
    let Some(python) = data::python() else {
        return common::skip("event files against TensorBoard", data::NO_PYTHON);
    };
    let (read, rows) = (tensorboard(&python, REFERENCE.out.path()), table(REFERENCE.out.path()));
    let vals = || rows.iter().filter_map(|row| Some((row.step, row.val.as_ref()?)));
    let trains = || rows.iter().filter_map(|row| Some((row.step, row.train.as_ref()?)));
    let mut expected = vec![
        ("train/learning_rate", rows.iter().map(|row| (row.step, row.learning_rate)).collect::<Vec<_>>()),
        ("train/loss", trains().map(|(step, train)| (step, train.loss)).collect()),
        ("train/accuracy", trains().map(|(step, train)| (step, train.accuracy)).collect()),
        ("val/accuracy", vals().map(|(step, val)| (step, val.accuracy)).collect()),
        ("val/mean_accuracy", vals().map(|(step, val)| (step, val.mean_accuracy)).collect()),
        ("val/mIoU", vals().map(|(step, val)| (step, val.miou)).collect()),
        ("val/frequency_weighted_IoU", vals().map(|(step, val)| (step, val.frequency_weighted_iou)).collect()),
    ];
    for (class, tag) in ["val_IoU/floor", "val_IoU/wall", "val_IoU/box"].into_iter().enumerate() {
        expected.push((tag, vals().filter_map(|(step, val)| Some((step, val.iou[class]?))).collect()));
    }
    let scalars = read["scalars"].as_object().unwrap();
    assert_eq!(scalars.len(), expected.len(), "{:?}", scalars.keys());
    for (tag, points) in expected {
        assert!(points.len() >= 2, "{tag}");
        // TensorBoard holds float32.
        let points: Vec<Value> =
            points.into_iter().map(|(step, number)| serde_json::json!([step, f64::from(number as f32)])).collect();
        assert_eq!(scalars[tag], Value::Array(points), "{tag}");
    }

    // Two validations of the split's two photos. Truth has stripes of the three classes under four rows of void.
    let images = read["images"].as_object().unwrap();
    assert_eq!(images.keys().collect::<Vec<_>>(), ["photo_truth_prediction/p10", "photo_truth_prediction/p11"]);
    for (number, pictures) in images.values().enumerate() {
        let (width, height) = (100 + number as u32, 90 + number as u32);
        let void = 4.0 / f64::from(height);
        for (picture, step) in pictures.as_array().unwrap().iter().zip([10, 20]) {
            assert_eq!(picture[0], step);
            assert_eq!((picture[1].as_u64(), picture[2].as_u64()), (Some(3 * u64::from(width)), Some(height.into())));
            for (channel, (classes, void_color)) in
                [(70.0, 224.0), (40.0, 224.0), (280.0 / 3.0, 192.0)].into_iter().enumerate()
            {
                let mean = picture[3][1][channel].as_f64().unwrap();
                let expected = (1.0 - void) * classes + void * void_color;
                assert!((mean - expected).abs() < 3.0, "channel {channel} of the truth: {mean}, not {expected}");
            }
            assert_ne!(picture[3][0], picture[3][1], "photo and truth");
        }
        assert_eq!(pictures.as_array().unwrap().len(), 2);
    }
}

/// Starts a run and kills it once it has done step `step`, or some steps more.
fn kill_after(step: u64, line: &str, paths: &[&Path]) {
    let mut child = trainer(&format!("{line} --json"), paths).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut objects = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    assert!(objects.any(|object| object["step"].as_u64() >= Some(step)), "it ended early");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// What kills in the middle of writes leave: half a line behind a whole one of a step to come, half a record, and files
/// that never came to their places. Returns the latter.
fn tear(run: &Path) -> Vec<PathBuf> {
    let append = |path: &Path, bytes: &[u8]| {
        File::options().append(true).open(path).unwrap().write_all(bytes).unwrap();
    };
    let table_file = logging::table_path(run);
    let line = fs::read_to_string(&table_file).unwrap().lines().last().unwrap().to_owned();
    let (_, rest) = line.split_once(',').unwrap();
    append(&table_file, format!("19,{rest}\n20,4,0.0").as_bytes());
    let names = fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path());
    let mut events: Vec<PathBuf> = names.filter(|path| path.to_string_lossy().contains("tfevents")).collect();
    events.sort();
    let whole = fs::read(events.last().unwrap()).unwrap();
    append(events.last().unwrap(), &whole[..20]);
    append(&logging::sessions_path(run), b"{\"started\":\"20");
    let left = ["last.safetensors", "best.safetensors", "dataset.json", "metrics.csv", "sessions.jsonl"]
        .map(|name| run.join(format!(".{name}.fcn-a1B2c3.tmp")))
        .to_vec();
    left.iter().for_each(|path| fs::write(path, "half").unwrap());
    left
}

#[test]
fn a_killed_run_records_each_step_once() {
    let out = tempfile::tempdir().unwrap();
    kill_after(6, RUN, &[REFERENCE.data.root(), out.path()]);
    tear(out.path());
    // Killed before its first validation, it has a report all the same.
    let page = out.path().join("report/index.html");
    success("report {} --quiet", &[out.path()]);
    let text = fs::read_to_string(&page).unwrap();
    assert!(text.contains("those of the newest checkpoint, because no validation has been done yet"));
    assert!(text.contains("<dt>Epochs done</dt>") && !text.contains(">Validation mIoU</text>"));
    fs::remove_dir_all(page.parent().unwrap()).unwrap();

    kill_after(12, RESUME, &[out.path()]);
    let left = tear(out.path());
    assert_eq!(success(&format!("{RESUME} --quiet"), &[out.path()]), "");
    assert!(left.iter().all(|path| !path.exists()), "{left:?}");

    assert_eq!(table(out.path()), table(REFERENCE.out.path()));
    let sessions = sessions(out.path());
    assert_eq!(sessions.len(), 3);
    assert!(sessions[0].step == 0 && sessions[0].step < sessions[1].step && sessions[1].step < sessions[2].step);
    assert!(sessions[2].command.iter().any(|word| word == "--resume"), "{sessions:?}");
    assert!(sessions.iter().all(|session| session.libtorch.split('.').count() == 3), "{sessions:?}");
    match data::python() {
        Some(python) => assert_eq!(tensorboard(&python, out.path()), tensorboard(&python, REFERENCE.out.path())),
        None => common::skip("event files of a killed run", data::NO_PYTHON),
    }
}

#[test]
fn a_run_of_an_older_trainer_goes_on() {
    let out = tempfile::tempdir().unwrap();
    kill_after(6, RUN, &[REFERENCE.data.root(), out.path()]);
    // It left checkpoints alone.
    for entry in fs::read_dir(out.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "safetensors") {
            fs::remove_file(path).unwrap();
        }
    }
    let done = Checkpoint::read(out.path()).unwrap().state.progress;
    let done = 5 * done.epoch + done.step as u64;
    success(&format!("{RESUME} --quiet"), &[out.path()]);
    let (rows, expected) = (table(out.path()), table(REFERENCE.out.path()));
    assert_eq!(rows, expected.into_iter().filter(|row| row.step > done).collect::<Vec<_>>(), "from step {done} on");
    assert!(done >= 4 && rows.len() >= 5, "{rows:?}");
}

/// Epochs have 5 batches, of which the optimizer takes 2, 2 and 1. Rates this small change no label: the second validation
/// is as good as the first, and the run ends.
const PATIENT: &str = "train --data {} --out {} --crop 64x64 --batch 2 --epochs 12 --val-every 2 --patience 1 --lr 1e-12 \
                       --optimizer adamw --schedule cosine --warmup 4 --accumulate 2 --ema 0.9 --freeze-norm \
                       --checkpoint-every 4 --log-every 3 --threads 2 --backbone resnet18";

#[test]
fn a_run_that_ends_early_is_recorded_to_its_end() {
    let (whole, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let said = objects(&success(&format!("{PATIENT} --json"), &[REFERENCE.data.root(), whole.path()]));
    let rows = table(whole.path());
    assert_eq!(rows.iter().map(|row| row.step).collect::<Vec<_>>(), STEPS);
    for row in &rows {
        // Batches that the optimizer takes together have the rate of the first of them (Loshchilov and Hutter 2017).
        let batch = (row.step - 1) % 5;
        let first = (row.step - 1 - batch % 2) as f64;
        let rate = 0.5e-12 * (1.0 + (std::f64::consts::PI * first / 60.0).cos()) * ((first + 1.0) / 4.0).min(1.0);
        assert!((row.learning_rate - rate).abs() < 1e-21, "{rate} in {row:?}");
        assert_eq!(row.val.is_some(), row.step == 10 || row.step == 20, "{row:?}");
    }
    let [epoch, end, done] = &said[said.len() - 3..] else { panic!("{said:?}") };
    assert!(epoch["epoch"] == 4 && epoch["best"] == false && epoch["eta_seconds"].is_null(), "{epoch}");
    assert_eq!(*end, serde_json::json!({"event": "out_of_patience", "epoch": 4, "stale_validations": 1}));
    assert_eq!(done["event"], "done");
    success("report {} --quiet", &[whole.path()]);
    let page = fs::read_to_string(whole.path().join("report/index.html")).unwrap();
    assert!(page.contains("<dt>Best epoch</dt><dd>2<small>4 of 12 done, ended early</small>"));
    assert!(page.contains(&format!(">best: {:.1} % in epoch 2</text>", 100.0 * rows[4].val.as_ref().unwrap().miou)));

    kill_after(6, PATIENT, &[REFERENCE.data.root(), out.path()]);
    kill_after(12, RESUME, &[out.path()]);
    success(&format!("{RESUME} --quiet"), &[out.path()]);
    assert_eq!(table(out.path()), rows);
    // It is complete: going on adds nothing.
    success(RESUME, &[out.path()]);
    assert_eq!((table(out.path()), sessions(out.path()).len()), (rows, 3));
}

/// Epochs that do not divide by the distance of validations, and an average of weights, which is what is measured.
#[test]
fn validation_is_of_the_average() {
    let (out, dataset) = (tempfile::tempdir().unwrap(), Dataset::open(REFERENCE.data.root(), "val").unwrap());
    let line = "train --data {} --out {} --crop 64x64 --batch 2 --epochs 5 --val-every 2 --ema 0.95 --log-every 100 \
                --lr 0.05 --backbone resnet18 --quiet";
    assert_eq!(success(line, &[REFERENCE.data.root(), out.path()]), "");
    let rows = table(out.path());
    assert_eq!(rows.iter().map(|row| row.step).collect::<Vec<_>>(), [5, 10, 15, 20, 25]);
    let measured: Vec<u64> = rows.iter().filter(|row| row.val.is_some()).map(|row| row.epoch).collect();
    assert_eq!(measured, [2, 4, 5]);

    let checkpoint = Checkpoint::read(out.path()).unwrap();
    let network = checkpoint.network(Device::Cpu).unwrap();
    let accuracy = |network: &Network| {
        let mut confusion = Confusion::new(3);
        for index in 0..dataset.len() {
            let sample = dataset.read(index).unwrap();
            confusion.add(
                &sample.mask,
                &label(network, checkpoint.state.native_side, &sample.image, sample.width, sample.height).unwrap(),
            );
        }
        confusion.pixel_accuracy()
    };
    let (recorded, average) = (rows[4].val.as_ref().unwrap().accuracy, accuracy(&network));
    checkpoint.restore(&network).unwrap();
    let last = accuracy(&network);
    // The number of threads may change some pixels.
    assert!((recorded - average).abs() < 0.002, "{recorded} was recorded, the average has {average}");
    assert!((recorded - last).abs() > 0.01, "{recorded} was recorded, the weights that learn have {last}");
}

#[test]
fn evaluate_speaks_to_scripts() {
    let (data, run) = (REFERENCE.data.root(), REFERENCE.out.path());
    let [object] = &objects(&success("evaluate {} --data {} --json", &[run, data]))[..] else { panic!("one object") };
    let table = success("evaluate {} --data {} --quiet", &[run, data]);
    let rows = [
        ("mIoU              ", "miou", " (mean of 3 classes that occur in truth or prediction, of 3)\n"),
        ("mIoU of truth     ", "miou_of_truth", " (mean of 3 classes that occur in the truth)\n"),
        ("mean accuracy     ", "mean_accuracy", " (mean of 3 classes that occur in the truth)\n"),
    ];
    for (start, key, end) in rows {
        let row = format!("{start}{:.4}{end}", object[key].as_f64().unwrap());
        assert!(table.contains(&row), "{row:?} in {table}");
    }
    assert_eq!((object["classes_counted"].as_u64(), object["classes_in_truth"].as_u64()), (Some(3), Some(3)));
    let counts: Vec<Vec<u64>> = serde_json::from_value(object["confusion"].clone()).unwrap();
    let all: u64 = counts.iter().flatten().sum();
    // Two photos of 100 x 90 and 101 x 91 pixels, less four rows of void each.
    assert_eq!(all, 100 * 86 + 101 * 87);
    let right: u64 = (0..3).map(|class| counts[class][class]).sum();
    assert_eq!(object["pixel_accuracy"].as_f64().unwrap(), right as f64 / all as f64);
    for (class, row) in object["classes"].as_array().unwrap().iter().zip(&counts) {
        assert_eq!(class["pixels"].as_u64().unwrap(), row.iter().sum::<u64>(), "{class}");
    }
}
