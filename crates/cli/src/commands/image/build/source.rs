//! Where a build's files come from: a directory, a tar on stdin, an address.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use client::{BuildOptions, Upload};

use super::git::Checkout;
use crate::commands::image::context::Context;
use crate::commands::image::upload;
use crate::error::{Error, Result};

/// What a Dockerfile that came alone, or from outside the context, is called in a tar.
const LOOSE_DOCKERFILE: &str = ".dockerfile.corten";

/// A build's files.
#[derive(Debug)]
pub(super) enum Source {
    Directory {
        path: PathBuf,
        dockerfile: Dockerfile,
        checkout: Option<Checkout>,
    },
    /// The beginning of stdin, which is a tar.
    Tar {
        head: Vec<u8>,
        dockerfile: String,
    },
    /// A Dockerfile without a context.
    Alone(Vec<u8>),
    /// The engine fetches it.
    Remote {
        url: String,
        dockerfile: String,
    },
}

/// Where the Dockerfile is.
#[derive(Debug, Clone)]
pub(super) enum Dockerfile {
    /// At this path in the context.
    Inside(String),
    /// Elsewhere, with the ignore file beside it.
    Loose { text: Vec<u8>, ignore: Option<Vec<u8>> },
}

impl Source {
    /// From the command's words.
    pub(super) fn find(source: &str, file: &str) -> Result<Self> {
        if source == "-" {
            return from_stdin(file);
        }
        if let Some(checkout) = Checkout::of(source)? {
            let path = checkout.directory()?;
            let dockerfile = find_dockerfile(&path, file)?;
            return Ok(Self::Directory { path, dockerfile, checkout: Some(checkout) });
        }
        if source.starts_with("http://") || source.starts_with("https://") {
            return Ok(Self::Remote { url: source.to_owned(), dockerfile: file.to_owned() });
        }
        let path = std::fs::canonicalize(source)
            .map_err(|_| Error::invalid(format!("unable to prepare context: path {source:?} not found")))?;
        if !path.is_dir() {
            return Err(Error::invalid(format!(
                "unable to prepare context: context must be a directory: {}",
                path.display()
            )));
        }
        let dockerfile = find_dockerfile(&path, file)?;
        Ok(Self::Directory { path, dockerfile, checkout: None })
    }

    /// The checkout that the directory is in: to be kept as long as the engine reads it.
    pub(super) fn take_checkout(&mut self) -> Option<Checkout> {
        match self {
            Self::Directory { checkout, .. } => checkout.take(),
            Self::Tar { .. } | Self::Alone(_) | Self::Remote { .. } => None,
        }
    }

    /// The directory, if it is one.
    pub(super) fn directory(&self) -> Option<(&Path, &Dockerfile)> {
        match self {
            Self::Directory { path, dockerfile, .. } => Some((path, dockerfile)),
            Self::Tar { .. } | Self::Alone(_) | Self::Remote { .. } => None,
        }
    }

    /// The request's body; sets the options that say what is in it.
    pub(super) fn upload(self, options: &mut BuildOptions) -> Result<Option<Upload>> {
        match self {
            Self::Remote { url, dockerfile } => {
                (options.remote, options.dockerfile) = (url, dockerfile);
                Ok(None)
            }
            Self::Tar { head, dockerfile } => {
                options.dockerfile = dockerfile;
                Ok(Some(upload(std::io::Cursor::new(head).chain(std::io::stdin()))))
            }
            Self::Alone(text) => {
                options.dockerfile = "Dockerfile".into();
                Ok(Some(upload(std::io::Cursor::new(alone(&text)?))))
            }
            Self::Directory { path, dockerfile, .. } => {
                let (context, name) = packed(&path, dockerfile)?;
                options.dockerfile = name;
                Ok(Some(context.upload()))
            }
        }
    }
}

/// A directory's files and the Dockerfile's name among them; one from outside comes in under a name of its own.
pub(super) fn packed(path: &Path, dockerfile: Dockerfile) -> Result<(Context, String)> {
    let (name, extra) = match dockerfile {
        Dockerfile::Inside(name) => (name, Vec::new()),
        Dockerfile::Loose { text, ignore } => {
            let ignore_name = format!("{LOOSE_DOCKERFILE}.dockerignore");
            let mut extra = vec![(LOOSE_DOCKERFILE.to_owned(), text)];
            extra.extend(ignore.map(|text| (ignore_name, text)));
            (LOOSE_DOCKERFILE.to_owned(), extra)
        }
    };
    Ok((Context::open(path, &name, extra)?, name))
}

fn find_dockerfile(directory: &Path, file: &str) -> Result<Dockerfile> {
    let inside = match file {
        "-" => return Ok(Dockerfile::Loose { text: read_stdin()?, ignore: None }),
        "" if !directory.join("Dockerfile").exists() && directory.join("dockerfile").exists() => {
            "dockerfile".to_owned()
        }
        "" => "Dockerfile".to_owned(),
        file => {
            let path = std::fs::canonicalize(file).map_err(|error| {
                Error::invalid(format!("unable to evaluate symlinks in Dockerfile path: {file}: {error}"))
            })?;
            match path.strip_prefix(directory) {
                Ok(inside) => inside.to_string_lossy().into_owned(),
                Err(_) => {
                    let text = std::fs::read(&path).map_err(Error::file("unable to read", &path))?;
                    let mut beside = path.into_os_string();
                    beside.push(".dockerignore");
                    return Ok(Dockerfile::Loose { text, ignore: std::fs::read(beside).ok() });
                }
            }
        }
    };
    let path = directory.join(&inside);
    if !path.exists() {
        return Err(Error::invalid(format!(
            "unable to evaluate symlinks in Dockerfile path: lstat {}: no such file or directory",
            path.display()
        )));
    }
    // A link out of the context: its text is the user's, who may read it.
    let real = std::fs::canonicalize(&path).map_err(Error::file("unable to read", &path))?;
    if !real.starts_with(directory) {
        let text = std::fs::read(&real).map_err(Error::file("unable to read", &real))?;
        return Ok(Dockerfile::Loose { text, ignore: None });
    }
    Ok(Dockerfile::Inside(inside))
}

/// A tar, compressed or not, or a Dockerfile alone.
fn from_stdin(file: &str) -> Result<Source> {
    if file == "-" {
        return Err(Error::invalid(
            "invalid argument: can't use stdin for both build context and dockerfile",
        ));
    }
    let mut head = vec![0; 512];
    let mut have = 0;
    let mut stdin = std::io::stdin().lock();
    while have < head.len() {
        match stdin.read(&mut head[have..]) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(source) => return Err(Error::Io { what: "failed to read context from STDIN", source }),
        }
    }
    drop(stdin);
    head.truncate(have);
    if is_archive(&head) {
        return Ok(Source::Tar { head, dockerfile: file.to_owned() });
    }
    head.extend(read_stdin()?);
    Ok(Source::Alone(head))
}

/// A tar with nothing but a Dockerfile.
fn alone(text: &[u8]) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "Dockerfile", text)
        .and_then(|()| tar.into_inner())
        .map_err(|source| Error::Io { what: "cannot pack the Dockerfile", source })
}

fn read_stdin() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .map_err(|source| Error::Io { what: "failed to read from STDIN", source })?;
    Ok(bytes)
}

/// Whether bytes begin a tar, or something compressed that will be one.
fn is_archive(head: &[u8]) -> bool {
    const COMPRESSED: [&[u8]; 4] = [b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"];
    COMPRESSED.iter().any(|magic| head.starts_with(magic)) || head.get(257..262) == Some(b"ustar")
}
