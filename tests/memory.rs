//! A warm segmenter allocates nothing, and its memory does not grow with the number of sizes it has
//! seen.

#[path = "common/foreign.rs"]
mod foreign;
#[path = "common/models.rs"]
mod models;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fcn::{
    Frame, Mask, Options, Outputs, PixelFormat, Provider, Rotation, Segmenter, SizeMode, Stream, StreamCounters,
    TensorLayout,
    onnx::{build, types::tensor_proto::DataType},
};
use foreign::{Enlarge, Foreign, Last, PLAIN};
use models::{End, Spec, network, random, random_bytes};
use prost::Message;

/// Counts allocations.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is forwarded to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller fulfils the same contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller fulfils the same contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller fulfils the same contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Runs one test at a time: the count belongs to the whole program.
static TURN: Mutex<()> = Mutex::new(());

/// Counts the allocations of twenty calls of `step`. Returns the minimum of a few rounds, because
/// the test harness allocates when a test begins or ends.
fn allocations(mut step: impl FnMut()) -> usize {
    let mut round = || {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        (0..20).for_each(|_| step());
        ALLOCATIONS.load(Ordering::Relaxed) - before
    };
    (0..5).map(|_| round()).min().unwrap_or(0)
}

fn segmenter(spec: Spec, threads: u32, size_mode: Option<SizeMode>) -> Segmenter {
    let mut options = Options::default();
    (options.provider, options.threads, options.size_mode) = (models::provider(), threads, size_mode);
    Segmenter::from_memory(&network(spec), &options).unwrap()
}

#[test]
fn a_warm_segmenter_allocates_nothing() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (width, height) = (96, 64);
    let pixels = random_bytes(1, 3 * width * height);
    let frame = |format| Frame::contiguous(format, &pixels, width as u32, height as u32, 0).unwrap();
    let frames = [frame(PixelFormat::Bgr8), frame(PixelFormat::Nv12), frame(PixelFormat::Yuyv).rotate(Rotation::Half)];
    let resize = Some(SizeMode::Resize { width: 64, height: 48 });
    let tile = Some(SizeMode::Tile { width: 48, height: 32, overlap: 8 });
    for end in [End::Transposed, End::Diagonal, End::Resize, End::Low] {
        for threads in [1, 2] {
            for (mode, confidence) in [(None, false), (None, true), (resize, false), (tile, true)] {
                let segmenter = segmenter(Spec { end, ..Spec::default() }, threads, mode);
                let mut mask = Mask::with_outputs(Outputs { confidence, ..Outputs::default() });
                segmenter.warm_up(width as u32, height as u32).unwrap();
                // The caller's mask and the session's swap their buffers, so each needs one frame
                // to allocate its own.
                for _ in 0..3 {
                    segmenter.segment(&frames[0], &mut mask).unwrap();
                }
                let mut next = frames.iter().cycle();
                let count = allocations(|| segmenter.segment(next.next().unwrap(), &mut mask).unwrap());
                assert_eq!(count, 0, "{end:?}, {threads} threads, {mode:?}, confidence {confidence}");
            }
        }
    }
}

#[test]
fn a_warm_stream_allocates_nothing() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (width, height) = (96, 64);
    let pixels = random_bytes(1, 3 * width * height);
    let frame = Frame::packed(PixelFormat::Bgr8, &pixels, width as u32, height as u32, 0).unwrap();
    let borrowed = Frame::packed(PixelFormat::Bgr8, &[7; 96 * 64 * 3], width as u32, height as u32, 0).unwrap();
    let mut options = Options::default();
    (options.provider, options.timeout) = (models::provider(), Some(Duration::from_secs(60)));
    let segmenter = Arc::new(Segmenter::from_memory(&network(Spec::default()), &options).unwrap());
    let stream = Stream::polling(segmenter, Mask::new()).unwrap();
    stream.set_deadline(Some(Duration::from_secs(30))).unwrap();
    let mut mask = Mask::new();
    let mut round = |number: i64| {
        // The second frame replaces the first one unless that is being processed.
        stream.push(&frame, number, ()).unwrap();
        match number % 2 {
            0 => stream.push(&frame, number, ()).unwrap(),
            _ => stream.push_borrowed(borrowed, number, (), |()| {}).unwrap(),
        }
        loop {
            stream.wait(&mut mask, Duration::from_secs(60)).unwrap().unwrap().status.unwrap();
            let StreamCounters { pushed, dropped, done, .. } = stream.counters().unwrap();
            if pushed == dropped + done {
                return stream.poll(&mut mask).unwrap();
            }
        }
    };
    // Masks rotate, so each needs one frame to allocate its buffers.
    for number in 0..50 {
        round(number);
    }
    let mut numbers = 50..;
    assert_eq!(allocations(|| drop(round(numbers.next().unwrap()))), 0);
}

#[test]
fn nor_does_one_of_a_foreign_model() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (width, height) = (96, 64);
    let pixels = random_bytes(1, 3 * width * height);
    let frame = Frame::packed(PixelFormat::Bgr8, &pixels, width as u32, height as u32, 0).unwrap();
    let bytes = Foreign { layout: TensorLayout::Nhwc, element: DataType::Uint8, ..PLAIN };
    let cases = [
        Foreign { last: Last::ChannelsLast, ..bytes },
        Foreign { last: Last::NoBatchChannelsLast, hidden_bytes: true, ..bytes },
        Foreign { last: Last::HiddenProbability, channels: 1, ..bytes },
        Foreign { last: Last::ArgMax(DataType::Int64, 3), enlarge: Enlarge::Sizes, stride: 8, ..PLAIN },
        Foreign { last: Last::Above, size: (Some(32), Some(64)), ..PLAIN },
    ];
    for foreign in cases {
        let mut options = Options::default();
        (options.provider, options.threads) = (models::provider(), 2);
        let segmenter = Segmenter::from_memory(&foreign.bytes(), &options).unwrap();
        let mut mask = Mask::new();
        for _ in 0..3 {
            segmenter.segment(&frame, &mut mask).unwrap();
        }
        assert_eq!(allocations(|| segmenter.segment(&frame, &mut mask).unwrap()), 0, "{foreign:?}");
    }
}

#[test]
fn nothing_that_a_mask_is_asked_for_allocates() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (width, height) = (96, 64);
    let pixels = random_bytes(1, 3 * width * height);
    let frame = Frame::packed(PixelFormat::Bgr8, &pixels, width as u32, height as u32, 0).unwrap();
    // A single colour has fewer regions. After the first frame, the other image must need no more
    // memory.
    let plain = Frame::packed(PixelFormat::Bgr8, &[9; 96 * 64 * 3], width as u32, height as u32, 0).unwrap();
    let all = Outputs { confidence: true, confidence_u8: true, margin: true, scores: true };
    let mut labels = vec![0; 250 * 170];
    for mode in [
        SizeMode::Pad,
        SizeMode::Resize { width: 64, height: 48 },
        SizeMode::Tile { width: 48, height: 32, overlap: 8 },
    ] {
        for outputs in [Outputs::default(), all] {
            for (size, own) in [((0, 0), true), ((250, 170), true), ((250, 170), false), ((50, 33), false)] {
                let segmenter = segmenter(Spec::default(), 2, Some(mode));
                let mut mask = Mask::with_outputs(outputs);
                mask.set_size(size.0, size.1).unwrap();
                mask.set_smoothing(0.5).unwrap();
                mask.set_remap(Some(&[1, 2, 3, 4, 5])).unwrap();
                mask.set_min_region(20);
                if !own {
                    mask.set_classes(&[0, 2, 3]);
                    mask.set_threshold(0.5).unwrap();
                }
                let mut step = |frame| {
                    if own {
                        segmenter.segment(frame, &mut mask).unwrap()
                    } else {
                        segmenter.segment_into(frame, &mut mask, &mut labels, 250).unwrap()
                    }
                };
                (0..3).for_each(|_| step(&plain));
                let count = allocations(|| step(&frame));
                assert_eq!(count, 0, "{mode:?}, {outputs:?}, {size:?}, own memory {own}");
            }
        }
    }
}

/// The bytes allocated from the C library's heaps in this process, including ONNX Runtime's.
fn allocated() -> usize {
    // SAFETY: mallinfo2 only reads the allocator's statistics.
    let heap = unsafe { libc::mallinfo2() };
    heap.uordblks + heap.hblkhd
}

#[test]
fn changing_sizes_need_no_more_and_more_memory() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let segmenter = segmenter(Spec { classes: 21, stride: 32, ..Spec::default() }, 2, None);
    let mut mask = Mask::new();
    let pixels = random_bytes(2, 3 * 640 * 640);
    let mut round = || {
        for size in 0..50u32 {
            let (width, height) = (640 - 11 * size, 90 + 11 * size);
            let frame = Frame::packed(PixelFormat::Rgb8, &pixels, width, height, 0).unwrap();
            segmenter.segment(&frame, &mut mask).unwrap();
        }
    };
    round();
    let first = allocated();
    for _ in 0..9 {
        round();
    }
    let last = allocated();
    assert!(last < first + first / 20, "from {first} bytes after 50 frames of 50 sizes to {last} after 500");
}

/// A network with 18 MB of weights, which ONNX Runtime brings into an order of its own.
fn heavy() -> Vec<u8> {
    const WIDE: i64 = 2048;
    let mut model = models::model(Spec { end: End::Low, ..Spec::default() });
    let graph = model.graph.as_mut().unwrap();
    let strided = vec![build::ints("kernel_shape", &[8, 8]), build::ints("strides", &[8, 8])];
    graph.node = vec![
        build::node("Conv", &["image", "start"], "many", strided),
        build::node("Transpose", &["many"], "last", vec![build::ints("perm", &[0, 2, 3, 1])]),
        build::node("MatMul", &["last", "wide"], "mixed", vec![]),
        build::node("MatMul", &["mixed", "end"], "few", vec![]),
        build::node("Transpose", &["few"], "scores", vec![build::ints("perm", &[0, 3, 1, 2])]),
    ];
    let weights = |name, dims: &[i64]| build::floats(name, dims, &random(1, dims.iter().product::<i64>() as usize));
    graph.initializer =
        vec![weights("start", &[WIDE, 3, 8, 8]), weights("wide", &[WIDE, WIDE]), weights("end", &[WIDE, 5])];
    model.encode_to_vec()
}

#[test]
fn a_session_holds_its_weights_once() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let model = heavy();
    let held = |sessions| {
        let mut options = Options::default();
        (options.provider, options.threads, options.sessions) = (Provider::Cpu, 1, sessions);
        let before = allocated();
        let segmenter = Segmenter::from_memory(&model, &options).unwrap();
        let held = allocated() - before;
        drop(segmenter);
        held
    };
    // What ONNX Runtime makes once in a process.
    held(1);
    // The order in which it keeps them may need some more.
    for sessions in [1, 3] {
        let (held, weights) = (held(sessions), sessions as usize * model.len());
        assert!(held > weights / 2 && held < weights + weights / 4, "{sessions}: {held} bytes for {weights}");
    }
}

/// The CPU time of this process in clock ticks (10 ms).
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn threads_sleep_between_frames() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let segmenter = segmenter(Spec { classes: 21, stride: 32, ..Spec::default() }, 4, None);
    let pixels = random_bytes(3, 3 * 320 * 320);
    let frame = Frame::packed(PixelFormat::Rgb8, &pixels, 320, 320, 0).unwrap();
    let mut mask = Mask::new();
    for _ in 0..5 {
        segmenter.segment(&frame, &mut mask).unwrap();
    }
    let before = ticks();
    std::thread::sleep(std::time::Duration::from_millis(500));
    let used = ticks() - before;
    assert!(used <= 5, "{used} ticks of 10 ms in half a second without a frame");
}
