//! `.dockerignore`: which files of a build context stay behind.
//!
//! Patterns are Go's `filepath.Match` with `**` for any number of directories. The last pattern that matches a path
//! or one of its parents decides; `!` brings files back.

/// The patterns of one file.
#[derive(Debug, Default)]
pub(super) struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    exclude: bool,
    parts: Vec<String>,
}

impl Ignore {
    /// Reads the file's text.
    pub(super) fn parse(text: &str) -> Self {
        let rules = text
            .strip_prefix('\u{feff}')
            .unwrap_or(text)
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let line = line.trim();
                let (exclude, pattern) = match line.strip_prefix('!') {
                    Some(pattern) => (false, pattern.trim()),
                    None => (true, line),
                };
                let mut parts: Vec<String> = Vec::new();
                for part in pattern.split('/') {
                    match part {
                        "" | "." => {}
                        ".." => drop(parts.pop()),
                        part => parts.push(part.to_owned()),
                    }
                }
                (!parts.is_empty()).then_some(Rule { exclude, parts })
            })
            .collect();
        Self { rules }
    }

    /// Whether a path (relative, without `.` and `..`) stays behind.
    pub(super) fn excludes(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').collect();
        let mut excluded = false;
        for rule in &self.rules {
            let hit = || (1..=parts.len()).any(|depth| matches(&rule.parts, &parts[..depth]));
            if rule.exclude != excluded && hit() {
                excluded = rule.exclude;
            }
        }
        excluded
    }

    /// Whether something below an excluded directory may come back.
    pub(super) fn may_return(&self, directory: &str) -> bool {
        let parts: Vec<&str> = directory.split('/').collect();
        self.rules.iter().filter(|rule| !rule.exclude).any(|rule| {
            rule.parts.iter().any(|part| part == "**")
                || rule.parts.iter().zip(&parts).all(|(pattern, part)| glob(pattern, part))
        })
    }
}

fn matches(pattern: &[String], path: &[&str]) -> bool {
    match pattern.split_first() {
        None => path.is_empty(),
        Some((first, rest)) if first == "**" => (0..=path.len()).any(|skip| {
            // A trailing `**` wants something below.
            (!rest.is_empty() || skip > 0) && matches(rest, &path[skip..])
        }),
        Some((first, rest)) => {
            path.split_first().is_some_and(|(part, path)| glob(first, part) && matches(rest, path))
        }
    }
}

/// One component: `*`, `?`, `[a-z]`, `[^a]`, `\x`.
fn glob(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // Where to go on after the last star, should what follows it not fit.
    let mut retry = None;
    loop {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p + 1, t + 1));
                p += 1;
                continue;
            }
            None if t == text.len() => return true,
            Some(_) if t < text.len() => {
                if let Some(width) = one(&pattern[p..], text[t]) {
                    p += width;
                    t += 1;
                    continue;
                }
            }
            Some(_) | None => {}
        }
        match retry {
            Some((after, from)) if from <= text.len() => {
                (p, t) = (after, from);
                retry = Some((after, from + 1));
            }
            Some(_) | None => return false,
        }
    }
}

/// Whether the pattern's first element takes `c`, and how many characters of the pattern that element has.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern {
        ['?', ..] => Some(1),
        ['\\', escaped, ..] => (*escaped == c).then_some(2),
        ['[', rest @ ..] => {
            let end = rest.iter().skip(1).position(|c| *c == ']')? + 1;
            let (negated, set) = match &rest[..end] {
                ['^', set @ ..] => (true, set),
                set => (false, set),
            };
            let mut found = false;
            let mut i = 0;
            while i < set.len() {
                if set.get(i + 1) == Some(&'-') && i + 2 < set.len() {
                    found |= (set[i]..=set[i + 2]).contains(&c);
                    i += 3;
                } else {
                    found |= set[i] == c;
                    i += 1;
                }
            }
            (found != negated).then_some(end + 2)
        }
        [plain, ..] => (*plain == c).then_some(1),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (patterns, path, excluded) in [
            ("target", "target", true),
            ("target", "target/debug/x", true),
            ("target", "sub/target", false),
            ("**/target", "sub/target/x", true),
            ("**/target", "target", true),
            ("*.log", "a.log", true),
            ("*.log", "dir/a.log", false),
            ("**/*.log", "dir/deep/a.log", true),
            ("/a/./b/", "a/b", true),
            ("*\n!keep", "keep", false),
            ("*\n!keep", "other", true),
            ("*\n!keep/this", "keep/this", false),
            ("*\n!keep/this", "keep/that", true),
            ("# c\n\nfoo?[a-c]", "foo1b", true),
            ("foo[^a]", "fooa", false),
            ("a/**", "a", false),
            ("a/**", "a/b", true),
            ("a*b*c", "aXbYbc", true),
            ("", "x", false),
            (".", "x", false),
        ] {
            assert_eq!(Ignore::parse(patterns).excludes(path), excluded, "{patterns:?} {path}");
        }
        let ignore = Ignore::parse("*\n!keep/this");
        assert!(ignore.may_return("keep") && !ignore.may_return("other"));
    }
}
