//! `sessions.jsonl`: which program carried a run out, a line each time it began or went on.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::train::{Execution, device_name};

/// One start of the trainer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// When, in UTC, as RFC 3339 writes it.
    pub started: String,
    /// How many steps of the run were done before.
    pub step: u64,
    /// The command line.
    pub command: Vec<String>,
    /// Where it computed.
    pub device: String,
    /// The trainer's version.
    pub trainer: String,
    /// libtorch's version, as far as its headers told when the trainer was built.
    pub libtorch: String,
    /// The operating system and the processor's kind.
    pub system: String,
}

/// Takes note that a run begins (`step` 0) or goes on.
pub(super) fn begin(execution: &Execution, step: u64) -> Result<()> {
    let path = path(&execution.folder);
    let session = Session {
        started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        step,
        command: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
        device: device_name(execution.device),
        trainer: env!("CARGO_PKG_VERSION").to_owned(),
        libtorch: env!("LIBTORCH_VERSION").to_owned(),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
    };
    let before = if step == 0 { Vec::new() } else { sessions(&execution.folder) };
    let lines = before.iter().chain([&session]).map(|session| serde_json::to_string(session).map(|line| line + "\n"));
    let text = lines.collect::<std::result::Result<String, _>>();
    let text = text.map_err(|error| Error::new(format!("{} cannot be written: {error}", path.display())))?;
    Ok(fcn::file::write(&path, text.as_bytes())?)
}

/// The starts of the run in a folder, the first one first; none where the file is missing. Lines that are not
/// whole are left out.
pub fn sessions(run: &Path) -> Vec<Session> {
    let text = fs::read(path(run)).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The file of a run folder.
pub fn path(run: &Path) -> PathBuf {
    run.join("sessions.jsonl")
}
