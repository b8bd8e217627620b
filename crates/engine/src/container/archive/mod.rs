//! `docker cp`: a path of a container as a tar, and a tar put into a directory of it. Running or not.
//!
//! | room | what is in it |
//! |---|---|
//! | `tree` | the container's files with its mounts, opened for one operation |
//! | `stat` | what is at a path |
//! | `get`, `put` | out and in |
//! | `owner` | whom files belong to that are put in with `-a` |
//!
//! The container may change its tree at any moment and in any way: paths are only ever looked up inside its root
//! ([`sys::root`]), nothing but regular files is opened, and nothing of the container's is loaded or run.

mod get;
mod owner;
mod put;
mod stat;
mod tree;

pub use get::Encoding;
pub use put::Extraction;
pub(crate) use tree::{Opened, Purpose};

use crate::Error;
use crate::container::mounts::clean;

/// Docker's words for a path that is not there.
fn not_found(path: &str, container: &str) -> Error {
    Error::NotFound(format!("Could not find the file {path} in container {container}"))
}

/// A failed look-up: 404 for what is not there.
fn look_up(path: &str, container: &str, error: sys::Error) -> Error {
    match error.source.kind() {
        std::io::ErrorKind::NotFound => not_found(path, container),
        std::io::ErrorKind::NotADirectory => Error::Invalid(crate::error::chain(&error)),
        _ => error.into(),
    }
}

/// A path as asked for: absolute, without `.`, `..` and doubled slashes, but with the `/` or `/.` at its end, which
/// means a directory and follows a link to one.
fn absolute(path: &str) -> String {
    let cleaned = clean(path);
    let bare = cleaned == "/";
    match path.rsplit_once('/').map_or(path, |(_, last)| last) {
        "." if bare => "/.".into(),
        "." => format!("{cleaned}/."),
        "" if !path.is_empty() && !bare => format!("{cleaned}/"),
        _ => cleaned,
    }
}

/// The last word of a path: `/` of the root, `.` of a path that ends so.
fn base(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit_once('/') {
        _ if trimmed.is_empty() => "/",
        Some((_, last)) => last,
        None => trimmed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_keep_what_their_end_means() {
        for (asked, absolute_path, name) in [
            ("etc/passwd", "/etc/passwd", "passwd"),
            ("/etc//x/../", "/etc/", "etc"),
            ("/etc/.", "/etc/.", "."),
            ("/", "/", "/"),
            ("/.", "/.", "."),
            (".", "/.", "."),
            ("", "/", "/"),
            ("../..", "/", "/"),
            ("/a/./b", "/a/b", "b"),
        ] {
            assert_eq!((absolute(asked).as_str(), base(&absolute(asked))), (absolute_path, name), "{asked}");
        }
    }
}
