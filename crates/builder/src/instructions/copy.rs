//! COPY and ADD.

use super::flags::Flags;
use super::read::{array, error, split};
use crate::error::Result;
use crate::heredoc::{self, Heredoc};
use crate::parse::Node;

/// What to copy where.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Copy {
    /// Paths or patterns in the source, in order.
    pub(crate) sources: Vec<String>,
    /// Files given in the Dockerfile itself.
    pub(crate) files: Vec<Heredoc>,
    /// Where to, in the stage.
    pub(crate) destination: String,
    /// A stage or an image instead of the context.
    pub(crate) from: Option<String>,
    /// `user[:group]`.
    pub(crate) chown: Option<String>,
    /// Octal or symbolic mode.
    pub(crate) chmod: Option<String>,
    /// Patterns of sources to leave out.
    pub(crate) exclude: Vec<String>,
    /// ADD: extract archives; `None` is yes for local ones.
    pub(crate) unpack: Option<bool>,
    /// A layer of its own, whatever is below it.
    pub(crate) link: bool,
    /// The sources keep the directories they are in.
    pub(crate) parents: bool,
    /// ADD: what a download must be.
    pub(crate) checksum: Option<String>,
    /// ADD: `.git` stays; `None` is no.
    pub(crate) keep_git_dir: Option<bool>,
}

/// Reads either; ADD has no `--from`, COPY no `--unpack`.
pub(crate) fn read(node: &Node, escape: char) -> Result<Copy> {
    let add = node.name == "ADD";
    let known: &[&str] = if add {
        &["chown", "chmod", "link", "exclude", "unpack", "checksum", "keep-git-dir"]
    } else {
        &["from", "chown", "chmod", "link", "exclude", "parents"]
    };
    let flags = Flags::new(node, known, &["exclude"])?;

    let mut words = match array(node)? {
        Some(words) => words,
        None => split(&node.rest),
    };
    if words.len() < 2 {
        let detail = format!(
            "{} requires at least two arguments, but only {} provided. Destination could not be determined",
            node.name,
            if words.is_empty() { "zero were" } else { "one was" }
        );
        return Err(error(node, detail));
    }
    let destination = words.pop().unwrap_or_default();
    let mut heredocs = node.heredocs.iter();
    let mut copy = Copy {
        destination,
        from: checked(node, flags.value("from")?)?,
        chown: flags.value("chown")?,
        chmod: flags.value("chmod")?,
        exclude: flags.values("exclude")?,
        unpack: flags.switch("unpack")?,
        link: flags.switch("link")?.unwrap_or(false),
        parents: flags.switch("parents")?.unwrap_or(false),
        checksum: flags.value("checksum")?,
        keep_git_dir: flags.switch("keep-git-dir")?,
        ..Copy::default()
    };
    for word in words {
        match heredoc::opening(&word, escape).and_then(|_| heredocs.next()) {
            Some(heredoc) => copy.files.push(heredoc.clone()),
            None => copy.sources.push(word),
        }
    }
    if copy.from.is_some() && !copy.files.is_empty() {
        return Err(error(node, "heredocs are not supported with --from"));
    }
    Ok(copy)
}

fn checked(node: &Node, from: Option<String>) -> Result<Option<String>> {
    match from {
        Some(from) if from.contains('$') => {
            let detail = "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround";
            Err(error(node, detail))
        }
        from => Ok(from),
    }
}
