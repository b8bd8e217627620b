//! What can go wrong between a client and its engine.

use std::io;

use spec::ErrorKind;

use crate::tls;

/// The outcome of a call.
pub type Result<T> = std::result::Result<T, Error>;

/// A call that failed. The texts are what a user of the command line sees.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Text that names no engine.
    #[error("invalid bind address format: {0}")]
    InvalidHost(String),
    /// A port that is no number, or too large a one.
    #[error("parse {host:?}: invalid port \":{port}\" after host")]
    InvalidPort {
        /// As given.
        host: String,
        /// What follows the colon.
        port: String,
    },
    /// A way of reaching an engine that this client does not speak.
    #[error("cannot use host {host}: {reason}")]
    UnsupportedHost {
        /// As given.
        host: String,
        /// What is missing.
        reason: &'static str,
    },
    /// An address for ssh that it cannot use.
    #[error("ssh host connection is not valid: invalid SSH URL: {0}")]
    InvalidSsh(String),
    /// The engine's socket is not for this user.
    #[error("permission denied while trying to connect to the docker API at {host}")]
    Denied {
        /// The host's text form.
        host: String,
        /// The kernel's words.
        #[source]
        source: io::Error,
    },
    /// The engine and this client do not trust each other, or it speaks no TLS.
    #[error("error during connect: TLS with {host}")]
    Tls {
        /// The host's text form.
        host: String,
        /// What the handshake failed with.
        #[source]
        source: io::Error,
    },
    /// The engine wants a certificate of the client's, and a good one.
    #[error(
        "the server probably has client authentication (--tlsverify) enabled; check your TLS client certification \
         settings"
    )]
    Certificate(#[source] hyper::Error),
    /// A header of the user's that HTTP cannot carry.
    #[error("cannot make a request")]
    Request(#[source] http::Error),
    /// Nobody answers at the host.
    #[error("Cannot connect to the Docker daemon at {host}. Is the docker daemon running?")]
    Connect {
        /// The host's text form.
        host: String,
        /// Why the connection failed.
        #[source]
        source: io::Error,
    },
    /// The engine refused.
    #[error("Error response from daemon: {message}")]
    Daemon {
        /// The HTTP status.
        status: u16,
        /// The engine's words.
        message: String,
    },
    /// The last line of a progress stream said that the work failed.
    #[error("{0}")]
    Progress(String),
    /// The connection broke, or did not speak HTTP.
    #[error("error during connect")]
    Transport(#[source] hyper::Error),
    /// An answer that is not what the Engine API promises.
    #[error("unexpected answer from the daemon to {request}")]
    Decode {
        /// Method and path.
        request: String,
        /// What is wrong with the JSON.
        #[source]
        source: serde_json::Error,
    },
    /// An attach or exec was not answered with `101 UPGRADED`.
    #[error("unable to upgrade to tcp, received {0}")]
    NotUpgraded(u16),
    /// A stream carries a frame of no known kind.
    #[error("unrecognized stream: {0}")]
    UnknownStream(u8),
    /// Reading or writing a stream failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<hyper::Error> for Error {
    fn from(error: hyper::Error) -> Self {
        // With TLS 1.3 the refusal comes with the first answer.
        if tls::is_refusal(&error) { Self::Certificate(error) } else { Self::Transport(error) }
    }
}

impl Error {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidHost(_)
            | Self::InvalidPort { .. }
            | Self::UnsupportedHost { .. }
            | Self::InvalidSsh(_)
            | Self::Request(_) => ErrorKind::InvalidParameter,
            Self::Connect { .. } | Self::Denied { .. } | Self::Tls { .. } | Self::Certificate(_) => {
                ErrorKind::Unavailable
            }
            Self::Daemon { status, .. } => ErrorKind::from_http_status(*status),
            Self::Progress(_)
            | Self::Transport(_)
            | Self::Decode { .. }
            | Self::NotUpgraded(_)
            | Self::UnknownStream(_)
            | Self::Io(_) => ErrorKind::Internal,
        }
    }

    /// Whether the engine said that the object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.kind() == ErrorKind::NotFound
    }
}
