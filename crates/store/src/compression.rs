//! Compressed streams, told by their first bytes, inflated in this process: no helper program is ever run.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use spec::oci::image::media;

/// The longest of the magic numbers below.
const MAGIC: usize = 6;
/// Bytes of compressed data read at once.
const BUFFER: usize = 128 << 10;
/// Above this many inflated bytes the ratio is watched.
const WATCHED_FROM: u64 = 1 << 30;
/// More than deflate can reach (1032), so an honest layer of zeros passes; far less than bzip2's and zstd's bombs.
const MAX_RATIO: u64 = 2000;
/// Memory an xz stream may ask for, in KiB: what `xz -9` needs, twice.
const XZ_MEMORY_KIB: u32 = 128 << 10;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all, or not in a way known here.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// bzip2.
    Bzip2,
    /// xz (not the older lzma).
    Xz,
}

impl Compression {
    /// Told by the first bytes of the stream.
    pub fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            _ => Self::None,
        }
    }

    /// Of a layer, by its media type (OCI's or Docker's).
    pub fn of_layer(media_type: &str) -> Self {
        match media_type.rsplit(['+', '.']).next() {
            Some("gzip") => Self::Gzip,
            Some("zstd") => Self::Zstd,
            Some(_) | None => Self::None,
        }
    }

    /// The media type of a layer that is compressed so. OCI has none for bzip2 and xz; readers go by content.
    pub fn layer_media_type(self) -> &'static str {
        match self {
            Self::Gzip => media::LAYER_GZIP,
            Self::Zstd => media::LAYER_ZSTD,
            Self::None | Self::Bzip2 | Self::Xz => media::LAYER,
        }
    }
}

/// A stream whose first bytes have been looked at and put back.
pub(crate) type Peeked<R> = Chain<Cursor<Vec<u8>>, R>;

/// Looks at the first bytes of a stream.
pub(crate) fn peek<R: Read>(mut source: R) -> io::Result<(Compression, Peeked<R>)> {
    let mut start = Vec::with_capacity(MAGIC);
    source.by_ref().take(MAGIC as u64).read_to_end(&mut start)?;
    let compression = Compression::of(&start);
    Ok((compression, Cursor::new(start).chain(source)))
}

/// The inflated stream of `source`, to its very end (several members or frames, one after the other).
///
/// # Errors
/// read(2)'s; what cannot be inflated fails when it is read.
pub fn inflate<'r>(source: &'r mut dyn Read) -> io::Result<(Compression, Box<dyn Read + 'r>)> {
    let (compression, inflated) = Inflated::new(source)?;
    Ok((compression, Box::new(inflated)))
}

/// An inflated stream that is broken off when it is absurdly larger than its source.
pub(crate) struct Inflated<R: Read> {
    inner: Inflater<Source<R>>,
    read: Arc<AtomicU64>,
    inflated: u64,
}

type Source<R> = BufReader<Counted<Peeked<R>>>;

enum Inflater<R: BufRead> {
    Plain(R),
    Gzip(Box<flate2::bufread::MultiGzDecoder<R>>),
    Zstd(zstd::stream::read::Decoder<'static, R>),
    Bzip2(bzip2::bufread::MultiBzDecoder<R>),
    Xz(Box<lzma_rust2::XzReader<R>>),
}

impl<R: Read> Inflated<R> {
    /// As [`inflate`], with the source's own type.
    pub(crate) fn new(source: R) -> io::Result<(Compression, Self)> {
        let (compression, source) = peek(source)?;
        let read = Arc::new(AtomicU64::new(0));
        let source = BufReader::with_capacity(BUFFER, Counted { inner: source, bytes: Arc::clone(&read) });
        let inner = match compression {
            Compression::None => Inflater::Plain(source),
            Compression::Gzip => Inflater::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(source))),
            Compression::Zstd => Inflater::Zstd(zstd::stream::read::Decoder::with_buffer(source)?),
            Compression::Bzip2 => Inflater::Bzip2(bzip2::bufread::MultiBzDecoder::new(source)),
            Compression::Xz => {
                Inflater::Xz(Box::new(lzma_rust2::XzReader::new_mem_limit(source, true, XZ_MEMORY_KIB)))
            }
        };
        Ok((compression, Self { inner, read, inflated: 0 }))
    }
}

impl<R: Read> Read for Inflated<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = match &mut self.inner {
            Inflater::Plain(plain) => return plain.read(buffer),
            Inflater::Gzip(gzip) => gzip.read(buffer)?,
            Inflater::Zstd(zstd) => zstd.read(buffer)?,
            Inflater::Bzip2(bzip2) => bzip2.read(buffer)?,
            Inflater::Xz(xz) => xz.read(buffer)?,
        };
        self.inflated += n as u64;
        if self.inflated > WATCHED_FROM && self.inflated / MAX_RATIO > self.read.load(Ordering::Relaxed) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the archive inflates to over 2000 times its size: refused as a decompression bomb",
            ));
        }
        Ok(n)
    }
}

struct Counted<R> {
    inner: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.bytes.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn every_format_is_told_by_content_and_read_to_its_end() {
        let gzip = |bytes: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        let bzip2 = {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(b"hello world").unwrap();
            encoder.finish().unwrap()
        };
        let xz = {
            let mut encoder =
                lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
            encoder.write_all(b"hello world").unwrap();
            encoder.finish().unwrap()
        };
        for (expected, bytes) in [
            (Compression::None, b"hello world".to_vec()),
            (Compression::Gzip, [gzip(b"hello "), gzip(b"world")].concat()),
            (Compression::Zstd, zstd::encode_all(&b"hello world"[..], 1).unwrap()),
            (Compression::Bzip2, bzip2),
            (Compression::Xz, xz),
        ] {
            let mut source = &bytes[..];
            let (compression, mut stream) = inflate(&mut source).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            assert_eq!((compression, text.as_str()), (expected, "hello world"));
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        // zstd packs 8 GiB of zeros into some hundred kilobytes.
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        let zeros = vec![0; 1 << 20];
        for _ in 0..1200 {
            encoder.write_all(&zeros).unwrap();
        }
        let bomb = encoder.finish().unwrap();
        let mut source = &bomb[..];
        let (_, mut stream) = inflate(&mut source).unwrap();
        assert!(io::copy(&mut stream, &mut io::sink()).is_err());
    }
}
