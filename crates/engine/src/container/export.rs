//! Export: a container's file system as a tar, without what is mounted in it.

use std::path::Path;

use bytes::Bytes;
use store::archive::{Pack, Whiteouts, Writer, pack};
use sys::root::Root;
use tokio::sync::mpsc;

use super::{Container, cgroup, copyup, ended_meanwhile, leftovers, userns};
use crate::blocking::lasting;
use crate::engine::Inner;
use crate::{Engine, Error, chunks};

impl Engine {
    /// `GET /containers/{id}/export`: paths without a slash at their beginning, the top left out.
    pub async fn export(&self, id: &str) -> Result<mpsc::Receiver<Result<Bytes, Error>>, Error> {
        let container = self.inner.containers.find(id)?;
        // A container that does not run stays so: its layer is mounted here meanwhile. That of one that runs is neither
        // mounted once more nor removed.
        let still = container.verbs.clone().lock_owned().await;
        if container.view().gone {
            return Err(Error::NoSuchContainer(id.to_owned()));
        }
        let layer = container.layer.clone().read_owned().await;
        let (inner, exported) = (self.inner.clone(), container.clone());
        let (root, runs) = lasting(move || inner.bare_root(&exported)).await?;
        let still = (!runs).then_some(still);
        // As it is on disk when it does not run.
        let ids = container.view().record.ids.clone().filter(|_| runs);
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
    /// The file system of a container with nothing mounted in it, and whether that is the mount that a running one has.
    fn bare_root(&self, container: &Container) -> Result<(Root, bool), Error> {
        let view = container.view();
        if let Some(pid) = view.state.init() {
            let path = cgroup::directory(&view.record, &self.config);
            match sys::tree::bare_root(pid, || leftovers::pids(&path).contains(&pid)) {
                Ok(root) => return Ok((root, true)),
                Err(error) if ended_meanwhile(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok((copyup::tree(&self.store.rw_mount(container.id.as_str())?)?, false))
    }
}
