//! Batches, decoded and augmented on worker threads ahead of the training step.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::augment::Augment;
use crate::data::Dataset;
use crate::distributed::Rank;
use crate::error::{Error, Result};

/// The bounds of scale factors; beyond them nothing is recognisable.
const SMALLEST_SCALE: f32 = 0.01;
const LARGEST_SCALE: f32 = 100.0;

/// The input of one training step.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The number of crops.
    pub n: usize,
    /// Height of each crop in pixels.
    pub h: usize,
    /// Width of each crop in pixels.
    pub w: usize,
    /// `n` x 3 x `h` x `w` normalised values.
    pub images: Vec<f32>,
    /// `n` x `h` x `w` class indices, or [`VOID`](crate::data::VOID).
    pub labels: Vec<u8>,
    /// The names of the `n` photos.
    pub ids: Vec<String>,
}

/// How a split is divided into batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Crops per batch, of all ranks together; at least 1 for each.
    pub batch: usize,
    /// Threads that decode and augment, at least 1. Each works on its own batch, so as many batches
    /// are in progress.
    pub workers: usize,
    /// The seed of all random choices.
    pub seed: u64,
    /// Skip photos that are smaller than the crop, as d2l does.
    pub drop_small: bool,
    /// Skip the last batch of an epoch if it is not full.
    pub drop_last: bool,
    /// Whose part of each batch is made.
    pub rank: Rank,
}

impl Plan {
    /// The number of batches of `photos` photos.
    pub fn steps(&self, photos: usize) -> usize {
        if self.drop_last { photos / self.batch } else { photos.div_ceil(self.batch) }
    }
}

/// Checks the plan and returns the photos to train on: all, or with `drop_small` those that can
/// hold a crop. Returns an error if they do not fill a single batch.
pub fn select(dataset: &Dataset, augment: &Augment, plan: &Plan) -> Result<Vec<usize>> {
    let (height, width) = augment.crop;
    let (low, high) = augment.scale;
    if plan.batch == 0 || plan.workers == 0 {
        return Err(Error::new(format!(
            "a batch of {} on {} workers cannot be made; both must be at least 1",
            plan.batch, plan.workers
        )));
    }
    if plan.batch < plan.rank.of {
        return Err(Error::new(format!(
            "a batch of {} cannot be divided among {} ranks; choose a batch of at least {}, or fewer devices",
            plan.batch, plan.rank.of, plan.rank.of
        )));
    }
    if height == 0 || width == 0 {
        return Err(Error::new(format!("the crop is {height} x {width} pixels; both sides must be at least 1")));
    }
    if !(low <= high && low >= SMALLEST_SCALE && high <= LARGEST_SCALE) {
        return Err(Error::new(format!(
            "the scale goes from {low} to {high}; both must be {SMALLEST_SCALE} to {LARGEST_SCALE}, the first not \
             above the second"
        )));
    }
    let mut photos: Vec<usize> = (0..dataset.len()).collect();
    if plan.drop_small {
        let sizes = photos.iter().map(|&i| dataset.size(i)).collect::<Result<Vec<_>>>()?;
        photos.retain(|&i| sizes[i].0 >= height && sizes[i].1 >= width);
        if photos.is_empty() {
            return Err(Error::new(format!(
                "none of the {} photos is as large as the crop of {height} x {width} pixels (height x width); choose a \
                 smaller crop",
                dataset.len()
            )));
        }
    }
    if plan.steps(photos.len()) == 0 {
        return Err(Error::new(format!(
            "{} photos do not fill one batch of {}; choose a smaller batch",
            photos.len(),
            plan.batch
        )));
    }
    Ok(photos)
}

/// Starts epoch number `epoch` at step `first_step`. The order of the photos and every random
/// choice depend only on the plan's seed, the epoch and the photo: batches are the same for any
/// number of workers, any number of ranks that divide them, and any first step. If starting fails,
/// the error is the only item.
pub fn epoch(dataset: &Arc<Dataset>, augment: &Arc<Augment>, plan: &Plan, epoch: u64, first_step: usize) -> Epoch {
    Epoch::start(dataset, augment, plan, epoch, first_step).unwrap_or_else(|error| Epoch {
        photos: 0,
        steps: 0,
        first: 0,
        next: 0,
        failure: Some(error),
        stop: Arc::default(),
        queues: Vec::new(),
        workers: Vec::new(),
    })
}

/// The batches of an epoch, in order. Dropping it stops its workers.
pub struct Epoch {
    photos: usize,
    steps: usize,
    /// The step the epoch started at.
    first: usize,
    next: usize,
    failure: Option<Error>,
    stop: Arc<AtomicBool>,
    /// One per worker; they take turns, so batches arrive in order.
    queues: Vec<Receiver<Result<Batch>>>,
    workers: Vec<JoinHandle<()>>,
}

impl Epoch {
    fn start(
        dataset: &Arc<Dataset>,
        augment: &Arc<Augment>,
        plan: &Plan,
        epoch: u64,
        first_step: usize,
    ) -> Result<Epoch> {
        let mut order = select(dataset, augment, plan)?;
        let (photos, steps) = (order.len(), plan.steps(order.len()));
        order.shuffle(&mut order_rng(plan.seed, epoch));
        order.truncate(steps * plan.batch);
        let order: Arc<[usize]> = order.into();
        let mut started = Epoch {
            photos,
            steps,
            first: first_step,
            next: first_step,
            failure: None,
            stop: Arc::default(),
            queues: Vec::new(),
            workers: Vec::new(),
        };
        let workers = plan.workers.min(steps.saturating_sub(first_step));
        for number in 0..workers {
            // A rendezvous channel: a finished worker holds its batch until it is taken, which
            // bounds the memory.
            let (sender, receiver) = sync_channel(0);
            let worker = LoaderWorker {
                dataset: dataset.clone(),
                augment: augment.clone(),
                seed: plan.seed,
                epoch,
                stop: started.stop.clone(),
            };
            let (order, batch, rank) = (order.clone(), plan.batch, plan.rank);
            let run = move || {
                let batches = order.chunks(batch).skip(first_step + number).step_by(workers);
                worker.run(batches.map(|photos| &photos[rank.share(photos.len())]), &sender);
            };
            let thread = std::thread::Builder::new().name(format!("loader {number}")).spawn(run);
            let thread = thread.map_err(|error| Error::new(format!("worker thread {number} cannot start: {error}")))?;
            started.queues.push(receiver);
            started.workers.push(thread);
        }
        Ok(started)
    }

    /// The number of photos in the epoch: with `drop_small` the remaining ones.
    pub fn photos(&self) -> usize {
        self.photos
    }

    /// The number of batches in the whole epoch, including those before the first step.
    pub fn steps(&self) -> usize {
        self.steps
    }
}

impl Iterator for Epoch {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        if let Some(error) = self.failure.take() {
            return Some(Err(error));
        }
        if self.next >= self.steps {
            return None;
        }
        let queue = (self.next - self.first) % self.queues.len();
        self.next += 1;
        Some(self.queues[queue].recv().unwrap_or_else(|_| {
            self.next = self.steps;
            Err(Error::new(format!("loader thread {queue} ended before its batch was ready")))
        }))
    }
}

impl Drop for Epoch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Without receivers, workers that hold a batch wake up.
        self.queues.clear();
        for worker in self.workers.drain(..) {
            // A panic was already reported by the missing batch.
            drop(worker.join());
        }
    }
}

struct LoaderWorker {
    dataset: Arc<Dataset>,
    augment: Arc<Augment>,
    seed: u64,
    epoch: u64,
    stop: Arc<AtomicBool>,
}

impl LoaderWorker {
    fn run<'a>(&self, batches: impl Iterator<Item = &'a [usize]>, sender: &SyncSender<Result<Batch>>) {
        for photos in batches {
            let Some(batch) = self.batch(photos) else { return };
            if sender.send(batch).is_err() {
                return;
            }
        }
    }

    /// The batch of these photos; `None` if it is no longer wanted.
    fn batch(&self, photos: &[usize]) -> Option<Result<Batch>> {
        let (h, w) = self.augment.crop;
        let n = photos.len();
        let mut batch =
            Batch { n, h, w, images: vec![0.0; n * 3 * h * w], labels: vec![0; n * h * w], ids: Vec::with_capacity(n) };
        let images = batch.images.chunks_exact_mut(3 * h * w);
        let labels = batch.labels.chunks_exact_mut(h * w);
        for ((&photo, image), label) in photos.iter().zip(images).zip(labels) {
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            match self.dataset.read(photo) {
                Ok(sample) => {
                    self.augment.apply(&sample, &mut sample_rng(self.seed, self.epoch, photo), image, label);
                    batch.ids.push(sample.id);
                }
                Err(error) => return Some(Err(error)),
            }
        }
        Some(Ok(batch))
    }
}

/// The random generator for the order of an epoch's photos.
fn order_rng(seed: u64, epoch: u64) -> ChaCha8Rng {
    rng([seed, epoch, 0, 0])
}

/// The random generator for augmenting one photo of an epoch.
fn sample_rng(seed: u64, epoch: u64, photo: usize) -> ChaCha8Rng {
    rng([seed, epoch, photo as u64, 1])
}

/// A separate generator per four words, so that no stream depends on how much another one drew.
fn rng(words: [u64; 4]) -> ChaCha8Rng {
    let mut seed = [0; 32];
    for (bytes, word) in seed.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(seed)
}
