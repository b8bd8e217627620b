//! `--env`, `--env-file`, `--label-file`: variables and where they come from.

use crate::error::{Error, Result};

/// The variables of files, then those of the command line; a name alone takes the value of our own environment,
/// and is left out if that has none.
pub(crate) fn variables(files: &[String], words: &[String]) -> Result<Vec<String>> {
    let mut variables = Vec::new();
    for file in files {
        for word in lines(file)? {
            variables.extend(resolve(&word, |name| std::env::var(name))?);
        }
    }
    for word in words {
        variables.extend(resolve(word, |name| std::env::var(name))?);
    }
    Ok(variables)
}

/// The labels of files, then those of the command line.
pub(crate) fn labels(files: &[String], words: &[String]) -> Result<Vec<String>> {
    let mut labels = Vec::new();
    for file in files {
        labels.extend(lines(file)?);
    }
    labels.extend_from_slice(words);
    Ok(labels)
}

fn resolve<E>(word: &str, env: impl Fn(&str) -> std::result::Result<String, E>) -> Result<Option<String>> {
    match word.split_once('=') {
        Some(("", _)) => Err(Error::invalid(format!("invalid environment variable: {word}"))),
        Some(_) => Ok(Some(word.to_owned())),
        None if word.is_empty() => Err(Error::invalid("invalid environment variable: ")),
        None => Ok(env(word).ok().map(|value| format!("{word}={value}"))),
    }
}

fn lines(path: &str) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(Error::file("open", path))?;
    parse(&text).map_err(|reason| Error::invalid(format!("{path}: {reason}")))
}

/// One `key=value` or `key` a line; `#` starts a comment; nothing is quoted.
fn parse(text: &str) -> std::result::Result<Vec<String>, String> {
    let mut words = Vec::new();
    for line in text.strip_prefix('\u{feff}').unwrap_or(text).lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = match line.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (line.trim_end(), None),
        };
        if key.is_empty() {
            return Err(format!("no variable name on line '{line}'"));
        }
        if key.contains(char::is_whitespace) {
            return Err(format!("variable '{key}' contains whitespaces"));
        }
        words.push(value.map_or_else(|| key.to_owned(), |value| format!("{key}={value}")));
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files() {
        let text = "\u{feff}# c\n\n  A=1\nB= two words \"\nC\n";
        assert_eq!(parse(text).unwrap(), ["A=1", "B= two words \"", "C"]);
        assert!(parse("=x").is_err() && parse("a b=1").is_err());
    }

    #[test]
    fn names_alone() {
        let env = |name: &str| if name == "A" { Ok("1".to_owned()) } else { Err(()) };
        assert_eq!(resolve("A", env).unwrap(), Some("A=1".into()));
        assert_eq!(resolve("B", env).unwrap(), None);
        assert_eq!(resolve("B=", env).unwrap(), Some("B=".into()));
        assert!(resolve("=x", env).is_err());
    }
}
