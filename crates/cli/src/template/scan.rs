//! Template text into tokens.

use super::TemplateError;

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Text(String),
    /// The tokens between `{{` and `}}`, and the line they are on.
    Action(Vec<Token>, usize),
}

/// A token of an action.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// `.A.B`; empty for the dot alone.
    Field(Vec<String>),
    /// `$x`, with the fields that follow it.
    Variable(String, Vec<String>),
    /// A keyword or function.
    Word(String),
    Text(String),
    Int(i64),
    Float(f64),
    Pipe,
    Open,
    /// `)`, with the fields that follow it.
    Close(Vec<String>),
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

pub(super) fn scan(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trim_next = false;
    loop {
        let line = 1 + text[..text.len() - rest.len()].matches('\n').count();
        let fail = |reason: &str| TemplateError::Parse { line, reason: reason.to_owned() };
        let (mut plain, action) = match rest.split_once("{{") {
            Some((plain, action)) => (plain, Some(action)),
            None => (rest, None),
        };
        if trim_next {
            plain = plain.trim_start();
        }
        let trims = action.is_some_and(|a| a.starts_with('-') && a[1..].starts_with(char::is_whitespace));
        if trims {
            plain = plain.trim_end();
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain.to_owned()));
        }
        let Some(action) = action else { return Ok(pieces) };
        let action = if trims { &action[1..] } else { action };
        let inner = action.trim_start();
        if let Some(comment) = inner.strip_prefix("/*") {
            let (_, after) = comment.split_once("*/").ok_or_else(|| fail("unclosed comment"))?;
            let after = after.trim_start();
            trim_next = after.starts_with('-');
            rest = after
                .trim_start_matches('-')
                .strip_prefix("}}")
                .ok_or_else(|| fail("comment ends before closing delimiter"))?;
            continue;
        }
        let (tokens, after) = tokens(action).map_err(|reason| fail(&reason))?;
        pieces.push(Piece::Action(tokens, line));
        trim_next = after.starts_with('-');
        rest = after.trim_start_matches('-').strip_prefix("}}").ok_or_else(|| fail("unclosed action"))?;
    }
}

/// The tokens up to `}}` or ` -}}`, and what begins there.
fn tokens(mut rest: &str) -> Result<(Vec<Token>, &str), String> {
    let mut tokens = Vec::new();
    loop {
        let trimmed = rest.trim_start();
        let spaced = trimmed.len() < rest.len();
        rest = trimmed;
        if rest.starts_with("}}") || (spaced && rest.starts_with("-}}")) {
            return Ok((tokens, rest));
        }
        let Some(first) = rest.chars().next() else { return Err("unclosed action".into()) };
        let (token, after) = match first {
            '|' => (Token::Pipe, &rest[1..]),
            '(' => (Token::Open, &rest[1..]),
            ')' => {
                let (fields, after) = fields(&rest[1..]);
                (Token::Close(fields), after)
            }
            ',' => (Token::Comma, &rest[1..]),
            ':' if rest.starts_with(":=") => (Token::Declare, &rest[2..]),
            '=' => (Token::Assign, &rest[1..]),
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                let (fields, after) = fields(rest);
                if fields.is_empty() {
                    (Token::Field(fields), &rest[1..])
                } else {
                    (Token::Field(fields), after)
                }
            }
            '$' => {
                let (name, after) = word(&rest[1..]);
                let (fields, after) = fields(after);
                (Token::Variable(name.to_owned(), fields), after)
            }
            '"' => quoted(rest)?,
            '\'' => {
                let mut chars = rest[1..].chars();
                match (chars.next(), chars.next(), chars.as_str()) {
                    (Some(c), Some('\''), after) => (Token::Int(i64::from(u32::from(c))), after),
                    _ => return Err("unterminated character constant".into()),
                }
            }
            '`' => {
                let (text, after) = rest[1..].split_once('`').ok_or("unterminated raw quoted string")?;
                (Token::Text(text.to_owned()), after)
            }
            c if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') => number(rest)?,
            c if c.is_alphabetic() || c == '_' => {
                let (name, after) = word(rest);
                (Token::Word(name.to_owned()), after)
            }
            c => return Err(format!("unexpected {c:?} in command")),
        };
        tokens.push(token);
        rest = after;
    }
}

fn word(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    text.split_at(end)
}

/// `.A.B` at the front of `text`.
fn fields(mut text: &str) -> (Vec<String>, &str) {
    let mut names = Vec::new();
    while let Some(after) = text.strip_prefix('.') {
        let (name, rest) = word(after);
        if name.is_empty() {
            break;
        }
        names.push(name.to_owned());
        text = rest;
    }
    (names, text)
}

fn quoted(text: &str) -> Result<(Token, &str), String> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::Text(value), &text[at + 1..])),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some('r') => value.push('\r'),
                Some(c @ ('"' | '\\' | '\'')) => value.push(c),
                Some(c @ ('x' | 'u' | 'U')) => {
                    let digits = if c == 'x' {
                        2
                    } else if c == 'u' {
                        4
                    } else {
                        8
                    };
                    let code: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
                    let c = u32::from_str_radix(&code, 16).ok().and_then(char::from_u32);
                    value.push(c.ok_or("invalid syntax")?);
                }
                Some(_) | None => return Err("invalid syntax".into()),
            },
            c => value.push(c),
        }
    }
    Err("unterminated quoted string".into())
}

fn number(text: &str) -> Result<(Token, &str), String> {
    let hexadecimal = text.starts_with("0x");
    let digits =
        |c: char| c.is_ascii_digit() || c == '.' || (hexadecimal && (c.is_ascii_hexdigit() || c == 'x'));
    let end = text[1..].find(|c| !digits(c)).map_or(text.len(), |at| at + 1);
    let (number, after) = text.split_at(end);
    let hexadecimal = number.strip_prefix("0x").and_then(|digits| i64::from_str_radix(digits, 16).ok());
    let token = match hexadecimal.map_or_else(|| number.parse(), Ok) {
        Ok(value) => Token::Int(value),
        Err(_) => Token::Float(number.parse().map_err(|_| format!("bad number syntax: {number:?}"))?),
    };
    Ok((token, after))
}
