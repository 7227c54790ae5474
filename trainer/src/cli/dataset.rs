//! `trainer dataset`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::dataset::check::check;
use crate::dataset::import::{Source, cityscapes, coco, labelme};
use crate::error::{Error, Result};

/// What is done with a data set.
#[derive(Debug, Subcommand)]
pub(super) enum Dataset {
    /// Read every photo and mask, and tell sizes, how frequent each class is, and what is wrong.
    ///
    /// Broken files, photos listed twice and photos with the same pixels, within a split or in two, are problems: the
    /// exit code is 1 where there is one, 0 where there is none.
    Check(Check),
    /// Make a folder in the Pascal VOC layout out of what other programs wrote.
    #[command(subcommand)]
    Import(Import),
}

/// Options of `trainer dataset check`.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The folder with JPEGImages, SegmentationClass and ImageSets/Segmentation.
    folder: PathBuf,

    /// The splits to look at, with commas between them.
    #[arg(long, value_name = "SPLITS", value_delimiter = ',', default_value = "train,val")]
    splits: Vec<String>,

    /// Write JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// What is imported.
#[derive(Debug, Subcommand)]
pub(super) enum Import {
    /// A folder of labelme's .json files with their photos: polygons, rectangles and circles.
    Labelme(Labelme),
    /// COCO instances: a .json file with polygons and run-length masks, and a folder of photos.
    Coco(Coco),
    /// The folders leftImg8bit and gtFine of Cityscapes, 19 classes.
    Cityscapes(Cityscapes),
}

/// What labelme and COCO have in common.
#[derive(Debug, Args)]
struct Target {
    /// The folder to write: a new one, or one with other splits of the same classes. Nothing is overwritten.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,

    /// The split that the photos belong to.
    #[arg(long, value_name = "SPLIT", default_value = "train")]
    split: String,

    /// The share of the photos that goes into the split val instead, chosen at random but always the same.
    #[arg(long, value_name = "SHARE")]
    val_share: Option<f64>,

    /// The classes after the background, in index order, with commas between them; what is labelled otherwise is
    /// background [default: all labels].
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    classes: Option<Vec<String>>,
}

/// Options of `trainer dataset import labelme`.
#[derive(Debug, Args)]
pub(super) struct Labelme {
    /// The folder of .json files.
    folder: PathBuf,

    #[command(flatten)]
    target: Target,
}

/// Options of `trainer dataset import coco`.
#[derive(Debug, Args)]
pub(super) struct Coco {
    /// The instances file, for example instances_val2017.json.
    file: PathBuf,

    /// The folder of the photos.
    #[arg(long, value_name = "FOLDER")]
    photos: PathBuf,

    #[command(flatten)]
    target: Target,
}

/// Options of `trainer dataset import cityscapes`.
#[derive(Debug, Args)]
pub(super) struct Cityscapes {
    /// The folder with leftImg8bit and gtFine.
    folder: PathBuf,

    /// The folder to write: a new one, or one with other splits of the same classes. Nothing is overwritten.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,

    /// The splits to import, with commas between them.
    #[arg(long, value_name = "SPLITS", value_delimiter = ',', default_value = "train,val")]
    splits: Vec<String>,
}

impl Dataset {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self {
            Dataset::Check(command) => command.run(),
            Dataset::Import(command) => command.run(),
        }
    }
}

impl Check {
    fn run(self) -> Result<ExitCode> {
        let report = check(&self.folder, &self.splits)?;
        super::say(&match self.json {
            true => serde_json::to_string_pretty(&report).map_err(|error| Error::new(error.to_string()))?,
            false => report.to_string(),
        })?;
        Ok(if report.problems() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Import {
    fn run(self) -> Result<ExitCode> {
        let (source, out) = match self {
            Import::Labelme(Labelme { folder, target }) => {
                let source = labelme::find(&folder, &target.split, target.classes.as_deref())?;
                target.divide(source)?
            }
            Import::Coco(Coco { file, photos, target }) => {
                let source = coco::find(&file, &photos, &target.split, target.classes.as_deref())?;
                target.divide(source)?
            }
            Import::Cityscapes(Cityscapes { folder, out, splits }) => (cityscapes::find(&folder, &splits)?, out),
        };
        source.write(&out)?;
        let splits: Vec<String> = source.splits.iter().map(|(name, items)| format!("{name} {}", items.len())).collect();
        super::say(&format!("{}: {} classes, photos: {}", out.display(), source.classes.len(), splits.join(", ")))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Target {
    fn divide(self, mut source: Source) -> Result<(Source, PathBuf)> {
        if let Some(share) = self.val_share {
            if self.split == "val" {
                return Err(Error::new("--val-share takes photos out of --split, which must be another one than val"));
            }
            source.hold_out(&self.split, "val", share)?;
        }
        Ok((source, self.out))
    }
}
