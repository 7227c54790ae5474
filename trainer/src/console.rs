//! A command's output while it works: lines for people, JSON for scripts, or nothing; and a
//! progress bar on terminals.

use std::io::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::error::{Error, Result};

/// The audience of a command's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Output {
    /// People: lines on stdout, and a progress bar if stderr is a terminal.
    #[default]
    Text,
    /// Scripts: one JSON object per line on stdout, with its kind in `event`; a progress bar as for
    /// people.
    Json,
    /// Errors only.
    Quiet,
}

impl Output {
    /// A progress bar of `length` steps on stderr.
    pub fn bar(self, length: u64) -> ProgressBar {
        let target = match self {
            Output::Quiet => ProgressDrawTarget::hidden(),
            Output::Text | Output::Json => ProgressDrawTarget::stderr(),
        };
        let style = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} {msg}");
        ProgressBar::with_draw_target(Some(length), target)
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    }

    /// Writes `text` for people or `object` for scripts as one line, and flushes it.
    pub fn say(self, out: &mut dyn Write, text: &str, object: &Value) -> Result<()> {
        let written = match self {
            Output::Text => writeln!(out, "{text}"),
            Output::Json => writeln!(out, "{object}"),
            Output::Quiet => return Ok(()),
        };
        written.and_then(|()| out.flush()).map_err(|error| Error::new(format!("stdout: {error}")))
    }
}

/// A duration to the second: `1h 5m 12s`.
pub fn waiting(seconds: f64) -> String {
    humantime::format_duration(Duration::from_secs(seconds.max(0.0) as u64)).to_string()
}

/// Estimates a run's remaining time from its steps and validations so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pace {
    steps: u64,
    step: f64,
    validation: f64,
}

impl Pace {
    /// The weight of a step in the mean: about the last hundred count, so that the mean follows the
    /// machine's load.
    const SHARE: f64 = 0.02;

    /// Records the seconds of a step.
    pub(crate) fn step(&mut self, seconds: f64) {
        self.steps += 1;
        self.step += (seconds - self.step) * Pace::SHARE.max(1.0 / self.steps as f64);
    }

    /// Records the seconds of a validation.
    pub(crate) fn validation(&mut self, seconds: f64) {
        self.validation = seconds;
    }

    /// The expected seconds for this many steps and validations; `None` before the first step.
    pub(crate) fn left(&self, steps: u64, validations: u64) -> Option<f64> {
        (self.steps > 0).then_some(steps as f64 * self.step + validations as f64 * self.validation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_a_run_follows_its_pace() {
        let mut pace = Pace::default();
        assert_eq!(pace.left(10, 1), None);
        [1.0, 2.0, 3.0].iter().for_each(|&seconds| pace.step(seconds));
        assert_eq!(pace.left(10, 1), Some(20.0));
        pace.validation(5.0);
        assert_eq!(pace.left(10, 2), Some(30.0));
        // The machine slows down: after some hundreds of steps the old pace is forgotten.
        (0..500).for_each(|_| pace.step(4.0));
        assert!((pace.left(1, 0).unwrap() - 4.0).abs() < 0.01);
    }

    #[test]
    fn each_output_has_its_reader() {
        let said = |output: Output| {
            let mut out = Vec::new();
            output.say(&mut out, "a line", &serde_json::json!({"event": "x", "loss": f64::NAN})).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(said(Output::Text), "a line\n");
        assert_eq!(said(Output::Json), "{\"event\":\"x\",\"loss\":null}\n");
        assert_eq!(said(Output::Quiet), "");
        assert_eq!(waiting(3912.9), "1h 5m 12s");
    }
}
