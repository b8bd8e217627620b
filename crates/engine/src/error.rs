//! Every failure the engine reports, in the words users and clients read. The original CLI reads some of them.

use spec::ErrorKind;

/// A failure as the API reports it. (The helper who owns this crate gives it variants; `kind` and `Display` stay.)
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Class.
    pub kind: ErrorKind,
    /// What, where, what to do.
    pub message: String,
}

impl Error {
    /// The class of this failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}
