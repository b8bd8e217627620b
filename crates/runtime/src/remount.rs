//! Mounts that come to a running container, or leave it.
//!
//! A child of the caller joins the mount namespace, so that targets are resolved in the container's root and nowhere
//! else; what is mounted was opened on the host before.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use spec::oci::runtime::{Linux, Mount};
use sys::mount;
use sys::namespace::{self, Namespaces};
use sys::process::{self, Clone};
use sys::root::{Follow, Root};

use crate::failure::{at, at_path};
use crate::idmap::Owners;
use crate::{Container, Failure, handshake, mounts};

impl Container {
    /// Mounts one more thing in the running container, as its configuration's mounts are.
    ///
    /// # Errors
    /// Step `mount`; step `namespace` with ESRCH when init has ended. Nothing is mounted then.
    pub fn mount(&self, mount: &Mount) -> Result<(), Failure> {
        let user = if self.joined.contains(Namespaces::USER) {
            let path = format!("/proc/{}/ns/user", self.init_pid);
            Some(sys::file::open(Path::new(&path)).map(OwnedFd::from).map_err(at("namespace"))?)
        } else {
            None
        };
        let linux = Linux::default();
        let owners = Owners::of_namespace(&linux, user);
        let planned = mounts::open_source(mount, &self.cgroup, "", None, &owners)?;
        self.inside(|root| mounts::mount_all(root, vec![planned]).and_then(|mounted| mounted.finish()))
    }

    /// Takes away what is mounted at `destination`. Programs that have files of it open keep these.
    ///
    /// # Errors
    /// Step `unmount`: EINVAL when nothing is mounted there, EBUSY when something is mounted below.
    pub fn unmount(&self, destination: &str) -> Result<(), Failure> {
        let failed = at_path("unmount", destination);
        self.inside(|root| {
            let top = root.find(destination, Follow::No).map_err(&failed)?;
            mount::detach(top.as_fd()).map_err(&failed)
        })
    }

    /// Joins the mount namespace, as the container's root: what is made in it belongs to that.
    fn enter_mounts(&self) -> Result<Root, Failure> {
        let user =
            if self.joined.contains(Namespaces::USER) { Namespaces::USER } else { Namespaces::empty() };
        namespace::join(self.init.as_fd(), Namespaces::MOUNT.with(user)).map_err(at("namespace"))?;
        if user != Namespaces::empty() {
            sys::caps::become_user(0, 0, &[]).map_err(at("user"))?;
        }
        Root::open(Path::new("/")).map_err(at("namespace"))
    }

    /// Does something in the container's mount namespace, in a child that ends afterwards.
    fn inside(&self, act: impl FnOnce(&Root) -> Result<(), Failure>) -> Result<(), Failure> {
        // As for an exec: what runs in the container must not look into the child.
        process::set_dumpable(false).map_err(at("clone"))?;
        let (caller, child) = handshake::pair()?;
        let (mut caller, mut child) = (Some(caller), Some(child));
        let options = Clone { namespaces: Namespaces::empty(), cgroup: None, sibling: false };
        let mut act = Some(act);
        let spawned = process::clone_child(&options, || {
            drop(caller.take());
            let (Some(child), Some(act)) = (child.take(), act.take()) else { return 1 };
            let done = self.enter_mounts().and_then(|root| act(&root));
            match done.and_then(|()| child.ready(None)) {
                Ok(()) => 0,
                Err(failure) => {
                    child.failed(&failure);
                    1
                }
            }
        })
        .map_err(at("clone"))?;
        drop(child);
        let done = caller.take().expect("only the child takes it from its copy").wait_ready();
        let reaped = process::reap(spawned.pidfd.as_fd()).map_err(at("clone"));
        done.and(reaped.map(drop))
    }
}
