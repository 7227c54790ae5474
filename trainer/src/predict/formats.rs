//! Predictions in the formats of labelling tools.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use fcn::palette::Class;
use fcn_cli::plan::Job;
use serde_json::{Value, json};

use super::outlines::{Detail, Outline, outlines};
use crate::error::{Error, Result};
use crate::folder;
use crate::labelmap;

/// The farthest that polygon corners may lie from the label border, in pixels.
const TOLERANCE: f64 = 1.0;

/// The files written for a photo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// ID.png, an image of class indices, and ID_overlay.png.
    #[default]
    Png,
    /// ID.json with polygons, for labelme.
    Labelme,
    /// annotations.json with polygons of all photos: COCO instances, for Label Studio, CVAT,
    /// Roboflow and others.
    Coco,
    /// SegmentationClass/ID.png in colours, labelmap.txt and a list: CVAT's "Segmentation mask".
    Cvat,
}

/// A labelled photo.
#[derive(Debug)]
pub struct Labelled<'a> {
    /// Its file.
    pub photo: &'a Path,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Row by row.
    pub labels: &'a [u8],
}

/// Collects the contents of files shared by all photos.
#[derive(Debug)]
pub struct Annotations<'a> {
    format: Format,
    out: &'a Path,
    classes: &'a [Class],
    background: Option<u8>,
    min_area: usize,
    images: Vec<Value>,
    objects: Vec<Value>,
    ids: Vec<String>,
}

impl<'a> Annotations<'a> {
    /// Starts writing to the folder `out`. Regions of fewer than `min_area` pixels produce no
    /// polygon.
    pub fn new(
        format: Format,
        out: &'a Path,
        classes: &'a [Class],
        background: Option<u8>,
        min_area: usize,
    ) -> Annotations<'a> {
        Annotations {
            format,
            out,
            classes,
            background,
            min_area,
            images: Vec::new(),
            objects: Vec::new(),
            ids: Vec::new(),
        }
    }

    /// Writes a photo's own files.
    pub fn add(&mut self, labelled: &Labelled<'_>, id: &str) -> Result<()> {
        match self.format {
            Format::Png => Ok(()),
            Format::Labelme => self.labelme(labelled, id),
            Format::Coco => {
                self.coco(labelled);
                Ok(())
            }
            Format::Cvat => self.cvat(labelled, id),
        }
    }

    /// Writes the files shared by all photos.
    pub fn finish(self) -> Result<()> {
        match self.format {
            Format::Png | Format::Labelme => Ok(()),
            Format::Coco => {
                let categories: Vec<Value> = (0..)
                    .zip(self.classes)
                    .map(|(index, class)| json!({"id": index + 1, "name": class.name, "supercategory": ""}))
                    .collect();
                let text = json!({"images": self.images, "annotations": self.objects, "categories": categories});
                Ok(fcn::file::write(&self.out.join(COCO_FILE), text.to_string().as_bytes())?)
            }
            Format::Cvat => {
                let labelmap: String = self.classes.iter().map(labelmap::line).collect();
                fcn::file::write(&self.out.join(CVAT_CLASSES), labelmap.as_bytes())?;
                let list = self.out.join(CVAT_LIST);
                folder::make(list.parent().unwrap_or(self.out))?;
                let ids: String = self.ids.iter().map(|id| format!("{id}\n")).collect();
                Ok(fcn::file::write(&list, ids.as_bytes())?)
            }
        }
    }

    fn outlines(&self, labelled: &Labelled<'_>) -> Vec<Outline> {
        let detail = Detail { min_area: self.min_area, tolerance: TOLERANCE, background: self.background };
        outlines(labelled.labels, labelled.width, detail)
    }

    fn name(&self, label: u8) -> &str {
        self.classes.get(usize::from(label)).map_or("", |class| class.name.as_str())
    }

    fn labelme(&self, labelled: &Labelled<'_>, id: &str) -> Result<()> {
        let file = self.out.join(labelme_file(id));
        let shapes: Vec<Value> = self
            .outlines(labelled)
            .iter()
            .map(|outline| {
                json!({
                    "label": self.name(outline.label),
                    "points": outline.points.iter().map(|(x, y)| [x, y]).collect::<Vec<_>>(),
                    "group_id": null,
                    "description": "",
                    "shape_type": "polygon",
                    "flags": {},
                    "mask": null,
                })
            })
            .collect();
        let text = json!({
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": from_folder(self.out, labelled.photo)?.to_string_lossy(),
            "imageData": null,
            "imageHeight": labelled.height,
            "imageWidth": labelled.width,
        });
        Ok(fcn::file::write(&file, text.to_string().as_bytes())?)
    }

    fn coco(&mut self, labelled: &Labelled<'_>) {
        let image = self.images.len() + 1;
        self.images.push(json!({
            "id": image,
            "file_name": labelled.photo.to_string_lossy(),
            "width": labelled.width,
            "height": labelled.height,
        }));
        for outline in self.outlines(labelled) {
            let (xs, ys): (Vec<f64>, Vec<f64>) = outline.points.iter().copied().unzip();
            let bounds = |values: &[f64]| {
                let least = values.iter().copied().fold(f64::INFINITY, f64::min);
                (least, values.iter().copied().fold(0.0, f64::max) - least)
            };
            let ((x, width), (y, height)) = (bounds(&xs), bounds(&ys));
            let polygon: Vec<f64> = outline.points.iter().flat_map(|(x, y)| [*x, *y]).collect();
            self.objects.push(json!({
                "id": self.objects.len() + 1,
                "image_id": image,
                "category_id": usize::from(outline.label) + 1,
                "segmentation": [polygon],
                "area": outline.pixels,
                "bbox": [x, y, width, height],
                "iscrowd": 0,
            }));
        }
    }

    fn cvat(&mut self, labelled: &Labelled<'_>, id: &str) -> Result<()> {
        let file = self.out.join(cvat_file(id));
        folder::make(file.parent().unwrap_or(self.out))?;
        let color =
            |label: &u8| self.classes.get(usize::from(*label)).map_or(labelmap::VOID_COLOR, |class| class.color);
        let pixels = labelled.labels.iter().flat_map(color).collect();
        let image = fcn::Image { width: labelled.width as u32, height: labelled.height as u32, pixels };
        fcn::write_png(&file, &image)?;
        self.ids.push(id.to_owned());
        Ok(())
    }
}

const COCO_FILE: &str = "annotations.json";
const CVAT_CLASSES: &str = "labelmap.txt";
const CVAT_LIST: &str = "ImageSets/Segmentation/default.txt";

fn labelme_file(id: &str) -> String {
    format!("{id}.json")
}

fn cvat_file(id: &str) -> String {
    format!("SegmentationClass/{id}.png")
}

impl Format {
    /// Returns an error if a file of this format, other than images, exists in the folder `out`, if
    /// two photos would have the same one, or if a name cannot be written into it.
    pub fn check_files(self, out: &Path, jobs: &[Job]) -> Result<()> {
        let shared: &[&str] = match self {
            Format::Png => return Ok(()),
            Format::Labelme => &[],
            Format::Coco => &[COCO_FILE],
            Format::Cvat => &[CVAT_CLASSES, CVAT_LIST],
        };
        shared.iter().try_for_each(|file| keep(&out.join(file)))?;
        let mut makers = HashMap::new();
        for job in jobs {
            let (photo, id) = (job.input.path(), job.input.id());
            let (Some(id), Some(_)) = (id.to_str().filter(|id| !id.contains(['\n', '\r'])), photo.to_str()) else {
                return Err(Error::new(format!(
                    "the name of {photo:?} is not UTF-8 or has a line break, which annotations cannot contain; rename \
                     it, or use --format png"
                )));
            };
            let file = match self {
                Format::Labelme => labelme_file(id),
                Format::Cvat => cvat_file(id),
                Format::Png | Format::Coco => continue,
            };
            keep(&out.join(&file))?;
            if let Some(other) = makers.insert(file, photo) {
                return Err(Error::new(format!(
                    "{} and {} would both be called {id}; rename one, or give them different --out",
                    other.display(),
                    photo.display()
                )));
            }
        }
        Ok(())
    }
}

/// Returns an error if the file exists, because it may contain corrections.
fn keep(file: &Path) -> Result<()> {
    if file.symlink_metadata().is_ok() {
        Err(Error::new(format!(
            "{} exists already, perhaps with corrections, and is not overwritten; choose another --out",
            file.display()
        )))
    } else {
        Ok(())
    }
}

/// The path of a file relative to a folder.
fn from_folder(folder: &Path, file: &Path) -> Result<PathBuf> {
    let whole = |path: &Path| {
        path.canonicalize().map_err(|error| Error::new(format!("{} cannot be found: {error}", path.display())))
    };
    let (folder, file) = (whole(folder)?, whole(file)?);
    let shared = folder.components().zip(file.components()).take_while(|(a, b)| a == b).count();
    let up = folder.components().skip(shared).map(|_| "..");
    let down = file.components().skip(shared).map(|part| part.as_os_str().to_owned());
    Ok(up.map(Into::into).chain(down).collect())
}
