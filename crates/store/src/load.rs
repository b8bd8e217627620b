//! An archive becomes images: an OCI layout, or a docker-archive, told by what is in it.
//!
//! The archive is a stream and its records may come last, so content goes straight to the store as blobs; small files
//! and links are remembered until the end says what they are.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use spec::oci::image::{Descriptor, Index, media};
use spec::{Digest, Reference};

use crate::Store;
use crate::archive::unpack::clean;
use crate::archive::{Entry, EntryKind, Reader};
use crate::blob::MAX_SMALL;
use crate::compression::{Compression, inflate};
use crate::error::{Error, Result};
use crate::image::Document;
use crate::save::{ArchiveImage, IMAGE_NAME, REF_NAME};

const BUFFER: usize = 128 << 10;
/// Records at the archive's top, read whole.
const RECORDS: [&str; 3] = ["index.json", "manifest.json", "oci-layout"];
/// Links followed from one path of the archive to the next.
const MAX_LINKS: usize = 16;
/// Files and links remembered: far more than any image has.
const MAX_FILES: usize = 100_000;

/// What came in.
#[derive(Default)]
struct Incoming {
    records: HashMap<String, Vec<u8>>,
    /// Files that are blobs now.
    files: HashMap<PathBuf, File>,
    links: HashMap<PathBuf, PathBuf>,
}

#[derive(Clone, Copy)]
struct File {
    digest: Digest,
    size: u64,
    compression: Compression,
}

/// A name that came with an image, and its target.
pub type Loaded = (Option<Reference>, Descriptor);

impl Store {
    /// Reads a docker-archive or an OCI layout (any compression); returns what came in: name, if any, and target.
    /// Nothing is named or unpacked yet: hold a lease, then [`Store::tag`] and [`Store::unpack_image`].
    ///
    /// # Errors
    /// Bad content (what came in before is garbage for the collector) or a file error.
    pub fn load(&self, tar: &mut dyn Read) -> Result<Vec<Loaded>> {
        let incoming = self.take_in(tar)?;
        if let Some(bytes) = incoming.records.get("index.json") {
            let descriptor = Descriptor::new(media::INDEX, Digest::from_bytes([0; 32]), 0);
            let Document::Index(index) = Document::parse(&descriptor, bytes)? else {
                return Err(Error::Invalid("index.json is not an index".into()));
            };
            return self.load_layout(&index);
        }
        match incoming.records.get("manifest.json") {
            Some(bytes) => self.load_docker(bytes, &incoming),
            None => Err(Error::Invalid(
                "not an image archive: it has neither index.json nor manifest.json (a root file system is for import)"
                    .into(),
            )),
        }
    }

    fn take_in(&self, tar: &mut dyn Read) -> Result<Incoming> {
        let (_, inflated) = inflate(tar).map_err(|source| Error::Read { what: "archive", source })?;
        let mut reader = Reader::new(io::BufReader::with_capacity(BUFFER, inflated));
        let mut incoming = Incoming::default();
        while let Some(entry) = reader.entry()? {
            if incoming.files.len() + incoming.links.len() > MAX_FILES {
                return Err(Error::Invalid("an image archive of over 100000 files".into()));
            }
            let path = clean(&entry.path);
            match entry.kind {
                EntryKind::File => self.take_file(path, &entry, &mut reader, &mut incoming)?,
                EntryKind::Symlink => {
                    let target = path.parent().unwrap_or(Path::new("")).join(&entry.link);
                    incoming.links.insert(path, clean(&target));
                }
                EntryKind::HardLink => {
                    incoming.links.insert(path, clean(Path::new(&entry.link)));
                }
                EntryKind::Directory | EntryKind::CharDevice | EntryKind::BlockDevice | EntryKind::Fifo => {}
            }
        }
        reader.drain()?;
        Ok(incoming)
    }

    fn take_file(
        &self,
        path: PathBuf,
        entry: &Entry,
        content: &mut dyn Read,
        incoming: &mut Incoming,
    ) -> Result<()> {
        let read = |source| Error::Read { what: "archive", source };
        if let Some(name) = path.to_str().filter(|name| RECORDS.contains(name)) {
            if entry.size > MAX_SMALL {
                return Err(Error::Invalid(format!("{name} is over 4 MiB")));
            }
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).map_err(read)?;
            incoming.records.insert(name.to_owned(), bytes);
            return Ok(());
        }
        let mut writer = self.blob_writer()?;
        let mut buffer = vec![0; BUFFER];
        let mut start = Vec::new();
        loop {
            let n = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(read(e)),
            };
            if start.len() < 6 {
                start.extend_from_slice(&buffer[..n.min(6)]);
            }
            writer.write_all(&buffer[..n]).map_err(|source| Error::Write { what: "blob", source })?;
        }
        // In a layout the name is the digest, and must be right.
        let expected = layout_digest(&path);
        let (digest, size) = writer.commit(expected)?;
        incoming.files.insert(path, File { digest, size, compression: Compression::of(&start) });
        Ok(())
    }

    fn load_layout(&self, index: &Index) -> Result<Vec<Loaded>> {
        let mut loaded = Vec::new();
        for descriptor in &index.manifests {
            let name = name_in_layout(descriptor)?;
            let target = Descriptor { annotations: Default::default(), platform: None, ..descriptor.clone() };
            self.check_here(&target)?;
            loaded.push((name, target));
        }
        if loaded.is_empty() {
            return Err(Error::Invalid("the archive's index.json names no image".into()));
        }
        Ok(loaded)
    }

    /// A manifest must be whole. Of an index at least one manifest must be here.
    fn check_here(&self, target: &Descriptor) -> Result<()> {
        match self.document(target)? {
            Document::Manifest(manifest) => {
                let mut needed = manifest.layers.iter().chain([&manifest.config]);
                match needed.find(|d| self.blob_size(&d.digest).is_none()) {
                    Some(missing) => Err(Error::NoBlob(missing.digest)),
                    None => Ok(()),
                }
            }
            Document::Index(index) => {
                if index.manifests.iter().any(|manifest| self.blob_size(&manifest.digest).is_some()) {
                    return Ok(());
                }
                Err(Error::Invalid(format!("the archive has no manifest of {}", target.digest)))
            }
        }
    }

    fn load_docker(&self, records: &[u8], incoming: &Incoming) -> Result<Vec<Loaded>> {
        let images: Vec<ArchiveImage> =
            spec::gojson::from_slice(records).map_err(|e| Error::Invalid(format!("manifest.json: {e}")))?;
        let mut loaded = Vec::new();
        for image in &images {
            let file = incoming.find(&image.config)?;
            let config = Descriptor::new(media::CONFIG, file.digest, file.size);
            let diff_ids = self.config(&config)?.rootfs.diff_ids;
            if diff_ids.len() != image.layers.len() {
                return Err(Error::Invalid(format!(
                    "invalid manifest, layers length mismatch: expected {}, got {}",
                    image.layers.len(),
                    diff_ids.len()
                )));
            }
            let mut layers = Vec::new();
            for path in &image.layers {
                let file = incoming.find(path)?;
                layers.push(Descriptor::new(file.compression.layer_media_type(), file.digest, file.size));
            }
            let target = self.put_manifest(config, layers)?;
            let tags = image.repo_tags.as_deref().unwrap_or_default();
            if tags.is_empty() {
                loaded.push((None, target.clone()));
            }
            for tag in tags {
                loaded.push((Some(parse_name(tag)?), target.clone()));
            }
        }
        if loaded.is_empty() {
            return Err(Error::Invalid("the archive's manifest.json names no image".into()));
        }
        Ok(loaded)
    }
}

impl Incoming {
    /// The file at a path of the archive, through its links.
    fn find(&self, path: &str) -> Result<File> {
        let mut path = clean(Path::new(path));
        for _ in 0..MAX_LINKS {
            if let Some(file) = self.files.get(&path) {
                return Ok(*file);
            }
            match self.links.get(&path) {
                Some(target) => path.clone_from(target),
                None => break,
            }
        }
        Err(Error::Invalid(format!(
            "the archive's manifest.json names {}, which it does not have",
            path.display()
        )))
    }
}

/// The digest that a path in a layout says its content has.
fn layout_digest(path: &Path) -> Option<Digest> {
    let hex = path.strip_prefix("blobs/sha256").ok()?.to_str()?;
    format!("sha256:{hex}").parse().ok()
}

/// An image's name in a layout: containerd writes the whole, others the tag alone (which names nothing), or the whole in
/// the tag's place.
fn name_in_layout(descriptor: &Descriptor) -> Result<Option<Reference>> {
    if let Some(name) = descriptor.annotations.get(IMAGE_NAME) {
        return parse_name(name).map(Some);
    }
    match descriptor.annotations.get(REF_NAME) {
        Some(name) if name.contains(['/', ':']) => parse_name(name).map(Some),
        Some(_) | None => Ok(None),
    }
}

fn parse_name(text: &str) -> Result<Reference> {
    text.parse::<Reference>()
        .map(Reference::or_latest)
        .map_err(|e| Error::Invalid(format!("the archive names an image {:?}: {e}", OsStr::new(text))))
}
