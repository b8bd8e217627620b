//! What the build reads of its context before the first step: the Dockerfile and the .dockerignore.

use sys::root::Root;

use crate::Request;
use crate::error::{Error, Result};
use crate::ignore::Ignore;
use crate::instructions::Dockerfile;

/// Larger Dockerfiles are no Dockerfiles.
const LIMIT: u64 = 16 << 20;

/// Reads both.
pub(crate) fn read(request: &Request) -> Result<(Dockerfile, Ignore)> {
    let root = Root::open(&request.context)?;
    let name = if request.dockerfile.is_empty() { "Dockerfile" } else { &request.dockerfile };
    let bytes = read_if_exists(&root, name)?.ok_or_else(|| Error::NoDockerfile(name.to_owned()))?;
    if bytes.is_empty() {
        return Err(Error::EmptyDockerfile(name.to_owned()));
    }
    // The one that belongs to this Dockerfile wins.
    let ignore = match read_if_exists(&root, &format!("{name}.dockerignore"))? {
        Some(bytes) => Some(bytes),
        None => read_if_exists(&root, ".dockerignore")?,
    };
    let ignore = ignore.map(|bytes| Ignore::parse(&bytes)).transpose()?.unwrap_or_default();
    Ok((Dockerfile::read(&bytes)?, ignore))
}

fn read_if_exists(root: &Root, name: &str) -> Result<Option<Vec<u8>>> {
    match root.read(name, LIMIT) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e)
            if matches!(
                e.source.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(e) => Err(e.into()),
    }
}
