//! `trainer report`: a self-contained page about a run.

mod chart;
mod colors;
mod page;
mod photos;
mod png;

use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use maud::Markup;
use tch::Device;

use crate::checkpoint::{Checkpoint, CheckpointState, last};
use crate::confidence::{Bin, Reliability};
use crate::console::Output;
use crate::data::of_run::Photos;
use crate::data::{Dataset, Place, VOID};
use crate::error::{Error, Result};
use crate::evaluate::{Predictor, void_to_background};
use crate::logging::{self, MetricsRow, Session};
use crate::metrics::Confusion;
use chart::{Curves, Series, bars, matrix, reliability};
use photos::Photo;
use png::Painter;

/// The number of best and of worst photos shown.
const SHOWN: usize = 4;

/// The page's data.
pub struct PageFacts {
    /// The run's folder.
    run: PathBuf,
    /// The data set's folder used for the page.
    data: PathBuf,
    /// The measured checkpoint: the best one, or the newest if there has been no validation yet.
    best: CheckpointState,
    /// The newest checkpoint.
    newest: CheckpointState,
    rows: Vec<MetricsRow>,
    sessions: Vec<Session>,
    /// The confusion matrix of the best checkpoint on the validation split.
    confusion: Confusion,
    /// Its confidence on the same pixels.
    reliability: Reliability,
    train: SplitPixels,
    val: SplitPixels,
    /// The best photos, best first.
    top: Vec<Photo>,
    /// The worst photos, worst first.
    bottom: Vec<Photo>,
}

/// Pixel counts of a split.
struct SplitPixels {
    photos: usize,
    /// Per class.
    pixels: Vec<u64>,
    /// Void.
    void: u64,
}

/// A plot and the name of its PNG file.
struct Plot {
    name: &'static str,
    drawing: Markup,
}

impl PageFacts {
    /// Labels the validation split with the run's best checkpoint, and collects the run's records.
    /// `data` is the data set's folder if it has moved since training.
    pub fn collect(run: &Path, data: Option<PathBuf>, device: Device, output: Output) -> Result<PageFacts> {
        let newest = last(run);
        if !newest.is_file() {
            return Err(Error::new(format!(
                "{} holds no run: there is no {}; give the --out folder of trainer train",
                run.display(),
                newest.display()
            )));
        }
        let newest = Checkpoint::read(&newest)?.state;
        let checkpoint = Checkpoint::best(run)?;
        let best = checkpoint.state.clone();
        let place = best.config.place();
        let root = data.as_ref().unwrap_or(&place.root);
        let (train, val) = match (&data, Photos::read(run)?) {
            (None, Some(photos)) => photos.open(),
            (Some(root), Some(photos)) => photos.moved(root).open(),
            (_, None) => {
                let place = Place { root: root.clone(), ..place.clone() };
                place.open(&best.config.train_split).and_then(|train| Ok((train, place.open(&best.config.val_split)?)))
            }
        }
        .map_err(|error| Error::new(format!("{error} (--data FOLDER tells where the data set is now)")))?;
        if val.classes() != best.classes {
            return Err(Error::new(format!("{} has other classes than the run was trained on", root.display())));
        }

        let bar = output.bar((train.len() + val.len()) as u64).with_prefix("report");
        let void_is_background = best.config.void_is_background;
        let mut predictor = Predictor::from_checkpoint(checkpoint, device)?;
        let mut confusion = Confusion::new(val.classes().len());
        let mut ranks = Vec::new();
        let mut reliability = Reliability::default();
        predictor.visit_with_confidence(&val, void_is_background, |index, sample, labels, confidence| {
            reliability.add(&sample.mask, labels, confidence.unwrap_or_default());
            let mut of_photo = Confusion::new(val.classes().len());
            of_photo.add(&sample.mask, labels);
            confusion.merge(&of_photo);
            ranks.push((of_photo.mean_iou(), index));
            bar.inc(1);
            Ok(())
        })?;
        // A photo without counted pixels is not ranked.
        ranks.retain(|(miou, _)| miou.is_finite());
        ranks.sort_by(|a, b| b.0.total_cmp(&a.0));
        let bottom = SHOWN.min(ranks.len() / 2);
        let top = SHOWN.min(ranks.len() - bottom);
        let mut draw = |&(_, index): &(f64, usize)| Photo::new(&mut predictor, &val, index, void_is_background);
        Ok(PageFacts {
            top: ranks[..top].iter().map(&mut draw).collect::<Result<_>>()?,
            bottom: ranks.iter().rev().take(bottom).map(&mut draw).collect::<Result<_>>()?,
            run: run.to_owned(),
            data: root.clone(),
            newest,
            rows: if logging::table_path(run).exists() { logging::read_table(run, &best.classes)? } else { Vec::new() },
            sessions: logging::sessions(run),
            confusion,
            reliability,
            train: SplitPixels::count(&train, void_is_background, &bar)?,
            val: SplitPixels::count(&val, void_is_background, &ProgressBar::hidden())?,
            best,
        })
    }

    /// Writes the page, and its plots as PNG files next to it, and returns their paths.
    pub fn write(&self, page: &Path) -> Result<Vec<PathBuf>> {
        let folder = page.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        crate::folder::make(folder)?;
        let (curves, classes, confusions, confidence) =
            (self.curves(), self.bars(), self.matrix(), self.reliability_diagram());
        let html = page::page(self, &curves, &classes.drawing, &confusions.drawing, &confidence.drawing);
        fcn::file::write(page, html.into_string().as_bytes())?;
        let painter = Painter::new();
        let plots = curves.into_iter().chain([classes, confusions, confidence]);
        let write = |plot: Plot| {
            let path = folder.join(plot.name);
            painter.write(&path, &plot.drawing)?;
            Ok(path)
        };
        plots.map(write).collect()
    }

    /// The curves with points in the run's table.
    fn curves(&self) -> Vec<Plot> {
        let train = |name, value: fn(&MetricsRow) -> Option<f64>| self.series(name, false, value);
        let val = |name, value: fn(&MetricsRow) -> Option<f64>| self.series(name, true, value);
        let best = self.rows.iter().find(|row| row.val.is_some() && row.epoch == self.best.progress.epoch);
        let marked = best.and_then(|row| {
            let miou = chart::percent(row.val.as_ref()?.miou);
            Some((row.step as f64, format!("best: {miou} in epoch {}", row.epoch)))
        });
        let plain = |title, series| Curves { title, series, percent: false, marked: None };
        let plots = [
            ("loss.png", plain("Training loss", vec![train("train", |row| Some(row.train.as_ref()?.loss))])),
            ("learning_rate.png", plain("Learning rate", vec![train("rate", |row| Some(row.learning_rate))])),
            (
                "accuracy.png",
                Curves {
                    title: "Pixel accuracy",
                    series: vec![
                        train("training crops", |row| Some(row.train.as_ref()?.accuracy)),
                        val("validation", |row| Some(row.val.as_ref()?.accuracy)),
                    ],
                    percent: true,
                    marked: None,
                },
            ),
            (
                "miou.png",
                Curves {
                    title: "Validation mIoU",
                    series: vec![val("validation", |row| Some(row.val.as_ref()?.miou))],
                    percent: true,
                    marked,
                },
            ),
        ];
        plots.into_iter().filter_map(|(name, curves)| Some(Plot { name, drawing: curves.draw()? })).collect()
    }

    fn series(&self, name: &'static str, marks: bool, value: fn(&MetricsRow) -> Option<f64>) -> Series {
        let points = self.rows.iter().filter_map(|row| Some((row.step as f64, value(row)?)));
        Series { name, points: points.filter(|point| point.1.is_finite()).collect(), marks }
    }

    fn bars(&self) -> Plot {
        let classes = self.best.classes.iter().enumerate();
        let values: Vec<_> =
            classes.map(|(index, class)| (class.name.as_str(), class.color, self.confusion.iou(index))).collect();
        Plot { name: "classes.png", drawing: bars("IoU of each class", &values) }
    }

    fn matrix(&self) -> Plot {
        let names: Vec<&str> = self.best.classes.iter().map(|class| class.name.as_str()).collect();
        let title = "Truth (rows) taken for (columns), in %";
        Plot { name: "confusion.png", drawing: matrix(title, &names, &self.shares()) }
    }

    fn reliability_diagram(&self) -> Plot {
        let bins: Vec<Bin> = self.reliability.bins().collect();
        Plot { name: "reliability.png", drawing: reliability("Right pixels by confidence", &bins) }
    }

    /// The confusion matrix as shares of each true class's pixels.
    fn shares(&self) -> Vec<Vec<f64>> {
        let share = |row: &[u64], all: u64| row.iter().map(|&count| count as f64 / all.max(1) as f64).collect();
        self.confusion.rows().enumerate().map(|(class, row)| share(row, self.confusion.truth_pixels(class))).collect()
    }
}

impl SplitPixels {
    fn count(dataset: &Dataset, void_is_background: bool, bar: &ProgressBar) -> Result<SplitPixels> {
        let mut counts = [0u64; 256];
        for index in 0..dataset.len() {
            let mut mask = dataset.read_mask(index)?;
            if void_is_background {
                void_to_background(&mut mask, dataset.classes());
            }
            mask.iter().for_each(|&label| counts[label as usize] += 1);
            bar.inc(1);
        }
        let pixels = counts[..dataset.classes().len()].to_vec();
        Ok(SplitPixels { photos: dataset.len(), pixels, void: counts[VOID as usize] })
    }

    /// Pixels of all classes.
    fn labelled(&self) -> u64 {
        self.pixels.iter().sum()
    }
}
