//! Mounts whose files belong to others than on disk.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use spec::oci::runtime::{IdMapping, Linux};
use sys::caps;
use sys::mount::{Depth, Mount};
use sys::namespace::Namespaces;

use crate::Failure;
use crate::failure::{at, at_path};
use crate::hold::Holder;
use crate::namespaces::{Plan, User, root_ids};

/// By whose maps: the container's.
#[derive(Debug)]
pub(crate) struct Owners<'a> {
    uids: &'a [IdMapping],
    gids: &'a [IdMapping],
    /// The host's ids of its root, where they are not the same.
    root: Option<(u32, u32)>,
    /// Its user namespace, or one with the same maps. Made when it is first needed.
    namespace: OnceCell<OwnedFd>,
    /// Directories that are covered with mapped copies: of a layer of the root there may be one more overlay.
    covered: RefCell<BTreeSet<PathBuf>>,
}

impl<'a> Owners<'a> {
    /// Of a container to be made.
    pub(crate) fn of_plan(linux: &'a Linux, plan: &Plan) -> Result<Self, Failure> {
        match &plan.user {
            Some(User::Joined(user)) => {
                let user = user.try_clone();
                user.map(|user| Self::of_namespace(linux, Some(user)))
                    .map_err(|e| Failure::new("namespace", "user", crate::failure::errno_text(&e)))
            }
            Some(User::New) | None => Ok(Self::of_namespace(linux, None)),
        }
    }

    /// Of a container whose user namespace is there, if it has one.
    pub(crate) fn of_namespace(linux: &'a Linux, user: Option<OwnedFd>) -> Self {
        let namespace = OnceCell::new();
        if let Some(user) = user {
            namespace.set(user).expect("it is new");
        }
        Self {
            uids: &linux.uid_mappings,
            gids: &linux.gid_mappings,
            root: root_ids(linux),
            namespace,
            covered: RefCell::default(),
        }
    }

    /// Of a container that runs, with its user namespace and its root's ids on the host if it has them.
    pub(crate) fn of_running(user: Option<OwnedFd>, root: Option<(u32, u32)>) -> Self {
        let namespace = user.map_or_else(OnceCell::new, OnceCell::from);
        Self { uids: &[], gids: &[], root, namespace, covered: RefCell::default() }
    }

    fn own(&self) -> Result<BorrowedFd<'_>, Failure> {
        if self.namespace.get().is_none() {
            let made = namespace(self.uids, self.gids)?;
            let _ = self.namespace.set(made);
        }
        Ok(self.namespace.get().expect("just set").as_fd())
    }

    /// Does something as the container's root: overlayfs makes files of its own as who has mounted it, and those of the
    /// host's root have no id on mapped mounts.
    pub(crate) fn as_root<T>(&self, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        let Some((uid, gid)) = self.root else { return work() };
        caps::act_as(uid, gid).map_err(at("user"))?;
        let done = work();
        caps::act_as(0, 0).map_err(at("user"))?;
        done
    }

    /// Covers a directory, in this mount namespace, with a copy whose ids are mapped.
    pub(crate) fn cover(&self, path: &Path) -> Result<(), Failure> {
        if !self.covered.borrow_mut().insert(path.to_owned()) {
            return Ok(());
        }
        let shown = path.display().to_string();
        let failed = at_path("mount", &shown);
        let copy = Mount::copy(path, Depth::One).map_err(&failed)?;
        self.map(&copy, Depth::One)?;
        let place = Mount::open(path).map_err(&failed)?;
        copy.attach(place.as_fd()).map_err(&failed)
    }

    /// Maps the ids of a mount that is attached nowhere yet.
    pub(crate) fn map(&self, mount: &Mount, depth: Depth) -> Result<(), Failure> {
        mount.map_ids(self.own()?, depth).map_err(refused)
    }
}

/// Maps the ids of a mount by maps of its own.
pub(crate) fn map(
    mount: &Mount,
    uids: &[IdMapping],
    gids: &[IdMapping],
    depth: Depth,
) -> Result<(), Failure> {
    mount.map_ids(namespace(uids, gids)?.as_fd(), depth).map_err(refused)
}

fn namespace(uids: &[IdMapping], gids: &[IdMapping]) -> Result<OwnedFd, Failure> {
    Holder::new(uids, gids, Namespaces::empty())?.open("user")
}

/// What the kernel means by EINVAL.
fn refused(error: sys::Error) -> Failure {
    let unable = error.errno() == 22;
    let mut failure = at("mount")(error);
    if unable {
        failure.detail.push_str(
            ": its file system cannot map ids (ext4, xfs, btrfs, and tmpfs from Linux 6.3 on, can)",
        );
    }
    failure
}
