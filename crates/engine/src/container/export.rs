//! Export: a container's file system as a tar, without what is mounted in it.

use std::path::Path;

use bytes::Bytes;
use store::archive::{Pack, Whiteouts, Writer, pack};
use sys::root::Root;
use tokio::sync::mpsc;

use super::{Container, cgroup, copyup, leftovers, userns};
use crate::blocking::lasting;
use crate::engine::Inner;
use crate::{Engine, Error, chunks};

impl Engine {
    /// `GET /containers/{id}/export`: paths without a slash at their beginning, the top left out.
    pub async fn export(&self, id: &str) -> Result<mpsc::Receiver<Result<Bytes, Error>>, Error> {
        let container = self.inner.containers.find(id)?;
        // A container that does not run stays so: its layer is mounted here meanwhile. That of one that runs is neither
        // mounted once more nor removed.
        let mut still = Some(container.verbs.clone().lock_owned().await);
        if container.view().gone {
            return Err(Error::NoSuchContainer(id.to_owned()));
        }
        let layer = container.layer.clone().read_owned().await;
        let (inner, exported) = (self.inner.clone(), container.clone());
        let root = lasting(move || inner.bare_root(&exported)).await?;
        still.take_if(|_| container.view().state.is_alive());
        // As it is on disk when it does not run.
        let ids = container.view().record.ids.clone().filter(|_| still.is_none());
        self.publish(container.event("export", &[]));
        Ok(chunks::made_by(move |out| {
            let _held = (still, layer);
            let how = Pack {
                base: Path::new(""),
                prefix: Path::new(""),
                whiteouts: Whiteouts::Literal,
                lower: None,
                owners: userns::owners(ids.as_ref()),
            };
            let mut out = Writer::new(out);
            pack(&root, &how, &mut out)?;
            out.finish()?;
            Ok(())
        }))
    }
}

impl Inner {
    /// The file system of a container with nothing mounted in it: of a running one the mount that it has.
    fn bare_root(&self, container: &Container) -> Result<Root, Error> {
        let view = container.view();
        if view.state.is_alive() {
            let (pid, path) = (view.state.pid, cgroup::directory(&view.record, &self.config));
            return Ok(sys::tree::bare_root(pid, || leftovers::pids(&path).contains(&pid))?);
        }
        copyup::tree(&self.store.rw_mount(container.id.as_str())?)
    }
}
