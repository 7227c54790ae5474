//! The bits of a scan, and Huffman decoding.

use super::CUT_OFF;

/// The maximum length in bits of codes that are decoded by a single table lookup.
const SHORT: u32 = 9;

/// A Huffman table (T.81, annex C).
pub(super) struct HuffmanTable {
    /// Indexed by the next [`SHORT`] bits: length and symbol of the code; length 0 for longer
    /// codes.
    short: Vec<(u8, u8)>,
    /// For each length: one more than the last code, left-aligned in 16 bits, and the offset from a
    /// code to the index of its symbol.
    ends: [(u32, i32); 17],
    symbols: Vec<u8>,
}

impl HuffmanTable {
    /// Reads one table from a segment. Returns it and the rest of the segment.
    pub(super) fn read(segment: &[u8]) -> Result<(HuffmanTable, &[u8]), String> {
        let (counts, rest) = segment.split_first_chunk::<16>().ok_or(CUT_OFF)?;
        let total = counts.iter().map(|&count| usize::from(count)).sum();
        let (symbols, rest) = rest.split_at_checked(total).ok_or("a Huffman table ends too early")?;
        let mut short = vec![(0, 0); 1 << SHORT];
        let mut ends = [(0, 0); 17];
        let (mut code, mut place) = (0u32, 0usize);
        for (length, &count) in (1u32..).zip(counts) {
            let delta = place as i32 - code as i32;
            for &symbol in &symbols[place..place + usize::from(count)] {
                if code >= 1 << length {
                    return Err("a Huffman table has too many codes".to_owned());
                }
                if length <= SHORT {
                    let first = (code << (SHORT - length)) as usize;
                    short[first..first + (1 << (SHORT - length))].fill((length as u8, symbol));
                }
                code += 1;
            }
            place += usize::from(count);
            ends[length as usize] = (code << (16 - length), delta);
            code <<= 1;
        }
        Ok((HuffmanTable { short, ends, symbols: symbols.to_vec() }, rest))
    }
}

impl HuffmanTable {
    /// The symbol whose code is all zeros.
    pub(super) fn zeros(&self) -> Option<u8> {
        self.symbols.first().copied()
    }
}

/// The bits of a scan up to the next marker. A byte 0xff in the data is followed by a zero byte.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    place: usize,
    /// The next bits, in the lowest positions.
    next: u64,
    count: u32,
    /// The number of these bits past the end of the data.
    missing: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Bits<'a> {
        Bits { bytes, place: 0, next: 0, count: 0, missing: 0 }
    }

    /// Makes at least 16 bits available. Past the end of the data, they are zeros.
    fn fill(&mut self) {
        while self.count <= 48 {
            let byte = match (self.bytes.get(self.place), self.bytes.get(self.place + 1)) {
                (Some(0xff), Some(0)) => {
                    self.place += 2;
                    0xff
                }
                (Some(0xff), _) | (None, _) => {
                    self.missing += 8;
                    0
                }
                (Some(&byte), _) => {
                    self.place += 1;
                    byte
                }
            };
            self.next = self.next << 8 | u64::from(byte);
            self.count += 8;
        }
    }

    /// Whether bits past the end of the data were used.
    fn overread(&self) -> bool {
        self.missing > self.count
    }

    fn peek(&mut self, count: u32) -> u32 {
        if self.count < count {
            self.fill();
        }
        (self.next >> (self.count - count)) as u32 & ((1 << count) - 1)
    }

    /// Reads a number of at most 16 bits.
    pub(super) fn number(&mut self, count: u32) -> Result<u32, String> {
        let number = self.peek(count);
        self.count -= count;
        if self.overread() { Err(self.too_early()) } else { Ok(number) }
    }

    /// Reads the next symbol.
    pub(super) fn symbol(&mut self, table: &HuffmanTable) -> Result<u8, String> {
        let code = self.peek(16);
        let (mut length, mut symbol) = table.short[(code >> (16 - SHORT)) as usize];
        if length == 0 {
            let longer = (SHORT + 1..=16).find(|&length| code < table.ends[length as usize].0);
            let found = longer.and_then(|length| {
                let place = (code >> (16 - length)) as i32 + table.ends[length as usize].1;
                Some((length as u8, *table.symbols.get(usize::try_from(place).ok()?)?))
            });
            (length, symbol) = match found {
                Some(found) => found,
                None if self.missing > 0 => return Err(self.too_early()),
                None => {
                    return Err(format!("its pixel data has an invalid code, {} bytes into a scan", self.place));
                }
            };
        }
        self.count -= u32::from(length);
        if self.overread() { Err(self.too_early()) } else { Ok(symbol) }
    }

    fn too_early(&self) -> String {
        match self.bytes.get(self.place) {
            None => CUT_OFF.to_owned(),
            Some(_) => "its pixel data ends too early".to_owned(),
        }
    }

    /// Skips restart marker `number`, which must be next.
    pub(super) fn restart(&mut self, number: u32) -> Result<(), String> {
        self.finish()?;
        match self.bytes.get(self.place..self.place + 2) {
            Some(&[0xff, code]) if u32::from(code) == 0xd0 + number => self.place += 2,
            None => return Err(CUT_OFF.to_owned()),
            _ => return Err("a restart marker is missing in its pixel data".to_owned()),
        }
        (self.next, self.count, self.missing) = (0, 0, 0);
        Ok(())
    }

    /// Skips to the next marker that is not a restart marker.
    pub(super) fn pass_over(&mut self) {
        let rest = self.bytes.windows(2);
        let is_end = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7 | 0xff);
        self.place = rest.clone().position(is_end).unwrap_or(self.bytes.len());
    }

    /// Whether the data read so far contains many consecutive zero bytes.
    pub(super) fn has_hole(&self) -> bool {
        self.bytes[..self.place].split(|&byte| byte != 0).any(|zeros| zeros.len() >= HOLE)
    }

    /// The end of the scan, in bytes.
    pub(super) fn end(mut self) -> Result<usize, String> {
        self.finish()?;
        Ok(self.place)
    }

    /// Skips to the next marker, after at most a few bytes of padding.
    fn finish(&mut self) -> Result<(), String> {
        let unread = (self.count - self.missing) / 8;
        let is_zero = (self.next >> self.missing) & ((1 << (8 * unread)) - 1) == 0;
        let left = &self.bytes[self.place..];
        let zeros = left.iter().take_while(|&&byte| byte == 0).count();
        // Bytes 0xff may precede a marker.
        let fill = left[zeros..].iter().take_while(|&&byte| byte == 0xff).count();
        let Some(&code) = left.get(zeros + fill) else { return Err(CUT_OFF.to_owned()) };
        if fill == 0 || code == 0 || !is_zero || unread as usize + zeros > PADDING {
            return Err("its pixel data ends too late".to_owned());
        }
        self.place += zeros + fill - 1;
        Ok(())
    }
}

/// Some cameras write this many zeros after the last pixel.
const PADDING: usize = 16;

/// Consecutive zero bytes that would decode to dozens of equal coefficients, if the all-zeros code
/// is one of a coefficient.
const HOLE: usize = 16;
