//! A build's context: the tar in a request's body, unpacked into a directory of its own.

use std::io::Read;
use std::path::{Path, PathBuf};

use hyper::body::Incoming;
use store::archive::{self, Existing, Owners, Unpack, Whiteouts};
use sys::root::Root;

use crate::body;
use crate::error::{Error, Result, chain};

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
    let target = context.path().to_owned();
    body::pump(tar, move |tar| unpack(tar, &target)).await?;
    Ok(context)
}

fn unpack(tar: &mut dyn Read, target: &Path) -> Result<()> {
    let unreadable =
        |error: &dyn std::error::Error| Error::invalid(format!("build context: {}", chain(error)));
    let root = Root::open(target)?;
    let how = Unpack {
        base: Path::new(""),
        whiteouts: Whiteouts::Literal,
        owner: None,
        owners: Owners::default(),
        existing: Existing::GivesWay,
    };
    let (_, tar) = store::inflate(tar).map_err(|e| unreadable(&e))?;
    archive::unpack(tar, &root, &how).map_err(|e| unreadable(&e))?;
    Ok(())
}
