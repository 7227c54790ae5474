//! `fcn bench`: a table of what runs on this machine.

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Output},
    thread,
};

use clap::Args;
use fcn::{Image, Precision, Provider, read_image};
use fcn_cli::Result;
use image::{RgbImage, imageops};
use serde_json::json;

use crate::{
    measure::Figures,
    models,
    settings::{Settings, size},
};

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// An ONNX file, or the name of an installed model.
    model: PathBuf,

    /// A JPEG or PNG file. Without one, a smooth random image is labelled, on which the share of
    /// equal labels means little.
    photo: Option<PathBuf>,

    /// The frame's size: the photo is resampled to it. The default is the photo's own size, or
    /// 480x320 without a photo.
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = size)]
    size: Option<(u32, u32)>,

    /// Numbers of threads to try, for example 1,2,4. The default is 1, 2, 4 and so on up to the
    /// number of CPUs.
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: Vec<u32>,

    /// Seconds per row.
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    seconds: f64,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A row of the table: the figures, or the reason why there are none.
struct Row {
    settings: Settings,
    figures: Result<Figures>,
    /// The share of labels that are those of the first row; NaN if there are none to compare.
    equal: f64,
}

impl Row {
    /// Whether the provider failed before, or the format is that of an earlier row: FAST is EXACT
    /// where a provider has no shorter format.
    fn adds_nothing_to(&self, earlier: &Row) -> bool {
        if self.settings.provider != earlier.settings.provider {
            return false;
        }
        match (&self.figures, &earlier.figures) {
            (Err(_), Err(_)) => true,
            (Ok(new), Ok(old)) => new.format == old.format && self.settings.threads == earlier.settings.threads,
            _ => false,
        }
    }
}

impl Bench {
    pub(crate) fn run(self) -> Result<()> {
        let model = models::find(&self.model)?;
        let image = self.frame()?;
        let folder = tempfile::tempdir().map_err(|error| format!("cannot create a temporary folder: {error}"))?;
        let (pixels, labels) = (folder.path().join("pixels"), folder.path().join("labels"));
        fs::write(&pixels, &image.pixels).map_err(|error| format!("{}: {error}", pixels.display()))?;

        let mut rows: Vec<Row> = Vec::new();
        let mut reference: Option<Vec<u8>> = None;
        for settings in self.variants() {
            let _ = fs::remove_file(&labels);
            let output = Command::new(env::current_exe().map_err(|error| error.to_string())?)
                .arg("measure")
                .args([&model, &pixels])
                .arg(format!("{}x{}", image.width, image.height))
                .arg(&labels)
                .args(["--seconds", &self.seconds.to_string()])
                .args(["--provider", settings.provider.name(), "--precision", settings.precision.name()])
                .args(["--threads", &settings.threads.to_string()])
                .output()
                .map_err(|error| format!("cannot start a measurement: {error}"))?;
            let figures = figures(&output);
            let labels = fs::read(&labels).unwrap_or_default();
            let equal = match &reference {
                Some(reference) => equal(reference, &labels),
                None if figures.is_ok() => {
                    reference = Some(labels);
                    1.0
                }
                None => f64::NAN,
            };
            let row = Row { settings, figures, equal };
            if !rows.iter().any(|earlier| row.adds_nothing_to(earlier)) {
                rows.push(row);
            }
        }
        if self.json {
            print_json(&rows)?;
        } else {
            print_table(&rows, &image)?;
        }
        if rows.iter().all(|row| row.figures.is_err()) {
            return Err("nothing runs here; the rows above say why".into());
        }
        Ok(())
    }

    /// The image to label.
    fn frame(&self) -> Result<Image> {
        let Some(photo) = &self.photo else {
            let (width, height) = self.size.unwrap_or((480, 320));
            return Ok(smooth(width, height));
        };
        let image = read_image(photo).map_err(|error| error.to_string())?;
        let Some((width, height)) = self.size else { return Ok(image) };
        let photo = RgbImage::from_raw(image.width, image.height, image.pixels).ok_or("the photo has no pixels")?;
        let pixels = imageops::resize(&photo, width, height, imageops::FilterType::Triangle).into_raw();
        Ok(Image { width, height, pixels })
    }

    /// The settings of each row.
    fn variants(&self) -> Vec<Settings> {
        let cpus = thread::available_parallelism().map_or(1, |cpus| cpus.get() as u32);
        let threads = if self.threads.is_empty() { powers(cpus) } else { self.threads.clone() };
        let mut variants = Vec::new();
        // The CPU's labels come first: the others are compared with them.
        for provider in Provider::ALL.into_iter().filter(|provider| *provider != Provider::Auto) {
            // A GPU's time hardly depends on the threads.
            let on_cpu = matches!(provider, Provider::Cpu | Provider::OpenVino);
            let threads = if on_cpu { threads.clone() } else { vec![0] };
            for precision in [Precision::Exact, Precision::Fast] {
                let with = |&threads: &u32| Settings { provider, precision, threads, resize: None };
                variants.extend(threads.iter().map(with));
            }
        }
        variants
    }
}

/// 1, 2, 4 and so on, and `most`.
fn powers(most: u32) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..8).map(|power| 1 << power).take_while(|&number| number < most).collect();
    numbers.push(most);
    numbers
}

fn figures(output: &Output) -> Result<Figures> {
    if output.status.success() {
        return serde_json::from_slice(&output.stdout).map_err(|error| format!("no figures were printed: {error}"));
    }
    let message = String::from_utf8_lossy(&output.stderr);
    let message = message.trim();
    Err(match message.strip_prefix("fcn: ") {
        Some(reason) => reason.to_owned(),
        None => format!("the measurement ended with {}: {}", output.status, fcn::plain(message)),
    })
}

/// The share of equal labels; NaN if the numbers differ.
fn equal(reference: &[u8], labels: &[u8]) -> f64 {
    if reference.len() != labels.len() {
        return f64::NAN;
    }
    reference.iter().zip(labels).filter(|(a, b)| a == b).count() as f64 / reference.len() as f64
}

fn threads_of(settings: &Settings) -> String {
    if settings.threads == 0 { "-".to_owned() } else { settings.threads.to_string() }
}

fn print_table(rows: &[Row], image: &Image) -> Result<()> {
    say!("frames of {} x {} pixels; times in ms, memory in MB", image.width, image.height);
    say!(
        "{:<10}{:<10}{:>8}{:>10}{:>10}{:>10}{:>12}{:>9}{:>14}",
        "provider",
        "format",
        "threads",
        "create",
        "first",
        "median",
        "90 % below",
        "memory",
        "equal labels"
    );
    for row in rows {
        let (provider, threads) = (row.settings.provider.name(), threads_of(&row.settings));
        match &row.figures {
            Ok(figures) => say!(
                "{provider:<10}{:<10}{threads:>8}{:>10.1}{:>10.1}{:>10.2}{:>12.2}{:>9.0}{:>12.2} %",
                figures.format,
                figures.create,
                figures.first,
                figures.median,
                figures.slow,
                figures.memory,
                100.0 * row.equal
            ),
            Err(reason) => say!("{provider:<10}{reason}"),
        }
    }
    Ok(())
}

fn print_json(rows: &[Row]) -> Result<()> {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            let (provider, threads) = (row.settings.provider.name(), row.settings.threads);
            let precision = row.settings.precision.name();
            match &row.figures {
                Ok(figures) => json!({
                    "provider": provider,
                    "precision": precision,
                    "threads": threads,
                    "figures": figures,
                    "equal_labels": row.equal,
                }),
                Err(reason) => json!({"provider": provider, "threads": threads, "error": reason}),
            }
        })
        .collect();
    say!("{}", json!(rows));
    Ok(())
}

/// An image of waves, the same each time.
fn smooth(width: u32, height: u32) -> Image {
    let wave = |x: u32, y: u32, channel: u32| {
        let phase = f64::from(channel) * 2.0;
        let value = (f64::from(x) / 37.0 + phase).sin() + (f64::from(y) / 23.0 - phase).cos();
        (127.5 + 63.0 * value) as u8
    };
    let pixels = (0..height).flat_map(|y| (0..width).flat_map(move |x| [0, 1, 2].map(|channel| wave(x, y, channel))));
    Image { width, height, pixels: pixels.collect() }
}

fn seconds(text: &str) -> std::result::Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.01..=3600.0).contains(seconds));
    seconds.ok_or_else(|| "must be from 0.01 to 3600".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_counts_double_up_to_the_cpus() {
        assert_eq!(powers(1), [1]);
        assert_eq!(powers(2), [1, 2]);
        assert_eq!(powers(6), [1, 2, 4, 6]);
        assert_eq!(powers(8), [1, 2, 4, 8]);
    }

    #[test]
    fn labels_are_compared_one_by_one() {
        assert_eq!(equal(&[1, 2, 3, 4], &[1, 2, 3, 5]), 0.75);
        assert!(equal(&[1, 2], &[1]).is_nan());
    }
}
