//! [`Frame`]: an image in the caller's memory, checked once and then trusted.

mod copy;

use crate::{ColorMatrix, ColorRange, Error, PixelFormat, Result, Size, color::Conversion, format::Samples};
pub(crate) use copy::FrameCopy;

/// The largest width or height of a frame.
pub const MAX_SIDE: u32 = 32767;

/// A rectangle of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rect {
    /// Leftmost column.
    pub x: u32,
    /// Topmost row.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// Clockwise rotation of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rotation {
    /// As stored.
    #[default]
    None,
    /// 90 degrees clockwise: swaps width and height.
    Clockwise90,
    /// 180 degrees.
    Half,
    /// 90 degrees counter-clockwise: swaps width and height.
    CounterClockwise90,
}

/// An image in the caller's memory: borrowed, never copied.
///
/// Crop, rotation and mirror copy nothing: they change where a row starts and in which direction it
/// is read. A crop may start and end within a chroma group.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    planes: [&'a [u8]; 3],
    /// Start of the first row in each plane.
    starts: [usize; 3],
    /// Bytes from row to row, negative for bottom-up planes.
    strides: [isize; 3],
    format: PixelFormat,
    matrix: ColorMatrix,
    range: ColorRange,
    width: u32,
    height: u32,
    /// Width and height of the image that the frame is a part of.
    whole: (u32, u32),
    /// Column and row in that image of the first pixel in memory: (0, 0) unless a part was copied.
    base: [usize; 2],
    /// Column and row in memory of pixel (0, 0).
    origin: [usize; 2],
    /// Step in memory (columns, rows) from a pixel to its right neighbour.
    step_x: [isize; 2],
    /// Step in memory (columns, rows) from a pixel to the one below.
    step_y: [isize; 2],
}

/// The part of an image that a frame shows, and its orientation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameView {
    whole: (u32, u32),
    size: (u32, u32),
    origin: [usize; 2],
    steps: [[isize; 2]; 2],
}

impl<'a> Frame<'a> {
    /// A frame of `width` x `height` pixels (1 to [`MAX_SIDE`] each) in one plane. `stride` is the
    /// number of bytes from row to row; 0 means no padding. The last row needs no padding.
    pub fn packed(format: PixelFormat, data: &'a [u8], width: u32, height: u32, stride: usize) -> Result<Self> {
        Frame::planar(format, &[(data, stride)], width, height)
    }

    /// A frame of `width` x `height` pixels (1 to [`MAX_SIDE`] each) in as many planes as the
    /// format has, each with its stride in bytes; 0 means no padding. The last row of a plane needs
    /// no padding.
    pub fn planar(format: PixelFormat, planes: &[(&'a [u8], usize)], width: u32, height: u32) -> Result<Self> {
        if planes.len() != format.planes() {
            return Err(Error::InvalidArgument(format!(
                "{} planes were given; a picture in {} has {}",
                planes.len(),
                format.name(),
                format.planes()
            )));
        }
        let (mut data, mut strides) = ([&[][..]; 3], [0; 3]);
        for (index, &(plane, stride)) in planes.iter().enumerate() {
            let (stride, needed) = plane_layout(format, index, width, height, stride)?;
            if plane.len() < needed {
                let name = if planes.len() == 1 { "the frame's data".into() } else { format!("plane {index}") };
                return Err(Error::InvalidArgument(format!(
                    "{name} holds {} bytes, fewer than the {needed} that {width} x {height} pixels with stride {stride} take",
                    plane.len()
                )));
            }
            (data[index], strides[index]) = (plane, stride.cast_signed());
        }
        Ok(Frame {
            planes: data,
            starts: [0; 3],
            strides,
            format,
            matrix: ColorMatrix::default(),
            range: ColorRange::default(),
            width,
            height,
            whole: (width, height),
            base: [0, 0],
            origin: [0, 0],
            step_x: [1, 0],
            step_y: [0, 1],
        })
    }

    /// A frame of `width` x `height` pixels (1 to [`MAX_SIDE`] each) whose planes follow each other
    /// without gaps, as in V4L2 buffers. `stride` is that of the first plane in bytes; 0 means no
    /// padding. The second plane of NV12 and NV21 has the same, rounded up to an even number; the
    /// second and third planes of I420 have half of it, rounded up.
    pub fn contiguous(format: PixelFormat, data: &'a [u8], width: u32, height: u32, stride: usize) -> Result<Self> {
        let layout = format.contiguous_planes(width, height, stride);
        let planes = layout.map(|(start, stride)| (data.get(start..).unwrap_or_default(), stride));
        Frame::planar(format, &planes[..format.planes()], width, height)
    }

    /// Turns each plane upside down, for images whose first row is the last one in memory, such as
    /// Windows bitmaps and OpenGL read-backs. Call it before [`Frame::crop`] and [`Frame::rotate`].
    #[must_use]
    pub fn bottom_up(self) -> Self {
        self.turned_over([true; 3])
    }

    /// [`Frame::bottom_up`] for some of the planes.
    pub(crate) fn turned_over(mut self, planes: [bool; 3]) -> Self {
        for plane in (0..self.format.planes()).filter(|&plane| planes[plane]) {
            let (rows, _) = self.format.plane_size(plane, self.whole.0, self.whole.1);
            self.starts[plane] = self.row(plane, rows - 1);
            self.strides[plane] = self.strides[plane].wrapping_neg();
        }
        self
    }

    /// Start of a row in a plane.
    fn row(&self, plane: usize, row: usize) -> usize {
        // All rows were checked to be inside the plane.
        self.starts[plane].wrapping_add_signed(self.strides[plane].wrapping_mul(row.cast_signed()))
    }

    /// Sets the colour matrix and range of Y'CbCr samples; BT.601 with limited range by default.
    /// Ignored for other formats; those whose name begins with J always have full range.
    #[must_use]
    pub fn color(self, matrix: ColorMatrix, range: ColorRange) -> Self {
        Frame { matrix, range, ..self }
    }

    /// The part of the frame inside `rect`, which must lie inside the frame.
    pub fn crop(self, rect: Rect) -> Result<Self> {
        let inside = |start: u32, length: u32, side: u32| length > 0 && start < side && length <= side - start;
        if !inside(rect.x, rect.width, self.width) || !inside(rect.y, rect.height, self.height) {
            return Err(Error::InvalidArgument(format!(
                "the crop of {} x {} pixels at ({}, {}) does not lie inside the frame of {} x {} pixels",
                rect.width, rect.height, rect.x, rect.y, self.width, self.height
            )));
        }
        Ok(Frame { origin: self.pixel(rect.x, rect.y), width: rect.width, height: rect.height, ..self })
    }

    /// The frame rotated clockwise by `rotation`; the mask is rotated, too.
    #[must_use]
    pub fn rotate(self, rotation: Rotation) -> Self {
        let (right, bottom) = (self.width - 1, self.height - 1);
        let Frame { width, height, step_x, step_y, .. } = self;
        let back = |step: [isize; 2]| step.map(|pixels| -pixels);
        match rotation {
            Rotation::None => self,
            // Right in the rotated image is up in memory.
            Rotation::Clockwise90 => Frame {
                origin: self.pixel(0, bottom),
                width: height,
                height: width,
                step_x: back(step_y),
                step_y: step_x,
                ..self
            },
            Rotation::Half => {
                Frame { origin: self.pixel(right, bottom), step_x: back(step_x), step_y: back(step_y), ..self }
            }
            Rotation::CounterClockwise90 => Frame {
                origin: self.pixel(right, 0),
                width: height,
                height: width,
                step_x: step_y,
                step_y: back(step_x),
                ..self
            },
        }
    }

    /// The frame with left and right exchanged.
    #[must_use]
    pub fn mirror(self) -> Self {
        Frame { origin: self.pixel(self.width - 1, 0), step_x: self.step_x.map(|pixels| -pixels), ..self }
    }

    /// Columns and rows, after crop and rotation.
    pub(crate) fn size(&self) -> Size {
        Size::new(self.width as usize, self.height as usize)
    }

    /// Columns, after crop and rotation.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows, after crop and rotation.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Frames with equal views show the same part of a camera's image, pixel by pixel.
    pub(crate) fn view(&self) -> FrameView {
        let Frame { whole, width, height, base, origin, step_x, step_y, .. } = *self;
        let origin = std::array::from_fn(|axis| base[axis] + origin[axis]);
        FrameView { whole, size: (width, height), origin, steps: [step_x, step_y] }
    }

    /// The pixel format.
    #[must_use]
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// The conversion to RGB, if the samples are Y'CbCr.
    pub(crate) fn conversion(&self) -> Option<Conversion> {
        let range = if self.format.is_full_range() { ColorRange::Full } else { self.range };
        self.format.is_yuv().then(|| Conversion::new(self.matrix, range))
    }

    /// The bytes of row `y`, if it is stored left to right and each pixel has bytes of its own.
    pub(crate) fn contiguous_row(&self, y: u32) -> Option<&'a [u8]> {
        if self.step_x != [1, 0] || self.format.is_yuv() {
            return None;
        }
        let bytes = self.format.bytes();
        let [column, row] = self.pixel(0, y);
        Some(&self.planes[0][self.row(0, row) + column * bytes..][..self.width as usize * bytes])
    }

    /// Whether the rows of the frame are columns in memory.
    pub(crate) fn is_turned(&self) -> bool {
        self.step_x[0] == 0
    }

    /// The memory with row `y`'s samples of one kind, at the positions of [`Frame::place`].
    pub(crate) fn line(&self, samples: Samples, y: u32) -> &'a [u8] {
        let Samples { plane, offset, distance, shift } = samples;
        let [column, row] = self.pixel(0, y);
        let start = if self.is_turned() { (column >> shift[0]) * distance } else { self.row(plane, row >> shift[1]) };
        &self.planes[plane][start + offset..]
    }

    /// Position of the sample of column `x` in [`Frame::line`], the same for all rows.
    pub(crate) fn place(&self, samples: Samples, x: usize) -> usize {
        let [column, row] = self.pixel(x as u32, 0);
        if self.is_turned() {
            self.row(samples.plane, row >> samples.shift[1])
        } else {
            (column >> samples.shift[0]) * samples.distance
        }
    }

    /// The column and the row in memory of pixel (x, y).
    fn pixel(&self, x: u32, y: u32) -> [usize; 2] {
        // Every pixel of the frame is inside the image, so no sum is negative.
        std::array::from_fn(|axis| {
            let (x, y) = (x as isize * self.step_x[axis], y as isize * self.step_y[axis]);
            self.origin[axis].wrapping_add_signed(x + y)
        })
    }
}

/// The stride in bytes (that of packed rows if `stride` is 0), and the bytes from the first to the
/// last sample of a plane.
pub(crate) fn plane_layout(
    format: PixelFormat,
    plane: usize,
    width: u32,
    height: u32,
    stride: usize,
) -> Result<(usize, usize)> {
    for (name, side) in [("width", width), ("height", height)] {
        if side == 0 || side > MAX_SIDE {
            return Err(Error::InvalidArgument(format!(
                "the frame's {name} is {side}; it must be between 1 and {MAX_SIDE} pixels"
            )));
        }
    }
    let (rows, row) = format.plane_size(plane, width, height);
    let stride = if stride == 0 { row } else { stride };
    if stride < row {
        let name = if format.planes() == 1 { String::new() } else { format!(" of plane {plane}") };
        return Err(Error::InvalidArgument(format!("stride {stride}{name} is less than the {row} bytes of a row")));
    }
    let length = stride.checked_mul(rows - 1).and_then(|rows| rows.checked_add(row));
    match length.filter(|&bytes| isize::try_from(bytes).is_ok()) {
        Some(length) => Ok((stride, length)),
        None => Err(Error::InvalidArgument(format!(
            "stride {stride} times {rows} rows is more than the {} bytes that can be addressed",
            isize::MAX
        ))),
    }
}
