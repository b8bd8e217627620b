//! Overlay mounts: one option per layer (Linux 6.7), or mount(2) with short names for the layers before that.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, OpenTreeFlags, UnmountFlags};

use super::{Attributes, Context, Mount, Upper};
use crate::{Error, Result, caps};

/// What is in `upper` must be readable without the lower layers: no renames or copies by reference.
const PLAIN: [&str; 3] = ["index=off", "redirect_dir=off", "metacopy=off"];

pub(super) fn mount(lower: &[String], upper: Upper<'_>, label: &str) -> Result<Mount> {
    if upper.volatile {
        forget_crash(upper.work)?;
    }
    within_quotas(|| {
        if takes_layers() { by_layer(lower, Some(upper), label) } else { joined(lower, Some(upper), label) }
    })
}

/// A volatile mount leaves a mark that keeps its directories from being mounted again, since a crash of the machine may
/// have come in between. Whoever mounts them as volatile again knows that none has, or that it does not matter.
fn forget_crash(work: &str) -> Result<()> {
    let mark = Path::new(work).join("work/incompat/volatile");
    match std::fs::remove_dir_all(&mark) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::new("remove", mark.display().to_string(), error))
        }
        _ => Ok(()),
    }
}

/// overlayfs writes with the rights of who mounted it, and CAP_SYS_RESOURCE (capability 24) is above quotas and takes
/// the blocks that a file system keeps in reserve: neither is for containers.
fn within_quotas(mount: impl FnOnce() -> Result<Mount>) -> Result<Mount> {
    let before = caps::current()?;
    let effective = before.effective.and(caps::Set(!(1 << 24)));
    if effective == before.effective {
        return mount();
    }
    caps::set(caps::Sets { effective, ..before })?;
    let mounted = mount();
    caps::set(before)?;
    mounted
}

/// Of two layers at least.
pub(super) fn mount_read_only(lower: &[String]) -> Result<Mount> {
    if takes_layers() { by_layer(lower, None, "") } else { joined(lower, None, "") }
}

/// Whether an overlay is never attached anywhere but where it belongs. Older kernels want it at the upper directory first.
pub fn makes_unattached() -> bool {
    takes_layers()
}

/// Whether the kernel knows `lowerdir+`. Trying would leave a line in an older kernel's log for each mount.
fn takes_layers() -> bool {
    let system = rustix::system::uname();
    let release = system.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(7))
}

fn by_layer(lower: &[String], writable: Option<Upper<'_>>, label: &str) -> Result<Mount> {
    let context = Context::open("overlay")?;
    context.set("source", "overlay")?;
    for layer in lower {
        context.set("lowerdir+", layer)?;
    }
    if let Some(upper) = writable {
        context.set("upperdir", upper.directory)?;
        context.set("workdir", upper.work)?;
        if upper.volatile {
            context.set_flag("volatile")?;
        }
    }
    for option in PLAIN {
        let (key, value) = option.split_once('=').expect("the options are pairs");
        context.set(key, value)?;
    }
    if !label.is_empty() {
        context.set("context", label)?;
    }
    context.mount(if writable.is_some() { Attributes::empty() } else { Attributes::READ_ONLY })
}

/// All options together have to fit into a page, so the directories go by the numbers of open descriptors.
fn joined(lower: &[String], writable: Option<Upper<'_>>, label: &str) -> Result<Mount> {
    let open = |path: &str| {
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Error::new("open", path, errno))
    };
    let name = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let lower_fds: Vec<OwnedFd> = lower.iter().map(|layer| open(layer)).collect::<Result<_>>()?;
    let layers: Vec<String> = lower_fds.iter().map(name).collect();
    let mut data = format!("lowerdir={}", layers.join(":"));
    let writable_fds = writable.map(|upper| Ok((open(upper.directory)?, open(upper.work)?))).transpose()?;
    if let Some((upper, work)) = &writable_fds {
        data.push_str(&format!(",upperdir={},workdir={}", name(upper), name(work)));
    }
    if writable.is_some_and(|upper| upper.volatile) {
        data.push_str(",volatile");
    }
    let place = writable.map_or(lower[0].as_str(), |upper| upper.directory);
    let flags = if writable.is_some() { MountFlags::empty() } else { MountFlags::RDONLY };
    for option in PLAIN {
        data.push(',');
        data.push_str(option);
    }
    if !label.is_empty() {
        // Its commas are its own.
        data.push_str(&format!(",context=\"{label}\""));
    }
    let failed = |errno: Errno| Error::new("mount overlay", place, errno);
    let data = std::ffi::CString::new(data).map_err(|_| failed(Errno::INVAL))?;
    rustix::mount::mount("overlay", place, "overlay", flags, data.as_c_str()).map_err(failed)?;
    // A copy, attached nowhere: it may go to another mount namespace.
    let copy = OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::OPEN_TREE_CLONE;
    let fd = rustix::mount::open_tree(CWD, place, copy).map_err(failed)?;
    rustix::mount::unmount(place, UnmountFlags::DETACH).map_err(failed)?;
    Ok(Mount { fd, label: "overlay".to_owned() })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd;

    use super::*;
    use crate::mount::{Propagation, propagate_all};
    use crate::namespace::{Namespaces, unshare};

    type Make = fn(&[String], Option<Upper<'_>>) -> Result<Mount>;

    /// In a thread of its own, with its own mounts: nothing is left when it ends.
    fn layers_shine_through(make: Make) {
        let thread = std::thread::spawn(move || {
            let scratch = tempfile::tempdir().unwrap();
            let at = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
            for name in ["upper", "work", "there"] {
                fs::create_dir(at(name)).unwrap();
            }
            let lower: Vec<String> = (0..60)
                .map(|n| {
                    let layer = at(&format!("layer with a long name, and a colon: {n}"));
                    fs::create_dir(&layer).unwrap();
                    #[expect(clippy::disallowed_methods, reason = "a fixture")]
                    fs::write(format!("{layer}/{n}"), "x").unwrap();
                    layer
                })
                .collect();
            unshare(Namespaces::MOUNT).expect("this test needs root");
            propagate_all(Propagation::Private).unwrap();
            let (directory, work) = (at("upper"), at("work"));
            let upper = Upper { directory: &directory, work: &work, volatile: true };
            drop(make(&lower, Some(upper)).unwrap());
            // Its mark does not hinder the next one, which knows of it.
            let mount = make(&lower, Some(upper)).unwrap();
            mount.attach(fs::File::open(at("there")).unwrap().as_fd()).unwrap();
            assert_eq!(fs::read_dir(at("there")).unwrap().count(), 60);
            fs::remove_file(format!("{}/7", at("there"))).unwrap();
            assert_eq!(fs::read_dir(at("there")).unwrap().count(), 59);
            rustix::mount::unmount(at("there"), rustix::mount::UnmountFlags::DETACH).unwrap();
            // What was written is a layer like the others, and hides what it hid.
            let layers = [&[at("upper")], &lower[..]].concat();
            let mount = make(&layers, None).unwrap();
            mount.attach(fs::File::open(at("there")).unwrap().as_fd()).unwrap();
            assert_eq!(fs::read_dir(at("there")).unwrap().count(), 59);
            assert_eq!(
                fs::remove_file(format!("{}/8", at("there"))).unwrap_err().kind(),
                std::io::ErrorKind::ReadOnlyFilesystem
            );
            rustix::mount::unmount(at("there"), rustix::mount::UnmountFlags::DETACH).unwrap();
        });
        thread.join().unwrap();
    }

    #[test]
    fn sixty_layers_as_this_kernel_takes_them() {
        layers_shine_through(|lower, writable| match writable {
            Some(upper) => mount(lower, upper, ""),
            None => mount_read_only(lower),
        });
    }

    #[test]
    fn sixty_layers_joined_as_every_kernel_takes_them() {
        layers_shine_through(|lower, writable| {
            writable.map_or(Ok(()), |upper| forget_crash(upper.work))?;
            joined(lower, writable, "")
        });
    }
}
