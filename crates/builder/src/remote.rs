//! Sources elsewhere: `https://…/x.tar.gz`, and git repositories.

use spec::git::{Address, InvalidAddress};

/// Where something is that is not in the context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remote {
    /// A file on a server.
    Http(String),
    /// A git repository.
    Git(Address),
}

impl Remote {
    /// Reads an address; `None` for a path. So is what begins with `github.com/` here, and `file://`: nothing that comes
    /// with a build may name a path of this host.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, InvalidAddress> {
        if text.starts_with("file://") || text.starts_with("github.com/") {
            return Ok(None);
        }
        if let Some(address) = Address::parse(text)? {
            return Ok(Some(Self::Git(address)));
        }
        let is_web = text.starts_with("http://") || text.starts_with("https://");
        Ok(is_web.then(|| Self::Http(text.to_owned())))
    }
}

/// Whether a word is an address, a right one or not.
pub(crate) fn is_remote(text: &str) -> bool {
    !matches!(Remote::parse(text), Ok(None))
}

/// The name that a download gets: the last component of its path.
pub(crate) fn file_name(url: &str) -> Option<String> {
    let path = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = path.split(['#', '?']).next().unwrap_or_default();
    let (_, path) = path.split_once('/')?;
    let name = path.rsplit('/').next().unwrap_or_default();
    (!name.is_empty() && name != "." && name != "..").then(|| name.to_owned())
}

/// An address's host, without user and port.
pub(crate) fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart() {
        let http = |url: &str| Ok(Some(Remote::Http(url.into())));
        for (text, expected) in [
            ("a/b", Ok(None)),
            ("file:///etc.git", Ok(None)),
            ("github.com/a/b", Ok(None)),
            ("https://x/y.tar.gz", http("https://x/y.tar.gz")),
            ("http://x/a?b=c.git", http("http://x/a?b=c.git")),
        ] {
            assert_eq!(Remote::parse(text), expected, "{text}");
        }
        assert!(matches!(Remote::parse("https://x/y.git#v1"), Ok(Some(Remote::Git(_)))));
        assert!(is_remote("https://x/y.git?what=1") && !is_remote("y.git"));
        assert_eq!(file_name("https://x/a/b.tgz?c=/d"), Some("b.tgz".into()));
        assert_eq!(file_name("https://x/"), None);
        for (url, expected) in
            [("https://u@h:1/x", "h"), ("git://[::1]:9/x", "[::1]"), ("http://[::1]/", "[::1]"), ("h/x", "h")]
        {
            assert_eq!(host(url), expected, "{url}");
        }
    }
}
