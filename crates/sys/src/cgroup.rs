//! Control groups, v2 and v1/hybrid, through a directory fd (cgroups(7)).
//!
//! A [`Cgroup`] is one path (`/corten/<id>`) in every hierarchy of the host. On a v2 host that is one directory;
//! on a v1 host one for each hierarchy with a controller that limits or counts something; on a hybrid host those
//! and one in the unified hierarchy, which has no controllers there but kills, freezes and tells of emptiness.

#![allow(unsafe_code)]

mod devices;
mod hierarchy;
mod remove;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::{Error, Result};

use hierarchy::Hierarchies;

pub use devices::{DeviceAccess, DeviceException, DeviceKind, DevicePolicy};
pub use hierarchy::remember_hierarchies;

/// The controllers that a container's limits and statistics need.
const CONTROLLERS: [&str; 12] = [
    "cpu", "cpuacct", "cpuset", "memory", "pids", "devices", "blkio", "freezer", "hugetlb", "rdma",
    "net_cls", "net_prio",
];
/// The same on v2, where devices and freezing are no controllers.
const CONTROLLERS_V2: [&str; 7] = ["cpu", "cpuset", "memory", "pids", "io", "hugetlb", "rdma"];

/// The mark of a directory that was made only because a cgroup was to be below it: it goes with the last of them.
const MADE: &str = "trusted.corten.made";

/// How long a state that the kernel reaches by itself may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which of the two interfaces the controllers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One directory per controller (or few), `memory.limit_in_bytes`.
    V1,
    /// One directory, `memory.max`.
    V2,
}

/// One path in all hierarchies.
#[derive(Debug)]
pub struct Cgroup {
    path: String,
    version: Version,
    unified: Option<Directory>,
    v1: Vec<Directory>,
}

/// One directory of a hierarchy.
#[derive(Debug)]
struct Directory {
    /// `memory`, or several where they are mounted together; none for the unified hierarchy.
    controllers: Vec<String>,
    /// The hierarchy's mount point.
    point: String,
    label: String,
    fd: OwnedFd,
}

impl Cgroup {
    /// Makes the cgroup, and what is missing above it. One that is there already and empty is taken.
    ///
    /// # Errors
    /// mkdir(2)'s and write(2)'s; EINVAL for a path with `..`, ENODEV on a host without cgroups.
    /// On failure nothing new is left but directories above.
    pub fn create(path: &str) -> Result<Self> {
        hierarchy::create(&Hierarchies::find()?, path, false)
    }

    /// The same for others to be made in: on v1 these begin with its processors and memory.
    ///
    /// # Errors
    /// As [`Cgroup::create`]'s.
    pub fn create_parent(path: &str) -> Result<Self> {
        hierarchy::create(&Hierarchies::find()?, path, true)
    }

    /// Opens a cgroup that is there.
    ///
    /// # Errors
    /// open(2)'s, and as [`Cgroup::create`]'s.
    pub fn open(path: &str) -> Result<Self> {
        hierarchy::open(&Hierarchies::find()?, path)
    }

    /// The unified directory that a process is in: the container may have made its own below this one.
    ///
    /// # Errors
    /// read(2)'s of its `/proc` file; ENOENT without a unified hierarchy.
    pub fn unified_of(&self, pid: i32) -> Result<OwnedFd> {
        let file = format!("/proc/{pid}/cgroup");
        let missing = || Error::new("read", file.clone(), Errno::NOENT);
        let text = std::fs::read_to_string(&file).map_err(|e| Error::new("read", &file, e))?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::")).ok_or_else(missing)?;
        let point = &self.unified.as_ref().ok_or_else(missing)?.point;
        hierarchy::open_directory(&format!("{point}{path}"))
    }

    /// This one, but for directories below it in some hierarchies, by a controller of theirs; `""` stands for all of v1,
    /// and for v2's. They must be there.
    ///
    /// # Errors
    /// openat2(2)'s: ENOENT, EXDEV for a path that leads out of it; ENODEV for a controller that v1 does not have.
    pub fn below(&self, places: &BTreeMap<String, String>) -> Result<Self> {
        let known = |name: &String| name.is_empty() || self.v1.iter().any(|d| d.controllers.contains(name));
        if let Some(name) = places.keys().find(|name| !known(name)) {
            return Err(Error::new("cgroup", name, Errno::NODEV));
        }
        let everywhere = places.get("").map(String::as_str);
        let of_v1 = |directory: &Directory| {
            let named = directory.controllers.iter().find_map(|controller| places.get(controller));
            directory.below(named.map(String::as_str).or(everywhere).unwrap_or_default())
        };
        let unified = everywhere.filter(|_| self.version == Version::V2).unwrap_or_default();
        Ok(Self {
            path: self.path.clone(),
            version: self.version,
            unified: self.unified.as_ref().map(|directory| directory.below(unified)).transpose()?,
            v1: self.v1.iter().map(of_v1).collect::<Result<_>>()?,
        })
    }

    /// The path under each hierarchy's root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The controllers' interface.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The directory that CLONE_INTO_CGROUP takes.
    pub fn unified(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(|directory| directory.fd.as_fd())
    }

    /// Where it is on the host: for each hierarchy the mount point, the cgroup's directory and the controllers.
    pub fn directories(&self) -> impl Iterator<Item = (&str, &str, &[String])> {
        let all = self.v1.iter().chain(&self.unified);
        all.map(|d| (d.point.as_str(), d.label.as_str(), d.controllers.as_slice()))
    }

    /// Whether the host has this controller for us.
    pub fn has(&self, controller: &str) -> bool {
        self.directory(controller).is_some()
    }

    /// Writes a controller's file (`memory`, `memory.max`); for core files of v2 the controller is `cgroup`.
    ///
    /// # Errors
    /// open(2)'s and write(2)'s; ENOENT also when the host has no such controller.
    pub fn write(&self, controller: &str, file: &str, value: &str) -> Result<()> {
        self.require(controller, file)?.write(file, value)
    }

    /// The same with several values, one after the other.
    ///
    /// # Errors
    /// As [`Cgroup::write`]'s; what was written before stays.
    pub fn write_each(&self, controller: &str, file: &str, values: &[String]) -> Result<()> {
        let directory = self.require(controller, file)?;
        let open = open_to_write(directory.fd.as_fd(), file);
        let fd = open.map_err(|errno| directory.failed_to_write(file, errno))?;
        let write = |value: &String| write_command(&fd, value);
        values.iter().try_for_each(write).map_err(|errno| directory.failed_to_write(file, errno))
    }

    /// Reads a controller's file, without white space at its end.
    ///
    /// # Errors
    /// open(2)'s and read(2)'s; ENOENT also when the host has no such controller.
    pub fn read(&self, controller: &str, file: &str) -> Result<String> {
        self.require(controller, file)?.read(file)
    }

    /// The value of one key of a file of `key value` lines; `None` when it is not there.
    pub fn value(&self, controller: &str, file: &str, key: &str) -> Option<u64> {
        let text = self.read(controller, file).ok()?;
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
    }

    /// Lets its processes use only some devices, on v2. (On v1 that is a matter of [`Cgroup::write`].)
    ///
    /// # Errors
    /// bpf(2)'s; ENOENT without a unified hierarchy.
    pub fn restrict_devices(&self, policy: &DevicePolicy) -> Result<()> {
        let unified = self.require("cgroup", "devices")?;
        devices::restrict(unified.fd.as_fd(), &unified.label, policy)
    }

    /// Puts the calling process, which has one thread, into every v1 directory. (The unified one is for
    /// [`crate::process::Clone`].)
    ///
    /// A process that moves only itself makes the kernel wait for nobody (Linux 5.17): moving another one costs a
    /// grace period of RCU, which is many milliseconds on a busy machine.
    ///
    /// # Errors
    /// write(2)'s.
    pub fn enter_v1(&self) -> Result<()> {
        self.v1.iter().try_for_each(|directory| directory.write("tasks", "0"))
    }

    /// Puts a process into every directory.
    ///
    /// # Errors
    /// write(2)'s: ESRCH when it has ended.
    pub fn add(&self, pid: i32) -> Result<()> {
        self.v1.iter().chain(&self.unified).try_for_each(|d| d.write("cgroup.procs", &pid.to_string()))
    }

    /// The processes in it and below it, as pids of the caller's namespace.
    ///
    /// # Errors
    /// read(2)'s.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let directory = self.unified.as_ref().or(self.v1.first());
        let Some(directory) = directory else { return Ok(Vec::new()) };
        let mut pids = Vec::new();
        remove::visit(directory.fd.as_fd(), &directory.label, &mut |fd, label| {
            let text = read_at(fd, label, "cgroup.procs")?;
            pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
            Ok(())
        })?;
        Ok(pids)
    }

    /// Kills every process in it and below it.
    ///
    /// # Errors
    /// write(2)'s.
    pub fn kill(&self) -> Result<()> {
        if let Some(unified) = &self.unified {
            return match unified.write("cgroup.kill", "1") {
                // Whoever else manages cgroups has removed it, which takes that nothing is in it.
                Err(error) if is_gone(&error) => Ok(()),
                done => done,
            };
        }
        // Frozen processes cannot fork away from the signal. A new one can only come from one that was not seen.
        let _ = self.freeze();
        let signalled = self.signal(libc::SIGKILL);
        self.thaw().and(signalled)
    }

    /// Sends a signal to every process in it and below it.
    ///
    /// # Errors
    /// read(2)'s and kill(2)'s, but ESRCH.
    pub fn signal(&self, signal: i32) -> Result<()> {
        for pid in self.processes()? {
            match crate::process::pidfd_open(pid) {
                Ok(pidfd) => match crate::process::pidfd_send_signal(pidfd.as_fd(), signal) {
                    Err(e) if e.errno() != libc::ESRCH => return Err(e),
                    _ => {}
                },
                Err(e) if matches!(e.errno(), libc::ESRCH | libc::EINVAL) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Stops every process in it until [`Cgroup::thaw`]; returns when all stand still.
    ///
    /// # Errors
    /// write(2)'s; ETIMEDOUT when some do not stand still.
    pub fn freeze(&self) -> Result<()> {
        match &self.unified {
            Some(unified) => {
                unified.write("cgroup.freeze", "1")?;
                unified.wait_for("frozen 1")
            }
            None => {
                let freezer = self.require("freezer", "freezer.state")?;
                freezer.write("freezer.state", "FROZEN")?;
                patiently("freeze", &freezer.label, || Ok(freezer.read("freezer.state")? == "FROZEN"))
            }
        }
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// write(2)'s.
    pub fn thaw(&self) -> Result<()> {
        match &self.unified {
            Some(unified) => unified.write("cgroup.freeze", "0"),
            None => self.write("freezer", "freezer.state", "THAWED"),
        }
    }

    /// Whether [`Cgroup::freeze`] was called last.
    pub fn is_frozen(&self) -> bool {
        match &self.unified {
            Some(unified) => unified.read("cgroup.freeze").is_ok_and(|text| text == "1"),
            None => self.read("freezer", "freezer.state").is_ok_and(|text| text != "THAWED"),
        }
    }

    /// Waits until it is empty and removes it everywhere, with what the container made below it and what
    /// [`Cgroup::create`] made above it and nobody else needs.
    ///
    /// # Errors
    /// The first failure; all directories are tried. ETIMEDOUT when processes stay.
    pub fn remove(self) -> Result<()> {
        remove::remove(&self)
    }

    fn directory(&self, controller: &str) -> Option<&Directory> {
        let v1 = self.v1.iter().find(|d| d.controllers.iter().any(|c| c == controller));
        match self.version {
            Version::V2 => self.unified.as_ref(),
            Version::V1 if controller == "cgroup" => self.unified.as_ref(),
            Version::V1 => v1,
        }
    }

    fn require(&self, controller: &str, file: &str) -> Result<&Directory> {
        self.directory(controller)
            .ok_or_else(|| Error::new("cgroup", format!("{}: {file}", self.path), Errno::NOENT))
    }
}

impl Directory {
    fn below(&self, path: &str) -> Result<Self> {
        let path = match path.trim_matches('/') {
            "" => ".",
            path => path,
        };
        let label = format!("{}/{path}", self.label);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let fd = rustix::fs::openat2(&self.fd, path, flags, Mode::empty(), inside)
            .map_err(|errno| Error::new("open", &label, errno))?;
        Ok(Self { controllers: self.controllers.clone(), point: self.point.clone(), label, fd })
    }

    fn write(&self, file: &str, value: &str) -> Result<()> {
        write_at(self.fd.as_fd(), &self.label, file, value)
    }

    fn failed_to_write(&self, file: &str, errno: Errno) -> Error {
        Error::new("write", format!("{}/{file}", self.label), errno)
    }

    fn read(&self, file: &str) -> Result<String> {
        read_at(self.fd.as_fd(), &self.label, file)
    }

    /// Waits until `cgroup.events` has this line. The kernel wakes those who poll the file for POLLPRI.
    fn wait_for(&self, line: &str) -> Result<()> {
        let failed = |errno| Error::new("wait for a cgroup", format!("{}: {line}", self.label), errno);
        let events =
            rustix::fs::openat(&self.fd, "cgroup.events", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(failed)?;
        let end = Instant::now() + PATIENCE;
        loop {
            // Reading arms the next wake-up.
            let mut buffer = [0; 256];
            let length = rustix::io::pread(&events, &mut buffer, 0).map_err(failed)?;
            if String::from_utf8_lossy(&buffer[..length]).lines().any(|l| l == line) {
                return Ok(());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(failed(Errno::TIMEDOUT));
            }
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            match poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
    }
}

/// Whether it fails because the directory behind a descriptor was removed.
fn is_gone(error: &Error) -> bool {
    matches!(error.errno(), libc::ENOENT | libc::ENODEV)
}

/// Asks again and again, a millisecond apart: for states of v1, which wakes nobody.
fn patiently(step: &'static str, object: &str, mut reached: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !reached()? {
        if Instant::now() > end {
            return Err(Error::new(step, object, Errno::TIMEDOUT));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn write_at(directory: BorrowedFd<'_>, label: &str, file: &str, value: &str) -> Result<()> {
    open_to_write(directory, file)
        .and_then(|fd| write_command(&fd, value))
        .map_err(|errno| Error::new("write", format!("{label}/{file}"), errno))
}

fn open_to_write(directory: BorrowedFd<'_>, file: &str) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(directory, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
}

/// One write is one command; there are no partial ones.
fn write_command(fd: &OwnedFd, value: &str) -> rustix::io::Result<()> {
    rustix::io::retry_on_intr(|| rustix::io::write(fd, value.as_bytes())).map(drop)
}

/// Without asking first how large it is, as the standard library does: the kernel does not know.
fn read_at(directory: BorrowedFd<'_>, label: &str, file: &str) -> Result<String> {
    let failed = |errno| Error::new("read", format!("{label}/{file}"), errno);
    let fd = rustix::fs::openat(directory, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed)?;
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match rustix::io::retry_on_intr(|| rustix::io::read(&fd, &mut buffer)).map_err(failed)? {
            0 => break,
            length => text.extend_from_slice(&buffer[..length]),
        }
    }
    let mut text = String::from_utf8(text).map_err(|_| failed(Errno::ILSEQ))?;
    text.truncate(text.trim_end().len());
    Ok(text)
}
