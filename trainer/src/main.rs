//! The command `trainer`.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    trainer::memory::keep_freed();
    trainer::signals::ignore_file_size_limit();
    match trainer::cli::run(trainer::cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            // File names in the message may contain anything. If stderr is closed, the exit code
            // has to do.
            let _ = writeln!(std::io::stderr(), "trainer: {}", fcn::plain(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}
