//! `fcn info`: what is known about a model.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use clap::Args;
use fcn::{LogLevel, Segmenter};
use fcn_cli::Result;

use crate::{models, settings::Settings};

#[derive(Debug, Args)]
pub(crate) struct Info {
    /// An ONNX file, or the name of an installed model.
    model: PathBuf,

    #[command(flatten)]
    settings: Settings,
}

impl Info {
    pub(crate) fn run(self) -> Result<()> {
        let path = models::find(&self.model)?;
        let messages = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&messages);
        let options = self.settings.options().with_log(Arc::new(move |level, message| {
            let mut messages = sink.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            messages.push((level, message.to_owned()));
        }));
        let segmenter = Segmenter::from_file(&path, &options).map_err(|error| error.to_string())?;
        let bytes = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        say!("file        {} ({:.1} MB)", path.display(), bytes as f64 / 1e6);
        say!("runs on     {}, ONNX Runtime {}", segmenter.provider(), segmenter.runtime_version());
        say!("stride      {} pixels", segmenter.stride());
        match segmenter.card() {
            Some(card) => {
                say!("network     {}", fcn::plain(&card.architecture));
                if let Some(side) = card.native_side {
                    say!("native size {side} x {side} pixels, or another rectangle of that area");
                }
                if let Some(temperature) = card.temperature {
                    say!("temperature {temperature:.3}, which divides scores for confidence and margin");
                }
                say!("trained on  {}", fcn::plain(&card.dataset));
                for (name, value) in card.metrics.iter().filter(|(name, _)| !name.starts_with("iou/")) {
                    say!("  {:<28}{value:.4}", fcn::plain(name));
                }
            }
            None => say!("card        none: the model was not exported by this trainer"),
        }
        let background = segmenter.background();
        say!("classes     {}", segmenter.classes().len());
        for (index, class) in segmenter.classes().iter().enumerate() {
            let iou = segmenter.card().and_then(|card| card.metrics.get(&format!("iou/{}", class.name)));
            let mark = if background.map(usize::from) == Some(index) { " (background)" } else { "" };
            let iou = iou.map_or(String::new(), |iou| format!("IoU {iou:.4}"));
            say!("  {index:>3}  {:<24}{iou}{mark}", fcn::plain(&class.name));
        }
        let messages = messages.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !messages.is_empty() {
            say!("log");
        }
        for (level, message) in messages.iter() {
            let mark = if *level == LogLevel::Info { "" } else { "warning: " };
            say!("  {mark}{message}");
        }
        Ok(())
    }
}
