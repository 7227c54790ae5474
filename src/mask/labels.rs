//! [`LabelMap`]: a view of labels in memory, and measurements of them.

use super::components::{Components, RunSpan, StridedLabels};
use crate::{Error, MAX_SIDE, Rect, Result, Size};

/// A view of labels in memory: rows of `width` bytes.
#[derive(Debug, Clone, Copy)]
pub struct LabelMap<'a> {
    labels: &'a [u8],
    width: usize,
    height: usize,
    stride: usize,
}

/// The pixels of one label.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Region {
    /// The number of pixels.
    pub pixels: u64,
    /// The bounding box; all zero if there are no pixels.
    pub bounds: Rect,
    /// The mean column and row, with (0, 0) at the centre of the upper left pixel; 0 if there are
    /// no pixels.
    pub centroid: (f64, f64),
}

impl<'a> LabelMap<'a> {
    /// Creates a view of `height` rows of `width` labels, both at least 1, `stride` bytes apart. 0
    /// means rows without padding. The last row may end without padding.
    pub fn new(labels: &'a [u8], width: u32, height: u32, stride: usize) -> Result<Self> {
        let size = Size::new(width as usize, height as usize);
        let stride = label_stride(labels.len(), size, stride)?;
        Ok(LabelMap { labels, width: size.width, height: size.height, stride })
    }

    /// Columns.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width as u32
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height as u32
    }

    /// The rows from top to bottom.
    pub fn rows(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let width = self.width;
        self.labels.chunks(self.stride).take(self.height).map(move |row| &row[..width])
    }

    /// Row `y`.
    pub(crate) fn row(&self, y: usize) -> &'a [u8] {
        &self.labels[y * self.stride..][..self.width]
    }

    /// Pixel count, bounding box and centroid of each label from 0 to 255, in one pass.
    pub fn regions(&self) -> [Region; 256] {
        let mut sums = [Sums::EMPTY; 256];
        for (y, row) in (0u64..).zip(self.rows()) {
            let mut x = 0u64;
            // Labels come in runs, and adding a run is as fast as adding a pixel.
            for run in row.chunk_by(|left, right| left == right) {
                let length = run.len() as u64;
                sums[usize::from(run[0])].add(x, y, length);
                x += length;
            }
        }
        sums.map(Sums::region)
    }

    /// [`LabelMap::regions`] without specks: only pixels in 8-connected regions of at least
    /// `min_area` pixels count. Takes up to 12 bytes per pixel; each side is at most [`MAX_SIDE`].
    pub fn regions_filtered(&self, min_area: u32) -> Result<[Region; 256]> {
        if self.width.max(self.height) > MAX_SIDE as usize {
            return Err(Error::InvalidArgument(format!(
                "labels of {} x {} pixels are too large for finding regions; each side must be at \
                 most {MAX_SIDE}",
                self.width, self.height
            )));
        }
        let labels = StridedLabels { labels: self.labels, stride: self.stride };
        let size = Size::new(self.width, self.height);
        let mut components = Components::default();
        components.prepare(size)?;
        components.find(labels, size, true);
        let mut sums = [Sums::EMPTY; 256];
        for run in 0..components.count() {
            if components.region_pixels(run) >= min_area {
                let RunSpan { y, columns } = components.span(run);
                sums[usize::from(components.label(labels, run))].add(
                    columns.start as u64,
                    y as u64,
                    columns.len() as u64,
                );
            }
        }
        Ok(sums.map(Sums::region))
    }
}

/// The sums for one label.
#[derive(Clone, Copy)]
struct Sums {
    pixels: u64,
    /// The sums of the columns and rows of all pixels.
    x: u64,
    y: u64,
    left: u64,
    right: u64,
    top: u64,
    bottom: u64,
}

impl Sums {
    const EMPTY: Sums = Sums { pixels: 0, x: 0, y: 0, left: u64::MAX, right: 0, top: u64::MAX, bottom: 0 };

    /// Adds `length` pixels, from (x, y) to the right.
    fn add(&mut self, x: u64, y: u64, length: u64) {
        self.pixels += length;
        self.x += length * x + length * (length - 1) / 2;
        self.y += length * y;
        self.left = self.left.min(x);
        self.right = self.right.max(x + length - 1);
        self.top = self.top.min(y);
        self.bottom = y;
    }

    fn region(self) -> Region {
        if self.pixels == 0 {
            return Region::default();
        }
        let mean = |sum: u64| sum as f64 / self.pixels as f64;
        Region {
            pixels: self.pixels,
            bounds: Rect {
                x: self.left as u32,
                y: self.top as u32,
                width: (self.right - self.left + 1) as u32,
                height: (self.bottom - self.top + 1) as u32,
            },
            centroid: (mean(self.x), mean(self.y)),
        }
    }
}

/// The stride of labels of this size, which is the width if `stride` is 0. Fails if
/// `bytes` are too few.
pub(crate) fn label_stride(bytes: usize, size: Size, stride: usize) -> Result<usize> {
    let Size { width, height } = size;
    if width == 0 || height == 0 {
        return Err(Error::InvalidArgument(format!("labels of {size} pixels are empty; each side must be at least 1")));
    }
    let stride = if stride == 0 { width } else { stride };
    if stride < width {
        return Err(Error::InvalidArgument(format!("stride {stride} is less than the {width} labels of a row")));
    }
    let needed = stride.checked_mul(height - 1).and_then(|rows| rows.checked_add(width));
    if needed.is_none_or(|needed| needed > bytes) {
        return Err(Error::InvalidArgument(format!(
            "{bytes} bytes are fewer than labels of {size} pixels with stride {stride} need"
        )));
    }
    Ok(stride)
}

#[cfg(test)]
mod tests {
    use super::{
        super::components::regions::{Random, flooded, picture},
        *,
    };

    #[test]
    fn regions_are_what_counting_each_pixel_gives() {
        let (width, height, stride) = (13, 9, 16);
        let mut labels = vec![77u8; stride * (height - 1) + width];
        for (i, label) in labels.iter_mut().enumerate() {
            // Runs of different lengths, also across row ends.
            *label = [0, 0, 0, 3, 3, 9, 255][(i * i / 5) % 7];
        }
        let map = LabelMap::new(&labels, width as u32, height as u32, stride).unwrap();
        let regions = map.regions();
        for label in 0..=255u8 {
            let found: Vec<(usize, usize)> = (0..height)
                .flat_map(|y| (0..width).map(move |x| (x, y)))
                .filter(|&(x, y)| labels[y * stride + x] == label)
                .collect();
            let region = regions[usize::from(label)];
            assert_eq!(region.pixels, found.len() as u64, "label {label}");
            if found.is_empty() {
                assert_eq!(region, Region::default());
                continue;
            }
            let xs = || found.iter().map(|&(x, _)| x as u32);
            let ys = || found.iter().map(|&(_, y)| y as u32);
            let (x, y) = (xs().min().unwrap(), ys().min().unwrap());
            let bounds = Rect { x, y, width: xs().max().unwrap() - x + 1, height: ys().max().unwrap() - y + 1 };
            assert_eq!(region.bounds, bounds, "label {label}");
            let mean = |sum: u32| f64::from(sum) / found.len() as f64;
            assert_eq!(region.centroid, (mean(xs().sum()), mean(ys().sum())), "label {label}");
        }
        assert!([0, 3, 9, 255].iter().all(|&label: &usize| regions[label].pixels > 0));
    }

    #[test]
    fn filtered_regions_are_those_of_labels_without_specks() {
        let mut random = Random(3);
        let mut left_out = 0;
        for number in 0..1000 {
            let (labels, width) = picture(&mut random);
            let height = labels.len() / width;
            let map = LabelMap::new(&labels, width as u32, height as u32, 0).unwrap();
            for min_area in [0, 1, 2, 7, 40] {
                // Small regions get a label that does not occur otherwise.
                let mut cleaned = labels.clone();
                for region in flooded(&labels, width, true).iter().filter(|region| region.len() < min_area) {
                    region.iter().for_each(|&at| cleaned[at] = 100);
                }
                let mut expected = LabelMap::new(&cleaned, width as u32, height as u32, 0).unwrap().regions();
                left_out += std::mem::take(&mut expected[100]).pixels;
                assert_eq!(map.regions_filtered(min_area as u32).unwrap(), expected, "picture {number}, {min_area}");
            }
        }
        assert!(left_out > 1000);
        let row = vec![0; 32768];
        assert_eq!(LabelMap::new(&row, 32767, 1, 0).unwrap().regions_filtered(9).unwrap()[0].pixels, 32767);
        let error = LabelMap::new(&row, 32768, 1, 0).unwrap().regions_filtered(9).unwrap_err().to_string();
        assert!(error.contains("32768 x 1") && error.contains("at most 32767"), "{error}");
    }

    #[test]
    fn labels_that_do_not_fit_are_refused() {
        for (bytes, width, height, stride, words) in [
            (0, 0, 0, 0, "0 x 0"),
            (9, 10, 1, 0, "9 bytes are fewer"),
            (20, 10, 2, 9, "stride 9 is less"),
            (20, 10, 2, 11, "20 bytes are fewer"),
            (20, 10, 2, usize::MAX, "20 bytes are fewer"),
        ] {
            let labels = vec![0; bytes];
            let error = LabelMap::new(&labels, width, height, stride).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        assert!(LabelMap::new(&[0; 21], 10, 2, 11).is_ok());
    }
}
