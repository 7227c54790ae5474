//! Training on several devices: one process, called a rank, per device. The ranks divide every
//! batch, and add up their gradients by libtorch's process groups (c10d, the engine of
//! `torch.distributed`), Gloo for CPUs and NCCL for GPUs (Li et al. 2020).
//!
//! A process that trains alone is rank 0 of 1 and loads no process group.

mod devices;
mod group;
mod launch;
mod local;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

pub use devices::Devices;
use group::Group;
pub use launch::Launch;
pub use local::run as launch_here;

use crate::error::{Error, Result};

/// How long a rank waits for the reason of another one's failure.
const REASON: Duration = Duration::from_secs(3);
/// Between looks for a failure while a rank waits.
const GLANCE: Duration = Duration::from_millis(200);
/// How long a rank that failed keeps what the others still want to read.
const FAREWELL: Duration = Duration::from_secs(8);

/// The key of the first failure in the ranks' store.
const FAILURE: &str = "failure";
/// The key that tells that a rank is to stop.
const STOP: &str = "stop";
/// The key that tells that rank 0 is ready to train.
const READY: &str = "ready";

/// Which of several ranks a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rank {
    /// From 0.
    pub number: usize,
    /// The number of ranks.
    pub of: usize,
}

impl Rank {
    /// A process that trains alone.
    pub const ALONE: Rank = Rank { number: 0, of: 1 };

    /// This rank's part of `length` items. Parts differ by at most one item in length.
    pub fn share(self, length: usize) -> Range<usize> {
        length * self.number / self.of..length * (self.number + 1) / self.of
    }
}

/// What a rank tells the others when it joins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Introduction {
    host: String,
    process: u32,
    device: String,
    /// fcn's version and libtorch's.
    version: String,
}

impl Introduction {
    /// A rank as it is named in errors.
    fn name(&self, number: usize) -> String {
        format!("rank {number} (process {} on {})", self.process, self.host)
    }
}

/// The ranks that train together, as seen by one of them. Clones are the same rank. Collective
/// functions must be called by all ranks in the same order; they return at once if there is only
/// one.
#[derive(Debug, Clone)]
pub struct Ranks {
    rank: Rank,
    group: Option<Arc<Joined>>,
}

/// A group that all ranks have joined.
#[derive(Debug)]
struct Joined {
    group: Group,
    /// Of each rank.
    introductions: Vec<Introduction>,
    timeout: Duration,
}

impl Ranks {
    /// A process that trains alone.
    pub fn alone() -> Ranks {
        Ranks { rank: Rank::ALONE, group: None }
    }

    /// Joins the ranks of a launch and connects with them, within `timeout`, which is the limit of
    /// every later wait as well.
    pub fn join(launch: &Launch, device: Device, timeout: Duration) -> Result<Ranks> {
        if launch.rank.of == 1 {
            return Ok(Ranks::alone());
        }
        let Launch { rank, ref host, port, .. } = *launch;
        let limit = timeout.as_secs();
        let mut group = Group::open(launch, timeout).map_err(|error| {
            Error::new(if launch.serves {
                format!("rank 0 cannot serve port {port}: {error}; choose another one by MASTER_PORT")
            } else {
                format!("{} finds no rank 0 at {host}:{port} within {limit} s: {error}", named(rank))
            })
        })?;
        let own = Introduction {
            host: host_name(),
            process: std::process::id(),
            device: crate::execution::device_name(device),
            version: version(),
        };
        let text = serde_json::to_vec(&own).map_err(|error| Error::new(error.to_string()))?;
        group.set(&format!("hello/{}", rank.number), &text).map_err(Error::new)?;
        let end = Instant::now() + timeout;
        let mut introductions: Vec<Introduction> = Vec::with_capacity(rank.of);
        for other in 0..rank.of {
            let found = group.get(&format!("hello/{other}"), end.saturating_duration_since(Instant::now()));
            let found = found.map_err(|error| Error::new(format!("{}: rank 0 is gone: {error}", named(rank))))?;
            let text = found.ok_or_else(|| {
                Error::new(format!(
                    "{} waited {limit} s for rank {other}, which never came; start all {} ranks, or give them more \
                     time by --rank-timeout",
                    named(rank),
                    rank.of
                ))
            })?;
            let told = serde_json::from_slice(&text);
            introductions.push(told.map_err(|error| Error::new(format!("rank {other} is not a trainer: {error}")))?);
        }
        let first = &introductions[0];
        if let Some((other, told)) = introductions.iter().enumerate().find(|(_, told)| told.version != first.version) {
            return Err(Error::new(format!(
                "{} is version {}, but {} is version {}; install the same one everywhere",
                first.name(0),
                first.version,
                told.name(other),
                told.version
            )));
        }
        let kind = |told: &Introduction| told.device.starts_with("cuda");
        if let Some((other, told)) = introductions.iter().enumerate().find(|(_, told)| kind(told) != kind(first)) {
            return Err(Error::new(format!(
                "{} trains on {}, but {} on {}; choose the same kind of device for all ranks",
                first.name(0),
                first.device,
                told.name(other),
                told.device
            )));
        }
        // Names of machines may be equal, and containers have loopback interfaces of their own.
        let on_one_machine = ["localhost", "127.0.0.1", "::1"].contains(&host.as_str());
        group.connect(rank, device.is_cuda(), on_one_machine).map_err(|error| {
            Error::new(format!("{} cannot connect with the other ranks within {limit} s: {error}", named(rank)))
        })?;
        Ok(Ranks { rank, group: Some(Arc::new(Joined { group, introductions, timeout })) })
    }

    /// Which rank this is.
    pub fn rank(&self) -> Rank {
        self.rank
    }

    /// Whether this rank records, saves and prints.
    pub fn is_first(&self) -> bool {
        self.rank.number == 0
    }

    /// Whether there are other ranks.
    pub fn are_several(&self) -> bool {
        self.group.is_some()
    }

    /// The devices of all ranks, for example `2 x cpu (1 threads)`.
    pub fn devices(&self, device: Device) -> String {
        let Some(joined) = &self.group else { return crate::execution::device_name(device) };
        let mut counted: Vec<(&str, usize)> = Vec::new();
        for Introduction { device, .. } in &joined.introductions {
            // GPUs of the same number on several machines are several devices.
            let kind = device.split(':').next().unwrap_or(device);
            match counted.iter_mut().find(|(name, _)| *name == kind) {
                Some((_, count)) => *count += 1,
                None => counted.push((kind, 1)),
            }
        }
        let counted: Vec<String> = counted.iter().map(|(device, count)| format!("{count} x {device}")).collect();
        counted.join(", ")
    }

    /// Adds up a tensor over all ranks, in place.
    pub fn sum(&self, tensor: &mut Tensor) -> Result<()> {
        self.collective(|group| group.sum(tensor))
    }

    /// The sum of a tensor over all ranks, through which gradients flow.
    pub fn learned_sum(&self, tensor: &Tensor) -> Result<Tensor> {
        match &self.group {
            None => Ok(tensor.shallow_clone()),
            Some(joined) => joined.group.learned_sum(tensor).map_err(|error| self.explain(joined, &error)),
        }
    }

    /// Overwrites a tensor with that of rank 0.
    pub fn broadcast(&self, tensor: &mut Tensor) -> Result<()> {
        self.collective(|group| group.broadcast(tensor))
    }

    /// Adds up numbers over all ranks.
    pub fn sum_numbers<const N: usize>(&self, numbers: [f64; N], device: Device) -> Result<[f64; N]> {
        if self.group.is_none() {
            return Ok(numbers);
        }
        let mut tensor = Tensor::f_from_slice(&numbers)?.f_to_device(device)?;
        self.sum(&mut tensor)?;
        let mut sums = [0.0; N];
        tensor.f_to_device(Device::Cpu)?.f_copy_data(&mut sums, N)?;
        Ok(sums)
    }

    /// Whether it holds on any rank.
    pub fn any(&self, holds: bool, device: Device) -> Result<bool> {
        let [count] = self.sum_numbers([f64::from(u8::from(holds))], device)?;
        Ok(count > 0.0)
    }

    /// Whether this rank or another one is to stop, outside of steps that all ranks do together:
    /// one that is tells the others.
    pub fn is_told_to_stop(&self, stops: bool) -> Result<bool> {
        let Some(joined) = &self.group else { return Ok(stops) };
        let failed = |error: String| self.explain(joined, &error);
        if stops {
            joined.group.set(STOP, &[]).map_err(failed)?;
            return Ok(true);
        }
        Ok(joined.group.get(STOP, Duration::from_millis(1)).map_err(failed)?.is_some())
    }

    /// The values of all ranks, of which each has at most `most`, in one dimension.
    pub fn gather(&self, values: &Tensor, most: usize) -> Result<Tensor> {
        if self.group.is_none() {
            return Ok(values.shallow_clone());
        }
        let (own, most) = (values.numel() as i64, most as i64);
        let mut all = Tensor::f_zeros([self.rank.of as i64, most], (Kind::Float, values.device()))?;
        let mut counts = Tensor::f_zeros([self.rank.of as i64], (Kind::Double, values.device()))?;
        let number = self.rank.number as i64;
        all.f_get(number)?.f_narrow(0, 0, own)?.f_copy_(&values.f_reshape([-1])?)?;
        let _ = counts.f_get(number)?.f_fill_(own as f64)?;
        self.sum(&mut all)?;
        self.sum(&mut counts)?;
        let parts = (0..self.rank.of as i64).map(|rank| {
            let count = counts.f_double_value(&[rank])? as i64;
            Ok(all.f_get(rank)?.f_narrow(0, 0, count)?)
        });
        Ok(Tensor::f_cat(&parts.collect::<Result<Vec<_>>>()?, 0)?)
    }

    /// Checks that all ranks have the same values of what decides a run: names, and a text of each.
    pub fn compare(&self, subjects: &[(&str, String)]) -> Result<()> {
        let Some(joined) = &self.group else { return Ok(()) };
        let own: Vec<u64> = subjects.iter().map(|(_, text)| twox_hash::XxHash3_64::oneshot(text.as_bytes())).collect();
        let failed = |error: String| self.explain(joined, &error);
        let text = serde_json::to_vec(&own).map_err(|error| Error::new(error.to_string()))?;
        joined.group.set(&format!("subjects/{}", self.rank.number), &text).map_err(failed)?;
        for other in 0..self.rank.of {
            let found = self.wait(joined, &format!("subjects/{other}"), joined.timeout)?;
            let found = found.ok_or_else(|| failed(format!("rank {other} did not say what it trains on")))?;
            let hashes: Vec<u64> = serde_json::from_slice(&found).unwrap_or_default();
            let differing = subjects.iter().zip(&own).zip(&hashes).find(|((_, own), hash)| own != hash);
            if let Some((((subject, _), own), hash)) = differing {
                return Err(Error::new(format!(
                    "{} has other {subject} than {} (their hashes are {own:016x} and {hash:016x}); give all ranks the \
                     same",
                    joined.introductions[self.rank.number].name(self.rank.number),
                    joined.introductions[other].name(other)
                )));
            }
        }
        Ok(())
    }

    /// Waits until rank 0 has called this, however long that takes, unless it ends.
    pub fn wait_for_first(&self) -> Result<()> {
        let Some(joined) = &self.group else { return Ok(()) };
        if self.is_first() {
            return joined.group.set(READY, &[]).map_err(|error| self.explain(joined, &error));
        }
        while self.wait(joined, READY, joined.timeout)?.is_none() {}
        Ok(())
    }

    /// The value of a key in the ranks' store, unless a rank fails before; `None` after `limit`.
    fn wait(&self, joined: &Joined, key: &str, limit: Duration) -> Result<Option<Vec<u8>>> {
        let end = Instant::now() + limit;
        loop {
            let failed = |error: String| self.explain(joined, &error);
            let found = joined.group.get(key, GLANCE).map_err(failed)?;
            if found.is_some() || Instant::now() >= end {
                return Ok(found);
            }
            if let Some(reason) = joined.group.get(FAILURE, Duration::from_millis(1)).map_err(failed)? {
                return Err(Error::new(String::from_utf8_lossy(&reason)));
            }
        }
    }

    /// Tells the other ranks that this one ends because of `error`, unless one of them has told
    /// so before.
    pub fn fail(&self, error: &Error) {
        let Some(joined) = &self.group else { return };
        let name = joined.introductions[self.rank.number].name(self.rank.number);
        if let Ok(None) = joined.group.get(FAILURE, Duration::from_millis(1)) {
            // If the store is gone, there is no one left to tell.
            let _ = joined.group.set(FAILURE, format!("{name} ended: {error}").as_bytes());
        }
        joined.group.disconnect();
        let _ = joined.group.set(&format!("gone/{}", self.rank.number), &[]);
        // The store ends with rank 0.
        if self.is_first() {
            let end = Instant::now() + FAREWELL;
            for other in 1..self.rank.of {
                let _ = joined.group.get(&format!("gone/{other}"), end.saturating_duration_since(Instant::now()));
            }
        }
    }

    fn collective(&self, run: impl FnOnce(&Group) -> std::result::Result<(), String>) -> Result<()> {
        match &self.group {
            None => Ok(()),
            Some(joined) => run(&joined.group).map_err(|error| self.explain(joined, &error)),
        }
    }

    /// The reason why the ranks are no longer connected.
    fn explain(&self, joined: &Joined, error: &str) -> Error {
        let Joined { group, introductions, .. } = joined;
        let _ = group.set(&format!("lost/{}", self.rank.number), &[]);
        match group.get(FAILURE, REASON) {
            Ok(Some(reason)) => return Error::new(String::from_utf8_lossy(&reason)),
            Ok(None) => {}
            Err(_) => {
                return Error::new(format!("{} ended or does not answer any more: {error}", introductions[0].name(0)));
            }
        }
        let end = Instant::now() + REASON;
        let silent = (0..self.rank.of).filter(|other| {
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            !matches!(group.get(&format!("lost/{other}"), left), Ok(Some(_)))
        });
        let silent: Vec<String> = silent.map(|other| introductions[other].name(other)).collect();
        if silent.is_empty() {
            return Error::new(format!("the ranks lost each other: {error}"));
        }
        Error::new(format!("{} ended or does not answer any more: {error}", silent.join(" and ")))
    }
}

/// A rank before the others are known.
fn named(rank: Rank) -> String {
    format!("rank {} of {} (process {} on {})", rank.number, rank.of, std::process::id(), host_name())
}

/// fcn's version and libtorch's, which must be the same for all ranks.
fn version() -> String {
    format!("{} with libtorch {}", env!("CARGO_PKG_VERSION"), env!("LIBTORCH_VERSION"))
}

/// This machine's name.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or("an unnamed machine".to_owned(), |name| name.trim().to_owned())
}
