//! Every failure the engine reports, in the words users and clients read. The original CLI reads some of them:
//! `No such container`, `No such image`, and the four phrases of a failed start in [`start`].

use shim::proto::Failure;
use spec::ErrorKind;

/// A failure of a verb. `Display` is what happened here; [`Error::message`] adds the causes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No container of that id, name or prefix.
    #[error("No such container: {0}")]
    NoSuchContainer(String),
    /// No image of that name or id.
    #[error("No such image: {0}")]
    NoSuchImage(String),
    /// No exec of that id.
    #[error("No such exec instance: {0}")]
    NoSuchExec(String),
    /// No volume of that name.
    #[error("get {0}: no such volume")]
    NoSuchVolume(String),
    /// A prefix that several containers share.
    #[error("Multiple IDs found with provided prefix: {0}")]
    AmbiguousPrefix(String),
    /// The container name is taken.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{id}\". You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameTaken {
        /// Without its slash.
        name: String,
        /// Who has it.
        id: String,
    },
    /// Nothing to do: it is already as asked for.
    #[error("{0}")]
    NotModified(String),
    /// The request cannot be carried out as it was put.
    #[error("{0}")]
    Invalid(String),
    /// Something the request names does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The object's state rules the request out.
    #[error("{0}")]
    Conflict(String),
    /// Not allowed, whoever asks.
    #[error("{0}")]
    Forbidden(String),
    /// Docker can do it, Corten cannot yet.
    #[error("{0}")]
    NotImplemented(String),
    /// Took too long.
    #[error("{0}")]
    Deadline(String),
    /// A container could not be started.
    #[error("{text}")]
    Start {
        /// What failed and why, with the phrase the CLI looks for.
        text: String,
        /// What inspect shows as its exit code: 126, 127 or 128.
        code: i32,
        /// The class: a missing program is the request's fault.
        kind: ErrorKind,
    },
    /// An exec could not be started.
    #[error("{text}")]
    Exec {
        /// What failed and why, with the phrase the CLI looks for.
        text: String,
        /// What inspect shows as its exit code.
        code: i32,
    },
    /// A failure, under the words for the verb it failed in.
    #[error("{verb}")]
    Within {
        /// `Cannot restart container c1`.
        verb: String,
        /// What failed.
        source: Box<Error>,
    },
    /// Several teardown steps failed, or an undo after the first error.
    #[error("{}", join(.0))]
    Several(Vec<Error>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A network failed.
    #[error(transparent)]
    Network(#[from] network::Error),
    /// A registry failed.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] sys::Error),
    /// A shim refused or is gone.
    #[error(transparent)]
    Shim(#[from] shim::client::Error),
    /// A record on disk cannot be read.
    #[error("cannot read {path}")]
    Record {
        /// Which file.
        path: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The engine's own fault.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// The class of this failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchContainer(_)
            | Self::NoSuchImage(_)
            | Self::NoSuchExec(_)
            | Self::NoSuchVolume(_)
            | Self::NotFound(_) => ErrorKind::NotFound,
            Self::AmbiguousPrefix(_) | Self::Invalid(_) => ErrorKind::InvalidParameter,
            Self::NameTaken { .. } | Self::Conflict(_) => ErrorKind::Conflict,
            Self::NotModified(_) => ErrorKind::NotModified,
            Self::Forbidden(_) => ErrorKind::Forbidden,
            Self::NotImplemented(_) => ErrorKind::NotImplemented,
            Self::Deadline(_) => ErrorKind::Deadline,
            Self::Start { kind, .. } => *kind,
            Self::Exec { .. } => ErrorKind::InvalidParameter,
            Self::Within { source, .. } => source.kind(),
            Self::Several(errors) => errors.first().map_or(ErrorKind::Internal, Self::kind),
            Self::Store(e) => e.kind(),
            Self::Network(e) => e.kind(),
            Self::Registry(e) => e.kind(),
            Self::Kernel(_) | Self::Shim(_) | Self::Record { .. } | Self::Internal(_) => ErrorKind::Internal,
        }
    }

    /// This failure and its causes, joined by ": ".
    pub fn message(&self) -> String {
        chain(self)
    }

    /// A failure under the words for its verb; what is no failure (304) stays as it is.
    pub(crate) fn within(verb: String, error: Self) -> Self {
        match error {
            Self::NotModified(_) => error,
            error => Self::Within { verb, source: Box::new(error) },
        }
    }

    /// An error and what went wrong when it was undone.
    pub(crate) fn first(error: Self, undone: impl IntoIterator<Item = Self>) -> Self {
        let mut errors = vec![error];
        errors.extend(undone);
        if errors.len() == 1 { errors.remove(0) } else { Self::Several(errors) }
    }

    /// One error from several: none is success, one is itself.
    pub(crate) fn all(mut errors: Vec<Self>) -> Result<(), Self> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Self::Several(errors)),
        }
    }
}

/// An error and its causes, joined by ": "; the kernel's in Go's words.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let said = |error: &(dyn std::error::Error + 'static)| match error.downcast_ref::<std::io::Error>() {
        Some(error) if error.raw_os_error().is_some() => errno_text(error),
        _ => error.to_string(),
    };
    let mut text = said(error);
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&said(next));
        cause = next.source();
    }
    text
}

fn join(errors: &[Error]) -> String {
    errors.iter().map(Error::message).collect::<Vec<_>>().join("; ")
}

/// What errno(3) says, in Go's words: as C's, but small and without the number.
pub(crate) fn errno_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// The step of all that another runtime's command has failed in.
const RUNTIME: &str = "runtime";

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EACCES: i32 = 13;
const ENOTDIR: i32 = 20;
const EISDIR: i32 = 21;

/// A shim's answer to a start as the user reads it. The CLI exits 127 for `executable file not found` and
/// `no such file or directory`, 126 for `permission denied` and `is a directory`, 125 for the rest.
pub(crate) fn start(error: &shim::client::Error) -> Error {
    let shim::client::Error::Failed(failure) = error else {
        let text = format!("failed to start container: {}", chain(error));
        return Error::Start { text, code: 128, kind: ErrorKind::Internal };
    };
    if failure.step == shim::proto::LOG_SERVER {
        return no_log_server(&failure.detail);
    }
    if failure.step == RUNTIME {
        let (said, code) = runtime_text(failure);
        let kind = if code == 128 { ErrorKind::Internal } else { ErrorKind::InvalidParameter };
        let text = format!("failed to create task for container: failed to create shim task: {said}");
        return Error::Start { text, code, kind };
    }
    let (text, code) = failure_text("failed to start container: ", failure);
    let kind = match failure.step.as_str() {
        "exec" | "chdir" => ErrorKind::InvalidParameter,
        _ => ErrorKind::Internal,
    };
    Error::Start { text, code, kind }
}

/// The container is not started, because its log server cannot be reached (Docker's words).
pub(crate) fn no_log_server(why: &str) -> Error {
    Error::Internal(format!(
        "failed to create task for container: failed to initialize logging driver: {why}"
    ))
}

/// What another runtime has said, in containerd's frame, and the exit code that Docker reads out of it.
fn runtime_text(failure: &Failure) -> (String, i32) {
    let Failure { path: verb, detail, .. } = failure;
    // crun says the errno as C does, and that of a directory as EPERM; clients look for Go's words.
    let words = ["No such file or directory", "Permission denied", "Is a directory"];
    let detail = words.iter().fold(detail.clone(), |text, word| text.replace(word, &word.to_lowercase()));
    let detail = detail.replace("executable: Operation not permitted", "executable: permission denied");
    let said = detail.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|words| said.contains(words));
    let code = match () {
        () if has(&["executable file not found", "no such file or directory"]) => 127,
        () if has(&["permission denied", "is a directory"]) => 126,
        () => 128,
    };
    (format!("OCI runtime {verb} failed: {detail}: unknown"), code)
}

/// The text of a failed step with Go's words for the errno, and the exit code that goes with it. What is wrong with a user
/// Docker says without a word on the verb.
pub(crate) fn failure_text(verb: &str, failure: &Failure) -> (String, i32) {
    let Failure { step, errno, path, detail } = failure;
    if step == RUNTIME {
        return runtime_text(failure);
    }
    if step == "user" && *errno == 0 {
        return (detail.clone(), 126);
    }
    let (text, code) = step_text(step, path, *errno, detail);
    (format!("{verb}{text}"), code)
}

/// The same of a step's facts.
pub(crate) fn step_text(step: &str, path: &str, errno: i32, detail: &str) -> (String, i32) {
    let program = matches!(step, "exec" | "chdir");
    let cause = match errno {
        EPERM => "operation not permitted",
        ENOENT if step == "exec" && !path.contains('/') => "executable file not found in $PATH",
        ENOENT => "no such file or directory",
        EACCES => "permission denied",
        ENOTDIR if step == "mount" => {
            "not a directory: Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified \
             host path exists and is the expected type"
        }
        ENOTDIR => "not a directory",
        EISDIR => "is a directory",
        _ => detail,
    };
    let code = match errno {
        ENOENT if program => 127,
        EACCES | EISDIR | EPERM if program => 126,
        ENOTDIR if step == "mount" => 127,
        _ => 128,
    };
    let text =
        if path.is_empty() { format!("{step}: {cause}") } else { format!("{step}: {path:?}: {cause}") };
    (text, code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_starts_say_what_the_cli_looks_for() {
        for (step, path, errno, text, code) in [
            ("exec", "foo", ENOENT, "exec: \"foo\": executable file not found in $PATH", 127),
            ("exec", "/bin/foo", ENOENT, "exec: \"/bin/foo\": no such file or directory", 127),
            ("exec", "/etc", EACCES, "exec: \"/etc\": permission denied", 126),
            ("exec", "/etc", EISDIR, "exec: \"/etc\": is a directory", 126),
            ("mount", "/x", EPERM, "mount: \"/x\": operation not permitted", 128),
            ("seccomp", "", 22, "seccomp: Invalid argument", 128),
        ] {
            assert_eq!(step_text(step, path, errno, "Invalid argument"), (text.to_owned(), code));
        }
    }

    #[test]
    fn causes_are_joined() {
        let source = std::io::Error::from_raw_os_error(ENOENT);
        let error = Error::from(sys::Error::new("open", "/x", source));
        assert_eq!(error.message(), "open /x: no such file or directory");
        let both = Error::all(vec![Error::Invalid("a".into()), Error::Conflict("b".into())]).unwrap_err();
        assert_eq!((both.message().as_str(), both.kind()), ("a; b", ErrorKind::InvalidParameter));
    }
}
