//! Kernel parameters (`/proc/sys`). Those under `net/` are the calling thread's network namespace's.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags};

use crate::{Error, Result};

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
        let path = format!("/proc/sys/{name}");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, &path, flags, Mode::empty())
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
