//! Writing to the user. A reader that went away (`corten ps | head`) ends the program without a word.

use std::io::{self, Write as _};

/// Writes to stdout as it is.
pub(crate) fn out(bytes: impl AsRef<[u8]>) {
    let mut stdout = io::stdout().lock();
    if stdout.write_all(bytes.as_ref()).and_then(|()| stdout.flush()).is_err() {
        crate::terminal::restore();
        std::process::exit(1);
    }
}

/// Writes a line to stdout.
pub(crate) fn line(text: impl AsRef<str>) {
    out(format!("{}\n", text.as_ref()));
}

/// Writes to stderr as it is. Nobody can be told when that fails.
pub(crate) fn err(bytes: impl AsRef<[u8]>) {
    let _ = io::stderr().lock().write_all(bytes.as_ref());
}

/// Writes a line to stderr.
pub(crate) fn err_line(text: impl AsRef<str>) {
    err(format!("{}\n", text.as_ref()));
}
