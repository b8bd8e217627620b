//! A build's context in a directory of its own: the tar in a request's body, a tar or a repository at an address.

use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use hyper::body::Incoming;
use spec::git::Address;
use store::archive::{self, Unpack};
use sys::root::Root;

use crate::body;
use crate::error::{Error, Result, chain};

/// A Dockerfile that comes alone is no longer than this.
const DOCKERFILE: u64 = 16 << 20;

/// An unpacked context, removed when dropped.
#[derive(Debug)]
pub struct Context(PathBuf);

impl Context {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if let Err(error) = sys::file::remove_tree(&self.0) {
            tracing::warn!(%error, "a build context is left");
        }
    }
}

/// Receives and unpacks a context under `scratch`.
///
/// # Errors
/// The body is not a tar, an entry leaves the context, the connection broke, or the disk is full.
pub async fn receive(tar: Incoming, scratch: &Path) -> Result<Context> {
    let context = empty(scratch)?;
    let target = context.path().to_owned();
    body::pump(tar, move |tar| unpack(tar, &target)).await?;
    Ok(context)
}

/// Fetches a context from an address: a tar, or a Dockerfile alone. The Dockerfile's text comes with the directory then.
///
/// # Errors
/// It cannot be had, or is neither.
pub async fn fetch(
    registry: &registry::client::Client,
    url: &str,
    scratch: &Path,
) -> Result<(Context, Option<Vec<u8>>)> {
    let unreachable = |error: registry::Error| {
        Error::invalid(format!("error downloading remote context {url}: {}", chain(&error)))
    };
    let mut answer = registry.download(url, &[]).await.map_err(unreachable)?;
    if !(200..300).contains(&answer.status()) {
        return Err(Error::invalid(format!("failed to GET {url} with status {}", answer.status())));
    }
    let context = empty(scratch)?;
    let mut file = sys::scratch::unnamed(scratch)?;
    while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
        let written = std::io::Write::write_all(&mut file, &chunk);
        written
            .map_err(|e| Error::new(spec::ErrorKind::Internal, format!("cannot keep the context: {e}")))?;
    }
    let target = context.path().to_owned();
    let text = tokio::task::spawn_blocking(move || {
        let io = |e: std::io::Error| {
            Error::new(spec::ErrorKind::Internal, format!("cannot read the context: {e}"))
        };
        file.rewind().map_err(io)?;
        let (_, inflated) = store::inflate(&mut file).map_err(io)?;
        let is_archive = matches!(archive::Reader::new(inflated).entry(), Ok(Some(_)));
        file.rewind().map_err(io)?;
        if is_archive {
            return unpack(&mut file, &target).map(|()| None);
        }
        let mut text = Vec::new();
        (&mut file).take(DOCKERFILE).read_to_end(&mut text).map_err(io)?;
        Ok(Some(text))
    })
    .await
    .map_err(|e| Error::new(spec::ErrorKind::Internal, e.to_string()))??;
    Ok((context, text))
}

/// Fetches a git repository as a context, and tells which commit it is. `secrets` may have a token for it; `keep`: `.git`
/// is part of it.
///
/// # Errors
/// As the builder's.
pub async fn checkout(
    host: &builder::Host,
    address: &Address,
    secrets: &BTreeMap<String, Vec<u8>>,
    keep: bool,
    scratch: &Path,
) -> Result<(Context, String)> {
    let context = empty(scratch)?;
    let commit = builder::checkout_git(host, address, secrets, keep, context.path()).await?;
    Ok((context, commit))
}

/// A directory of its own.
fn empty(scratch: &Path) -> Result<Context> {
    let path = scratch.join(format!("context-{}", spec::digest::hex(&sys::random::bytes::<8>())));
    sys::file::create_dir_all(&path, 0o700)?;
    Ok(Context(path))
}

fn unpack(tar: &mut dyn Read, target: &Path) -> Result<()> {
    let unreadable = |error: &(dyn std::error::Error + 'static)| {
        Error::invalid(format!("build context: {}", chain(error)))
    };
    let root = Root::open(target)?;
    let (_, tar) = store::inflate(tar).map_err(|e| unreadable(&e))?;
    archive::unpack(tar, &root, &Unpack::literal()).map_err(|e| unreadable(&e))?;
    Ok(())
}
