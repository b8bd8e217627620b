//! Kernel parameters (`/proc/sys`). Those under `net/` are the calling thread's network namespace's.

use std::fs::OpenOptions;
use std::io::Write;

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
