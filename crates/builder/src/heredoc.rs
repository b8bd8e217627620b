//! Here-documents: `<<EOF`, `<<-EOF`, `<<"EOF"`, with an optional descriptor number in front.

use crate::words;

/// A here-document.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Heredoc {
    /// The word that ends it; for COPY and ADD also the file's name.
    pub(crate) name: String,
    /// The lines between, newlines included.
    pub(crate) content: String,
    /// The word was not quoted: variables in the content are replaced.
    pub(crate) expand: bool,
    /// `<<-`: leading tabs do not count.
    pub(crate) strip_tabs: bool,
}

impl Heredoc {
    /// The content as the instruction sees it: without leading tabs for `<<-`.
    pub(crate) fn text(&self) -> String {
        if !self.strip_tabs {
            return self.content.clone();
        }
        self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// The heredocs that a line opens, still without content.
pub(crate) fn openings(line: &str, escape: char) -> Vec<Heredoc> {
    words::split(line, escape).iter().filter_map(|word| opening(word, escape)).collect()
}

/// Reads one word as a heredoc's opening.
pub(crate) fn opening(word: &str, escape: char) -> Option<Heredoc> {
    let (_, rest) = word.trim_start_matches(|c: char| c.is_ascii_digit()).split_at_checked(2)?;
    if !word.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with("<<") || rest.contains('<') {
        return None;
    }
    let (strip_tabs, quoted) = match rest.strip_prefix('-') {
        Some(quoted) => (true, quoted),
        None => (false, rest),
    };
    // A line that goes on after it is a command with a heredoc, not a heredoc.
    if words::split(quoted, escape).len() != 1 {
        return None;
    }
    let name: String = words::unquote(quoted, escape).ok()?;
    if name.is_empty() {
        return None;
    }
    Some(Heredoc { expand: name == quoted, name, content: String::new(), strip_tabs })
}
