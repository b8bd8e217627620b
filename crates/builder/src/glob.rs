//! Patterns: the shell's (`*`, `?`), Go's `filepath.Match` (with `[…]`, `*` not over `/`), and .dockerignore's
//! (with `**`).

/// A pattern that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadPattern;

/// Go's `filepath.Match`: the whole `name` must match.
pub(crate) fn matches(pattern: &str, name: &str) -> Result<bool, BadPattern> {
    Ok(run(&compile(pattern, Dialect::Go)?, name.chars()))
}

/// A pattern of a .dockerignore file, ready to match cleaned relative paths.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    tokens: Vec<Token>,
    /// What every match begins with: most of very many paths are told apart by it.
    start: String,
}

impl Pattern {
    /// Reads it.
    pub(crate) fn new(pattern: &str) -> Result<Self, BadPattern> {
        let tokens = compile(pattern, Dialect::Ignore)?;
        let literal = |token: &Token| if let Token::Literal(c) = token { Some(*c) } else { None };
        let start = tokens.iter().map_while(literal).collect();
        Ok(Self { tokens, start })
    }

    /// Whether the path or a directory above it matches.
    pub(crate) fn covers(&self, path: &str) -> bool {
        if !path.starts_with(&self.start) {
            return false;
        }
        let mut run = Run::new(&self.tokens);
        for c in path.chars() {
            if c == '/' && run.accepts() {
                return true;
            }
            if !run.step(c) {
                return false;
            }
        }
        run.accepts()
    }

    /// Whether something below a directory may match.
    pub(crate) fn may_match_below(&self, directory: &str) -> bool {
        let mut run = Run::new(&self.tokens);
        directory.chars().chain(['/']).all(|c| run.step(c))
    }
}

/// Whether a COPY source is a pattern at all.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// `${value#pattern}` and, greedy, `${value##pattern}`.
pub(crate) fn trim_prefix(value: &str, pattern: &str, greedy: bool) -> String {
    let characters: Vec<char> = value.chars().collect();
    let ends = ends(&shell(pattern), &characters);
    let end = if greedy { ends.last() } else { ends.first() };
    characters[end.copied().unwrap_or(0)..].iter().collect()
}

/// `${value%pattern}` and, greedy, `${value%%pattern}`.
pub(crate) fn trim_suffix(value: &str, pattern: &str, greedy: bool) -> String {
    let tokens = shell(pattern);
    let characters: Vec<char> = value.chars().collect();
    let mut starts: Vec<usize> = (0..=characters.len()).collect();
    if !greedy {
        starts.reverse();
    }
    let start = starts
        .into_iter()
        .find(|&start| run(&tokens, characters[start..].iter().copied()))
        .unwrap_or(characters.len());
    characters[..start].iter().collect()
}

/// `${value/pattern/replacement}` and, for all, `${value//pattern/replacement}`: the longest match counts.
pub(crate) fn replace(value: &str, pattern: &str, replacement: &str, all: bool) -> String {
    let tokens = shell(pattern);
    let characters: Vec<char> = value.chars().collect();
    let mut out = String::new();
    let mut at = 0;
    while at < characters.len() {
        let Some(length) = ends(&tokens, &characters[at..]).last().copied().filter(|length| *length > 0)
        else {
            out.push(characters[at]);
            at += 1;
            continue;
        };
        out.push_str(replacement);
        at += length;
        if !all {
            break;
        }
    }
    out.extend(&characters[at.min(characters.len())..]);
    out
}

fn shell(pattern: &str) -> Vec<Token> {
    compile(pattern, Dialect::Shell).expect("the shell's dialect has no bad patterns")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// `*` and `?` match any character; `[` is itself.
    Shell,
    /// `*` and `?` do not match `/`.
    Go,
    /// As Go's, and `**` matches any number of components.
    Ignore,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(char),
    /// One character but `/`.
    One,
    /// Any one character.
    AnyOne,
    /// Any characters but `/`.
    Many,
    /// Any characters.
    AnyMany,
    /// The next token may be left out.
    Optional,
    /// One or more components, each with its slash.
    Components,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

fn compile(pattern: &str, dialect: Dialect) -> Result<Vec<Token>, BadPattern> {
    let mut tokens = Vec::new();
    let mut input = pattern.chars().peekable();
    while let Some(c) = input.next() {
        let token = match c {
            '*' if dialect == Dialect::Ignore && input.next_if_eq(&'*').is_some() => {
                // Further stars add nothing.
                while input.next_if_eq(&'*').is_some() {}
                if input.next_if_eq(&'/').is_none() {
                    Token::AnyMany
                } else {
                    tokens.push(Token::Optional);
                    Token::Components
                }
            }
            '*' if dialect == Dialect::Shell => Token::AnyMany,
            '*' => Token::Many,
            '?' if dialect == Dialect::Shell => Token::AnyOne,
            '?' => Token::One,
            '\\' => match input.next() {
                Some(c) => Token::Literal(c),
                None if dialect == Dialect::Shell => Token::Literal('\\'),
                None => return Err(BadPattern),
            },
            '[' if dialect != Dialect::Shell => {
                let negated = input.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                loop {
                    let low = match input.next().ok_or(BadPattern)? {
                        ']' if !ranges.is_empty() => break,
                        '\\' => input.next().ok_or(BadPattern)?,
                        '-' | ']' => return Err(BadPattern),
                        c => c,
                    };
                    let high = if input.next_if_eq(&'-').is_some() {
                        match input.next().ok_or(BadPattern)? {
                            '\\' => input.next().ok_or(BadPattern)?,
                            '-' | ']' => return Err(BadPattern),
                            c => c,
                        }
                    } else {
                        low
                    };
                    ranges.push((low, high));
                }
                Token::Class { negated, ranges }
            }
            c => Token::Literal(c),
        };
        tokens.push(token);
    }
    Ok(tokens)
}

/// Whether the whole text matches.
fn run(tokens: &[Token], mut text: impl Iterator<Item = char>) -> bool {
    let mut run = Run::new(tokens);
    text.all(|c| run.step(c)) && run.accepts()
}

/// The lengths of the beginnings of `text` that match, in order.
fn ends(tokens: &[Token], text: &[char]) -> Vec<usize> {
    let mut run = Run::new(tokens);
    let mut ends = Vec::new();
    if run.accepts() {
        ends.push(0);
    }
    for (index, &c) in text.iter().enumerate() {
        if !run.step(c) {
            break;
        }
        if run.accepts() {
            ends.push(index + 1);
        }
    }
    ends
}

/// Goes by the set of token positions that are possible after each character: no backtracking, so no pattern takes longer
/// than tokens × characters.
struct Run<'t> {
    tokens: &'t [Token],
    states: Vec<bool>,
    /// Those after the next character.
    next: Vec<bool>,
}

impl<'t> Run<'t> {
    fn new(tokens: &'t [Token]) -> Self {
        let mut states = vec![false; tokens.len() + 1];
        states[0] = true;
        skip_empty(tokens, &mut states);
        let next = vec![false; states.len()];
        Self { tokens, states, next }
    }

    /// Whether what was read so far matches.
    fn accepts(&self) -> bool {
        self.states[self.tokens.len()]
    }

    /// Reads a character; whether anything may still match.
    fn step(&mut self, c: char) -> bool {
        let Self { tokens, states, next } = self;
        next.fill(false);
        for (at, token) in tokens.iter().enumerate().filter(|(at, _)| states[*at]) {
            match token {
                Token::Literal(l) => next[at + 1] |= *l == c,
                Token::One => next[at + 1] |= c != '/',
                Token::AnyOne => next[at + 1] = true,
                Token::Many => next[at] |= c != '/',
                Token::AnyMany => next[at] = true,
                Token::Optional => {}
                Token::Components => {
                    next[at] = true;
                    // Only a slash ends them.
                    next[at + 1] |= c == '/';
                }
                Token::Class { negated, ranges } => {
                    let inside = ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
                    next[at + 1] |= c != '/' && inside != *negated;
                }
            }
        }
        skip_empty(tokens, next);
        std::mem::swap(states, next);
        states.contains(&true)
    }
}

/// Adds the positions that are reached without a character.
fn skip_empty(tokens: &[Token], states: &mut [bool]) {
    for (at, token) in tokens.iter().enumerate() {
        if !states[at] {
            continue;
        }
        match token {
            Token::Many | Token::AnyMany => states[at + 1] = true,
            Token::Optional => {
                states[at + 1] = true;
                states[at + 2] = true;
            }
            Token::Literal(_) | Token::One | Token::AnyOne | Token::Components | Token::Class { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_go_does() {
        for (pattern, name, expected) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*", "ab/c", false),
            ("a*/b", "abc/b", true),
            ("a*/b", "a/c/b", false),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a???b", "a☺b", false),
            ("a?b", "a/b", false),
            ("[\\]a]", "]", true),
            ("*.go", "x.go", true),
            ("", "", true),
        ] {
            assert_eq!(matches(pattern, name), Ok(expected), "{pattern} {name}");
        }
        for bad in ["[]a]", "[-]", "[x-]", "a[", "[^bc", "\\", "[a-"] {
            assert_eq!(matches(bad, "a"), Err(BadPattern), "{bad}");
        }
    }

    #[test]
    fn double_stars_match_components() {
        for (pattern, path, expected) in [
            ("**", "a/b/c", true),
            ("**/", "a/b/", true),
            ("**/foo", "foo", true),
            ("**/foo", "a/b/foo", true),
            ("**/foo", "afoo", false),
            ("**/foo", "a/bfoo", false),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "a/xb", false),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("**/*.go", "x.go", true),
            ("**/*.go", "p/q/x.go", true),
            ("a**/b", "ax/b", true),
            ("**/**/c", "c", true),
        ] {
            let tokens = compile(pattern, Dialect::Ignore).unwrap();
            assert_eq!(run(&tokens, path.chars()), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_match_covers_what_is_below_it() {
        for (pattern, path, covered, below) in [
            ("a/b", "a/b", true, false),
            ("a/b", "a/b/c/d", true, false),
            ("a/b", "a", false, true),
            ("a/b", "a/bc", false, false),
            ("a/b", "ab", false, false),
            ("*/b", "x/b/c", true, false),
            ("*/b", "x", false, true),
            ("*/b", "x/y", false, false),
            ("**/b", "x/y", false, true),
            ("a*", "ab/c", true, false),
            ("**", "a", true, true),
            ("é/[x-z]", "é/y/k", true, false),
        ] {
            let pattern_of = Pattern::new(pattern).unwrap();
            assert_eq!(pattern_of.covers(path), covered, "{pattern} {path}");
            assert_eq!(pattern_of.may_match_below(path), below, "{pattern} below {path}");
        }
    }
}
