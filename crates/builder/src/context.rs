//! Contexts: directories that a client gives a build. Nothing of them is read but what the Dockerfile needs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sys::root::Root;

use crate::Request;
use crate::error::{Error, Result};
use crate::ignore::Ignore;
use crate::index::Index;

/// Larger Dockerfiles are no Dockerfiles.
const LIMIT: u64 = 16 << 20;

/// Files that a client gives.
#[derive(Debug, Clone, Default)]
pub enum Files {
    /// None at all.
    #[default]
    Nothing,
    /// A directory of the builder's own, which nobody else changes.
    Own(PathBuf),
    /// A directory of the client's, open: others may change it meanwhile.
    Shared(Arc<Root>),
}

impl From<PathBuf> for Files {
    fn from(path: PathBuf) -> Self {
        Self::Own(path)
    }
}

/// A context under its name.
#[derive(Debug)]
pub(crate) struct Context {
    /// Empty for the build's own.
    pub(crate) name: String,
    pub(crate) root: Option<Arc<Root>>,
    pub(crate) ignore: Ignore,
    /// What is known of a shared directory's files.
    index: Option<Mutex<Index>>,
}

impl Context {
    /// Opens it; `indexes` is where what is known of shared directories is kept.
    pub(crate) fn open(name: &str, files: &Files, ignore: Ignore, indexes: &Path) -> Result<Self> {
        let (root, index) = match files {
            Files::Nothing => (None, None),
            Files::Own(path) => (Some(Arc::new(Root::open(path)?)), None),
            Files::Shared(root) => {
                let index = Index::new(indexes, &root.top().own_metadata()?);
                (Some(root.clone()), Some(Mutex::new(index)))
            }
        };
        Ok(Self { name: name.to_owned(), root, ignore, index })
    }

    /// Calls `work` with what is known of the files, and keeps what it has learnt.
    pub(crate) fn with_index<T>(&self, work: impl FnOnce(Option<&mut Index>) -> Result<T>) -> Result<T> {
        let Some(index) = &self.index else { return work(None) };
        let mut index = index.lock().unwrap_or_else(PoisonError::into_inner);
        let done = work(Some(&mut index))?;
        index.save()?;
        Ok(done)
    }

    /// Whether its files may change during the build.
    pub(crate) fn is_shared(&self) -> bool {
        self.index.is_some()
    }
}

/// The Dockerfile's bytes and the context's ignore file.
pub(crate) fn read(request: &Request) -> Result<(Vec<u8>, Ignore)> {
    let root = match &request.context {
        Files::Nothing => None,
        Files::Own(path) => Some(Arc::new(Root::open(path)?)),
        Files::Shared(root) => Some(root.clone()),
    };
    let name = if request.dockerfile.is_empty() { "Dockerfile" } else { &request.dockerfile };
    let of = |name: &str| root.as_ref().map_or(Ok(None), |root| read_if_exists(root, name));
    let bytes = match &request.dockerfile_text {
        Some(text) => text.clone(),
        None => match of(name)? {
            Some(bytes) => bytes,
            // As Docker does: the other spelling counts where no name was given.
            None if request.dockerfile.is_empty() || name == "Dockerfile" => {
                of("dockerfile")?.ok_or_else(|| Error::NoDockerfile(name.to_owned()))?
            }
            None => return Err(Error::NoDockerfile(name.to_owned())),
        },
    };
    if bytes.is_empty() {
        return Err(Error::EmptyDockerfile(name.to_owned()));
    }
    // The one that belongs to this Dockerfile wins.
    let ignore = match &request.ignore_text {
        Some(text) => Some(text.clone()),
        None if request.dockerfile_text.is_some() => of(".dockerignore")?,
        None => match of(&format!("{name}.dockerignore"))? {
            Some(bytes) => Some(bytes),
            None => of(".dockerignore")?,
        },
    };
    Ok((bytes, ignore.map(|bytes| Ignore::parse(&bytes)).transpose()?.unwrap_or_default()))
}

/// A file that INCLUDE names.
pub(crate) fn include(request: &Request, name: &str) -> Result<Option<Vec<u8>>> {
    match &request.context {
        Files::Nothing => Ok(None),
        Files::Own(path) => read_if_exists(&Root::open(path)?, name),
        Files::Shared(root) => read_if_exists(root, name),
    }
}

/// The ignore file at the top of a named context.
pub(crate) fn ignore(files: &Files) -> Result<Ignore> {
    let bytes = match files {
        Files::Nothing => None,
        Files::Own(path) => read_if_exists(&Root::open(path)?, ".dockerignore")?,
        Files::Shared(root) => read_if_exists(root, ".dockerignore")?,
    };
    Ok(bytes.map(|bytes| Ignore::parse(&bytes)).transpose()?.unwrap_or_default())
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
