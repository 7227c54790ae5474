//! `metrics.csv`: a run's measurements, one line per log point.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use csv::StringRecord;
use fcn::file;
use fcn::palette::Class;

use super::{MetricsRow, TrainingWindow, Validation};
use crate::error::{Error, Result};

/// The columns before the class columns, which are called `iou/NAME`.
const COLUMNS: [&str; 12] = [
    "step",
    "epoch",
    "learning_rate",
    "loss",
    "accuracy",
    "seconds",
    "examples_per_second",
    "val_seconds",
    "val_accuracy",
    "val_mean_accuracy",
    "val_miou",
    "val_frequency_weighted_iou",
];

/// The table in a run's folder.
pub fn path(run: &Path) -> PathBuf {
    run.join("metrics.csv")
}

/// A table being written. Each line is passed to the system in one write.
#[derive(Debug)]
pub(super) struct Table {
    path: PathBuf,
    file: File,
}

impl Table {
    /// Opens a run's table for appending after the lines of the steps before `first`. Later lines,
    /// left by a run that was killed after its last checkpoint, are cut off by replacing the whole
    /// file.
    pub(super) fn open(run: &Path, classes: &[Class], first: u64) -> Result<Table> {
        let path = path(run);
        let header = header(classes);
        let mut lines = vec![line(&header)];
        if first > 1 && path.exists() {
            let (found, records) = records(&path)?;
            if found != header {
                return Err(Error::new(format!(
                    "{} has other columns than this trainer writes; move it away to go on with a new one",
                    path.display()
                )));
            }
            let kept = records.iter().filter(|record| record.get(0).is_some_and(|step| is_before(step, first)));
            lines.extend(kept.map(line));
        }
        file::write(&path, lines.concat().as_bytes())?;
        let file = File::options().append(true).open(&path).map_err(|error| failed(&path, &error))?;
        Ok(Table { path, file })
    }

    /// Appends a line.
    pub(super) fn append(&mut self, row: &MetricsRow) -> Result<()> {
        self.file.write_all(line(&fields(row)).as_bytes()).map_err(|error| failed(&self.path, &error))
    }

    /// Flushes all lines to disk.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|error| failed(&self.path, &error))
    }
}

/// Reads the table in a run's folder, without incomplete lines.
pub fn read(run: &Path, classes: &[Class]) -> Result<Vec<MetricsRow>> {
    let path = path(run);
    let (found, records) = records(&path)?;
    if found != header(classes) {
        return Err(Error::new(format!("{} has other columns than a run with these classes writes", path.display())));
    }
    Ok(records.iter().filter_map(row).collect())
}

fn header(classes: &[Class]) -> StringRecord {
    COLUMNS.into_iter().map(str::to_owned).chain(classes.iter().map(|class| format!("iou/{}", class.name))).collect()
}

/// The header and the complete lines.
fn records(path: &Path) -> Result<(StringRecord, Vec<StringRecord>)> {
    let failed = |error: csv::Error| Error::new(format!("{} cannot be read: {error}", path.display()));
    let text = fcn::file::read_whole(path).map_err(|error| failed(error.into()))?;
    let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(&text[..whole]);
    let header = reader.headers().map_err(failed)?.clone();
    let mut records = reader.records().collect::<std::result::Result<Vec<_>, _>>().map_err(failed)?;
    records.retain(|record| record.len() == header.len());
    Ok((header, records))
}

fn is_before(step: &str, first: u64) -> bool {
    step.parse::<u64>().is_ok_and(|step| step < first)
}

fn fields(row: &MetricsRow) -> StringRecord {
    let train = row.train.as_ref();
    let val = row.val.as_ref();
    let mut fields = vec![
        row.step.to_string(),
        row.epoch.to_string(),
        number(Some(row.learning_rate)),
        number(train.map(|train| train.loss)),
        number(train.map(|train| train.accuracy)),
        number(train.map(|train| train.seconds)),
        number(train.map(|train| train.examples_per_second)),
        number(val.map(|val| val.seconds)),
        number(val.map(|val| val.accuracy)),
        number(val.map(|val| val.mean_accuracy)),
        number(val.map(|val| val.miou)),
        number(val.map(|val| val.frequency_weighted_iou)),
    ];
    let ious = |class| number(val.and_then(|val| val.iou[class]));
    fields.extend((0..row.classes).map(ious));
    fields.into()
}

fn row(record: &StringRecord) -> Option<MetricsRow> {
    let field = |index: usize| record.get(index).and_then(|text| text.parse::<f64>().ok());
    let or_nan = |index| field(index).unwrap_or(f64::NAN);
    let train = field(5).map(|seconds| TrainingWindow {
        loss: or_nan(3),
        accuracy: or_nan(4),
        seconds,
        examples_per_second: or_nan(6),
    });
    let val = field(7).map(|seconds| Validation {
        seconds,
        accuracy: or_nan(8),
        mean_accuracy: or_nan(9),
        miou: or_nan(10),
        frequency_weighted_iou: or_nan(11),
        iou: (COLUMNS.len()..record.len()).map(field).collect(),
    });
    Some(MetricsRow {
        step: record.get(0)?.parse().ok()?,
        epoch: record.get(1)?.parse().ok()?,
        learning_rate: field(2)?,
        train,
        val,
        classes: record.len() - COLUMNS.len(),
    })
}

/// Empty if there is no number.
fn number(value: Option<f64>) -> String {
    value.filter(|value| value.is_finite()).map_or(String::new(), |value| value.to_string())
}

/// A line of the file, with class names quoted if necessary.
fn line(record: &StringRecord) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(record).expect("memory takes every record");
    let bytes = writer.into_inner().expect("memory takes every record");
    String::from_utf8(bytes).expect("a record of text is text")
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::new(format!("{} cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(step: u64, val: bool) -> MetricsRow {
        let val = val.then(|| Validation {
            seconds: 0.5,
            accuracy: 0.1 + 0.2,
            mean_accuracy: 0.25,
            miou: 1.0 / 3.0,
            frequency_weighted_iou: 0.125,
            iou: vec![Some(2.0 / 3.0), None],
        });
        let train = TrainingWindow { loss: 1e-7 / 3.0, accuracy: 0.75, seconds: 2.0, examples_per_second: 4.0 };
        MetricsRow { step, epoch: 1 + step / 10, learning_rate: 0.02, train: Some(train), val, classes: 2 }
    }

    fn classes() -> Vec<Class> {
        ["floor", "wall, \"old\""].map(|name| Class { name: name.to_owned(), color: [0; 3] }).to_vec()
    }

    fn steps(rows: &[MetricsRow]) -> Vec<u64> {
        rows.iter().map(|row| row.step).collect()
    }

    #[test]
    fn what_is_written_is_read_to_the_last_bit() {
        let run = tempfile::tempdir().unwrap();
        let mut table = Table::open(run.path(), &classes(), 1).unwrap();
        let rows = [row(5, false), row(10, true), MetricsRow { train: None, ..row(15, false) }];
        rows.iter().for_each(|row| table.append(row).unwrap());
        assert_eq!(read(run.path(), &classes()).unwrap(), rows);
        let text = std::fs::read_to_string(path(run.path())).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].ends_with(",val_frequency_weighted_iou,iou/floor,\"iou/wall, \"\"old\"\"\""), "{text}");
        assert_eq!(lines[3], "15,2,0.02,,,,,,,,,,,");
    }

    #[test]
    fn lines_of_steps_to_come_are_cut_off() {
        let run = tempfile::tempdir().unwrap();
        let mut table = Table::open(run.path(), &classes(), 1).unwrap();
        (1..=4).for_each(|n| table.append(&row(5 * n, false)).unwrap());
        // The state after a kill in the middle of a write.
        table.file.write_all(b"25,3,0.0").unwrap();
        assert_eq!(steps(&read(run.path(), &classes()).unwrap()), [5, 10, 15, 20]);
        let mut table = Table::open(run.path(), &classes(), 15).unwrap();
        table.append(&row(15, true)).unwrap();
        assert_eq!(steps(&read(run.path(), &classes()).unwrap()), [5, 10, 15]);

        let error = Table::open(run.path(), &classes()[..1], 10).unwrap_err().to_string();
        assert!(error.contains("metrics.csv has other columns"), "{error}");
        Table::open(run.path(), &classes()[..1], 1).unwrap();
        assert_eq!(read(run.path(), &classes()[..1]).unwrap(), []);
    }
}
