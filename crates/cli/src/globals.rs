//! The options in front of the command.

use std::path::PathBuf;

use crate::app::program;
use crate::verb::{Misuse, parse_bool};

/// The options in front of the command.
#[derive(Debug, Default)]
pub(crate) struct Globals {
    pub(crate) hosts: Vec<String>,
    pub(crate) context: Option<String>,
    pub(crate) config: Option<PathBuf>,
    pub(crate) debug: bool,
    pub(crate) tls: Option<bool>,
    pub(crate) tls_verify: Option<bool>,
    pub(crate) tls_ca: Option<PathBuf>,
    pub(crate) tls_certificate: Option<PathBuf>,
    pub(crate) tls_key: Option<PathBuf>,
    /// `--version`: nothing else is done.
    pub(crate) version: bool,
    /// All of them as given, for plugins.
    words: Vec<String>,
}

const LEVELS: [&str; 5] = ["debug", "info", "warn", "error", "fatal"];

impl Globals {
    /// Reads the options, and returns the words from the command on.
    pub(crate) fn read(mut words: &[String]) -> Result<(Self, &[String]), Misuse> {
        let mut globals = Self::default();
        let all = words;
        while let Some((first, rest)) = words.split_first() {
            if !first.starts_with('-') || first == "--help" || first == "-h" {
                break;
            }
            words = rest;
            words = globals.option(first, words)?;
        }
        globals.words = all[..all.len() - words.len()].to_vec();
        Ok((globals, words))
    }

    /// The options as given.
    pub(crate) fn words(&self) -> &[String] {
        &self.words
    }

    /// Reads one option, which may be several short ones in one word.
    fn option<'a>(&mut self, word: &str, rest: &'a [String]) -> Result<&'a [String], Misuse> {
        let (name, inline) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None if !word.starts_with("--") && word.len() > 2 && word.is_char_boundary(2) => {
                let (short, more) = word.split_at(2);
                if matches!(short, "-D" | "-v") {
                    self.option(short, rest)?;
                    return self.option(&format!("-{more}"), rest);
                }
                (short, Some(more))
            }
            None => (word, None),
        };
        let flag = || {
            inline.map_or(Ok(true), parse_bool).map_err(|error| {
                misuse(&format!(
                    "invalid argument {:?} for {:?} flag: {error}",
                    inline.unwrap_or_default(),
                    spelling(name)
                ))
            })
        };
        match name {
            "-D" | "--debug" => self.debug = flag()?,
            "-v" | "--version" => self.version = flag()?,
            "--tls" => self.tls = Some(flag()?),
            "--tlsverify" => self.tls_verify = Some(flag()?),
            "-H" | "--host" | "-c" | "--context" | "-l" | "--log-level" | "--config" | "--tlscacert"
            | "--tlscert" | "--tlskey" => {
                let (value, rest) = match (inline, rest.split_first()) {
                    (Some(value), _) => (value, rest),
                    (None, Some((value, rest))) => (value.as_str(), rest),
                    (None, None) => return Err(misuse(&needs_argument(word))),
                };
                self.set(name, value)?;
                return Ok(rest);
            }
            name if name.starts_with("--") => return Err(misuse(&format!("unknown flag: {name}"))),
            name => {
                let letter = name.trim_start_matches('-');
                return Err(misuse(&format!("unknown shorthand flag: '{letter}' in {word}")));
            }
        }
        Ok(rest)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Misuse> {
        match name {
            "-H" | "--host" => self.hosts.push(value.to_owned()),
            "-c" | "--context" => self.context = Some(value.to_owned()).filter(|name| !name.is_empty()),
            "--config" => self.config = Some(value.into()),
            "--tlscacert" => self.tls_ca = Some(value.into()),
            "--tlscert" => self.tls_certificate = Some(value.into()),
            "--tlskey" => self.tls_key = Some(value.into()),
            _ if LEVELS.contains(&value) => {}
            _ => return Err(Misuse { code: 1, message: format!("Unable to parse logging level: {value}") }),
        }
        Ok(())
    }
}

fn spelling(name: &str) -> &str {
    match name {
        "-D" | "--debug" => "-D, --debug",
        "-v" | "--version" => "-v, --version",
        name => name,
    }
}

fn needs_argument(word: &str) -> String {
    match word.strip_prefix('-').filter(|rest| !rest.starts_with('-')) {
        Some(letter) => format!("flag needs an argument: '{letter}' in {word}"),
        None => format!("flag needs an argument: {word}"),
    }
}

fn misuse(message: &str) -> Misuse {
    let program = program();
    Misuse {
        code: 125,
        message: format!(
            "{message}\n\nUsage:  {program} [OPTIONS] COMMAND [ARG...]\n\nRun '{program} --help' for more information"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<(Globals, Vec<String>), String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (globals, rest) = Globals::read(&words).map_err(|misuse| misuse.message)?;
        Ok((globals, rest.to_vec()))
    }

    #[test]
    fn options_end_at_the_command() {
        let (globals, rest) = read("-DHtcp://a --tlsverify=false --tlskey k -c= ps -H x").unwrap();
        assert!(globals.debug && globals.context.is_none());
        assert_eq!(globals.hosts, ["tcp://a"]);
        assert_eq!((globals.tls, globals.tls_verify), (None, Some(false)));
        assert_eq!(globals.tls_key, Some("k".into()));
        assert_eq!(rest, ["ps", "-H", "x"]);
    }

    #[test]
    fn mistakes_are_told_as_docker_tells_them() {
        for (line, text) in [
            ("--foo ps", "unknown flag: --foo"),
            ("-x ps", "unknown shorthand flag: 'x' in -x"),
            ("-H", "flag needs an argument: 'H' in -H"),
            ("--host", "flag needs an argument: --host"),
            ("-l loud ps", "Unable to parse logging level: loud"),
            (
                "--tls=xx ps",
                r#"invalid argument "xx" for "--tls" flag: strconv.ParseBool: parsing "xx": invalid syntax"#,
            ),
        ] {
            let message = read(line).unwrap_err();
            assert_eq!(message.lines().next(), Some(text), "{line}");
        }
    }
}
