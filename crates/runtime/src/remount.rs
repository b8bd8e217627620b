//! Mounts that come to a running container, or leave it.
//!
//! A child of the caller joins the mount namespace, so that targets are resolved in the container's root and nowhere
//! else; what is mounted was opened on the host before. An overlay that child makes itself first, in a mount namespace
//! of its own: nothing of it shows on the host.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use spec::oci::runtime::Mount;
use sys::mount::{self, Propagation};
use sys::namespace::{self, Namespaces};
use sys::process::{self, Clone};
use sys::root::Root;

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
        let owners = Owners::of_running(user, self.root);
        let mut planned = vec![mounts::open_source(mount, &self.cgroup, "", None, &owners)?];
        let is_overlay = mount.r#type == "overlay";
        let own = if is_overlay { Namespaces::MOUNT } else { Namespaces::empty() };
        self.in_child(own, || {
            if is_overlay {
                mount::propagate_all(Propagation::Private).map_err(at("mount"))?;
                mounts::make_overlays(&mut planned, &owners)?;
            }
            mounts::mount_all(&self.enter_mounts()?, planned)?.finish()
        })
    }

    /// Takes away what is mounted at `destination`. Programs that have files of it open keep these.
    ///
    /// # Errors
    /// Step `unmount`: EINVAL when nothing is mounted there.
    pub fn unmount(&self, destination: &str) -> Result<(), Failure> {
        let failed = at_path("unmount", destination);
        self.in_child(Namespaces::empty(), || {
            let (parent, name) = self.enter_mounts()?.parent(destination).map_err(&failed)?;
            mount::detach(parent.as_fd(), &name).map_err(&failed)
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

    /// Does something in a child that ends afterwards; `own` are namespaces of its own.
    fn in_child(&self, own: Namespaces, act: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
        // As for an exec: what runs in the container must not look into the child.
        process::set_dumpable(false).map_err(at("clone"))?;
        let (caller, child) = handshake::pair()?;
        let (mut caller, mut child) = (Some(caller), Some(child));
        let options = Clone { namespaces: own, cgroup: None, sibling: false };
        let mut act = Some(act);
        let spawned = process::clone_child(&options, || {
            drop(caller.take());
            let (Some(child), Some(act)) = (child.take(), act.take()) else { return 1 };
            match act().and_then(|()| child.ready(None)) {
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
