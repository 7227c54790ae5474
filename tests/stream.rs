//! Streams, cancellation and timeouts.

#[path = "common/models.rs"]
mod models;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use fcn::{
    ColorMatrix, ColorRange, Error, Frame, Mask, Options, Outputs, PixelFormat, Segmenter, SizeMode, Stream,
    StreamCounters, StreamResult,
};
use models::{End, Spec, endless, network, picky, random_bytes, slow};
use prost::Message;

/// The maximum wait for an event that must occur.
const PATIENCE: Duration = Duration::from_secs(60);

/// The side of frames that take about a millisecond.
const SMALL: u32 = 32;

fn options() -> Options {
    let mut options = Options::default();
    (options.provider, options.threads) = (models::provider(), 1);
    options
}

fn segmenter(options: &Options) -> Arc<Segmenter> {
    Arc::new(Segmenter::from_memory(&slow(End::Low).encode_to_vec(), options).unwrap())
}

/// A segmenter that labels bright frames at once, and [`BLACK`] ones never, unless their run is
/// aborted.
fn endless_segmenter(options: &Options) -> Arc<Segmenter> {
    Arc::new(Segmenter::from_memory(&endless().encode_to_vec(), options).unwrap())
}

/// Static pixels, enough for any frame of these tests.
fn pixels() -> &'static [u8] {
    static PIXELS: OnceLock<Vec<u8>> = OnceLock::new();
    PIXELS.get_or_init(|| random_bytes(1, 3 * 256 * 256))
}

static BLACK: [u8; 64 * 64] = [0; 64 * 64];

fn black() -> Frame<'static> {
    Frame::packed(PixelFormat::Gray8, &BLACK, 64, 64, 0).unwrap()
}

fn frame(side: u32) -> Frame<'static> {
    Frame::packed(PixelFormat::Bgr8, pixels(), side, side, 0).unwrap()
}

/// Waits until a condition holds.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what} did not come");
        thread::sleep(Duration::from_millis(1));
    }
}

fn sum(counters: StreamCounters) -> u64 {
    counters.dropped + counters.done + counters.late + counters.failed
}

#[test]
fn a_callback_may_push_again() {
    let segmenter = segmenter(&options());
    let own = Arc::new(OnceLock::<Weak<Stream<u64>>>::new());
    let numbers = Arc::new(Mutex::new(Vec::new()));
    let callback = {
        let (own, numbers) = (Arc::clone(&own), Arc::clone(&numbers));
        move |result: StreamResult<'_, u64>| {
            assert!(result.mask.is_ok());
            numbers.lock().unwrap().push(*result.user);
            if *result.user < 9 {
                let stream = own.get().unwrap().upgrade().unwrap();
                stream.push(&frame(SMALL), result.timestamp + 1, result.user + 1).unwrap();
            }
        }
    };
    let stream = Arc::new(Stream::new(segmenter, Mask::new(), callback).unwrap());
    own.set(Arc::downgrade(&stream)).unwrap();
    stream.push(&frame(SMALL), 0, 0).unwrap();
    eventually("ten results", || numbers.lock().unwrap().len() == 10);
    assert_eq!(*numbers.lock().unwrap(), (0..10).collect::<Vec<_>>());
    assert_eq!(stream.counters().unwrap(), StreamCounters { pushed: 10, done: 10, ..StreamCounters::default() });
}

#[test]
fn a_callback_may_stop_or_drop_its_stream() {
    let segmenter = segmenter(&options());
    for drops in [false, true] {
        let slot = Arc::new(Mutex::new(None::<Arc<Stream<u64>>>));
        let calls = Arc::new(AtomicUsize::new(0));
        let (sender, receiver) = mpsc::channel();
        let callback = {
            let (slot, calls) = (Arc::clone(&slot), Arc::clone(&calls));
            move |_: StreamResult<'_, u64>| {
                calls.fetch_add(1, Ordering::Relaxed);
                let stream = slot.lock().unwrap().take().unwrap();
                // Is queued, and then dropped.
                stream.push(&frame(SMALL), 0, 1).unwrap();
                if drops {
                    drop(stream);
                } else {
                    stream.stop();
                    sender.send(stream.counters().unwrap()).unwrap();
                    *slot.lock().unwrap() = Some(stream);
                }
            }
        };
        let stream = Arc::new(Stream::new(Arc::clone(&segmenter), Mask::new(), callback).unwrap());
        *slot.lock().unwrap() = Some(Arc::clone(&stream));
        if drops {
            let weak = Arc::downgrade(&stream);
            stream.push(&frame(SMALL), 0, 0).unwrap();
            drop(stream);
            eventually("the end of the stream", || weak.strong_count() == 0);
        } else {
            stream.push(&frame(SMALL), 0, 0).unwrap();
            let counters = StreamCounters { pushed: 2, dropped: 1, done: 1, ..StreamCounters::default() };
            assert_eq!(receiver.recv_timeout(PATIENCE).unwrap(), counters);
            assert!(matches!(stream.push(&frame(SMALL), 0, 2), Err(Error::Cancelled(_))));
            // Also if the callback has already stopped the stream.
            stream.stop();
            assert_eq!(stream.counters().unwrap(), counters);
            assert_eq!(calls.load(Ordering::Relaxed), 1);
            slot.lock().unwrap().take();
            drop(stream);
        }
        // The thread has dropped everything that belongs to the caller.
        eventually("the end of the thread", || Arc::strong_count(&calls) == 1 && Arc::strong_count(&segmenter) == 1);
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn polling_gets_the_newest_result() {
    let segmenter = segmenter(&options());
    let mut expected = Mask::with_outputs(Outputs { confidence: true, ..Outputs::default() });
    segmenter.segment(&frame(64), &mut expected).unwrap();
    let like = Mask::with_outputs(Outputs { confidence: true, ..Outputs::default() });
    let stream = Stream::polling(Arc::clone(&segmenter), like).unwrap();
    let mut mask = Mask::new();
    assert!(stream.poll(&mut mask).unwrap().is_none());
    let before = Instant::now();
    assert!(stream.wait(&mut mask, Duration::from_millis(30)).unwrap().is_none());
    assert!(before.elapsed() >= Duration::from_millis(30));
    assert_eq!((mask.width(), stream.counters().unwrap()), (0, StreamCounters::default()));

    for number in 0..3u64 {
        stream.push(&frame(SMALL), 7, number).unwrap();
        eventually("the result", || stream.counters().unwrap().done == number + 1);
    }
    stream.push(&frame(64), 8, 3).unwrap();
    eventually("the result", || stream.counters().unwrap().done == 4);
    let polled = stream.poll(&mut mask).unwrap().unwrap();
    assert_eq!((polled.timestamp, polled.user, polled.status), (8, 3, Ok(())));
    assert_eq!((mask.labels(), mask.confidence()), (expected.labels(), expected.confidence()));
    assert!(stream.poll(&mut mask).unwrap().is_none());

    // A result that is ready can be fetched after the stop, then there are no more.
    stream.push(&frame(SMALL), 9, 4).unwrap();
    eventually("the result", || stream.counters().unwrap().done == 5);
    thread::scope(|scope| {
        let waiting = stream.wait(&mut mask, PATIENCE).unwrap().unwrap();
        assert_eq!((waiting.timestamp, mask.width()), (9, SMALL));
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(20));
            stream.stop();
        });
        assert!(matches!(stream.wait(&mut Mask::new(), Duration::MAX), Err(Error::Cancelled(_))));
    });
    assert!(matches!(stream.push(&frame(SMALL), 9, 5), Err(Error::Cancelled(_))));

    let called = Stream::<()>::new(segmenter, Mask::new(), |_| {}).unwrap();
    assert!(matches!(called.poll(&mut mask), Err(Error::InvalidArgument(_))));
}

/// Which borrowed frames were released, and how often.
type Given = Arc<Mutex<HashMap<u32, u32>>>;

#[derive(Clone)]
struct Borrowed {
    given: Given,
    number: u32,
}

fn give_back(borrowed: &Borrowed) {
    *borrowed.given.lock().unwrap().entry(borrowed.number).or_default() += 1;
}

/// Whether every frame up to `count` was released exactly once.
fn all_once(given: &Given, count: u32) -> bool {
    let given = given.lock().unwrap();
    given.len() == count as usize && (0..count).all(|number| given.get(&number) == Some(&1))
}

#[test]
fn borrowed_frames_are_given_back_once_whatever_becomes_of_them() {
    let segmenter = endless_segmenter(&options());
    let given = Given::default();
    let lend = |number| Borrowed { given: Arc::clone(&given), number };
    let check = |count| {
        eventually("every frame", || all_once(&given, count));
        given.lock().unwrap().clear();
    };

    // With a callback, which still reads the pixels.
    let too_early = Arc::new(AtomicU64::new(0));
    let (go_on, wait) = mpsc::channel::<()>();
    let stream = {
        let (given, too_early) = (Arc::clone(&given), Arc::clone(&too_early));
        let wait = Mutex::new(wait);
        let callback = move |result: StreamResult<'_, Borrowed>| {
            if result.user.number == 0 && result.mask.is_ok() {
                wait.lock().unwrap().recv().unwrap();
            }
            if given.lock().unwrap().contains_key(&result.user.number) {
                too_early.fetch_add(1, Ordering::Relaxed);
            }
        };
        Stream::new(Arc::clone(&segmenter), Mask::new(), callback).unwrap()
    };
    stream.push_borrowed(frame(SMALL), 0, lend(0), give_back).unwrap();
    eventually("the first one", || stream.counters().unwrap().done == 1);
    for number in 1..20 {
        stream.push_borrowed(frame(SMALL), 0, lend(number), give_back).unwrap();
    }
    go_on.send(()).unwrap();
    eventually("the last one", || sum(stream.counters().unwrap()) == 20);
    // The callback blocked the thread, so all frames between the first and the last were replaced.
    assert_eq!((stream.counters().unwrap().dropped, stream.counters().unwrap().done), (18, 2));
    check(20);
    assert_eq!(too_early.load(Ordering::Relaxed), 0);
    // Late frames, and frames in progress or queued at the stop.
    stream.set_deadline(Some(Duration::from_millis(1))).unwrap();
    stream.push_borrowed(black(), 0, lend(0), give_back).unwrap();
    eventually("the late one", || stream.counters().unwrap().late == 1);
    stream.set_deadline(None).unwrap();
    stream.push_borrowed(black(), 0, lend(1), give_back).unwrap();
    thread::sleep(Duration::from_millis(10));
    stream.push_borrowed(black(), 0, lend(2), give_back).unwrap();
    stream.stop();
    assert!(all_once(&given, 3), "all are given back when stop returns");
    // A rejected frame is not released.
    assert!(stream.push_borrowed(frame(SMALL), 0, lend(3), give_back).is_err());
    check(3);

    // Without a callback: done, dropped, not fetched, and in progress when the stream is dropped.
    let stream = Stream::polling(Arc::clone(&segmenter), Mask::new()).unwrap();
    for number in 0..20 {
        stream.push_borrowed(frame(128), 0, lend(number), give_back).unwrap();
        thread::sleep(Duration::from_millis(u64::from(number % 3)));
    }
    eventually("the last one", || sum(stream.counters().unwrap()) == 20);
    check(20);
    stream.push_borrowed(black(), 0, lend(0), give_back).unwrap();
    drop(stream);
    check(1);

    // A failed frame and a cancelled one.
    let failing = Arc::new(Segmenter::from_memory(&picky().encode_to_vec(), &options()).unwrap());
    let stream = Stream::polling(failing, Mask::new()).unwrap();
    stream.push_borrowed(frame(SMALL), 0, lend(0), give_back).unwrap();
    eventually("the failure", || stream.counters().unwrap().failed == 1);
    check(1);
    let stream = Stream::polling(Arc::clone(&segmenter), Mask::new()).unwrap();
    stream.push_borrowed(black(), 0, lend(0), give_back).unwrap();
    eventually("the cancelled one", || {
        segmenter.cancel().unwrap();
        stream.counters().unwrap().failed == 1
    });
    check(1);
}

#[test]
fn the_newest_frame_is_labelled_next() {
    // With any number of frames during a callback.
    let (results, receiver) = mpsc::channel();
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let callback = move |result: StreamResult<'_, u64>| {
        results.send((*result.user, result.timestamp, result.mask.map(|mask| mask.width()))).unwrap();
        wait.lock().unwrap().recv().unwrap();
    };
    let stream = Stream::new(segmenter(&options()), Mask::new(), callback).unwrap();
    stream.push(&frame(SMALL), 0, 0).unwrap();
    let mut last = 0;
    for pushes in [1, 2, 50, 3] {
        assert_eq!(receiver.recv_timeout(PATIENCE).unwrap(), (last, 10 * last as i64, Ok(SMALL)));
        for _ in 0..pushes {
            last += 1;
            stream.push(&frame(SMALL), 10 * last as i64, last).unwrap();
        }
        go_on.send(()).unwrap();
    }
    assert_eq!(receiver.recv_timeout(PATIENCE).unwrap().0, last);
    go_on.send(()).unwrap();
    let counters = StreamCounters { pushed: 57, dropped: 52, done: 5, ..StreamCounters::default() };
    assert_eq!(stream.counters().unwrap(), counters);
}

#[test]
fn the_newest_frame_is_labelled_next_when_a_run_ends() {
    // With any number of frames during a run.
    let segmenter = endless_segmenter(&options());
    let (results, receiver) = mpsc::channel();
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let callback = move |result: StreamResult<'_, u64>| {
        results.send((*result.user, result.mask.is_ok())).unwrap();
        // A cancel must not affect the frame that follows.
        if result.mask.is_err() {
            wait.lock().unwrap().recv().unwrap();
        }
    };
    let stream = Stream::new(Arc::clone(&segmenter), Mask::new(), callback).unwrap();
    // The third frame drops the second one only if the first one is running; otherwise it drops the
    // first one.
    let mut runs = 0;
    eventually("a run that holds the thread", || {
        runs += 1;
        stream.push(&black(), 0, runs).unwrap();
        thread::sleep(Duration::from_millis(1));
        stream.counters().unwrap().dropped + 1 < stream.counters().unwrap().pushed
    });
    for number in 100..110 {
        stream.push(&frame(SMALL), 0, number).unwrap();
    }
    // Cancel again if the frame was accepted but its run had not begun.
    let mut ended = None;
    eventually("the end of the run", || {
        segmenter.cancel().unwrap();
        thread::sleep(Duration::from_millis(1));
        ended = ended.or(receiver.try_recv().ok());
        ended.is_some()
    });
    assert!(ended.is_some_and(|(_, is_ok)| !is_ok));
    go_on.send(()).unwrap();
    assert_eq!(receiver.recv_timeout(PATIENCE).unwrap(), (109, true));
}

#[test]
fn stopping_does_not_wait_for_the_network() {
    let segmenter = endless_segmenter(&options());
    let calls = Arc::new(AtomicUsize::new(0));
    for round in 0..5 {
        let callback = {
            let calls = Arc::clone(&calls);
            move |_: StreamResult<'_, ()>| {
                calls.fetch_add(1, Ordering::Relaxed);
            }
        };
        let stream = Stream::new(Arc::clone(&segmenter), Mask::new(), callback).unwrap();
        stream.push(&black(), 0, ()).unwrap();
        // Gives the frame time to start; the stop must end it in any case.
        thread::sleep(Duration::from_millis(5 * round));
        stream.stop();
        assert_eq!(stream.counters().unwrap(), StreamCounters { pushed: 1, dropped: 1, ..StreamCounters::default() });
    }
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    segmenter.segment(&frame(SMALL), &mut Mask::new()).unwrap();
}

#[test]
fn late_frames_have_no_result_and_are_not_begun_where_they_are_late_before() {
    let segmenter = endless_segmenter(&options());
    let (sender, receiver) = mpsc::channel();
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let callback = move |result: StreamResult<'_, &'static str>| {
        sender.send((*result.user, result.mask.map(|mask| mask.width()))).unwrap();
        if *result.user == "holds the thread" {
            wait.lock().unwrap().recv().unwrap();
        }
    };
    let stream = Stream::new(Arc::clone(&segmenter), Mask::new(), callback).unwrap();
    let next = || receiver.recv_timeout(PATIENCE).unwrap();

    let deadline = Duration::from_millis(20);
    stream.set_deadline(Some(deadline)).unwrap();
    let before = Instant::now();
    stream.push(&black(), 0, "late in work").unwrap();
    let (user, result) = next();
    assert!(matches!(&result, Err(Error::Timeout(text)) if text.contains("ms")), "{result:?}");
    assert!(user == "late in work" && before.elapsed() >= deadline);

    stream.set_deadline(None).unwrap();
    stream.push(&frame(SMALL), 0, "holds the thread").unwrap();
    assert_eq!(next(), ("holds the thread", Ok(SMALL)));
    stream.set_deadline(Some(deadline)).unwrap();
    stream.push(&frame(SMALL), 0, "late at once").unwrap();
    thread::sleep(2 * deadline);
    go_on.send(()).unwrap();
    let (user, result) = next();
    assert!(user == "late at once" && matches!(result, Err(Error::Timeout(_))), "{result:?}");

    stream.set_deadline(Some(PATIENCE)).unwrap();
    stream.push(&frame(SMALL), 0, "in time").unwrap();
    assert_eq!(next(), ("in time", Ok(SMALL)));
    let counters = StreamCounters { pushed: 4, done: 2, late: 2, ..StreamCounters::default() };
    assert_eq!(stream.counters().unwrap(), counters);

    // If results are polled, late frames are only counted.
    let stream = Stream::polling(segmenter, Mask::new()).unwrap();
    stream.set_deadline(Some(Duration::from_millis(1))).unwrap();
    stream.push(&black(), 0, ()).unwrap();
    eventually("the late frame", || stream.counters().unwrap().late == 1);
    assert!(stream.poll(&mut Mask::new()).unwrap().is_none());
}

#[test]
fn a_frame_that_fails_is_told_and_the_stream_goes_on() {
    let segmenter = Arc::new(Segmenter::from_memory(&picky().encode_to_vec(), &options()).unwrap());
    let (sender, receiver) = mpsc::channel();
    let callback = move |result: StreamResult<'_, u32>| {
        sender.send((result.timestamp, *result.user, result.mask.map(|mask| mask.width()))).unwrap();
        // A panic in the callback changes nothing.
        std::panic::resume_unwind(Box::new("a callback that panics"));
    };
    let stream = Stream::new(Arc::clone(&segmenter), Mask::new(), callback).unwrap();
    let good = Frame::packed(PixelFormat::Gray8, pixels(), 96, 64, 0).unwrap();
    for round in 0..3 {
        stream.push(&frame(64), round, 1).unwrap();
        let (timestamp, user, result) = receiver.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(&result, Err(Error::Runtime(_))) && (timestamp, user) == (round, 1), "{result:?}");
        stream.push(&good, round, 2).unwrap();
        assert_eq!(receiver.recv_timeout(PATIENCE).unwrap(), (round, 2, Ok(96)));
    }
    let counters = StreamCounters { pushed: 6, done: 3, failed: 3, ..StreamCounters::default() };
    assert_eq!(stream.counters().unwrap(), counters);

    let stream = Stream::polling(segmenter, Mask::new()).unwrap();
    let mut mask = Mask::new();
    stream.push(&good, 0, 0).unwrap();
    assert!(stream.wait(&mut mask, PATIENCE).unwrap().unwrap().status.is_ok());
    stream.push(&frame(64), 5, 6).unwrap();
    let polled = stream.wait(&mut mask, PATIENCE).unwrap().unwrap();
    assert!(matches!(polled.status, Err(Error::Runtime(_))), "{polled:?}");
    assert_eq!((polled.timestamp, polled.user, mask.width()), (5, 6, 96));
}

#[test]
fn two_streams_share_a_segmenter_of_two_sessions() {
    let mut options = options();
    options.sessions = 2;
    let segmenter = segmenter(&options);
    let mut expected = [64, 96].map(|side| {
        let mut mask = Mask::new();
        segmenter.segment(&frame(side), &mut mask).unwrap();
        (side, mask)
    });
    let streams = [(); 2].map(|()| Stream::polling(Arc::clone(&segmenter), Mask::new()).unwrap());
    // The streams keep the segmenter alive.
    drop(segmenter);
    thread::scope(|scope| {
        for (stream, (side, expected)) in streams.iter().zip(&mut expected) {
            scope.spawn(move || {
                let mut mask = Mask::new();
                for number in 0..30 {
                    stream.push(&frame(*side), number, number).unwrap();
                    let polled = stream.wait(&mut mask, PATIENCE).unwrap().unwrap();
                    assert_eq!((polled.timestamp, polled.user, polled.status), (number, number, Ok(())));
                    assert_eq!(mask.labels(), expected.labels());
                }
            });
        }
    });
    for stream in streams {
        assert_eq!(stream.counters().unwrap(), StreamCounters { pushed: 30, done: 30, ..StreamCounters::default() });
    }
}

#[test]
fn threads_that_push_poll_and_stop_at_once_agree() {
    let mut options = options();
    options.sessions = 2;
    let segmenter = segmenter(&options);
    for round in 0..20u32 {
        let stream = Stream::polling(Arc::clone(&segmenter), Mask::new()).unwrap();
        let given = Given::default();
        let (taken, fetched) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for number in 0..8u32 {
                let (stream, given, taken, fetched) = (&stream, &given, &taken, &fetched);
                scope.spawn(move || match number {
                    0..4 => (0..50).for_each(|push| {
                        let user = Borrowed { given: Arc::clone(given), number: 50 * number + push };
                        let side = SMALL + 8 * (push % 3);
                        let pushed = match push % 2 {
                            0 => stream.push_borrowed(frame(side), 0, user, give_back),
                            _ => stream.push(&frame(side), 0, user),
                        };
                        match pushed {
                            Ok(()) => drop(taken.fetch_add(1, Ordering::Relaxed)),
                            Err(error) => assert!(matches!(error, Error::Cancelled(_)), "{error}"),
                        }
                    }),
                    4..7 => {
                        let mut mask = Mask::new();
                        while let Ok(polled) = stream.wait(&mut mask, Duration::from_millis(number.into())) {
                            fetched.fetch_add(u64::from(polled.is_some()), Ordering::Relaxed);
                        }
                    }
                    _ => {
                        thread::sleep(Duration::from_millis(u64::from(round)));
                        thread::scope(|scope| {
                            scope.spawn(|| stream.stop());
                            stream.stop();
                        });
                    }
                });
            }
        });
        let counters = stream.counters().unwrap();
        assert_eq!((counters.pushed, counters.failed), (taken.into_inner(), 0), "{counters:?}");
        assert_eq!(sum(counters), counters.pushed, "{counters:?}");
        assert!(fetched.into_inner() <= counters.done);
        assert!(given.lock().unwrap().values().all(|&times| times == 1));
    }
}

#[test]
fn a_timeout_ends_a_frame_and_the_next_one_works() {
    let mut limited = options();
    limited.timeout = Some(Duration::from_millis(20));
    let segmenter = endless_segmenter(&limited);
    let mut mask = Mask::new();
    for _ in 0..5 {
        let result = segmenter.segment(&black(), &mut mask);
        assert!(matches!(&result, Err(Error::Timeout(text)) if text.contains("20ms")), "{result:?}");
        assert_eq!(mask.width(), 0);
    }
    // A small frame is in time, at least on an idle machine.
    let tiny = Frame::packed(PixelFormat::Gray8, pixels(), 8, 8, 0).unwrap();
    eventually("a frame in time", || segmenter.segment(&tiny, &mut Mask::new()).is_ok());

    limited.timeout = Some(Duration::ZERO);
    assert!(matches!(Segmenter::from_memory(&[], &limited), Err(Error::InvalidArgument(_))));
}

#[test]
fn a_timeout_ends_the_wait_for_a_session_and_frames_of_many_tiles() {
    let mut options = options();
    options.timeout = Some(Duration::from_millis(10));
    options.size_mode = Some(SizeMode::Tile { width: 32, height: 32, overlap: 0 });
    let segmenter = endless_segmenter(&options);
    // The last tile is black.
    let mut pixels = vec![200; 64 * 64];
    pixels[32 * 64..].chunks_mut(64).for_each(|row| row[32..].fill(0));
    let last_tile = Frame::packed(PixelFormat::Gray8, &pixels, 64, 64, 0).unwrap();
    let result = segmenter.segment(&last_tile, &mut Mask::new());
    assert!(matches!(result, Err(Error::Timeout(_))), "{result:?}");
    // The warm-up labels a black frame without a limit, so it holds the only session until it is
    // cancelled.
    thread::scope(|scope| {
        let holder = scope.spawn(|| segmenter.warm_up(64, 64));
        eventually(
            "a call that waits too long",
            || matches!(segmenter.segment(&frame(8), &mut Mask::new()), Err(Error::Timeout(text)) if text.contains("10ms")),
        );
        eventually("the end of the warm-up", || {
            segmenter.cancel().unwrap();
            holder.is_finished()
        });
        assert!(matches!(holder.join().unwrap(), Err(Error::Cancelled(_))));
    });
}

#[test]
fn cancelling_ends_calls_that_run_or_wait_and_no_later_ones() {
    let segmenter = endless_segmenter(&options());
    let small = || segmenter.segment(&frame(SMALL), &mut Mask::new());
    // One call runs and the others wait for its session. None ends by itself, and one cancel ends
    // all that have begun.
    eventually("a round of one cancel", || {
        let mut cancels = 0;
        thread::scope(|scope| {
            let calls = [(); 4].map(|()| scope.spawn(|| segmenter.segment(&black(), &mut Mask::new())));
            thread::sleep(Duration::from_millis(50));
            eventually("the end of the calls", || {
                // Again only for those that had not begun.
                segmenter.cancel().unwrap();
                cancels += 1;
                (0..1000).any(|_| {
                    thread::sleep(Duration::from_millis(1));
                    calls.iter().all(|call| call.is_finished())
                })
            });
            for call in calls {
                let result = call.join().unwrap();
                assert!(matches!(&result, Err(Error::Cancelled(_))), "{result:?}");
            }
        });
        small().unwrap();
        cancels == 1
    });
    // A cancel without a call has no effect on later calls.
    for _ in 0..20 {
        segmenter.cancel().unwrap();
        small().unwrap();
    }
    // Random calls and cancels: each call is either done or cancelled, and no cancel affects later
    // calls.
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                segmenter.cancel().unwrap();
                thread::sleep(Duration::from_micros(300));
            }
        });
        for _ in 0..300 {
            let result = small();
            assert!(matches!(result, Ok(()) | Err(Error::Cancelled(_))), "{result:?}");
        }
        stop.store(true, Ordering::Relaxed);
    });
    small().unwrap();
}

#[test]
fn a_bad_frame_or_mask_is_refused_at_once() {
    // After a node that libfcn does not recognise, only class indices are available.
    let labels = Arc::new(
        Segmenter::from_memory(&network(Spec { end: End::Labels, uncut: true, ..Spec::default() }), &options())
            .unwrap(),
    );
    let stream =
        Stream::polling(labels, Mask::with_outputs(Outputs { confidence: true, ..Outputs::default() })).unwrap();
    assert!(matches!(stream.push(&frame(SMALL), 0, ()), Err(Error::InvalidArgument(_))));
    assert_eq!(stream.counters().unwrap(), StreamCounters::default());
}

#[test]
fn a_destructor_that_panics_ends_the_stream_and_nobody_waits_for_it() {
    struct Bomb(bool);
    impl Drop for Bomb {
        fn drop(&mut self) {
            if std::mem::take(&mut self.0) {
                std::panic::resume_unwind(Box::new("a destructor that panics"));
            }
        }
    }
    let stream = Stream::new(segmenter(&options()), Mask::new(), |_: StreamResult<'_, Bomb>| {}).unwrap();
    stream.push(&frame(SMALL), 0, Bomb(true)).unwrap();
    // Wait for the result first: the next frame would replace one that is still queued.
    eventually("the result", || stream.counters().unwrap().done == 1);
    eventually("the end", || matches!(stream.push(&frame(SMALL), 0, Bomb(false)), Err(Error::Cancelled(_))));
    stream.stop();
    assert_eq!(stream.counters().unwrap().done, 1);
}

#[test]
fn stopping_one_stream_leaves_the_runs_of_another() {
    let mut options = options();
    options.sessions = 2;
    let segmenter = endless_segmenter(&options);
    for _ in 0..3 {
        let (sender, receiver) = mpsc::channel();
        let callback = move |result: StreamResult<'_, ()>| sender.send(result.mask.map(|mask| mask.width())).unwrap();
        let other = Stream::new(Arc::clone(&segmenter), Mask::new(), callback).unwrap();
        // Nothing but its deadline ends a black frame.
        other.set_deadline(Some(Duration::from_millis(200))).unwrap();
        other.push(&black(), 0, ()).unwrap();
        for _ in 0..10 {
            let stream = Stream::polling(Arc::clone(&segmenter), Mask::new()).unwrap();
            stream.push(&black(), 0, ()).unwrap();
            thread::sleep(Duration::from_millis(5));
            stream.stop();
            assert_eq!(stream.counters().unwrap().dropped, 1);
        }
        let result = receiver.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(result, Err(Error::Timeout(_))), "{result:?}");
        assert_eq!(other.counters().unwrap(), StreamCounters { pushed: 1, late: 1, ..StreamCounters::default() });
    }
}

#[test]
fn a_deadline_that_passes_when_the_network_is_done_counts_as_well() {
    // Labels of noise, which are all specks: to remove them takes longer than the network does.
    const SIDE: u32 = 128;
    let mut like = Mask::new();
    like.set_min_region(1000);
    let segmenter = Arc::new(Segmenter::from_memory(&network(Spec::default()), &options()).unwrap());
    let (sender, receiver) = mpsc::channel();
    let callback = move |result: StreamResult<'_, ()>| sender.send(result.mask.map(|mask| mask.timings())).unwrap();
    let stream = Stream::new(segmenter, like, callback).unwrap();
    let next = || {
        stream.push(&frame(SIDE), 0, ()).unwrap();
        receiver.recv_timeout(PATIENCE).unwrap()
    };
    let fastest = (0..5).map(|_| next().unwrap()).min_by_key(|timings| timings.total).unwrap();
    let mut late = 0;
    // So that deadlines pass at all steps, wherever this machine is at those times.
    for part in 0..12 {
        let deadline = fastest.preprocess + fastest.inference + fastest.head * part / 12;
        stream.set_deadline(Some(deadline)).unwrap();
        match next() {
            // What has a result has it in time.
            Ok(timings) => assert!(timings.total <= deadline, "{timings:?} within {deadline:?}"),
            Err(Error::Timeout(_)) => late += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    let counters = StreamCounters { pushed: 17, done: 17 - late, late, ..StreamCounters::default() };
    assert_eq!(stream.counters().unwrap(), counters);
}

#[test]
fn copied_frames_keep_the_meaning_of_their_colours() {
    let segmenter = Arc::new(Segmenter::from_memory(&network(Spec::default()), &options()).unwrap());
    let outputs = Outputs { scores: true, ..Outputs::default() };
    let stream = Stream::polling(Arc::clone(&segmenter), Mask::with_outputs(outputs)).unwrap();
    let plain = Frame::contiguous(PixelFormat::Nv12, pixels(), 64, 48, 0).unwrap();
    let mut seen: Vec<Vec<f32>> = Vec::new();
    for (matrix, range) in [
        (ColorMatrix::Bt601, ColorRange::Limited),
        (ColorMatrix::Bt601, ColorRange::Full),
        (ColorMatrix::Bt709, ColorRange::Limited),
        (ColorMatrix::Bt709, ColorRange::Full),
    ] {
        let frame = plain.color(matrix, range);
        let mut expected = Mask::with_outputs(outputs);
        segmenter.segment(&frame, &mut expected).unwrap();
        let mut found = Mask::new();
        stream.push(&frame, 0, ()).unwrap();
        stream.wait(&mut found, PATIENCE).unwrap().unwrap().status.unwrap();
        assert_eq!(found.scores(), expected.scores(), "{matrix:?}, {range:?}");
        let scores: Vec<f32> = expected.scores().unwrap().iter().copied().collect();
        assert!(!seen.contains(&scores), "{matrix:?}, {range:?} look like others");
        seen.push(scores);
    }
}
