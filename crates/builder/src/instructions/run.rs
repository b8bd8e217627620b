//! RUN.

use super::flags::Flags;
use super::read::{command, error, nearest};
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
    /// `--security`.
    pub(crate) security: Security,
}

/// `--security`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Security {
    /// As a container.
    #[default]
    Sandbox,
    /// With every capability and all devices.
    Insecure,
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
    /// What is mounted.
    pub(crate) kind: MountKind,
    /// In the step.
    pub(crate) target: String,
    /// In what is mounted.
    pub(crate) source: String,
    /// Stage, image, or empty for the context.
    pub(crate) from: String,
    /// Which cache, secret or agent.
    pub(crate) id: String,
    /// Writes are possible (and, for bind, forgotten).
    pub(crate) writable: bool,
    /// Who may use a cache at the same time.
    pub(crate) sharing: Sharing,
    /// It must be there.
    pub(crate) required: bool,
    /// The variable that a secret is put into.
    pub(crate) env: Option<String>,
    /// Bytes of a tmpfs; 0 is the kernel's half of the memory.
    pub(crate) size: u64,
    /// Octal mode, owner and group of a cache directory, secret or agent's socket.
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
    /// A file that no layer keeps.
    Secret,
    /// The client's ssh agent.
    Ssh,
}

/// Who may use a cache mount at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Sharing {
    /// Everybody.
    #[default]
    Shared,
    /// Each has one of its own.
    Private,
    /// One after the other.
    Locked,
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
    let security = match flags.value("security")?.as_deref() {
        None | Some("sandbox") => Security::Sandbox,
        Some("insecure") => Security::Insecure,
        Some(other) => {
            let known = ["sandbox", "insecure"];
            return Err(error(node, format!("security {other:?} is not valid{}", meant(other, &known))));
        }
    };
    let network = match flags.value("network")?.as_deref() {
        None => None,
        Some("default") => Some(Network::Default),
        Some("none") => Some(Network::None),
        Some("host") => Some(Network::Host),
        Some(other) => {
            let known = ["default", "none", "host"];
            return Err(error(node, format!("invalid network mode {other:?}{}", meant(other, &known))));
        }
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
    Ok(Run { command, files: node.heredocs.clone(), mounts, network, security })
}

/// The keys of a mount, for those who mistyped one.
const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "readwrite",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "env",
];
const KINDS: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];

/// `type=cache,target=/x,…`.
fn mount(node: &Node, text: &str) -> Result<Mount> {
    let fields: Vec<(String, Option<String>)> = fields(text)
        .into_iter()
        .map(|field| match field.split_once('=') {
            Some((name, value)) => (name.trim().to_ascii_lowercase(), Some(value.to_owned())),
            None => (field.trim().to_ascii_lowercase(), None),
        })
        .collect();
    let mut mount = Mount::default();
    let kind = fields.iter().find(|(name, _)| name == "type").and_then(|(_, value)| value.as_deref());
    match kind {
        None | Some("bind") => {}
        Some("cache") => (mount.kind, mount.writable) = (MountKind::Cache, true),
        Some("tmpfs") => (mount.kind, mount.writable) = (MountKind::Tmpfs, true),
        Some("secret") => mount.kind = MountKind::Secret,
        Some("ssh") => mount.kind = MountKind::Ssh,
        Some(other) => {
            let hint = nearest(other, &KINDS).map(|n| format!(" (did you mean {n}?)")).unwrap_or_default();
            return Err(error(node, format!("unsupported mount type {other:?}{hint}")));
        }
    }
    let kind = mount.kind;
    let has_files = matches!(kind, MountKind::Bind | MountKind::Cache);
    let has_bits = matches!(kind, MountKind::Cache | MountKind::Secret | MountKind::Ssh);
    for (name, value) in fields {
        let wrong = || error(node, format!("invalid value for {name} in mount {text:?}"));
        let misplaced = || {
            let kind = format!("{kind:?}").to_ascii_lowercase();
            error(node, format!("unexpected key '{name}' for mount type '{kind}'"))
        };
        let switch = || match value.as_deref() {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(_) => Err(wrong()),
        };
        let given = || value.clone().ok_or_else(wrong);
        let number = || value.as_deref().and_then(|v| v.parse().ok()).ok_or_else(wrong);
        match name.as_str() {
            "type" => {}
            "target" | "dst" | "destination" => mount.target = given()?,
            // A secret's source is its id.
            "source" | "src" if kind == MountKind::Secret => mount.id = given()?,
            "source" | "src" if has_files => mount.source = given()?,
            "from" if has_files => {
                mount.from = given()?;
                if mount.from.contains('$') {
                    return Err(error(node, "variable expansion is not supported for mount key 'from'"));
                }
            }
            "ro" | "readonly" => mount.writable = !switch()?,
            "rw" | "readwrite" => mount.writable = switch()?,
            "size" if kind == MountKind::Tmpfs => {
                mount.size = value.as_deref().and_then(size).ok_or_else(wrong)?;
            }
            "id" if has_bits => mount.id = given()?,
            "sharing" if kind == MountKind::Cache => {
                mount.sharing = match value.as_deref() {
                    Some("shared") => Sharing::Shared,
                    Some("private") => Sharing::Private,
                    Some("locked") => Sharing::Locked,
                    Some(other) => {
                        let known = ["shared", "private", "locked"];
                        let hint = nearest(other, &known)
                            .map(|n| format!(" (did you mean {n}?)"))
                            .unwrap_or_default();
                        return Err(error(node, format!("unsupported sharing value {other:?}{hint}")));
                    }
                    None => return Err(wrong()),
                };
            }
            "required" if matches!(kind, MountKind::Secret | MountKind::Ssh) => mount.required = switch()?,
            "env" if kind == MountKind::Secret => mount.env = Some(given()?),
            "mode" if has_bits => {
                mount.mode =
                    Some(value.as_deref().and_then(|v| u32::from_str_radix(v, 8).ok()).ok_or_else(wrong)?);
            }
            "uid" if has_bits => mount.uid = number()?,
            "gid" if has_bits => mount.gid = number()?,
            known if KEYS.contains(&known) => return Err(misplaced()),
            other => {
                let hint = nearest(other, &KEYS).map(|n| format!(" (did you mean {n}?)")).unwrap_or_default();
                return Err(error(node, format!("unexpected key '{name}' in mount {text:?}{hint}")));
            }
        }
    }
    if mount.kind == MountKind::Secret && mount.id.is_empty() {
        // As BuildKit: the target's last component.
        mount.id = mount.target.rsplit('/').next().unwrap_or_default().to_owned();
        if mount.id.is_empty() {
            return Err(error(node, "one of id, source or target is required for a secret mount"));
        }
    }
    if mount.target.is_empty() && (has_files || kind == MountKind::Tmpfs) {
        return Err(error(node, format!("mount {text:?} needs a target")));
    }
    Ok(mount)
}

/// The word that may have been meant, and what is expected.
fn meant(word: &str, known: &[&str]) -> String {
    let hint = nearest(word, known).map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
    format!("{hint}: expected {}", known.join(", "))
}

/// The fields of comma-separated values; a quoted one may hold commas.
fn fields(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => {
                if let Some(last) = fields.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    fields
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
