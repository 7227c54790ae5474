//! Training by several ranks: they learn what one process learns, and fail together.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use data::{Folder, success, tensors, trainer};

mod data;

#[path = "../../tests/common/mod.rs"]
mod common;

/// 20 steps: 2 batches of 5 in each of 10 epochs.
const RUN: &str = "train --data {} --out {} --crop 64x64 --batch 5 --epochs 10 --val-every 10 --seed 7 --warmup 0 \
                   --recipe standard --optimizer sgd --threads 1 --workers 1 --backbone resnet18 --quiet";

/// Photos with very different shares of void, one of them void throughout.
fn uneven() -> Folder {
    let folder = Folder::new(11);
    for (number, rows) in [(0, 90), (3, 40), (4, 70), (8, 20)] {
        let (width, height) = (90 + number, 80 + number);
        let class = |x: u32| (x * 3 / width) as u8;
        folder.mask(&format!("p{number}"), width, height, |x, y| if y < rows { 255 } else { class(x) });
    }
    folder
}

/// The newest checkpoint of a run of [`RUN`] with these options.
fn learned(folder: &Folder, options: &str) -> Vec<(String, Vec<f32>)> {
    let out = tempfile::tempdir().unwrap();
    success(&format!("{RUN} {options}"), &[folder.root(), out.path()]);
    let floats = |bytes: Vec<u8>| bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let tensors = tensors(&out.path().join("last.safetensors")).into_iter();
    tensors.filter(|(name, _)| !name.starts_with("momentum/")).map(|(name, bytes)| (name, floats(bytes))).collect()
}

/// The largest difference of two networks, relative to numbers above 1, and where it is.
fn difference(one: &[(String, Vec<f32>)], other: &[(String, Vec<f32>)]) -> (f32, String) {
    assert_eq!(one.len(), other.len());
    let mut largest = (0.0, String::new());
    for ((name, one), (same, other)) in one.iter().zip(other) {
        assert_eq!((name, one.len()), (same, other.len()));
        for (one, other) in one.iter().zip(other) {
            let difference = (one - other).abs() / one.abs().max(1.0);
            assert!(difference.is_finite(), "{name}: {one} and {other}");
            if difference > largest.0 {
                largest = (difference, name.clone());
            }
        }
    }
    largest
}

#[test]
fn ranks_learn_what_one_process_learns() {
    let folder = uneven();
    let untouched = learned(&folder, "--freeze-norm yes --lr 0");
    for options in [
        "--freeze-norm yes --lr 0.0001",
        "--freeze-norm yes --class-weights 1,3,0.5 --label-smoothing 0.1 --accumulate 2 --ema 0.9 --clip 0.5 --lr 0.01",
        "--freeze-norm yes --ohem-share 0.3 --ohem-probability 0.4 --class-weights 1,0,2 --lr 0.0001",
    ] {
        let alone = learned(&folder, options);
        let (moved, _) = difference(&untouched, &alone);
        assert!(moved > 1e-3, "{options}: weights moved by {moved} only");
        for ranks in [2, 3] {
            let (found, place) = difference(&alone, &learned(&folder, &format!("{options} --devices cpu:{ranks}")));
            assert!(found < 1e-5, "{options}, {ranks} ranks: {place} differs by {found}");
        }
    }
}

/// Batch normalisation of random weights multiplies rounding errors, from threads as well as from ranks, so that
/// statistics are compared with weights that stay, and weights after small steps.
#[test]
fn ranks_share_statistics_if_they_are_told_to() {
    let folder = uneven();
    let run = |options: &str| learned(&folder, &format!("--ema 0 {options}"));
    let fixed = run("--lr 0 --sync-norm");
    for ranks in [2, 3] {
        let (found, place) = difference(&fixed, &run(&format!("--lr 0 --sync-norm --devices cpu:{ranks}")));
        assert!(found < 1e-5, "{ranks} ranks: {place} differs by {found}");
    }
    let (found, place) = difference(&fixed, &run("--lr 0 --devices cpu:2"));
    assert!(found > 1e-2 && place.ends_with("running_var"), "{place} differs by {found} without --sync-norm");

    let weights = |options: &str| {
        let mut all = run(&format!("--lr 0.000001 {options}"));
        all.retain(|(name, _)| !name.contains("running_"));
        all
    };
    let alone = weights("--sync-norm");
    let (found, place) = difference(&alone, &weights("--sync-norm --devices cpu:2"));
    assert!(found < 2e-6, "{place} differs by {found}");
    let (found, place) = difference(&alone, &weights("--devices cpu:2"));
    assert!(found > 1e-5, "{place} differs by {found} without --sync-norm");
}

#[test]
fn the_chapters_recipe_adds_up_over_ranks() {
    let folder = Folder::new(8);
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.deps/weights/efficientnet-lite0-57934424.pth");
    if !weights.exists() {
        return common::skip_data("the sum over crops", "weights are missing; make weights installs them");
    }
    let run = |devices: &str| {
        let out = tempfile::tempdir().unwrap();
        let line = "train --data {} --out {} --weights {} --recipe d2l --crop 64x64 --batch 4 --epochs 2 --threads 1 --quiet \
                    --backbone efficientnet_lite0 --freeze-norm yes";
        success(&format!("{line} {devices}"), &[folder.root(), out.path(), &weights]);
        let table = fs::read_to_string(out.path().join("metrics.csv")).unwrap();
        let line = table.lines().last().unwrap().to_owned();
        line.split(',').nth(3).unwrap().parse::<f64>().unwrap()
    };
    let (alone, two) = (run(""), run("--devices cpu:2"));
    assert!((alone - two).abs() < 1e-3 * alone, "the loss is {alone} alone and {two} by two ranks");
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Rank `rank` of `of` with the environment that torchrun gives it.
fn rank(line: &str, paths: &[&Path], [rank, of]: [usize; 2], port: u16) -> Command {
    let mut command = trainer(line, paths);
    command.env("RANK", rank.to_string()).env("WORLD_SIZE", of.to_string());
    command.env("LOCAL_RANK", rank.to_string()).env("LOCAL_WORLD_SIZE", of.to_string());
    command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", port.to_string());
    command
}

/// Starts all ranks with their output in pipes.
fn start(line: &str, paths: &[&Path], of: usize) -> Vec<Child> {
    let port = free_port();
    let child = |number| {
        let mut command = rank(line, paths, [number, of], port);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    (0..of).map(child).collect()
}

/// What a rank wrote to stderr; it must have failed.
fn failure(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    text
}

/// Waits for a process that must end by itself.
fn ended(mut child: Child) -> Output {
    let end = Instant::now() + Duration::from_secs(60);
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < end, "process {} does not end", child.id());
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

/// A run whose every step is logged and saved.
const LONG: &str = "train --data {} --out {} --crop 64x64 --batch 6 --epochs 40 --val-every 3 --seed 7 --threads 1 \
                    --workers 1 --recipe standard --backbone resnet18 --checkpoint-every 1 --log-every 1 --json \
                    --rank-timeout 20";

#[test]
fn the_others_end_when_a_rank_is_killed_and_the_run_resumes() {
    let folder = Folder::new(12);
    let out = tempfile::tempdir().unwrap();
    let mut steps = 0;
    for moment in 0..10 {
        let of = 2 + moment % 2;
        let killed = moment % of;
        // Later moments resume with another number of ranks.
        let resumes = out.path().join("last.safetensors").exists();
        let resume =
            "train --resume {} --threads 1 --workers 1 --checkpoint-every 1 --log-every 1 --json --rank-timeout 20";
        let mut ranks =
            if resumes { start(resume, &[out.path()], of) } else { start(LONG, &[folder.root(), out.path()], of) };
        let mut lines = BufReader::new(ranks[0].stdout.take().unwrap()).lines();
        let step = |line: std::io::Result<String>| {
            serde_json::from_str::<serde_json::Value>(&line.unwrap()).unwrap()["step"].as_u64()
        };
        let reached =
            lines.by_ref().find_map(|line| step(line).filter(|step| *step > steps)).expect("a step is logged");
        assert!(reached > steps);
        steps = reached;
        std::thread::sleep(Duration::from_millis(37 * moment as u64 % 200));
        let process = ranks[killed].id();
        ranks[killed].kill().unwrap();
        // The first rank must not wait for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        for (number, child) in ranks.into_iter().enumerate() {
            let output = ended(child);
            if number != killed {
                let text = failure(&output);
                let name = format!("rank {killed} (process {process} on ");
                assert!(text.contains(&name) && text.contains("ended or does not answer"), "rank {number}: {text}");
            }
        }
    }
    // One process alone goes on as well.
    let mut alone = trainer("train --resume {} --threads 1 --log-every 1 --json", &[out.path()]);
    let mut child = alone.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.by_ref().any(|line| {
        serde_json::from_str::<serde_json::Value>(&line.unwrap()).unwrap()["step"].as_u64() > Some(steps)
    }));
    signal(child.id(), "-TERM");
    lines.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let checkpoint = trainer::checkpoint::Checkpoint::read(out.path()).unwrap();
    let progress = checkpoint.state.progress;
    assert!(2 * progress.epoch + progress.step as u64 >= steps.saturating_sub(1), "{progress:?} after step {steps}");
}

#[test]
fn a_reason_reaches_every_rank() {
    let folder = Folder::new(12);
    let out = tempfile::tempdir().unwrap();
    // Half a file; it belongs to one rank in each epoch.
    let photo = folder.path("JPEGImages/p4.png");
    let bytes = fs::read(&photo).unwrap();
    fs::write(&photo, &bytes[..bytes.len() / 2]).unwrap();
    for output in start(LONG, &[folder.root(), out.path()], 3).into_iter().map(ended) {
        let text = failure(&output);
        assert!(text.contains("p4.png"), "{text}");
    }
    // The ranks of --devices share stderr.
    fs::write(&photo, bytes).unwrap();
    let (line, out) = (format!("{LONG} --devices cpu:2 --lr 1e30"), tempfile::tempdir().unwrap());
    let output = trainer(&line, &[folder.root(), out.path()]).output().unwrap();
    let text = failure(&output);
    assert!(text.matches("start again with --lr below").count() >= 2, "{text}");
}

#[test]
fn ranks_that_do_not_fit_say_so() {
    let folder = Folder::new(12);
    let out = tempfile::tempdir().unwrap();
    let paths = [folder.root(), out.path()];
    let pair = |second: &str, paths: &[&Path], others: &[&Path]| {
        let port = free_port();
        let spawn = |mut command: Command| command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let ranks = [spawn(rank(LONG, paths, [0, 2], port)), spawn(rank(second, others, [1, 2], port))];
        ranks.map(|child| failure(&ended(child)))
    };
    for (number, text) in pair(&format!("{LONG} --lr 0.1"), &paths, &paths).iter().enumerate() {
        assert!(text.contains("has other settings than rank"), "rank {number}: {text}");
    }
    let other = Folder::new(13);
    for text in pair(LONG, &paths, &[other.root(), out.path()]) {
        assert!(text.contains("has other photos than rank"), "{text}");
    }
    // The same photos elsewhere are the same.
    let copy = Folder::new(12);
    let short = LONG.replace("--epochs 40", "--epochs 1");
    let port = free_port();
    let mut ranks = [
        rank(&short, &paths, [0, 2], port).stdout(Stdio::null()).spawn().unwrap(),
        rank(&short, &[copy.root(), out.path()], [1, 2], port).stdout(Stdio::null()).spawn().unwrap(),
    ];
    assert!(ranks.iter_mut().all(|rank| rank.wait().unwrap().success()));

    let line = format!("{LONG} --devices cpu:7");
    let fresh = tempfile::tempdir().unwrap();
    let text = failure(&trainer(&line, &[folder.root(), fresh.path()]).output().unwrap());
    assert!(text.contains("a batch of 6 cannot be divided among 7 ranks"), "{text}");
}

#[test]
fn ranks_that_do_not_meet_say_so_in_time() {
    let folder = Folder::new(12);
    let out = tempfile::tempdir().unwrap();
    let paths = [folder.root(), out.path()];
    let line = LONG.replace("--rank-timeout 20", "--rank-timeout 2");
    let alone = |number: usize, port: u16| failure(&rank(&line, &paths, [number, 2], port).output().unwrap());
    let text = alone(0, free_port());
    assert!(text.contains("waited 2 s for rank 1, which never came"), "{text}");
    let text = alone(1, free_port());
    assert!(text.contains("finds no rank 0 at 127.0.0.1:"), "{text}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let text = alone(0, port);
    assert!(text.contains(&format!("rank 0 cannot serve port {port}")), "{text}");
    let mut command = rank(&line, &paths, [1, 2], free_port());
    let text = failure(&command.env("MASTER_ADDR", "no-such-machine.invalid").output().unwrap());
    assert!(text.contains("finds no rank 0 at no-such-machine.invalid:"), "{text}");
    let text =
        failure(&trainer(&format!("{line} --devices 0,1"), &paths).env("CUDA_VISIBLE_DEVICES", "").output().unwrap());
    assert!(text.contains("number 0 does not exist"), "{text}");
}

/// Sends a signal, for example `-TERM`.
fn signal(process: u32, signal: &str) {
    let status = Command::new("kill").args([signal, &process.to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
fn a_rank_that_hangs_ends_all() {
    let folder = Folder::new(12);
    let line = LONG.replace("--rank-timeout 20", "--rank-timeout 3");
    for number in [0, 1] {
        let out = tempfile::tempdir().unwrap();
        let mut ranks = start(&line, &[folder.root(), out.path()], 2);
        let mut lines = BufReader::new(ranks[0].stdout.take().unwrap()).lines();
        assert!(lines.by_ref().any(|line| line.unwrap().contains(r#""step":2"#)));
        let hangs = ranks.remove(number);
        signal(hangs.id(), "-STOP");
        std::thread::spawn(move || lines.for_each(drop));
        let text = failure(&ended(ranks.remove(0)));
        assert!(text.contains(&format!("rank {number}")) && text.contains("not answer any more"), "{text}");
        // The limit of a call to rank 0's store knows no process numbers.
        assert!(number == 0 || text.contains(&format!("(process {} on ", hangs.id())), "{text}");
        signal(hangs.id(), "-KILL");
        ended(hangs);
    }
}

#[test]
fn a_signal_to_one_stops_all() {
    let folder = Folder::new(12);
    for devices in [true, false] {
        let out = tempfile::tempdir().unwrap();
        let paths = [folder.root(), out.path()];
        let mut ranks = if devices {
            let mut command = trainer(&format!("{LONG} --devices cpu:2"), &paths);
            vec![command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()]
        } else {
            start(LONG, &paths, 2)
        };
        let mut lines = BufReader::new(ranks[0].stdout.take().unwrap()).lines();
        assert!(lines.by_ref().any(|line| line.unwrap().contains(r#""step":3"#)));
        signal(ranks.last().unwrap().id(), "-TERM");
        let last = lines.map(Result::unwrap).last().unwrap();
        assert!(last.contains("stopped") && last.contains("--resume"), "{last}");
        for output in ranks.into_iter().map(ended) {
            assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let step = trainer::checkpoint::Checkpoint::read(out.path()).unwrap().state.progress;
        assert!(step.epoch < 40 && (step.epoch, step.step) != (0, 0), "{step:?}");
    }
}

#[test]
fn ranks_do_not_outlive_their_starter() {
    let folder = Folder::new(12);
    let out = tempfile::tempdir().unwrap();
    let mut command = trainer(&format!("{LONG} --devices cpu:2"), &[folder.root(), out.path()]);
    let mut starter = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(starter.stdout.take().unwrap()).lines();
    assert!(lines.by_ref().any(|line| line.unwrap().contains(r#""step":3"#)));
    starter.kill().unwrap();
    starter.wait().unwrap();
    // stdout closes when the first rank has ended.
    let last = lines.map(Result::unwrap).last().unwrap();
    assert!(last.contains("stopped"), "{last}");
}

#[test]
fn torchrun_starts_ranks() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.deps/bench-torch/bin/python");
    if !python.exists() {
        return common::skip_data("torchrun", "PyTorch is missing; scripts/deps.py bench-torch installs it (3 GB)");
    }
    let folder = Folder::new(12);
    let out = tempfile::tempdir().unwrap();
    let line = LONG.replace("--epochs 40", "--epochs 2").replace("--json", "");
    let ranks = trainer(&line, &[folder.root(), out.path()]);
    let mut command = Command::new(python);
    command.args(["-m", "torch.distributed.run", "--standalone", "--no-python", "--nproc-per-node", "2"]);
    let output = command.arg(ranks.get_program()).args(ranks.get_args()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("examples/sec on 2 x cpu (1 threads)"), "{text}");
}

#[test]
fn mpirun_starts_ranks() {
    if Command::new("mpirun").arg("--version").output().is_err() {
        return common::skip("mpirun", "Open MPI is missing; apt-get install openmpi-bin installs it");
    }
    let folder = Folder::new(12);
    let out = tempfile::tempdir().unwrap();
    let line = LONG.replace("--epochs 40", "--epochs 2").replace("--json", "");
    let ranks = trainer(&line, &[folder.root(), out.path()]);
    let mut command = Command::new("mpirun");
    command.args(["--allow-run-as-root", "--oversubscribe", "-n", "2"]).arg(ranks.get_program()).args(ranks.get_args());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("examples/sec on 2 x cpu (1 threads)"), "{text}");
    assert_eq!(text.matches("epoch 2/2").count(), 1, "only the first rank prints: {text}");
}
