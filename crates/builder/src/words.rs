//! The shell's words: quotes, escapes and `$variables`, as a Dockerfile knows them.
//!
//! `$v ${v} ${v:-d} ${v-d} ${v:+a} ${v+a} ${v:?e} ${v?e} ${v#p} ${v##p} ${v%p} ${v%%p} ${v/p/r} ${v//p/r}`.

use std::iter::Peekable;
use std::str::Chars;

use crate::glob;

/// Where variables are looked up.
pub(crate) trait Variables {
    /// The variable's value; `None` when it is not set.
    fn get(&self, name: &str) -> Option<String>;

    /// It is not set, and the word that names it gives nothing instead.
    fn undefined(&self, _name: &str) {}
}

impl<F: Fn(&str) -> Option<String>> Variables for F {
    fn get(&self, name: &str) -> Option<String> {
        self(name)
    }
}

/// The variables that a word names, each once.
pub(crate) fn names(text: &str, escape: char) -> Vec<String> {
    let names = std::cell::RefCell::new(Vec::new());
    let note = |name: &str| {
        let mut names = names.borrow_mut();
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
        None
    };
    // A word that is wrong is refused where it is used.
    let _ = expand(text, escape, &note);
    names.into_inner()
}

/// Removes quotes and replaces variables; the result is one word whatever is in it.
pub(crate) fn expand(text: &str, escape: char, variables: &dyn Variables) -> Result<String, String> {
    let mut lexer = Lexer::new(text, escape, variables, false);
    lexer.until(None)?;
    Ok(lexer.out)
}

/// As [`expand`], and splits the result at white space that was not quoted.
pub(crate) fn expand_split(
    text: &str,
    escape: char,
    variables: &dyn Variables,
) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    for word in split(text, escape) {
        words.extend(split_value(&word, escape, variables)?);
    }
    Ok(words)
}

/// A word's expansion may hold white space that came from a variable outside of quotes: it splits too.
fn split_value(word: &str, escape: char, variables: &dyn Variables) -> Result<Vec<String>, String> {
    let mut lexer = Lexer::new(word, escape, variables, false);
    lexer.breaks = Some(Vec::new());
    lexer.until(None)?;
    let mut words = Vec::new();
    let mut start = 0;
    for end in lexer.breaks.take().unwrap_or_default().into_iter().chain([lexer.out.len()]) {
        if end > start {
            words.push(lexer.out[start..end].trim_end().to_owned());
        }
        start = end;
    }
    words.retain(|w| !w.is_empty());
    Ok(words)
}

/// Replaces variables and leaves quotes as they are: the content of a heredoc.
pub(crate) fn expand_raw(text: &str, escape: char, variables: &dyn Variables) -> Result<String, String> {
    let mut lexer = Lexer::new(text, escape, variables, false);
    lexer.quotes = false;
    lexer.until(None)?;
    Ok(lexer.out)
}

/// Removes quotes and escapes only.
pub(crate) fn unquote(text: &str, escape: char) -> Result<String, String> {
    let mut out = String::new();
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (c, quote) {
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (c, None | Some('"')) if c == escape => out.extend(characters.next()),
            (c, _) => out.push(c),
        }
    }
    if quote.is_some() {
        Err("unexpected end of statement while looking for a matching quote".into())
    } else {
        Ok(out)
    }
}

/// Splits at white space outside of quotes; quotes and escapes stay in the words.
pub(crate) fn split(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (c, quote) {
            (c, None) if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            (c, None | Some('"')) if c == escape => {
                word.push(c);
                word.extend(characters.next());
            }
            (c, _) => {
                match quote {
                    None if c == '"' || c == '\'' => quote = Some(c),
                    Some(open) if c == open => quote = None,
                    None | Some(_) => {}
                }
                word.push(c);
            }
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

struct Lexer<'a> {
    input: Peekable<Chars<'a>>,
    escape: char,
    variables: &'a dyn Variables,
    /// Quotes are removed.
    quotes: bool,
    /// Escapes stay: the text is a pattern.
    pattern: bool,
    out: String,
    /// Where an unquoted variable's white space splits the word.
    breaks: Option<Vec<usize>>,
}

impl<'a> Lexer<'a> {
    fn new(text: &'a str, escape: char, variables: &'a dyn Variables, pattern: bool) -> Self {
        Self {
            input: text.chars().peekable(),
            escape,
            variables,
            quotes: true,
            pattern,
            out: String::new(),
            breaks: None,
        }
    }

    /// Reads to the end, or to `stop` outside of quotes; says whether `stop` was there.
    fn until(&mut self, stop: Option<char>) -> Result<bool, String> {
        while let Some(&c) = self.input.peek() {
            if Some(c) == stop {
                self.input.next();
                return Ok(true);
            }
            match c {
                '\'' if self.quotes => self.single_quoted()?,
                '"' if self.quotes => self.double_quoted()?,
                '$' => {
                    let value = self.variable()?;
                    self.push_split(&value);
                }
                c => {
                    self.input.next();
                    if c != self.escape {
                        self.out.push(c);
                        continue;
                    }
                    let keep = self.pattern || !self.quotes && self.input.peek() != Some(&'$');
                    if keep {
                        self.out.push(c);
                    }
                    self.out.extend(self.input.next());
                }
            }
        }
        Ok(false)
    }

    /// Appends a variable's value that was not quoted.
    fn push_split(&mut self, value: &str) {
        let Some(breaks) = &mut self.breaks else {
            self.out.push_str(value);
            return;
        };
        for piece in value.split_inclusive(char::is_whitespace) {
            self.out.push_str(piece);
            if piece.ends_with(char::is_whitespace) {
                breaks.push(self.out.len());
            }
        }
    }

    fn single_quoted(&mut self) -> Result<(), String> {
        self.input.next();
        for c in self.input.by_ref() {
            if c == '\'' {
                return Ok(());
            }
            self.out.push(c);
        }
        Err("unexpected end of statement while looking for matching single-quote".into())
    }

    fn double_quoted(&mut self) -> Result<(), String> {
        self.input.next();
        while let Some(&c) = self.input.peek() {
            match c {
                '"' => {
                    self.input.next();
                    return Ok(());
                }
                '$' => {
                    let value = self.variable()?;
                    self.out.push_str(&value);
                }
                c if c == self.escape => {
                    self.input.next();
                    match self.input.next() {
                        Some(next) if next == '"' || next == '$' || next == self.escape => {
                            self.out.push(next)
                        }
                        Some(next) => self.out.extend([c, next]),
                        None => break,
                    }
                }
                c => {
                    self.input.next();
                    self.out.push(c);
                }
            }
        }
        Err("unexpected end of statement while looking for matching double-quote".into())
    }

    /// `$name` or `${name…}`; a `$` before anything else is itself.
    fn variable(&mut self) -> Result<String, String> {
        self.input.next();
        if self.input.peek() != Some(&'{') {
            let name = self.name();
            return Ok(if name.is_empty() { "$".into() } else { self.plain(&name) });
        }
        self.input.next();
        match self.input.peek() {
            None => return Err("syntax error: missing '}'".into()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".into()),
            Some(_) => {}
        }
        let name = self.name();
        let Some(mut modifier) = self.input.next() else { return Err("syntax error: missing '}'".into()) };
        if modifier == '}' {
            return Ok(self.plain(&name));
        }
        let value = self.variables.get(&name);
        let mut empty_is_unset = false;
        if modifier == ':' {
            empty_is_unset = true;
            modifier = self.input.next().ok_or("syntax error: missing '}'")?;
        }
        let set = value.as_deref().is_some_and(|v| !(empty_is_unset && v.is_empty()));
        match modifier {
            '-' => {
                let word = self.operand('}', false)?;
                Ok(if set { value.unwrap_or_default() } else { word })
            }
            '+' => {
                let word = self.operand('}', false)?;
                Ok(if set { word } else { String::new() })
            }
            '?' => {
                let word = self.operand('}', false)?;
                match value {
                    Some(value) if set => Ok(value),
                    _ if !word.is_empty() => Err(format!("{name}: {word}")),
                    Some(_) => Err(format!("{name}: is not allowed to be empty")),
                    None => Err(format!("{name}: is not allowed to be unset")),
                }
            }
            '#' | '%' => {
                let word = self.operand('}', true)?;
                let (greedy, pattern) = match word.strip_prefix(modifier) {
                    Some(pattern) => (true, pattern),
                    None => (false, &*word),
                };
                let value = value.unwrap_or_default();
                Ok(if modifier == '#' {
                    glob::trim_prefix(&value, pattern, greedy)
                } else {
                    glob::trim_suffix(&value, pattern, greedy)
                })
            }
            '/' => {
                let all = self.input.next_if_eq(&'/').is_some();
                let pattern = self.operand('/', true)?;
                let replacement = self.operand('}', false)?;
                Ok(glob::replace(&value.unwrap_or_default(), &pattern, &replacement, all))
            }
            other => {
                let colon = if empty_is_unset { ":" } else { "" };
                Err(format!("unsupported modifier ({colon}{other}) in substitution"))
            }
        }
    }

    fn plain(&self, name: &str) -> String {
        self.variables.get(name).unwrap_or_else(|| {
            self.variables.undefined(name);
            String::new()
        })
    }

    /// The word after a modifier; it may hold quotes and variables itself.
    fn operand(&mut self, stop: char, pattern: bool) -> Result<String, String> {
        let out = std::mem::take(&mut self.out);
        let breaks = self.breaks.take();
        let outer = std::mem::replace(&mut self.pattern, pattern);
        let stopped = self.until(Some(stop));
        self.pattern = outer;
        self.breaks = breaks;
        let operand = std::mem::replace(&mut self.out, out);
        match (stopped?, stop) {
            (true, _) => Ok(operand),
            (false, '/') => Err("syntax error: missing '/' in ${}".into()),
            (false, _) => Err("syntax error: missing '}'".into()),
        }
    }

    /// A variable's name: letters, digits, `_`; or only digits; or one special character.
    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.input.peek() {
            Some(c) if c.is_ascii_digit() => {
                while let Some(c) = self.input.next_if(char::is_ascii_digit) {
                    name.push(c);
                }
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => name.extend(self.input.next()),
            Some(_) | None => {
                while let Some(c) = self.input.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    name.push(c);
                }
            }
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(name: &str) -> Option<String> {
        let value = match name {
            "PATH" => "/usr/bin:/bin",
            "FILE" => "foo.tar.gz",
            "EMPTY" => "",
            "TWO" => "a b",
            "v" => "x",
            _ => return None,
        };
        Some(value.into())
    }

    #[test]
    fn expands_as_the_table_says() {
        for (word, expected) in [
            ("$v", "x"),
            ("a${v}b$v.c", "axbx.c"),
            ("$vv|$", "|$"),
            ("\\$v \\\\", "$v \\"),
            ("'$v' \"$v\"", "$v x"),
            ("\"a\\nb\\\"\\$v\"", "a\\nb\"$v"),
            ("${none:-d}${none-d}${EMPTY:-d}${EMPTY-d}", "ddd"),
            ("${none:-${v}y}", "xy"),
            ("${none:-'}'}", "}"),
            ("${v:+a}${v+a}${EMPTY:+a}${EMPTY+a}${none+a}", "aaa"),
            ("${v:?e}${v?e}", "xx"),
            ("${FILE#*.}|${FILE##*.}", "tar.gz|gz"),
            ("${FILE%.*}|${FILE%%.*}", "foo.tar|foo"),
            ("${FILE#bar}${FILE%x}", "foo.tar.gzfoo.tar.gz"),
            ("${FILE/o/0}|${FILE//o/0}|${FILE//[/x}", "f0o.tar.gz|f00.tar.gz|foo.tar.gz"),
            ("${FILE/t*r/zip}", "foo.zip.gz"),
            ("${PATH//:/ }", "/usr/bin /bin"),
            ("${PATH//\\//_}", "_usr_bin:_bin"),
            ("$TWO", "a b"),
        ] {
            assert_eq!(expand(word, '\\', &variables).as_deref(), Ok(expected), "{word}");
        }
        assert_eq!(expand("`$v \\$v", '`', &variables).as_deref(), Ok("$v \\x"));
    }

    #[test]
    fn says_what_is_wrong() {
        for (word, words) in [
            ("'a", "matching single-quote"),
            ("\"a", "matching double-quote"),
            ("${v", "missing '}'"),
            ("${v:-a", "missing '}'"),
            ("${}", "bad substitution"),
            ("${v!}", "unsupported modifier (!)"),
            ("${v/a}", "missing '/' in ${}"),
            ("${none:?gone}", "none: gone"),
            ("${none?}", "none: is not allowed to be unset"),
            ("${EMPTY:?}", "EMPTY: is not allowed to be empty"),
        ] {
            let error = expand(word, '\\', &variables).unwrap_err();
            assert!(error.contains(words), "{word}: {error}");
        }
    }

    #[test]
    fn splits_unquoted_values_only() {
        let words = |t| expand_split(t, '\\', &variables).unwrap();
        assert_eq!(words("8${v}0  $TWO \"$TWO\" c\\ d"), ["8x0", "a", "b", "a b", "c d"]);
        assert!(words("$EMPTY $none").is_empty());
        assert_eq!(split("a \"b c\"='d e' f\\ g", '\\'), ["a", "\"b c\"='d e'", "f\\ g"]);
    }

    #[test]
    fn heredocs_keep_their_quotes() {
        assert_eq!(expand_raw("'$v' \"${v}\" \\$v \\n", '\\', &variables).as_deref(), Ok("'x' \"x\" $v \\n"));
    }
}
