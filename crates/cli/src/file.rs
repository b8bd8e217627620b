//! Files of the user's, replaced in one step.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::error::{Error, Result};

/// Puts `bytes` where `path` is, or where the link there leads: the whole new content or the whole old one, never a
/// part. `mode` is the new file's.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!(".{name}.{}", std::process::id()));
    // Left by a process of this number that was killed here, if at all.
    let _ = std::fs::remove_file(&temporary);
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    let replaced = written.map_err(Error::file("cannot write", &temporary)).and_then(|()| {
        rustix::fs::rename(&temporary, &path).map_err(|e| Error::file("cannot replace", &path)(e.into()))
    });
    if replaced.is_err() {
        // What is left of a failed attempt is worth nothing; the error is told.
        let _ = std::fs::remove_file(&temporary);
    }
    replaced
}
