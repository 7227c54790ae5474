//! `trainer dataset`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use encoding_rs::Encoding;

use crate::data::{MissingMasks, Place};
use crate::dataset::check::check;
use crate::error::{Error, Result};
use crate::import::{ImportSettings, LabelledPhotos, cityscapes, coco, labelme, masks, yolo};

/// Operations on data sets.
#[derive(Debug, Subcommand)]
pub(super) enum DatasetCommand {
    /// Read every photo and mask, and report sizes, class frequencies and problems.
    ///
    /// Broken files, photos listed twice and photos with identical pixels, within a split or across
    /// two, are problems: the exit code is 1 if there is one, otherwise 0.
    Check(Check),
    /// Convert other tools' files to a folder in the Pascal VOC layout.
    #[command(subcommand)]
    Import(Import),
}

/// Options of `trainer dataset check`.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The folder of the data set, as for `trainer train`; of photos only with --masks.
    folder: PathBuf,

    /// The folder of the masks.
    #[arg(long, value_name = "FOLDER")]
    masks: Option<PathBuf>,

    /// The splits to check, separated by commas [default: train and val, or all existing ones if
    /// neither exists].
    #[arg(long, value_name = "SPLITS", value_delimiter = ',')]
    splits: Option<Vec<String>>,

    /// How to treat photos that a split lists but that have no mask.
    #[arg(long, value_name = "WHAT", value_enum, default_value = "refuse")]
    missing_masks: MissingMasks,

    /// Write JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// The source format.
#[derive(Debug, Subcommand)]
pub(super) enum Import {
    /// A folder of labelme's .json files with their photos: polygons, rectangles, circles and
    /// masks. Points and lines are skipped.
    Labelme(Labelme),
    /// COCO instances: a .json file with polygons and run-length masks, and a folder of photos.
    Coco(Coco),
    /// The folders leftImg8bit and gtFine of Cityscapes, 19 classes.
    Cityscapes(Cityscapes),
    /// Polygons in the format of YOLO's segmentation networks: folders images and labels, and names
    /// in data.yaml or classes.txt.
    Yolo(Yolo),
    /// A folder of photos and a folder of masks with the same names, optionally with a suffix such
    /// as _mask. Classes are read from labelmap.txt, or a list of names (class_names.txt,
    /// classes.txt), in the folder of masks or above both; otherwise each colour or value is a
    /// class.
    Masks(Masks),
}

/// Options shared by several formats.
#[derive(Debug, Args)]
struct ImportTarget {
    /// The folder to write: a new one, or one with other splits of the same classes. Nothing is
    /// overwritten.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,

    /// The split for the photos.
    #[arg(long, value_name = "SPLIT", default_value = "train", value_parser = split_name)]
    split: String,

    /// The share of photos that go into the split val instead, chosen at random but reproducibly.
    #[arg(long, value_name = "SHARE")]
    val_share: Option<f64>,

    /// The classes after the background, in index order, separated by commas; other labels become
    /// background [default: all labels].
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = trimmed)]
    classes: Option<Vec<String>>,

    /// Stop at the first item that cannot be imported [default: skip it, and list it at the end].
    #[arg(long)]
    strict: bool,

    /// The encoding of .json files without a byte order mark, for example gbk [default: UTF-8, and
    /// Windows-1252 for files that are not valid UTF-8].
    #[arg(long, value_name = "NAME", value_parser = encoding)]
    encoding: Option<&'static Encoding>,
}

/// A split is the name of a file.
fn split_name(name: &str) -> std::result::Result<String, String> {
    let is_plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\']);
    if is_plain && !name.contains(char::is_control) {
        Ok(name.to_owned())
    } else {
        Err("a split is the name of a file without .txt: no folders, and no dot at its beginning".to_owned())
    }
}

fn trimmed(name: &str) -> std::result::Result<String, std::convert::Infallible> {
    Ok(name.trim().to_owned())
}

fn encoding(name: &str) -> std::result::Result<&'static Encoding, String> {
    Encoding::for_label(name.as_bytes()).ok_or_else(|| "is no encoding of the web's Encoding Standard".to_owned())
}

/// Options of `trainer dataset import labelme`.
#[derive(Debug, Args)]
pub(super) struct Labelme {
    /// The folder of .json files.
    folder: PathBuf,

    /// The folder of the photos [default: the folder of the .json files].
    #[arg(long, value_name = "FOLDER")]
    photos: Option<PathBuf>,

    #[command(flatten)]
    target: ImportTarget,
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
    target: ImportTarget,
}

/// Options of `trainer dataset import cityscapes`.
#[derive(Debug, Args)]
pub(super) struct Cityscapes {
    /// The folder with leftImg8bit and gtFine.
    folder: PathBuf,

    /// The folder to write: a new one, or one with other splits of the same classes. Nothing is
    /// overwritten.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,

    /// The splits to import, separated by commas.
    #[arg(long, value_name = "SPLITS", value_delimiter = ',', default_value = "train,val", value_parser = split_name)]
    splits: Vec<String>,
}

/// Options of `trainer dataset import yolo`.
#[derive(Debug, Args)]
pub(super) struct Yolo {
    /// The folder that contains images and labels, or train and val that contain them.
    folder: PathBuf,

    #[command(flatten)]
    target: ImportTarget,
}

/// Options of `trainer dataset import masks`.
#[derive(Debug, Args)]
pub(super) struct Masks {
    /// The folder of the photos.
    #[arg(long, value_name = "FOLDER")]
    images: PathBuf,

    /// The folder of the masks.
    #[arg(long, value_name = "FOLDER")]
    masks: PathBuf,

    /// The folder to write: a new one, or one with other splits of the same classes. Nothing is
    /// overwritten.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,

    /// The split for the photos.
    #[arg(long, value_name = "SPLIT", default_value = "train", value_parser = split_name)]
    split: String,

    /// How to treat photos without a mask.
    #[arg(long, value_name = "WHAT", value_enum, default_value = "refuse")]
    missing_masks: MissingMasks,
}

impl DatasetCommand {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self {
            DatasetCommand::Check(command) => command.run(),
            DatasetCommand::Import(command) => command.run(),
        }
    }
}

impl Check {
    fn run(self) -> Result<ExitCode> {
        let place = Place { root: self.folder, masks: self.masks, missing_masks: self.missing_masks };
        let splits = match self.splits {
            Some(splits) => splits,
            None => place.usual_splits()?,
        };
        let report = check(&place, &splits)?;
        super::say(&if self.json {
            serde_json::to_string_pretty(&report).map_err(|error| Error::new(error.to_string()))?
        } else {
            report.to_string()
        })?;
        Ok(if report.problems() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Import {
    fn run(self) -> Result<ExitCode> {
        let (source, out) = match self {
            Import::Labelme(Labelme { folder, photos, target }) => {
                let source = labelme::find(&folder, photos.as_deref(), &target.settings())?;
                target.divide(source)?
            }
            Import::Coco(Coco { file, photos, target }) => {
                let source = coco::find(&file, &photos, &target.settings())?;
                target.divide(source)?
            }
            Import::Yolo(Yolo { folder, target }) => {
                let source = yolo::find(&folder, &target.settings())?;
                target.divide(source)?
            }
            Import::Masks(Masks { images, masks, out, split, missing_masks }) => {
                (masks::find(&images, &masks, &split, missing_masks)?, out)
            }
            Import::Cityscapes(Cityscapes { folder, out, splits }) => (cityscapes::find(&folder, &splits)?, out),
        };
        source.write(&out)?;
        let splits: Vec<String> = source.splits.iter().map(|(name, items)| format!("{name} {}", items.len())).collect();
        let mut said = format!("{}: {} classes, photos: {}", out.display(), source.classes.len(), splits.join(", "));
        source.notes.iter().for_each(|note| said += &format!("\n  {note}"));
        if !source.left_out.is_empty() {
            said += &format!("\nleft out, which --strict makes an error: {}", source.left_out.len());
            source.left_out.iter().for_each(|sentence| said += &format!("\n  {sentence}"));
        }
        super::say(&said)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl ImportTarget {
    fn settings(&self) -> ImportSettings<'_> {
        ImportSettings {
            split: &self.split,
            names: self.classes.as_deref(),
            is_strict: self.strict,
            encoding: self.encoding,
        }
    }

    fn divide(self, mut source: LabelledPhotos) -> Result<(LabelledPhotos, PathBuf)> {
        if let Some(share) = self.val_share {
            if self.split == "val" {
                return Err(Error::new("--val-share takes photos out of --split, which must be another one than val"));
            }
            source.hold_out(&self.split, "val", share)?;
        }
        Ok((source, self.out))
    }
}
