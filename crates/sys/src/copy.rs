//! A file's content as another file: shared with it where the file system can (ioctl_ficlone(2)), else copied by the
//! kernel (copy_file_range(2)), its holes left out.

use std::fs::File;
use std::io::{self, Write};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// Bytes of one call: the kernel may be interrupted between two.
const PIECE: u64 = 64 << 20;

/// Gives the empty file `to`, open for writing, the content of `from`, open for reading.
///
/// # Errors
/// copy_file_range(2)'s, read(2)'s and write(2)'s: ENOSPC, EDQUOT, EIO.
pub fn content(from: &File, to: &File) -> io::Result<()> {
    let size = from.metadata()?.len();
    if size == 0 {
        return Ok(());
    }
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(start) => start,
            // The rest is a hole.
            Err(Errno::NXIO) => break,
            // A file system without holes has data everywhere.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
            Err(errno) => return Err(errno.into()),
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(start)).unwrap_or(size);
        range(from, to, start, end)?;
        at = end;
    }
    // A hole at the end; and no more than it was, should it grow meanwhile.
    to.set_len(size)
}

fn range(from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
    let (mut read_at, mut write_at) = (start, start);
    while read_at < end {
        let piece = usize::try_from((end - read_at).min(PIECE)).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), piece) {
            // Shorter than it was a moment ago.
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            // Between file systems that cannot.
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                return by_hand(from, to, read_at, end);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn by_hand(from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let mut buffer = vec![0; 256 << 10];
    let mut at = start;
    rustix::fs::seek(to, SeekFrom::Start(start))?;
    let mut out = to;
    while at < end {
        let wanted = usize::try_from((end - at).min(buffer.len() as u64)).unwrap_or(buffer.len());
        match from.read_at(&mut buffer[..wanted], at)? {
            0 => return Ok(()),
            n => {
                out.write_all(&buffer[..n])?;
                at += n as u64;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    #[test]
    fn holes_stay_holes() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let mut options = std::fs::OpenOptions::new();
            options.read(true).write(true).create(true).truncate(true).open(dir.path().join(name)).unwrap()
        };
        let from = file("from");
        from.write_all_at(b"begin", 0).unwrap();
        from.write_all_at(b"middle", 8 << 20).unwrap();
        from.set_len(64 << 20).unwrap();
        for (name, copy) in [("one", content as fn(&File, &File) -> io::Result<()>), ("two", hand)] {
            let to = file(name);
            copy(&from, &to).unwrap();
            assert_eq!(to.metadata().unwrap().len(), 64 << 20);
            let mut bytes = [0; 6];
            to.read_exact_at(&mut bytes, 8 << 20).unwrap();
            assert_eq!(&bytes, b"middle");
            if name == "one" {
                assert!(to.metadata().unwrap().blocks() * 512 < 1 << 20, "holes are not written");
            }
        }
        let empty = file("empty");
        content(&file("none"), &empty).unwrap();
        assert_eq!(empty.metadata().unwrap().len(), 0);
    }

    fn hand(from: &File, to: &File) -> io::Result<()> {
        by_hand(from, to, 0, from.metadata()?.len())
    }
}
