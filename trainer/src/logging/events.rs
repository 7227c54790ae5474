//! TensorBoard event files: records in TFRecord's framing, each a protocol buffer `Event`. The
//! fields are those of `event.proto` and `summary.proto` in TensorBoard's folder `compat/proto`;
//! unused ones are not declared.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::{Message, Oneof};

use crate::error::{Error, Result};

/// The prefix of event file names, followed by a dot and the creation time in seconds. TensorBoard
/// reads a folder's files in name order.
const NAME: &str = "events.out.tfevents";
/// The first record of a file, which identifies the format.
const VERSION: &str = "brain.Event:2";
/// The status of a `SessionLog` that invalidates older files' data from this step on.
const START: i32 = 1;

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<SummaryValue>,
}

#[derive(Clone, PartialEq, Message)]
struct SummaryValue {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(oneof = "SummaryContent", tags = "2, 4")]
    content: Option<SummaryContent>,
}

#[derive(Clone, PartialEq, Oneof)]
enum SummaryContent {
    #[prost(float, tag = "2")]
    Number(f32),
    #[prost(message, tag = "4")]
    Image(SummaryImage),
}

/// An image in TensorBoard's form.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SummaryImage {
    /// Rows.
    #[prost(int32, tag = "1")]
    pub(super) height: i32,
    /// Columns.
    #[prost(int32, tag = "2")]
    pub(super) width: i32,
    /// 3 for red, green and blue.
    #[prost(int32, tag = "3")]
    pub(super) colorspace: i32,
    /// The bytes of a PNG or JPEG file.
    #[prost(bytes = "vec", tag = "4")]
    pub(super) encoded: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// An event file being written. Each record is passed to the system in one write.
#[derive(Debug)]
pub(super) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Starts a file in a run's folder. Older files' records from step `first` on become invalid: a
    /// run that was killed after its last checkpoint repeats these steps.
    pub(super) fn create(folder: &Path, first: u64) -> Result<EventFile> {
        let path = folder.join(format!("{NAME}.{:010}", next_second(folder)?));
        let file = File::create_new(&path).map_err(|error| failed(&path, &error))?;
        let mut events = EventFile { path, file };
        events.write(0, What::FileVersion(VERSION.to_owned()))?;
        events.write(first, What::SessionLog(SessionLog { status: START }))?;
        Ok(events)
    }

    /// Writes numbers under their tags.
    pub(super) fn numbers(&mut self, step: u64, numbers: Vec<(String, f64)>) -> Result<()> {
        let value = |(tag, number)| SummaryValue { tag, content: Some(SummaryContent::Number(number as f32)) };
        self.write(step, What::Summary(Summary { value: numbers.into_iter().map(value).collect() }))
    }

    /// Writes an image under its tag.
    pub(super) fn picture(&mut self, step: u64, tag: String, picture: SummaryImage) -> Result<()> {
        let value = vec![SummaryValue { tag, content: Some(SummaryContent::Image(picture)) }];
        self.write(step, What::Summary(Summary { value }))
    }

    /// Flushes all records to disk.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|error| failed(&self.path, &error))
    }

    fn write(&mut self, step: u64, what: What) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let event = Event { wall_time: now.as_secs_f64(), step: step as i64, what: Some(what) };
        self.file.write_all(&frame(&event.encode_to_vec())).map_err(|error| failed(&self.path, &error))
    }
}

/// A TFRecord: the length, its checksum, the data, its checksum; all little-endian.
fn frame(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let parts: [&[u8]; 4] = [&length, &masked_crc(&length), data, &masked_crc(data)];
    parts.concat()
}

/// TFRecord's checksum: a rotated and offset CRC-32C, so that checksums of data that contains
/// checksums also work.
fn masked_crc(data: &[u8]) -> [u8; 4] {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// The current second, or a later one if an older file uses it: names must sort in creation order.
fn next_second(folder: &Path) -> Result<u64> {
    let mut second = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    for entry in fs::read_dir(folder).map_err(|error| failed(folder, &error))? {
        let name = entry.map_err(|error| failed(folder, &error))?.file_name();
        let taken = name.to_str().and_then(|name| name.strip_prefix(NAME)?.strip_prefix('.')?.parse::<u64>().ok());
        second = second.max(taken.map_or(0, |taken| taken + 1));
    }
    Ok(second)
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::new(format!("{} cannot be written: {error}", path.display()))
}
