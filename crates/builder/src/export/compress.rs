//! `--output compression=…`: an image's layers in another form than the one that steps and pulls gave them.

use std::collections::BTreeMap;

use spec::Digest;
use spec::oci::image::Descriptor;
use store::{ChainId, Compression, Packing};

use crate::cache::{Cache, Layer, Record};
use crate::error::{Error, Result};
use crate::finish::Finished;
use crate::key::Hasher;
use crate::solve::Solver;

/// How an output's layers are compressed. The default: as they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compress {
    /// The layers that the build has made.
    packing: Option<Packing>,
    /// Those of the base image as well.
    force: bool,
}

impl Compress {
    /// Reads `compression`, `compression-level` and `force-compression`.
    pub(crate) fn read(attributes: &BTreeMap<String, String>) -> Result<Self> {
        let get = |name: &str| attributes.get(name).map(String::as_str);
        let wrong = |name: &str, value: &str, expected: &str| {
            Error::Request(format!(
                "output attribute {name}={value} is not supported: expected {name}={expected}"
            ))
        };
        let force = match get("force-compression") {
            None | Some("false" | "0") => false,
            Some("true" | "1") => true,
            Some(other) => return Err(wrong("force-compression", other, "true or false")),
        };
        let compression = match get("compression") {
            None => None,
            Some("uncompressed") => Some(Compression::None),
            Some("gzip") => Some(Compression::Gzip),
            Some("zstd") => Some(Compression::Zstd),
            Some(other) => return Err(wrong("compression", other, "uncompressed, gzip or zstd")),
        };
        let level = get("compression-level")
            .map(|text| {
                let most = if compression == Some(Compression::Zstd) { 22 } else { 9 };
                let level = text.parse().ok().filter(|level| (0..=most).contains(level));
                level.ok_or_else(|| wrong("compression-level", text, &format!("0 to {most}")))
            })
            .transpose()?;
        let compression = compression.or(level.map(|_| Compression::Gzip));
        let packing = compression.map(|compression| Packing { compression, level });
        Ok(Self { packing, force })
    }

    /// Gives an image's layers this form.
    pub(crate) fn apply(&self, solver: &Solver, image: &mut Finished) -> Result<()> {
        let Some(packing) = self.packing else { return Ok(()) };
        let mut chain = None;
        let layers = image.layers.iter_mut().zip(&image.config.rootfs.diff_ids);
        for (number, (blob, diff_id)) in layers.enumerate() {
            let layer = ChainId::on(chain.as_ref(), *diff_id);
            chain = Some(layer);
            let is_so = Compression::of_layer(&blob.media_type) == packing.compression;
            let wanted = match number < image.inherited {
                true => self.force && !is_so,
                false => !is_so || packing.level.is_some(),
            };
            if wanted {
                solver.cancel.check()?;
                *blob = repacked(solver, packing, blob, *diff_id, layer)?;
            }
        }
        Ok(())
    }
}

/// A layer in another form: an earlier build's, or made now.
fn repacked(
    solver: &Solver,
    packing: Packing,
    blob: &Descriptor,
    diff_id: Digest,
    chain: ChainId,
) -> Result<Descriptor> {
    let mut hasher = Hasher::default();
    hasher.field(b"repack").field(blob.digest.as_bytes()).field(format!("{packing:?}").as_bytes());
    let key = hasher.finish();
    let (cache, store) = (Cache::new(&solver.host.cache), &solver.host.store);
    if let Some(Layer { blob, .. }) = cache.find(&key, store)?.and_then(|record| record.layer) {
        return Ok(blob);
    }
    let blob = store.repack(&blob.digest, &diff_id, packing)?;
    let record = Record {
        created: jiff::Timestamp::now().to_string(),
        layer: Some(Layer { chain, blob: blob.clone(), diff_id }),
        name: format!("a layer compressed anew: {}", blob.media_type),
        ..Record::default()
    };
    cache.put(&key, &record)?;
    Ok(blob)
}
