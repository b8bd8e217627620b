//! `--output`: where a build's result goes, and in what form.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use spec::Reference;
use spec::oci::image::Descriptor;
use store::archive::{Entry, EntryKind, Owners, Pack, Whiteouts, Writer, pack};

use super::attest::{self, Statement};
use super::compress::Compress;
use crate::error::{Error, Result};
use crate::finish::Finished;
use crate::op::tree::Opened;
use crate::output::Output;
use crate::solve::{Solver, Tree};

/// Bytes of an output that go to the client at once.
const PIECE: usize = 96 << 10;

/// One `--output`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What it is.
    pub kind: Kind,
    /// Names, where the attributes give some.
    pub names: Vec<String>,
    /// Where the client puts it; empty for the store.
    pub destination: String,
    /// `annotation.key=value`, and other attributes that concern the image.
    pub annotations: Vec<String>,
    /// What the names of statements among files begin with.
    pub prefix: String,
    /// Files of each platform in a directory of its own; `None` where there are several.
    pub split: Option<bool>,
    /// How its layers are compressed.
    pub compress: Compress,
}

/// In what form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An image in the store, pushed or not.
    Image {
        /// To its registry as well.
        push: bool,
    },
    /// An archive for `docker load`.
    Docker,
    /// An archive of an OCI layout.
    Oci,
    /// The files, in a directory of the client's.
    Local,
    /// The files, in an archive.
    Tar,
    /// Nothing: only the cache has it.
    Nothing,
}

impl Kind {
    /// Whether it goes to the client.
    pub(crate) fn is_sent(self) -> bool {
        matches!(self, Self::Docker | Self::Oci | Self::Local | Self::Tar)
    }
}

impl Target {
    /// An image in the store.
    pub(crate) fn image() -> Self {
        Self {
            kind: Kind::Image { push: false },
            names: Vec::new(),
            destination: String::new(),
            annotations: Vec::new(),
            prefix: String::new(),
            split: None,
            compress: Compress::default(),
        }
    }

    /// Reads `type=…` and attributes.
    ///
    /// # Errors
    /// An unknown type, or a value that makes no sense.
    pub fn read(attributes: &BTreeMap<String, String>) -> Result<Self> {
        let get = |name: &str| attributes.get(name).map(String::as_str).unwrap_or_default();
        let on = |name: &str| matches!(get(name), "true" | "1");
        let destination = get("dest").to_owned();
        let kind = match get("type") {
            "image" | "moby" => Kind::Image { push: on("push") },
            "registry" => Kind::Image { push: true },
            // Without a file it is what the engine has anyway.
            "docker" if destination.is_empty() => Kind::Image { push: false },
            "docker" => Kind::Docker,
            "oci" => Kind::Oci,
            "local" => Kind::Local,
            "tar" => Kind::Tar,
            "cacheonly" => Kind::Nothing,
            other => {
                let known = ["image", "registry", "docker", "oci", "local", "tar", "cacheonly"];
                let hint = crate::instructions::read::nearest(other, &known)
                    .map(|near| format!(" (did you mean {near}?)"))
                    .unwrap_or_default();
                return Err(Error::Request(format!("unsupported output type {other:?}{hint}")));
            }
        };
        if kind.is_sent() && destination.is_empty() {
            return Err(Error::Request(format!("dest is required for {} output", get("type"))));
        }
        let mut annotations = Vec::new();
        for (name, value) in attributes {
            known(name, value)?;
            if let Some(rest) = name.strip_prefix("annotation") {
                // `annotation.k` and `annotation-index.k` as `k` and `index:k`.
                let annotation = match rest.split_once('.') {
                    Some(("", key)) => format!("{key}={value}"),
                    Some((level, key)) => format!("{}:{key}={value}", level.trim_start_matches('-')),
                    None => continue,
                };
                annotations.push(annotation);
            }
        }
        let names = get("name").split(',').filter(|name| !name.is_empty()).map(Into::into).collect();
        let prefix = get("attestation-prefix").to_owned();
        let split = attributes.contains_key("platform-split").then(|| on("platform-split"));
        let compress = Compress::read(attributes)?;
        Ok(Self { kind, names, destination, annotations, prefix, split, compress })
    }
}

/// Refuses an attribute that nobody knows, and a value of one that asks for what there is not.
fn known(name: &str, value: &str) -> Result<()> {
    const OURS: [&str; 10] = [
        "type",
        "dest",
        "name",
        "push",
        "tar",
        "platform-split",
        "attestation-prefix",
        "compression",
        "compression-level",
        "force-compression",
    ];
    // What comes of these is what there is anyway.
    const GIVEN: [(&str, &[&str]); 11] = [
        ("attestation-inline", &["true"]),
        ("buildinfo", &["true", "false"]),
        ("mode", &["copy"]),
        ("name-canonical", &["true", "false"]),
        ("oci-artifact", &["true"]),
        ("oci-mediatypes", &["true"]),
        ("prefer-nondist-layers", &["false"]),
        ("push-by-digest", &["false"]),
        ("rewrite-timestamp", &["true"]),
        ("store", &["true"]),
        ("unpack", &["true", "false"]),
    ];
    if OURS.contains(&name) || name.starts_with("annotation.") || name.starts_with("annotation-") {
        return Ok(());
    }
    match GIVEN.iter().find(|(given, _)| *given == name) {
        Some((_, values)) if values.contains(&value) => Ok(()),
        Some((_, values)) => Err(Error::Request(format!(
            "output attribute {name}={value} is not supported: expected {name}={}",
            values.join(" or ")
        ))),
        None => {
            let names: Vec<&str> = OURS.into_iter().chain(GIVEN.iter().map(|(name, _)| *name)).collect();
            let hint = crate::instructions::read::nearest(name, &names);
            let hint = hint.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
            Err(Error::Request(format!("unknown output attribute {name:?}{hint}")))
        }
    }
}

/// What a build came to.
#[derive(Debug)]
pub(crate) struct Built<'b> {
    /// By platform.
    pub(crate) images: &'b [(Finished, Tree)],
    /// What is said of each, in their order.
    pub(crate) statements: &'b [Vec<Statement>],
    /// In the store.
    pub(crate) target: &'b Descriptor,
    pub(crate) names: &'b [Reference],
}

/// Sends one output to the client, as pieces of an archive.
pub(crate) fn send(solver: &Solver, number: usize, output: &Target, built: &Built<'_>) -> Result<()> {
    let mut out = Pieces { output: &solver.output, number, pending: Vec::with_capacity(PIECE) };
    match output.kind {
        Kind::Docker | Kind::Oci => solver.host.store.save_target(built.target, built.names, &mut out)?,
        Kind::Local | Kind::Tar => files(solver, output, built, &mut out)?,
        Kind::Image { .. } | Kind::Nothing => return Ok(()),
    }
    out.flush().map_err(|e| sys::Error::new("send", "an output", e))?;
    Ok(())
}

/// Sends an archive of something in the store that is no image.
pub(crate) fn send_layout(solver: &Solver, number: usize, target: &Descriptor) -> Result<()> {
    let layout = Target { kind: Kind::Oci, ..Target::image() };
    send(solver, number, &layout, &Built { images: &[], statements: &[], target, names: &[] })
}

/// The files of all platforms; of several, each in a directory of its own.
fn files(solver: &Solver, output: &Target, built: &Built<'_>, out: &mut Pieces<'_>) -> Result<()> {
    let mut writer = Writer::new(io::BufWriter::with_capacity(PIECE, out));
    let split = output.split.unwrap_or(built.images.len() > 1);
    if built.images.len() > 1 && !split {
        let detail =
            "platform-split=false is not supported for several platforms: their files have the same names";
        return Err(Error::Request(detail.into()));
    }
    for ((image, tree), statements) in built.images.iter().zip(built.statements) {
        let mut prefix = PathBuf::new();
        if split {
            let config = &image.config;
            let mut name = format!("{}_{}", config.os, config.architecture);
            if !config.variant.is_empty() {
                name.push_str(&format!("_{}", config.variant));
            }
            writer.append_empty(&Entry::new(format!("{name}/"), EntryKind::Directory, 0o755))?;
            prefix = PathBuf::from(name);
        }
        let opened = Opened::tree(&solver.host.store, tree)?;
        let how = Pack {
            base: Path::new(""),
            prefix: &prefix,
            whiteouts: Whiteouts::Literal,
            lower: None,
            owners: Owners::default(),
        };
        pack(&opened.root, &how, &mut writer)?;
        for (name, bytes) in attest::files(&opened.root, statements)? {
            let path = prefix.join(format!("{}{name}", output.prefix));
            let mut entry = Entry::new(path, EntryKind::File, 0o644);
            entry.size = bytes.len() as u64;
            writer.append(&entry, &mut bytes.as_slice())?;
        }
    }
    writer.finish()?;
    Ok(())
}

/// Bytes on their way to the client.
struct Pieces<'o> {
    output: &'o Output,
    number: usize,
    pending: Vec<u8>,
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let sent = self.output.data(self.number, &self.pending);
        self.pending.clear();
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Target> {
        let pairs = text.split(',').filter_map(|field| field.split_once('='));
        Target::read(&pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
    }

    #[test]
    fn outputs_are_read() {
        assert_eq!(read("type=registry,name=a").unwrap().kind, Kind::Image { push: true });
        assert_eq!(read("type=docker").unwrap().kind, Kind::Image { push: false });
        assert_eq!(read("type=docker,dest=x").unwrap().kind, Kind::Docker);
        let oci = read("type=oci,dest=-,annotation.a=b,annotation-index.c=d").unwrap();
        assert_eq!((oci.kind, oci.annotations), (Kind::Oci, vec!["index:c=d".to_owned(), "a=b".into()]));
        let split = read("type=local,dest=x,platform-split=true,attestation-prefix=p-,mode=copy").unwrap();
        assert_eq!((split.split, split.prefix.as_str()), (Some(true), "p-"));
        for (bad, words) in [
            ("type=lcal", "did you mean local"),
            ("type=local", "dest is required"),
            ("type=image,compression=lz4", "expected compression=uncompressed, gzip or zstd"),
            ("type=image,compression=zstd,compression-level=23", "expected compression-level=0 to 22"),
            ("type=image,compression-level=10", "expected compression-level=0 to 9"),
            ("type=image,force-compression=maybe", "expected force-compression=true or false"),
            ("type=tar,dest=x,platfrom-split=true", "did you mean platform-split?"),
        ] {
            assert!(read(bad).unwrap_err().to_string().contains(words), "{bad}");
        }
    }
}
