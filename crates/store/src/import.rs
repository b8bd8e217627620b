//! A root file system's archive becomes an image of one layer.

use std::io::{self, BufWriter, Read, Write};

use flate2::write::GzEncoder;
use spec::oci::image::{Descriptor, History, Image as ImageJson, RootFs};

use crate::Store;
use crate::blob::BlobWriter;
use crate::compression::{Compression, Inflated, peek};
use crate::error::{Error, Result};

const BUFFER: usize = 128 << 10;

impl Store {
    /// One-layer image from a root file system tar (any compression); returns the manifest's descriptor. The layer is
    /// unpacked too. `config.created` is taken for the history as well; without it the image says now.
    ///
    /// # Errors
    /// Bad content or a file error.
    pub fn import(&self, tar: &mut (dyn Read + Send), mut config: ImageJson) -> Result<Descriptor> {
        let _lease = self.lease("import")?;
        let read = |source| Error::Read { what: "archive", source };
        let mut blob = BufWriter::with_capacity(BUFFER, self.blob_writer()?);
        let (compression, mut source) = peek(tar).map_err(read)?;
        // gzip and zstd are what layers are made of: kept byte for byte. All else becomes gzip.
        let (diff_id, media_type) = if matches!(compression, Compression::Gzip | Compression::Zstd) {
            let mut both = Tee { source: &mut source, copy: &mut blob };
            let (_, diff_id) = self.unpack(&mut both, None, None)?;
            (diff_id, compression.layer_media_type())
        } else {
            let (_, mut inflated) = Inflated::new(source).map_err(read)?;
            let mut packed = GzEncoder::new(&mut blob, flate2::Compression::default());
            let mut both = Tee { source: &mut inflated, copy: &mut packed };
            let (_, diff_id) = self.unpack(&mut both, None, None)?;
            packed.finish().map_err(write)?;
            (diff_id, Compression::Gzip.layer_media_type())
        };
        let blob: BlobWriter = blob.into_inner().map_err(|e| write(e.into_error()))?;
        let (digest, size) = blob.commit(None)?;

        let created = config.created.get_or_insert_with(crate::now).clone();
        config.rootfs = RootFs { diff_ids: vec![diff_id], ..RootFs::default() };
        config.history = vec![History {
            created: Some(created),
            comment: if config.comment.is_empty() {
                "Imported from -".into()
            } else {
                config.comment.clone()
            },
            ..History::default()
        }];
        self.put_image(&config, &[Descriptor::new(media_type, digest, size)])
    }
}

fn write(source: io::Error) -> Error {
    Error::Write { what: "layer", source }
}

/// Copies what is read through it.
struct Tee<'t, R: ?Sized, W> {
    source: &'t mut R,
    copy: &'t mut W,
}

impl<R: Read + ?Sized, W: Write> Read for Tee<'_, R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(buffer)?;
        self.copy.write_all(&buffer[..n])?;
        Ok(n)
    }
}
