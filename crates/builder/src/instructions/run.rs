//! RUN.

use super::flags::Flags;
use super::read::{command, error};
use super::{Command, with_shell};
use crate::error::Result;
use crate::heredoc::{self, Heredoc};
use crate::parse::Node;

/// What to execute, and in what surroundings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    /// What was written after RUN.
    pub(crate) command: Command,
    /// Their texts belong to the command.
    pub(crate) files: Vec<Heredoc>,
    /// Further mounts.
    pub(crate) mounts: Vec<Mount>,
    /// `--network`, if given.
    pub(crate) network: Option<Network>,
}

/// `--network`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    Default,
    None,
    Host,
}

/// `--mount`, as written: variables are not replaced yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Mount {
    /// `bind`, `cache`, `tmpfs`.
    pub(crate) kind: MountKind,
    /// In the step.
    pub(crate) target: String,
    /// In what is mounted.
    pub(crate) source: String,
    /// Stage, image, or empty for the context.
    pub(crate) from: String,
    /// Which cache; empty is the target.
    pub(crate) id: String,
    /// Writes are possible (and, for bind, forgotten).
    pub(crate) writable: bool,
    /// Bytes of a tmpfs; 0 is the kernel's half of the memory.
    pub(crate) size: u64,
    /// Octal mode, owner and group of a new cache directory.
    pub(crate) mode: Option<u32>,
    /// See `mode`.
    pub(crate) uid: u32,
    /// See `mode`.
    pub(crate) gid: u32,
}

/// What a `--mount` mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum MountKind {
    /// A tree of the context, a stage or an image; what is written is forgotten.
    #[default]
    Bind,
    /// A directory that outlives the build and is in no layer.
    Cache,
    /// Empty, in memory.
    Tmpfs,
}

/// What a RUN hands to the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    /// The arguments, shell included.
    pub(crate) arguments: Vec<String>,
    /// A script to put at the first argument's path: a heredoc that starts with `#!`.
    pub(crate) script: Option<String>,
}

impl Run {
    /// The arguments, with the stage's shell in front where one is needed.
    pub(crate) fn program(&self, shell: &[String], escape: char) -> Program {
        let line = match &self.command {
            Command::Exec(arguments) => return Program { arguments: arguments.clone(), script: None },
            Command::Shell(line) => line,
        };
        if let [file] = self.files.as_slice()
            && heredoc::opening(line.trim(), escape).is_some()
        {
            let text = file.text();
            if text.starts_with("#!") {
                return Program { arguments: vec![format!("/dev/pipes/{}", file.name)], script: Some(text) };
            }
            return Program { arguments: with_shell(shell, &text), script: None };
        }
        // The shell reads the heredocs itself.
        let mut line = line.clone();
        for file in &self.files {
            line.push('\n');
            line.push_str(&file.content);
            line.push_str(&file.name);
        }
        Program { arguments: with_shell(shell, &line), script: None }
    }
}

/// Reads a RUN.
pub(crate) fn read(node: &Node) -> Result<Run> {
    let flags = Flags::new(node, &["mount", "network", "security", "device"], &["mount", "device"])?;
    if !flags.values("device")?.is_empty() {
        return Err(error(node, "--device is not supported yet"));
    }
    match flags.value("security")?.as_deref() {
        None | Some("sandbox") => {}
        Some("insecure") => return Err(error(node, "--security=insecure is not supported yet")),
        Some(other) => return Err(error(node, format!("security {other:?} is not valid"))),
    }
    let network = match flags.value("network")?.as_deref() {
        None => None,
        Some("default") => Some(Network::Default),
        Some("none") => Some(Network::None),
        Some("host") => Some(Network::Host),
        Some(other) => return Err(error(node, format!("invalid network mode {other:?}"))),
    };
    let mut mounts = Vec::new();
    for text in flags.values("mount")? {
        mounts.push(mount(node, &text)?);
    }
    let command = command(node)?;
    let empty = match &command {
        Command::Exec(arguments) => arguments.is_empty(),
        Command::Shell(line) => line.trim().is_empty(),
    };
    if empty {
        return Err(error(node, "RUN requires at least one argument"));
    }
    Ok(Run { command, files: node.heredocs.clone(), mounts, network })
}

/// `type=cache,target=/x,…`.
fn mount(node: &Node, text: &str) -> Result<Mount> {
    let fields: Vec<(&str, Option<&str>)> = text
        .split(',')
        .map(|field| field.split_once('=').map_or((field, None), |(name, value)| (name, Some(value))))
        .collect();
    let mut mount = Mount::default();
    match fields.iter().find(|(name, _)| *name == "type").and_then(|(_, value)| *value) {
        None | Some("bind") => {}
        Some("cache") => (mount.kind, mount.writable) = (MountKind::Cache, true),
        Some("tmpfs") => (mount.kind, mount.writable) = (MountKind::Tmpfs, true),
        Some(kind @ ("secret" | "ssh")) => {
            return Err(error(node, format!("--mount=type={kind} is not supported yet")));
        }
        Some(other) => return Err(error(node, format!("unsupported mount type {other:?}"))),
    }
    for (name, value) in fields {
        let wrong = || error(node, format!("invalid value for {name} in mount {text:?}"));
        let text_value = || value.map(ToOwned::to_owned).ok_or_else(wrong);
        let cache = mount.kind == MountKind::Cache;
        match name {
            "type" => {}
            "target" | "dst" | "destination" => mount.target = text_value()?,
            "source" | "src" if mount.kind != MountKind::Tmpfs => mount.source = text_value()?,
            "from" if mount.kind != MountKind::Tmpfs => mount.from = text_value()?,
            "ro" | "readonly" | "rw" | "readwrite" => {
                let on = match value {
                    None | Some("true") => true,
                    Some("false") => false,
                    Some(_) => return Err(wrong()),
                };
                mount.writable = on == matches!(name, "rw" | "readwrite");
            }
            "size" if mount.kind == MountKind::Tmpfs => {
                mount.size = value.and_then(size).ok_or_else(wrong)?;
            }
            "id" if cache => mount.id = text_value()?,
            "sharing" if cache => match value {
                Some("shared" | "private" | "locked") => {}
                Some(_) | None => return Err(wrong()),
            },
            "mode" if cache => {
                mount.mode = Some(value.and_then(|v| u32::from_str_radix(v, 8).ok()).ok_or_else(wrong)?);
            }
            "uid" if cache => mount.uid = value.and_then(|v| v.parse().ok()).ok_or_else(wrong)?,
            "gid" if cache => mount.gid = value.and_then(|v| v.parse().ok()).ok_or_else(wrong)?,
            _ => return Err(error(node, format!("unexpected key '{name}' in mount {text:?}"))),
        }
    }
    if mount.target.is_empty() {
        return Err(error(node, format!("mount {text:?} needs a target")));
    }
    Ok(mount)
}

/// Bytes with an optional unit of 1024s.
fn size(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match lower[digits.len()..].trim_end_matches("ib").trim_end_matches('b') {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}
