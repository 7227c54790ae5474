//! Labels videos and cameras: ffmpeg decodes them to a pipe, and encodes the overlays.
//!
//! Frames travel as PPM images, which carry their size, after any rotation of the video. They are
//! RGB, because overlays are drawn in RGB.

use std::{
    ffi::OsString,
    fs,
    io::{BufRead, BufReader, BufWriter, Read, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        atomic::Ordering,
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use fcn::{Frame, Image, Mask, PixelFormat};
use fcn_cli::{Result, inputs::Input, plan::Job};
use serde_json::{Value, json};

use crate::run::{Context, make_parent};

/// Frames between ffmpeg and the network: one is being read while another is labelled.
const QUEUE: usize = 2;
/// Larger sides are no frame of a camera or video that libfcn labels.
const MAX_SIDE: u32 = fcn::MAX_SIDE;

/// How long ffplay may go on showing frames when a video has ended.
const SHOWN: Duration = Duration::from_secs(10);

/// Fails if a program is missing.
pub(crate) fn find_tools(show: bool) -> Result<()> {
    let tools = if show { &["ffmpeg", "ffprobe", "ffplay"][..] } else { &["ffmpeg", "ffprobe"] };
    for tool in tools {
        let found = Command::new(tool).arg("-version").stdin(Stdio::null()).output();
        if found.is_err() {
            return Err(format!("videos need {tool}, which is not on the PATH; install ffmpeg"));
        }
    }
    Ok(())
}

/// Labels a video and writes its outputs under temporary names; the last step renames them.
pub(crate) fn run(context: &Context, job: &Job) -> Result<Value> {
    let source = Source::probe(&job.input)?;
    if let Some(output) = job.outputs().next() {
        make_parent(output)?;
    }
    let start = Instant::now();
    let mut decoder = source.decode()?;
    let frames = Frames::of(&mut decoder)?;
    let mut sinks = Sinks::open(context, job, &source)?;
    let outcome = label(context, frames, &mut sinks, &source);
    let stopped = context.stopped.load(Ordering::Relaxed);
    // A stopped recording of a camera is whole; a stopped video has to be made again.
    let live = matches!(job.input, Input::Live(_));
    if outcome.is_err() || stopped {
        let _ = decoder.kill();
    }
    let status = decoder.wait().map_err(|error| format!("ffmpeg: {error}"))?;
    let count = match outcome {
        Ok(count) if !stopped || live => count,
        outcome => {
            sinks.discard();
            outcome?;
            return Err("stopped".into());
        }
    };
    if !stopped && !status.success() {
        sinks.discard();
        return Err(format!("ffmpeg cannot decode it all: it ended with {status} after {count} frames"));
    }
    if count == 0 {
        sinks.discard();
        return Err("it has no frame".into());
    }
    sinks.finish()?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(json!({"frames": count, "seconds": seconds, "frames_per_second": count as f64 / seconds}))
}

/// Labels each frame and hands it to the sinks. Returns their number.
fn label(context: &Context, frames: Frames, sinks: &mut Sinks, source: &Source) -> Result<u64> {
    let mut mask = context.mask()?;
    let (mut count, mut shown) = (0u64, Instant::now());
    let start = Instant::now();
    while !context.stopped.load(Ordering::Relaxed) {
        let Some(mut image) = frames.next()? else { break };
        let frame = Frame::packed(PixelFormat::Rgb8, &image.pixels, image.width, image.height, 0);
        let result = frame.and_then(|frame| context.segmenter.segment(&frame, &mut mask));
        result.map_err(|error| format!("frame {count}: {error}"))?;
        count += 1;
        sinks.add(context, &mask, &mut image, count)?;
        frames.recycle(image);
        if shown.elapsed() > Duration::from_millis(500) {
            shown = Instant::now();
            let rate = count as f64 / start.elapsed().as_secs_f64();
            let of = source.frames.map_or(String::new(), |frames| format!(" of {frames}"));
            context.progress.set_message(format!("(frame {count}{of}, {rate:.1} frames/s)"));
        }
    }
    Ok(count)
}

/// What ffprobe says about a video.
struct Source {
    input: OsString,
    /// Options for ffmpeg before `-i`.
    options: Vec<&'static str>,
    /// Frames per second as ffmpeg writes it: `30000/1001`.
    rate: String,
    /// The number of frames, if it is known.
    frames: Option<u64>,
    live: bool,
}

impl Source {
    fn probe(input: &Input) -> Result<Source> {
        let live = matches!(input, Input::Live(_));
        let name = input.name();
        let options = if name.starts_with("/dev/video") {
            vec!["-f", "v4l2"]
        } else if name.starts_with("rtsp") {
            vec!["-rtsp_transport", "tcp"]
        } else {
            Vec::new()
        };
        // A file whose name looks like an option or an address stays a file.
        let mut address = OsString::from(if live { "" } else { "file:" });
        address.push(input.path());
        let input = address;
        let output = Command::new("ffprobe")
            .args(["-v", "error", "-select_streams", "v:0", "-of", "json"])
            .args(["-show_entries", "stream=avg_frame_rate,r_frame_rate,nb_frames:format=duration"])
            .args(&options)
            .arg("-i")
            .arg(&input)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("cannot start ffprobe: {error}"))?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr);
            return Err(format!("ffprobe cannot open it: {}", fcn::plain(message.trim())));
        }
        let found: Value = serde_json::from_slice(&output.stdout).map_err(|error| format!("ffprobe: {error}"))?;
        let stream = &found["streams"][0];
        if stream.is_null() {
            return Err("it has no video".into());
        }
        let text = |key: &str| stream[key].as_str().filter(|text| rate(text).is_some()).map(str::to_owned);
        let rate_text = text("avg_frame_rate").or_else(|| text("r_frame_rate")).unwrap_or_else(|| "25".to_owned());
        let duration = found["format"]["duration"].as_str().and_then(|text| text.parse::<f64>().ok());
        let counted = stream["nb_frames"].as_str().and_then(|text| text.parse().ok());
        let frames = counted.or_else(|| Some((duration? * rate(&rate_text)?).round() as u64));
        Ok(Source { input, options, rate: rate_text, frames, live })
    }

    /// Starts the decoder. It is not in the terminal's process group, so Ctrl-C reaches only this
    /// program, which then ends the output in order.
    fn decode(&self) -> Result<Child> {
        Command::new("ffmpeg")
            .args(["-v", "error", "-nostdin"])
            .args(&self.options)
            .arg("-i")
            .arg(&self.input)
            .args(["-map", "0:v:0", "-r", &self.rate, "-f", "image2pipe", "-c:v", "ppm", "-"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| format!("cannot start ffmpeg: {error}"))
    }
}

/// Frames per second, if `text` is a positive fraction.
fn rate(text: &str) -> Option<f64> {
    let (above, below) = text.split_once('/').unwrap_or((text, "1"));
    let rate = above.parse::<f64>().ok()? / below.parse::<f64>().ok()?;
    (rate.is_finite() && rate > 0.0).then_some(rate)
}

/// Frames that a thread reads from the decoder.
struct Frames {
    ready: Receiver<Result<Image>>,
    used: Sender<Image>,
}

impl Frames {
    fn of(decoder: &mut Child) -> Result<Frames> {
        let pipe = decoder.stdout.take().ok_or("ffmpeg has no output")?;
        let (frames, ready) = sync_channel(QUEUE);
        let (used, recycled) = channel();
        thread::Builder::new()
            .name("frames".into())
            .spawn(move || read_all(pipe, &frames, &recycled))
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Frames { ready, used })
    }

    fn next(&self) -> Result<Option<Image>> {
        self.ready.recv().ok().transpose()
    }

    /// Gives the memory of a frame back to the reader.
    fn recycle(&self, image: Image) {
        let _ = self.used.send(image);
    }
}

fn read_all(pipe: ChildStdout, frames: &SyncSender<Result<Image>>, recycled: &Receiver<Image>) {
    let mut pipe = BufReader::with_capacity(1 << 20, pipe);
    loop {
        let memory = recycled.try_recv().map(|image| image.pixels).unwrap_or_default();
        let Some(frame) = read_ppm(&mut pipe, memory).transpose() else { return };
        let broken = frame.is_err();
        if frames.send(frame).is_err() || broken {
            return;
        }
    }
}

/// Reads a PPM image as ffmpeg writes it: `P6`, width and height, 255, and the pixels. Returns
/// `None` at the end.
fn read_ppm(pipe: &mut impl BufRead, memory: Vec<u8>) -> Result<Option<Image>> {
    let failed = |error: std::io::Error| format!("the pipe from ffmpeg: {error}");
    if pipe.fill_buf().map_err(failed)?.is_empty() {
        return Ok(None);
    }
    let mut line = || -> Result<String> {
        let mut line = String::new();
        pipe.by_ref().take(64).read_line(&mut line).map_err(failed)?;
        Ok(line.trim_end().to_owned())
    };
    let (magic, size, most) = (line()?, line()?, line()?);
    let side = |side: &str| side.parse::<u32>().ok().filter(|side| (1..=MAX_SIDE).contains(side));
    let sides = size.split_once(' ').and_then(|(width, height)| Some((side(width)?, side(height)?)));
    let (Some((width, height)), "P6", "255") = (sides, magic.as_str(), most.as_str()) else {
        return Err(format!("ffmpeg wrote a frame of {} pixels, which cannot be labelled", fcn::plain(&size)));
    };
    let mut pixels = memory;
    pixels.resize(width as usize * height as usize * 3, 0);
    match pipe.read_exact(&mut pixels) {
        // The decoder was stopped within a frame.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(failed(error)),
        Ok(()) => Ok(Some(Image { width, height, pixels })),
    }
}

fn write_ppm(pipe: &mut impl Write, image: &Image) -> std::io::Result<()> {
    writeln!(pipe, "P6\n{} {}\n255", image.width, image.height)?;
    pipe.write_all(&image.pixels)
}

/// Where the results of a video go.
struct Sinks {
    overlay: Option<(Encoder, PathBuf)>,
    /// A temporary folder and its later name.
    labels: Option<(PathBuf, PathBuf)>,
    /// A temporary file and its later name.
    rle: Option<(BufWriter<fs::File>, PathBuf, PathBuf)>,
    player: Option<Encoder>,
}

impl Sinks {
    fn open(context: &Context, job: &Job, source: &Source) -> Result<Sinks> {
        let mut sinks = Sinks { overlay: None, labels: None, rle: None, player: None };
        if let Some(path) = &job.overlay {
            let temporary = unfinished(path);
            sinks.overlay = Some((Encoder::file(source, temporary)?, path.clone()));
        }
        if let Some(path) = &job.labels {
            let temporary = unfinished(path);
            let _ = fs::remove_dir_all(&temporary);
            fs::create_dir(&temporary)
                .map_err(|error| format!("cannot create the folder {}: {error}", temporary.display()))?;
            sinks.labels = Some((temporary, path.clone()));
        }
        if let Some(path) = &job.rle {
            let temporary = unfinished(path);
            let file = fs::File::create(&temporary)
                .map_err(|error| format!("cannot create {}: {error}", temporary.display()))?;
            sinks.rle = Some((BufWriter::new(file), temporary, path.clone()));
        }
        if context.shows() {
            sinks.player = Some(Encoder::player(source)?);
        }
        Ok(sinks)
    }

    fn add(&mut self, context: &Context, mask: &Mask, image: &mut Image, number: u64) -> Result<()> {
        let results = context.results();
        if let Some((folder, _)) = &self.labels {
            let path = folder.join(format!("{number:06}.png"));
            results.write_labels(&path, mask.labels(), mask.width(), mask.height())?;
        }
        if let Some((file, temporary, _)) = &mut self.rle {
            let runs = results.encode(mask.labels(), mask.width(), mask.height());
            writeln!(file, "{runs}").map_err(|error| format!("{}: {error}", temporary.display()))?;
        }
        if self.overlay.is_some() || self.player.is_some() {
            results.draw(image, mask.labels())?;
        }
        if let Some((encoder, _)) = &mut self.overlay {
            encoder.add(image)?;
        }
        // A closed window does not end the run.
        if self.player.as_mut().is_some_and(|player| player.add(image).is_err()) {
            self.player = None;
        }
        Ok(())
    }

    /// Gives the outputs their names, when they are whole and on the disk.
    fn finish(self) -> Result<()> {
        if let Some((encoder, path)) = self.overlay {
            let temporary = encoder.finish()?;
            rename(&temporary, &path)?;
        }
        if let Some((temporary, path)) = self.labels {
            if path.is_dir() {
                fs::remove_dir_all(&path).map_err(|error| format!("cannot replace {}: {error}", path.display()))?;
            }
            rename(&temporary, &path)?;
        }
        if let Some((file, temporary, path)) = self.rle {
            file.into_inner().map_err(|error| format!("{}: {error}", temporary.display()))?;
            rename(&temporary, &path)?;
        }
        if let Some(player) = self.player {
            player.close()?;
        }
        Ok(())
    }

    /// Removes what is not whole.
    fn discard(self) {
        if let Some((encoder, _)) = self.overlay {
            let temporary = encoder.output.clone();
            drop(encoder);
            let _ = fs::remove_file(temporary);
        }
        if let Some((temporary, _)) = self.labels {
            let _ = fs::remove_dir_all(temporary);
        }
        if let Some((_, temporary, _)) = self.rle {
            let _ = fs::remove_file(temporary);
        }
    }
}

/// `.NAME.part.mp4` next to NAME.mp4: ffmpeg chooses the format by the extension.
fn unfinished(path: &Path) -> PathBuf {
    let stem = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
    let extension = path.extension().map_or(String::new(), |end| format!(".{}", end.to_string_lossy()));
    path.with_file_name(format!(".{stem}.part{extension}"))
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    let sync = |path: &Path| fs::File::open(path).and_then(|file| file.sync_all());
    sync(from)
        .and_then(|()| fs::rename(from, to))
        .and_then(|()| sync(to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))))
        .map_err(|error| format!("cannot write {}: {error}", to.display()))
}

/// A program that takes frames from its standard input.
struct Encoder {
    child: Child,
    pipe: Option<BufWriter<ChildStdin>>,
    output: PathBuf,
    name: &'static str,
}

impl Encoder {
    /// ffmpeg, which writes `output` with the sound of the source.
    fn file(source: &Source, output: PathBuf) -> Result<Encoder> {
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-y", "-f", "image2pipe", "-c:v", "ppm", "-framerate", &source.rate, "-i", "-"]);
        if !source.live {
            command.arg("-i").arg(&source.input).args(["-map", "0:v", "-map", "1:a?", "-c:a", "copy"]);
        }
        // Players expect 4:2:0, which has even sides.
        command.args(["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p"]).arg(&output);
        Encoder::start(command, output, "ffmpeg")
    }

    /// ffplay, which shows frames in a window.
    fn player(source: &Source) -> Result<Encoder> {
        let mut command = Command::new("ffplay");
        command.args([
            "-v",
            "error",
            "-autoexit",
            "-f",
            "image2pipe",
            "-framerate",
            &source.rate,
            "-vcodec",
            "ppm",
            "-",
        ]);
        Encoder::start(command, PathBuf::new(), "ffplay")
    }

    fn start(mut command: Command, output: PathBuf, name: &'static str) -> Result<Encoder> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|error| format!("cannot start {name}: {error}"))?;
        let pipe = child.stdin.take().map(|pipe| BufWriter::with_capacity(1 << 20, pipe));
        Ok(Encoder { child, pipe, output, name })
    }

    fn add(&mut self, image: &Image) -> Result<()> {
        let pipe = self.pipe.as_mut().ok_or("the encoder has ended")?;
        write_ppm(pipe, image).map_err(|error| format!("{} takes no more frames: {error}", self.name))
    }

    /// Waits until the program has written everything. Returns the output's name.
    fn finish(mut self) -> Result<PathBuf> {
        if let Some(pipe) = self.pipe.take() {
            pipe.into_inner().map_err(|error| format!("{} takes no more frames: {error}", self.name))?;
        }
        let status = self.child.wait().map_err(|error| format!("{}: {error}", self.name))?;
        if !status.success() {
            return Err(format!("ffmpeg cannot encode the overlays: it ended with {status}"));
        }
        Ok(std::mem::take(&mut self.output))
    }

    /// Waits until the player has shown what it has, and ends it if it does not end by itself:
    /// after videos of a few frames, ffplay waits forever.
    fn close(mut self) -> Result<()> {
        // A closed window takes no more frames.
        drop(self.pipe.take());
        let end = Instant::now() + SHOWN;
        while Instant::now() < end {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(20)),
                Ok(Some(_)) => return Ok(()),
                Err(error) => return Err(format!("{}: {error}", self.name)),
            }
        }
        self.child.kill().map_err(|error| format!("{}: {error}", self.name))
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        if self.pipe.take().is_some() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_were_written() {
        let images = [(2u32, 1u32), (1, 3)].map(|(width, height)| Image {
            width,
            height,
            pixels: (0..width * height * 3).map(|value| value as u8).collect(),
        });
        let mut bytes = Vec::new();
        images.iter().for_each(|image| write_ppm(&mut bytes, image).unwrap());
        let mut pipe = &bytes[..];
        for image in &images {
            let read = read_ppm(&mut pipe, vec![9; 100]).unwrap().unwrap();
            assert_eq!((read.width, read.height, &read.pixels), (image.width, image.height, &image.pixels));
        }
        assert!(read_ppm(&mut pipe, Vec::new()).unwrap().is_none());
        // Cut off within a frame.
        assert!(read_ppm(&mut &bytes[..bytes.len() - 1], Vec::new()).unwrap().is_some());
        let mut cut = &bytes[..12];
        assert!(read_ppm(&mut cut, Vec::new()).unwrap().is_none());
    }

    #[test]
    fn other_bytes_are_no_frames() {
        for bytes in [
            "P5\n2 1\n255\nxxxxxx",
            "P6\n0 1\n255\n",
            "P6\n2\n255\nxxxxxx",
            "P6\n2 1\n65535\nxxxxxx",
            "P6\n32768 1\n255\nx",
        ] {
            assert!(read_ppm(&mut bytes.as_bytes(), Vec::new()).is_err(), "{bytes}");
        }
        assert!(read_ppm(&mut "P6\n2 1\n255\nxxxxxx".as_bytes(), Vec::new()).unwrap().is_some());
    }

    #[test]
    fn rates_are_positive_fractions() {
        assert_eq!(rate("30000/1001"), Some(30000.0 / 1001.0));
        assert_eq!(rate("25"), Some(25.0));
        for none in ["0/0", "1/0", "0/1", "-5/1", "x", ""] {
            assert_eq!(rate(none), None, "{none}");
        }
    }
}
