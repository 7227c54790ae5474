//! `fcn`: labels photos and videos with a model, compares what runs on this machine, and describes
//! models. It needs no libtorch.

/// Writes a line to stdout; a closed pipe or a full disk ends the function with an error.
macro_rules! say {
    ($($text:tt)*) => { crate::write_line(&mut std::io::stdout(), format_args!($($text)*))? };
}

/// Writes a line to stderr; if that fails, nobody can be told.
macro_rules! tell {
    ($($text:tt)*) => { let _ = crate::write_line(&mut std::io::stderr(), format_args!($($text)*)); };
}

mod bench;
mod info;
mod measure;
mod models;
mod photos;
mod run;
mod settings;
mod video;

use std::{fmt, io::Write, process::ExitCode};

use clap::{Parser, Subcommand};
use fcn_cli::Result;

/// Semantic segmentation of photos and videos.
#[derive(Debug, Parser)]
#[command(name = "fcn", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Label photos, folders of photos, videos and cameras.
    Run(run::Run),
    /// Compare providers and numbers of threads on this machine.
    Bench(bench::Bench),
    /// Describe a model: input, output, classes, and what was assumed about it.
    Info(info::Info),
    /// Measure one row of `fcn bench` and print it as JSON.
    #[command(hide = true)]
    Measure(measure::Measure),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run(run) => run.run(),
        Command::Bench(bench) => bench.run(),
        Command::Info(info) => info.run(),
        Command::Measure(measure) => measure.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell!("fcn: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write_line(out: &mut impl Write, text: fmt::Arguments<'_>) -> Result<()> {
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|error| format!("cannot write the output: {error}"))
}
