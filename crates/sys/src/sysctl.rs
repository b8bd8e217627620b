//! Kernel parameters (`/proc/sys`). Those under `net/` are the calling thread's network namespace's.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{CWD, Mode, OFlags};

use crate::mount::{Attributes, Mount};
use crate::{Error, Result};

/// So many namespaces' parameters are looked up in one procfs.
const SHARED: u32 = 32;

/// Reads a parameter (`net/ipv4/ip_forward`), without the newline at its end.
///
/// # Errors
/// open(2)'s and read(2)'s.
pub fn get(name: &str) -> Result<String> {
    let path = format!("/proc/sys/{name}");
    std::fs::read_to_string(&path)
        .map(|text| text.trim_end().to_owned())
        .map_err(|e| Error::new("read", path, e))
}

/// Sets a parameter.
///
/// # Errors
/// open(2)'s and write(2)'s.
pub fn set(name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/{name}");
    // One write(2): the kernel takes each as a whole value.
    OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .map_err(|e| Error::new("write", path, e))
}

/// The parameters in a directory of `/proc/sys`, by names relative to it.
///
/// With a thousand network namespaces a path below `net/` is found slowly: each of them has entries of the same names in the
/// same directories, and the kernel goes through all of them at each step.
#[derive(Debug)]
pub struct Parameters {
    directory: OwnedFd,
    path: String,
}

impl Parameters {
    /// Those of a directory (`net/ipv6/conf`) in the calling thread's network namespace.
    ///
    /// # Errors
    /// open(2)'s.
    pub fn open(name: &str) -> Result<Self> {
        Self::open_at(CWD, format!("/proc/sys/{name}"))
    }

    fn open_at(from: impl AsFd, path: String) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(from, &path, flags, Mode::empty())
            .map_err(|errno| Error::new("open", &path, errno))?;
        Ok(Self { directory, path })
    }

    /// Sets one.
    ///
    /// # Errors
    /// open(2)'s and write(2)'s.
    pub fn set(&self, name: &str, value: &str) -> Result<()> {
        let label = || format!("{}/{name}", self.path);
        let file = rustix::fs::openat(&self.directory, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Error::new("open", label(), errno))?;
        // One write(2), as in `set`.
        File::from(file).write_all(value.as_bytes()).map_err(|e| Error::new("write", label(), e))
    }
}

/// Where the parameters of many network namespaces are looked up: a procfs of this process's own, and after a number of
/// them the next one, so that few namespaces have entries in it. See [`Parameters`].
#[derive(Debug, Default)]
pub struct Lookup(Mutex<Current>);

#[derive(Debug, Default)]
struct Current {
    procfs: Option<Arc<Mount>>,
    lookups: u32,
}

impl Lookup {
    /// Parameters in a directory (`net/ipv6/conf`) of the calling thread's network namespace. Where no procfs can be mounted,
    /// as in some user namespaces, they are found in `/proc`.
    ///
    /// # Errors
    /// open(2)'s.
    pub fn open(&self, name: &str) -> Result<Parameters> {
        match self.procfs() {
            Some(procfs) => Parameters::open_at(&*procfs, format!("sys/{name}")),
            None => Parameters::open(name),
        }
    }

    fn procfs(&self) -> Option<Arc<Mount>> {
        // There is nothing to be left half done under this lock.
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        current.lookups += 1;
        if current.lookups <= SHARED && current.procfs.is_some() {
            return current.procfs.clone();
        }
        let attributes = Attributes::NO_SUID.with(Attributes::NO_DEV).with(Attributes::NO_EXEC);
        let next = Mount::new("proc", "proc", &[], attributes).ok().map(Arc::new);
        let before = std::mem::replace(&mut *current, Current { procfs: next.clone(), lookups: 1 });
        drop(current);
        // Not under the lock: the kernel waits for all processors when a mount goes.
        drop(before);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_up_is_the_threads_own_in_one_procfs_and_the_next() {
        const NAME: &str = "net/ipv4/conf/default/log_martians";
        let lookup = Lookup::default();
        let (directory, name) = NAME.rsplit_once('/').unwrap();
        let here = get(NAME).unwrap();
        for _ in 0..=SHARED {
            let set = || {
                let _netns =
                    crate::netns::enter_new().expect("this test needs root: it makes network namespaces");
                let before = get(NAME).unwrap();
                let other = if before == "0" { "1" } else { "0" };
                lookup.open(directory).unwrap().set(name, other).unwrap();
                assert_eq!(get(NAME).unwrap(), other);
            };
            std::thread::scope(|scope| scope.spawn(set).join().unwrap());
        }
        assert_eq!(get(NAME).unwrap(), here, "nobody set it here");
        let current = lookup.0.lock().unwrap();
        assert!(current.procfs.is_some() && current.lookups == 1, "the last was the first in another");
    }
}
