//! `trainer predict`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use fcn::read_image;
use fcn_cli::inputs::photos;
use fcn_cli::plan::{Job, Product, jobs};
use fcn_cli::share;

use super::DeviceChoice;
use crate::data::{MissingMasks, Place};
use crate::error::{Error, Result};
use crate::evaluate::Predictor;
use crate::predict::{Annotations, Format, PhotoPredictor, compare};

/// Options of `trainer predict`.
#[derive(Debug, Args)]
pub(super) struct Predict {
    /// An ONNX file (.onnx; run through libfcn on the CPU, as deployed), a checkpoint file, or a
    /// run folder, whose best checkpoint is used.
    model: PathBuf,

    /// JPEG and PNG files, folders, whose .jpg, .jpeg and .png files are used in the order of their
    /// names, without subfolders, and patterns. Photos are rotated according to their EXIF data.
    /// Those that cannot be read are named and left out.
    #[arg(value_name = "PHOTO", required_unless_present = "compare", conflicts_with = "compare")]
    photos: Vec<PathBuf>,

    /// The folder for the results, created if missing: ID.png, an image of class indices with the
    /// class colours as palette, and ID_overlay.png, where ID is the photo's name without its
    /// extension; or the output of --format. With --compare, the PNG file to draw.
    #[arg(long, value_name = "FOLDER|FILE.png")]
    out: PathBuf,

    /// The overlay's opacity, from 0 (photo only) to 1 (colours only).
    #[arg(long, value_name = "SHARE", default_value = "0.6", value_parser = share, conflicts_with = "compare")]
    alpha: f32,

    /// The width of the overlay's outlines in pixels, 0 to 64. The default depends on the photo: 1,
    /// and one more per 300 pixels of its shorter side.
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(0..=64), conflicts_with = "compare")]
    outline: Option<u32>,

    /// What to write: images, or annotations to correct in a labelling tool. `trainer dataset
    /// import` and `trainer train` read them back.
    #[arg(long, value_enum, default_value = "png", conflicts_with = "compare")]
    format: Format,

    /// With --format png, replace files that exist. Annotations are never replaced, because they
    /// may contain corrections.
    #[arg(long, conflicts_with = "compare")]
    force: bool,

    /// With --format labelme or coco, regions of fewer pixels produce no polygon.
    #[arg(long, value_name = "PIXELS", default_value = "64", value_parser = clap::value_parser!(u32).range(1..))]
    min_area: u32,

    /// List the photos with the least certain labels first, at the end and in OUT/ranking.csv: by
    /// the margin between the highest and the second highest probability, averaged over the pixels.
    /// Correct those first.
    #[arg(long, value_enum, value_name = "BY", conflicts_with = "compare")]
    rank: Option<Rank>,

    /// The device for checkpoints.
    #[arg(long, value_enum, default_value = "auto")]
    device: DeviceChoice,

    /// Draw photos of a split (first row), their predictions (second row) and the ground truth
    /// (third row) into one PNG file, one column per photo. Photos with a side above 320 pixels are
    /// scaled down to that.
    #[arg(long, requires = "data")]
    compare: bool,

    /// With --compare, the folder of the data set, as for `trainer train`, or of a run.
    #[arg(long, value_name = "FOLDER", requires = "compare")]
    data: Option<PathBuf>,

    /// With --compare, the split: a list in ImageSets/Segmentation, without .txt.
    #[arg(long, value_name = "SPLIT", default_value = "val", requires = "compare")]
    split: String,

    /// With --compare, how to treat photos that the split lists but that have no mask.
    #[arg(long, value_name = "WHAT", value_enum, default_value = "refuse", requires = "compare")]
    missing_masks: MissingMasks,

    /// With --compare, the number of photos to draw.
    #[arg(long, value_name = "N", default_value = "4", requires = "compare",
          value_parser = clap::value_parser!(u8).range(1..=100))]
    count: u8,

    /// With --compare, the index of the first of them in the split, counted from 0.
    #[arg(long, value_name = "N", default_value = "0", requires = "compare")]
    first: u32,
}

/// A measure of how certain labels are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Rank {
    /// The margin between the highest and the second highest probability.
    Margin,
}

impl Predict {
    pub(super) fn run(self) -> Result<ExitCode> {
        match &self.data {
            Some(data) => self.compare(data)?,
            None => self.label()?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn label(&self) -> Result<()> {
        let jobs = self.jobs()?;
        let mut predictor = self.predictor()?;
        make_folder(&self.out)?;
        let (classes, background) = (predictor.classes().to_vec(), predictor.background());
        let mut annotations = Annotations::new(self.format, &self.out, &classes, background, self.min_area as usize);
        let mut predictor = PhotoPredictor {
            predictor: &mut predictor,
            alpha: self.alpha,
            outline: self.outline,
            margin: self.rank.is_some(),
        };
        let mut ranking = Vec::new();
        let mut broken = 0;
        for job in &jobs {
            let image = match read_image(job.input.path()) {
                Ok(image) => image,
                Err(error) => {
                    super::say(&format!("not labelled: {error}"))?;
                    broken += 1;
                    continue;
                }
            };
            let found = predictor.run(job, image, &mut annotations, self.format)?;
            ranking.extend(found.margin.map(|margin| (margin, job.input.path())));
            let milliseconds = found.time.as_secs_f64() * 1e3;
            super::say(&format!("{}: {}; {milliseconds:.0} ms", job.input.name(), shares(&found.shares)))?;
        }
        annotations.finish()?;
        if self.rank.is_some() {
            self.tell(ranking)?;
        }
        match broken {
            0 => Ok(()),
            _ => Err(Error::new(format!("{broken} of {} photos could not be read; the output names them", jobs.len()))),
        }
    }

    /// The photos with their output files, none of which may exist.
    fn jobs(&self) -> Result<Vec<Job>> {
        let products: &[Product] = match self.format {
            Format::Png => &[Product::Labels, Product::Overlay],
            Format::Labelme | Format::Coco | Format::Cvat => &[],
        };
        let photos = photos(&self.photos, (self.format == Format::Png).then_some(&*self.out));
        let jobs = photos.and_then(|photos| jobs(photos, &self.out, products)).map_err(Error::new)?;
        self.format.check_files(&self.out, &jobs)?;
        if let Some(file) = jobs.iter().flat_map(Job::outputs).find(|file| !self.force && file.exists()) {
            return Err(Error::new(format!(
                "{} exists already; choose another --out, or replace it with --force",
                file.display()
            )));
        }
        Ok(jobs)
    }

    /// Lists photos, least certain first.
    fn tell(&self, mut ranking: Vec<(f64, &Path)>) -> Result<()> {
        ranking.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(b.1)));
        let file = self.out.join("ranking.csv");
        let failed = |error: csv::Error| Error::new(format!("{}: {error}", file.display()));
        let mut table = csv::Writer::from_writer(Vec::new());
        table.write_record(["photo", "margin"]).map_err(failed)?;
        super::say("least certain first:")?;
        for (margin, photo) in ranking {
            super::say(&format!("{margin:.4} {}", photo.display()))?;
            table.write_record([photo.to_string_lossy().as_ref(), &margin.to_string()]).map_err(failed)?;
        }
        let bytes = table.into_inner().map_err(|error| Error::new(format!("{}: {error}", file.display())))?;
        Ok(fcn::file::write(&file, &bytes)?)
    }

    fn compare(&self, data: &Path) -> Result<()> {
        let out = self.out.display();
        if self.out.extension() != Some(OsStr::new("png")) {
            return Err(Error::new(format!(
                "--out {out}: --compare draws one PNG file, so give a file name that ends in .png"
            )));
        }
        let dataset = Place::new(data, self.missing_masks).open(&self.split)?;
        let first = self.first as usize;
        if first + usize::from(self.count) > dataset.len() {
            return Err(Error::new(format!(
                "--first {first} --count {}: split {} of {} has {} photos, counted from 0; choose a smaller --first or \
                 --count",
                self.count,
                self.split,
                data.display(),
                dataset.len()
            )));
        }
        let picture = compare(&mut self.predictor()?, &dataset, first..first + usize::from(self.count))?;
        if let Some(folder) = self.out.parent() {
            make_folder(folder)?;
        }
        fcn::write_png(&self.out, &picture)?;
        super::say(&format!("{out}: {} photos in {} x {} pixels", self.count, picture.width, picture.height))
    }

    fn predictor(&self) -> Result<Predictor> {
        Predictor::open(&self.model, None, self.device.device()?)
    }
}

/// Classes with their shares in percent, as text, without those that would show as 0.0.
fn shares(found: &[(String, f64)]) -> String {
    let seen = found.iter().filter(|(_, percent)| *percent >= 0.05);
    seen.map(|(name, percent)| format!("{name} {percent:.1} %")).collect::<Vec<_>>().join(", ")
}

/// Creates a folder if it is missing.
fn make_folder(folder: &Path) -> Result<()> {
    if folder.as_os_str().is_empty() {
        return Ok(());
    }
    crate::folder::make(folder).map_err(|error| Error::new(format!("{error}; choose another --out")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_class_has_a_share_of_zero() {
        let found = [("floor", 99.9), ("cat", 0.05), ("dog", 0.0499)].map(|(name, percent)| (name.to_owned(), percent));
        assert_eq!(shares(&found), "floor 99.9 %, cat 0.1 %");
    }
}
