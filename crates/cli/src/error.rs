//! What a command can fail with.

use std::io;
use std::path::PathBuf;

use crate::template::TemplateError;

/// The outcome of a command or of a part of it.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// A command that failed. `Display` is the line the user reads; [`Error::line`] adds the causes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The engine refused, or cannot be reached.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// A template is wrong.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// A file of the user's.
    #[error("{verb} {path}")]
    File {
        verb: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A terminal or a pipe.
    #[error("{what}")]
    Io {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    /// The process ends with this status, after these words, if any.
    #[error("{message}")]
    Exit { code: u8, message: String },
}

impl Error {
    /// A mistake of the user's, in one sentence.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }

    /// Something about a file.
    pub(crate) fn file(verb: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { verb, path, source }
    }

    /// The status the process ends with.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Exit { code, .. } => *code,
            Self::Template(_) => 64,
            Self::Client(_) | Self::Invalid(_) | Self::File { .. } | Self::Io { .. } => 1,
        }
    }

    /// The whole story on one line: the error and its causes, joined by `: `.
    pub(crate) fn line(&self) -> String {
        if let Self::Client(client::Error::Connect { source, .. }) = self
            && matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
        {
            // The sentence says it all.
            return self.to_string();
        }
        if let Self::Client(client::Error::Denied { .. }) = self {
            return format!(
                "{self}\nOnly root and the members of the socket's group may: run this as root, or join the group \
                 ('usermod -aG docker <you>', then log in again)."
            );
        }
        let mut line = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            line.push_str(": ");
            line.push_str(&in_line(&error.to_string()));
            cause = error.source();
        }
        line
    }
}

/// A system error's text as it reads behind a colon: `no such file or directory`.
fn in_line(text: &str) -> String {
    let Some((text, _)) = text.split_once(" (os error ") else { return text.to_owned() };
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}
