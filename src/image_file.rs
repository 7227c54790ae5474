//! Image files: JPEG and PNG in, PNG out.

mod jpeg_damage;
mod png_chunks;

use std::{
    borrow::Cow,
    io::{self, Cursor, Read},
    path::Path,
};

use image::{
    DynamicImage, ExtendedColorType, GrayImage, ImageDecoder, ImageEncoder, ImageError, ImageFormat, ImageReader,
    Limits, codecs::png::PngEncoder, metadata::Orientation,
};

use crate::{
    Error, MAX_SIDE, Result, file, memory,
    palette::{Class, voc_color},
};

/// The most memory for an image, both as decoded and in RGB: a small file can claim to be huge.
const MAX_DECODED_BYTES: u64 = 1 << 30;

/// A decoded image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Red, green and blue of each pixel, row by row without padding: `height * width * 3` bytes.
    pub pixels: Vec<u8>,
}

/// The size and orientation of an image in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageLayout {
    /// Columns as stored.
    pub width: u32,
    /// Rows as stored.
    pub height: u32,
    /// EXIF orientation, 1 to 8.
    orientation: u8,
}

impl ImageLayout {
    /// Width and height with the orientation applied, as [`read_image`] returns them.
    #[must_use]
    pub fn upright(&self) -> (u32, u32) {
        if self.orientation > 4 { (self.height, self.width) } else { (self.width, self.height) }
    }

    /// Whether the stored orientation is upright.
    #[must_use]
    pub fn is_upright(&self) -> bool {
        self.orientation == 1
    }

    /// Applies the orientation to labels in the stored order, one byte per pixel.
    ///
    /// # Panics
    /// If there are not `height * width` labels.
    #[must_use]
    pub fn turn(&self, labels: Vec<u8>) -> Vec<u8> {
        let stored = GrayImage::from_raw(self.width, self.height, labels).expect("labels of the stored size");
        let mut image = DynamicImage::ImageLuma8(stored);
        image.apply_orientation(Orientation::from_exif(self.orientation).unwrap_or(Orientation::NoTransforms));
        image.into_bytes()
    }
}

/// Reads a JPEG or PNG file. Transparency is dropped; EXIF orientation is applied. Sides may have
/// [`MAX_SIDE`] pixels, and the decoded image 1 GiB. A truncated or otherwise damaged file is an
/// error, even if part of it could be decoded.
pub fn read_image(path: impl AsRef<Path>) -> Result<Image> {
    ImageFile::read(path.as_ref())?.decode()
}

/// Decodes the content of a JPEG or PNG file, as [`read_image`] does.
pub fn decode_image(file: &[u8]) -> Result<Image> {
    ImageFile::new("the image".to_owned(), file.into())?.decode()
}

/// Reads the size and orientation of a JPEG or PNG file without decoding it.
pub fn image_layout(path: impl AsRef<Path>) -> Result<ImageLayout> {
    Ok(ImageFile::read(path.as_ref())?.open()?.1)
}

/// The content of an image file.
struct ImageFile<'a> {
    /// How messages name it.
    name: String,
    format: ImageFormat,
    bytes: Cow<'a, [u8]>,
}

impl<'a> ImageFile<'a> {
    fn new(name: String, bytes: Cow<'a, [u8]>) -> Result<ImageFile<'a>> {
        match image::guess_format(&bytes) {
            Ok(format @ (ImageFormat::Jpeg | ImageFormat::Png)) => Ok(ImageFile { name, format, bytes }),
            _ => {
                let what = if bytes.is_empty() { "is empty" } else { "is neither a JPEG nor a PNG file" };
                Err(Error::UnsupportedFormat(format!("{name} {what}")))
            }
        }
    }

    fn read(path: &Path) -> Result<ImageFile<'_>> {
        let mut file = file::open(path).map_err(|error| io_error(path, "cannot be opened", error))?;
        let cannot_read = |error| io_error(path, "cannot be read", error);
        let mut start = Vec::new();
        // Files of other kinds are not read further.
        (&mut file).take(16).read_to_end(&mut start).map_err(cannot_read)?;
        let mut image = ImageFile::new(path.display().to_string(), start.into())?;
        file.take(MAX_DECODED_BYTES).read_to_end(image.bytes.to_mut()).map_err(cannot_read)?;
        Ok(image)
    }

    fn decode(&self) -> Result<Image> {
        let (decoder, layout) = self.open()?;
        self.check_damage()?;
        // The crate `image` aborts the process if an allocation fails.
        let check_available = |bytes: u64| memory::check_available(bytes as usize, "the decoded image");
        let decoded = decoder.total_bytes();
        check_available(decoded)?;
        let mut image = DynamicImage::from_decoder(decoder).map_err(|error| self.decode_error(error))?;
        check_available(decoded)?;
        image.apply_orientation(Orientation::from_exif(layout.orientation).unwrap_or(Orientation::NoTransforms));
        check_available(3 * u64::from(image.width()) * u64::from(image.height()))?;
        let image = image.into_rgb8();
        Ok(Image { width: image.width(), height: image.height(), pixels: image.into_raw() })
    }

    /// A decoder that has read the header, and the layout in the header.
    fn open(&self) -> Result<(impl ImageDecoder, ImageLayout)> {
        let decode_error = |error| self.decode_error(error);
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(MAX_DECODED_BYTES);
        let mut reader = ImageReader::with_format(Cursor::new(&self.bytes[..]), self.format);
        reader.limits(limits.clone());
        let mut decoder = reader.into_decoder().map_err(decode_error)?;
        let (width, height) = decoder.dimensions();
        if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE {
            return Err(Error::InvalidArgument(format!(
                "{} has {width} x {height} pixels; each side must be between 1 and {MAX_SIDE}",
                self.name
            )));
        }
        let rgb = 3 * u64::from(width) * u64::from(height);
        if rgb > MAX_DECODED_BYTES {
            return Err(Error::OutOfMemory(format!(
                "{} has {width} x {height} pixels, which take {rgb} bytes in RGB; at most {MAX_DECODED_BYTES} are read",
                self.name
            )));
        }
        limits.reserve(decoder.total_bytes()).map_err(decode_error)?;
        decoder.set_limits(limits).map_err(decode_error)?;
        let orientation = match self.format {
            // The decoder ignores EXIF data after the pixels.
            ImageFormat::Png => png_chunks::exif(&self.bytes).and_then(Orientation::from_exif_chunk),
            _ => Some(decoder.orientation().map_err(decode_error)?),
        };
        let orientation = orientation.map_or(1, Orientation::to_exif);
        Ok((decoder, ImageLayout { width, height, orientation }))
    }

    /// Rejects files that are truncated or otherwise damaged.
    fn check_damage(&self) -> Result<()> {
        let checked = match self.format {
            ImageFormat::Png => png_chunks::check(&self.bytes),
            _ => jpeg_damage::check(&self.bytes),
        };
        checked.map_err(|damage| Error::Io(format!("{} is damaged: {damage}", self.name).into()))
    }

    fn decode_error(&self, error: ImageError) -> Error {
        let name = &self.name;
        match error {
            ImageError::Limits(_) => Error::OutOfMemory(format!(
                "{name} would take more than the {MAX_DECODED_BYTES} bytes that a decoded picture may take"
            )),
            ImageError::Unsupported(error) => {
                Error::UnsupportedFormat(format!("{name} is of a kind that cannot be read: {error}"))
            }
            // Some messages end with a line break.
            error => Error::io(format!("{name} cannot be decoded: {}", error.to_string().trim_end()), error),
        }
    }
}

/// Writes an image to a PNG file. An existing file is replaced only when the new one is complete.
pub fn write_png(path: impl AsRef<Path>, image: &Image) -> Result<()> {
    let path = path.as_ref();
    check_length(&path.display().to_string(), image.width, image.height, 3, image.pixels.len())?;
    let mut file = Vec::new();
    PngEncoder::new(&mut file)
        .write_image(&image.pixels, image.width, image.height, ExtendedColorType::Rgb8)
        .map_err(|error| Error::io(format!("{} cannot be encoded as PNG: {error}", path.display()), error))?;
    file::write(path, &file)
}

/// Writes `height * width` labels to a PNG file with a palette: pixel values are the labels, shown
/// in the classes' colours. Labels without a class, such as 255 for void, have their colour in
/// Pascal VOC's map. An existing file is replaced only when the new one is complete.
pub fn write_labels(path: impl AsRef<Path>, labels: &[u8], width: u32, height: u32, classes: &[Class]) -> Result<()> {
    let path = path.as_ref();
    file::write(path, &labels_as_png(&path.display().to_string(), labels, width, height, classes)?)
}

/// Encodes labels as the content of the file that [`write_labels`] writes.
pub fn encode_labels(labels: &[u8], width: u32, height: u32, classes: &[Class]) -> Result<Vec<u8>> {
    labels_as_png("the image", labels, width, height, classes)
}

/// The content of a palette PNG file, which messages call `name`.
fn labels_as_png(name: &str, labels: &[u8], width: u32, height: u32, classes: &[Class]) -> Result<Vec<u8>> {
    check_length(name, width, height, 1, labels.len())?;
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
    encode().map_err(|error| Error::io(format!("{name} cannot be encoded as PNG: {error}"), error))?;
    Ok(file)
}

/// Fails if the data does not fit the size, or the size is empty.
fn check_length(name: &str, width: u32, height: u32, channels: u64, length: usize) -> Result<()> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(Error::InvalidArgument(format!(
            "{name} would have {width} x {height} pixels; each side must be at least 1"
        )));
    }
    if pixels.checked_mul(channels) != Some(length as u64) {
        return Err(Error::InvalidArgument(format!(
            "{name} would have {width} x {height} pixels of {channels} bytes, but the data holds {length} bytes"
        )));
    }
    Ok(())
}

fn io_error(path: &Path, what: &str, error: io::Error) -> Error {
    Error::io(format!("{} {what}: {error}", path.display()), error)
}
