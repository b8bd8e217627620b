//! Paths as text, the way Go's `filepath` sees them: symbolic links are not looked at, and a trailing `/` or `/.`
//! is what the user said.

/// Without `.`, doubled slashes, and `..` where there is something in front of it.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// The last component; `.` of nothing, `/` of the root.
pub(crate) fn base(path: &str) -> &str {
    if path.is_empty() {
        return ".";
    }
    match path.trim_end_matches('/').rsplit('/').next() {
        None | Some("") => "/",
        Some(base) => base,
    }
}

/// `path` as seen from `from`, cleaned; an absolute path is its own.
pub(crate) fn join(from: &str, path: &str) -> String {
    if path.starts_with('/') { clean(path) } else { clean(&format!("{from}/{path}")) }
}

/// Whether the path ends with `.`: the content of a directory, not the directory.
pub(crate) fn is_content(path: &str) -> bool {
    base(path) == "."
}

/// Whether the path says that it is a directory.
pub(crate) fn says_directory(path: &str) -> bool {
    path.ends_with('/') || is_content(path)
}

/// `cleaned` with the `/.` or `/` that `original` ends with and that cleaning took away.
pub(crate) fn keep_ending(mut cleaned: String, original: &str) -> String {
    if is_content(original) && !is_content(&cleaned) {
        if !cleaned.ends_with('/') {
            cleaned.push('/');
        }
        cleaned.push('.');
    }
    if original.ends_with('/') && !cleaned.ends_with('/') {
        cleaned.push('/');
    }
    cleaned
}

/// A path's directory and its entry there, which is `.` if the path ends so.
pub(crate) fn split(path: &str) -> (String, String) {
    let mut cleaned = clean(path);
    if is_content(path) {
        cleaned.push_str("/.");
    }
    let directory = match cleaned.rsplit_once('/') {
        Some((directory, _)) => clean(&format!("{directory}/")),
        None => ".".to_owned(),
    };
    let entry = base(&cleaned).to_owned();
    (directory, entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_does() {
        for (path, wanted) in [
            ("", "."),
            ("/", "/"),
            ("a//b/./c/..", "a/b"),
            ("../a/../..", "../.."),
            ("/../a/", "/a"),
            ("a/..", "."),
        ] {
            assert_eq!(clean(path), wanted, "{path}");
        }
        for (path, wanted) in [("", "."), ("/", "/"), ("//", "/"), ("a/b/", "b"), ("a/.", "."), ("a/./", ".")]
        {
            assert_eq!(base(path), wanted, "{path}");
        }
        for (path, directory, entry) in [
            ("/a/b", "/a", "b"),
            ("/a/b/", "/a", "b"),
            ("/a/b/.", "/a/b", "."),
            ("/a", "/", "a"),
            ("/", "/", "/"),
            ("/.", "/", "."),
            ("a", ".", "a"),
        ] {
            assert_eq!(split(path), (directory.to_owned(), entry.to_owned()), "{path}");
        }
        assert_eq!(join("/x", "../a/"), "/a");
        assert_eq!(join("/x", "/b/./c"), "/b/c");
        for (cleaned, original, wanted) in [
            ("/a", "a/", "/a/"),
            ("/a", "a/.", "/a/."),
            ("/", "/.", "/."),
            ("/", "/", "/"),
            ("/a", "a", "/a"),
        ] {
            assert_eq!(keep_ending(cleaned.to_owned(), original), wanted);
        }
    }
}
