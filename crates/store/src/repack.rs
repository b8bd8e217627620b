//! A layer's blob compressed in another way. What it inflates to stays the same, and so do DiffIDs and chains.

use std::io::{self, BufWriter, Write};

use spec::Digest;
use spec::oci::image::Descriptor;

use crate::Store;
use crate::blob::BlobWriter;
use crate::compression::Compression;
use crate::error::{Error, Result};
use crate::gzip::Gzip;
use crate::hash::HashWriter;
use crate::unpack::inflated;

const BUFFER: usize = 128 << 10;

/// How a layer is to be compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing {
    /// In which format: gzip, zstd or not at all.
    pub compression: Compression,
    /// How hard: gzip 0 to 9, zstd 0 to 22. `None`: fast.
    pub level: Option<i32>,
}

impl Store {
    /// Writes a layer's blob anew; the old one stays. A lease is needed until something names the result.
    ///
    /// # Errors
    /// [`Error::NoBlob`], [`Error::DigestMismatch`] when it does not inflate to `diff_id`, or a file error.
    pub fn repack(&self, blob: &Digest, diff_id: &Digest, packing: Packing) -> Result<Descriptor> {
        let out = Encoder::new(BufWriter::with_capacity(BUFFER, self.blob_writer()?), packing);
        let mut out = HashWriter::new(out.map_err(write_error)?);
        inflated(&mut self.blob(blob)?, |tar| io::copy(tar, &mut out).map(drop).map_err(write_error))?;
        let actual = out.hasher.finish();
        if actual != *diff_id {
            return Err(Error::DigestMismatch { expected: *diff_id, actual });
        }
        let blob = out.inner.finish().and_then(|out| out.into_inner().map_err(|e| e.into_error()));
        let (digest, size) = blob.map_err(write_error)?.commit(None)?;
        Ok(Descriptor::new(packing.compression.layer_media_type(), digest, size))
    }
}

fn write_error(source: io::Error) -> Error {
    Error::Write { what: "layer", source }
}

type Out = BufWriter<BlobWriter>;

enum Encoder {
    Plain(Out),
    Gzip(Gzip<Out>),
    Zstd(zstd::stream::write::Encoder<'static, Out>),
}

impl Encoder {
    fn new(out: Out, Packing { compression, level }: Packing) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain(out),
            Compression::Gzip => Self::Gzip(Gzip::with_level(out, level)),
            Compression::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(out, level.unwrap_or(0))?),
            // Read, because others have written them; written by nobody.
            Compression::Bzip2 | Compression::Xz => return Err(io::ErrorKind::Unsupported.into()),
        })
    }

    fn finish(self) -> io::Result<Out> {
        match self {
            Self::Plain(out) => Ok(out),
            Self::Gzip(gzip) => gzip.finish(),
            Self::Zstd(zstd) => zstd.finish(),
        }
    }
}

impl Write for Encoder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Gzip(gzip) => gzip.write(bytes),
            Self::Zstd(zstd) => zstd.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Gzip(gzip) => gzip.flush(),
            Self::Zstd(zstd) => zstd.flush(),
        }
    }
}
