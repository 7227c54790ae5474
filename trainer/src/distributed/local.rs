//! Starts one rank per device on this machine and ends them together.
//!
//! Unsafe code: `kill`, which passes signals on.

use std::env;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::launch::{SOCKET, STARTER};
use crate::error::{Error, Result};

/// How long the other ranks may take to end by themselves after one has failed.
const GRACE: Duration = Duration::from_secs(30);
/// The code of a rank that was stopped and has saved.
const STOPPED: i32 = 130;
/// Between looks at the ranks.
const PAUSE: Duration = Duration::from_millis(50);

/// Runs this command line as `count` ranks. Ctrl-C and SIGTERM stop all of them.
pub fn run(count: usize) -> Result<ExitCode> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let mut ranks = start(count)?;
    let mut deadline = None;
    while ranks.iter().any(|rank| rank.status.is_none()) {
        sleep(PAUSE);
        for _ in signals.pending() {
            ranks.iter_mut().for_each(Started::stop);
        }
        for rank in ranks.iter_mut().filter(|rank| rank.status.is_none()) {
            rank.status = rank.process.try_wait()?;
        }
        if ranks.iter().any(Started::has_failed) {
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + GRACE);
            if Instant::now() >= deadline {
                ranks.iter_mut().for_each(Started::kill);
            }
        }
    }
    if let Some((number, rank, signal)) = ranks.iter().enumerate().find_map(|(number, rank)| {
        let signal = rank.status?.signal().filter(|_| !rank.is_killed)?;
        Some((number, rank, signal))
    }) {
        return Err(Error::new(format!(
            "rank {number} (process {}) was ended by signal {signal}, and with it all ranks; the newest checkpoint has what \
             was learned before",
            rank.process.id()
        )));
    }
    let codes = ranks.iter().filter_map(|rank| rank.status?.code());
    Ok(ExitCode::from(codes.max().unwrap_or(1) as u8))
}

/// A rank's process.
struct Started {
    process: Child,
    status: Option<ExitStatus>,
    is_killed: bool,
}

impl Started {
    /// Asks it to save and end; a second time, to end at once.
    fn stop(&mut self) {
        if self.status.is_none() {
            // SAFETY: sends a signal to a child that has not been waited for.
            unsafe { libc::kill(self.process.id().cast_signed(), SIGTERM) };
        }
    }

    /// Whether it ended neither at its end nor because it was stopped.
    fn has_failed(&self) -> bool {
        self.status.is_some_and(|status| !status.success() && status.code() != Some(STOPPED))
    }

    fn kill(&mut self) {
        if self.status.is_none() {
            self.is_killed = true;
            // It fails only if the rank has just ended.
            let _ = self.process.kill();
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if self.status.is_none() {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

fn start(count: usize) -> Result<Vec<Started>> {
    let failed = |error: std::io::Error| Error::new(format!("the ranks cannot be started: {error}"));
    // Rank 0 inherits the socket, so that no other program can take the port in between.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    let mut socket = Some(OwnedFd::from(listener));
    let program = env::current_exe().map_err(failed)?;
    let mut ranks = Vec::with_capacity(count);
    for rank in 0..count {
        let mut command = Command::new(&program);
        command.args(env::args_os().skip(1));
        for (name, value) in [
            ("RANK", rank),
            ("WORLD_SIZE", count),
            ("LOCAL_RANK", rank),
            ("LOCAL_WORLD_SIZE", count),
            ("MASTER_PORT", port.into()),
            (STARTER, std::process::id() as usize),
        ] {
            command.env(name, value.to_string());
        }
        command.env("MASTER_ADDR", Ipv4Addr::LOCALHOST.to_string());
        match socket.take() {
            Some(socket) => {
                command.stdin(Stdio::from(socket)).env(SOCKET, "0");
            }
            None => {
                command.stdin(Stdio::null()).stdout(Stdio::null());
            }
        }
        // Ctrl-C on a terminal reaches this process only, which passes it on once.
        let process = command.process_group(0).spawn().map_err(failed)?;
        ranks.push(Started { process, status: None, is_killed: false });
    }
    Ok(ranks)
}
