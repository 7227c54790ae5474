//! [`PixelFormat`]: the layout of an image's samples in memory.

/// Pixel formats: the layout of an image's bytes.
///
/// Where the chroma of Y'CbCr (YUV) formats is subsampled, an odd last column or row has chroma
/// samples of its own. Each pixel uses the chroma samples of its group, without interpolation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PixelFormat {
    /// 3 bytes per pixel: red, green, blue.
    Rgb8,
    /// 3 bytes per pixel: blue, green, red (OpenCV's order).
    Bgr8,
    /// 4 bytes per pixel: red, green, blue, alpha. Alpha is ignored.
    Rgba8,
    /// 4 bytes per pixel: blue, green, red, alpha. Alpha is ignored.
    Bgra8,
    /// 1 byte per pixel: grey, used for all three channels.
    Gray8,
    /// 4 bytes per pixel: red, green, blue, unused.
    Rgbx8,
    /// 4 bytes per pixel: blue, green, red, unused.
    Bgrx8,
    /// 2 bytes per pixel, little-endian: grey, 0 to 65535. Only the high byte is used: shift 10-bit
    /// and 12-bit samples up to 16 bits.
    Gray16,
    /// Two planes: Y; Cb and Cr interleaved, one pair per 2 x 2 pixels.
    Nv12,
    /// Two planes: Y; Cr and Cb interleaved, one pair per 2 x 2 pixels.
    Nv21,
    /// Three planes: Y; Cb and Cr, one sample each per 2 x 2 pixels. For YV12, swap the last two.
    I420,
    /// 4 bytes per 2 x 1 pixels: Y, Cb, Y, Cr. Rows of odd width end with a full group of 4 bytes.
    Yuyv,
    /// 4 bytes per 2 x 1 pixels: Cb, Y, Cr, Y. Rows of odd width end with a full group of 4 bytes.
    Uyvy,
    /// Three planes: Y; Cb and Cr, one sample each per 2 x 1 pixels.
    I422,
    /// Three planes: Y; Cb and Cr, one sample each per 1 x 2 pixels (two rows).
    I440,
    /// Three planes: Y, Cb and Cr, one sample each per pixel.
    I444,
    /// [`PixelFormat::I420`], always in full range, as in JPEG: FFmpeg's `yuvj420p`.
    J420,
    /// [`PixelFormat::I422`], always in full range: FFmpeg's `yuvj422p`.
    J422,
    /// [`PixelFormat::I440`], always in full range: FFmpeg's `yuvj440p`.
    J440,
    /// [`PixelFormat::I444`], always in full range: FFmpeg's `yuvj444p`.
    J444,
}

/// Position of the samples of one kind in an image, for example those of red or Cb.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Samples {
    pub(crate) plane: usize,
    /// Byte of the first sample.
    pub(crate) offset: usize,
    /// Bytes from one sample to the next in its row.
    pub(crate) distance: usize,
    /// Binary logarithms of the number of columns and rows that share a sample.
    pub(crate) shift: [u32; 2],
}

impl PixelFormat {
    /// Every format.
    pub const ALL: [PixelFormat; 20] = {
        use PixelFormat::*;
        [
            Rgb8, Bgr8, Rgba8, Bgra8, Gray8, Rgbx8, Bgrx8, Gray16, Nv12, Nv21, I420, Yuyv, Uyvy, I422, I440, I444,
            J420, J422, J440, J444,
        ]
    };

    /// The bytes from a pixel to its right neighbour, in the first plane.
    #[must_use]
    pub fn bytes(self) -> usize {
        self.samples()[0].distance
    }

    /// The number of planes, 1 to 3.
    #[must_use]
    pub fn planes(self) -> usize {
        self.samples()[2].plane.max(self.samples()[1].plane) + 1
    }

    /// The number of columns and of rows that share chroma samples, for example (2, 2) for NV12;
    /// one of each if every pixel has its own samples, or there are none.
    #[must_use]
    pub fn chroma_block(self) -> (usize, usize) {
        let [columns, rows] = self.shift();
        (1 << columns, 1 << rows)
    }

    /// Rows of a plane, and bytes used per row, of an image of `width` x `height` pixels.
    pub(crate) fn plane_size(self, plane: usize, width: u32, height: u32) -> (usize, usize) {
        let shared = |side: u32, shift: u32| (side as usize).div_ceil(1 << shift);
        let samples = self.samples().into_iter().filter(|samples| samples.plane == plane);
        samples.fold((0, 0), |(rows, row), Samples { distance, shift, .. }| {
            (rows.max(shared(height, shift[1])), row.max(shared(width, shift[0]) * distance))
        })
    }

    /// Binary logarithms of the number of columns and rows that share chroma samples.
    pub(crate) fn shift(self) -> [u32; 2] {
        self.samples()[2].shift
    }

    /// Row of the pixel in plane `plane`, and its byte in that row. The pixel is the first of those
    /// that share samples.
    pub(crate) fn byte_of(self, plane: usize, [column, row]: [usize; 2]) -> (usize, usize) {
        let mut samples = self.samples().into_iter().filter(|samples| samples.plane == plane);
        samples
            .next()
            .map_or((0, 0), |Samples { distance, shift, .. }| (row >> shift[1], (column >> shift[0]) * distance))
    }

    /// Start and stride of each plane in one block of memory; `stride` is that of the first plane,
    /// 0 means no padding. Overflow wraps: later checks reject it.
    pub(crate) fn contiguous_planes(self, width: u32, height: u32, stride: usize) -> [(usize, usize); 3] {
        let mut start = 0usize;
        std::array::from_fn(|plane| {
            let (rows, row) = self.plane_size(plane, width, height);
            let samples = self.samples().into_iter().find(|samples| samples.plane == plane && plane > 0);
            let stride = match (stride, samples) {
                (0, _) => row,
                (stride, None) => stride,
                (stride, Some(Samples { distance, shift, .. })) => {
                    stride.div_ceil(1 << shift[0]).wrapping_mul(distance)
                }
            };
            let this = (start, stride);
            start = start.wrapping_add(rows.wrapping_mul(stride));
            this
        })
    }

    /// Whether the samples are Y'CbCr instead of red, green and blue.
    pub(crate) fn is_yuv(self) -> bool {
        use PixelFormat::*;
        matches!(self, Nv12 | Nv21 | I420 | Yuyv | Uyvy | I422 | I440 | I444) || self.is_full_range()
    }

    /// Whether Y'CbCr samples always have full range.
    pub(crate) fn is_full_range(self) -> bool {
        use PixelFormat::*;
        matches!(self, J420 | J422 | J440 | J444)
    }

    /// Whether red, green and blue are the same sample.
    pub(crate) fn is_gray(self) -> bool {
        matches!(self, PixelFormat::Gray8 | PixelFormat::Gray16)
    }

    /// The samples of red, green and blue, or of Y, Cb and Cr.
    pub(crate) fn samples(self) -> [Samples; 3] {
        use PixelFormat::*;
        let packed =
            |distance, offsets: [usize; 3]| offsets.map(|offset| Samples { plane: 0, offset, distance, shift: [0, 0] });
        // (plane, offset, distance) of Cb and Cr.
        let quarter = |chroma: [(usize, usize, usize); 2]| {
            let chroma = chroma.map(|(plane, offset, distance)| Samples { plane, offset, distance, shift: [1, 1] });
            [packed(1, [0; 3])[0], chroma[0], chroma[1]]
        };
        let planes = |shift| {
            let chroma = [1, 2].map(|plane| Samples { plane, offset: 0, distance: 1, shift });
            [packed(1, [0; 3])[0], chroma[0], chroma[1]]
        };
        let half = |[y, cb, cr]: [usize; 3]| {
            let chroma = [cb, cr].map(|offset| Samples { plane: 0, offset, distance: 4, shift: [1, 0] });
            [packed(2, [y; 3])[0], chroma[0], chroma[1]]
        };
        match self {
            Rgb8 => packed(3, [0, 1, 2]),
            Bgr8 => packed(3, [2, 1, 0]),
            Rgba8 | Rgbx8 => packed(4, [0, 1, 2]),
            Bgra8 | Bgrx8 => packed(4, [2, 1, 0]),
            Gray8 => packed(1, [0; 3]),
            Gray16 => packed(2, [1; 3]),
            Nv12 => quarter([(1, 0, 2), (1, 1, 2)]),
            Nv21 => quarter([(1, 1, 2), (1, 0, 2)]),
            I420 | J420 => planes([1, 1]),
            I422 | J422 => planes([1, 0]),
            I440 | J440 => planes([0, 1]),
            I444 | J444 => planes([0, 0]),
            Yuyv => half([0, 1, 3]),
            Uyvy => half([1, 0, 2]),
        }
    }
}
