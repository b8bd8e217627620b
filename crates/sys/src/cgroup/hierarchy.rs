//! Where the hierarchies are mounted, and a path made in all of them.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

use rustix::fs::{CWD, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use super::{CONTROLLERS, CONTROLLERS_V2, Cgroup, Directory, MADE, Version, read_at, write_at};
use crate::{Error, Result};

/// Found before, for a process that has asked for it.
static REMEMBERED: OnceLock<Hierarchies> = OnceLock::new();

/// Finds the hierarchies now, and never again: a long table takes 0.1 ms. For a process that makes one container, and has
/// time before that.
pub fn remember_hierarchies() {
    if let Ok(found) = Hierarchies::find() {
        // A second time changes nothing.
        let _ = REMEMBERED.set(found);
    }
}

/// The mount points.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hierarchies {
    unified: Option<String>,
    v1: Vec<(Vec<String>, String)>,
}

impl Hierarchies {
    pub(super) fn find() -> Result<Self> {
        const TABLE: &str = "/proc/self/mountinfo";
        if let Some(found) = REMEMBERED.get() {
            return Ok(found.clone());
        }
        let text = std::fs::read_to_string(TABLE).map_err(|e| Error::new("read", TABLE, e))?;
        let mut found = Self::parse(&text);
        if found.unified.is_none() && found.v1.is_empty() {
            return Err(Error::new("find the cgroup hierarchies in", TABLE, Errno::NODEV));
        }
        // With a unified hierarchy beside, freezing is done there.
        if found.unified.is_some() {
            found.v1.retain(|(controllers, _)| controllers != &["freezer"]);
        }
        Ok(found)
    }

    /// proc_pid_mountinfo(5): `… mountpoint options [tags] - type source superoptions`.
    fn parse(mountinfo: &str) -> Self {
        let mut found = Self::default();
        for line in mountinfo.lines() {
            let Some((mount, system)) = line.split_once(" - ") else { continue };
            let Some(point) = mount.split(' ').nth(4) else { continue };
            found.hide(point);
            let mut system = system.split(' ');
            match (system.next(), system.nth(1)) {
                (Some("cgroup2"), _) => {
                    found.unified.get_or_insert_with(|| point.to_owned());
                }
                (Some("cgroup"), Some(options)) => {
                    let controllers: Vec<String> = options
                        .split(',')
                        .filter(|option| CONTROLLERS.contains(option))
                        .map(str::to_owned)
                        .collect();
                    let known = found.v1.iter().any(|(c, _)| *c == controllers);
                    if !controllers.is_empty() && !known {
                        found.v1.push((controllers, point.to_owned()));
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// Forgets what a later mount at `point` covers.
    fn hide(&mut self, point: &str) {
        let covered =
            |one: &str| one.strip_prefix(point).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.unified.take_if(|one| covered(one));
        self.v1.retain(|(_, one)| !covered(one));
    }

    fn version(&self) -> Version {
        if self.v1.is_empty() { Version::V2 } else { Version::V1 }
    }
}

/// `parent`: others are to be made in it.
pub(super) fn create(hierarchies: &Hierarchies, path: &str, parent: bool) -> Result<Cgroup> {
    let names = names(path)?;
    let mut cgroup =
        Cgroup { path: path.to_owned(), version: hierarchies.version(), unified: None, v1: Vec::new() };
    let made = (|| {
        if let Some(point) = &hierarchies.unified {
            let delegate = cgroup.version == Version::V2;
            cgroup.unified = Some(retried(|| create_in(point, &names, &[], delegate, parent))?);
        }
        for (controllers, point) in &hierarchies.v1 {
            cgroup.v1.push(retried(|| create_in(point, &names, controllers, false, parent))?);
        }
        Ok(())
    })();
    match made {
        Ok(()) => Ok(cgroup),
        Err(error) => {
            // The first failure is the one to report.
            let _ = cgroup.remove();
            Err(error)
        }
    }
}

pub(super) fn open(hierarchies: &Hierarchies, path: &str) -> Result<Cgroup> {
    let relative = names(path)?.join("/");
    let open = |point: &str, controllers: &[String]| {
        let label = format!("{point}/{relative}");
        let fd = open_directory(&label)?;
        Ok(Directory { controllers: controllers.to_vec(), point: point.to_owned(), label, fd })
    };
    Ok(Cgroup {
        path: path.to_owned(),
        version: hierarchies.version(),
        unified: hierarchies.unified.as_ref().map(|point| open(point, &[])).transpose()?,
        v1: hierarchies.v1.iter().map(|(c, point)| open(point, c)).collect::<Result<_>>()?,
    })
}

fn names(path: &str) -> Result<Vec<&str>> {
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    if names.is_empty() || names.iter().any(|name| matches!(*name, "." | "..")) {
        return Err(Error::new("cgroup", path, Errno::INVAL));
    }
    Ok(names)
}

pub(super) fn open_directory(path: &str) -> Result<OwnedFd> {
    rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::new("open", path, errno))
}

/// One that is removed with its last cgroup (see [`MADE`]) may go while `create` is on the way through it.
fn retried(create: impl Fn() -> Result<Directory>) -> Result<Directory> {
    let mut tries = 0;
    loop {
        match create() {
            Err(error) if error.errno() == libc::ENOENT && tries < 16 => tries += 1,
            done => return done,
        }
    }
}

fn create_in(
    point: &str,
    names: &[&str],
    controllers: &[String],
    delegate: bool,
    is_parent: bool,
) -> Result<Directory> {
    let fills = controllers.iter().any(|c| c == "cpuset");
    let (mut label, mut fd, there) = match names.split_last() {
        // What is above is there as a rule, and needs nothing.
        Some((_, above)) if !delegate && !fills => {
            let label = format!("{point}/{}", above.join("/")).trim_end_matches('/').to_owned();
            match open_directory(&label) {
                Ok(fd) => (label, fd, above.len()),
                Err(error) if error.errno() == libc::ENOENT => (point.to_owned(), open_directory(point)?, 0),
                Err(error) => return Err(error),
            }
        }
        _ => (point.to_owned(), open_directory(point)?, 0),
    };
    for (depth, name) in names.iter().enumerate().skip(there) {
        if delegate {
            delegate_to_children(&fd, &label, label == point)?;
        }
        let parent = label.clone();
        label = format!("{label}/{name}");
        let made = match rustix::fs::mkdirat(&fd, *name, Mode::from_raw_mode(0o755)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(Error::new("mkdir", label, errno)),
        };
        let child = rustix::fs::openat(
            &fd,
            *name,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| Error::new("open", &label, errno))?;
        if made && depth + 1 < names.len() {
            // Where there is no room for a mark the directory stays, as if it had been there before.
            let _ = rustix::fs::fsetxattr(&child, MADE, b"1", XattrFlags::empty());
        }
        if fills {
            fill_cpuset((&fd, &parent), (&child, &label))?;
            if made && (is_parent || depth + 1 < names.len()) {
                // What is made below it begins with its processors and memory: writing them costs the kernel a look at all
                // the others beside it. Where it cannot be switched on, they are written.
                let _ = write_at(child.as_fd(), &label, "cgroup.clone_children", "1");
            }
        }
        fd = child;
    }
    Ok(Directory { controllers: controllers.to_vec(), point: point.to_owned(), label, fd })
}

/// A new cpuset of v1 is empty unless its parent says otherwise, and no process can enter an empty one. One that was there
/// already may be another's that is just being made.
fn fill_cpuset((parent, parent_label): (&OwnedFd, &str), (child, label): (&OwnedFd, &str)) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if read_at(child.as_fd(), label, file)?.trim().is_empty() {
            let inherited = read_at(parent.as_fd(), parent_label, file)?;
            write_at(child.as_fd(), label, file, &inherited)?;
        }
    }
    Ok(())
}

/// v2: the controllers that this directory has are switched on for its children.
fn delegate_to_children(fd: &OwnedFd, label: &str, is_top: bool) -> Result<()> {
    let available = read_at(fd.as_fd(), label, "cgroup.controllers")?;
    let enabled = read_at(fd.as_fd(), label, "cgroup.subtree_control")?;
    let has = |text: &str, name: &str| text.split(' ').any(|word| word == name);
    let missing: Vec<String> = CONTROLLERS_V2
        .iter()
        .filter(|name| has(&available, name) && !has(&enabled, name))
        .map(|name| format!("+{name}"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(" ");
    match write_at(fd.as_fd(), label, "cgroup.subtree_control", &missing) {
        // The mount's top is no real root (we are in a container ourselves), and a cgroup that delegates may have
        // no processes of its own: they move into a child. One that starts meanwhile makes it busy again.
        Err(error) if error.errno() == libc::EBUSY && is_top => {
            let mut last = error;
            for _ in 0..16 {
                move_processes_down(fd, label)?;
                match write_at(fd.as_fd(), label, "cgroup.subtree_control", &missing) {
                    Err(error) if error.errno() == libc::EBUSY => last = error,
                    done => return done,
                }
            }
            Err(last)
        }
        done => done,
    }
}

fn move_processes_down(fd: &OwnedFd, label: &str) -> Result<()> {
    let label_init = format!("{label}/init");
    match rustix::fs::mkdirat(fd, "init", Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(Error::new("mkdir", label_init, errno)),
    }
    let init = open_directory(&label_init)?;
    for pid in read_at(fd.as_fd(), label, "cgroup.procs")?.lines() {
        match write_at(init.as_fd(), &label_init, "cgroup.procs", pid) {
            // It has ended, or it is not ours to move.
            Err(error) if matches!(error.errno(), libc::ESRCH | libc::EINVAL) => {}
            done => done?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_read_from_the_mount_table() {
        let v2 = "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = Hierarchies::parse(v2);
        assert_eq!((found.unified.as_deref(), found.version()), (Some("/sys/fs/cgroup"), Version::V2));

        let hybrid = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                      40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n\
                      99 31 0:32 / /elsewhere rw,relatime - cgroup cgroup rw,memory\n";
        let found = Hierarchies::parse(hybrid);
        assert_eq!(found.version(), Version::V1);
        assert_eq!(found.unified.as_deref(), Some("/sys/fs/cgroup/unified"));
        let points: Vec<&str> = found.v1.iter().map(|(_, point)| point.as_str()).collect();
        assert_eq!(points, ["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory"]);
        assert_eq!(found.v1[0].0, ["cpu", "cpuacct"]);

        // Another one over all of them.
        let over = format!("{hybrid}50 31 0:38 / /sys/fs/cgroup rw - cgroup2 none rw\n");
        let found = Hierarchies::parse(&over);
        assert_eq!((found.unified.as_deref(), found.version()), (Some("/sys/fs/cgroup"), Version::V2));
    }

    #[test]
    fn paths_stay_below_the_root() {
        for bad in ["", "/", "..", "/a/../b", "./a"] {
            assert!(names(bad).is_err(), "{bad:?}");
        }
        assert_eq!(names("/corten//x").unwrap(), ["corten", "x"]);
    }
}
