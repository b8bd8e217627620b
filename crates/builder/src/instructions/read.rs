//! A parsed line becomes an instruction.

use super::flags::Flags;
use super::{Command, From, Instruction, copy, health, run};
use crate::error::{Error, Result};
use crate::parse::{self, Node};
use crate::words;

/// Every instruction's name, for those who mistyped one.
const NAMES: [&str; 19] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "INCLUDE",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Whether an instruction can be read.
pub(crate) fn check(node: &Node, escape: char) -> Result<()> {
    if node.name == "FROM" { from(node).map(drop) } else { instruction(node, escape).map(drop) }
}

/// Reads any instruction but FROM.
pub(crate) fn instruction(node: &Node, escape: char) -> Result<Instruction> {
    match node.name.as_str() {
        "ADD" => Ok(Instruction::Add(copy::read(node, escape)?)),
        "COPY" => Ok(Instruction::Copy(copy::read(node, escape)?)),
        "RUN" => Ok(Instruction::Run(run::read(node)?)),
        "HEALTHCHECK" => Ok(Instruction::Healthcheck(health::read(node)?)),
        "ENV" | "LABEL" | "EXPOSE" | "VOLUME" if !node.flags.is_empty() => unset(node),
        _ => {
            Flags::new(node, &[], &[])?;
            plain(node, escape)
        }
    }
}

/// `ENV --unset=NAME`: what was inherited is dropped. Beyond Docker's language.
fn unset(node: &Node) -> Result<Instruction> {
    let flags = Flags::new(node, &["unset"], &["unset"])?;
    let names = flags.values("unset")?;
    if !node.rest.trim().is_empty() {
        return Err(error(
            node,
            format!("{} --unset takes no arguments: drop and set in two instructions", node.name),
        ));
    }
    let verb = NAMES.iter().find(|name| **name == node.name).expect("the caller has looked at the name");
    Ok(Instruction::Unset(verb, names))
}

/// The instructions without flags.
fn plain(node: &Node, escape: char) -> Result<Instruction> {
    let rest = node.rest.trim();
    Ok(match node.name.as_str() {
        "ARG" => Instruction::Arg(arguments(node, escape)?),
        "CMD" => Instruction::Cmd(command(node)?),
        "ENTRYPOINT" => Instruction::Entrypoint(command(node)?),
        "ENV" => Instruction::Env(pairs(node, escape)?),
        "LABEL" => Instruction::Label(pairs(node, escape)?),
        "EXPOSE" => Instruction::Expose(at_least_one(node, split(rest))?),
        "VOLUME" => {
            let paths = match array(node)? {
                Some(paths) => paths,
                None => split(rest),
            };
            Instruction::Volume(at_least_one(node, paths)?)
        }
        "MAINTAINER" => Instruction::Maintainer(exactly_one(node)?),
        "STOPSIGNAL" => Instruction::StopSignal(exactly_one(node)?),
        "USER" => Instruction::User(exactly_one(node)?),
        "WORKDIR" => Instruction::Workdir(exactly_one(node)?),
        "SHELL" => match array(node)? {
            Some(shell) => Instruction::Shell(at_least_one(node, shell)?),
            None => return Err(error(node, "SHELL requires the arguments to be in JSON form")),
        },
        "ONBUILD" => Instruction::Onbuild(trigger(node, escape)?),
        name => {
            let hint = nearest(name, &NAMES).map(|n| format!(" (did you mean {n}?)")).unwrap_or_default();
            return Err(error(node, format!("unknown instruction: {name}{hint}")));
        }
    })
}

/// Reads a FROM: what from, and the stage's name.
pub(crate) fn from(node: &Node) -> Result<(From, Option<String>)> {
    let flags = Flags::new(node, &["platform"], &[])?;
    let words = split(&node.rest);
    let (image, name) = match words.as_slice() {
        [image] => (image, None),
        [image, word, name] if word.eq_ignore_ascii_case("as") => (image, Some(name.to_ascii_lowercase())),
        _ => return Err(error(node, "FROM requires either one or three arguments")),
    };
    if let Some(name) = &name {
        let valid = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-_.".contains(&c));
        if !valid {
            let detail = format!(
                "invalid name for build stage: {name:?}, name can't start with a number or contain symbols"
            );
            return Err(error(node, detail));
        }
    }
    let platform = flags.value("platform")?.unwrap_or_default();
    Ok((From { image: image.clone(), platform }, name))
}

/// An error on the instruction's first line.
pub(crate) fn error(node: &Node, detail: impl Into<String>) -> Error {
    Error::at(node.lines.0, detail)
}

/// A JSON array of strings; `None` when it is not an array at all.
pub(crate) fn array(node: &Node) -> Result<Option<Vec<String>>> {
    json_array(&node.rest)
        .map_err(|()| error(node, "when using JSON array syntax, arrays must be comprised of strings only"))
}

/// [`array`] of a text; `Err` for an array of something else.
pub(crate) fn json_array(text: &str) -> std::result::Result<Option<Vec<String>>, ()> {
    let text = text.trim();
    if !text.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else { return Ok(None) };
    let strings = values.into_iter().map(|value| match value {
        serde_json::Value::String(text) => Ok(text),
        _ => Err(()),
    });
    strings.collect::<std::result::Result<_, ()>>().map(Some)
}

/// The exec form, or else the shell form.
pub(crate) fn command(node: &Node) -> Result<Command> {
    Ok(match array(node)? {
        Some(arguments) => Command::Exec(arguments),
        None => Command::Shell(node.rest.clone()),
    })
}

/// Words at white space; quotes mean nothing yet.
pub(crate) fn split(text: &str) -> Vec<String> {
    text.split_whitespace().map(Into::into).collect()
}

fn at_least_one(node: &Node, words: Vec<String>) -> Result<Vec<String>> {
    if words.is_empty() {
        return Err(error(node, format!("{} requires at least one argument", node.name)));
    }
    Ok(words)
}

fn exactly_one(node: &Node) -> Result<String> {
    let rest = node.rest.trim();
    if rest.is_empty() {
        return Err(error(node, format!("{} requires exactly one argument", node.name)));
    }
    Ok(rest.to_owned())
}

/// `k=v …`, or the old `k v`.
fn pairs(node: &Node, escape: char) -> Result<Vec<(String, String)>> {
    let words = at_least_one(node, words::split(&node.rest, escape))?;
    if !words[0].contains('=') {
        let Some((name, value)) = node.rest.trim().split_once(char::is_whitespace) else {
            return Err(error(node, format!("{} must have two arguments", node.name)));
        };
        return Ok(vec![(name.to_owned(), value.trim_start().to_owned())]);
    }
    let mut pairs = Vec::new();
    for word in words {
        let Some((name, value)) = word.split_once('=') else {
            let detail = format!("Syntax error - can't find = in {word:?}. Must be of the form: name=value");
            return Err(error(node, detail));
        };
        if name.is_empty() {
            return Err(error(node, format!("{} names can not be blank", node.name)));
        }
        pairs.push((name.to_owned(), value.to_owned()));
    }
    Ok(pairs)
}

/// `NAME` or `NAME=default`, several.
fn arguments(node: &Node, escape: char) -> Result<Vec<(String, Option<String>)>> {
    let mut arguments = Vec::new();
    for word in at_least_one(node, words::split(&node.rest, escape))? {
        let (name, default) = match word.split_once('=') {
            Some((name, default)) => (name.to_owned(), Some(default.to_owned())),
            None => (word, None),
        };
        if name.is_empty() {
            return Err(error(node, "ARG names can not be blank"));
        }
        arguments.push((name, default));
    }
    Ok(arguments)
}

/// The instruction that an ONBUILD keeps for the child: checked now, run then.
fn trigger(node: &Node, escape: char) -> Result<String> {
    let mut text = exactly_one(node)?;
    for heredoc in &node.heredocs {
        text.push_str(&format!("\n{}{}", heredoc.content, heredoc.name));
    }
    let inner = parse::parse_trigger(&text, node.lines.0)?;
    match inner.name.as_str() {
        "ONBUILD" => Err(error(node, "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
        "FROM" | "MAINTAINER" => {
            Err(error(node, format!("{} isn't allowed as an ONBUILD trigger", inner.name)))
        }
        _ => instruction(&inner, escape).map(|_| text),
    }
}

/// The known word that was probably meant: at most two edits away.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let distances = known.iter().map(|k| (distance(word, k), *k));
    distances.min_by_key(|(d, _)| *d).filter(|(d, _)| *d <= 2).map(|(_, k)| k)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
