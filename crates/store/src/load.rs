//! An archive becomes images: an OCI layout, or a docker-archive, told by what is in it.
//!
//! The archive is a stream and its records may come last, so content goes straight to the store as blobs; small files
//! and links are remembered until the end says what they are.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;

use spec::oci::image::{Descriptor, Index, Platform, media};
use spec::{Digest, Reference};

use crate::Store;
use crate::archive::unpack::clean;
use crate::archive::{Entry, EntryKind, Reader};
use crate::blob::{BlobWriter, MAX_SMALL};
use crate::compression::{Compression, inflate};
use crate::error::{Error, Result};
use crate::image::Document;
use crate::member::{Member, MemberKind};
use crate::save::{ArchiveImage, IMAGE_NAME, REF_NAME};

const BUFFER: usize = 128 << 10;
/// Records at the archive's top, read whole.
const RECORDS: [&str; 3] = ["index.json", "manifest.json", "oci-layout"];
/// Links followed from one path of the archive to the next.
const MAX_LINKS: usize = 16;
/// Entries read: far more than any image has.
const MAX_FILES: usize = 100_000;
/// Files that wait for the disk while the next is read.
const SYNCS_AHEAD: usize = 4;

/// What came in.
#[derive(Default)]
struct Incoming {
    records: HashMap<String, Vec<u8>>,
    /// Files that are blobs now.
    files: HashMap<PathBuf, File>,
    links: HashMap<PathBuf, PathBuf>,
    /// Blobs that were not here before.
    new: HashSet<Digest>,
}

#[derive(Clone, Copy)]
struct File {
    digest: Digest,
    size: u64,
    compression: Compression,
}

/// A file of the archive whose bytes have been written, but not to the disk yet.
struct Written {
    path: PathBuf,
    writer: BlobWriter,
    compression: Compression,
}

/// A name that came with an image, and its target.
pub type Loaded = (Option<Reference>, Descriptor);

impl Store {
    /// Reads a docker-archive or an OCI layout (any compression); returns what came in: name, if any, and target. With
    /// `platforms`, what is new for others is left out, and an image that has none of them is refused.
    /// Nothing is named or unpacked yet: hold a lease, then [`Store::unpack_images`] and [`Store::tag`].
    ///
    /// # Errors
    /// Bad content (what came in before is garbage for the collector) or a file error.
    pub fn load(&self, tar: &mut dyn Read, platforms: &[Platform]) -> Result<Vec<Loaded>> {
        let incoming = self.take_in(tar)?;
        let loaded = if let Some(bytes) = incoming.records.get("index.json") {
            let descriptor = Descriptor::new(media::INDEX, Digest::from_bytes([0; 32]), 0);
            let Document::Index(index) = Document::parse(&descriptor, bytes)? else {
                return Err(Error::Invalid("index.json is not an index".into()));
            };
            self.load_layout(&index)?
        } else if let Some(bytes) = incoming.records.get("manifest.json") {
            self.load_docker(bytes, &incoming)?
        } else {
            return Err(Error::Invalid(
                "not an image archive: it has neither index.json nor manifest.json (a root file system is for import)"
                    .into(),
            ));
        };
        if !platforms.is_empty() {
            for (name, target) in &loaded {
                self.keep_platforms(name.as_ref(), target, platforms, &incoming.new)?;
            }
        }
        Ok(loaded)
    }

    /// Leaves out the manifests for other platforms that came in just now: without them their layers are garbage.
    fn keep_platforms(
        &self,
        name: Option<&Reference>,
        target: &Descriptor,
        platforms: &[Platform],
        new: &HashSet<Digest>,
    ) -> Result<()> {
        let members = self.members(target)?;
        let wanted = |member: &Member| {
            member.kind == MemberKind::Image && platforms.iter().any(|p| p.matches(&member.platform))
        };
        let kept: Vec<Digest> =
            members.iter().filter(|m| wanted(m)).map(|member| member.descriptor.digest).collect();
        if !members.iter().any(|member| wanted(member) && member.is_whole) {
            let name = name.map_or_else(|| target.digest.to_string(), Reference::familiar);
            let platforms: Vec<_> = platforms.iter().map(ToString::to_string).collect();
            return Err(Error::NotLoaded { name, platforms: platforms.join(" ") });
        }
        for member in members {
            let digest = match member.kind {
                MemberKind::Attestation(subject) => subject,
                MemberKind::Image | MemberKind::Unknown => member.descriptor.digest,
            };
            if !kept.contains(&digest) && new.contains(&member.descriptor.digest) {
                self.remove_blob(&member.descriptor.digest)?;
            }
        }
        Ok(())
    }

    /// Reads the whole archive. What has been written goes to the disk while the next file is read.
    fn take_in(&self, tar: &mut dyn Read) -> Result<Incoming> {
        let (sender, written) = std::sync::mpsc::sync_channel::<Written>(SYNCS_AHEAD);
        let mut incoming = Incoming::default();
        let synced = std::thread::scope(|scope| {
            let syncing = scope.spawn(move || written.into_iter().map(sync).collect::<Result<Vec<_>>>());
            let read = self.read_archive(tar, &mut incoming, &sender);
            drop(sender);
            let synced = syncing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            match (read, synced) {
                // It hung up since it had failed itself.
                (Err(Error::Write { .. }) | Ok(()), Err(e)) | (Err(e), _) => Err(e),
                (Ok(()), Ok(synced)) => Ok(synced),
            }
        })?;
        for (path, file) in synced {
            incoming.new.insert(file.digest);
            incoming.files.insert(path, file);
        }
        Ok(incoming)
    }

    fn read_archive(
        &self,
        tar: &mut dyn Read,
        incoming: &mut Incoming,
        written: &SyncSender<Written>,
    ) -> Result<()> {
        let (_, inflated) = inflate(tar).map_err(|source| Error::Read { what: "archive", source })?;
        let mut reader = Reader::new(io::BufReader::with_capacity(BUFFER, inflated));
        let mut entries = 0;
        while let Some(entry) = reader.entry()? {
            entries += 1;
            if entries > MAX_FILES {
                return Err(Error::Invalid(format!("an image archive of over {MAX_FILES} files")));
            }
            let path = clean(&entry.path);
            match entry.kind {
                EntryKind::File => self.take_file(path, &entry, &mut reader, incoming, written)?,
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
        reader.drain()
    }

    fn take_file(
        &self,
        path: PathBuf,
        entry: &Entry,
        content: &mut dyn Read,
        incoming: &mut Incoming,
        written: &SyncSender<Written>,
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
        // In a layout the name is the digest. What is here already is not written again.
        if let Some(digest) = layout_digest(&path)
            && self.blob_size(&digest) == Some(entry.size)
        {
            let file = File { digest, size: entry.size, compression: Compression::None };
            incoming.files.insert(path, file);
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
        let compression = Compression::of(&start);
        written.send(Written { path, writer, compression }).map_err(|_| {
            let source = io::ErrorKind::BrokenPipe.into();
            Error::Write { what: "blob", source }
        })
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
        self.check_size(target)?;
        match self.document(target)? {
            Document::Manifest(manifest) => {
                manifest.layers.iter().chain([&manifest.config]).try_for_each(|d| self.check_size(d))
            }
            Document::Index(index) => {
                let mut any = false;
                for manifest in &index.manifests {
                    match self.check_size(manifest) {
                        Ok(()) => any = true,
                        Err(Error::NoBlob(_)) => {}
                        Err(e) => return Err(e),
                    }
                }
                if any {
                    return Ok(());
                }
                Err(Error::Invalid(format!("the archive has no manifest of {}", target.digest)))
            }
        }
    }

    /// What a descriptor names is here, and is as long as it says.
    fn check_size(&self, descriptor: &Descriptor) -> Result<()> {
        match self.blob_size(&descriptor.digest) {
            // Layers that are not to be distributed are said to be elsewhere.
            None if !descriptor.urls.is_empty() => Ok(()),
            None => Err(Error::NoBlob(descriptor.digest)),
            Some(size) if size != descriptor.size => Err(Error::Invalid(format!(
                "content {} has {size} bytes, but is said to have {}",
                descriptor.digest, descriptor.size
            ))),
            Some(_) => Ok(()),
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

/// Brings a file's bytes to the disk and makes it a blob. In a layout the name is the digest, and must be right.
fn sync(written: Written) -> Result<(PathBuf, File)> {
    let Written { path, writer, compression } = written;
    let (digest, size) = writer.commit(layout_digest(&path))?;
    Ok((path, File { digest, size, compression }))
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
