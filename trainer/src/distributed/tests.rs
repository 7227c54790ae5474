//! Ranks that introduce themselves, and PyTorch's own ranks in one group with ours.

use std::net::TcpListener;
use std::os::fd::IntoRawFd;
use std::path::Path;
use std::process::{Command, Stdio};

use super::launch::SOCKET;
use super::*;

#[path = "../../../tests/common/mod.rs"]
mod common;

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn shares_cover_a_batch_once() {
    for of in 1..7 {
        for length in 0..20 {
            let shares: Vec<_> = (0..of).map(|number| Rank { number, of }.share(length)).collect();
            let covered: Vec<usize> = shares.iter().cloned().flatten().collect();
            assert_eq!(covered, (0..length).collect::<Vec<_>>(), "{length} of {of}");
            let lengths: Vec<usize> = shares.iter().map(|share| share.len()).collect();
            assert!(lengths.iter().max().unwrap() - lengths.iter().min().unwrap() <= 1, "{lengths:?}");
        }
    }
}

/// A rank as its launcher describes it, with a listening socket for the store if it serves that.
fn launch(Rank { number, of }: Rank, port: u16, socket: Option<TcpListener>) -> Launch {
    // libtorch closes the socket.
    let socket = socket.map(IntoRawFd::into_raw_fd);
    let launch = Launch::read(&|name| match name {
        "RANK" => Some(number.to_string()),
        "WORLD_SIZE" => Some(of.to_string()),
        "MASTER_ADDR" => Some("127.0.0.1".into()),
        "MASTER_PORT" => Some(port.to_string()),
        SOCKET => socket.map(|socket| socket.to_string()),
        _ => None,
    });
    launch.unwrap().unwrap()
}

/// Rank 0 of `of`.
fn first(of: usize) -> Launch {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    launch(Rank { number: 0, of }, socket.local_addr().unwrap().port(), Some(socket))
}

fn introduction(device: &str, version: &str) -> String {
    serde_json::to_string(&Introduction {
        host: "there".into(),
        process: 7,
        device: device.into(),
        version: version.into(),
    })
    .unwrap()
}

#[test]
fn ranks_of_other_versions_and_devices_are_rejected() {
    let version = version();
    for (introduced, expected) in [
        (
            introduction("cpu", "0.0 with libtorch 1"),
            "rank 1 (process 7 on there) is version 0.0 with libtorch 1; install",
        ),
        (introduction("cuda:0", &version), "rank 1 (process 7 on there) on cuda:0; choose the same kind of device"),
        ("hello".into(), "rank 1 is not a trainer"),
    ] {
        let first = first(2);
        let other = launch(Rank { number: 1, of: 2 }, first.port, None);
        let joined = std::thread::spawn(move || Ranks::join(&first, Device::Cpu, LIMIT));
        let group = Group::open(&other, LIMIT).unwrap();
        group.set("hello/1", introduced.as_bytes()).unwrap();
        let error = joined.join().unwrap().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// A rank of `torch.distributed`. Writes the sums' bytes.
const PYTHON: &str = r#"
import sys
import torch
import torch.distributed as dist

rank, port, introduction = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
store = dist.PrefixStore("fcn/attempt_0", dist.TCPStore("127.0.0.1", port, is_master=False, wait_for_workers=False))
store.set(f"hello/{rank}", introduction)
options = dist.ProcessGroupGloo._Options()
options._devices = [dist.ProcessGroupGloo.create_device(hostname="127.0.0.1")]
group = dist.ProcessGroupGloo(store, rank, 3, options)

tensors = []
for step in range(3):
    order = torch.arange(100_003, dtype=torch.float64)
    tensors.append((torch.sin(order * (rank + 1) + step) * 1e3).float())
    group.allreduce(tensors[-1]).wait()
tensors.append(torch.full((5,), float(rank)))
group.broadcast(tensors[-1], 0).wait()
sys.stdout.buffer.write(b"".join(tensor.numpy().tobytes() for tensor in tensors))
"#;

#[test]
fn sums_are_those_of_torch_distributed() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.deps/bench-torch/bin/python");
    if !python.exists() {
        let why = "PyTorch is missing; scripts/deps.py bench-torch installs it (3 GB)";
        return common::skip_data("sums of torch.distributed", why);
    }
    let first = first(3);
    let others = [1, 2].map(|rank| {
        let mut command = Command::new(&python);
        command.args(["-c", PYTHON, &rank.to_string(), &first.port.to_string(), &introduction("cpu", &version())]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    let ranks = Ranks::join(&first, Device::Cpu, LIMIT).unwrap();
    let order = Tensor::arange(100_003, (Kind::Double, Device::Cpu));
    let numbers = |rank: i64, step: i64| ((&order * (rank + 1) + step).sin() * 1e3).to_kind(Kind::Float);
    let mut total = numbers(0, 0);
    ranks.sum(&mut total).unwrap();
    // The gradients of a sum are added up, too.
    let own = numbers(0, 1).set_requires_grad(true);
    let learned = ranks.learned_sum(&own).unwrap();
    (&learned * numbers(0, 2)).sum(Kind::Float).backward();
    let mut shared = Tensor::from_slice(&[9.0f32, 8.0, 7.0, 6.0, 5.0]);
    ranks.broadcast(&mut shared).unwrap();

    let sums = [total, learned.detach(), own.grad()];
    for (step, sum) in sums.iter().enumerate() {
        let plain = (0..3).fold(order.zeros_like(), |sum, rank| sum + numbers(rank, step as i64));
        let largest = (plain - sum).abs().max().double_value(&[]);
        assert!(largest < 1e-3, "step {step}: the sums differ by {largest}");
    }
    let all = Tensor::cat(&sums.iter().chain([&shared]).collect::<Vec<_>>(), 0);
    let all: Vec<u8> = Vec::<f32>::try_from(all).unwrap().iter().flat_map(|number| number.to_le_bytes()).collect();
    for other in others {
        let output = other.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout == all, "torch.distributed has other sums");
    }
}
