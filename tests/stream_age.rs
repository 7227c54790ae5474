//! How old the results of a stream are. A program of its own: other tests beside it would take the processor away.

#[path = "common/models.rs"]
mod models;

use std::{
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use fcn::{Frame, Mask, Options, PixelFormat, Provider, Segmenter, Stream, StreamCounters, StreamResult};
use models::{End, random_bytes, slow};
use prost::Message;

/// The most that the test waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(60);

const SIDE: u32 = 512;
const FRAMES: u32 = 120;

fn segmenter() -> Arc<Segmenter> {
    let mut options = Options::default();
    (options.provider, options.threads) = (Provider::Cpu, 1);
    Arc::new(Segmenter::from_memory(&slow(End::Low).encode_to_vec(), &options).unwrap())
}

/// The time of one frame, when it is warm.
fn inference_time(segmenter: &Segmenter, pixels: &[u8]) -> Duration {
    let frame = Frame::packed(PixelFormat::Bgr8, pixels, SIDE, SIDE, 0).unwrap();
    let mut mask = Mask::new();
    let times: Vec<Duration> = (0..9)
        .map(|_| {
            segmenter.segment(&frame, &mut mask).unwrap();
            mask.timings().total
        })
        .collect();
    quantile(&times, 0.5)
}

/// What the callback of [`feed`] saw of a result: its age and the time that the frame took.
type Seen = Vec<(Duration, Duration)>;

/// Pushes frames to a stream whose callback takes `pause`, twice as fast as the network is, which needs `time` for one;
/// gives what the callback saw, and the counters.
fn feed(segmenter: &Arc<Segmenter>, pixels: &[u8], time: Duration, pause: Duration) -> (Seen, StreamCounters) {
    let frame = Frame::packed(PixelFormat::Bgr8, pixels, SIDE, SIDE, 0).unwrap();
    let start = Instant::now();
    let seen = Arc::new(Mutex::new(Seen::new()));
    let callback = {
        let seen = Arc::clone(&seen);
        move |result: StreamResult<'_, u32>| {
            let age = start.elapsed() - Duration::from_nanos(result.timestamp as u64);
            seen.lock().unwrap().push((age, result.mask.unwrap().timings().total));
            thread::sleep(pause);
        }
    };
    let stream = Stream::new(Arc::clone(segmenter), Mask::new(), callback).unwrap();
    for number in 0..FRAMES {
        let due = number * time / 2;
        thread::sleep(due.saturating_sub(start.elapsed()));
        let before = Instant::now();
        stream.push(&frame, start.elapsed().as_nanos() as i64, number).unwrap();
        assert!(before.elapsed() < PATIENCE);
    }
    let waited = Instant::now();
    let finished = |c: StreamCounters| c.dropped + c.done + c.late + c.failed == u64::from(FRAMES);
    while !finished(stream.counters().unwrap()) {
        assert!(waited.elapsed() < PATIENCE, "the last result did not come");
        thread::sleep(Duration::from_millis(1));
    }
    stream.stop();
    let counters = stream.counters().unwrap();
    drop(stream);
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    (seen, counters)
}

fn quantile(values: &[Duration], part: f64) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort();
    sorted[((sorted.len() - 1) as f64 * part).round() as usize]
}

#[test]
fn results_of_a_source_that_is_twice_too_fast_are_fresh() {
    let segmenter = segmenter();
    let pixels = random_bytes(1, 3 * (SIDE * SIDE) as usize);
    for pause in [0, 2] {
        let time = inference_time(&segmenter, &pixels);
        let (seen, counters) = feed(&segmenter, &pixels, time, pause * time);
        let (ages, times): (Vec<_>, Vec<_>) = seen.iter().copied().unzip();
        let (typical, median, most) = (quantile(&times, 0.5), quantile(&ages, 0.5), quantile(&ages, 0.95));
        let ratio = |age: Duration| age.as_secs_f64() / typical.as_secs_f64();
        #[expect(clippy::print_stdout, reason = "`cargo test -- --nocapture` shows the figures")]
        {
            println!(
                "callback of {pause} inference times: {counters:?}; an inference takes {typical:.1?}; age of results in inference \
                 times: median {:.2}, 95 % {:.2}, highest {:.2}",
                ratio(median),
                ratio(most),
                ratio(quantile(&ages, 1.0)),
            );
        }
        assert!(median < 2 * typical && most < 2 * typical, "{ages:?} against {times:?}");
        // And none is older than the frame before it and itself took, but for what the machine does beside.
        for pair in seen.windows(2) {
            let ((_, before), (age, own)) = (pair[0], pair[1]);
            assert!(
                age < before + own + Duration::from_millis(50),
                "{age:?}, where frames took {before:?} and {own:?}"
            );
        }
        assert_eq!(
            (counters.pushed, counters.done, counters.late, counters.failed),
            (u64::from(FRAMES), seen.len() as u64, 0, 0)
        );
        assert!(counters.dropped >= 30, "{counters:?}");
    }
}
