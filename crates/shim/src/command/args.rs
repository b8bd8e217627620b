//! runc's command line: global options, a command, its options, and what is left.
//!
//! Written by hand because it is small, and because the program is: one or two dashes, `--name value` or
//! `--name=value`. Before the command, and after the id of an `exec`, nothing is an option any more after the first word
//! that is none; elsewhere options may stand anywhere.

use std::collections::BTreeMap;

/// An option: its names (the long one first), and whether it takes a value.
pub(super) type Known = (&'static str, &'static str, bool);

/// Options that were given, and the words after them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Args {
    options: BTreeMap<&'static str, Vec<String>>,
    pub(super) words: Vec<String>,
}

impl Args {
    /// Takes the options of `known` out of `words`.
    pub(super) fn parse(words: &[String], known: &[Known]) -> Result<Self, String> {
        Self::take(words, known, false)
    }

    /// Takes the options of `known` off the front of `words`.
    pub(super) fn leading(words: &[String], known: &[Known]) -> Result<Self, String> {
        Self::take(words, known, true)
    }

    fn take(words: &[String], known: &[Known], leading: bool) -> Result<Self, String> {
        let mut args = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                args.words.extend(words.cloned());
                break;
            }
            let Some(option) =
                word.strip_prefix("--").or_else(|| word.strip_prefix('-')).filter(|o| !o.is_empty())
            else {
                args.words.push(word.clone());
                if !leading {
                    continue;
                }
                args.words.extend(words.cloned());
                break;
            };
            let (name, value) =
                option.split_once('=').map_or((option, None), |(n, v)| (n, Some(v.to_owned())));
            let found =
                known.iter().find(|(long, short, _)| *long == name || (!short.is_empty() && *short == name));
            let Some((long, _, takes_value)) = found else {
                return Err(format!("flag provided but not defined: -{name}"));
            };
            let value = match (takes_value, value) {
                (true, Some(value)) => value,
                (true, None) => {
                    words.next().cloned().ok_or_else(|| format!("flag needs an argument: -{name}"))?
                }
                (false, value) => value.unwrap_or_else(|| "true".into()),
            };
            args.options.entry(long).or_default().push(value);
        }
        Ok(args)
    }

    /// The last value of an option.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.options.get(name)?.last().map(String::as_str)
    }

    /// All values of an option.
    pub(super) fn values(&self, name: &str) -> &[String] {
        self.options.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether it is switched on.
    pub(super) fn has(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| value != "false")
    }

    /// A number; an empty word is none.
    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        let number =
            |text: &str| text.parse().map_err(|_| format!("invalid value {text:?} for flag -{name}"));
        self.value(name).filter(|text| !text.is_empty()).map(number).transpose()
    }

    /// The container's id, and nothing else.
    pub(super) fn id(&self) -> Result<&str, String> {
        match &self.words[..] {
            [id] => Ok(id),
            words => Err(format!(
                "expected the container's id as the only argument, got {} arguments",
                words.len()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [Known; 3] = [("bundle", "b", true), ("detach", "d", false), ("env", "e", true)];

    fn parse(line: &str) -> Result<Args, String> {
        Args::leading(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>(), &KNOWN)
    }

    #[test]
    fn options_come_before_words() {
        let args = parse("--bundle /b -d -e A=1 --env=B=2 -bundle=/c id -d --env x").unwrap();
        assert_eq!((args.value("bundle"), args.has("detach")), (Some("/c"), true));
        assert_eq!(args.values("env"), ["A=1", "B=2"]);
        assert_eq!(args.words, ["id", "-d", "--env", "x"]);
        assert!(!parse("--detach=false id").unwrap().has("detach"));
        assert_eq!(parse("-d -- -x").unwrap().words, ["-x"]);
        assert_eq!(parse("--moon id").unwrap_err(), "flag provided but not defined: -moon");
        assert_eq!(parse("-b").unwrap_err(), "flag needs an argument: -b");
        let words = ["id", "--bundle", "/b", "KILL"].map(str::to_owned);
        let anywhere = Args::parse(&words, &KNOWN).unwrap();
        assert_eq!(
            (anywhere.value("bundle"), &anywhere.words[..]),
            (Some("/b"), &["id", "KILL"].map(str::to_owned)[..])
        );
    }
}
