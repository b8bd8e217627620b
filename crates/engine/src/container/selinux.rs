//! SELinux: labels of a container's processes and files, where the kernel confines by them and the daemon is told to
//! (`selinux-enabled`). Elsewhere labels that are asked for mean nothing, as with Docker.

use std::path::Path;

use serde::{Deserialize, Serialize};
use spec::api::HostConfig;
use sys::root::{Follow, Kind, Root, TooDeep};

use super::mounts::MountPoint;
use super::security;
use crate::{Engine, Error};

/// The host's directories whose files nobody else's labels may be put on.
const SYSTEM: [&str; 24] = [
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/etc/passwd",
    "/etc/pki",
    "/etc/shadow",
    "/home",
    "/lib",
    "/lib64",
    "/media",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/var",
    "/var/lib",
    "/var/log",
];
/// The attribute that holds a file's label.
const ATTRIBUTE: &str = "security.selinux";
/// Categories of a level.
const CATEGORIES: u16 = 1024;

/// A container's labels, as recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Labels {
    /// Of its processes; empty: not confined.
    pub(crate) process: String,
    /// Of its files.
    pub(crate) mount: String,
}

/// `user:role:type[:level]`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Context {
    user: String,
    role: String,
    kind: String,
    level: String,
}

impl Context {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ':').map(str::to_owned);
        let (user, role, kind) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { user, role, kind, level: parts.next().unwrap_or_default() })
    }

    fn text(&self) -> String {
        let Self { user, role, kind, level } = self;
        let base = format!("{user}:{role}:{kind}");
        if level.is_empty() { base } else { format!("{base}:{level}") }
    }
}

/// What the policy gives containers, before each gets its level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    process: Context,
    file: Context,
}

impl Policy {
    /// The host's; `None` where SELinux is not there, or not wanted.
    pub(crate) fn open(wanted: bool) -> Option<Self> {
        if !wanted {
            return None;
        }
        let read = |path: &str| {
            let bytes = sys::file::read_if_exists(Path::new(path)).ok()??;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        let found = Path::new("/sys/fs/selinux/enforce").exists().then(|| {
            let config = read("/etc/selinux/config").unwrap_or_default();
            let name = value(&config, "SELINUXTYPE").unwrap_or("targeted").to_owned();
            Self::read(&read(&format!("/etc/selinux/{name}/contexts/lxc_contexts"))?)
        });
        if found.is_none() {
            tracing::warn!("Docker could not enable SELinux on the host system");
        }
        found.flatten()
    }

    /// Reads the policy's `lxc_contexts`.
    fn read(contexts: &str) -> Option<Self> {
        let context = |key: &str| Context::parse(value(contexts, key)?);
        Some(Self { process: context("process")?, file: context("file")? })
    }

    /// The labels of a container with these options (`--security-opt label=…`), with `level` unless they name another.
    fn labels(&self, options: &[String], level: &str) -> Result<Labels, Error> {
        let (mut process, mut file) = (self.process.clone(), self.file.clone());
        level.clone_into(&mut process.level);
        level.clone_into(&mut file.level);
        for option in options {
            if option == "disable" {
                return Ok(Labels { process: String::new(), mount: self.file.text() });
            }
            let bad =
                |keys: &str| Error::Invalid(format!("bad label option {option:?}, valid options {keys}"));
            let (key, value) = option.split_once(':').ok_or_else(|| {
                bad("'disable' or \n'user, role, level, type, filetype' followed by ':' and a value")
            })?;
            match key {
                "user" => {
                    value.clone_into(&mut process.user);
                    value.clone_into(&mut file.user);
                }
                "level" => {
                    value.clone_into(&mut process.level);
                    value.clone_into(&mut file.level);
                }
                "role" => value.clone_into(&mut process.role),
                "type" => value.clone_into(&mut process.kind),
                "filetype" => value.clone_into(&mut file.kind),
                _ => return Err(bad("'disable, user, role, level, type, filetype'")),
            }
        }
        Ok(Labels { process: process.text(), mount: file.text() })
    }
}

/// The options of a container that names none. `joined`: the labels of those whose IPC and process namespaces it shares.
fn implied(host: &HostConfig, joined: &[Labels]) -> Result<Vec<String>, Error> {
    if host.privileged || host.ipc_mode == "host" || host.pid_mode == "host" {
        return Ok(vec!["disable".into()]);
    }
    let Some(first) = joined.first() else { return Ok(Vec::new()) };
    if joined.iter().any(|other| other.process != first.process) {
        return Err(Error::Invalid("--ipc and --pid containers SELinux labels aren't the same".into()));
    }
    let Some(context) = Context::parse(&first.process) else { return Ok(vec!["disable".into()]) };
    let Context { user, role, kind, level } = context;
    Ok([("user", user), ("role", role), ("type", kind), ("level", level)]
        .map(|(key, value)| format!("{key}:{value}"))
        .to_vec())
}

/// A level that none of `taken` (labels of processes) has: two categories out of all.
fn level(taken: &[String], random: impl Fn() -> [u8; 4]) -> String {
    loop {
        let bytes = random();
        let category = |low, high| u16::from_le_bytes([low, high]) % CATEGORIES;
        let (one, other) = (category(bytes[0], bytes[1]), category(bytes[2], bytes[3]));
        let level = format!("s0:c{},c{}", one.min(other), one.max(other));
        let used = taken.iter().any(|label| label.ends_with(&format!(":{level}")));
        if one != other && !used {
            return level;
        }
    }
}

impl Engine {
    /// The labels of a container to be made.
    pub(crate) fn settle_labels(&self, host: &HostConfig) -> Result<Option<Labels>, Error> {
        let Some(policy) = &self.inner.selinux else { return Ok(None) };
        let mut options = security::read(&host.security_opt)?.labels;
        if options.is_empty() {
            let mut joined = Vec::new();
            for mode in [&host.ipc_mode, &host.pid_mode] {
                if let Some(other) = mode.strip_prefix("container:") {
                    let view = self.inner.containers.find(other)?.view();
                    joined.push(view.record.labels.clone().unwrap_or_default());
                }
            }
            options = implied(host, &joined)?;
        }
        let containers = self.inner.containers.all();
        let taken = containers.iter().filter_map(|container| container.view().record.labels.clone());
        let taken: Vec<String> = taken.map(|labels| labels.process).collect();
        policy.labels(&options, &level(&taken, sys::random::bytes::<4>)).map(Some)
    }
}

/// Labels what is mounted with `z` or `Z`.
pub(crate) fn relabel_mounts(mounts: &[MountPoint], labels: &Labels) -> Result<(), Error> {
    for mount in mounts.iter().filter(|mount| !mount.source.is_empty()) {
        let asked = |word: &str| mount.mode.split(',').any(|mode| mode == word);
        if asked("z") || asked("Z") {
            relabel(&mount.source, &labels.mount, asked("z"))?;
        }
    }
    Ok(())
}

/// Puts a container's label on what is mounted with `z` (for all containers) or `Z` (for this one).
fn relabel(path: &str, label: &str, shared: bool) -> Result<(), Error> {
    let place = if path == "/" { path } else { path.trim_end_matches('/') };
    if SYSTEM.contains(&place) {
        return Err(Error::Invalid(format!("SELinux relabeling of {place} is not allowed")));
    }
    let label = if shared { as_shared(label) } else { label.to_owned() };
    let value = [label.as_bytes(), b"\0"].concat();
    let root = Root::open(Path::new("/"))?;
    let (dir, name) = root.parent(place)?;
    dir.set_xattr(&name, ATTRIBUTE.as_ref(), &value)?;
    if root.metadata(place, Follow::No)?.kind == Kind::Directory {
        let below = root.dir(place)?.to_root()?;
        below.walk("", TooDeep::Fail, |visit| visit.dir.set_xattr(visit.name, ATTRIBUTE.as_ref(), &value))?;
    }
    Ok(())
}

/// The label without categories.
fn as_shared(label: &str) -> String {
    match Context::parse(label) {
        Some(context) => Context { level: "s0".into(), ..context }.text(),
        None => label.to_owned(),
    }
}

/// The value of `key = "value"` in a file of such lines.
fn value<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once('=')?;
        (found.trim() == key).then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let text = "# policy\nprocess = \"system_u:system_r:container_t:s0\"\nfile = \"system_u:object_r:container_file_t:s0\"\n\
                    ro_file=\"system_u:object_r:container_ro_file_t:s0\"\n";
        Policy::read(text).unwrap()
    }

    fn labels(options: &[&str]) -> Result<(String, String), String> {
        let options: Vec<String> = options.iter().map(|o| (*o).to_owned()).collect();
        let labels = policy().labels(&options, "s0:c1,c2").map_err(|e| e.to_string())?;
        Ok((labels.process, labels.mount))
    }

    #[test]
    fn options_change_the_policys_labels() {
        for (options, process, file) in [
            (
                &[][..],
                "system_u:system_r:container_t:s0:c1,c2",
                "system_u:object_r:container_file_t:s0:c1,c2",
            ),
            (
                &["type:spc_t"],
                "system_u:system_r:spc_t:s0:c1,c2",
                "system_u:object_r:container_file_t:s0:c1,c2",
            ),
            (
                &["level:s0:c7,c9"],
                "system_u:system_r:container_t:s0:c7,c9",
                "system_u:object_r:container_file_t:s0:c7,c9",
            ),
            (&["user:u", "role:r"], "u:r:container_t:s0:c1,c2", "u:object_r:container_file_t:s0:c1,c2"),
            (&["filetype:f_t"], "system_u:system_r:container_t:s0:c1,c2", "system_u:object_r:f_t:s0:c1,c2"),
            (&["type:x", "disable"], "", "system_u:object_r:container_file_t:s0"),
        ] {
            assert_eq!(labels(options).unwrap(), (process.into(), file.into()), "{options:?}");
        }
        assert!(labels(&["x"]).unwrap_err().contains("followed by ':' and a value"));
        assert!(
            labels(&["x:y"])
                .unwrap_err()
                .contains("valid options 'disable, user, role, level, type, filetype'")
        );
    }

    #[test]
    fn shared_namespaces_share_labels() {
        let host = |change: fn(&mut HostConfig)| {
            let mut host = HostConfig::default();
            change(&mut host);
            host
        };
        let of = |process: &str| Labels { process: process.into(), mount: String::new() };
        assert_eq!(implied(&host(|h| h.privileged = true), &[]).unwrap(), ["disable"]);
        assert_eq!(implied(&host(|h| h.pid_mode = "host".into()), &[]).unwrap(), ["disable"]);
        assert!(implied(&host(|_| {}), &[]).unwrap().is_empty());
        let options = implied(&host(|_| {}), &[of("u:r:t:s0:c1,c2"), of("u:r:t:s0:c1,c2")]).unwrap();
        assert_eq!(options, ["user:u", "role:r", "type:t", "level:s0:c1,c2"]);
        assert!(implied(&host(|_| {}), &[of("u:r:t:s0:c1"), of("u:r:t:s0:c2")]).is_err());
        assert_eq!(implied(&host(|_| {}), &[of("")]).unwrap(), ["disable"]);
    }

    #[test]
    fn levels_are_not_given_twice() {
        let next = std::cell::Cell::new(0_u8);
        let random = || {
            next.set(next.get() + 1);
            match next.get() {
                1 => [7, 0, 7, 0],
                2 => [9, 0, 3, 0],
                _ => [9, 0, 255, 255],
            }
        };
        let taken = ["a:b:c:s0:c3,c9".to_owned()];
        assert_eq!(level(&taken, random), "s0:c9,c1023");
    }

    #[test]
    fn system_directories_are_not_relabelled() {
        for path in ["/", "/etc", "/usr/", "/var/lib"] {
            assert!(
                relabel(path, "u:r:t:s0:c1,c2", false).unwrap_err().to_string().contains("is not allowed")
            );
        }
        assert_eq!(as_shared("u:r:t:s0:c1,c2"), "u:r:t:s0");
    }
}
