//! Image files: JPEG and PNG in, PNG out.

use std::{
    fs::File,
    io::{self, BufReader},
    path::Path,
};

use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageError, ImageFormat, ImageReader, Limits,
    codecs::png::PngEncoder,
};

use crate::{
    Error, MAX_SIDE, Result, file,
    palette::{Class, voc_color},
};

/// The most memory that a decoded file may take: a small file can claim to be a huge picture.
const MAX_DECODED_BYTES: u64 = 1 << 30;

/// A picture in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Red, green and blue of each pixel, row by row without padding: `height * width * 3` bytes.
    pub pixels: Vec<u8>,
}

/// Reads a JPEG or PNG file. Transparency is dropped, and the picture is turned upright where its EXIF data says how.
/// Sides are at most [`MAX_SIDE`] pixels, and the decoded picture at most 1 GiB.
pub fn read_image(path: impl AsRef<Path>) -> Result<Image> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|error| io_error(path, "cannot be opened", error))?;
    let mut reader = ImageReader::new(BufReader::new(file))
        .with_guessed_format()
        .map_err(|error| io_error(path, "cannot be read", error))?;
    if !matches!(reader.format(), Some(ImageFormat::Jpeg | ImageFormat::Png)) {
        return Err(Error::UnsupportedFormat(format!("{} is neither a JPEG nor a PNG file", path.display())));
    }
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    reader.limits(limits.clone());
    let decode_error = |error| decode_error(path, error);
    let mut decoder = reader.into_decoder().map_err(decode_error)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE {
        return Err(Error::InvalidArgument(format!(
            "{} has {width} x {height} pixels; each side must be between 1 and {MAX_SIDE}",
            path.display()
        )));
    }
    limits.reserve(decoder.total_bytes()).map_err(decode_error)?;
    decoder.set_limits(limits).map_err(decode_error)?;
    let orientation = decoder.orientation().map_err(decode_error)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(decode_error)?;
    image.apply_orientation(orientation);
    let image = image.into_rgb8();
    Ok(Image { width: image.width(), height: image.height(), pixels: image.into_raw() })
}

/// Writes a picture as a PNG file. A file of that name is replaced only once the new one is complete.
pub fn write_png(path: impl AsRef<Path>, image: &Image) -> Result<()> {
    let path = path.as_ref();
    check_length(path, image.width, image.height, 3, image.pixels.len())?;
    let mut file = Vec::new();
    PngEncoder::new(&mut file)
        .write_image(&image.pixels, image.width, image.height, ExtendedColorType::Rgb8)
        .map_err(|error| Error::Io(format!("{} cannot be encoded as PNG: {error}", path.display())))?;
    file::write(path, &file)
}

/// Writes `height * width` labels as a PNG file with a palette: each pixel's value is its class index, shown in the
/// class's colour. Indices without a class, such as 255 for void, have Pascal VOC's colour of that index. A file of that
/// name is replaced only once the new one is complete.
pub fn write_labels(path: impl AsRef<Path>, labels: &[u8], width: u32, height: u32, classes: &[Class]) -> Result<()> {
    let path = path.as_ref();
    check_length(path, width, height, 1, labels.len())?;
    let palette: Vec<u8> = (0..=255u8)
        .flat_map(|index| classes.get(index as usize).map_or_else(|| voc_color(index), |class| class.color))
        .collect();
    let mut file = Vec::new();
    let encode = || -> std::result::Result<(), png::EncodingError> {
        let mut encoder = png::Encoder::new(&mut file, width, height);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_palette(palette);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(labels)?;
        writer.finish()
    };
    encode().map_err(|error| Error::Io(format!("{} cannot be encoded as PNG: {error}", path.display())))?;
    file::write(path, &file)
}

/// Whether the data fits the size, which must not be empty.
fn check_length(path: &Path, width: u32, height: u32, channels: u64, length: usize) -> Result<()> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(Error::InvalidArgument(format!(
            "{} would have {width} x {height} pixels; each side must be at least 1",
            path.display()
        )));
    }
    if pixels.checked_mul(channels) != Some(length as u64) {
        return Err(Error::InvalidArgument(format!(
            "{} would have {width} x {height} pixels of {channels} bytes, but the data holds {length} bytes",
            path.display()
        )));
    }
    Ok(())
}

fn io_error(path: &Path, what: &str, error: io::Error) -> Error {
    Error::Io(format!("{} {what}: {error}", path.display()))
}

fn decode_error(path: &Path, error: ImageError) -> Error {
    let name = path.display();
    match error {
        ImageError::Limits(_) => Error::OutOfMemory(format!(
            "{name} would take more than the {MAX_DECODED_BYTES} bytes that a decoded picture may take"
        )),
        ImageError::Unsupported(error) => {
            Error::UnsupportedFormat(format!("{name} is of a kind that cannot be read: {error}"))
        }
        error => Error::Io(format!("{name} cannot be decoded: {error}")),
    }
}
