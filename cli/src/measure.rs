//! One row of `fcn bench`, measured in a process of its own, so that its peak memory is its own and
//! a crash of a provider ends only the row.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use fcn::{Frame, Mask, PixelFormat, Segmenter};
use fcn_cli::Result;
use serde::{Deserialize, Serialize};

use crate::settings::Settings;

/// At most this many frames are timed.
const MAX_FRAMES: usize = 500;

#[derive(Debug, Args)]
pub(crate) struct Measure {
    /// The ONNX file.
    model: PathBuf,

    /// Packed RGB pixels.
    pixels: PathBuf,

    /// Their size.
    #[arg(value_parser = crate::settings::size)]
    size: (u32, u32),

    /// Where the labels are written, one byte per pixel.
    labels: PathBuf,

    /// For how long frames are timed.
    #[arg(long)]
    seconds: f64,

    #[command(flatten)]
    settings: Settings,
}

/// The figures of a row. Times are in milliseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// From the file to a segmenter.
    pub(crate) create: f64,
    /// The first frame.
    pub(crate) first: f64,
    /// The median of the warm frames.
    pub(crate) median: f64,
    /// A tenth of the warm frames took longer.
    pub(crate) slow: f64,
    /// Peak memory of the process, in MB.
    pub(crate) memory: f64,
    /// Where the network ran.
    pub(crate) provider: String,
    /// The format of its float32 layers.
    pub(crate) format: String,
}

impl Measure {
    pub(crate) fn run(self) -> Result<()> {
        let plain = |error: fcn::Error| error.to_string();
        let pixels = fs::read(&self.pixels).map_err(|error| format!("{}: {error}", self.pixels.display()))?;
        let frame = Frame::packed(PixelFormat::Rgb8, &pixels, self.size.0, self.size.1, 0).map_err(plain)?;
        let mut mask = Mask::new();

        let start = Instant::now();
        let segmenter = Segmenter::from_file(&self.model, &self.settings.options()).map_err(plain)?;
        let create = start.elapsed();
        let start = Instant::now();
        segmenter.segment(&frame, &mut mask).map_err(plain)?;
        let first = start.elapsed();
        let mut times = Vec::with_capacity(MAX_FRAMES);
        let end = Instant::now() + Duration::from_secs_f64(self.seconds);
        while times.is_empty() || (times.len() < MAX_FRAMES && Instant::now() < end) {
            let start = Instant::now();
            segmenter.segment(&frame, &mut mask).map_err(plain)?;
            times.push(start.elapsed());
        }
        times.sort();

        fs::write(&self.labels, mask.labels()).map_err(|error| format!("{}: {error}", self.labels.display()))?;
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        let figures = Figures {
            create: milliseconds(create),
            first: milliseconds(first),
            median: milliseconds(times[times.len() / 2]),
            slow: milliseconds(times[times.len() * 9 / 10]),
            memory: peak_memory().unwrap_or(f64::NAN),
            provider: segmenter.provider().to_owned(),
            format: segmenter.precision().to_owned(),
        };
        say!("{}", serde_json::to_string(&figures).map_err(|error| error.to_string())?);
        Ok(())
    }
}

/// This process's peak memory in MB, as Linux tells it.
fn peak_memory() -> Option<f64> {
    let status = fs::read_to_string(Path::new("/proc/self/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? * 1024.0 / 1e6)
}
