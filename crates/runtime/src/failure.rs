//! What went wrong, as facts that cross processes.

use serde::{Deserialize, Serialize};
use spec::ErrorKind;

/// What went wrong in the kernel: the step, the errno, the path. Crosses the shim's socket as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{step}{}{path}: {detail}", if path.is_empty() { "" } else { " " })]
pub struct Failure {
    /// Which step failed, a stable word such as `exec`, `mount`, `chdir`, `user`, `cgroup`, `seccomp`.
    pub step: String,
    /// The errno, or 0 when no system call failed.
    pub errno: i32,
    /// The path or name the step was about; may be empty.
    pub path: String,
    /// The rest of the fact, in words (for an errno: its text).
    pub detail: String,
}

impl Failure {
    /// A failure that is no system call's.
    pub(crate) fn new(step: &str, path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { step: step.to_owned(), errno: 0, path: path.into(), detail: detail.into() }
    }

    /// The class of the failure.
    pub fn kind(&self) -> ErrorKind {
        match self.step.as_str() {
            "exec" | "user" | "spec" | "chdir" | "sysctl" => ErrorKind::InvalidParameter,
            _ => ErrorKind::Internal,
        }
    }
}

/// For `map_err`: names the step that a system call failed in.
pub(crate) fn at(step: &'static str) -> impl Fn(sys::Error) -> Failure {
    move |error| {
        let text = errno_text(&error.source);
        let detail = if error.step == step { text } else { format!("{}: {text}", error.step) };
        Failure { step: step.to_owned(), errno: error.errno(), path: error.object, detail }
    }
}

/// As [`at`], with the container's path in place of the call's own object.
pub(crate) fn at_path<'p>(step: &'static str, path: &'p str) -> impl Fn(sys::Error) -> Failure + 'p {
    move |error| {
        let errno = error.errno();
        let detail = if error.object.is_empty() || error.object == path {
            format!("{}: {}", error.step, errno_text(&error.source))
        } else {
            format!("{} {}: {}", error.step, error.object, errno_text(&error.source))
        };
        Failure { step: step.to_owned(), errno, path: path.to_owned(), detail }
    }
}

/// The failure of a standard library call.
pub(crate) fn failed<'p>(step: &'static str, path: &'p str) -> impl Fn(std::io::Error) -> Failure + 'p {
    move |error| Failure {
        step: step.into(),
        errno: error.raw_os_error().unwrap_or(0),
        path: path.to_owned(),
        detail: errno_text(&error),
    }
}

/// An errno's text as C programs and Docker print it: "no such file or directory".
pub(crate) fn errno_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}
