//! Measures training steps for `make bench-train`: on one batch in memory, or on a data set's
//! photos with every augmentation.
//!
//!     bench_train memory|sums|DATASET ARCH BACKBONE CLASSES BATCH HEIGHT WIDTH THREADS SECONDS
//!
//! `sums` measures only the sum of the gradients over the ranks. Prints a JSON object: the seconds of each step and the process's peak memory in KiB. Ranks, told
//! by the environment as by torchrun, divide BATCH.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tch::Device;
use trainer::augment::{Augment, Jitter};
use trainer::config::Config;
use trainer::data::Dataset;
use trainer::distributed::{Launch, Rank, Ranks};
use trainer::error::{Error, Result};
use trainer::learner::{Learner, Step};
use trainer::loader::{self, Batch, Plan};
use trainer::model::Spec;
use trainer::optimizer::Method;

/// Steps before the clock starts, in which libtorch allocates its memory.
const WARM_UP: usize = 3;

#[expect(clippy::print_stdout, reason = "the figures are its answer")]
fn main() -> Result<()> {
    trainer::memory::keep_freed();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [source, architecture, backbone, numbers @ ..] = words.as_slice() else {
        return Err(Error::new(
            "arguments: memory|sums|DATASET ARCH BACKBONE CLASSES BATCH HEIGHT WIDTH THREADS SECONDS",
        ));
    };
    let numbers: Vec<usize> = numbers.iter().map(|word| number(word)).collect::<Result<_>>()?;
    let [classes, batch, height, width, threads, seconds] = numbers[..] else {
        return Err(Error::new("six numbers are needed: CLASSES BATCH HEIGHT WIDTH THREADS SECONDS"));
    };
    tch::set_num_threads(threads as i32);
    let (architecture, backbone) = (choice(architecture)?, choice(backbone)?);
    let config = Config {
        arch: architecture,
        backbone,
        batch,
        crop: (height, width),
        // As in the peer's script.
        optimizer: Method::Sgd,
        weight_decay: 1e-4,
        head_lr_factor: 1.0,
        ema: None,
        ..Config::standard()
    };
    let Config { upsample, init, .. } = config;
    let spec = Spec { architecture, backbone, classes: classes as i64, upsample, init };
    let mut learner = Learner::new(spec, &config, Device::Cpu)?;
    let ranks = match Launch::from_environment()? {
        Some(launch) => Ranks::join(&launch, Device::Cpu, Duration::from_secs(60))?,
        None => Ranks::alone(),
    };
    learner.join(&ranks)?;
    let times = match source.as_str() {
        "memory" => {
            let batch = random_batch(classes, ranks.rank().share(batch).len(), (height, width));
            measure(&mut learner, &ranks, seconds, std::iter::repeat_with(|| Ok(batch.clone())))?
        }
        "sums" => measure_sums(&learner, &ranks, seconds)?,
        folder => measure(&mut learner, &ranks, seconds, photos(folder, &config)?)?,
    };
    println!("{}", serde_json::json!({"steps": times, "peak": peak()?}));
    Ok(())
}

/// Seconds of each step, including the wait for its batch.
fn measure(
    learner: &mut Learner,
    ranks: &Ranks,
    seconds: usize,
    batches: impl Iterator<Item = Result<Batch>>,
) -> Result<Vec<f64>> {
    let mut times: Vec<f64> = Vec::new();
    let mut since = Instant::now();
    for (index, batch) in batches.enumerate() {
        learner.learn(batch?, Step { learning_rate: 0.001, window: 1, is_last: true })?;
        if index >= WARM_UP {
            times.push(since.elapsed().as_secs_f64());
        }
        since = Instant::now();
        if ranks.any(times.iter().sum::<f64>() >= seconds as f64, Device::Cpu)? {
            break;
        }
    }
    Ok(times)
}

/// Seconds of each sum of a network's gradients over the ranks.
fn measure_sums(learner: &Learner, ranks: &Ranks, seconds: usize) -> Result<Vec<f64>> {
    if !ranks.are_several() {
        return Err(Error::new("a single rank has nothing to add up"));
    }
    let mut gradients = learner.training_state().parameters.learned()?.f_zeros_like()?;
    let mut times: Vec<f64> = Vec::new();
    while !ranks.any(times.iter().sum::<f64>() >= seconds as f64, Device::Cpu)? {
        let since = Instant::now();
        ranks.sum(&mut gradients)?;
        times.push(since.elapsed().as_secs_f64());
    }
    Ok(times)
}

/// Batches of a data set, epoch after epoch, with every augmentation.
fn photos(folder: &str, config: &Config) -> Result<impl Iterator<Item = Result<Batch>>> {
    let dataset = Arc::new(Dataset::open(folder.as_ref(), "train")?);
    let augment = Arc::new(Augment {
        crop: config.crop,
        scale: config.scale,
        max_class_share: 0.75,
        flip: true,
        jitter: Jitter { brightness: 0.3, contrast: 0.3, saturation: 0.3, hue: 0.05 },
        blur: 1.0,
        normalise: config.backbone.normalise(),
    });
    let plan = Plan { batch: config.batch, workers: 2, seed: 1, drop_small: false, drop_last: true, rank: Rank::ALONE };
    Ok((0..).flat_map(move |epoch| loader::epoch(&dataset, &augment, &plan, epoch, 0)))
}

fn random_batch(classes: usize, n: usize, (h, w): (usize, usize)) -> Batch {
    let mut random = SmallRng::seed_from_u64(1);
    let images = (0..n * 3 * h * w).map(|_| random.random_range(-1.0..1.0)).collect();
    let labels = (0..n * h * w).map(|_| random.random_range(0..classes as u8)).collect();
    Batch { n, h, w, images, labels, ids: vec![String::new(); n] }
}

/// The process's peak memory in KiB.
fn peak() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|error| Error::new(error.to_string()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let value = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    value.ok_or_else(|| Error::new("/proc/self/status has no VmHWM"))
}

fn choice<T: ValueEnum>(word: &str) -> Result<T> {
    T::from_str(word, false).map_err(Error::new)
}

fn number(word: &str) -> Result<usize> {
    word.parse().map_err(|error| Error::new(format!("'{word}' is no number: {error}")))
}
