//! `fcn`: labels photos and videos with a model, compares what runs on this machine, and describes
//! models. It needs no libtorch.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

mod bench;
mod info;
mod measure;
mod models;
mod photos;
mod run;
mod settings;
mod video;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
            eprintln!("fcn: {error}");
            ExitCode::FAILURE
        }
    }
}
