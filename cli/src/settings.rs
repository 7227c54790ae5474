//! Options that several commands share.

use std::{
    env::{self, consts::ARCH},
    path::PathBuf,
};

use clap::Args;
use fcn::{Options, Provider, SizeMode};

/// How a network runs.
#[derive(Debug, Clone, Args)]
pub(crate) struct Settings {
    /// Where the network runs: auto, cpu, cuda, tensorrt or openvino.
    #[arg(long, default_value = "auto")]
    pub(crate) provider: Provider,

    /// Threads per frame, 1 to 256; 0 means one per CPU.
    #[arg(long, value_name = "N", default_value = "0", value_parser = clap::value_parser!(u32).range(0..=256))]
    pub(crate) threads: u32,

    /// Label frames at this size instead of the model's native one, for example 480x320. Labels
    /// still have the frame's size.
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = size)]
    pub(crate) resize: Option<(u32, u32)>,
}

impl Settings {
    pub(crate) fn options(&self) -> Options {
        let mut options = Options::default().with_provider(self.provider).with_threads(self.threads);
        options.runtime_library = installed_runtime();
        match self.resize {
            Some((width, height)) => options.with_size_mode(SizeMode::Resize { width, height }),
            None => options,
        }
    }
}

/// The ONNX Runtime that `make install` put next to this program, unless the environment names one.
fn installed_runtime() -> Option<PathBuf> {
    if env::var_os("ORT_DYLIB_PATH").is_some() {
        return None;
    }
    let program = env::current_exe().ok()?.canonicalize().ok()?;
    let prefix = program.parent()?.parent()?;
    let version = concat!("fcn-", env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));
    let folders = ["lib".to_owned(), "lib64".to_owned(), format!("lib/{ARCH}-linux-gnu")];
    let files = folders.iter().map(|folder| prefix.join(folder).join(version).join("libonnxruntime.so.1"));
    files.into_iter().find(|file| file.is_file())
}

/// Parses `480x320`.
pub(crate) fn size(text: &str) -> std::result::Result<(u32, u32), String> {
    let side = |side: &str| side.parse().ok().filter(|side| (1..=fcn::MAX_SIDE).contains(side));
    let sides = text.split_once('x').and_then(|(width, height)| Some((side(width)?, side(height)?)));
    sides.ok_or_else(|| format!("must be WIDTHxHEIGHT with sides from 1 to {}, for example 480x320", fcn::MAX_SIDE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_two_sides_in_range() {
        assert_eq!(size("480x320"), Ok((480, 320)));
        assert_eq!(size("1x32767"), Ok((1, 32767)));
        for wrong in ["", "480", "480x", "x320", "0x320", "480x32768", "480x320x3", "-1x2", "480 x 320"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
