//! What can go wrong in a build.

use spec::ErrorKind;

/// A failure. The texts of Dockerfile errors and of failed commands are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Dockerfile is wrong: where and what was expected.
    #[error("dockerfile parse error on line {line}: {detail}")]
    Dockerfile {
        /// 1-based.
        line: u32,
        /// What is wrong and what was expected.
        detail: String,
    },
    /// What a line of the Dockerfile asks for failed.
    #[error("{}", .error.text())]
    Located {
        /// 1-based.
        line: u32,
        /// What failed.
        error: Box<Error>,
    },
    /// There is no such file in the context.
    #[error("Cannot locate specified Dockerfile: {0}")]
    NoDockerfile(String),
    /// The file has no bytes.
    #[error("the Dockerfile ({0}) cannot be empty")]
    EmptyDockerfile(String),
    /// Only comments and blank lines.
    #[error("file with no instructions")]
    NoInstructions,
    /// `--target` names no stage.
    #[error("target stage \"{0}\" could not be found")]
    NoTarget(String),
    /// The request cannot be carried out as it was put.
    #[error("{0}")]
    Request(String),
    /// A RUN ended with another code than 0.
    #[error("The command '{command}' returned a non-zero code: {code}")]
    Run {
        /// As in the Dockerfile, with its shell.
        command: String,
        /// Exit code.
        code: i32,
    },
    /// A step failed: which and why.
    #[error("{step}: {detail}")]
    Step {
        /// The instruction.
        step: String,
        /// Why.
        detail: String,
    },
    /// Something that Docker has and this builder has not yet.
    #[error("{step}: {what} is not supported yet")]
    Unsupported {
        /// The instruction.
        step: String,
        /// The missing thing.
        what: String,
    },
    /// The client went away.
    #[error("build cancelled")]
    Cancelled,
    /// A file of ours or of the context cannot be used.
    #[error(transparent)]
    System(#[from] sys::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// An image is not here and cannot be had.
    #[error("{name}: {}", .error.text())]
    Image {
        /// As the Dockerfile has it.
        name: String,
        /// Why.
        error: Box<Error>,
    },
    /// A registry failed.
    #[error(transparent)]
    Registry(Box<registry::Error>),
    /// A RUN's network cannot be had.
    #[error(transparent)]
    Network(#[from] network::Error),
    /// A RUN's shim failed.
    #[error(transparent)]
    Shim(#[from] shim::client::Error),
}

impl From<registry::Error> for Error {
    fn from(error: registry::Error) -> Self {
        Self::Registry(Box::new(error))
    }
}

impl Error {
    /// The class of this failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Dockerfile { .. }
            | Self::NoDockerfile(_)
            | Self::EmptyDockerfile(_)
            | Self::NoInstructions
            | Self::NoTarget(_)
            | Self::Request(_) => ErrorKind::InvalidParameter,
            Self::Located { error, .. } | Self::Image { error, .. } => error.kind(),
            Self::Unsupported { .. } => ErrorKind::NotImplemented,
            Self::Run { .. } | Self::Step { .. } | Self::System(_) | Self::Shim(_) => ErrorKind::Internal,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Store(e) => e.kind(),
            Self::Registry(e) => e.kind(),
            Self::Network(e) => e.kind(),
        }
    }

    /// The text with its causes.
    pub(crate) fn text(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(inner) = cause {
            text.push_str(&format!(": {inner}"));
            cause = inner.source();
        }
        text
    }

    /// The same failure; what cannot be had is where the Dockerfile asks for it.
    pub(crate) fn in_dockerfile(self, line: u32) -> Self {
        Self::Located { line, error: Box::new(self) }
    }

    /// The line it is about, if there is one.
    pub(crate) fn line(&self) -> Option<u32> {
        match self {
            Self::Dockerfile { line, .. } | Self::Located { line, .. } => Some(*line),
            _ => None,
        }
    }

    /// An error in the Dockerfile.
    pub(crate) fn at(line: u32, detail: impl Into<String>) -> Self {
        Self::Dockerfile { line, detail: detail.into() }
    }
}

/// What the functions of this room return.
pub(crate) type Result<T> = std::result::Result<T, Error>;
