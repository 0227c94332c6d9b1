//! Pictures: PNG, JPEG, BMP and TIFF, told apart by their content, brought to another size.

use std::io::Cursor;
use std::path::Path;

use flate2::Crc;
use tiff::decoder::{Decoder as TiffDecoder, DecodingResult};
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;

use crate::error::{Error, Place, Result};
use crate::file::Limits;

/// The format of a file, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Portable Network Graphics.
    Png,
    /// JPEG.
    Jpeg,
    /// Windows bitmap.
    Bmp,
    /// TIFF.
    Tiff,
    /// A picture in a format that is not read; its name.
    Other(&'static str),
}

impl Format {
    /// How many first bytes [`Format::of`] looks at.
    pub const START: usize = 16;

    /// By the first bytes of a file.
    ///
    /// ```
    /// use cotangent_data::picture::Format;
    /// assert_eq!(Format::of(b"\x89PNG\r\n\x1a\n"), Some(Format::Png));
    /// assert_eq!(Format::of(b"GIF89a"), Some(Format::Other("GIF")));
    /// assert_eq!(Format::of(b"hello"), None);
    /// ```
    pub fn of(start: &[u8]) -> Option<Self> {
        let starts = |with: &[u8]| start.starts_with(with);
        match start {
            _ if starts(b"\x89PNG") => Some(Format::Png),
            _ if starts(b"\xff\xd8\xff") => Some(Format::Jpeg),
            _ if starts(b"BM") && start.len() >= 14 && start[6..10] == [0; 4] => Some(Format::Bmp),
            _ if starts(b"II*\0") || starts(b"MM\0*") => Some(Format::Tiff),
            _ if starts(b"II+\0") || starts(b"MM\0+") => Some(Format::Tiff),
            _ if starts(b"GIF8") => Some(Format::Other("GIF")),
            _ if starts(b"RIFF") && start.get(8..12) == Some(b"WEBP") => Some(Format::Other("WebP")),
            _ if start.get(4..8) == Some(b"ftyp") => Some(Format::Other("HEIC or AVIF")),
            _ if starts(b"%PDF") => Some(Format::Other("PDF")),
            _ => None,
        }
    }
}

/// How a picture is brought to another size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Each new pixel is the mean of the area that it covers.
    Area,
    /// Between the four nearest pixels along lines; as PyTorch's `bilinear` with `align_corners=False`.
    Bilinear,
}

/// Levels of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Levels {
    /// From 0 (black) to 255.
    U8(Vec<u8>),
    /// From 0 (black) to 65535.
    U16(Vec<u16>),
}

/// A picture, grey or red-green-blue; row by row, the channels of a pixel side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// 1 or 3.
    pub channels: usize,
    /// `height · width · channels` levels.
    pub levels: Levels,
    /// What was done to it as it was read.
    pub done: Vec<String>,
}

/// The samples of a file as they were decoded.
struct Raw {
    width: usize,
    height: usize,
    /// Samples of a pixel: grey, grey and alpha, colour, colour and alpha.
    samples: usize,
    levels: Levels,
    /// Whether the colours come from a palette, which may hold greys only.
    palette: bool,
    done: Vec<String>,
}

const MEND: &str = "open it in a picture program and save it again as PNG";

impl Picture {
    /// Decodes a file's bytes, whatever its name says. Transparent parts become white, as on paper; of several pages
    /// the first is taken.
    ///
    /// # Errors
    /// When they are no picture in one of the four formats, end early, are damaged, or hold more pixels than `limits`
    /// allows. `name` stands in the error.
    pub fn decode(bytes: &[u8], name: &Path, limits: &Limits) -> Result<Self> {
        let format = Format::of(bytes);
        let raw = match format {
            Some(Format::Png) => png(bytes, name, limits)?,
            Some(Format::Jpeg) => jpeg(bytes, name, limits)?,
            Some(Format::Bmp) => bmp(bytes, name, limits)?,
            Some(Format::Tiff) => tiff(bytes, name, limits)?,
            Some(Format::Other(other)) => {
                let text = format!("is a picture in the format {other}, which is not read");
                return Err(Error::new(name, text)
                    .at(Place::Byte(0))
                    .help("save it as PNG, JPEG, BMP or TIFF"));
            }
            None => {
                let start: Vec<String> = bytes.iter().take(4).map(|b| format!("{b:02x}")).collect();
                let text = format!("begins with {}, as no PNG, JPEG, BMP or TIFF does", start.join(" "));
                return Err(Error::new(name, text).at(Place::Byte(0)).help(MEND));
            }
        };
        raw.picture(name)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// As [`Picture::decode`], and when the file cannot be read.
    pub fn read(path: &Path, limits: &Limits) -> Result<Self> {
        Picture::decode(&crate::read_bytes(path, limits.pixels.saturating_mul(16))?, path, limits)
    }

    /// Whether its levels have 16 bits.
    pub fn is_deep(&self) -> bool {
        matches!(self.levels, Levels::U16(_))
    }

    /// Grey (1) or colour (3). Grey is 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601).
    #[must_use]
    pub fn with_channels(mut self, channels: usize) -> Self {
        fn convert<T: Copy + Into<u32>>(v: &[T], to_grey: bool, back: impl Fn(u32) -> T) -> Vec<T> {
            if !to_grey {
                return v.iter().flat_map(|x| [*x; 3]).collect();
            }
            let grey = |rgb: &[T]| {
                let [r, g, b]: [u32; 3] = [rgb[0].into(), rgb[1].into(), rgb[2].into()];
                back((299 * r + 587 * g + 114 * b + 500) / 1000)
            };
            v.chunks_exact(3).map(grey).collect()
        }
        if self.channels != channels {
            let to_grey = channels == 1;
            self.levels = match &self.levels {
                Levels::U8(v) => Levels::U8(convert(v, to_grey, |x| x as u8)),
                Levels::U16(v) => Levels::U16(convert(v, to_grey, |x| x as u16)),
            };
            self.channels = if to_grey { 1 } else { 3 };
        }
        self
    }

    /// Another size; the proportions change with it.
    ///
    /// ```
    /// use cotangent_data::{Filter, Picture, picture::Levels};
    /// let p = Picture { width: 2, height: 1, channels: 1, levels: Levels::U8(vec![0, 100]), done: vec![] };
    /// assert_eq!(p.resized(1, 1, Filter::Area).levels, Levels::U8(vec![50]));
    /// ```
    #[must_use]
    pub fn resized(mut self, height: usize, width: usize, filter: Filter) -> Self {
        if (height, width) == (self.height, self.width) {
            return self;
        }
        let shape = (self.height, self.width, self.channels);
        let size = |v: Vec<f32>| resample(&v, shape, (height, width), filter);
        self.levels = match &self.levels {
            Levels::U8(v) => {
                let v = size(v.iter().map(|x| f32::from(*x)).collect());
                Levels::U8(v.iter().map(|x| x.round().clamp(0.0, 255.0) as u8).collect())
            }
            Levels::U16(v) => {
                let v = size(v.iter().map(|x| f32::from(*x)).collect());
                Levels::U16(v.iter().map(|x| x.round().clamp(0.0, 65535.0) as u16).collect())
            }
        };
        self.done.push(format!("{}×{} scaled to {height}×{width}", self.height, self.width));
        (self.height, self.width) = (height, width);
        self
    }

    /// `[channels, height, width]`, levels from 0 to 255; those of 16 bits keep their fractions.
    pub fn planes(&self) -> Vec<f32> {
        let n = self.channels.max(1);
        let level = |i: usize| match &self.levels {
            Levels::U8(v) => f32::from(v[i]),
            Levels::U16(v) => f32::from(v[i]) / 257.0,
        };
        let pixels = self.width * self.height;
        (0..n).flat_map(|c| (0..pixels).map(move |p| (c, p))).map(|(c, p)| level(p * n + c)).collect()
    }
}

/// Rows, then columns, as weighted sums.
fn resample(x: &[f32], from: (usize, usize, usize), to: (usize, usize), filter: Filter) -> Vec<f32> {
    let ((h, w, c), (height, width)) = (from, to);
    let (rows, columns) = (weights(h, height, filter), weights(w, width, filter));
    let line = w * c;
    let mut tall = vec![0.0_f32; height * line];
    for (cells, into) in rows.iter().zip(tall.chunks_exact_mut(line.max(1))) {
        for (row, weight) in cells {
            let from = &x[row * line..][..line];
            into.iter_mut().zip(from).for_each(|(y, x)| *y += x * weight);
        }
    }
    let mut out = Vec::with_capacity(height * width * c);
    for row in tall.chunks_exact(line.max(1)) {
        for cells in &columns {
            for channel in 0..c {
                out.push(cells.iter().map(|(i, weight)| row[i * c + channel] * weight).sum());
            }
        }
    }
    out
}

/// For each of `to` cells over a line of `from` cells: which it is made of, and how much of each; the sum is 1.
fn weights(from: usize, to: usize, filter: Filter) -> Vec<Vec<(usize, f32)>> {
    let scale = from as f64 / to as f64;
    let area = |i: usize| {
        let (start, end) = (i as f64 * scale, (i + 1) as f64 * scale);
        let last = (end.ceil() as usize).min(from);
        let part = |c: usize| (end.min(c as f64 + 1.0) - start.max(c as f64)) / scale;
        let cells = (start.floor() as usize..last).map(|c| (c, part(c) as f32));
        cells.filter(|(_, p)| *p > 1e-7).collect()
    };
    let line = |i: usize| {
        let at = ((i as f64 + 0.5) * scale - 0.5).clamp(0.0, (from - 1) as f64);
        let (low, share) = (at.floor() as usize, at.fract() as f32);
        vec![(low, 1.0 - share), ((low + 1).min(from - 1), share)]
    };
    (0..to).map(|i| if filter == Filter::Area { area(i) } else { line(i) }).collect()
}

impl Raw {
    /// As it was seen, where a camera noted how it was held.
    fn turned(mut self, orientation: u8) -> Self {
        fn moved<T: Copy>(v: &[T], samples: usize, [h, w]: [usize; 2], orientation: u8) -> Vec<T> {
            let (rows, columns) = if orientation >= 5 { (w, h) } else { (h, w) };
            let from = |r: usize, c: usize| match orientation {
                2 => (r, w - 1 - c),
                3 => (h - 1 - r, w - 1 - c),
                4 => (h - 1 - r, c),
                5 => (c, r),
                6 => (h - 1 - c, r),
                7 => (h - 1 - c, w - 1 - r),
                8 => (c, w - 1 - r),
                _ => (r, c),
            };
            let places = (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c)));
            places
                .flat_map(|(r, c)| {
                    let (y, x) = from(r, c);
                    v[(y * w + x) * samples..][..samples].iter().copied()
                })
                .collect()
        }
        let size = [self.height, self.width];
        let held = match &self.levels {
            Levels::U8(v) => v.len(),
            Levels::U16(v) => v.len(),
        };
        if orientation == 1 || held != self.height * self.width * self.samples {
            return self;
        }
        self.levels = match &self.levels {
            Levels::U8(v) => Levels::U8(moved(v, self.samples, size, orientation)),
            Levels::U16(v) => Levels::U16(moved(v, self.samples, size, orientation)),
        };
        if orientation >= 5 {
            (self.height, self.width) = (self.width, self.height);
        }
        self.done.push(format!("turned as its camera was held (EXIF {orientation})"));
        self
    }

    fn picture(mut self, name: &Path) -> Result<Picture> {
        let samples = self.width.checked_mul(self.height).and_then(|n| n.checked_mul(self.samples));
        let found = match &self.levels {
            Levels::U8(v) => v.len(),
            Levels::U16(v) => v.len(),
        };
        if self.width == 0 || self.height == 0 {
            let text = format!("has {} × {} pixels, and a picture has at least one", self.width, self.height);
            return Err(Error::new(name, text).help("save it again in a picture program"));
        }
        if samples != Some(found) {
            let text = format!(
                "holds {found} samples, and {} × {} pixels of {} are expected",
                self.width, self.height, self.samples
            );
            return Err(Error::new(name, text).help("it is damaged: copy it again"));
        }
        let channels = if self.samples > 2 { 3 } else { 1 };
        if self.samples != channels {
            let (levels, transparent) = match &self.levels {
                Levels::U8(v) => {
                    let (v, t) = on_white(v, channels, 255);
                    (Levels::U8(v), t)
                }
                Levels::U16(v) => {
                    let (v, t) = on_white(v, channels, 65535);
                    (Levels::U16(v), t)
                }
            };
            self.levels = levels;
            if transparent {
                self.done.push("transparent parts made white".into());
            }
        }
        let (width, height) = (self.width, self.height);
        let picture = Picture { width, height, channels, levels: self.levels, done: self.done };
        let is_grey = match &picture.levels {
            Levels::U8(v) => channels == 3 && v.chunks_exact(3).all(|p| p[0] == p[1] && p[1] == p[2]),
            Levels::U16(_) => false,
        };
        Ok(if self.palette && is_grey { picture.with_channels(1) } else { picture })
    }
}

/// `alpha · colour + (1 − alpha) · white`; whether there was any alpha below 1.
fn on_white<T: Copy + Into<u64> + TryFrom<u64>>(v: &[T], channels: usize, white: u64) -> (Vec<T>, bool) {
    let mut transparent = false;
    let mut out = Vec::with_capacity(v.len() / (channels + 1) * channels);
    for pixel in v.chunks_exact(channels + 1) {
        let alpha: u64 = pixel[channels].into();
        transparent |= alpha < white;
        for x in &pixel[..channels] {
            let x: u64 = (*x).into();
            let mixed = (alpha * x + (white - alpha) * white + white / 2) / white;
            // A mean of two levels is a level.
            out.extend(T::try_from(mixed).ok());
        }
    }
    (out, transparent)
}

/// Refuses a header that promises too many pixels, before any memory is taken.
fn check_size(width: u64, height: u64, name: &Path, limits: &Limits) -> Result<()> {
    match width.checked_mul(height) {
        Some(0) => Err(Error::new(name, format!("declares {width} × {height} pixels"))
            .help("it is damaged or empty: copy or save it again")),
        Some(pixels) if pixels <= limits.pixels => Ok(()),
        _ => {
            let text = format!("declares {width} × {height} pixels, and at most {} are taken", limits.pixels);
            Err(Error::new(name, text).help("scale it down in a picture program"))
        }
    }
}

fn damaged(name: &Path, format: &str, error: impl std::fmt::Display) -> Error {
    let text = format!("is a damaged or incomplete {format} picture: {error}");
    Error::new(name, text).help("copy it again, or save it again as PNG")
}

/// What a decoder says of damage, in one line; where the bytes just end, that and where.
fn broken(name: &Path, format: &str, bytes: &[u8], error: impl std::fmt::Display) -> Error {
    let mut text = error.to_string();
    // Of what the crate for PNG knows about a piece, its name is enough.
    if let Some((before, rest)) = text.split_once("ChunkType { type: ")
        && let Some((kind, after)) =
            rest.split_once(',').and_then(|(k, rest)| Some((k, rest.split_once('}')?.1)))
    {
        text = format!("{before}{kind}{after}");
    }
    let end = ["unexpected end of file", "failed to fill whole buffer", "Not enough bytes"];
    match end.iter().any(|words| text.contains(words)) {
        true => damaged(name, format, "it ends early").at(Place::Byte(bytes.len() as u64)),
        false => damaged(name, format, text.split_whitespace().collect::<Vec<_>>().join(" ")),
    }
}

/// The first piece of a PNG file that is cut off or does not fit its checksum (CRC-32), and the byte where it shows.
fn torn(bytes: &[u8]) -> Option<(String, u64)> {
    let end = bytes.len() as u64;
    let mut at = 8;
    loop {
        let Some(head) = bytes.get(at..at + 8) else { return Some(("it ends early".into(), end)) };
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let chunk = String::from_utf8_lossy(&head[4..]).into_owned();
        let Some(content) = bytes.get(at + 4..at + 8 + length) else {
            return Some((format!("it ends within its piece {chunk:?}"), end));
        };
        let mut crc = Crc::new();
        crc.update(content);
        match bytes.get(at + 8 + length..at + 12 + length) {
            None => return Some((format!("it ends within its piece {chunk:?}"), end)),
            Some(stored) if *stored != crc.sum().to_be_bytes() => {
                return Some((format!("the checksum of its piece {chunk:?} does not fit"), at as u64));
            }
            Some(_) if chunk == "IEND" => return None,
            Some(_) => at += 12 + length,
        }
    }
}

fn from_bytes_be(bytes: &[u8]) -> Vec<u16> {
    bytes.as_chunks::<2>().0.iter().map(|b| u16::from_be_bytes(*b)).collect()
}

fn png(bytes: &[u8], name: &Path, limits: &Limits) -> Result<Raw> {
    let bad = |e: png::DecodingError| match torn(bytes) {
        Some((what, at)) => damaged(name, "PNG", what).at(Place::Byte(at)),
        None => broken(name, "PNG", bytes, e),
    };
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::EXPAND);
    decoder.set_limits(png::Limits {
        bytes: usize::try_from(limits.pixels.saturating_mul(8)).unwrap_or(usize::MAX),
    });
    // Notes beside the picture, which may be compressed bombs, are not read.
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let header = decoder.read_header_info().map_err(bad)?;
    check_size(u64::from(header.width), u64::from(header.height), name, limits)?;
    let palette = header.color_type == png::ColorType::Indexed;
    let mut reader = decoder.read_info().map_err(bad)?;
    // The crate takes three bytes a colour, and at most 256 of them, for granted.
    let colours = reader.info().palette.as_ref().map_or(3, |p| p.len());
    if colours == 0 || colours % 3 != 0 || colours > 3 * 256 {
        let text = format!("its palette has {colours} bytes, expected three for each of 1 to 256 colours");
        return Err(damaged(name, "PNG", text));
    }
    let size = reader.output_buffer_size().ok_or_else(|| damaged(name, "PNG", "it is too large"))?;
    let mut levels = vec![0; size];
    let frame = reader.next_frame(&mut levels).map_err(bad)?;
    // The end is read too: its checksums tell a whole file from one that was cut off.
    reader.finish().map_err(bad)?;
    levels.truncate(frame.buffer_size());
    let levels = match frame.bit_depth {
        png::BitDepth::Sixteen => Levels::U16(from_bytes_be(&levels)),
        _ => Levels::U8(levels),
    };
    let (width, height) = (frame.width as usize, frame.height as usize);
    Ok(Raw { width, height, samples: frame.color_type.samples(), levels, palette, done: Vec::new() })
}

/// Scans of a progressive JPEG picture; cameras and programs make about ten.
const MOST_SCANS: usize = 100;

fn jpeg(bytes: &[u8], name: &Path, limits: &Limits) -> Result<Raw> {
    let bad = |e: zune_jpeg::errors::DecodeErrors| broken(name, "JPEG", bytes, e);
    // Each scan goes over the whole picture again; a few hundred bytes could ask for any number of them.
    let scans = bytes.windows(2).filter(|marker| **marker == [0xff, 0xda]).count();
    if scans > MOST_SCANS {
        let text = format!("it has {scans} scans, and at most {MOST_SCANS} are read");
        return Err(damaged(name, "JPEG", text));
    }
    let most = usize::try_from(limits.pixels).unwrap_or(usize::MAX).min(1 << 16);
    let options = DecoderOptions::new_safe().set_strict_mode(true).set_max_width(most).set_max_height(most);
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(Cursor::new(bytes), options);
    decoder.decode_headers().map_err(bad)?;
    let (width, height) = decoder.dimensions().ok_or_else(|| damaged(name, "JPEG", "it has no header"))?;
    check_size(width as u64, height as u64, name, limits)?;
    let turn = decoder.exif().and_then(|exif| orientation(exif)).unwrap_or(1);
    let grey = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let colours = if grey { ColorSpace::Luma } else { ColorSpace::RGB };
    decoder.set_options(options.jpeg_set_out_colorspace(colours));
    let levels = Levels::U8(decoder.decode().map_err(bad)?);
    // What follows the pixels of a whole file is its end marker; some cameras put zeros behind it.
    if !bytes.windows(2).rev().any(|end| end == [0xff, 0xd9]) {
        return Err(damaged(name, "JPEG", "it has no end marker").at(Place::Byte(bytes.len() as u64)));
    }
    let raw =
        Raw { width, height, samples: if grey { 1 } else { 3 }, levels, palette: false, done: Vec::new() };
    Ok(raw.turned(turn))
}

/// How a camera was held: 1 to 8, as EXIF counts; nothing where it does not say, or its notes are damaged.
fn orientation(exif: &[u8]) -> Option<u8> {
    let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let little = match exif.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let half = |at: usize| {
        let two = <[u8; 2]>::try_from(exif.get(at..at.checked_add(2)?)?).ok()?;
        Some(if little { u16::from_le_bytes(two) } else { u16::from_be_bytes(two) })
    };
    let word = |at: usize| {
        let (a, b) = (u32::from(half(at)?), u32::from(half(at.checked_add(2)?)?));
        Some(if little { b << 16 | a } else { a << 16 | b })
    };
    let first = word(4)? as usize;
    let entries = usize::from(half(first)?);
    let entry = (0..entries).map(|i| first + 2 + 12 * i).find(|at| half(*at) == Some(0x0112))?;
    // One whole number of two bytes, which stands in the entry itself.
    let value = (half(entry + 2)? == 3 && word(entry + 4)? == 1).then(|| half(entry + 8)).flatten()?;
    u8::try_from(value).ok().filter(|n| (1..=8).contains(n))
}

/// Rows of 1, 2, 4 or 8 bits with a palette, or of 16, 24 or 32 bits; not compressed by runs. The crates for it misread
/// rows of 1 bit, or bring a whole library along.
fn bmp(bytes: &[u8], name: &Path, limits: &Limits) -> Result<Raw> {
    let end = bytes.len();
    let bad = |at: usize, text: String| damaged(name, "BMP", text).at(Place::Byte(at as u64));
    let short = || bad(end, "it ends within its header".into());
    let half = |at: usize| bytes.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]])).ok_or_else(short);
    let word = |at: usize| Ok::<u32, Error>(u32::from(half(at)?) | u32::from(half(at + 2)?) << 16);
    let (start, header) = (word(10)? as usize, word(14)? as usize);
    if !matches!(header, 12 | 40 | 52 | 56 | 64 | 108 | 124) {
        return Err(bad(14, format!("it declares a header of {header} bytes, as no kind of BMP has")));
    }
    if start < 14 + header {
        return Err(bad(10, format!("its pixels are to begin at byte {start}, within its header")));
    }
    // A header of 12 bytes is OS/2's, with sizes of 16 bits and a palette of three bytes a colour.
    let old = header == 12;
    let (width, height, depth, packed) = match old {
        true => (i64::from(half(18)?), i64::from(half(20)?), half(24)?, 0),
        false => (i64::from(word(18)? as i32), i64::from(word(22)? as i32), half(28)?, word(30)?),
    };
    if width <= 0 || height == 0 {
        return Err(bad(18, format!("it declares {width} × {height} pixels")));
    }
    check_size(width as u64, height.unsigned_abs(), name, limits)?;
    let masks: [u32; 4] = match (depth, packed) {
        (1 | 2 | 4 | 8, 0) => [0; 4],
        (16, 0) => [0x7c00, 0x03e0, 0x001f, 0],
        (24 | 32, 0) => [0xff_0000, 0xff00, 0xff, 0],
        // The masks follow the first forty bytes of the header, inside it or behind.
        (16 | 32, 3) => [word(54)?, word(58)?, word(62)?, if header >= 56 { word(66)? } else { 0 }],
        (16 | 32, 6) => [word(54)?, word(58)?, word(62)?, word(66)?],
        (_, 1 | 2) => {
            let found = Error::new(name, "is a BMP picture compressed by runs, which is not read");
            return Err(found.at(Place::Byte(30)).help(MEND));
        }
        _ => return Err(bad(28, format!("it declares {depth} bits a pixel, packed in way {packed}"))),
    };
    if matches!(packed, 3 | 6) && masks[..3].contains(&0) {
        return Err(bad(54, "no bits of its pixels are for one of the colours".into()));
    }
    let (w, h) = (width as usize, height.unsigned_abs() as usize);
    let row = (w * usize::from(depth)).div_ceil(32) * 4;
    let pixels = start.checked_add(row * h).and_then(|to| bytes.get(start..to)).ok_or_else(|| {
        bad(end, format!("its header asks for {} bytes from byte {start} on, and it has {end}", row * h))
    })?;
    // The lowest row comes first, unless the height is negative.
    let rows = (0..h).map(|r| &pixels[if height > 0 { h - 1 - r } else { r } * row..][..row]);
    let mut done = Vec::new();
    let (samples, levels) = if depth <= 8 {
        let (first, size) = (14 + header, if old { 3 } else { 4 });
        let colours = bytes.get(first..start).unwrap_or_default();
        let colour =
            |i: u8| colours.get(usize::from(i) * size..).and_then(|c| Some([*c.get(2)?, c[1], c[0]]));
        let mut out = Vec::with_capacity(w * h * 3);
        for row in rows {
            for i in indices(&row[..(w * usize::from(depth)).div_ceil(8)], w, depth as u8) {
                let lacks =
                    || bad(first, format!("a pixel has colour {i}, and its palette ends before that"));
                out.extend(colour(i).ok_or_else(lacks)?);
            }
        }
        (3, out)
    } else {
        let each = usize::from(depth / 8);
        let channel = |pixel: u32, mask: u32| match mask {
            0 => 255,
            mask => {
                let (value, most) =
                    (u64::from((pixel & mask) >> mask.trailing_zeros()), mask >> mask.trailing_zeros());
                ((value * 255 + u64::from(most) / 2) / u64::from(most)) as u8
            }
        };
        let samples = if masks[3] == 0 { 3 } else { 4 };
        let mut out = Vec::with_capacity(w * h * samples);
        for row in rows {
            for pixel in row[..w * each].chunks_exact(each) {
                let pixel = pixel.iter().rev().fold(0, |n: u32, b| n << 8 | u32::from(*b));
                out.extend(masks[..samples].iter().map(|mask| channel(pixel, *mask)));
            }
        }
        // Nothing but transparent pixels is a program that left zeros there.
        if samples == 4 && out.chunks_exact(4).all(|p| p[3] == 0) {
            out.chunks_exact_mut(4).for_each(|p| p[3] = 255);
            done.push("an empty alpha channel passed over".into());
        }
        (samples, out)
    };
    Ok(Raw { width: w, height: h, samples, levels: Levels::U8(levels), palette: depth <= 8, done })
}

fn tiff(bytes: &[u8], name: &Path, limits: &Limits) -> Result<Raw> {
    use tiff::ColorType;
    let bad = |e: tiff::TiffError| match e {
        tiff::TiffError::UnsupportedError(what) => {
            Error::new(name, format!("is a TIFF picture of a kind that is not read: {what}")).help(MEND)
        }
        other => broken(name, "TIFF", bytes, other),
    };
    let mut allowed = tiff::decoder::Limits::default();
    let most = usize::try_from(limits.pixels.saturating_mul(8)).unwrap_or(usize::MAX);
    (allowed.decoding_buffer_size, allowed.intermediate_buffer_size) = (most, most);
    allowed.ifd_value_size = 1 << 22;
    if let Some(what) = too_long_a_text(bytes) {
        return Err(damaged(name, "TIFF", what));
    }
    // The crate knows no palettes: what they number is read as levels, and coloured here.
    let numbered = grey_instead(bytes);
    let palette = numbered.is_some();
    let bytes = numbered.as_deref().unwrap_or(bytes);
    let mut decoder = TiffDecoder::new(Cursor::new(bytes)).map_err(bad)?.with_limits(allowed);
    let (width, height) = decoder.dimensions().map_err(bad)?;
    check_size(u64::from(width), u64::from(height), name, limits)?;
    if let Some(7) = decoder.find_tag_unsigned::<u16>(tiff::tags::Tag::Compression).map_err(bad)? {
        use tiff::tags::Tag;
        let list =
            |found: tiff::TiffResult<Option<Vec<u64>>>| found.map(Option::unwrap_or_default).map_err(bad);
        let mut both = [Vec::new(), Vec::new()];
        for (tags, found) in
            [[Tag::StripOffsets, Tag::TileOffsets], [Tag::StripByteCounts, Tag::TileByteCounts]]
                .iter()
                .zip(&mut both)
        {
            for tag in tags {
                found.extend(list(decoder.find_tag_unsigned_vec(*tag))?);
            }
        }
        let [offsets, lengths] = both;
        let (w, h) = decoder.chunk_dimensions();
        check_size(u64::from(w), u64::from(h), name, limits)?;
        if let Some(what) = larger_within(bytes, &offsets, &lengths, [h, w]) {
            return Err(damaged(name, "TIFF", what));
        }
    }
    // Strips promise pixels too: without compression a file has to be long enough for them.
    let colours = decoder.colortype().map_err(bad)?;
    let mut done = Vec::new();
    let result = decoder.read_image().map_err(bad)?;
    let (w, h) = (width as usize, height as usize);
    let refused = |what: String| {
        Error::new(name, format!("is a TIFF picture of {what}, which is not read"))
            .help("save it as grey or colour with 8 or 16 bits")
    };
    let levels = match result {
        DecodingResult::U8(v) => Levels::U8(v),
        DecodingResult::U16(v) => Levels::U16(v),
        DecodingResult::F32(v) => real(&v, name, &mut done)?,
        DecodingResult::F64(v) => real(&v.iter().map(|x| *x as f32).collect::<Vec<_>>(), name, &mut done)?,
        _ => return Err(refused("numbers that are not 8 or 16 bits".into())),
    };
    if decoder.more_images() {
        done.push("the first page of several taken".into());
    }
    let (samples, levels) = match (colours, levels) {
        (ColorType::Gray(bits @ (1 | 2 | 4 | 8)), Levels::U8(v)) if palette => {
            let colours = decoder.get_tag_u16_vec(tiff::tags::Tag::ColorMap).map_err(bad)?;
            let each = colours.len() / 3;
            let mut out = Vec::with_capacity(w * h * 3);
            for i in indices(&v, w, bits) {
                let i = usize::from(i);
                if i >= each {
                    return Err(damaged(name, "TIFF", format!("a pixel has colour {i} of {each}")));
                }
                // Of sixteen bits the upper eight.
                out.extend([i, each + i, 2 * each + i].map(|at| (colours[at] >> 8) as u8));
            }
            (3, Levels::U8(out))
        }
        (ColorType::Gray(8 | 16 | 32 | 64), levels) => (1, levels),
        (ColorType::GrayA(8 | 16), levels) => (2, levels),
        (ColorType::RGB(8 | 16 | 32 | 64), levels) => (3, levels),
        (ColorType::RGBA(8 | 16), levels) => (4, levels),
        (ColorType::Gray(bits @ (1 | 2 | 4)), Levels::U8(v)) => (1, Levels::U8(unpacked(&v, w, bits))),
        (other, _) => return Err(refused(format!("{other:?}"))),
    };
    Ok(Raw { width: w, height: h, samples, levels, palette, done })
}

/// A JPEG picture that is larger than the part of a TIFF picture that it stands for, of `[height, width]`: it would be
/// inflated whole, once for every part that names it.
fn larger_within(bytes: &[u8], offsets: &[u64], lengths: &[u64], [h, w]: [u32; 2]) -> Option<String> {
    let total = lengths.iter().fold(0, |sum: u64, n| sum.saturating_add(*n));
    if total / 2 > bytes.len() as u64 {
        return Some(format!("its parts have {total} bytes, and the file {}", bytes.len()));
    }
    // Blocks of a JPEG picture are of 8 or 16 pixels.
    let up = |side: u32| side.checked_next_multiple_of(16).unwrap_or(u32::MAX);
    let (most_high, most_wide) = (up(h), up(w));
    for (offset, length) in offsets.iter().zip(lengths) {
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        let part = &bytes[place(*offset)..place(offset.saturating_add(*length))];
        // A frame's header: its mark, its length, bits of a sample, height, width.
        for header in part.windows(9).filter(|b| b[0] == 0xff && (0xc0..=0xc2).contains(&b[1])) {
            let size = |at: usize| u32::from(u16::from_be_bytes([header[at], header[at + 1]]));
            let (high, wide) = (size(5), size(7));
            if high > most_high || wide > most_wide {
                return Some(format!("a part of {h}×{w} pixels is a JPEG picture of {high}×{wide}"));
            }
        }
    }
    None
}

/// The first directory of a TIFF file, as far as it is there.
struct Directory<'a> {
    bytes: &'a [u8],
    little: bool,
    /// Offsets and counts of 8 bytes instead of 4.
    big: bool,
}

/// What a tag says of itself.
struct Entry {
    tag: u64,
    kind: u64,
    count: u64,
    /// Where its value stands, or where that is to be found.
    value: usize,
}

impl Directory<'_> {
    fn of(bytes: &[u8]) -> Directory<'_> {
        let (little, big) =
            (bytes.starts_with(b"II"), bytes.get(2..4).is_some_and(|mark| mark.contains(&b'+')));
        Directory { bytes, little, big }
    }

    fn number(&self, at: usize, length: usize) -> Option<u64> {
        let field = self.bytes.get(at..at.checked_add(length)?)?;
        let digit = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if self.little { field.iter().rev().fold(0, digit) } else { field.iter().fold(0, digit) })
    }

    fn entries(&self) -> Vec<Entry> {
        let (word, begin, head) = if self.big { (8, 8, 8) } else { (4, 4, 2) };
        let first = self.number(begin, word).and_then(|at| usize::try_from(at).ok()).unwrap_or(usize::MAX);
        let entry = |i: u64| {
            let size = 4 + 2 * word;
            let at = first.checked_add(head)?.checked_add(size.checked_mul(usize::try_from(i).ok()?)?)?;
            let (tag, kind) = (self.number(at, 2)?, self.number(at + 2, 2)?);
            Some(Entry { tag, kind, count: self.number(at + 4, word)?, value: at + 4 + word })
        };
        (0..self.number(first, head).unwrap_or_default()).map_while(entry).collect()
    }
}

/// Text that is longer than the file: the crate would print a line of its own about it.
fn too_long_a_text(bytes: &[u8]) -> Option<String> {
    const TEXT: u64 = 2;
    let of_text = |e: &Entry| e.kind == TEXT && e.count > bytes.len() as u64;
    let Entry { tag, count, .. } = Directory::of(bytes).entries().into_iter().find(of_text)?;
    Some(format!("tag {tag} is {count} bytes of text, and the file has {}", bytes.len()))
}

/// The same file, as if the numbers of its palette's colours were levels of grey; nothing for one without a palette.
fn grey_instead(bytes: &[u8]) -> Option<Vec<u8>> {
    const INTERPRETATION: u64 = 262;
    let directory = Directory::of(bytes);
    let entry = directory.entries().into_iter().find(|e| e.tag == INTERPRETATION)?;
    (directory.number(entry.value, 2)? == 3).then(|| {
        let mut changed = bytes.to_vec();
        let one = if directory.little { 1_u16.to_le_bytes() } else { 1_u16.to_be_bytes() };
        changed[entry.value..entry.value + 2].copy_from_slice(&one);
        changed
    })
}

/// Real numbers as levels: from 0 to 1, to 255, or to 65535, as they are usual; others have no scale that could be known.
fn real(v: &[f32], name: &Path, done: &mut Vec<String>) -> Result<Levels> {
    let (low, high) = v.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), x| (l.min(*x), h.max(*x)));
    let most = [1.0, 255.0, 65535.0].into_iter().find(|most| high <= *most);
    let (Some(most), true) = (most.filter(|_| low >= 0.0), v.iter().all(|x| x.is_finite())) else {
        let text = format!("is a TIFF picture of real numbers from {low} to {high}, or of none");
        return Err(Error::new(name, text)
            .help("bring them to 0 … 1; or save them as NPY, which keeps real numbers: `npz:DIR`"));
    };
    done.push(format!("real numbers from 0 to {most} made 65,536 levels"));
    Ok(Levels::U16(v.iter().map(|x| (x / most * 65535.0).round() as u16).collect()))
}

/// Numbers of `bits` bits, rows beginning at whole bytes.
fn indices(packed: &[u8], width: usize, bits: u8) -> Vec<u8> {
    let (each, bits) = (8 / usize::from(bits), usize::from(bits));
    let row = width.div_ceil(each);
    let one =
        |row: &[u8], i: usize| (row[i / each] >> (8 - bits - i % each * bits)) & ((1 << bits) - 1) as u8;
    packed.chunks_exact(row.max(1)).flat_map(|r| (0..width).map(move |i| one(r, i))).collect()
}

/// The same as levels from 0 to 255.
fn unpacked(packed: &[u8], width: usize, bits: u8) -> Vec<u8> {
    let white = 255 / ((1_u16 << bits) - 1) as u8;
    indices(packed, width, bits).into_iter().map(|x| x * white).collect()
}
