//! Sealed programs in memory (memfd_create(2)).
//!
//! A container can reach the program that made it through `/proc/<pid>/exe`. A sealed copy in memory cannot be
//! written by anyone, so the program on disk is out of its reach (CVE-2019-5736).

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;

use crate::{Error, Result, file};

/// Copies the file at `path` into a new memory file called `name` that can be executed but never changed.
///
/// # Errors
/// open(2)'s and read(2)'s of the file, memfd_create(2)'s.
pub fn seal(name: &str, path: &Path) -> Result<OwnedFd> {
    let mut program = file::open(path)?;
    let mut copy = File::from(create(name)?);
    std::io::copy(&mut program, &mut copy).map_err(|e| Error::new("copy", path.display().to_string(), e))?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&copy, seals).map_err(|e| Error::new("seal", name, e))?;
    Ok(copy.into())
}

/// A sealed memory file that holds these bytes, to be sent to another process.
///
/// # Errors
/// memfd_create(2)'s and write(2)'s.
pub fn of_bytes(name: &str, bytes: &[u8]) -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = memfd_create(name, flags).map_err(|e| Error::new("memfd_create", name, e))?;
    let mut file = File::from(memory);
    std::io::Write::write_all(&mut file, bytes).map_err(|e| Error::new("write", name, e))?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&file, seals).map_err(|e| Error::new("seal", name, e))?;
    Ok(file.into())
}

/// MFD_EXEC is new in Linux 6.3, where the system may be set up to refuse memory files without it; older
/// kernels refuse the flag and make every memory file executable.
fn create(name: &str) -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create(name, flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => memfd_create(name, flags),
        made => made,
    }
    .map_err(|e| Error::new("memfd_create", name, e))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, Write};

    use super::*;

    #[test]
    fn a_sealed_copy_has_the_bytes_and_cannot_be_changed() {
        let mut copy = File::from(seal("test", Path::new("/proc/self/exe")).unwrap());
        let mut magic = [0; 4];
        copy.rewind().unwrap();
        copy.read_exact(&mut magic).unwrap();
        assert_eq!(&magic, b"\x7fELF");
        assert_eq!(copy.write(b"x").unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert!(copy.set_len(0).is_err());
    }
}
