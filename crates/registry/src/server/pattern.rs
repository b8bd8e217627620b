//! Patterns over names: `*` stands for any text within a component, `**` for any text at all.

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(String);

impl Pattern {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        matches(self.0.as_bytes(), name.as_bytes())
    }

    /// The same with a user's name in place of `{user}`; nothing when the name would not be one component.
    pub(crate) fn of_user(&self, user: &str) -> Option<Self> {
        let plain = user.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-'));
        (plain || !self.0.contains("{user}")).then(|| Self(self.0.replace("{user}", user)))
    }
}

/// Linear but for one place to go back to per kind of star, so that no pattern is slow on any name.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut narrow: Option<(usize, usize)> = None;
    let mut wide: Option<(usize, usize)> = None;
    loop {
        if pattern[p..].starts_with(b"**") {
            p += 2;
            (wide, narrow) = (Some((p, n)), None);
            continue;
        }
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            narrow = Some((p, n));
            continue;
        }
        if p < pattern.len() && n < name.len() && pattern[p] == name[n] {
            (p, n) = (p + 1, n + 1);
            continue;
        }
        if p == pattern.len() && n == name.len() {
            return true;
        }
        // The last star takes one byte more.
        match (narrow, wide) {
            (Some((after, at)), _) if at < name.len() && name[at] != b'/' => {
                narrow = Some((after, at + 1));
                (p, n) = (after, at + 1);
            }
            (_, Some((after, at))) if at < name.len() => {
                (wide, narrow) = (Some((after, at + 1)), None);
                (p, n) = (after, at + 1);
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stay_where_they_may() {
        for (pattern, yes, no) in [
            ("**", vec!["a", "a/b/c"], vec![]),
            ("*", vec!["a"], vec!["a/b"]),
            ("team/*", vec!["team/a"], vec!["team", "team/a/b", "teams/a"]),
            ("team/**", vec!["team/a", "team/a/b"], vec!["team", "other/team/a"]),
            ("**/app", vec!["a/app", "a/b/app"], vec!["app", "a/apps"]),
            ("a*/*-x/**z", vec!["ab/c-x/z", "a/-x/y/z"], vec!["a/b/c-x/z", "a/x/z"]),
            ("v*", vec!["v", "v1.2"], vec!["w1"]),
        ] {
            for name in yes {
                assert!(Pattern::new(pattern).matches(name), "{pattern} {name}");
            }
            for name in no {
                assert!(!Pattern::new(pattern).matches(name), "{pattern} {name}");
            }
        }
        let slow = Pattern::new("*a".repeat(30));
        assert!(!slow.matches(&"a".repeat(200).replace("aa", "ab")) || slow.matches("a"));
        assert_eq!(Pattern::new("home/{user}/**").of_user("ada"), Some(Pattern::new("home/ada/**")));
        assert_eq!(Pattern::new("home/{user}/**").of_user("**"), None);
    }
}
