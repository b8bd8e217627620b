//! A container's tree as the host works in it: the root that its processes see, or one mounted for the purpose.
//!
//! Nothing of this is attached to the caller's mounts. A [`Tree`] keeps the mount namespace it is in alive by a
//! descriptor, so the mounts below the root stay while it is in use, and go with it, whatever happens to the caller.
//!
//! A thread enters the other namespace only to open or attach something there, and ends. It executes nothing and opens
//! nothing but the root: no library and no `/proc` of the container's is ever used.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open, openat};
use rustix::io::Errno;

use crate::mount::{Attributes, Depth, Mount, Propagation, Upper, pivot, propagate_all};
use crate::namespace::{Namespaces, join, unshare};
use crate::root::{Follow, Root};
use crate::{Error, Result, process};

/// A container's tree with what is mounted in it.
#[derive(Debug)]
pub struct Tree {
    root: Root,
    /// Without it the mounts below the root would be taken apart.
    _namespace: OwnedFd,
}

/// Something of the host's to be seen in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// On the host; trusted.
    pub source: PathBuf,
    /// In the tree; made when missing, links followed inside the tree.
    pub target: PathBuf,
    /// Without writing, in the mounts below too.
    pub read_only: bool,
    /// With the mounts below the source.
    pub recursive: bool,
}

/// An overlay's directories.
#[derive(Debug, Clone, Copy)]
pub struct Layers<'p> {
    /// Highest first. Empty: the upper directory is all there is.
    pub lower: &'p [PathBuf],
    /// The writable directory.
    pub upper: &'p Path,
    /// overlayfs's own.
    pub work: &'p Path,
    /// What is written is not needed after a crash of the machine.
    pub volatile: bool,
    /// Nothing is to be written.
    pub read_only: bool,
}

impl Tree {
    /// The tree that a running process's mount namespace has as its root, with all its mounts. `is_right` is asked when
    /// it is open and the process is known to have lived until then: whether `pid` is the process that is meant.
    ///
    /// # Errors
    /// ESRCH when the process has ended or is another; setns(2)'s and open(2)'s.
    pub fn of_process(pid: i32, is_right: impl FnOnce() -> bool) -> Result<Self> {
        let namespace = namespace_of(pid, is_right)?;
        let top = within(namespace.as_fd(), || open_top("/"))?;
        Ok(Self { root: Root::from_fd(top, "/"), _namespace: namespace })
    }

    /// A tree mounted for the purpose, in a mount namespace of its own: the layers, and `binds` in their order.
    ///
    /// # Errors
    /// As [`Mount::overlay`]'s, [`Mount::copy`]'s and [`Root::create_dirs`]'s.
    pub fn mount(layers: Layers<'_>, binds: &[Bind]) -> Result<Self> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| -> Result<Self> {
                unshare(Namespaces::MOUNT)?;
                propagate_all(Propagation::Private)?;
                // The host's paths are seen only until the root changes.
                let sources = binds.iter().map(source).collect::<Result<Vec<Mount>>>()?;
                let namespace = hold("/proc/thread-self/ns/mnt")?;
                pivot(&overlay(layers)?)?;
                let root = Root::from_fd(open_top("/")?, "/");
                for (bind, source) in binds.iter().zip(sources) {
                    attach(&root, bind, &source)?;
                }
                Ok(Self { root, _namespace: namespace })
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Where look-ups start.
    pub fn root(&self) -> &Root {
        &self.root
    }
}

/// The file system at the root of a running process's mount namespace, without what is mounted in it. Set-user-id
/// programs, devices and programs mean nothing on it. As for `is_right`, see [`Tree::of_process`].
///
/// # Errors
/// As [`Tree::of_process`]'s, and open_tree(2)'s.
pub fn bare_root(pid: i32, is_right: impl FnOnce() -> bool) -> Result<Root> {
    let namespace = namespace_of(pid, is_right)?;
    let top = within(namespace.as_fd(), || {
        let mount = Mount::copy(Path::new("/"), Depth::One)?;
        let harmless = Attributes::NO_SUID.with(Attributes::NO_DEV).with(Attributes::NO_EXEC);
        mount.set(harmless, Attributes::empty(), Depth::One)?;
        mount.open_top()
    })?;
    Ok(Root::from_fd(top, "/"))
}

/// Runs `work` on a thread that is in another mount namespace.
fn within<T: Send>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: gives this thread its own root and working directory (CLONE_FS), which setns(2) asks for; no
            // memory and no descriptor is touched.
            if unsafe { libc::unshare(libc::CLONE_FS) } < 0 {
                return Err(Error::new("unshare", "root and directory", std::io::Error::last_os_error()));
            }
            join(namespace, Namespaces::MOUNT)?;
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn namespace_of(pid: i32, is_right: impl FnOnce() -> bool) -> Result<OwnedFd> {
    let pidfd = process::pidfd_open(pid)?;
    let namespace = hold(&format!("/proc/{pid}/ns/mnt"))?;
    // Alive now, so the number meant this process all the time.
    let right = is_right();
    process::pidfd_send_signal(pidfd.as_fd(), 0)?;
    if right { Ok(namespace) } else { Err(Error::new("find process", pid.to_string(), Errno::SRCH)) }
}

fn hold(path: &str) -> Result<OwnedFd> {
    open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|e| Error::new("open", path, e))
}

fn open_top(path: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).map_err(|e| Error::new("open", path, e))
}

fn overlay(layers: Layers<'_>) -> Result<Mount> {
    if layers.lower.is_empty() {
        return Mount::copy(layers.upper, Depth::One);
    }
    let mut lower: Vec<String> = layers.lower.iter().map(|path| text(path)).collect::<Result<_>>()?;
    if layers.read_only {
        lower.insert(0, text(layers.upper)?);
        return Mount::overlay_read_only(&lower);
    }
    let (directory, work) = (text(layers.upper)?, text(layers.work)?);
    Mount::overlay(&lower, Upper { directory: &directory, work: &work, volatile: layers.volatile }, "")
}

fn source(bind: &Bind) -> Result<Mount> {
    let mount = Mount::copy(&bind.source, if bind.recursive { Depth::All } else { Depth::One })?;
    mount.propagate(Propagation::Private, Depth::All)?;
    let access = if bind.read_only { Attributes::READ_ONLY } else { Attributes::empty() };
    mount.set(access, Attributes::empty(), Depth::All)?;
    Ok(mount)
}

/// Puts a bind into the tree. Its place is a descriptor, so a path that changes meanwhile leads nowhere else.
fn attach(root: &Root, bind: &Bind, source: &Mount) -> Result<()> {
    let is_dir =
        openat(source, c".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).is_ok();
    let target = if is_dir {
        root.create_dirs(&bind.target, 0o755)?;
        root.find(&bind.target, Follow::Yes)?
    } else {
        root.touch(&bind.target, 0o755, 0o644)?
    };
    source.attach(target.as_fd())
}

fn text(path: &Path) -> Result<String> {
    let invalid = || Error::new("mount overlay", path.display().to_string(), Errno::INVAL);
    path.to_str().map(ToOwned::to_owned).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file;
    use crate::root::Access;

    fn write(root: &Root, path: &str, bytes: &[u8]) {
        let mut file = root.open_file(path, Access::CreateNew, 0o644).unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
    }

    #[test]
    fn a_mounted_tree_shows_its_binds_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["low/etc", "upper", "work", "volume", "sealed"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        file::write_atomic(&at("sealed/s"), b"s", 0o644, file::Durability::Process).unwrap();
        std::os::unix::fs::symlink("/elsewhere", at("low/link")).unwrap();
        let bind = |source: &str, target: &str, read_only| Bind {
            source: at(source),
            target: target.into(),
            read_only,
            recursive: true,
        };
        let binds = [bind("volume", "/link/v", false), bind("sealed", "/s", true)];
        let lower = [at("low")];
        let layers = Layers {
            lower: &lower,
            upper: &at("upper"),
            work: &at("work"),
            volatile: false,
            read_only: false,
        };
        let sealed = Layers { read_only: true, ..layers };
        assert_eq!(Tree::mount(sealed, &binds).unwrap_err().errno(), libc::EROFS, "no place for the binds");
        let tree = Tree::mount(layers, &binds).unwrap();
        write(tree.root(), "/etc/a", b"1");
        write(tree.root(), "/elsewhere/v/b", b"2");
        assert!(tree.root().open_file("/s/t", Access::CreateNew, 0o644).is_err());
        assert!(tree.root().dir("/s").unwrap().is_read_only().unwrap());
        assert_eq!(tree.root().read("/s/s", 9).unwrap(), b"s");
        drop(tree);
        let tree = Tree::mount(sealed, &binds).unwrap();
        assert_eq!(tree.root().read("/etc/a", 9).unwrap(), b"1");
        assert!(tree.root().open_file("/etc/b", Access::CreateNew, 0o644).is_err());
        drop(tree);
        assert_eq!(std::fs::read(at("upper/etc/a")).unwrap(), b"1");
        assert_eq!(std::fs::read(at("volume/b")).unwrap(), b"2");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(dir.path().to_str().unwrap()));
        dir.close().unwrap();
    }

    #[test]
    fn a_process_that_is_another_is_refused() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(Tree::of_process(own, || true).is_ok());
        assert_eq!(Tree::of_process(own, || false).unwrap_err().errno(), libc::ESRCH);
        assert!(bare_root(own, || true).unwrap().metadata("/", Follow::No).is_ok());
    }
}
