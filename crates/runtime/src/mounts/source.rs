//! Opening the source of a bind mount: a path of the host, something below it, or something of another container.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use sys::mount::{Depth, Mount};
use sys::namespace::{self, Namespaces};
use sys::root::{Follow, Root};

use crate::Failure;
use crate::failure::{at, at_path};

/// A copy of what is at `source`, or with `below` of what is there inside it: that tree is not trusted, and no link in
/// it leads out of it. A source `/proc/<pid>/root` is another process's root, in whose mount namespace it is copied:
/// open_tree(2) copies nothing of a foreign one.
pub(super) fn open(source: &str, below: Option<&str>, depth: Depth) -> Result<Mount, Failure> {
    let Some(below) = below else {
        return Mount::copy(Path::new(source), depth).map_err(at_path("mount", source));
    };
    match source.strip_prefix("/proc/").and_then(|rest| rest.strip_suffix("/root")) {
        Some(pid) if pid.bytes().all(|b| b.is_ascii_digit()) => {
            visiting(&format!("/proc/{pid}/ns/mnt"), || copy_below("/", below, depth))
        }
        _ => copy_below(source, below, depth),
    }
}

/// A copy of what is at `below` in the tree at `top`.
pub(super) fn copy_below(top: &str, below: &str, depth: Depth) -> Result<Mount, Failure> {
    let shown = format!("{}/{}", top.trim_end_matches('/'), below.trim_start_matches('/'));
    let root = Root::open(Path::new(top)).map_err(at_path("mount", top))?;
    let found = root.find(below, Follow::Yes).map_err(at_path("mount", &shown))?;
    Mount::copy_of(found.as_fd(), &shown, depth).map_err(at_path("mount", &shown))
}

/// Does something in another mount namespace. This process has one thread and shares its root with nobody.
fn visiting<T>(theirs: &str, visit: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let open = |path: &str| sys::file::open(Path::new(path)).map(OwnedFd::from).map_err(at("namespace"));
    let (own, theirs) = (open("/proc/self/ns/mnt")?, open(theirs)?);
    namespace::join(theirs.as_fd(), Namespaces::MOUNT).map_err(at("namespace"))?;
    let done = visit();
    namespace::join(own.as_fd(), Namespaces::MOUNT).map_err(at("namespace"))?;
    done
}
