//! Makes each allocation fail in turn. Large ones, which grow with models and frames, must be
//! errors. Small ones, in Rust's collections, abort the process; SECURITY.md gives their number.

#[path = "common/models.rs"]
mod models;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    collections::BTreeMap,
    fs, io,
    panic::{self, AssertUnwindSafe},
    path::Path,
    ptr,
    sync::atomic::{AtomicUsize, Ordering},
};

use fcn::{Error, Frame, Mask, Options, Outputs, PixelFormat, Provider, Result, Segmenter, SizeMode, onnx::build};
use models::{End, Spec, model, random_bytes};
use prost::Message;

/// The system's allocator with one failure.
struct Failing;

/// The number of allocations of at least [`LEAST`] bytes so far.
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// The number of the one that fails, from 1; 0 for none.
static FAILS: AtomicUsize = AtomicUsize::new(0);
static LEAST: AtomicUsize = AtomicUsize::new(usize::MAX);

fn fails(size: usize) -> bool {
    size >= LEAST.load(Ordering::Relaxed) && COUNT.fetch_add(1, Ordering::Relaxed) + 1 == FAILS.load(Ordering::Relaxed)
}

// SAFETY: everything is forwarded to the system's allocator, or fails.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if fails(layout.size()) {
            return ptr::null_mut();
        }
        // SAFETY: the caller fulfils the same contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if fails(layout.size()) {
            return ptr::null_mut();
        }
        // SAFETY: the caller fulfils the same contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller fulfils the same contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if fails(size) {
            return ptr::null_mut();
        }
        // SAFETY: the caller fulfils the same contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static FAILING: Failing = Failing;

/// The outcome of a run in which one allocation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    /// The run makes fewer allocations.
    NotReached,
    Succeeded,
    OutOfMemory,
    OtherError,
    Panicked,
    Aborted,
}

/// Runs `work` in a child process in which allocation `number` of those of at least `least` bytes
/// fails.
fn ending(number: usize, least: usize, work: &dyn Fn() -> Result<()>) -> Ending {
    // SAFETY: no other thread of this program allocates: the harness waits, and no segmenter is
    // alive.
    match unsafe { libc::fork() } {
        0 => {
            // Hides the message of an expected abort.
            // SAFETY: this is the child's own standard error.
            unsafe { libc::close(2) };
            COUNT.store(0, Ordering::Relaxed);
            FAILS.store(number, Ordering::Relaxed);
            LEAST.store(least, Ordering::Relaxed);
            let result = panic::catch_unwind(AssertUnwindSafe(work));
            LEAST.store(usize::MAX, Ordering::Relaxed);
            let reached = COUNT.load(Ordering::Relaxed) >= number;
            let code = match result {
                Ok(Ok(())) if !reached => 0,
                _ if !reached => 5,
                Ok(Ok(())) => 1,
                Ok(Err(Error::OutOfMemory(_))) => 2,
                Ok(Err(_)) => 3,
                Err(_) => 4,
            };
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(code) }
        }
        child => {
            let mut status = 0;
            // SAFETY: this is the child that was just created.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child, "{}", io::Error::last_os_error());
            if !libc::WIFEXITED(status) {
                return Ending::Aborted;
            }
            match libc::WEXITSTATUS(status) {
                0 => Ending::NotReached,
                1 => Ending::Succeeded,
                2 => Ending::OutOfMemory,
                3 => Ending::OtherError,
                4 => Ending::Panicked,
                code => panic!("the child ended with {code}"),
            }
        }
    }
}

/// The outcomes for each allocation of at least `least` bytes.
fn endings(least: usize, work: &dyn Fn() -> Result<()>) -> Vec<Ending> {
    let endings: Vec<_> = (1..5000)
        .map(|number| ending(number, least, work))
        .take_while(|&ending| ending != Ending::NotReached)
        .collect();
    assert!(endings.len() < 4999);
    endings
}

fn options() -> Options {
    let mut options = Options::default();
    (options.provider, options.threads) = (Provider::Cpu, 2);
    options
}

/// Creates a segmenter, labels frames of two sizes with all outputs, and frees everything.
fn label(path: &Path, options: &Options, pixels: &[u8], (width, height): (u32, u32)) -> Result<()> {
    let segmenter = Segmenter::from_file(path, options)?;
    let mut mask = Mask::with_outputs(Outputs { confidence: true, confidence_u8: true, margin: true, scores: true });
    mask.set_smoothing(0.5)?;
    mask.set_min_region(9);
    for (width, height) in [(width, height), (height, width)] {
        segmenter.segment(&Frame::packed(PixelFormat::Rgb8, pixels, width, height, 0)?, &mut mask)?;
        let map = fcn::LabelMap::new(mask.labels(), mask.width(), mask.height(), 0)?;
        map.contours(1)?;
        map.regions_filtered(9)?;
    }
    Ok(())
}

/// A network with 0.5 MB of weights; if `int8` is set, its largest tensor is stored as 8-bit
/// integers.
fn big(end: End, int8: bool) -> Vec<u8> {
    let mut model = model(Spec { classes: 20, end, ..Spec::default() });
    if int8 {
        let graph = model.graph.as_mut().unwrap();
        let weight = graph.initializer.iter_mut().find(|tensor| tensor.name() == "upsample.weight").unwrap();
        let count = weight.raw_data().len() / 4;
        *weight = build::int8s("stored", &weight.dims.clone(), &vec![3; count]);
        graph.initializer.extend([build::floats("step", &[], &[0.01]), build::int8s("zero", &[], &[0])]);
        graph.node.insert(0, build::node("DequantizeLinear", &["stored", "step", "zero"], "upsample.weight", vec![]));
    }
    model.encode_to_vec()
}

/// Small allocations, for names and lists, are far below this size; those that grow with weights
/// and pixels are far above.
const LARGE: usize = 1 << 16;

#[test]
fn large_allocations_that_fail_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    fs::create_dir(&cache).unwrap();
    let plain = &|_: &mut Options| ();
    let uncut = || model(Spec { classes: 20, uncut: true, ..Spec::default() }).encode_to_vec();
    let (pixels, size) = (random_bytes(1, 3 * 320 * 256), (320, 256));
    let cases = [
        ("dense", big(End::Transposed, false), plain as &dyn Fn(&mut Options)),
        ("int8", big(End::Transposed, true), plain),
        ("for each class", big(End::Grouped, false), plain),
        ("resized", big(End::Resize, false), plain),
        ("in full", uncut(), plain),
        ("class indices", model(Spec { classes: 20, end: End::Labels, ..Spec::default() }).encode_to_vec(), plain),
        ("tiles", big(End::Transposed, false), &|options| {
            options.size_mode = Some(SizeMode::Tile { width: 128, height: 96, overlap: 16 });
        }),
        ("another size", big(End::Transposed, false), &|options| {
            options.size_mode = Some(SizeMode::Resize { width: 200, height: 160 });
        }),
        ("cached", uncut(), &|options| options.cache = Some(cache.clone())),
    ];
    for (name, model, adjust) in cases {
        let path = folder.path().join("model.onnx");
        let large_file = model.len() >= LARGE;
        fs::write(&path, model).unwrap();
        let mut options = options();
        adjust(&mut options);
        let endings = endings(LARGE, &|| {
            // Each child must write the cache entry.
            let _ = fs::remove_dir_all(&cache);
            fs::create_dir_all(&cache).map_err(|error| Error::Io(error.to_string().into()))?;
            label(&path, &options, &pixels, size)
        });
        let count = count(&endings);
        // Rust has no fallible allocation of shared memory, which the `ort` crate requires for a
        // file. So libfcn first makes an ordinary allocation of the same size and frees it.
        let shared = usize::from(large_file) * if name == "cached" { 2 } else { 1 };
        let of = |ending| count.get(&ending).copied().unwrap_or_default();
        assert!(of(Ending::Aborted) <= shared, "{name}: {endings:?}");
        assert!(of(Ending::OutOfMemory) >= 8, "{name}: {endings:?}");
        // A failure of the cache is logged and not an error.
        assert!((of(Ending::Succeeded) > 0) == (name == "cached"), "{name}: {endings:?}");
        let expected = [Ending::Aborted, Ending::OutOfMemory, Ending::Succeeded].map(of).iter().sum::<usize>();
        assert_eq!(endings.len(), expected, "{name}: {endings:?}");
    }
}

/// The most allocations in the next test that may abort the process if they fail: 413 or 414 do.
/// The number depends on the machine, because strings grow more often for longer paths and the
/// processor limits of each nested control group are read. SECURITY.md repeats the number. It may
/// only decrease.
const MOST_ABORTS: usize = 418;

#[test]
fn small_allocations_that_fail_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    fs::write(&path, models::network(Spec::default())).unwrap();
    let (pixels, options) = (random_bytes(1, 3 * 48 * 32), options());
    let count = count(&endings(1, &|| label(&path, &options, &pixels, (48, 32))));
    let of = |ending| count.get(&ending).copied().unwrap_or_default();
    assert!(of(Ending::OutOfMemory) >= 30, "{count:?}");
    assert!(of(Ending::Aborted) <= MOST_ABORTS, "{count:?}");
    assert_eq!(of(Ending::Panicked) + of(Ending::OtherError), 0, "{count:?}");
}

fn count(endings: &[Ending]) -> BTreeMap<Ending, usize> {
    let mut counts = BTreeMap::new();
    endings.iter().for_each(|&ending| *counts.entry(ending).or_default() += 1);
    counts
}
