//! The outputs of each input, and what an earlier run has already made.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Result, inputs::Input};

/// The file in the output folder that tells how its files were made.
const RECORD: &str = ".fcn-run.json";

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
pub enum Product {
    /// The photo or video with class colours and outlines.
    Overlay,
    /// Class indices as palette PNG; for videos, one per frame in a folder.
    Labels,
    /// Classes as run-length encoded masks in COCO's format; for videos, a line per frame.
    Rle,
}

/// An input with its outputs. `None` for what is not asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The photo or video.
    pub input: Input,
    /// The file of the overlay.
    pub overlay: Option<PathBuf>,
    /// The file of class indices; for videos, a folder.
    pub labels: Option<PathBuf>,
    /// The file of run lengths.
    pub rle: Option<PathBuf>,
}

impl Job {
    /// The files asked for.
    pub fn outputs(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.overlay, &self.labels, &self.rle].into_iter().flatten()
    }

    /// Whether an earlier run has made all outputs. They are renamed to their names when they are
    /// whole.
    pub fn is_done(&self) -> bool {
        self.outputs().all(|path| path.exists())
    }
}

/// The job for a single video whose overlay is the file `out`.
pub fn job_for_file(inputs: Vec<Input>, out: &Path, products: &[Product]) -> Result<Job> {
    match <[Input; 1]>::try_from(inputs) {
        Ok([input @ (Input::Video(_) | Input::Live(_))]) if products == [Product::Overlay] => {
            let job = Job { input, overlay: Some(out.to_owned()), labels: None, rle: None };
            check(std::slice::from_ref(&job))?;
            Ok(job)
        }
        _ => Err(format!(
            "--out {} is a file, which one video with --write overlay can have; give a folder",
            out.display()
        )),
    }
}

/// The jobs for these inputs, with their outputs in folder `out`.
pub fn jobs(inputs: Vec<Input>, out: &Path, products: &[Product]) -> Result<Vec<Job>> {
    let jobs: Vec<Job> = inputs.into_iter().map(|input| job(input, out, products)).collect();
    check(&jobs)?;
    Ok(jobs)
}

/// No output may replace another one or an input.
fn check(jobs: &[Job]) -> Result<()> {
    let inputs: HashMap<PathBuf, &Job> =
        jobs.iter().filter_map(|job| Some((fs::canonicalize(job.input.path()).ok()?, job))).collect();
    let mut makers = HashMap::new();
    for job in jobs {
        for output in job.outputs() {
            if let Some(other) = makers.insert(output, job.input.name()) {
                if other == job.input.name() {
                    return Err(format!("{other} is given twice; name it once"));
                }
                return Err(format!(
                    "{other} and {} would both be written to {}; rename one, or give them different --out",
                    job.input.name(),
                    output.display()
                ));
            }
            if let Some(replaced) = fs::canonicalize(output).ok().and_then(|path| inputs.get(&path)) {
                let (output, input) = (output.display(), replaced.input.name());
                return Err(format!("{output} would replace the input {input}; choose another --out"));
            }
        }
    }
    Ok(())
}

fn job(input: Input, out: &Path, products: &[Product]) -> Job {
    let id = input.id();
    let asked = |product, path: PathBuf| products.contains(&product).then_some(path);
    let named = |end: &str| {
        let mut name = id.clone();
        name.push(end);
        out.join(name)
    };
    let is_photo = matches!(input, Input::Photo(_));
    Job {
        overlay: asked(Product::Overlay, named(if is_photo { "_overlay.png" } else { "_overlay.mp4" })),
        labels: asked(Product::Labels, named(if is_photo { ".png" } else { "_labels" })),
        rle: asked(Product::Rle, named(if is_photo { ".json" } else { ".jsonl" })),
        input,
    }
}

/// How the files of a folder were made: outputs of another model or other settings must not be
/// taken for those of this run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The SHA-256 of the model's file.
    pub model: String,
    /// The settings that change outputs.
    pub settings: Vec<String>,
}

impl Record {
    /// The record of a model's file.
    pub fn new(model: &Path, settings: Vec<String>) -> Result<Record> {
        let bytes = fs::read(model).map_err(|error| format!("{} cannot be read: {error}", model.display()))?;
        Ok(Record { model: Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect(), settings })
    }

    /// Writes the record into folder `out`. If another one is there, that is an error, unless
    /// `force` is set.
    pub fn claim(&self, out: &Path, force: bool) -> Result<()> {
        fs::create_dir_all(out).map_err(|error| format!("cannot create the folder {}: {error}", out.display()))?;
        let path = out.join(RECORD);
        let earlier: Option<Record> = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        if !force && earlier.is_some_and(|earlier| earlier != *self) {
            return Err(format!(
                "{} has outputs of another model or other settings; choose another --out, or replace them with --force",
                out.display()
            ));
        }
        let text = serde_json::to_vec(self).map_err(|error| error.to_string())?;
        fcn::file::write(&path, &text).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Product; 3] = [Product::Overlay, Product::Labels, Product::Rle];

    #[test]
    fn outputs_are_named_after_their_inputs() {
        let out = Path::new("out");
        let inputs = vec![Input::Photo("a/x.jpg".into()), Input::Video("clip.mkv".into())];
        let jobs = jobs(inputs, out, &ALL).unwrap();
        let names = |job: &Job| job.outputs().map(|path| path.display().to_string()).collect::<Vec<_>>();
        assert_eq!(names(&jobs[0]), ["out/x_overlay.png", "out/x.png", "out/x.json"]);
        assert_eq!(names(&jobs[1]), ["out/clip_overlay.mp4", "out/clip_labels", "out/clip.jsonl"]);
    }

    #[test]
    fn a_file_as_output_takes_one_video_and_no_more() {
        let out = Path::new("labelled.mp4");
        let video = || Input::Video("clip.mkv".into());
        let one = job_for_file(vec![video()], out, &[Product::Overlay]).unwrap();
        assert_eq!(one.overlay.as_deref(), Some(out));
        assert_eq!(one.outputs().count(), 1);
        for (inputs, products) in [
            (vec![video(), Input::Video("b.mkv".into())], vec![Product::Overlay]),
            (vec![Input::Photo("x.png".into())], vec![Product::Overlay]),
            (vec![video()], vec![Product::Overlay, Product::Labels]),
        ] {
            assert!(job_for_file(inputs, out, &products).unwrap_err().contains("is a file"));
        }
    }

    #[test]
    fn outputs_replace_neither_each_other_nor_inputs() {
        let twice = vec![Input::Photo("a/x.jpg".into()), Input::Photo("b/x.png".into())];
        assert!(jobs(twice, Path::new("out"), &ALL).unwrap_err().contains("would both be written"));
        let same = vec![Input::Photo("a/x.jpg".into()), Input::Photo("a/x.jpg".into())];
        assert!(jobs(same, Path::new("out"), &ALL).unwrap_err().contains("is given twice"));
        let folder = tempfile::tempdir().unwrap();
        let photo = folder.path().join("x.png");
        fs::write(&photo, "").unwrap();
        let input = || vec![Input::Photo(photo.clone())];
        assert!(jobs(input(), folder.path(), &ALL).unwrap_err().contains("would replace the input"));
        jobs(input(), folder.path(), &[Product::Overlay]).unwrap();
    }

    #[test]
    fn outputs_of_other_settings_are_not_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let record = |text: &str| Record { model: "m".into(), settings: vec![text.to_owned()] };
        record("a").claim(folder.path(), false).unwrap();
        record("a").claim(folder.path(), false).unwrap();
        assert!(record("b").claim(folder.path(), false).unwrap_err().contains("other settings"));
        record("b").claim(folder.path(), true).unwrap();
        record("b").claim(folder.path(), false).unwrap();
    }
}
