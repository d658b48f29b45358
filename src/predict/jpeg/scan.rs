//! Turns the entropy-coded data of scans into coefficients, of one row of MCUs or of the whole
//! photo.

use super::JpegError;
use super::bits::{Bits, Huffman};
use super::header::{Component, Frame, Header, ZIGZAG};
use super::idct;
use super::output::Output;

/// Counts MCUs to the next restart marker.
struct Restarts {
    interval: usize,
    left: usize,
    number: u8,
}

impl Restarts {
    fn new(interval: usize) -> Self {
        Self {
            interval,
            left: interval,
            number: 0,
        }
    }

    /// Call this before each MCU. Returns true if predictions start again.
    fn due(&mut self, bits: &mut Bits<'_>) -> Result<bool, JpegError> {
        if self.interval == 0 {
            return Ok(false);
        }
        if self.left == 0 {
            bits.restart(self.number)?;
            self.number = (self.number + 1) % 8;
            self.left = self.interval - 1;
            return Ok(true);
        }
        self.left -= 1;
        Ok(false)
    }
}

fn table(tables: &[Option<Huffman>; 4], index: usize) -> Result<&Huffman, JpegError> {
    tables[index]
        .as_ref()
        .ok_or_else(|| JpegError::Corrupt(format!("Huffman table {index} is missing")))
}

fn too_long() -> JpegError {
    JpegError::Corrupt("a block has more than 64 coefficients".to_owned())
}

fn bad_category() -> JpegError {
    JpegError::Corrupt("a coefficient has more bits than a JPEG may have".to_owned())
}

/// The DC of the next block: the previous one plus a coded difference.
fn dc(bits: &mut Bits<'_>, table: &Huffman, last: &mut i32) -> Result<i32, JpegError> {
    let category = u32::from(bits.symbol(table)?);
    if category > 15 {
        return Err(bad_category());
    }
    *last = last.wrapping_add(bits.signed(category)?);
    Ok(*last)
}

/// Only damaged files have DCs beyond 16 bits.
#[expect(clippy::cast_possible_truncation, reason = "wraps as libjpeg's do")]
fn narrow(value: i32) -> i16 {
    value as i16
}

/// A whole block; returns the last index in zigzag order that was coded.
fn sequential_block(
    bits: &mut Bits<'_>,
    dc_table: &Huffman,
    ac_table: &Huffman,
    last_dc: &mut i32,
    block: &mut [i16; 64],
) -> Result<usize, JpegError> {
    block[0] = narrow(dc(bits, dc_table, last_dc)?);
    let mut last = 0;
    let mut k = 1;
    while k < 64 {
        let symbol = bits.symbol(ac_table)?;
        let (run, category) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        if category == 0 {
            if run < 15 {
                break;
            }
            k += 16;
            continue;
        }
        k += run;
        let natural = *ZIGZAG.get(k).ok_or_else(too_long)?;
        block[usize::from(natural)] = narrow(bits.signed(category)?);
        last = k;
        k += 1;
    }
    Ok(last)
}

/// Decodes a file with one sequential scan of all components.
pub(super) fn sequential(header: &mut Header<'_>, output: &mut Output) -> Result<(), JpegError> {
    let mut bits = Bits::new(header.bytes, header.position);
    let frame = &header.frame;
    let mut restarts = Restarts::new(header.restart_interval);
    let mut last_dc = [0; 4];
    let mut tables = Vec::new();
    for c in &header.scan.components {
        tables.push((
            c.index,
            table(&header.dc_tables, c.dc_table)?,
            table(&header.ac_tables, c.ac_table)?,
            quantization(&frame.components[c.index]),
        ));
    }
    for mcu_row in 0..frame.mcus_down {
        for mcu in 0..frame.mcus_across {
            if restarts.due(&mut bits)? {
                last_dc = [0; 4];
            }
            for (index, dc_table, ac_table, quantization) in &tables {
                let component = &frame.components[*index];
                for v in 0..component.v {
                    for h in 0..component.h {
                        let mut block = [0; 64];
                        let last = sequential_block(
                            &mut bits,
                            dc_table,
                            ac_table,
                            &mut last_dc[*index],
                            &mut block,
                        )?;
                        let column = mcu * component.h + h;
                        let (samples, stride) = output.block(*index, mcu_row, v, column);
                        idct::block(&block, quantization, last, samples, stride);
                    }
                }
            }
        }
        output.strip_done(mcu_row);
    }
    Ok(())
}

/// Every component has one once its scan header is read.
fn quantization(component: &Component) -> &[u16; 64] {
    component.quantization.as_ref().unwrap_or(&[1; 64])
}

/// All coefficients of a photo.
pub(super) struct Coefficients {
    /// For each component its blocks, row after row.
    blocks: Vec<Vec<[i16; 64]>>,
    /// Components whose DC scan was read.
    seen: Vec<bool>,
}

impl Coefficients {
    pub(super) fn new(frame: &Frame) -> Self {
        Self {
            blocks: frame
                .components
                .iter()
                .map(|c| vec![[0; 64]; c.stored_blocks])
                .collect(),
            seen: vec![false; frame.components.len()],
        }
    }

    /// Reads the scan that follows `header`.
    pub(super) fn read_scan(&mut self, header: &mut Header<'_>) -> Result<(), JpegError> {
        let mut bits = Bits::new(header.bytes, header.position);
        let mut pass = Pass::new(header)?;
        let mut restarts = Restarts::new(header.restart_interval);
        let frame = &header.frame;
        for c in &header.scan.components {
            self.seen[c.index] |= header.scan.start == 0;
        }
        if let [only] = header.scan.components[..] {
            // A scan of one component has its blocks in rows, without the blocks that only fill up
            // MCUs.
            let component = &frame.components[only.index];
            for y in 0..component.height.div_ceil(8) {
                for x in 0..component.width.div_ceil(8) {
                    if restarts.due(&mut bits)? {
                        pass.restart();
                    }
                    let block = &mut self.blocks[only.index][y * component.blocks_across + x];
                    pass.block(&mut bits, 0, block)?;
                }
            }
        } else {
            for mcu_row in 0..frame.mcus_down {
                for mcu in 0..frame.mcus_across {
                    if restarts.due(&mut bits)? {
                        pass.restart();
                    }
                    for (i, c) in header.scan.components.iter().enumerate() {
                        let component = &frame.components[c.index];
                        for v in 0..component.v {
                            for h in 0..component.h {
                                let y = mcu_row * component.v + v;
                                let x = mcu * component.h + h;
                                let at = y * component.blocks_across + x;
                                pass.block(&mut bits, i, &mut self.blocks[c.index][at])?;
                            }
                        }
                    }
                }
            }
        }
        header.position = bits.position();
        Ok(())
    }

    /// Whether every component has been read at all.
    pub(super) fn check_complete(&self, frame: &Frame) -> Result<(), JpegError> {
        match self.seen.iter().position(|seen| !seen) {
            None => Ok(()),
            Some(i) => Err(JpegError::Corrupt(format!(
                "component {} of {} has no data",
                i + 1,
                frame.components.len()
            ))),
        }
    }

    /// Makes the samples.
    pub(super) fn emit(&self, frame: &Frame, output: &mut Output) {
        for mcu_row in 0..frame.mcus_down {
            for (index, component) in frame.components.iter().enumerate() {
                let quantization = quantization(component);
                for v in 0..component.v {
                    let first = (mcu_row * component.v + v) * component.blocks_across;
                    let row = &self.blocks[index][first..first + component.blocks_across];
                    for (column, block) in row.iter().enumerate() {
                        let (samples, stride) = output.block(index, mcu_row, v, column);
                        let last = if block[1..].iter().all(|&c| c == 0) {
                            0
                        } else {
                            63
                        };
                        idct::block(block, quantization, last, samples, stride);
                    }
                }
            }
            output.strip_done(mcu_row);
        }
    }
}

/// How one scan changes a block, and its state between blocks.
struct Pass<'h> {
    kind: Kind,
    dc_tables: [Option<&'h Huffman>; 4],
    ac_tables: [Option<&'h Huffman>; 4],
    start: usize,
    end: usize,
    low: u32,
    last_dc: [i32; 4],
    /// Blocks left in a run of blocks without further coefficients in this scan.
    end_of_band_run: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sequential,
    DcFirst,
    DcRefine,
    AcFirst,
    AcRefine,
}

impl<'h> Pass<'h> {
    fn new(header: &'h Header<'_>) -> Result<Self, JpegError> {
        let scan = &header.scan;
        let kind = match (header.frame.progressive, scan.start, scan.high) {
            (false, ..) => Kind::Sequential,
            (true, 0, 0) => Kind::DcFirst,
            (true, 0, _) => Kind::DcRefine,
            (true, _, 0) => Kind::AcFirst,
            (true, ..) => Kind::AcRefine,
        };
        let mut pass = Self {
            kind,
            dc_tables: [None; 4],
            ac_tables: [None; 4],
            start: scan.start,
            end: scan.end,
            low: scan.low,
            last_dc: [0; 4],
            end_of_band_run: 0,
        };
        for (i, c) in scan.components.iter().enumerate() {
            if matches!(kind, Kind::Sequential | Kind::DcFirst) {
                pass.dc_tables[i] = Some(table(&header.dc_tables, c.dc_table)?);
            }
            if matches!(kind, Kind::Sequential | Kind::AcFirst | Kind::AcRefine) {
                pass.ac_tables[i] = Some(table(&header.ac_tables, c.ac_table)?);
            }
        }
        Ok(pass)
    }

    fn restart(&mut self) {
        self.last_dc = [0; 4];
        self.end_of_band_run = 0;
    }

    /// Reads this scan's part of `block`; `i` is the index of the component in the scan.
    fn block(
        &mut self,
        bits: &mut Bits<'_>,
        i: usize,
        block: &mut [i16; 64],
    ) -> Result<(), JpegError> {
        match (self.kind, self.dc_tables[i], self.ac_tables[i]) {
            (Kind::Sequential, Some(dc_table), Some(ac_table)) => {
                sequential_block(bits, dc_table, ac_table, &mut self.last_dc[i], block)?;
            }
            (Kind::DcFirst, Some(dc_table), _) => {
                let value = dc(bits, dc_table, &mut self.last_dc[i])?;
                block[0] = narrow(value.wrapping_shl(self.low));
            }
            (Kind::DcRefine, ..) => {
                if bits.take(1)? == 1 {
                    block[0] |= 1 << self.low;
                }
            }
            (Kind::AcFirst, _, Some(table)) => self.ac_first(bits, table, block)?,
            (Kind::AcRefine, _, Some(table)) => self.ac_refine(bits, table, block)?,
            // `new` has set the tables that the kind needs.
            _ => return Err(JpegError::Corrupt("a Huffman table is missing".to_owned())),
        }
        Ok(())
    }

    fn ac_first(
        &mut self,
        bits: &mut Bits<'_>,
        table: &Huffman,
        block: &mut [i16; 64],
    ) -> Result<(), JpegError> {
        if self.end_of_band_run > 0 {
            self.end_of_band_run -= 1;
            return Ok(());
        }
        let mut k = self.start;
        while k <= self.end {
            let symbol = bits.symbol(table)?;
            let (run, category) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            if category == 0 {
                if run < 15 {
                    self.end_of_band_run = (1 << run) - 1 + bits.take(run)?;
                    break;
                }
                k += 16;
                continue;
            }
            k += run as usize;
            if k > self.end {
                return Err(too_long());
            }
            let value = bits.signed(category)?.wrapping_shl(self.low);
            block[usize::from(ZIGZAG[k])] = narrow(value);
            k += 1;
        }
        Ok(())
    }

    fn ac_refine(
        &mut self,
        bits: &mut Bits<'_>,
        table: &Huffman,
        block: &mut [i16; 64],
    ) -> Result<(), JpegError> {
        let bit = 1_i16 << self.low;
        let mut k = self.start;
        if self.end_of_band_run == 0 {
            while k <= self.end {
                let symbol = bits.symbol(table)?;
                let (mut run, category) = (u32::from(symbol >> 4), symbol & 15);
                let mut new = 0;
                match category {
                    0 if run < 15 => {
                        self.end_of_band_run = (1 << run) + bits.take(run)?;
                        break;
                    }
                    // Sixteen zeros.
                    0 => {}
                    1 => new = if bits.take(1)? == 1 { bit } else { -bit },
                    _ => return Err(bad_category()),
                }
                // Nonzero coefficients are refined on the way and do not count.
                while k <= self.end {
                    let value = &mut block[usize::from(ZIGZAG[k])];
                    k += 1;
                    if *value != 0 {
                        refine(bits, value, bit)?;
                    } else if run == 0 {
                        *value = new;
                        break;
                    } else {
                        run -= 1;
                    }
                }
            }
        }
        if self.end_of_band_run > 0 {
            for &natural in &ZIGZAG[k..=self.end.max(k).min(63)] {
                if k > self.end {
                    break;
                }
                let value = &mut block[usize::from(natural)];
                if *value != 0 {
                    refine(bits, value, bit)?;
                }
                k += 1;
            }
            self.end_of_band_run -= 1;
        }
        Ok(())
    }
}

/// Reads one more bit of a nonzero coefficient.
fn refine(bits: &mut Bits<'_>, value: &mut i16, bit: i16) -> Result<(), JpegError> {
    if bits.take(1)? == 1 && *value & bit == 0 {
        *value = value.wrapping_add(if *value >= 0 { bit } else { -bit });
    }
    Ok(())
}
