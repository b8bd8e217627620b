//! From the first argument to the file that is executed, as a shell would find it.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use crate::Failure;
use crate::failure::errno_text;

const ENOENT: i32 = 2;
const EACCES: i32 = 13;
const EISDIR: i32 = 21;

/// Finds `word` in this process's tree and with its rights: by PATH, or as a path when it has a slash.
///
/// The texts are those that Docker's users and their scripts know.
pub(crate) fn find(word: &str, env: &[String]) -> Result<CString, Failure> {
    let failed = |errno: i32, detail: String| Failure {
        step: "exec".into(),
        errno,
        path: word.to_owned(),
        detail: format!("exec: {word:?}: {detail}"),
    };
    let found = if word.contains('/') {
        let path = PathBuf::from(word);
        executable(&path).map_err(|(errno, detail)| failed(errno, detail))?;
        path
    } else {
        // The last one counts, as it does for getenv(3) in most programs that set it twice.
        let search = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
        search
            .split(':')
            .map(|directory| Path::new(if directory.is_empty() { "." } else { directory }).join(word))
            .find(|path| !word.is_empty() && executable(path).is_ok())
            .ok_or_else(|| failed(ENOENT, "executable file not found in $PATH".into()))?
    };
    CString::new(found.into_os_string().into_encoded_bytes())
        .map_err(|_| failed(ENOENT, "the name has a zero byte".into()))
}

/// Whether this process may execute it; otherwise the errno and its words.
fn executable(path: &Path) -> Result<(), (i32, String)> {
    let metadata = std::fs::metadata(path).map_err(|error| {
        (error.raw_os_error().unwrap_or(ENOENT), format!("stat {}: {}", path.display(), errno_text(&error)))
    })?;
    if metadata.is_dir() {
        return Err((EISDIR, "is a directory".into()));
    }
    if !metadata.is_file() || !sys::process::may_execute(path) {
        return Err((EACCES, "permission denied".into()));
    }
    Ok(())
}

/// The failure of the execve itself: a script without its interpreter, a program for another machine.
pub(crate) fn failed(error: &sys::Error) -> Failure {
    Failure {
        step: "exec".into(),
        errno: error.errno(),
        path: error.object.clone(),
        detail: format!("exec {}: {}", error.object, errno_text(&error.source)),
    }
}
