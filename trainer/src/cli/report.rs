//! `trainer report`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{Audience, DeviceChoice};
use crate::error::Result;
use crate::report;

/// Options of `trainer report`.
#[derive(Debug, Args)]
pub(super) struct ReportOptions {
    /// The folder of a run. Its best checkpoint labels the validation split again.
    run: PathBuf,

    /// The folder of the data set [default: its location when the run started].
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,

    /// The HTML file to write. It is self-contained [default: RUN/report/index.html].
    ///
    /// The plots are written as PNG files next to it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// The device of the network.
    #[arg(long, value_enum, default_value = "auto")]
    device: DeviceChoice,

    #[command(flatten)]
    audience: Audience,
}

impl ReportOptions {
    pub(super) fn run(self) -> Result<ExitCode> {
        let output = self.audience.output();
        let out = self.out.unwrap_or_else(|| self.run.join("report/index.html"));
        let facts = report::PageFacts::collect(&self.run, self.data, self.device.device()?, output)?;
        let plots = facts.write(&out)?;
        let object = json!({
            "event": "report",
            "page": out.to_string_lossy(),
            "plots": plots.iter().map(|plot| plot.to_string_lossy()).collect::<Vec<_>>(),
        });
        let text = format!("{}, and {} plots as PNG beside it", out.display(), plots.len());
        output.say(&mut std::io::stdout(), &text, &object)?;
        Ok(ExitCode::SUCCESS)
    }
}
