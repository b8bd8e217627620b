//! A build's context: the tar in a request's body, unpacked into a directory of its own.

use std::path::{Path, PathBuf};

use hyper::body::Incoming;

use crate::body;
use crate::error::{Error, Result};

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
    let path = scratch.join(format!("context-{}", spec::digest::hex(&sys::random::bytes::<8>())));
    sys::file::create_dir_all(&path, 0o700)?;
    let context = Context(path);
    let tar = body::to_file(tar, scratch).await?;
    let target = context.path().to_owned();
    tokio::task::spawn_blocking(move || unpack(tar, &target))
        .await
        .map_err(|e| Error::new(spec::ErrorKind::Internal, e.to_string()))??;
    Ok(context)
}

fn unpack(_tar: std::fs::File, _target: &Path) -> Result<()> {
    Err(Error::not_implemented("unpacking a context"))
}
