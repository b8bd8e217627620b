//! Addresses of git repositories as builds write them: `https://….git#ref:dir`, `git@host:path`, `….git?branch=…`.

/// A repository and what is wanted of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Where it is, without fragment and query.
    pub url: String,
    /// A branch, tag, commit or full name (`refs/…`); empty is what the repository's HEAD is.
    pub reference: String,
    /// A directory in it, relative and cleaned; empty is all of it.
    pub subdir: String,
    /// Whether `.git` stays; `None` if the address does not say.
    pub keep_git_dir: Option<bool>,
    /// What the commit's id must begin with.
    pub checksum: Option<String>,
    /// Whether repositories inside it are brought in as well.
    pub submodules: bool,
}

/// An address that contradicts itself or asks for what nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// A parameter of the query with a name that is not one.
    #[error(
        "unexpected query {0:?} in a git address: expected ref, tag, branch, subdir, checksum, keep-git-dir, submodules or mtime"
    )]
    Parameter(String),
    /// The fragment and the query, or two parameters, say different things.
    #[error("{0} conflict in a git address: {1:?} and {2:?}")]
    Conflict(&'static str, String, String),
    /// A parameter that is a switch has another value.
    #[error("invalid value for {0} in a git address: {1:?}: expected true or false")]
    Switch(String, String),
}

impl Address {
    /// Reads an address; `None` for what is none: a path, or a file on a web server.
    ///
    /// # Errors
    /// As the variants say.
    pub fn parse(text: &str) -> Result<Option<Self>, InvalidAddress> {
        let (address, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (address, query) = address.split_once('?').unwrap_or((address, ""));
        let by_scheme = ["git@", "git://", "ssh://", "github.com/"].iter().any(|p| address.starts_with(p));
        let by_name = ["http://", "https://", "file://"].iter().any(|p| address.starts_with(p))
            && address.trim_end_matches('/').ends_with(".git");
        if !by_scheme && !by_name {
            return Ok(None);
        }
        let url = match address.strip_prefix("github.com/") {
            Some(path) => format!("https://github.com/{path}"),
            None => address.to_owned(),
        };
        let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
        let mut parsed = Self {
            url,
            reference: reference.to_owned(),
            subdir: clean(subdir),
            keep_git_dir: None,
            checksum: None,
            submodules: true,
        };
        for field in query.split('&').filter(|field| !field.is_empty()) {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            parsed.parameter(name, value)?;
        }
        Ok(Some(parsed))
    }

    fn parameter(&mut self, name: &str, value: &str) -> Result<(), InvalidAddress> {
        let switch = || match value {
            "" | "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(InvalidAddress::Switch(name.to_owned(), value.to_owned())),
        };
        match name {
            "ref" => settle("ref", &mut self.reference, value.to_owned()),
            "tag" => settle("ref", &mut self.reference, format!("refs/tags/{value}")),
            "branch" => settle("ref", &mut self.reference, format!("refs/heads/{value}")),
            "subdir" => settle("subdir", &mut self.subdir, clean(value)),
            "checksum" | "commit" => {
                let mut checksum = self.checksum.take().unwrap_or_default();
                settle("checksum", &mut checksum, value.to_owned())?;
                self.checksum = Some(checksum);
                Ok(())
            }
            "keep-git-dir" => {
                self.keep_git_dir = Some(switch()?);
                Ok(())
            }
            "submodules" => {
                self.submodules = switch()?;
                Ok(())
            }
            // Files have their commit's time, and a commit's id is asked for as such, whatever is said.
            "mtime" | "fetch-by-commit" => Ok(()),
            other => Err(InvalidAddress::Parameter(other.to_owned())),
        }
    }
}

/// Sets what is not set yet; what is must be the same.
fn settle(what: &'static str, place: &mut String, value: String) -> Result<(), InvalidAddress> {
    if !place.is_empty() && *place != value {
        return Err(InvalidAddress::Conflict(what, place.clone(), value));
    }
    *place = value;
    Ok(())
}

/// A relative path without `.`, `..` and empty components; `..` stops at the top.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart() {
        let git = |url: &str, reference: &str, subdir: &str| {
            let (url, reference, subdir) = (url.into(), reference.into(), subdir.into());
            Some(Address { url, reference, subdir, keep_git_dir: None, checksum: None, submodules: true })
        };
        for (text, expected) in [
            ("a/b", None),
            ("https://x/y.tar.gz", None),
            ("http://x/a?b=c.git", None),
            ("https://x/y.git", git("https://x/y.git", "", "")),
            ("https://x/y.git#v1:a/b/", git("https://x/y.git", "v1", "a/b")),
            ("https://x/y.git#:../a", git("https://x/y.git", "", "a")),
            ("https://x/y.git?branch=m&subdir=/d", git("https://x/y.git", "refs/heads/m", "d")),
            ("https://x/y.git?ref=v1#v1", git("https://x/y.git", "v1", "")),
            ("git@h:p/q.git#r", git("git@h:p/q.git", "r", "")),
            ("github.com/a/b", git("https://github.com/a/b", "", "")),
        ] {
            assert_eq!(Address::parse(text), Ok(expected), "{text}");
        }
        let all = Address::parse("git://h/r?tag=1&keep-git-dir&commit=ab&submodules=false").unwrap().unwrap();
        assert_eq!((all.reference.as_str(), all.checksum.as_deref()), ("refs/tags/1", Some("ab")));
        assert_eq!((all.keep_git_dir, all.submodules), (Some(true), false));
    }

    #[test]
    fn contradictions_are_refused() {
        for text in ["git://h/r?brnch=x", "git://h/r?ref=a#b", "git://h/r?submodules=maybe"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }
}
