//! How a rank was started: by `--devices`, PyTorch's `torchrun`, Slurm's `srun` or Open MPI's
//! `mpirun`, each of which describes the ranks in environment variables.

use twox_hash::XxHash3_64;

use super::Rank;
use crate::error::{Error, Result};

/// The listening socket of rank 0's store, inherited from `trainer train --devices`.
pub(super) const SOCKET: &str = "FCN_TRAINER_SOCKET";
/// The process that started the ranks, for [`Launch::starter`].
pub(super) const STARTER: &str = "FCN_TRAINER_STARTER";

/// A rank's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Which rank this is.
    pub rank: Rank,
    /// Which rank of this machine this is.
    pub local: Rank,
    /// The machine that has the ranks' store.
    pub host: String,
    /// The store's port.
    pub port: u16,
    /// Whether this rank serves the store.
    pub serves: bool,
    /// A listening socket for the store.
    pub(super) socket: Option<i32>,
    /// Precedes all keys in the store.
    pub(super) prefix: String,
    starter: Option<u32>,
}

impl Launch {
    /// The launch that this process's environment describes; `None` if it was started alone.
    pub fn from_environment() -> Result<Option<Launch>> {
        Launch::read(&|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    pub(super) fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Launch>> {
        let number = |name: &str| -> Result<Option<usize>> {
            variable(name)
                .map(|value| {
                    value.parse().map_err(|_| {
                        Error::new(format!("the environment variable {name} is '{value}', which is not a number"))
                    })
                })
                .transpose()
        };
        // A launcher's names of rank, ranks, and the same on this machine. mpirun and srun may run
        // torchrun, so that comes first. Slurm also sets SLURM_NTASKS for a batch script, which is
        // not a rank; only the tasks of srun have a step.
        let launchers = [
            ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"],
            [
                "OMPI_COMM_WORLD_RANK",
                "OMPI_COMM_WORLD_SIZE",
                "OMPI_COMM_WORLD_LOCAL_RANK",
                "OMPI_COMM_WORLD_LOCAL_SIZE",
            ],
            ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"],
        ];
        for names in launchers {
            let (Some(rank), Some(of)) = (number(names[0])?, number(names[1])?) else { continue };
            if rank >= of {
                return Err(Error::new(format!(
                    "the environment variable {} is {rank}, but {} is {of}; ranks count from 0",
                    names[0], names[1]
                )));
            }
            if of == 1 {
                return Ok(None);
            }
            let local = number(names[2])?.unwrap_or(0);
            // Slurm writes the tasks of all nodes as in "2(x3),1".
            let per_node = variable(names[3]).and_then(|count| {
                count.split(|letter: char| !letter.is_ascii_digit()).next().and_then(|count| count.parse().ok())
            });
            let local = Rank { number: local, of: per_node.unwrap_or(1).max(local + 1) };
            let address = Address::of(names[0], variable, local.of == of)?;
            // torchrun keeps the store itself, and counts its restarts.
            let agent = variable("TORCHELASTIC_USE_AGENT_STORE").is_some_and(|value| value == "True");
            let attempt = variable("TORCHELASTIC_RESTART_COUNT").unwrap_or("0".to_owned());
            return Ok(Some(Launch {
                rank: Rank { number: rank, of },
                local,
                host: address.host,
                port: address.port,
                serves: rank == 0 && !agent,
                socket: number(SOCKET)?.filter(|_| rank == 0).and_then(|socket| socket.try_into().ok()),
                prefix: format!("fcn/attempt_{attempt}"),
                starter: number(STARTER)?.and_then(|process| process.try_into().ok()),
            }));
        }
        Ok(None)
    }

    /// The `trainer train --devices` that started this rank, if it was one.
    pub fn starter(&self) -> Option<u32> {
        self.starter
    }
}

/// Where the store is.
struct Address {
    host: String,
    port: u16,
}

/// Ports that a job's name is mapped to, below those that Linux gives to clients.
const FIRST_PORT: u16 = 20_000;
const PORTS: u64 = 10_000;

impl Address {
    /// `MASTER_ADDR` and `MASTER_PORT`, or what can be concluded from the launcher, which set the
    /// variable `rank`.
    fn of(rank: &str, variable: &dyn Fn(&str) -> Option<String>, on_one_machine: bool) -> Result<Address> {
        let nodes = || variable("SLURM_STEP_NODELIST").or_else(|| variable("SLURM_JOB_NODELIST"));
        let here = || on_one_machine.then(|| "127.0.0.1".to_owned());
        let host = variable("MASTER_ADDR").or_else(here).or_else(|| nodes().map(|nodes| first_node(&nodes)));
        let host = host.ok_or_else(|| {
            Error::new(format!(
                "{rank} is set, but MASTER_ADDR is not; set it to the address of rank 0's machine for all ranks"
            ))
        })?;
        let port = match variable("MASTER_PORT") {
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
                Error::new(format!("the environment variable MASTER_PORT is '{port}'; ports are from 1 to 65535"))
            })?,
            // The same for all ranks of a job, and most likely no other job's.
            None => {
                let job = ["SLURM_JOB_ID", "SLURM_STEP_ID", "PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid"];
                let job: Vec<String> = job.iter().filter_map(|name| variable(name)).collect();
                if job.is_empty() {
                    return Err(Error::new(format!(
                        "{rank} is set, but MASTER_PORT is not; set it to a free port of rank 0's machine for all ranks"
                    )));
                }
                FIRST_PORT + (XxHash3_64::oneshot(job.join(" ").as_bytes()) % PORTS) as u16
            }
        };
        Ok(Address { host, port })
    }
}

/// The first machine of Slurm's list, for example `gpu03` of `gpu[03-05,09],login1`.
fn first_node(nodes: &str) -> String {
    let end = nodes.find([',', '[']).unwrap_or(nodes.len());
    let (name, rest) = nodes.split_at(end);
    let number = rest.strip_prefix('[').map_or("", |rest| rest.split([',', '-', ']']).next().unwrap_or(""));
    format!("{name}{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Launch>> {
        Launch::read(&|name| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn launchers_are_understood() {
        struct Case<'a> {
            variables: &'a [(&'a str, &'a str)],
            rank: [usize; 4],
            host: &'a str,
            port: Option<u16>,
            serves: bool,
            prefix: &'a str,
        }
        let torchrun = [
            ("RANK", "0"),
            ("WORLD_SIZE", "2"),
            ("LOCAL_RANK", "0"),
            ("LOCAL_WORLD_SIZE", "2"),
            ("MASTER_ADDR", "localhost"),
            ("MASTER_PORT", "29500"),
            ("TORCHELASTIC_USE_AGENT_STORE", "True"),
            ("TORCHELASTIC_RESTART_COUNT", "3"),
        ];
        let mpirun = [
            ("OMPI_COMM_WORLD_RANK", "1"),
            ("OMPI_COMM_WORLD_SIZE", "2"),
            ("OMPI_COMM_WORLD_LOCAL_RANK", "1"),
            ("OMPI_COMM_WORLD_LOCAL_SIZE", "2"),
            ("PMIX_NAMESPACE", "prterun-host-123@1"),
        ];
        let srun = [
            ("SLURM_PROCID", "0"),
            ("SLURM_STEP_NUM_TASKS", "4"),
            ("SLURM_LOCALID", "0"),
            ("SLURM_STEP_TASKS_PER_NODE", "2(x2)"),
            ("SLURM_STEP_NODELIST", "gpu[03-04]"),
            ("SLURM_JOB_ID", "77"),
        ];
        let cases = [
            Case {
                variables: &torchrun,
                rank: [0, 2, 0, 2],
                host: "localhost",
                port: Some(29500),
                serves: false,
                prefix: "fcn/attempt_3",
            },
            Case {
                variables: &torchrun[..6],
                rank: [0, 2, 0, 2],
                host: "localhost",
                port: Some(29500),
                serves: true,
                prefix: "fcn/attempt_0",
            },
            Case {
                variables: &mpirun,
                rank: [1, 2, 1, 2],
                host: "127.0.0.1",
                port: None,
                serves: false,
                prefix: "fcn/attempt_0",
            },
            Case {
                variables: &srun,
                rank: [0, 4, 0, 2],
                host: "gpu03",
                port: None,
                serves: true,
                prefix: "fcn/attempt_0",
            },
        ];
        for Case { variables, rank: [rank, of, local, local_of], host, port, serves, prefix } in cases {
            let launch = read(variables).unwrap().unwrap();
            assert_eq!(launch.rank, Rank { number: rank, of }, "{variables:?}");
            assert_eq!(launch.local, Rank { number: local, of: local_of }, "{variables:?}");
            assert_eq!((launch.host.as_str(), launch.serves, launch.prefix.as_str()), (host, serves, prefix));
            assert!(port.map_or((20_000..30_000).contains(&launch.port), |port| port == launch.port), "{launch:?}");
        }
    }

    #[test]
    fn what_is_no_launch_or_a_broken_one() {
        // A single rank, a batch script of Slurm, half a description.
        for alone in [
            &[][..],
            &[("RANK", "0"), ("WORLD_SIZE", "1")],
            &[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "4")],
            &[("RANK", "0")],
            &[("WORLD_SIZE", "2")],
        ] {
            assert_eq!(read(alone).unwrap(), None, "{alone:?}");
        }
        let two = [("WORLD_SIZE", "2"), ("MASTER_ADDR", "here"), ("MASTER_PORT", "1")];
        let with = |more: &[(&'static str, &'static str)]| [more, &two].concat();
        assert!(read(&with(&[("RANK", "1")])).unwrap().is_some());
        for (variables, expected) in [
            (with(&[("RANK", "2")]), "RANK is 2, but WORLD_SIZE is 2"),
            (with(&[("RANK", "x")]), "RANK is 'x', which is not a number"),
            ([&[("RANK", "1"), ("MASTER_PORT", "0")], &two[..2]].concat(), "MASTER_PORT is '0'"),
            ([&[("RANK", "1"), ("MASTER_PORT", "65536")], &two[..2]].concat(), "MASTER_PORT is '65536'"),
            ([&[("RANK", "1")], &two[..2]].concat(), "MASTER_PORT is not"),
            ([&[("RANK", "1"), ("MASTER_PORT", "1")], &two[..1]].concat(), "MASTER_ADDR is not"),
        ] {
            let error = read(&variables).unwrap_err().to_string();
            assert!(error.contains(expected), "{variables:?}: {error}");
        }
    }

    #[test]
    fn the_first_node_of_a_list() {
        for (nodes, first) in
            [("a", "a"), ("a,b", "a"), ("gpu[03-05,09],b", "gpu03"), ("gpu[7]", "gpu7"), ("n1-[2,4]", "n1-2"), ("", "")]
        {
            assert_eq!(first_node(nodes), first, "{nodes}");
        }
    }
}
