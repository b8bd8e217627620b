//! `--name=value` arguments of an instruction: each known, each at most once.

use super::read::nearest;
use crate::error::{Error, Result};
use crate::parse::Node;

/// An instruction's flags while it is read.
pub(crate) struct Flags<'a> {
    line: u32,
    given: Vec<(&'a str, Option<&'a str>)>,
}

impl<'a> Flags<'a> {
    /// Checks that every flag is one of `known`; those in `repeatable` may come more than once.
    pub(crate) fn new(node: &'a Node, known: &[&str], repeatable: &[&str]) -> Result<Self> {
        let line = node.lines.0;
        let mut given: Vec<(&str, Option<&str>)> = Vec::new();
        for flag in &node.flags {
            let body = flag.trim_start_matches("--");
            let (name, value) = match body.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (body, None),
            };
            if !known.contains(&name) {
                let hint = nearest(name, known).map(|n| format!(" (did you mean {n}?)")).unwrap_or_default();
                return Err(Error::at(line, format!("unknown flag: --{name}{hint}")));
            }
            if !repeatable.contains(&name) && given.iter().any(|(n, _)| *n == name) {
                return Err(Error::at(line, format!("duplicate flag specified: {name}")));
            }
            given.push((name, value));
        }
        Ok(Self { line, given })
    }

    /// The value of a flag that needs one; `None` when it was not given.
    pub(crate) fn value(&self, name: &str) -> Result<Option<String>> {
        match self.given.iter().find(|(n, _)| *n == name) {
            None => Ok(None),
            Some((_, Some(value))) => Ok(Some((*value).to_owned())),
            Some((_, None)) => Err(Error::at(self.line, format!("missing a value on flag: {name}"))),
        }
    }

    /// All values of a repeatable flag.
    pub(crate) fn values(&self, name: &str) -> Result<Vec<String>> {
        let mut values = Vec::new();
        for (_, value) in self.given.iter().filter(|(n, _)| *n == name) {
            let missing = || Error::at(self.line, format!("missing a value on flag: {name}"));
            values.push(value.ok_or_else(missing)?.to_owned());
        }
        Ok(values)
    }

    /// A switch: `--name`, `--name=true`, `--name=false`; `None` when it was not given.
    pub(crate) fn switch(&self, name: &str) -> Result<Option<bool>> {
        match self.given.iter().find(|(n, _)| *n == name) {
            None => Ok(None),
            Some((_, None)) => Ok(Some(true)),
            Some((_, Some(value))) => match value.to_ascii_lowercase().as_str() {
                "true" => Ok(Some(true)),
                "false" => Ok(Some(false)),
                _ => Err(Error::at(
                    self.line,
                    format!("expecting boolean value for flag {name}, not: {value}"),
                )),
            },
        }
    }
}
