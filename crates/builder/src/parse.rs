//! Bytes become lines of instruction: directives, comments, continuations, flags, heredocs.
//!
//! What an instruction's arguments mean is the business of `instructions`.

use crate::error::{Error, Result};
use crate::heredoc::{self, Heredoc};

/// A Dockerfile, split but not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// The escape character: `\` or `` ` ``.
    pub(crate) escape: char,
    /// What a `# check=` line says.
    pub(crate) check: String,
    /// In order.
    pub(crate) nodes: Vec<Node>,
}

/// One instruction, its continuations joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// The first and last line, 1-based.
    pub(crate) lines: (u32, u32),
    /// The instruction's name in upper case.
    pub(crate) name: String,
    /// The same as written.
    pub(crate) word: String,
    /// A line of it after a continuation is blank.
    pub(crate) empty_continuation: bool,
    /// The comment on the line before it.
    pub(crate) comment: String,
    /// `--x=y` arguments, unquoted.
    pub(crate) flags: Vec<String>,
    /// What follows name and flags, as written.
    pub(crate) rest: String,
    /// In the order of their `<<` in `rest`.
    pub(crate) heredocs: Vec<Heredoc>,
    /// The whole instruction in one line, as written.
    pub(crate) text: String,
}

/// The instructions that may have heredocs.
const WITH_HEREDOC: [&str; 3] = ["ADD", "COPY", "RUN"];

/// Splits a Dockerfile.
pub(crate) fn parse(bytes: &[u8]) -> Result<File> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let (escape, check) = directives(&lines)?;

    let mut nodes = Vec::new();
    let mut next = 0;
    let mut comment = String::new();
    while next < lines.len() {
        let first = next;
        let line = trim_newline(lines[next]).trim_start();
        next += 1;
        if line.is_empty() || line.starts_with('#') {
            let said = if directive(line).is_some() { "" } else { line };
            said.trim_start_matches('#').trim().clone_into(&mut comment);
            continue;
        }
        let (mut joined, mut goes_on) = without_continuation(line, escape);
        let mut empty_continuation = false;
        while goes_on && next < lines.len() {
            let line = trim_newline(lines[next]);
            next += 1;
            let trimmed = line.trim();
            // Comments and blank lines inside an instruction are dropped; it goes on after them.
            if trimmed.is_empty() || trimmed.starts_with('#') {
                empty_continuation |= trimmed.is_empty();
                continue;
            }
            let (part, more) = without_continuation(line, escape);
            joined.push_str(&part);
            goes_on = more;
        }
        if joined.trim().is_empty() {
            continue;
        }
        let mut node = split(&joined, escape, number(first))?;
        node.heredocs = heredocs(&node, escape, &lines, &mut next)?;
        node.lines.1 = number(next - 1);
        node.empty_continuation = empty_continuation;
        node.comment = std::mem::take(&mut comment);
        nodes.push(node);
    }
    if nodes.is_empty() { Err(Error::NoInstructions) } else { Ok(File { escape, check, nodes }) }
}

/// Splits the instruction inside an ONBUILD, its heredocs on the lines after it: written in another Dockerfile, it counts
/// as being on `line`.
pub(crate) fn parse_trigger(text: &str, line: u32) -> Result<Node> {
    let here = |error| match error {
        Error::Dockerfile { detail, .. } => Error::at(line, detail),
        other => other,
    };
    let node = parse(text.as_bytes()).map_err(here)?.nodes.into_iter().next();
    let mut node = node.ok_or(Error::NoInstructions)?;
    node.lines = (line, line);
    Ok(node)
}

fn number(index: usize) -> u32 {
    u32::try_from(index + 1).unwrap_or(u32::MAX)
}

fn trim_newline(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}

/// Reads the directives, which stand before everything else: the escape character, and what `check` says.
fn directives(lines: &[&str]) -> Result<(char, String)> {
    let mut escape = None;
    let mut check = String::new();
    let mut seen = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some((name, value)) = directive(line) else { break };
        if seen.contains(&name) {
            return Err(Error::at(number(index), format!("only one {name} parser directive can be used")));
        }
        if name == "escape" {
            escape = Some(match value {
                "\\" => '\\',
                "`" => '`',
                _ => {
                    let detail = format!("invalid escape token '{value}' does not match ` or \\");
                    return Err(Error::at(number(index), detail));
                }
            });
        }
        if name == "check" {
            value.clone_into(&mut check);
        }
        seen.push(name);
    }
    Ok((escape.unwrap_or('\\'), check))
}

/// `# name=value` with a name that means something. `syntax` always gets the built-in grammar; `check` is lint's.
fn directive(line: &str) -> Option<(String, &str)> {
    let (name, value) = line.trim().strip_prefix('#')?.split_once('=')?;
    let name = name.trim().to_ascii_lowercase();
    matches!(name.as_str(), "syntax" | "escape" | "check").then_some((name, value.trim()))
}

/// Drops a trailing escape character and says whether there was one. A doubled one is no continuation.
fn without_continuation(line: &str, escape: char) -> (String, bool) {
    let trimmed = line.trim_end_matches([' ', '\t']);
    match trimmed.strip_suffix(escape) {
        Some(part) if !part.ends_with(escape) => (part.to_owned(), true),
        _ => (line.to_owned(), false),
    }
}

/// Name, flags, rest.
fn split(text: &str, escape: char, line: u32) -> Result<Node> {
    let text = text.trim();
    let (name, arguments) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let (flags, rest) = flags(arguments.trim(), escape);
    Ok(Node {
        lines: (line, line),
        name: name.to_ascii_uppercase(),
        word: name.to_owned(),
        empty_continuation: false,
        comment: String::new(),
        flags,
        rest: rest.to_owned(),
        heredocs: Vec::new(),
        text: text.to_owned(),
    })
}

/// Takes the leading words that start with `--`; a lone `--` ends them.
fn flags(arguments: &str, escape: char) -> (Vec<String>, &str) {
    let mut found = Vec::new();
    let mut rest = arguments;
    loop {
        rest = rest.trim_start();
        if !rest.starts_with("--") {
            return (found, rest);
        }
        let mut word = String::new();
        let mut quote = None;
        let mut characters = rest.char_indices();
        let mut end = rest.len();
        while let Some((at, c)) = characters.next() {
            match (c, quote) {
                (c, None) if c.is_whitespace() => {
                    end = at;
                    break;
                }
                ('"' | '\'', None) => quote = Some(c),
                (c, Some(open)) if c == open => quote = None,
                (c, Some('"') | None) if c == escape => word.extend(characters.next().map(|(_, c)| c)),
                (c, _) => word.push(c),
            }
        }
        rest = rest.get(end..).unwrap_or_default();
        if word == "--" {
            return (found, rest.trim_start());
        }
        found.push(word);
    }
}

/// Reads the bodies of an instruction's heredocs from the lines after it.
fn heredocs(node: &Node, escape: char, lines: &[&str], next: &mut usize) -> Result<Vec<Heredoc>> {
    let holder = if node.name == "ONBUILD" {
        node.rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase()
    } else {
        node.name.clone()
    };
    if !WITH_HEREDOC.contains(&holder.as_str()) || !node.rest.contains("<<") {
        return Ok(Vec::new());
    }
    let mut found = heredoc::openings(&node.rest, escape);
    for heredoc in &mut found {
        loop {
            let Some(line) = lines.get(*next) else {
                return Err(Error::at(node.lines.0, format!("unterminated heredoc {}", heredoc.name)));
            };
            *next += 1;
            let bare = trim_newline(line);
            let bare = if heredoc.strip_tabs { bare.trim_start_matches('\t') } else { bare };
            if bare == heredoc.name {
                break;
            }
            heredoc.content.push_str(line);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(text: &str) -> Vec<(String, String, (u32, u32))> {
        let file = parse(text.as_bytes()).unwrap();
        file.nodes.into_iter().map(|n| (n.name, n.rest, n.lines)).collect()
    }

    #[test]
    fn joins_continuations_and_drops_comments_in_them() {
        let text = "\u{feff}# syntax=docker/dockerfile:1\r\n\r\n  from a\r\nRUN one \\\r\n  # why\r\n\r\n  && two \\  \n  three\n#end\nENV a=b\\\\\nUSER c";
        assert_eq!(
            nodes(text),
            [
                ("FROM".into(), "a".into(), (3, 3)),
                ("RUN".into(), "one   && two   three".into(), (4, 8)),
                ("ENV".into(), "a=b\\\\".into(), (10, 10)),
                ("USER".into(), "c".into(), (11, 11)),
            ]
        );
    }

    #[test]
    fn the_escape_directive_counts_only_at_the_top() {
        assert_eq!(nodes("# escape=`\nRUN a `\nb")[0].1, "a b");
        assert_eq!(nodes("# hello\n# escape=`\nRUN a `\nRUN b").len(), 2);
        for (bad, words) in [
            ("# escape=x\nFROM a", "invalid escape token 'x'"),
            ("# escape=`\n# escape=`\nFROM a", "only one escape parser directive can be used"),
            ("# nothing\n\n", "file with no instructions"),
        ] {
            let text = parse(bad.as_bytes()).unwrap_err().to_string();
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn flags_are_words_before_the_rest() {
        let file =
            parse(b"COPY --from=a --chown=\"1:2\" -- --x y\nRUN --mount=type=cache,target=/a\\ b echo --no")
                .unwrap();
        assert_eq!(file.nodes[0].flags, ["--from=a", "--chown=1:2"]);
        assert_eq!(file.nodes[0].rest, "--x y");
        assert_eq!(file.nodes[1].flags, ["--mount=type=cache,target=/a b"]);
        assert_eq!(file.nodes[1].rest, "echo --no");
    }

    #[test]
    fn heredocs_take_the_lines_after() {
        let text = "RUN <<A cat <<-'B'\n# kept\nA\n\tin b\n\tB\nCOPY <<x <<y /d/\n1\nx\n2\ny\nENV a=<<EOF\nRUN echo \"<<EOF\"";
        let file = parse(text.as_bytes()).unwrap();
        let docs = |n: usize| -> Vec<(&str, &str, bool)> {
            file.nodes[n].heredocs.iter().map(|h| (&*h.name, &*h.content, h.expand)).collect()
        };
        assert_eq!(docs(0), [("A", "# kept\n", true), ("B", "\tin b\n", false)]);
        assert_eq!(docs(1), [("x", "1\n", true), ("y", "2\n", true)]);
        assert!(docs(2).is_empty() && docs(3).is_empty());
        assert_eq!(file.nodes[0].lines, (1, 5));
        let error = parse(b"FROM a\nRUN <<EOF\nx").unwrap_err().to_string();
        assert_eq!(error, "dockerfile parse error on line 2: unterminated heredoc EOF");
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        let pieces = [
            "FROM a\n",
            "RUN ",
            "COPY --",
            "<<E",
            "<<-'é",
            "\\\n",
            "\\",
            "\"",
            "'",
            "$",
            "${",
            "[\"",
            "]",
            "\n",
            "# escape=`\n",
            "\u{feff}",
            "é",
            "\t",
            "ENV a=",
            "HEALTHCHECK --interval=",
            "1h",
            "--mount=type=",
            ",size=1k",
            "\0",
            "E\n",
            " ",
        ];
        for seed in 0..2000_u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut text = String::from("FROM a\n");
            for _ in 0..12 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                text.push_str(pieces[usize::try_from(state % pieces.len() as u64).unwrap()]);
            }
            // Not to panic and not to hang is all that is asked.
            let _ = crate::instructions::Dockerfile::read(text.as_bytes());
        }
    }
}
