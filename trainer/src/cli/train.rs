//! `trainer train`.

use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use tch::{Cuda, Device};

use super::lock::Lock;
use super::setup::Setup;
use super::{Audience, DeviceChoice};
use crate::checkpoint::{self, Checkpoint};
use crate::config::Config;
use crate::console::Output;
use crate::data::of_run::Photos;
use crate::distributed::{self, Devices, Launch, Ranks};
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::train::{End, Run};

/// Options of `trainer train`.
#[derive(Debug, Args)]
pub(super) struct Train {
    #[command(flatten)]
    setup: Setup,

    /// Continue the run in this folder with its original settings, to the same weights as without
    /// the interruption (on the same device, with the same --threads).
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,

    /// The device to compute on.
    #[arg(long, value_enum, default_value = "auto")]
    device: DeviceChoice,

    /// Train on several devices of this machine, one process (rank) each: `all` (all CUDA devices,
    /// or the CPU without one), numbers of CUDA devices such as 0,1, or cpu:2 for two ranks that
    /// divide the cores. They divide each batch. Ranks that torchrun, srun or mpirun starts need no
    /// --devices; see docs/training.md.
    #[arg(long, value_name = "DEVICES", conflicts_with = "device")]
    devices: Option<Devices>,

    /// With several ranks, the seconds that one waits for another before all end.
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    rank_timeout: u64,

    /// CPU threads of the network's arithmetic [default: one per physical core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1024))]
    threads: Option<i32>,

    /// Threads that decode and augment photos ahead of training; their number does not affect the
    /// result.
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,

    /// Steps between checkpoints, in addition to those around each validation.
    #[arg(long, value_name = "STEPS", default_value = "100", value_parser = clap::value_parser!(u32).range(1..))]
    checkpoint_every: u32,

    /// Steps between lines of metrics.csv and points of TensorBoard's curves.
    #[arg(long, value_name = "STEPS", default_value = "10", value_parser = clap::value_parser!(u32).range(1..))]
    log_every: u32,

    #[command(flatten)]
    audience: Audience,
}

impl Train {
    pub(super) fn run(self) -> Result<ExitCode> {
        let launch = Launch::from_environment()?;
        let devices = self.devices.as_ref().map(Devices::list).transpose()?;
        if let (None, Some(devices)) = (&launch, &devices)
            && devices.len() > 1
        {
            return distributed::launch_here(devices.len());
        }
        let device = self.choose_device(launch.as_ref(), devices)?;
        self.set_threads(launch.as_ref());
        let stop = stop_flag()?;
        let ranks = match &launch {
            Some(launch) => Ranks::join(launch, device, Duration::from_secs(self.rank_timeout))?,
            None => Ranks::alone(),
        };
        if let Some(starter) = launch.and_then(|launch| launch.starter()) {
            watch_starter(starter, stop.clone())?;
        }
        self.run_as(&ranks, device, stop).inspect_err(|error| ranks.fail(error))
    }

    /// This rank's device.
    fn choose_device(&self, launch: Option<&Launch>, devices: Option<Vec<Device>>) -> Result<Device> {
        let local = launch.map_or(0, |launch| launch.local.number);
        match devices {
            Some(devices) => devices.get(local).copied().ok_or_else(|| {
                Error::new(format!(
                    "--devices names {} devices, but rank {local} of this machine needs one more",
                    devices.len()
                ))
            }),
            None => Ok(match self.device.device()? {
                // Slurm may show each task a GPU of its own.
                Device::Cuda(_) if launch.is_some() && Cuda::device_count() > 1 => {
                    Devices::Cuda(vec![local]).list()?[0]
                }
                device => device,
            }),
        }
    }

    /// Divides the cores among this machine's ranks, unless their number of threads is given.
    fn set_threads(&self, launch: Option<&Launch>) {
        let share = |launch: &Launch| (tch::get_num_threads() / launch.local.of as i32).max(1);
        let threads = match launch {
            Some(launch) if std::env::var_os("OMP_NUM_THREADS").is_none() => Some(share(launch)),
            _ => None,
        };
        if let Some(threads) = self.threads.or(threads) {
            tch::set_num_threads(threads);
        }
    }

    fn run_as(&self, ranks: &Ranks, device: Device, stop: Arc<AtomicBool>) -> Result<ExitCode> {
        let out = &mut std::io::stdout();
        let output = if ranks.is_first() { self.audience.output() } else { Output::Quiet };
        let lock = |folder: &Path| ranks.is_first().then(|| Lock::take(folder)).transpose();
        let mut said = None;
        let (folder, mut run, _lock) = match (
            &self.resume,
            self.setup.data.as_ref().or(self.setup.images.as_ref()),
            &self.setup.out,
        ) {
            (Some(folder), ..) => {
                check_old(folder)?;
                // Before the checkpoint is read.
                let lock = lock(folder)?;
                (folder, self.resume(folder, device)?, lock)
            }
            (None, Some(data), Some(folder)) => {
                if ranks.is_first() {
                    check_new(folder)?;
                }
                let weights = self.setup.start()?;
                let (recipe, config) = self.setup.config(data)?;
                said = Some((recipe.name(), config.clone()));
                let mut run = Run::start(config, device)?;
                if let Some(weights) = weights {
                    let report = run.load_weights(weights)?;
                    let object = json!({
                        "event": "weights",
                        "file": weights.to_string_lossy(),
                        "loaded": report.matched,
                        "missing": report.missing,
                        "reshaped": report.reshaped,
                        "unused": report.unused,
                    });
                    output.say(out, &format!("{}: {report}", weights.display()), &object)?;
                }
                if ranks.is_first() {
                    crate::folder::make(folder)?;
                }
                let lock = lock(folder)?;
                if ranks.is_first() {
                    // Another one may have started in the meantime.
                    check_new(folder)?;
                }
                (folder, run, lock)
            }
            _ => {
                return Err(Error::new(
                    "--data FOLDER (or --images and --masks) and --out RUN are needed to begin, --resume RUN to continue",
                ));
            }
        };
        run.join(ranks, self.checkpoint_every as usize)?;
        let description = run.describe();
        output.say(out, &description.to_string(), &description.json(folder))?;
        if let Some((recipe, config)) = said.filter(|_| ranks.is_first()) {
            let Config { epochs, batch, val_every, .. } = config;
            let text = format!(
                "recipe {recipe}: {epochs} epochs, batches of {batch}, validation after every {val_every} epochs"
            );
            output.say(out, &text, &json!({"event": "recipe", "recipe": recipe, "config": config}))?;
            let doubts = run.doubts()?;
            let notes = doubts.notes.iter().map(|note| ("note", note));
            for (kind, sentence) in notes.chain(doubts.problems.iter().map(|problem| ("warning", problem))) {
                let object = json!({"event": kind, "sentence": sentence});
                output.say(out, &format!("{kind}: training photos: {sentence}"), &object)?;
            }
        }
        // The first rank has read all masks.
        ranks.wait_for_first()?;
        let execution = Execution {
            folder: folder.clone(),
            device,
            workers: self.workers.into(),
            checkpoint_every: self.checkpoint_every as usize,
            log_every: self.log_every.into(),
            output,
            stop,
        };
        Ok(match run.train(&execution, out)? {
            End::Complete => {
                let best = checkpoint::best(folder).display().to_string();
                output.say(out, &format!("done: {best}"), &json!({"event": "done", "best": best}))?;
                ExitCode::SUCCESS
            }
            End::Stopped => {
                let resume = format!("trainer train --resume {}", folder.display());
                let object = json!({"event": "stopped", "resume": resume});
                output.say(out, &format!("stopped and saved; continue with: {resume}"), &object)?;
                // As a shell reports a command ended by Ctrl-C.
                ExitCode::from(130)
            }
        })
    }

    /// The run in `folder`, from its newest checkpoint.
    fn resume(&self, folder: &Path, device: Device) -> Result<Run> {
        let shown = folder.display();
        if self.setup != Setup::default() {
            return Err(Error::new(format!(
                "--resume {shown}: a run continues with the settings it was begun with; leave out all other options but \
                 --device, --devices, --rank-timeout, --threads, --workers, --checkpoint-every, --log-every, --quiet and --json"
            )));
        }
        Run::resume(Checkpoint::read(folder)?, Photos::read(folder)?, device)
    }
}

/// Checks that a folder holds a run.
fn check_old(folder: &Path) -> Result<()> {
    let shown = folder.display();
    if !folder.is_dir() {
        return Err(Error::new(format!("--resume {shown}: it is not a folder; give the --out folder of a run")));
    }
    if !checkpoint::last(folder).exists() {
        return Err(Error::new(format!(
            "--resume {shown}: it holds no checkpoint {}; begin the run anew with --out {shown}",
            checkpoint::last(folder).display()
        )));
    }
    Ok(())
}

/// Checks that no other run would be overwritten.
fn check_new(folder: &Path) -> Result<()> {
    if checkpoint::last(folder).exists() {
        let folder = folder.display();
        return Err(Error::new(format!(
            "--out {folder}: it holds a run already; continue it with --resume {folder}, or choose another folder"
        )));
    }
    Ok(())
}

/// Stops a rank whose starter has ended without stopping it.
fn watch_starter(starter: u32, stop: Arc<AtomicBool>) -> Result<()> {
    let watch = move || {
        while parent_id() == starter {
            thread::sleep(Duration::from_secs(1));
        }
        stop.store(true, Ordering::Relaxed);
    };
    thread::Builder::new().name("starter".into()).spawn(watch)?;
    Ok(())
}

/// Set by Ctrl-C and SIGTERM; a second one ends the program at once.
fn stop_flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_default(signal, stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    Ok(stop)
}
