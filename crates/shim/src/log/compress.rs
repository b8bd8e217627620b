//! Rotated files are compressed by a process of their own, with the lowest priority, so that neither the container
//! nor the shim waits: `corten-shim --compress` reads its stdin and writes its stdout.
//!
//! In the gzip header (RFC 1952) stands the inode number of the file that was compressed, as the extra field `CO`:
//! a reader that follows the log finds by it which file this was.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use flate2::{Compression, GzBuilder};

const BLOCK: usize = 64 * 1024;
/// The fixed part of a header with an extra field, and the length of ours: identifier, length, inode number.
const HEADER: usize = 12;
const EXTRA: [u8; 4] = [b'C', b'O', 8, 0];

/// Compresses what `input` has into `output`.
///
/// # Errors
/// read(2)'s and write(2)'s.
pub fn run(mut input: File, output: File) -> io::Result<()> {
    let metadata = input.metadata()?;
    let mut extra = EXTRA.to_vec();
    extra.extend_from_slice(&metadata.ino().to_le_bytes());
    let written = u32::try_from(metadata.mtime()).unwrap_or(0);
    let mut gz = GzBuilder::new().mtime(written).extra(extra).write(output, Compression::default());
    let mut block = vec![0; BLOCK];
    loop {
        match input.read(&mut block) {
            Ok(0) => break,
            Ok(n) => gz.write_all(&block[..n])?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    gz.finish()?.set_modified(metadata.modified()?)
}

/// The inode number in the header of a file that [`run`] wrote; `None` for another's.
pub(super) fn compressed_inode(file: &File) -> Option<u64> {
    let mut header = [0; HEADER + EXTRA.len() + 8];
    std::os::unix::fs::FileExt::read_exact_at(file, &mut header, 0).ok()?;
    let inode = header.last_chunk::<8>()?;
    let ours = header[..3] == [0x1f, 0x8b, 8] && header[3] & 4 != 0 && header[HEADER..].starts_with(&EXTRA);
    ours.then(|| u64::from_le_bytes(*inode))
}

/// A compression under way.
#[derive(Debug)]
pub(super) struct Worker {
    pid: i32,
    pidfd: OwnedFd,
    /// Which rotated file is compressed: later rotations move it on.
    pub(super) number: u32,
}

impl Worker {
    /// Starts this very program on `input`.
    pub(super) fn start(input: &File, output: &File, number: u32) -> Result<Self, sys::Error> {
        let program = sys::file::open("/proc/self/exe".as_ref())?;
        let argv = ["corten-shim", "--compress"];
        use std::os::fd::AsFd;
        let fds = [(input.as_fd(), 0), (output.as_fd(), 1)];
        let child = sys::process::spawn(program.as_fd(), &argv, &[], &fds)?;
        Ok(Self { pid: child.pid, pidfd: child.pidfd, number })
    }

    pub(super) fn is(&self, pid: i32) -> bool {
        self.pid == pid
    }

    /// Ends it; whoever reaps finds it.
    pub(super) fn kill(self) {
        use std::os::fd::AsFd;
        // It may have ended by itself.
        let _ = sys::process::pidfd_send_signal(self.pidfd.as_fd(), spec::signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_comes_back_and_names_its_inode() {
        let directory = tempfile::tempdir().unwrap();
        let (plain, packed) = (directory.path().join("p"), directory.path().join("z"));
        let text = b"hello\n".repeat(50_000);
        sys::file::write_atomic(&plain, &text, 0o640, sys::file::Durability::Process).unwrap();
        let inode = std::fs::metadata(&plain).unwrap().ino();
        run(sys::file::open(&plain).unwrap(), sys::file::create(&packed, 0o640).unwrap()).unwrap();
        let file = sys::file::open(&packed).unwrap();
        assert!(file.metadata().unwrap().len() < 2000);
        assert_eq!(compressed_inode(&file), Some(inode));
        assert_eq!(compressed_inode(&sys::file::open(&plain).unwrap()), None);
        let mut back = Vec::new();
        flate2::read::MultiGzDecoder::new(file).read_to_end(&mut back).unwrap();
        assert_eq!(back, text);
    }
}
