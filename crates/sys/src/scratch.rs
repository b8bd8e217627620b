//! Files that never have a name (open(2), O_TMPFILE): gone with their last descriptor, whatever happens.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::{Error, Result};

/// A readable and writable file without a name, on the file system of `directory`.
///
/// # Errors
/// open(2)'s.
pub fn unnamed(directory: &Path) -> Result<File> {
    std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags((rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::CLOEXEC).bits().cast_signed())
        .open(directory)
        .map_err(|e| Error::new("open a scratch file in", directory.display().to_string(), e))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, Write};

    #[test]
    fn leaves_no_name() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = super::unnamed(directory.path()).unwrap();
        file.write_all(b"x").unwrap();
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
