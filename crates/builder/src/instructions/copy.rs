//! COPY and ADD.

use super::flags::Flags;
use super::read::{array, error, split};
use crate::error::{Error, Result};
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
    /// Octal mode.
    pub(crate) chmod: Option<String>,
    /// Patterns of sources to leave out.
    pub(crate) exclude: Vec<String>,
    /// ADD: extract archives; `None` is yes for local ones.
    pub(crate) unpack: Option<bool>,
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
    for later in ["parents", "checksum", "keep-git-dir"] {
        if known.contains(&later) && (flags.switch(later).is_err() || flags.switch(later)? == Some(true)) {
            return Err(Error::Unsupported { step: node.text.clone(), what: format!("--{later}") });
        }
    }
    // The result of a link copy is the same; only what invalidates it differs.
    flags.switch("link")?;

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
