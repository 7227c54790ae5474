//! Detects damaged JPEG files: reads every Huffman code of every scan (ITU-T T.81, annexes F and G)
//! without computing pixels. Decoders fill missing parts with grey, which would be learned and
//! labelled.

mod bits;
mod scan;

use bits::{Bits, HuffmanTable};
use scan::{FrameHeader, Scan};

const CUT_OFF: &str = "it is cut off";

/// Limits the work: each scan walks over all blocks, however short its data.
const MAX_SCANS: u32 = 100;

/// Describes the damage to a file. Data after the end of the first image is ignored: programs store
/// previews there, and phones store videos. JPEG types that the decoder rejects are not checked.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let mut reader = MarkerReader { bytes, place: 2 };
    let mut dc: [Option<HuffmanTable>; 4] = Default::default();
    let mut ac: [Option<HuffmanTable>; 4] = Default::default();
    let mut frame: Option<FrameHeader> = None;
    let (mut interval, mut scans) = (0, 0);
    loop {
        match reader.marker()? {
            // End of image.
            0xd9 => return frame.map_or(Err("it contains no image".to_owned()), |frame| frame.is_complete()),
            // Huffman tables.
            0xc4 => {
                let mut segment = reader.segment()?;
                while let [head, rest @ ..] = segment {
                    let (table, rest) = HuffmanTable::read(rest)?;
                    let tables = if head >> 4 == 0 { &mut dc } else { &mut ac };
                    *tables.get_mut(usize::from(head & 15)).ok_or("the number of a Huffman table is above 3")? =
                        Some(table);
                    segment = rest;
                }
            }
            // Frames: baseline, extended, progressive.
            kind @ 0xc0..=0xc2 => match FrameHeader::read(reader.segment()?, kind == 0xc2)? {
                // The decoder rejects invalid frame headers.
                None => return Ok(()),
                Some(_) if frame.is_some() => return Err("it has two frame headers".to_owned()),
                found => frame = found,
            },
            // Lossless, hierarchical and arithmetic frames, which the decoder rejects.
            0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => return Ok(()),
            // Restart interval.
            0xdd => interval = reader.segment()?.first_chunk().map_or(0, |pair| u16::from_be_bytes(*pair)),
            // Start of scan.
            0xda => {
                let frame = frame.as_mut().ok_or("a scan comes before the frame header")?;
                let scan = Scan::read(reader.segment()?, frame)?;
                let mut bits = Bits::new(&bytes[reader.place..]);
                scans += 1;
                if scans > MAX_SCANS {
                    return Err(format!("it has more than {MAX_SCANS} scans"));
                }
                // Frames of MJPEG videos may omit the standard tables; their scans are not checked.
                if dc.iter().chain(&ac).all(Option::is_none) {
                    bits.pass_over();
                } else {
                    scan.walk(frame, &mut bits, (&dc, &ac), u32::from(interval))?;
                }
                reader.place += bits.end()?;
            }
            // Restart markers belong inside a scan, and start of image to the beginning of the
            // file.
            0xd0..=0xd8 => return Err("a marker is in an invalid position".to_owned()),
            0x01..=0xbf => return Err("it has an unknown marker".to_owned()),
            _ => drop(reader.segment()?),
        }
    }
}

/// Iterates over markers.
struct MarkerReader<'a> {
    bytes: &'a [u8],
    place: usize,
}

impl<'a> MarkerReader<'a> {
    /// The code of the next marker, which any number of bytes 0xff may precede.
    fn marker(&mut self) -> Result<u8, String> {
        let rest = self.bytes.get(self.place..).unwrap_or_default();
        let fill = rest.iter().take_while(|&&byte| byte == 0xff).count();
        match rest.get(fill) {
            None => Err(CUT_OFF.to_owned()),
            Some(_) if fill == 0 => Err(format!("a marker is missing at byte {}", self.place)),
            Some(0) => Err(format!("a marker is missing at byte {}", self.place)),
            Some(&code) => {
                self.place += fill + 1;
                Ok(code)
            }
        }
    }

    /// The content of a marker's segment.
    fn segment(&mut self) -> Result<&'a [u8], String> {
        let rest = self.bytes.get(self.place..).unwrap_or_default();
        let length = usize::from(u16::from_be_bytes(*rest.first_chunk().ok_or(CUT_OFF)?));
        let segment = rest.get(2..length.max(2)).ok_or(CUT_OFF)?;
        self.place += length.max(2);
        Ok(segment)
    }
}
