//! What each instruction says, typed. Variables are not replaced yet.
//!
//! | room | what is in it |
//! |---|---|
//! | [`read`] | a parsed line becomes an [`Instruction`] |
//! | [`flags`] | `--name=value` |
//! | [`copy`], [`run`], [`health`] | the instructions with more to them |

pub(crate) mod copy;
pub(crate) mod flags;
pub(crate) mod health;
pub(crate) mod read;
pub(crate) mod run;

use spec::api::HealthConfig;

use crate::error::{Error, Result};
use crate::parse::{self, Node};

pub(crate) use copy::Copy;
pub(crate) use run::Run;

/// An instruction and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    /// Its first line, 1-based.
    pub(crate) line: u32,
    /// As written, in one line.
    pub(crate) text: String,
    /// What it says.
    pub(crate) instruction: Instruction,
}

/// One instruction of a stage.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Instruction {
    Add(Copy),
    Arg(Vec<(String, Option<String>)>),
    Cmd(Command),
    Copy(Copy),
    Entrypoint(Command),
    Env(Vec<(String, String)>),
    Expose(Vec<String>),
    Healthcheck(HealthConfig),
    Label(Vec<(String, String)>),
    Maintainer(String),
    Onbuild(String),
    Run(Run),
    Shell(Vec<String>),
    StopSignal(String),
    /// `ENV --unset=NAME …`: an instruction's name, and what of the inherited is dropped (`*` for all).
    Unset(&'static str, Vec<String>),
    User(String),
    Volume(Vec<String>),
    Workdir(String),
}

/// A command line in one of its two forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// A JSON array: the arguments themselves.
    Exec(Vec<String>),
    /// Anything else: one line for the shell.
    Shell(String),
}

impl Command {
    /// The arguments, with `shell` (or `/bin/sh -c`) in front of a line for it.
    pub(crate) fn arguments(&self, shell: &[String]) -> Vec<String> {
        match self {
            Self::Exec(arguments) => arguments.clone(),
            Self::Shell(line) => with_shell(shell, line),
        }
    }
}

/// A line for the shell, as arguments.
pub(crate) fn with_shell(shell: &[String], line: &str) -> Vec<String> {
    let mut arguments =
        if shell.is_empty() { vec!["/bin/sh".to_owned(), "-c".to_owned()] } else { shell.to_vec() };
    arguments.push(line.to_owned());
    arguments
}

/// `FROM [--platform=p] image [AS name]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct From {
    /// An image, an earlier stage or `scratch`.
    pub(crate) image: String,
    /// `--platform`, or empty.
    pub(crate) platform: String,
}

/// A FROM and what follows it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stage {
    /// Line of the FROM.
    pub(crate) line: u32,
    /// The FROM as written.
    pub(crate) text: String,
    /// In lower case.
    pub(crate) name: Option<String>,
    /// What it starts from.
    pub(crate) from: From,
    /// In order.
    pub(crate) steps: Vec<Step>,
}

/// A Dockerfile, understood.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dockerfile {
    /// The escape character.
    pub(crate) escape: char,
    /// The ARGs before the first FROM.
    pub(crate) globals: Vec<Step>,
    /// At least one.
    pub(crate) stages: Vec<Stage>,
    /// What a `# check=` line says.
    pub(crate) check: String,
    /// The lines as they were split, for the linter.
    pub(crate) nodes: Vec<Node>,
}

/// Files that include each other go no deeper.
const MAX_INCLUDES: usize = 16;

/// Reads a file that INCLUDE names; `None` when it is not there.
type Include<'i> = &'i dyn Fn(&str) -> Result<Option<Vec<u8>>>;

impl Dockerfile {
    /// Reads a Dockerfile that includes no others.
    #[cfg(test)]
    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        Self::read_with(bytes, &|_| Ok(None))
    }

    /// Reads a Dockerfile's bytes, and those it includes.
    pub(crate) fn read_with(bytes: &[u8], include: Include<'_>) -> Result<Self> {
        let file = parse::parse(bytes)?;
        let nodes = included(file.nodes, file.escape, include, 0)?;
        let mut dockerfile = Self {
            escape: file.escape,
            globals: Vec::new(),
            stages: Vec::new(),
            check: file.check,
            nodes: Vec::new(),
        };
        for node in &nodes {
            let line = node.lines.0;
            if node.name == "FROM" {
                let (from, name) = read::from(node)?;
                let text = node.text.clone();
                dockerfile.stages.push(Stage { line, text, name, from, steps: Vec::new() });
                continue;
            }
            let instruction = read::instruction(node, file.escape)?;
            let step = Step { line, text: node.text.clone(), instruction };
            match (dockerfile.stages.last_mut(), &step.instruction) {
                (Some(stage), _) => stage.steps.push(step),
                (None, Instruction::Arg(_)) => dockerfile.globals.push(step),
                (None, _) => return Err(Error::at(line, "no build stage in current context")),
            }
        }
        if dockerfile.stages.is_empty() {
            return Err(Error::Request("dockerfile contains no stages to build".into()));
        }
        dockerfile.nodes = nodes;
        Ok(dockerfile)
    }

    /// An earlier stage (before `limit`) by name or index.
    pub(crate) fn stage_before(&self, limit: usize, name: &str) -> Option<usize> {
        let name = name.to_ascii_lowercase();
        let named = self.stages[..limit].iter().rposition(|stage| stage.name.as_ref() == Some(&name));
        named.or_else(|| name.parse().ok().filter(|&index: &usize| index < limit))
    }
}

/// Puts other files' lines in the place of `INCLUDE path`; they count as being on its line.
fn included(nodes: Vec<Node>, escape: char, include: Include<'_>, depth: usize) -> Result<Vec<Node>> {
    let mut all = Vec::new();
    for node in nodes {
        if node.name != "INCLUDE" {
            all.push(node);
            continue;
        }
        let line = node.lines.0;
        let path = node.rest.trim();
        if path.is_empty() {
            return Err(Error::at(line, "INCLUDE requires exactly one argument"));
        }
        if depth == MAX_INCLUDES {
            return Err(Error::at(
                line,
                format!("INCLUDE {path}: more than {MAX_INCLUDES} files inside each other"),
            ));
        }
        let bytes = include(path)?.ok_or_else(|| {
            Error::at(line, format!("INCLUDE {path}: there is no such file in the build context"))
        })?;
        let inside = |error: Error| Error::at(line, format!("INCLUDE {path}: {}", error.text()));
        let file = parse::parse(&bytes).map_err(inside)?;
        if file.escape != escape {
            return Err(Error::at(line, format!("INCLUDE {path}: it has another escape character")));
        }
        let mut inner = included(file.nodes, escape, include, depth + 1).map_err(inside)?;
        for node in &mut inner {
            if let Some(wrong) = read::check(node, escape).err() {
                return Err(inside(wrong));
            }
            node.lines = (line, line);
        }
        all.extend(inner);
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
