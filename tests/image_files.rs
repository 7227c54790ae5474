//! Image files: reading, writing, and error messages.

use std::{fs, path::Path};

use fcn::{
    Error, Image, Mask, decode_image, encode_labels, image_layout,
    palette::{Class, voc_color},
    read_image, write_labels, write_png,
};

fn image(width: u32, height: u32) -> Image {
    let pixels = (0..width * height * 3).map(|i| (i * 7 + i / 50) as u8).collect();
    Image { width, height, pixels }
}

/// The files in a folder, to check that no temporary file is left.
fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn png_comes_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picture.png");
    for (width, height) in [(1, 1), (33, 7), (64, 48)] {
        // Writing to an existing file replaces it.
        let image = image(width, height);
        write_png(&path, &image).unwrap();
        assert_eq!(read_image(&path).unwrap(), image);
    }
    assert_eq!(files(folder.path()), ["picture.png"]);
}

#[test]
fn jpeg_is_turned_upright() {
    // 16 x 8, red on the left, blue on the right, rotated clockwise by EXIF: red ends up at the top
    // (tests/images/make.py).
    let image = read_image(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images/turned.jpg")).unwrap();
    assert_eq!((image.width, image.height), (8, 16));
    for (row, color) in [(0, [255u8, 0, 0]), (7, [255, 0, 0]), (8, [0, 0, 255]), (15, [0, 0, 255])] {
        for pixel in image.pixels[row * 8 * 3..(row + 1) * 8 * 3].chunks_exact(3) {
            let near = pixel.iter().zip(color).all(|(&found, expected)| found.abs_diff(expected) <= 3);
            assert!(near, "row {row}: {pixel:?} is not {color:?}");
        }
    }
}

#[test]
fn all_orientations_are_those_of_pillow() {
    // Pixels 1 to 6 in two rows; expected values from ImageOps.exif_transpose in Pillow.
    let cases: [(u8, [u32; 2], [u8; 6]); 8] = [
        (1, [3, 2], [1, 2, 3, 4, 5, 6]),
        (2, [3, 2], [3, 2, 1, 6, 5, 4]),
        (3, [3, 2], [6, 5, 4, 3, 2, 1]),
        (4, [3, 2], [4, 5, 6, 1, 2, 3]),
        (5, [2, 3], [1, 4, 2, 5, 3, 6]),
        (6, [2, 3], [4, 1, 5, 2, 6, 3]),
        (7, [2, 3], [6, 3, 5, 2, 4, 1]),
        (8, [2, 3], [3, 6, 2, 5, 1, 4]),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("turned.png");
    for (orientation, [width, height], expected) in cases {
        for (head, tail) in [
            (&b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"[..], &[0; 6][..]),
            (b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0", &[0; 7]),
        ] {
            let mut info = png::Info::with_size(3, 2);
            info.color_type = png::ColorType::Grayscale;
            info.bit_depth = png::BitDepth::Eight;
            info.exif_metadata = Some([head, &[orientation], tail].concat().into());
            let encoder = png::Encoder::with_info(fs::File::create(&path).unwrap(), info).unwrap();
            encoder.write_header().unwrap().write_image_data(&[1, 2, 3, 4, 5, 6]).unwrap();
            let image = read_image(&path).unwrap();
            let grey: Vec<u8> = image.pixels.chunks(3).map(|pixel| pixel[0]).collect();
            assert_eq!((image.width, image.height, &grey[..]), (width, height, &expected[..]), "{orientation}");
            let layout = image_layout(&path).unwrap();
            assert_eq!((layout.width, layout.height, layout.upright()), (3, 2, (width, height)));
            assert_eq!(
                (layout.turn(vec![1, 2, 3, 4, 5, 6]), layout.is_upright()),
                (expected.to_vec(), orientation == 1)
            );
        }
    }
    // EXIF data may follow the pixels.
    let behind = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images/behind.png");
    assert_eq!(image_layout(&behind).unwrap().upright(), (2, 3));
    assert_eq!(read_image(&behind).unwrap().pixels[..6], [9, 10, 11, 0, 1, 2]);
}

/// An intact file of tests/images.
fn sound(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images").join(name)).unwrap()
}

fn read_bytes(bytes: &[u8]) -> Result<Image, Error> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    let read = read_image(file.path());
    let decoded = decode_image(bytes);
    match (&read, &decoded) {
        (Ok(read), Ok(decoded)) => assert_eq!(read, decoded),
        (Err(read), Err(decoded)) => {
            let of_file = read.to_string().replace(&file.path().display().to_string(), "the image");
            assert_eq!(of_file, decoded.to_string());
            assert!(of_file.starts_with("the image"), "{read}");
        }
        _ => panic!("from the file: {read:?}, from its content: {decoded:?}"),
    }
    read
}

const PHOTOS: [&str; 4] = ["baseline.jpg", "progressive.jpg", "restarts.jpg", "behind.png"];

#[test]
fn files_that_are_cut_off_are_refused_wherever_they_end() {
    for name in PHOTOS {
        let whole = sound(name);
        read_bytes(&whole).unwrap();
        for length in (0..whole.len()).rev() {
            assert!(read_bytes(&whole[..length]).is_err(), "{name}: {length} of {} bytes", whole.len());
        }
    }
}

#[test]
fn holes_are_refused() {
    for name in &PHOTOS[..3] {
        let whole = sound(name);
        let pixels = whole.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap() + 14;
        for length in [40, 100] {
            for start in (pixels..whole.len() - length - 2).step_by(7) {
                let mut spoiled = whole.clone();
                spoiled[start..start + length].fill(0);
                assert!(read_bytes(&spoiled).is_err(), "{name}: zeros from {start} to {}", start + length);
            }
        }
    }
}

#[test]
fn single_bits_of_a_png_file_are_checked() {
    let whole = sound("behind.png");
    for place in 0..8 * whole.len() {
        let mut spoiled = whole.clone();
        spoiled[place / 8] ^= 1 << (place % 8);
        assert!(read_bytes(&spoiled).is_err(), "bit {place}");
    }
}

#[test]
fn what_belongs_to_no_picture_does_no_harm() {
    let expected = read_bytes(&sound("baseline.jpg")).unwrap();
    let insert = |place: usize, bytes: &[u8]| {
        let mut file = sound("baseline.jpg");
        file.splice(place..place, bytes.iter().copied());
        read_bytes(&file).map_err(|error| error.to_string())
    };
    let whole = sound("baseline.jpg");
    let scan = whole.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
    // A preview inside a segment has its own end of image; phones append videos to the file.
    let preview = [&[0xff, 0xe1][..], &(whole.len() as u16 + 2).to_be_bytes(), &whole].concat();
    for (what, place, bytes) in [
        ("a preview", 2, &preview[..]),
        ("another picture behind the end", whole.len(), &whole),
        ("half a picture behind the end", whole.len(), &whole[..whole.len() / 2]),
        ("zeros behind the end", whole.len(), &[0; 1000]),
        ("bytes that fill up", scan, &[0xff; 5]),
        ("zeros that fill up", whole.len() - 2, &[0; 4]),
    ] {
        assert_eq!(insert(place, bytes).as_ref(), Ok(&expected), "{what}");
    }
    // More zeros, or other bytes, are damage.
    insert(whole.len() - 2, &[0; 17]).unwrap_err();
    insert(whole.len() - 2, &[1]).unwrap_err();
    let png = [&sound("behind.png")[..], b"more"].concat();
    read_bytes(&png).unwrap();
}

#[test]
fn other_kinds_of_png_become_rgb() {
    let folder = tempfile::tempdir().unwrap();
    struct Case {
        name: &'static str,
        color: png::ColorType,
        depth: png::BitDepth,
        data: &'static [u8],
        rgb: [u8; 6],
    }
    for case in [
        Case {
            name: "alpha is dropped",
            color: png::ColorType::Rgba,
            depth: png::BitDepth::Eight,
            data: &[1, 2, 3, 0, 4, 5, 6, 255],
            rgb: [1, 2, 3, 4, 5, 6],
        },
        Case {
            name: "grey is all three",
            color: png::ColorType::Grayscale,
            depth: png::BitDepth::Eight,
            data: &[9, 200],
            rgb: [9, 9, 9, 200, 200, 200],
        },
        Case {
            name: "16 bits are rounded to 8",
            color: png::ColorType::Grayscale,
            depth: png::BitDepth::Sixteen,
            data: &[0x12, 0x12, 0xff, 0xff],
            rgb: [0x12, 0x12, 0x12, 255, 255, 255],
        },
    ] {
        let path = folder.path().join("picture.png");
        let mut encoder = png::Encoder::new(fs::File::create(&path).unwrap(), 2, 1);
        encoder.set_color(case.color);
        encoder.set_depth(case.depth);
        encoder.write_header().unwrap().write_image_data(case.data).unwrap();
        let image = read_image(&path).unwrap();
        assert_eq!((image.width, image.height, &image.pixels[..]), (2, 1, &case.rgb[..]), "{}", case.name);
    }
}

/// A grey PNG file of this size without its pixels.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header().unwrap().write_chunk(png::chunk::IDAT, &[0x78, 0x9c]).unwrap();
    bytes
}

#[test]
fn a_huge_picture_is_refused_before_it_takes_memory() {
    // 2^30 bytes of RGB are 357,913,941 pixels. A grey file of that size takes a third of that, but
    // the decoded image does not.
    for (width, height, words) in [
        (16384, 21845, "cannot be decoded"),
        (16384, 21846, "16384 x 21846 pixels, which take 1073774592 bytes in RGB; at most 1073741824"),
        (32767, 32767, "which take 3221028867 bytes"),
        (32768, 1, "each side must be between 1 and 32767"),
    ] {
        let error = read_bytes(&png_header(width, height)).unwrap_err().to_string();
        assert!(error.contains(words), "{width} x {height}: {error}");
    }
}

#[test]
fn labels_are_a_palette_png() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mask.png");
    let classes =
        [("background", [0, 0, 0]), ("road", [1, 2, 3])].map(|(name, color)| Class { name: name.to_owned(), color });
    write_labels(&path, &[0, 1, 255, 1, 1, 0], 3, 2, &classes).unwrap();
    assert_eq!(files(folder.path()), ["mask.png"]);

    let mut decoder = png::Decoder::new(std::io::BufReader::new(fs::File::open(&path).unwrap()));
    decoder.set_transformations(png::Transformations::IDENTITY);
    let mut reader = decoder.read_info().unwrap();
    assert_eq!(reader.info().color_type, png::ColorType::Indexed);
    let palette = reader.info().palette.as_ref().unwrap().to_vec();
    let mut indices = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut indices).unwrap();
    assert_eq!(indices, [0, 1, 255, 1, 1, 0]);
    assert_eq!(palette[..6], [0, 0, 0, 1, 2, 3]);
    // Void has Pascal VOC's colour.
    assert_eq!(palette[765..], voc_color(255));
    assert_eq!(read_image(&path).unwrap().pixels[..9], [0, 0, 0, 1, 2, 3, 224, 224, 192]);
    assert_eq!(encode_labels(&[0, 1, 255, 1, 1, 0], 3, 2, &classes).unwrap(), fs::read(&path).unwrap());
}

#[test]
fn wrong_sizes_and_places_are_errors_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.png");
    let short = Image { pixels: vec![0; 5], ..image(2, 1) };
    let empty = Mask::new();
    type Check = fn(&Error) -> bool;
    let invalid: Check = |error| matches!(error, Error::InvalidArgument(_));
    let io: Check = |error| matches!(error, Error::Io(_));
    for (result, kind, words) in [
        (write_png(&path, &short), invalid, "2 x 1 pixels of 3 bytes, but the data holds 5 bytes"),
        (write_labels(&path, empty.labels(), empty.width(), empty.height(), &[]), invalid, "0 x 0 pixels"),
        (write_labels(&path, &[0; 7], 2, 4, &[]), invalid, "the data holds 7 bytes"),
        (write_png(folder.path().join("missing/out.png"), &image(2, 1)), io, "missing/out.png cannot be written"),
        (write_png(folder.path(), &image(2, 1)), io, "cannot be written"),
        (write_png("/", &image(2, 1)), io, "/ cannot be written"),
        (read_image(folder.path()).map(drop), io, "it is not a regular file"),
        (read_image(folder.path().join("no.jpg")).map(drop), io, "no.jpg cannot be opened"),
    ] {
        let error = result.expect_err(words);
        assert!(kind(&error) && error.to_string().contains(words), "{error:?}");
    }
    assert!(files(folder.path()).is_empty());
}
