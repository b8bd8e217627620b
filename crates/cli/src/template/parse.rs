//! Tokens into a tree.

use std::collections::HashMap;

use super::TemplateError;
use super::scan::{Piece, Token};

/// A part of a template.
#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    /// Prints a value, unless it only sets a variable.
    Print(Pipeline),
    If(Vec<(Pipeline, Vec<Node>)>, Vec<Node>),
    With(Pipeline, Vec<Node>, Vec<Node>),
    Range(Pipeline, Vec<Node>, Vec<Node>),
    Break,
    Continue,
    /// Another template, by its name, and what it gets.
    Template(String, Option<Pipeline>),
}

/// Commands, each fed to the next; and the variables that take the result.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) variables: Vec<String>,
    /// Whether the variables are new (`:=`).
    pub(super) declares: bool,
    pub(super) commands: Vec<Command>,
}

/// A function or a value, with its arguments.
pub(super) type Command = Vec<Operand>;

#[derive(Debug)]
pub(super) enum Operand {
    Field(Vec<String>),
    Variable(String, Vec<String>),
    Function(String),
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Nil,
    /// `(pipeline).Field`
    Group(Pipeline, Vec<String>),
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    defined: Definitions,
}

/// Templates by name.
pub(super) type Definitions = HashMap<String, Vec<Node>>;

/// What ended a list of nodes.
enum End {
    OutOfText,
    /// `end`
    Closed,
    /// `else`, with what followed it on the same action.
    Else(Vec<Token>),
}

/// The template itself, and those it defines.
pub(super) fn parse(pieces: Vec<Piece>) -> Result<(Vec<Node>, Definitions), TemplateError> {
    let mut parser = Parser { pieces: pieces.into_iter(), defined: Definitions::new() };
    match parser.list()? {
        (nodes, End::OutOfText) => Ok((nodes, parser.defined)),
        (_, End::Closed) => Err(fail(1, "unexpected {{end}}")),
        (_, End::Else(_)) => Err(fail(1, "unexpected {{else}}")),
    }
}

fn fail(line: usize, reason: impl Into<String>) -> TemplateError {
    TemplateError::Parse { line, reason: reason.into() }
}

impl Parser {
    fn list(&mut self) -> Result<(Vec<Node>, End), TemplateError> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (tokens, line) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens, line) => (tokens, line),
            };
            let keyword = match tokens.first() {
                Some(Token::Word(word)) => word.as_str(),
                Some(_) => "",
                None => return Err(fail(line, "missing value for command")),
            };
            let node = match keyword {
                "end" => return Ok((nodes, End::Closed)),
                "else" => return Ok((nodes, End::Else(tokens[1..].to_vec()))),
                "break" => Node::Break,
                "continue" => Node::Continue,
                "define" => {
                    let name = name_of(&tokens, line)?;
                    let body = self.until_end(line)?;
                    self.defined.insert(name, body);
                    continue;
                }
                "block" => {
                    let name = name_of(&tokens, line)?;
                    let pipeline = pipeline(&tokens[2..], line)?;
                    let body = self.until_end(line)?;
                    self.defined.insert(name.clone(), body);
                    Node::Template(name, Some(pipeline))
                }
                "template" => {
                    let name = name_of(&tokens, line)?;
                    let data = &tokens[2..];
                    Node::Template(name, if data.is_empty() { None } else { Some(pipeline(data, line)?) })
                }
                "if" | "with" | "range" if tokens.len() == 1 => {
                    return Err(fail(line, format!("missing value for {keyword}")));
                }
                "if" => self.branch(&tokens[1..], line)?,
                "with" => {
                    let (pipeline, body, other) = self.block(&tokens[1..], line)?;
                    Node::With(pipeline, body, other)
                }
                "range" => {
                    let (pipeline, body, other) = self.block(&tokens[1..], line)?;
                    Node::Range(pipeline, body, other)
                }
                _ => Node::Print(pipeline(&tokens, line)?),
            };
            nodes.push(node);
        }
        Ok((nodes, End::OutOfText))
    }

    /// `if … else if … else … end`.
    fn branch(&mut self, tokens: &[Token], line: usize) -> Result<Node, TemplateError> {
        let mut arms = Vec::new();
        let mut condition = pipeline(tokens, line)?;
        loop {
            let (body, end) = self.list()?;
            arms.push((condition, body));
            match end {
                End::OutOfText => return Err(fail(line, "unexpected EOF")),
                End::Closed => return Ok(Node::If(arms, Vec::new())),
                End::Else(rest) if rest.is_empty() => return Ok(Node::If(arms, self.until_end(line)?)),
                End::Else(rest) if rest[0] == Token::Word("if".into()) => {
                    condition = pipeline(&rest[1..], line)?;
                }
                End::Else(_) => return Err(fail(line, "unexpected token in {{else}}")),
            }
        }
    }

    /// A pipeline, its body, and what comes after `else`.
    fn block(
        &mut self,
        tokens: &[Token],
        line: usize,
    ) -> Result<(Pipeline, Vec<Node>, Vec<Node>), TemplateError> {
        let pipeline = pipeline(tokens, line)?;
        let (body, end) = self.list()?;
        let other = match end {
            End::OutOfText => return Err(fail(line, "unexpected EOF")),
            End::Closed => Vec::new(),
            End::Else(_) => self.until_end(line)?,
        };
        Ok((pipeline, body, other))
    }

    fn until_end(&mut self, line: usize) -> Result<Vec<Node>, TemplateError> {
        match self.list()? {
            (nodes, End::Closed) => Ok(nodes),
            (_, End::OutOfText) => Err(fail(line, "unexpected EOF")),
            (_, End::Else(_)) => Err(fail(line, "unexpected {{else}}")),
        }
    }
}

/// The name after `define`, `block` or `template`.
fn name_of(tokens: &[Token], line: usize) -> Result<String, TemplateError> {
    match tokens.get(1) {
        Some(Token::Text(name)) => Ok(name.clone()),
        Some(_) | None => Err(fail(line, "a template's name must be a quoted string")),
    }
}

fn pipeline(tokens: &[Token], line: usize) -> Result<Pipeline, TemplateError> {
    let mut cursor = Cursor { tokens, at: 0, line };
    let pipeline = cursor.pipeline()?;
    match cursor.peek() {
        None => Ok(pipeline),
        Some(_) => Err(fail(line, "unexpected right paren")),
    }
}

/// The tokens of one action, and how far they are read.
struct Cursor<'a> {
    tokens: &'a [Token],
    at: usize,
    line: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    /// Everything up to the end or to a closing parenthesis.
    fn pipeline(&mut self) -> Result<Pipeline, TemplateError> {
        let (variables, declares) = self.declaration();
        let mut commands = Vec::new();
        let mut command = Command::new();
        loop {
            let end = matches!(self.peek(), None | Some(Token::Close(_)));
            if end || self.peek() == Some(&Token::Pipe) {
                if command.is_empty() {
                    return Err(fail(self.line, "missing value for command"));
                }
                commands.push(std::mem::take(&mut command));
                if end {
                    return Ok(Pipeline { variables, declares, commands });
                }
                self.at += 1;
            } else {
                command.push(self.operand()?);
            }
        }
    }

    /// `$x :=`, `$x =`, `$i, $x :=`.
    fn declaration(&mut self) -> (Vec<String>, bool) {
        let names: Vec<String> = match &self.tokens[self.at..] {
            [Token::Variable(a, _), Token::Comma, Token::Variable(b, _), ..] => vec![a.clone(), b.clone()],
            [Token::Variable(a, _), ..] => vec![a.clone()],
            _ => return (Vec::new(), false),
        };
        let after = self.at + names.len() * 2 - 1;
        match self.tokens.get(after) {
            Some(token @ (Token::Declare | Token::Assign)) => {
                self.at = after + 1;
                (names, *token == Token::Declare)
            }
            _ => (Vec::new(), false),
        }
    }

    fn operand(&mut self) -> Result<Operand, TemplateError> {
        let Some(token) = self.tokens.get(self.at) else {
            return Err(fail(self.line, "missing value for command"));
        };
        self.at += 1;
        Ok(match token {
            Token::Open => {
                let inner = self.pipeline()?;
                let Some(Token::Close(fields)) = self.tokens.get(self.at) else {
                    return Err(fail(self.line, "unclosed left paren"));
                };
                self.at += 1;
                Operand::Group(inner, fields.clone())
            }
            Token::Field(fields) => Operand::Field(fields.clone()),
            Token::Variable(name, fields) => Operand::Variable(name.clone(), fields.clone()),
            Token::Word(word) => match word.as_str() {
                "true" => Operand::Bool(true),
                "false" => Operand::Bool(false),
                "nil" => Operand::Nil,
                _ if super::functions::exists(word) => Operand::Function(word.clone()),
                _ => return Err(fail(self.line, format!("function {word:?} not defined"))),
            },
            Token::Text(text) => Operand::Text(text.clone()),
            Token::Int(number) => Operand::Int(*number),
            Token::Float(number) => Operand::Float(*number),
            Token::Pipe | Token::Close(_) | Token::Comma | Token::Declare | Token::Assign => {
                return Err(fail(self.line, "unexpected token in operand"));
            }
        })
    }
}
