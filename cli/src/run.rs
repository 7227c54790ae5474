//! `fcn run`: labels photos, videos and cameras.

use std::{
    fs,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use clap::Args;
use fcn::{Mask, Segmenter};
use fcn_cli::{
    Result,
    inputs::{Input, inputs},
    plan::{Job, Product, Record, job_for_file, jobs},
    results::Results,
    share,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::{models, photos, settings::Settings, video};

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// [MODEL] INPUT...: an ONNX file or the name of an installed model, which is animals if none
    /// is given; then photos (JPEG, PNG), folders of photos, patterns, videos, cameras
    /// (/dev/video0) and addresses (rtsp://...). Videos need ffmpeg.
    #[arg(value_name = "MODEL|INPUT", required = true)]
    arguments: Vec<PathBuf>,

    /// The folder for the results, created if missing; or, for one video, its overlay's file. A
    /// photo NAME.jpg gives NAME_overlay.png, NAME.png and NAME.json, a video NAME_overlay.mp4,
    /// NAME_labels/ and NAME.jsonl. What is there already is not made again.
    #[arg(long, value_name = "FOLDER|FILE")]
    out: PathBuf,

    /// What to write, for example overlay,labels.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "overlay")]
    write: Vec<Product>,

    /// Replace outputs that are there already.
    #[arg(long)]
    force: bool,

    /// Photos that are labelled at once, 1 to 64; 0 means one per CPU. Each has its own copy of the
    /// network.
    #[arg(long, value_name = "N", default_value = "0", value_parser = clap::value_parser!(u32).range(0..=64))]
    jobs: u32,

    /// Opacity of the class colours, 0 (invisible) to 1 (opaque).
    #[arg(long, value_name = "SHARE", default_value = "0.4", value_parser = share)]
    alpha: f32,

    /// Width of outlines in pixels, 0 to 64. The default depends on the frame's size: 1, and one
    /// more per 300 pixels of the shorter side.
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(0..=64))]
    outline: Option<u32>,

    /// The least confidence of a label, 0 to 1; below it, the pixel is unknown (255).
    #[arg(long, value_name = "CONFIDENCE", default_value = "0", value_parser = share)]
    threshold: f32,

    /// For videos, the newest frame's share of the average over frames, above 0 to 1; 1 means no
    /// average.
    #[arg(long, value_name = "SHARE", default_value = "1", value_parser = newest)]
    smoothing: f32,

    /// Regions of fewer pixels take the label around them; 0 keeps all.
    #[arg(long, value_name = "PIXELS", default_value = "0")]
    min_region: u32,

    /// Print a line of JSON per input instead of progress.
    #[arg(long)]
    json: bool,

    /// Show overlays of videos while they are made, with ffplay.
    #[arg(long)]
    show: bool,

    #[command(flatten)]
    settings: Settings,
}

/// A number above 0 and at most 1.
fn newest(text: &str) -> std::result::Result<f32, String> {
    text.parse()
        .ok()
        .filter(|share| *share > 0.0 && *share <= 1.0)
        .ok_or_else(|| "must be above 0, at most 1".to_owned())
}

/// What workers share.
pub(crate) struct Context {
    pub(crate) segmenter: Segmenter,
    run: Run,
    /// Set by Ctrl-C: finish nothing more.
    pub(crate) stopped: Arc<AtomicBool>,
    pub(crate) progress: ProgressBar,
}

impl Run {
    pub(crate) fn run(self) -> Result<()> {
        let (model, rest) = match &self.arguments[..] {
            [first, rest @ ..] if models::is_model(first) => (first.as_path(), rest),
            rest => {
                if !self.json {
                    tell!("no model is named, so {} is used", models::DEFAULT);
                }
                (Path::new(models::DEFAULT), rest)
            }
        };
        if rest.is_empty() {
            return Err("nothing to label: give photos, folders, videos or cameras after the model".into());
        }
        let model = models::find(model)?;
        let out = &self.out;
        let has_images = self.write.iter().any(|product| *product != Product::Rle);
        let inputs = inputs(rest, has_images.then_some(&**out))?;
        let is_file = out.extension().is_some() && !out.is_dir() && !out.as_os_str().as_encoded_bytes().ends_with(b"/");
        let all = if is_file { vec![job_for_file(inputs, out, &self.write)?] } else { jobs(inputs, out, &self.write)? };
        self.check(&all)?;
        if !is_file {
            Record::new(&model, self.settings_of_outputs())?.claim(out, self.force)?;
        } else if out.exists() && !out.is_file() {
            return Err(format!("{} is not a regular file; choose another --out", out.display()));
        } else if out.exists() && !self.force {
            return Err(format!("{} exists already; replace it with --force", out.display()));
        }

        let count = all.len();
        let (done, todo): (Vec<Job>, Vec<Job>) = all.into_iter().partition(|job| !self.force && job.is_done());
        let there = done.len();
        if there > 0 && !self.json {
            tell!("{there} of {count} inputs are done already");
        }
        for job in done.iter().filter(|_| self.json) {
            say!("{}", json!({"input": job.input.name(), "outputs": outputs(job), "done": true}));
        }
        if todo.is_empty() {
            return Ok(());
        }
        self.label(&model, todo)
    }

    fn check(&self, jobs: &[Job]) -> Result<()> {
        let moving = |job: &Job| !matches!(job.input, Input::Photo(_));
        if self.show && !jobs.iter().any(moving) {
            return Err("--show is for videos and cameras".into());
        }
        if jobs.iter().any(moving) {
            video::find_tools(self.show)?;
        }
        Ok(())
    }

    /// The settings that change outputs.
    fn settings_of_outputs(&self) -> Vec<String> {
        vec![
            format!("provider {}, {}", self.settings.provider, self.settings.precision),
            format!("resize {:?}", self.settings.resize),
            format!("alpha {}", self.alpha),
            format!("outline {:?}", self.outline),
            format!("threshold {}", self.threshold),
            format!("smoothing {}", self.smoothing),
            format!("min_region {}", self.min_region),
        ]
    }

    fn label(self, model: &Path, todo: Vec<Job>) -> Result<()> {
        let cpus = thread::available_parallelism().map_or(1, |cpus| cpus.get() as u32);
        let photos = todo.iter().filter(|job| matches!(job.input, Input::Photo(_))).count();
        let workers = match self.jobs {
            0 => cpus.min(64),
            jobs => jobs,
        };
        let workers = workers.min(photos as u32).max(1);
        let mut options = self.settings.options().with_sessions(workers);
        if options.threads == 0 && workers > 1 {
            options.threads = (cpus / workers).max(1);
        }
        let segmenter = Segmenter::from_file(model, &options).map_err(|error| error.to_string())?;
        let stopped = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // A second one ends the program at once.
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stopped))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stopped)))
                .map_err(|error| format!("cannot handle signals: {error}"))?;
        }
        let progress = if self.json || !io::stderr().is_terminal() {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(todo.len() as u64).with_style(
                ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {elapsed} elapsed, {eta} left")
                    .map_err(|error| error.to_string())?,
            )
        };
        let total = todo.len();
        let (photos, videos): (Vec<_>, Vec<_>) = todo.into_iter().partition(|job| matches!(job.input, Input::Photo(_)));
        let context = Context { segmenter, run: self, stopped, progress };
        let mut failed = photos::run(&context, &photos, workers as usize);
        // A recording of a camera ends by being stopped, and is whole.
        let mut whole = false;
        for job in &videos {
            if context.stopped.load(Ordering::Relaxed) {
                break;
            }
            let works = context.report(job, video::run(&context, job));
            failed += usize::from(!works);
            let is_last = videos.last() == Some(job);
            whole = works && is_last && matches!(job.input, Input::Live(_));
        }
        context.progress.finish_and_clear();
        if context.stopped.load(Ordering::Relaxed) && !whole {
            return Err("stopped; the same command goes on with what is missing".into());
        }
        if failed > 0 {
            return Err(format!("{failed} of {total} inputs failed; the messages above say why"));
        }
        Ok(())
    }
}

impl Context {
    /// A mask with the settings of this run.
    pub(crate) fn mask(&self) -> Result<Mask> {
        let mut mask = Mask::new();
        let plain = |error: fcn::Error| error.to_string();
        mask.set_threshold(self.run.threshold).map_err(plain)?;
        mask.set_smoothing(self.run.smoothing).map_err(plain)?;
        mask.set_min_region(self.run.min_region);
        Ok(mask)
    }

    pub(crate) fn shows(&self) -> bool {
        self.run.show
    }

    pub(crate) fn results(&self) -> Results<'_> {
        let (classes, background) = (self.segmenter.classes(), self.segmenter.background());
        Results { classes, background, alpha: self.run.alpha, outline: self.run.outline }
    }

    /// Tells the outcome of an input; returns whether it worked.
    pub(crate) fn report(&self, job: &Job, outcome: Result<Value>) -> bool {
        let name = job.input.name();
        let works = outcome.is_ok();
        if self.run.json {
            let line = match outcome {
                Ok(figures) => json!({"input": name, "outputs": outputs(job), "figures": figures}),
                Err(error) => json!({"input": name, "error": error}),
            };
            let written = crate::write_line(&mut io::stdout(), format_args!("{line}"));
            if let Err(error) = written {
                self.stopped.store(true, Ordering::Relaxed);
                tell!("{error}");
            }
        } else if let Err(error) = outcome {
            self.progress.suspend(|| {
                tell!("{name}: {error}");
            });
        }
        self.progress.inc(1);
        works
    }
}

/// The outputs' names in JSON, in which what is not UTF-8 is replaced.
fn outputs(job: &Job) -> Vec<String> {
    job.outputs().map(|path| path.display().to_string()).collect()
}

/// Creates the folder of an output.
pub(crate) fn make_parent(path: &Path) -> Result<()> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    fs::create_dir_all(folder).map_err(|error| format!("cannot create the folder {}: {error}", folder.display()))
}
