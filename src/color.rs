//! Y'CbCr to RGB.

/// The coefficients of red, green and blue with which an image was converted to Y'CbCr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ColorMatrix {
    /// ITU-R BT.601: JPEG, most webcams, standard definition.
    #[default]
    Bt601,
    /// ITU-R BT.709: high definition.
    Bt709,
}

/// The range of Y'CbCr values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ColorRange {
    /// Video range: Y from 16 to 235, Cb and Cr from 16 to 240.
    #[default]
    Limited,
    /// 0 to 255: JPEG, and webcams that decode it.
    Full,
}

/// The coefficients of the conversion; all values are from 0 to 255.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conversion {
    /// The Y of black.
    black: f32,
    luma: f32,
    cr_red: f32,
    cb_green: f32,
    cr_green: f32,
    cb_blue: f32,
}

impl Conversion {
    pub(crate) fn new(matrix: ColorMatrix, range: ColorRange) -> Conversion {
        // ITU-R BT.601-7, section 2.5.1; BT.709-6, items 3.2 and 3.3.
        let (red, blue) = match matrix {
            ColorMatrix::Bt601 => (0.299, 0.114),
            ColorMatrix::Bt709 => (0.2126, 0.0722),
        };
        let (black, luma, chroma) = match range {
            ColorRange::Limited => (16.0, 255.0 / 219.0, 255.0 / 224.0),
            ColorRange::Full => (0.0, 1.0, 1.0),
        };
        let green = 1.0 - red - blue;
        Conversion {
            black,
            luma,
            cr_red: 2.0 * (1.0 - red) * chroma,
            cb_green: -2.0 * blue * (1.0 - blue) / green * chroma,
            cr_green: -2.0 * red * (1.0 - red) / green * chroma,
            cb_blue: 2.0 * (1.0 - blue) * chroma,
        }
    }

    /// Converts to RGB without rounding, clipped to 0 to 255.
    #[inline(always)]
    pub(crate) fn rgb(&self, [y, cb, cr]: [f32; 3]) -> [f32; 3] {
        let y = (y - self.black) * self.luma;
        let (cb, cr) = (cb - 128.0, cr - 128.0);
        [y + self.cr_red * cr, y + self.cb_green * cb + self.cr_green * cr, y + self.cb_blue * cb]
            .map(|value| value.clamp(0.0, 255.0))
    }
}
