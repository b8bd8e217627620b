//! A container's log: what becomes of its output, and how it is read back.
//!
//! | room | what is in it |
//! |---|---|
//! | [`split`] | output is cut into lines and pieces of lines |
//! | [`write`] | pieces go to the files and to the log server |
//! | [`file`] | the files: append, rotate |
//! | [`json_file`], [`local`] | the two forms of an entry in a file |
//! | [`compress`] | rotated files are compressed |
//! | [`remote`] | a log server: journald, syslog, fluentd, gelf |
//! | [`read`] | read back: tail, since, until, follow |
//! | [`time`] | RFC 3339 times, as Go writes them |
//!
//! Files: `<id>-json.log` is written, `.1` (or `.1.gz`) is the newest rotated one, `.2` the one before.
//!
//! Words: a *piece* is at most [`split::PIECE`] bytes of a line. A longer line becomes several pieces, of which
//! only the last ends with a newline. An *entry* is one piece as it stands in the file.

pub mod compress;
pub mod file;
pub mod json_file;
pub mod local;
pub mod read;
pub mod remote;
pub mod split;
mod tail;
pub mod time;
pub mod write;

pub use file::Loss;
pub use read::{Entry, Query, Reader};
pub use write::Writer;

use std::path::{Path, PathBuf};

/// The `n`th rotated file of a log; 0 is the log itself.
fn rotated(path: &Path, n: u32) -> PathBuf {
    if n == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    name.into()
}

/// The same file, compressed.
fn packed(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    name.into()
}
