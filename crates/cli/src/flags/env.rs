//! `--env`, `--env-file`, `--label-file`: variables and where they come from.

use crate::error::{Error, Result};

/// The variables of files, then those of the command line, which are resolved already. A name alone in a file takes
/// the value of our own environment, and is left out if that has none.
pub(crate) fn variables(files: &[String], words: &[String]) -> Result<Vec<String>> {
    let mut variables = Vec::new();
    for file in files {
        variables.extend(lines(file, "env", |name| std::env::var(name).ok())?);
    }
    variables.extend_from_slice(words);
    Ok(variables)
}

/// The labels of files, then those of the command line.
pub(crate) fn labels(files: &[String], words: &[String]) -> Result<Vec<String>> {
    let mut labels = Vec::new();
    for file in files {
        labels.extend(lines(file, "label", |_| Some(String::new()))?);
    }
    labels.extend_from_slice(words);
    Ok(labels)
}

fn lines(path: &str, kind: &str, value: impl Fn(&str) -> Option<String>) -> Result<Vec<String>> {
    let bytes = std::fs::read(path).map_err(Error::file("open", path))?;
    parse(&bytes, value).map_err(|reason| Error::invalid(format!("invalid {kind} file ({path}): {reason}")))
}

/// One `key=value` or `key` a line; `#` starts a comment; nothing is quoted.
fn parse(bytes: &[u8], alone: impl Fn(&str) -> Option<String>) -> std::result::Result<Vec<String>, String> {
    let mut words = Vec::new();
    for (i, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Ok(text) = std::str::from_utf8(line) else {
            let bytes: Vec<_> = line.iter().map(u8::to_string).collect();
            return Err(format!("invalid utf8 bytes at line {}: [{}]", i + 1, bytes.join(" ")));
        };
        // Editors of other systems mark a file's beginning.
        let text = if i == 0 { text.strip_prefix('\u{feff}').unwrap_or(text) } else { text };
        let line = text.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = match line.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (line, None),
        };
        if key.is_empty() {
            return Err(format!("no variable name on line '{line}'"));
        }
        if key.contains(char::is_whitespace) {
            return Err(format!("variable '{key}' contains whitespaces"));
        }
        words.extend(match value {
            Some(value) => Some(format!("{key}={value}")),
            None => alone(key).map(|value| format!("{key}={value}")),
        });
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files() {
        let alone = |name: &str| (name == "C").then(|| "3".to_owned());
        let read = |text: &str| parse(text.as_bytes(), alone);
        let text = "\u{feff}# c\n\n  A=1\r\nB= two words \"\nC\nD\nE=\n";
        assert_eq!(read(text).unwrap(), ["A=1", "B= two words \"", "C=3", "E="]);
        assert!(read("=x").is_err() && read("a b=1").is_err() && read("a =1").is_err());
        assert_eq!(parse(b"a=1\n\xff=1", alone).unwrap_err(), "invalid utf8 bytes at line 2: [255 61 49]");
    }
}
