//! The blocks of an image, and what each scan encodes of them.

use super::bits::{Bits, HuffmanTable};

/// Huffman tables by number.
pub(super) type Tables = [Option<HuffmanTable>; 4];

/// A frame header.
pub(super) struct FrameHeader {
    width: usize,
    height: usize,
    progressive: bool,
    components: Vec<Component>,
}

struct Component {
    id: u8,
    /// Blocks per MCU, horizontally and vertically.
    sampling: (usize, usize),
    /// Blocks per row, including padding to whole MCUs.
    columns: usize,
    /// Whether a scan had its DC coefficients.
    is_seen: bool,
    /// In progressive frames: one bit for each coefficient of each block that an earlier scan made
    /// nonzero.
    nonzero: Vec<u64>,
}

impl FrameHeader {
    /// Reads a frame header; `None` for one that the decoder rejects.
    pub(super) fn read(segment: &[u8], progressive: bool) -> Result<Option<FrameHeader>, String> {
        let Some((&[8, y1, y0, x1, x0, count], components)) = segment.split_first_chunk::<6>() else { return Ok(None) };
        let [height, width] = [[y1, y0], [x1, x0]].map(|pair| usize::from(u16::from_be_bytes(pair)));
        if width == 0 || height == 0 || !(1..=4).contains(&count) || components.len() < 3 * usize::from(count) {
            return Ok(None);
        }
        let component = |part: &[u8]| Component {
            id: part[0],
            sampling: (usize::from(part[1] >> 4), usize::from(part[1] & 15)),
            columns: 0,
            is_seen: false,
            nonzero: Vec::new(),
        };
        let components = components.chunks_exact(3).take(count.into()).map(component).collect();
        let mut frame = FrameHeader { width, height, progressive, components };
        if frame.components.iter().any(|one| !(1..=4).contains(&one.sampling.0) || !(1..=4).contains(&one.sampling.1)) {
            return Ok(None);
        }
        let (across, down) = frame.units();
        for component in &mut frame.components {
            component.columns = across * component.sampling.0;
            if progressive {
                component.nonzero = vec![0; component.columns * down * component.sampling.1];
            }
        }
        Ok(Some(frame))
    }

    /// The maximum sampling factors.
    fn sampling(&self) -> (usize, usize) {
        let most = |side: fn(&Component) -> usize| self.components.iter().map(side).max().unwrap_or(1);
        (most(|component| component.sampling.0), most(|component| component.sampling.1))
    }

    /// MCUs of the frame, horizontally and vertically.
    fn units(&self) -> (usize, usize) {
        let (across, down) = self.sampling();
        (self.width.div_ceil(8 * across), self.height.div_ceil(8 * down))
    }

    /// The blocks of a component that contain pixels, horizontally and vertically.
    fn blocks(&self, component: &Component) -> (usize, usize) {
        let (across, down) = self.sampling();
        let side = |pixels: usize, own: usize, most: usize| (pixels * own).div_ceil(most).div_ceil(8);
        (side(self.width, component.sampling.0, across), side(self.height, component.sampling.1, down))
    }

    /// Whether every component occurred in some scan.
    pub(super) fn is_complete(&self) -> Result<(), String> {
        if self.components.iter().all(|component| component.is_seen) {
            Ok(())
        } else {
            Err("some of its colours are missing".to_owned())
        }
    }
}

/// A scan header.
pub(super) struct Scan {
    /// The indices of its components in the frame, with the numbers of their tables.
    parts: Vec<(usize, usize, usize)>,
    /// The first and the last coefficient of each block.
    band: (u32, u32),
    /// Whether the scan refines coefficients of earlier scans by one bit.
    refines: bool,
}

impl Scan {
    pub(super) fn read(segment: &[u8], frame: &mut FrameHeader) -> Result<Scan, String> {
        let wrong = || "a scan header is invalid".to_owned();
        let (&count, rest) = segment.split_first().ok_or_else(wrong)?;
        let (parts, rest) = rest.split_at_checked(2 * usize::from(count)).ok_or_else(wrong)?;
        let &[start, end, bits, ..] = rest else { return Err(wrong()) };
        let place = |id: u8| frame.components.iter().position(|component| component.id == id).ok_or_else(wrong);
        let part = |pair: &[u8]| Ok((place(pair[0])?, usize::from(pair[1] >> 4), usize::from(pair[1] & 15)));
        let parts: Vec<_> = parts.chunks_exact(2).map(part).collect::<Result<_, String>>()?;
        let band = if frame.progressive { (u32::from(start), u32::from(end)) } else { (0, 63) };
        let is_right = match (frame.progressive, band) {
            (false, _) | (true, (0, 0)) => (1..=4).contains(&parts.len()),
            (true, (start, end)) => parts.len() == 1 && (1..=end).contains(&start) && end < 64,
        };
        if !is_right || parts.iter().any(|&(_, dc, ac)| dc > 3 || ac > 3) {
            return Err(wrong());
        }
        if band.0 == 0 {
            parts.iter().for_each(|part| frame.components[part.0].is_seen = true);
        }
        Ok(Scan { parts, band, refines: frame.progressive && bits >> 4 > 0 })
    }

    /// Reads all codes of the scan.
    pub(super) fn walk(
        &self,
        frame: &mut FrameHeader,
        bits: &mut Bits<'_>,
        (dc, ac): (&Tables, &Tables),
        interval: u32,
    ) -> Result<(), String> {
        // A scan of a single component does not contain the blocks that pad MCUs.
        let alone = self.parts.len() == 1;
        let units = if alone { frame.blocks(&frame.components[self.parts[0].0]) } else { frame.units() };
        let mut run = 0;
        let mut number = 0;
        for y in 0..units.1 {
            for x in 0..units.0 {
                if interval > 0 && number > 0 && number % interval == 0 {
                    bits.restart((number / interval - 1) % 8)?;
                    run = 0;
                }
                number += 1;
                for &(place, dc_number, ac_number) in &self.parts {
                    let Component { sampling, columns, nonzero, .. } = &mut frame.components[place];
                    let (across, down) = if alone { (1, 1) } else { *sampling };
                    let tables = (dc[dc_number].as_ref(), ac[ac_number].as_ref());
                    for block in 0..across * down {
                        let (x, y) = (x * across + block % across, y * down + block / across);
                        let mut none = 0;
                        let nonzero = nonzero.get_mut(y * *columns + x).unwrap_or(&mut none);
                        self.block(bits, tables, frame.progressive, &mut run, nonzero)?;
                    }
                }
            }
        }
        let is_coefficient =
            |table: &Option<HuffmanTable>| table.as_ref().and_then(HuffmanTable::zeros).is_some_and(|s| s & 15 > 0);
        let has_coefficients = self.band.1 > 0 && !self.refines;
        if has_coefficients && self.parts.iter().any(|part| is_coefficient(&ac[part.2])) && bits.has_hole() {
            return Err("its pixel data has a hole filled with zeros".to_owned());
        }
        Ok(())
    }

    fn block(
        &self,
        bits: &mut Bits<'_>,
        (dc, ac): (Option<&HuffmanTable>, Option<&HuffmanTable>),
        progressive: bool,
        run: &mut u32,
        nonzero: &mut u64,
    ) -> Result<(), String> {
        let missing = || "a Huffman table is missing".to_owned();
        let dc = || dc.ok_or_else(missing);
        match (progressive, self.band.0, self.refines) {
            (false, ..) => {
                mean(bits, dc()?)?;
                coefficients(bits, ac.ok_or_else(missing)?, (1, 63), &mut 0, nonzero)
            }
            (true, 0, false) => mean(bits, dc()?),
            (true, 0, true) => bits.number(1).map(drop),
            (true, _, false) => coefficients(bits, ac.ok_or_else(missing)?, self.band, run, nonzero),
            (true, _, true) => refine(bits, ac.ok_or_else(missing)?, self.band, run, nonzero),
        }
    }
}

/// The DC difference of a block (T.81, F.2.2.1).
fn mean(bits: &mut Bits<'_>, table: &HuffmanTable) -> Result<(), String> {
    match bits.symbol(table)? {
        length @ 0..=15 => bits.number(length.into()).map(drop),
        _ => Err(out_of_range()),
    }
}

/// The AC coefficients (T.81, F.2.2.2 and G.1.2.2); `run` counts blocks that have none.
fn coefficients(
    bits: &mut Bits<'_>,
    table: &HuffmanTable,
    (start, end): (u32, u32),
    run: &mut u32,
    nonzero: &mut u64,
) -> Result<(), String> {
    if *run > 0 {
        *run -= 1;
        return Ok(());
    }
    let mut place = start;
    while place <= end {
        let symbol = u32::from(bits.symbol(table)?);
        let (zeros, length) = (symbol >> 4, symbol & 15);
        if length == 0 && zeros < 15 {
            *run = (1 << zeros) - 1 + bits.number(zeros)?;
            break;
        }
        place += zeros;
        if length > 0 {
            if place > end {
                return Err(out_of_range());
            }
            bits.number(length)?;
            *nonzero |= 1 << place;
        }
        place += 1;
    }
    Ok(())
}

/// Refines nonzero coefficients by one bit, and reads new ones between them (T.81, G.1.2.3).
fn refine(
    bits: &mut Bits<'_>,
    table: &HuffmanTable,
    (start, end): (u32, u32),
    run: &mut u32,
    nonzero: &mut u64,
) -> Result<(), String> {
    let mut place = start;
    while place <= end && *run == 0 {
        let symbol = u32::from(bits.symbol(table)?);
        let (mut zeros, length) = (symbol >> 4, symbol & 15);
        match length {
            0 if zeros < 15 => {
                *run = (1 << zeros) + bits.number(zeros)?;
                break;
            }
            0 => {}
            1 => drop(bits.number(1)?),
            _ => return Err(out_of_range()),
        }
        while place <= end {
            if *nonzero >> place & 1 == 1 {
                bits.number(1)?;
            } else if zeros == 0 {
                break;
            } else {
                zeros -= 1;
            }
            place += 1;
        }
        if length == 1 {
            if place > end {
                return Err(out_of_range());
            }
            *nonzero |= 1 << place;
        }
        place += 1;
    }
    if *run > 0 {
        for place in place..=end {
            if *nonzero >> place & 1 == 1 {
                bits.number(1)?;
            }
        }
        *run -= 1;
    }
    Ok(())
}

fn out_of_range() -> String {
    "its pixel data has a value out of range".to_owned()
}
