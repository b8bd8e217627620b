//! A tree filled in with data.

use super::HIDDEN;
use super::functions;
use super::parse::{Command, Definitions, Node, Operand, Pipeline};
use crate::json::Json;

/// Members that Go's types leave out of their JSON when they are empty: absent means empty, not a mistake.
const OPTIONAL: [&str; 36] = [
    "Annotations",
    "ArgsEscaped",
    "Author",
    "Comment",
    "ConfigFrom",
    "Created",
    "DriverConfig",
    "ExposedPorts",
    "GraphDriver",
    "Health",
    "Healthcheck",
    "HostIp",
    "ImageManifestDescriptor",
    "Init",
    "MacAddress",
    "MaskedPaths",
    "Mounts",
    "Name",
    "NetworkDisabled",
    "Options",
    "OsVersion",
    "PidsLimit",
    "ReadonlyPaths",
    "RestartPolicy",
    "Runtime",
    "Shell",
    "SizeRootFs",
    "SizeRw",
    "Status",
    "StopSignal",
    "StopTimeout",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
    "UsageData",
    "Variant",
];
/// Members that are maps with keys of the user's choice.
const MAPS: [&str; 9] = [
    "Labels",
    "Options",
    "Ports",
    "Networks",
    "Annotations",
    "Sysctls",
    "Attributes",
    "ExposedPorts",
    "Volumes",
];

/// The key under which a list's row keeps its labels for `.Label "name"`.
pub(crate) const LABELS: &str = "\0labels";

struct Scope<'a> {
    root: &'a Json,
    defined: &'a Definitions,
    /// The data are the headers of columns.
    header: bool,
    /// Templates within templates.
    depth: usize,
    variables: Vec<(String, Json)>,
    out: String,
}

/// More templates within each other than that are a circle.
const DEEPEST: usize = 100;

enum Flow {
    Next,
    Break,
    Continue,
}

/// What could not be evaluated, and why.
pub(super) struct Failure {
    pub(super) at: String,
    /// Where in `at` it is, in bytes.
    pub(super) offset: usize,
    pub(super) reason: String,
}

fn fail(at: impl Into<String>, reason: impl Into<String>) -> Failure {
    Failure { at: at.into(), offset: 0, reason: reason.into() }
}

pub(super) fn render(
    nodes: &[Node],
    defined: &Definitions,
    data: &Json,
    header: bool,
) -> Result<String, Failure> {
    let mut scope =
        Scope { root: data, defined, header, depth: 0, variables: Vec::new(), out: String::new() };
    scope.run(nodes, data)?;
    Ok(scope.out)
}

impl Scope<'_> {
    fn run(&mut self, nodes: &[Node], dot: &Json) -> Result<Flow, Failure> {
        let depth = self.variables.len();
        let flow = self.run_all(nodes, dot);
        self.variables.truncate(depth);
        flow
    }

    fn run_all(&mut self, nodes: &[Node], dot: &Json) -> Result<Flow, Failure> {
        for node in nodes {
            match node {
                Node::Text(text) => self.out.push_str(text),
                Node::Print(pipeline) => {
                    let value = self.evaluate(pipeline, dot)?;
                    if pipeline.variables.is_empty() {
                        self.out.push_str(&printed(pipeline, &value));
                    } else {
                        self.set(pipeline, &[value]);
                    }
                }
                Node::If(arms, other) => {
                    let mut body = other;
                    for (condition, then) in arms {
                        if functions::truth(&self.evaluate(condition, dot)?) {
                            body = then;
                            break;
                        }
                    }
                    match self.run(body, dot)? {
                        Flow::Next => {}
                        flow @ (Flow::Break | Flow::Continue) => return Ok(flow),
                    }
                }
                Node::With(pipeline, body, other) => {
                    let value = self.evaluate(pipeline, dot)?;
                    let depth = self.variables.len();
                    let flow = if functions::truth(&value) {
                        self.set(pipeline, std::slice::from_ref(&value));
                        self.run(body, &value)?
                    } else {
                        self.run(other, dot)?
                    };
                    self.variables.truncate(depth);
                    match flow {
                        Flow::Next => {}
                        Flow::Break | Flow::Continue => return Ok(flow),
                    }
                }
                Node::Range(pipeline, body, other) => self.range(pipeline, body, other, dot)?,
                Node::Template(name, pipeline) => {
                    let data = match pipeline {
                        Some(pipeline) => self.evaluate(pipeline, dot)?,
                        None => Json::Null,
                    };
                    self.template(name, &data)?;
                }
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
            }
        }
        Ok(Flow::Next)
    }

    /// Fills in another template; it sees its own data only.
    fn template(&mut self, name: &str, data: &Json) -> Result<(), Failure> {
        let nodes =
            self.defined.get(name).ok_or_else(|| fail(name, format!("template {name:?} not defined")))?;
        if self.depth == DEEPEST {
            return Err(fail(name, "exceeded maximum template depth"));
        }
        let mut inner = Scope {
            root: data,
            defined: self.defined,
            header: self.header,
            depth: self.depth + 1,
            variables: Vec::new(),
            out: std::mem::take(&mut self.out),
        };
        let outcome = inner.run(nodes, data);
        self.out = inner.out;
        outcome.map(drop)
    }

    fn range(
        &mut self,
        pipeline: &Pipeline,
        body: &[Node],
        other: &[Node],
        dot: &Json,
    ) -> Result<(), Failure> {
        let mut items: Vec<(Json, Json)> = match self.evaluate(pipeline, dot)? {
            Json::List(items) => {
                items.into_iter().enumerate().map(|(i, item)| (Json::Int(i as i64), item)).collect()
            }
            Json::Object(members) => members.into_iter().map(|(k, v)| (Json::Text(k), v)).collect(),
            Json::Int(n) => (0..n).map(|i| (Json::Int(i), Json::Int(i))).collect(),
            Json::Null => Vec::new(),
            value @ (Json::Bool(_) | Json::Float(_) | Json::Text(_)) => {
                return Err(fail("range", format!("range can't iterate over {}", functions::print(&value))));
            }
        };
        if items.is_empty() {
            self.run(other, dot)?;
            return Ok(());
        }
        if let Some((Json::Text(_), _)) = items.first() {
            // Go visits a map's keys in order.
            items.sort_by_key(|(key, _)| functions::print(key));
        }
        for (key, item) in items {
            let depth = self.variables.len();
            match pipeline.variables.len() {
                2 => self.set(pipeline, &[key, item.clone()]),
                _ => self.set(pipeline, std::slice::from_ref(&item)),
            }
            let flow = self.run(body, &item)?;
            self.variables.truncate(depth);
            match flow {
                Flow::Next | Flow::Continue => {}
                Flow::Break => break,
            }
        }
        Ok(())
    }

    fn set(&mut self, pipeline: &Pipeline, values: &[Json]) {
        for (name, value) in pipeline.variables.iter().zip(values) {
            let known = self.variables.iter_mut().rev().find(|(n, _)| n == name);
            match known {
                Some((_, slot)) if !pipeline.declares => *slot = value.clone(),
                Some(_) | None => self.variables.push((name.clone(), value.clone())),
            }
        }
    }

    fn evaluate(&mut self, pipeline: &Pipeline, dot: &Json) -> Result<Json, Failure> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, last.take(), dot)?);
        }
        Ok(last.unwrap_or(Json::Null))
    }

    fn command(&mut self, command: &Command, last: Option<Json>, dot: &Json) -> Result<Json, Failure> {
        let Some((first, rest)) = command.split_first() else { return Ok(Json::Null) };
        match first {
            Operand::Function(name) => {
                let mut arguments = Vec::with_capacity(rest.len() + 1);
                for operand in rest {
                    let value = self.operand(operand, dot)?;
                    // `and` and `or` stop at the argument that decides.
                    if (name == "and" && !functions::truth(&value))
                        || (name == "or" && functions::truth(&value))
                    {
                        return Ok(value);
                    }
                    arguments.push(value);
                }
                arguments.extend(last);
                self.call(name, arguments).map_err(|reason| fail(shown(command), reason))
            }
            Operand::Field(path) if path.last().is_some_and(|name| name == "Label") && rest.len() == 1 => {
                let name = functions::print(&self.operand(&rest[0], dot)?);
                if self.header {
                    // A label's column is called after the last part of its name.
                    let last = name.rsplit('.').next().unwrap_or(&name);
                    return Ok(last.replace(['-', '_'], " ").into());
                }
                let labels = dot.get(LABELS).cloned().unwrap_or(Json::Null);
                Ok(labels.get(&name).cloned().unwrap_or_else(|| "".into()))
            }
            _ if !rest.is_empty() || last.is_some() => {
                Err(fail(describe(first), format!("can't give argument to non-function {}", describe(first))))
            }
            _ => self.operand(first, dot),
        }
    }

    fn call(&self, name: &str, arguments: Vec<Json>) -> Result<Json, String> {
        if self.header {
            functions::call_on_header(name, arguments)
        } else {
            functions::call(name, arguments)
        }
    }

    fn operand(&mut self, operand: &Operand, dot: &Json) -> Result<Json, Failure> {
        match operand {
            Operand::Field(path) => walk(dot, path),
            Operand::Variable(name, path) if name.is_empty() => walk(self.root, path),
            Operand::Variable(name, path) => {
                let value = self.variables.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v);
                walk(value.ok_or_else(|| fail(format!("${name}"), "undefined variable"))?, path)
            }
            Operand::Function(name) => self.call(name, Vec::new()).map_err(|reason| fail(name, reason)),
            Operand::Text(text) => Ok(Json::Text(text.clone())),
            Operand::Int(number) => Ok(Json::Int(*number)),
            Operand::Float(number) => Ok(Json::Float(*number)),
            Operand::Bool(value) => Ok(Json::Bool(*value)),
            Operand::Nil => Ok(Json::Null),
            Operand::Group(pipeline, path) => {
                let value = self.evaluate(pipeline, dot)?;
                walk(&value, path)
            }
        }
    }
}

/// A value as text. What JSON calls null, Go knows as an empty list, an empty map, a nil pointer or a missing key.
fn printed(pipeline: &Pipeline, value: &Json) -> String {
    const POINTERS: [&str; 12] = [
        "Health",
        "Healthcheck",
        "IPAMConfig",
        "Init",
        "MemorySwappiness",
        "OomKillDisable",
        "PidsLimit",
        "Platform",
        "SizeRootFs",
        "SizeRw",
        "StopTimeout",
        "UsageData",
    ];
    const TEXTS: [&str; 9] = [
        "Author",
        "Comment",
        "HostIp",
        "MacAddress",
        "Name",
        "OsVersion",
        "Runtime",
        "StopSignal",
        "Variant",
    ];
    let path = match pipeline.commands.as_slice() {
        [command] => match command.as_slice() {
            [Operand::Field(path)] => path.as_slice(),
            _ => &[],
        },
        _ => &[],
    };
    let is = |names: &[&str], name: &String| names.contains(&name.as_str());
    match (value, path) {
        (Json::Null, [.., parent, _]) if is(&MAPS, parent) => "<no value>".into(),
        (Json::Null, [.., name]) if is(&POINTERS, name) => "<nil>".into(),
        (Json::Null, [.., name]) if is(&TEXTS, name) => String::new(),
        (Json::Null, [.., name]) if is(&MAPS, name) => "map[]".into(),
        (Json::Null, [.., _]) => "[]".into(),
        _ => functions::print(value),
    }
}

/// A command as it was written.
fn shown(command: &Command) -> String {
    command.iter().map(describe).collect::<Vec<_>>().join(" ")
}

fn describe(operand: &Operand) -> String {
    match operand {
        Operand::Field(path) => format!(".{}", path.join(".")),
        Operand::Variable(name, _) => format!("${name}"),
        Operand::Function(name) => name.clone(),
        Operand::Text(text) => format!("{text:?}"),
        Operand::Int(number) => number.to_string(),
        Operand::Float(number) => number.to_string(),
        Operand::Bool(value) => value.to_string(),
        Operand::Nil => "nil".into(),
        Operand::Group(..) => "()".into(),
    }
}

/// Whether Go's type has a field, or the map may have a key, that is not in the JSON.
fn is_optional(parent: &str, name: &str) -> bool {
    OPTIONAL.contains(&name) || MAPS.contains(&parent)
}

fn walk(from: &Json, path: &[String]) -> Result<Json, Failure> {
    let mut at = from;
    let mut parent = "";
    for (i, name) in path.iter().enumerate() {
        let offset = path[..i].iter().map(|name| name.len() + 1).sum();
        let wrong = |reason| Failure { at: format!(".{}", path.join(".")), offset, reason };
        at = match at {
            Json::Object(_) => match at.get(name).or_else(|| at.get(&format!("{HIDDEN}{name}"))) {
                Some(value) => value,
                None if i + 1 == path.len() && is_optional(parent, name) => return Ok(Json::Null),
                None => return Err(wrong(format!("map has no entry for key {name:?}"))),
            },
            Json::Null => return Err(wrong(format!("nil data; no entry for key {name:?}"))),
            Json::Bool(_) | Json::Int(_) | Json::Float(_) | Json::Text(_) | Json::List(_) => {
                return Err(wrong(format!("can't evaluate field {name} in type interface {{}}")));
            }
        };
        parent = name;
    }
    Ok(at.clone())
}
