//! What goes where.

use crate::error::{Error, Result};
use crate::path;

/// One side of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// A path here; `-` is a stream.
    Local(&'a str),
    Container {
        name: &'a str,
        path: &'a str,
    },
}

/// `CONTAINER:PATH` or a local path. A local path with a colon in it is written `./a:b`.
pub(crate) fn place(word: &str) -> Place<'_> {
    match word.split_once(':') {
        Some((name, path)) if !word.starts_with('/') && !name.starts_with('.') && !name.is_empty() => {
            Place::Container { name, path }
        }
        Some(_) | None => Place::Local(word),
    }
}

/// What is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// Its path, with the ending the user gave it.
    pub(crate) path: String,
    pub(crate) is_dir: bool,
    /// The name it is known under, if a link was followed to it.
    pub(crate) known_as: Option<String>,
}

/// Where it is copied to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) path: String,
    /// Whether what is there is a directory; `None` if nothing is there.
    pub(crate) is_dir: Option<bool>,
}

/// How the tar of the source is unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The directory to unpack it in.
    pub(crate) directory: String,
    /// The tar's first component.
    pub(crate) from: String,
    /// What it is to be called.
    pub(crate) to: String,
}

/// Decides.
///
/// | source | there is | it becomes |
/// |---|---|---|
/// | anything | a directory | an entry of it (its content, for `source/.`) |
/// | a file | a file | that file |
/// | a directory | a file | an error |
/// | a directory | nothing | that directory |
/// | a file | nothing | that file, or an error if the path says it is a directory |
pub(crate) fn plan(source: &Source, target: &Target) -> Result<Plan> {
    let (_, from) = path::split(&source.path);
    let known_as = source.known_as.clone().unwrap_or_else(|| from.clone());
    let (parent, entry) = path::split(&target.path);
    match target.is_dir {
        Some(true) => Ok(Plan { directory: target.path.clone(), from, to: known_as }),
        Some(false) if source.is_dir => Err(Error::invalid("cannot copy directory")),
        None if !source.is_dir && path::says_directory(&target.path) => {
            Err(Error::invalid("no such directory"))
        }
        Some(false) | None => Ok(Plan { directory: parent, from, to: entry }),
    }
}

impl Plan {
    /// A tar entry's name, or the name a hard link points to, with its first component replaced.
    pub(crate) fn rename(&self, name: &[u8]) -> Vec<u8> {
        if self.from == self.to {
            return name.to_owned();
        }
        // In a tar of the root directory all names begin with a slash.
        let from = if self.from == "/" { "" } else { self.from.as_str() };
        match name.strip_prefix(from.as_bytes()) {
            Some(rest) if rest.is_empty() || rest.starts_with(b"/") => [self.to.as_bytes(), rest].concat(),
            Some(_) | None => name.to_owned(),
        }
    }
}

/// Where a followed link leads, with the ending the user gave, and the name the user knows it under if that differs.
pub(crate) fn followed(path: &str, target: &str) -> (String, Option<String>) {
    let resolved = path::keep_ending(target.to_owned(), path);
    let known_as = (path::base(path) != path::base(&resolved)).then(|| path::base(path).to_owned());
    (resolved, known_as)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides() {
        let container = |name, path| Place::Container { name, path };
        for (word, wanted) in [
            ("c:/x", container("c", "/x")),
            ("c:x:y", container("c", "x:y")),
            ("c:", container("c", "")),
            ("/a:b", Place::Local("/a:b")),
            ("./a:b", Place::Local("./a:b")),
            ("../a:b", Place::Local("../a:b")),
            ("-", Place::Local("-")),
            ("a", Place::Local("a")),
        ] {
            assert_eq!(place(word), wanted);
        }
    }

    fn planned(
        source: &str,
        is_dir: bool,
        known_as: Option<&str>,
        target: &str,
        there: Option<bool>,
    ) -> Result<String> {
        let known_as = known_as.map(str::to_owned);
        let source = Source { path: source.to_owned(), is_dir, known_as };
        let plan = plan(&source, &Target { path: target.to_owned(), is_dir: there })?;
        Ok(format!("{} {}>{}", plan.directory, plan.from, plan.to))
    }

    #[test]
    fn every_row_of_the_table() {
        for (source, is_dir, known_as, target, there, wanted) in [
            ("/s/f", false, None, "/d", Some(true), "/d f>f"),
            ("/s/d", true, None, "/d", Some(true), "/d d>d"),
            ("/s/d/.", true, None, "/d", Some(true), "/d .>."),
            ("/s/f", false, None, "/d/g", Some(false), "/d f>g"),
            ("/s/d", true, None, "/d/new", None, "/d d>new"),
            ("/s/d/.", true, None, "/d/new", None, "/d .>new"),
            ("/s/d", true, None, "/d/new/", None, "/d d>new"),
            ("/s/f", false, None, "/d/new", None, "/d f>new"),
            ("/s/f", false, None, "new", None, ". f>new"),
            ("/s/f", false, Some("link"), "/d", Some(true), "/d f>link"),
            ("/s/f", false, Some("link"), "/d/g", None, "/d f>g"),
            ("/", true, None, "/d/new", None, "/d />new"),
        ] {
            assert_eq!(
                planned(source, is_dir, known_as, target, there).unwrap(),
                wanted,
                "{source} {target}"
            );
        }
        for (source, is_dir, target, there, wanted) in [
            ("/s/d", true, "/d/f", Some(false), "cannot copy directory"),
            ("/s/f", false, "/d/new/", None, "no such directory"),
            ("/s/f", false, "/d/new/.", None, "no such directory"),
        ] {
            assert_eq!(planned(source, is_dir, None, target, there).unwrap_err().to_string(), wanted);
        }
    }

    #[test]
    fn only_the_first_component_is_renamed() {
        let rename = |from: &str, to: &str, name: &str| {
            let plan = Plan { directory: String::new(), from: from.to_owned(), to: to.to_owned() };
            String::from_utf8(plan.rename(name.as_bytes())).unwrap()
        };
        assert_eq!(rename("d", "new", "d/"), "new/");
        assert_eq!(rename("d", "new", "d/x/d"), "new/x/d");
        assert_eq!(rename("d", "new", "dd/x"), "dd/x");
        assert_eq!(rename(".", "new", "./a.b"), "new/a.b");
        assert_eq!(rename("/", "new", "/etc"), "new/etc");
        assert_eq!(rename("f", "g", "f"), "g");
    }

    #[test]
    fn a_followed_link_keeps_name_and_ending() {
        assert_eq!(followed("/a/link", "/b/file"), ("/b/file".to_owned(), Some("link".to_owned())));
        assert_eq!(followed("/a/link/", "/b/dir"), ("/b/dir/".to_owned(), Some("link".to_owned())));
        assert_eq!(followed("/a/link/.", "/b/dir"), ("/b/dir/.".to_owned(), None));
        assert_eq!(followed("/a/x", "/b/x"), ("/b/x".to_owned(), None));
    }
}
