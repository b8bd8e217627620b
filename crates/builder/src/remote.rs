//! Sources elsewhere: `https://…/x.tar.gz`, `https://….git#ref:dir`, `git@host:path`.

/// Where something is that is not in the context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remote {
    /// A file on a server.
    Http(String),
    /// A git repository.
    Git(Git),
}

/// A git repository and what is wanted of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Git {
    pub(crate) url: String,
    /// A branch, tag or commit; empty is the remote's HEAD.
    pub(crate) reference: String,
    /// A directory in it; empty is all.
    pub(crate) subdir: String,
    pub(crate) keep_git_dir: Option<bool>,
    pub(crate) checksum: Option<String>,
}

impl Remote {
    /// Reads an address; `None` for a path.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let ssh = text.starts_with("git@") || text.starts_with("ssh://");
        if ssh || text.starts_with("git://") || text.starts_with("github.com/") {
            return Some(Self::Git(git(text)));
        }
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return None;
        }
        let path = text.split(['#', '?']).next().unwrap_or_default();
        if path.ends_with(".git") { Some(Self::Git(git(text))) } else { Some(Self::Http(text.to_owned())) }
    }
}

/// `url#ref:dir`, or `url?branch=…&subdir=…`.
fn git(text: &str) -> Git {
    let (address, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (address, query) = address.split_once('?').unwrap_or((address, ""));
    let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
    let url = match address.strip_prefix("github.com/") {
        Some(path) => format!("https://github.com/{path}"),
        None => address.to_owned(),
    };
    let mut git =
        Git { url, reference: reference.to_owned(), subdir: crate::ignore::clean(subdir), ..Git::default() };
    for field in query.split('&').filter(|field| !field.is_empty()) {
        let (name, value) = field.split_once('=').unwrap_or((field, "true"));
        match name {
            "ref" | "tag" | "branch" => git.reference = value.to_owned(),
            "subdir" => git.subdir = crate::ignore::clean(value),
            "checksum" | "commit" => git.checksum = Some(value.to_owned()),
            "keep-git-dir" => git.keep_git_dir = Some(matches!(value, "true" | "1")),
            _ => {}
        }
    }
    git
}

/// The name that a download gets: the last component of its path.
pub(crate) fn file_name(url: &str) -> Option<String> {
    let path = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = path.split(['#', '?']).next().unwrap_or_default();
    let (_, path) = path.split_once('/')?;
    let name = path.rsplit('/').next().unwrap_or_default();
    (!name.is_empty() && name != "." && name != "..").then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart() {
        let git = |url: &str, reference: &str, subdir: &str| {
            Some(Remote::Git(Git {
                url: url.into(),
                reference: reference.into(),
                subdir: subdir.into(),
                ..Git::default()
            }))
        };
        let http = |url: &str| Some(Remote::Http(url.into()));
        for (text, expected) in [
            ("a/b", None),
            ("https://x/y.tar.gz", http("https://x/y.tar.gz")),
            ("http://x/a?b=c.git", http("http://x/a?b=c.git")),
            ("https://x/y.git", git("https://x/y.git", "", "")),
            ("https://x/y.git#v1:a/b/", git("https://x/y.git", "v1", "a/b")),
            ("https://x/y.git?branch=m&subdir=/d", git("https://x/y.git", "m", "d")),
            ("git@h:p/q.git#r", git("git@h:p/q.git", "r", "")),
            ("github.com/a/b", git("https://github.com/a/b", "", "")),
        ] {
            assert_eq!(Remote::parse(text), expected, "{text}");
        }
        assert_eq!(file_name("https://x/a/b.tgz?c=/d"), Some("b.tgz".into()));
        assert_eq!(file_name("https://x/"), None);
    }
}
