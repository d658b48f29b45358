//! Markers: frame, tables, colour space, EXIF.

use super::JpegError;
use super::bits::Huffman;

/// Order in which a block's 64 coefficients are coded, as indices of rows of eight.
pub(super) const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// How components become RGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColorSpace {
    Gray,
    YCbCr,
    Rgb,
    /// Four inks. They are stored inverted, as Adobe writes them and Pillow assumes.
    Cmyk,
    /// Inks as YCbCr and black.
    Ycck,
}

/// A component of the frame.
#[derive(Clone, Debug)]
pub(super) struct Component {
    id: u8,
    /// Sampling factors, horizontal and vertical.
    pub h: usize,
    pub v: usize,
    /// Samples across and down that the photo uses.
    pub width: usize,
    pub height: usize,
    /// Blocks across, rounded up to whole MCUs.
    pub blocks_across: usize,
    /// Blocks of the whole component, rounded up to whole MCUs.
    pub stored_blocks: usize,
    table: u8,
    /// Quantization steps in natural order, from the tables at its first scan.
    pub quantization: Option<[u16; 64]>,
}

/// The frame: size and components.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub width: usize,
    pub height: usize,
    pub progressive: bool,
    pub components: Vec<Component>,
    /// Greatest sampling factors.
    pub h_max: usize,
    pub v_max: usize,
    /// MCUs of an interleaved scan.
    pub mcus_across: usize,
    pub mcus_down: usize,
}

/// One component of a scan.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScanComponent {
    pub index: usize,
    pub dc_table: usize,
    pub ac_table: usize,
}

/// The parameters of a scan.
#[derive(Clone, Debug, Default)]
pub(super) struct ScanHeader {
    pub components: Vec<ScanComponent>,
    /// First and last coefficient in zigzag order.
    pub start: usize,
    pub end: usize,
    /// Bit positions of successive approximation, before and of this scan.
    pub high: u32,
    pub low: u32,
}

/// What follows a scan.
pub(super) enum Segment {
    Scan,
    End,
}

/// Everything up to the entropy-coded data of a scan.
pub(super) struct Header<'a> {
    pub bytes: &'a [u8],
    pub position: usize,
    pub frame: Frame,
    pub color: ColorSpace,
    pub exif: Option<&'a [u8]>,
    /// The last XMP packet.
    pub xmp: Option<&'a [u8]>,
    pub scan: ScanHeader,
    /// MCUs between restart markers, 0 for none.
    pub restart_interval: usize,
    pub dc_tables: [Option<Huffman>; 4],
    pub ac_tables: [Option<Huffman>; 4],
    quantization: [Option<[u16; 64]>; 4],
}

/// Markers that decide the colour space.
#[derive(Default)]
struct Application {
    jfif: bool,
    adobe_transform: Option<u8>,
}

fn corrupt(message: impl Into<String>) -> JpegError {
    JpegError::Corrupt(message.into())
}

/// Reads big-endian fields of a segment.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], JpegError> {
        let (head, tail) = self
            .0
            .split_at_checked(n)
            .ok_or_else(|| corrupt("a header segment is shorter than its content"))?;
        self.0 = tail;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, JpegError> {
        Ok(self.take(1)?[0])
    }

    fn word(&mut self) -> Result<u16, JpegError> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }
}

impl<'a> Header<'a> {
    /// Reads up to the first scan.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, JpegError> {
        let mut header = Self {
            bytes,
            position: 2,
            frame: Frame {
                width: 0,
                height: 0,
                progressive: false,
                components: Vec::new(),
                h_max: 1,
                v_max: 1,
                mcus_across: 0,
                mcus_down: 0,
            },
            color: ColorSpace::Gray,
            exif: None,
            xmp: None,
            scan: ScanHeader::default(),
            restart_interval: 0,
            dc_tables: Default::default(),
            ac_tables: Default::default(),
            quantization: [None; 4],
        };
        let mut application = Application::default();
        match header.segments(&mut application)? {
            Segment::Scan => {}
            Segment::End => return Err(JpegError::Truncated),
        }
        header.color = header.color_space(&application)?;
        Ok(header)
    }

    /// Reads on to the next scan or the end of the image.
    pub(super) fn next_scan(&mut self) -> Result<Segment, JpegError> {
        self.segments(&mut Application::default())
    }

    /// Whether one sequential scan has every component, so that rows can be made while it is read.
    pub(super) fn streams(&self) -> bool {
        !self.frame.progressive && self.scan.components.len() == self.frame.components.len()
    }

    fn segments(&mut self, application: &mut Application) -> Result<Segment, JpegError> {
        loop {
            let marker = self.marker()?;
            match marker {
                0xD9 => return Ok(Segment::End),
                // Restart markers and TEM have no content.
                0x01 | 0xD0..=0xD7 => continue,
                _ => {}
            }
            let content = self.segment()?;
            match marker {
                0xC0..=0xC2 => self.frame(content, marker == 0xC2)?,
                0xC4 => self.huffman(content)?,
                0xC3 | 0xC5..=0xC7 | 0xCB | 0xCD..=0xCF => {
                    let what = match marker {
                        0xC3 => "lossless",
                        0xC5..=0xC7 => "hierarchical",
                        _ => "lossless or hierarchical arithmetic",
                    };
                    return Err(JpegError::Unsupported(format!("{what} coding")));
                }
                0xC9 | 0xCA | 0xCC => {
                    return Err(JpegError::Unsupported("arithmetic coding".to_owned()));
                }
                0xDA => {
                    self.scan(content)?;
                    return Ok(Segment::Scan);
                }
                0xDB => self.quantization(content)?,
                0xDC => {
                    let message = "a height given after the pixels (DNL)";
                    return Err(JpegError::Unsupported(message.to_owned()));
                }
                0xDD => self.restart_interval = usize::from(Fields(content).word()?),
                0xE0 if content.starts_with(b"JFIF\0") => application.jfif = true,
                0xE1 => {
                    let xmp = content.strip_prefix(b"http://ns.adobe.com/xap/1.0/\0");
                    self.xmp = xmp.or(self.xmp);
                    self.exif = self.exif.or(content.strip_prefix(b"Exif\0\0"));
                }
                0xEE if content.len() >= 12 && content.starts_with(b"Adobe") => {
                    application.adobe_transform = Some(content[11]);
                }
                _ => {}
            }
        }
    }

    /// Skips to the next marker and past it.
    fn marker(&mut self) -> Result<u8, JpegError> {
        loop {
            let rest = self
                .bytes
                .get(self.position..)
                .ok_or(JpegError::Truncated)?;
            match rest {
                [0xFF, b, ..] if !matches!(b, 0 | 0xFF) => {
                    self.position += 2;
                    return Ok(*b);
                }
                [_, _, ..] => self.position += 1,
                _ => return Err(JpegError::Truncated),
            }
        }
    }

    fn segment(&mut self) -> Result<&'a [u8], JpegError> {
        let rest = &self.bytes[self.position..];
        let &[a, b] = rest.first_chunk().ok_or(JpegError::Truncated)?;
        let len = usize::from(u16::from_be_bytes([a, b]));
        if len < 2 {
            return Err(corrupt("a header segment has no room for its own length"));
        }
        let content = rest.get(2..len).ok_or(JpegError::Truncated)?;
        self.position += len;
        Ok(content)
    }

    fn frame(&mut self, content: &[u8], progressive: bool) -> Result<(), JpegError> {
        if !self.frame.components.is_empty() {
            return Err(corrupt("two frame headers"));
        }
        let mut fields = Fields(content);
        let precision = fields.byte()?;
        if precision != 8 {
            return Err(JpegError::Unsupported(format!("{precision} bits a sample")));
        }
        let height = usize::from(fields.word()?);
        let width = usize::from(fields.word()?);
        let n = fields.byte()?;
        if width == 0 || height == 0 {
            return Err(corrupt(format!("a size of {width}x{height}")));
        }
        if !matches!(n, 1 | 3 | 4) {
            return Err(JpegError::Unsupported(format!("{n} components")));
        }
        let mut components = Vec::new();
        for _ in 0..n {
            let id = fields.byte()?;
            let sampling = fields.byte()?;
            let table = fields.byte()?;
            let (mut h, mut v) = (usize::from(sampling >> 4), usize::from(sampling & 15));
            if !(1..=4).contains(&h) || !(1..=4).contains(&v) || table > 3 {
                return Err(corrupt("a component's sampling factors or table"));
            }
            if n == 1 {
                // With one component the factors mean nothing: its scans are not interleaved.
                (h, v) = (1, 1);
            }
            components.push(Component {
                id,
                h,
                v,
                width: 0,
                height: 0,
                blocks_across: 0,
                stored_blocks: 0,
                table,
                quantization: None,
            });
        }
        let h_max = components.iter().map(|c| c.h).max().unwrap_or(1);
        let v_max = components.iter().map(|c| c.v).max().unwrap_or(1);
        let mcus_across = width.div_ceil(8 * h_max);
        let mcus_down = height.div_ceil(8 * v_max);
        for c in &mut components {
            if !h_max.is_multiple_of(c.h) || !v_max.is_multiple_of(c.v) {
                let message = format!("sampling factors {}x{} of {h_max}x{v_max}", c.h, c.v);
                return Err(JpegError::Unsupported(message));
            }
            c.width = (width * c.h).div_ceil(h_max);
            c.height = (height * c.v).div_ceil(v_max);
            c.blocks_across = mcus_across * c.h;
            c.stored_blocks = c.blocks_across * mcus_down * c.v;
        }
        self.frame = Frame {
            width,
            height,
            progressive,
            components,
            h_max,
            v_max,
            mcus_across,
            mcus_down,
        };
        Ok(())
    }

    fn huffman(&mut self, content: &[u8]) -> Result<(), JpegError> {
        let mut fields = Fields(content);
        while !fields.0.is_empty() {
            let which = fields.byte()?;
            let counts = fields.take(16)?;
            let counts: &[u8; 16] = counts.try_into().map_err(|_| JpegError::Truncated)?;
            let total: usize = counts.iter().map(|&c| usize::from(c)).sum();
            let symbols = fields.take(total)?;
            let table = Huffman::new(counts, symbols)?;
            let tables = match which >> 4 {
                0 => &mut self.dc_tables,
                1 => &mut self.ac_tables,
                _ => return Err(corrupt("a Huffman table's class")),
            };
            let slot = tables.get_mut(usize::from(which & 15));
            *slot.ok_or_else(|| corrupt("a Huffman table's number"))? = Some(table);
        }
        Ok(())
    }

    fn quantization(&mut self, content: &[u8]) -> Result<(), JpegError> {
        let mut fields = Fields(content);
        while !fields.0.is_empty() {
            let which = fields.byte()?;
            let mut table = [0; 64];
            for &natural in &ZIGZAG {
                table[usize::from(natural)] = match which >> 4 {
                    0 => u16::from(fields.byte()?),
                    1 => fields.word()?,
                    _ => return Err(corrupt("a quantization table's precision")),
                };
            }
            let slot = self.quantization.get_mut(usize::from(which & 15));
            *slot.ok_or_else(|| corrupt("a quantization table's number"))? = Some(table);
        }
        Ok(())
    }

    fn scan(&mut self, content: &[u8]) -> Result<(), JpegError> {
        if self.frame.components.is_empty() {
            return Err(corrupt("the pixels' data comes before the frame header"));
        }
        let mut fields = Fields(content);
        let n = usize::from(fields.byte()?);
        if n == 0 || n > self.frame.components.len() {
            return Err(corrupt(format!("a scan of {n} components")));
        }
        let mut scan = ScanHeader::default();
        for _ in 0..n {
            let id = fields.byte()?;
            let tables = fields.byte()?;
            let index = self
                .frame
                .components
                .iter()
                .position(|c| c.id == id)
                .ok_or_else(|| {
                    corrupt(format!("a scan of component {id}, which does not exist"))
                })?;
            if scan.components.iter().any(|c| c.index == index) {
                return Err(corrupt(format!("a scan names component {id} twice")));
            }
            let (dc_table, ac_table) = (usize::from(tables >> 4), usize::from(tables & 15));
            if dc_table > 3 || ac_table > 3 {
                return Err(corrupt("a Huffman table's number"));
            }
            scan.components.push(ScanComponent {
                index,
                dc_table,
                ac_table,
            });
            let component = &mut self.frame.components[index];
            if component.quantization.is_none() {
                // Tables may change between scans: a component keeps the tables of its first scan.
                component.quantization = self.quantization[usize::from(component.table)];
            }
            if component.quantization.is_none() {
                return Err(corrupt(format!("component {id} has no quantization table")));
            }
        }
        scan.start = usize::from(fields.byte()?);
        scan.end = usize::from(fields.byte()?);
        let approximation = fields.byte()?;
        scan.high = u32::from(approximation >> 4);
        scan.low = u32::from(approximation & 15);
        if self.frame.progressive {
            let dc = scan.start == 0;
            let spectrum = if dc {
                scan.end == 0
            } else {
                scan.start <= scan.end && scan.end < 64 && n == 1
            };
            let steps = scan.low <= 13 && (scan.high == 0 || scan.high == scan.low + 1);
            if !spectrum || !steps {
                return Err(corrupt(format!(
                    "a progressive scan of coefficients {}..={}, bits {} to {}",
                    scan.start, scan.end, scan.high, scan.low
                )));
            }
        } else {
            // Some encoders leave these bytes undefined. A sequential scan always has all
            // coefficients.
            (scan.start, scan.end, scan.high, scan.low) = (0, 63, 0, 0);
        }
        self.scan = scan;
        Ok(())
    }

    /// libjpeg's rules for files that do not name their colour space.
    fn color_space(&self, application: &Application) -> Result<ColorSpace, JpegError> {
        let ids: Vec<u8> = self.frame.components.iter().map(|c| c.id).collect();
        match (ids.len(), application.adobe_transform) {
            (1, _) => Ok(ColorSpace::Gray),
            (3, _) if application.jfif => Ok(ColorSpace::YCbCr),
            (3, Some(0)) => Ok(ColorSpace::Rgb),
            (3, None) if ids == *b"RGB" => Ok(ColorSpace::Rgb),
            (3, _) => Ok(ColorSpace::YCbCr),
            (4, Some(2)) => Ok(ColorSpace::Ycck),
            (4, _) => Ok(ColorSpace::Cmyk),
            (n, _) => Err(JpegError::Unsupported(format!("{n} components"))),
        }
    }
}
