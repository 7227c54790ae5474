//! How runs end before their last epoch: early, or because they diverge.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use data::{Folder, StopAfterLine, alone};
use tch::Device;
use trainer::checkpoint::{Checkpoint, last};
use trainer::config::Config;
use trainer::data::of_run::Photos;
use trainer::execution::Execution;
use trainer::optimizer::Method;
use trainer::schedule::Schedule;
use trainer::train::{End, Run};

mod data;

fn config(folder: &Folder) -> Config {
    let data = folder.root().to_owned();
    let (optimizer, warmup) = (Method::Sgd, 0);
    Config {
        data,
        epochs: 6,
        batch: 2,
        crop: (64, 64),
        norm_crops: 4,
        optimizer,
        warmup,
        ema: None,
        ..Config::standard()
    }
}

fn execution(out: &Path, stop: &Arc<AtomicBool>) -> Execution {
    Execution { checkpoint_every: 1, ..data::execution(out, stop) }
}

#[test]
fn patience_ends_a_run_that_no_longer_improves() {
    let (_alone, folder, out) = (alone(), Folder::new(2), tempfile::tempdir().unwrap());
    // Without a learning rate and with frozen statistics, no validation differs from the first.
    let config = Config { lr: 0.0, freeze_norm: true, patience: Some(2), ..config(&folder) };
    let mut lines = Vec::new();
    let mut run = Run::start(config, Device::Cpu).unwrap();
    assert_eq!(run.train(&execution(out.path(), &Arc::default()), &mut lines).unwrap(), End::Complete);
    let lines = String::from_utf8(lines).unwrap();
    assert_eq!(lines.lines().filter(|line| line.starts_with("epoch ")).count(), 3, "{lines}");
    assert!(lines.ends_with("ended after epoch 3: 2 validations brought no better mIoU\n"), "{lines}");
    let progress = Checkpoint::read(out.path()).unwrap().state.progress;
    assert_eq!((progress.epoch, progress.stale), (3, 2));

    // It is complete: resuming trains no more.
    let mut run =
        Run::resume(Checkpoint::read(out.path()).unwrap(), Photos::read(out.path()).unwrap(), Device::Cpu).unwrap();
    assert_eq!(run.train(&execution(out.path(), &Arc::default()), &mut Vec::new()).unwrap(), End::Complete);
    assert_eq!(Checkpoint::read(out.path()).unwrap().state.progress, progress);
}

#[test]
fn a_diverging_run_names_its_photos_and_keeps_the_last_good_state() {
    let (_alone, folder, out) = (alone(), Folder::new(4), tempfile::tempdir().unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let mut run = Run::start(Config { schedule: Schedule::Constant, ..config(&folder) }, Device::Cpu).unwrap();
    let mut line = StopAfterLine(stop.clone());
    assert_eq!(run.train(&execution(out.path(), &stop), &mut line).unwrap(), End::Stopped);

    let good = fs::read(last(out.path())).unwrap();
    let mut checkpoint = Checkpoint::read(out.path()).unwrap();
    assert_eq!((checkpoint.state.progress.epoch, checkpoint.state.progress.step), (1, 1));
    checkpoint.state.config.lr = 1e42;
    let mut run = Run::resume(checkpoint, None, Device::Cpu).unwrap();
    let error = run.train(&execution(out.path(), &Arc::default()), &mut Vec::new()).unwrap_err().to_string();
    // The second step of the epoch overflows the weights, which no checkpoint may hold.
    assert!(error.starts_with("the weights overflowed in epoch 2, step 2, at learning rate 1"), "{error}");
    assert!(error.contains("with the photos p") && error.contains("--lr below 1"), "{error}");
    assert!(fs::read(last(out.path())).unwrap() == good, "the checkpoint is as it was");
}
