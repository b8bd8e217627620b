//! A container's log in Docker's json-file format: one JSON object per line of output.
//!
//! ```text
//! {"log":"hello\n","stream":"stdout","time":"2006-01-02T15:04:05.123Z"}
//! ```
//!
//! | room | what is in it |
//! |---|---|
//! | [`split`] | output is cut into lines and pieces of lines |
//! | [`json_file`] | pieces become JSON |
//! | [`time`] | RFC 3339 times, as Go writes them |
//! | [`write`] | the file: append, rotate |
//! | [`read`] | read back: tail, since, until, follow |
//!
//! Files: `<id>-json.log` is written, `.1` is the newest rotated one, `.2` the one before.
//!
//! Words: a *piece* is at most [`split::PIECE`] bytes of a line. A longer line becomes several pieces, of which
//! only the last ends with a newline. An *entry* is one line of the file, that is, one piece.

pub mod json_file;
pub mod read;
pub mod split;
mod tail;
pub mod time;
pub mod write;

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
