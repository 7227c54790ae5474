//! `sessions.jsonl`: the program and system of a run, one line per start or resumption.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::execution::{Execution, device_name};

/// One start of the trainer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// The time, in UTC, in RFC 3339 format.
    pub started: String,
    /// The steps done before.
    pub step: u64,
    /// The command line.
    pub command: Vec<String>,
    /// The device.
    pub device: String,
    /// The trainer's version.
    pub trainer: String,
    /// libtorch's version, from its headers at build time.
    pub libtorch: String,
    /// The operating system and the processor architecture.
    pub system: String,
}

/// Records that a run starts (`step` 0) or resumes.
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

/// The starts of the run in a folder, the first one first; none if the file is missing. Incomplete
/// lines are skipped.
pub fn sessions(run: &Path) -> Vec<Session> {
    let text = fs::read(path(run)).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The file in a run's folder.
pub fn path(run: &Path) -> PathBuf {
    run.join("sessions.jsonl")
}
