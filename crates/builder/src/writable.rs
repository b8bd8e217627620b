//! A step's writable layer: made, mounted where nobody sees it, committed or removed.

use std::path::PathBuf;

use spec::Id;
use store::{ChainId, Committed, RwMount, RwOptions, Store};
use sys::overlay;
use sys::root::Root;

use crate::error::Result;

/// What the ids of builds' writable layers begin with.
pub(crate) const PREFIX: &str = "build-";

/// A writable layer on a stage. Dropped without [`Writable::commit`]: removed.
#[derive(Debug)]
pub(crate) struct Writable {
    store: Store,
    id: String,
    mount: RwMount,
    used_up: bool,
}

impl Writable {
    /// Makes one.
    pub(crate) fn create(store: &Store, id: &Id, parent: Option<&ChainId>) -> Result<Self> {
        let id = format!("{PREFIX}{}", id.short());
        // A build that a crash of the machine cut off begins this step anew.
        let mount =
            store.rw_create_with(&id, parent, RwOptions { volatile: true, ..RwOptions::default() })?;
        Ok(Self { store: store.clone(), id, mount, used_up: false })
    }

    /// How to mount it.
    pub(crate) fn mount(&self) -> &RwMount {
        &self.mount
    }

    /// Its root, mounted as long as the result lives.
    pub(crate) fn open(&self) -> Result<Root> {
        let RwMount { lower, upper, work, volatile } = &self.mount;
        Ok(Root::from_fd(overlay::open_detached(lower, upper, work, *volatile)?, PathBuf::from("/")))
    }

    /// Makes a layer of it, no file younger than `epoch`; nothing must be mounted any more. `None`: nothing was changed.
    pub(crate) fn commit(mut self, epoch: Option<i64>) -> Result<Option<Committed>> {
        let committed = self.store.rw_commit_before(&self.id, epoch)?;
        self.used_up = true;
        Ok(committed)
    }
}

impl Drop for Writable {
    fn drop(&mut self) {
        if !self.used_up
            && let Err(error) = self.store.rw_remove(&self.id)
        {
            tracing::warn!(id = self.id, %error, "a build step's writable layer stays behind");
        }
    }
}
