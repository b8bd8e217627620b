//! .dockerignore: which files of the context no COPY sees.
//!
//! Lines are patterns of Go's `filepath.Match` plus `**`; `!` takes back; the last match decides; a match on a
//! directory covers what is below it.

use crate::error::{Error, Result};
use crate::glob::Pattern;

/// A list of patterns, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    pattern: Pattern,
    /// `!`: what matches is not ignored.
    keep: bool,
}

impl Ignore {
    /// Reads a .dockerignore.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let text = String::from_utf8_lossy(bytes);
        let lines = text.lines().filter(|line| !line.starts_with('#')).map(str::trim);
        Self::new(lines.filter(|line| !line.is_empty()))
    }

    /// From patterns: a .dockerignore's, or those of `--exclude`.
    pub(crate) fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut rules = Vec::new();
        for text in patterns {
            let (keep, text) = match text.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, text),
            };
            if text.is_empty() {
                return Err(Error::Request("illegal exclusion pattern: \"!\"".into()));
            }
            let cleaned = clean(text);
            if cleaned.is_empty() {
                continue;
            }
            let pattern = Pattern::new(&cleaned).map_err(|_| {
                Error::Request(format!("failed to parse ignore pattern {text:?}: syntax error in pattern"))
            })?;
            rules.push(Rule { pattern, keep });
        }
        Ok(Self { rules })
    }

    /// Whether a path (relative, cleaned) is left out.
    pub(crate) fn ignores(&self, path: &str) -> bool {
        let mut ignored = false;
        for rule in &self.rules {
            // A rule that would change nothing is not asked.
            if rule.keep == ignored && rule.pattern.covers(path) {
                ignored = !rule.keep;
            }
        }
        ignored
    }

    /// Whether a directory that is left out may still hold something that is not.
    pub(crate) fn may_keep_below(&self, directory: &str) -> bool {
        self.rules.iter().any(|rule| rule.keep && rule.pattern.may_match_below(directory))
    }
}

/// Go's `filepath.Clean`, made relative: no `.`, no empty components, `..` stops at the root.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_match_decides() {
        let ignore = Ignore::parse(
            b"\xef\xbb\xbf# comment\n/node_modules/\n*.md\n!README.md\nREADME-secret.md\n**/*.o\ntmp/*\n!tmp/keep\n  ./a/../b/./c  \n",
        )
        .unwrap();
        for (path, expected) in [
            ("node_modules", true),
            ("node_modules/x/y.js", true),
            ("src/node_modules", false),
            ("x.md", true),
            ("doc/x.md", false),
            ("README.md", false),
            ("README-secret.md", true),
            ("x.o", true),
            ("a/b/x.o", true),
            ("tmp", false),
            ("tmp/x", true),
            ("tmp/keep", false),
            ("tmp/keep/below", false),
            ("b/c/d", true),
            ("main.rs", false),
        ] {
            assert_eq!(ignore.ignores(path), expected, "{path}");
        }
    }

    #[test]
    fn everything_but() {
        let ignore = Ignore::parse(b"*\n!src\nsrc/private\n").unwrap();
        assert!(ignore.ignores("Dockerfile") && !ignore.ignores("src/a") && ignore.ignores("src/private/k"));
        assert!(!ignore.may_keep_below("node_modules") && !ignore.may_keep_below("src/private"));
        let deep = Ignore::parse(b"*\n!src/*/keep\n!**/x\n").unwrap();
        assert!(deep.may_keep_below("src") && deep.may_keep_below("elsewhere"));
        assert!(Ignore::parse(b"!\n").is_err());
        assert!(Ignore::parse(b"[a\n").is_err());
    }
}
