//! `--security-opt`, `--cap-add` and `--cap-drop`: what confines a container.

use spec::api::HostConfig;
use spec::defaults::{self, ALL_CAPABILITIES, CAPABILITIES};
use spec::oci::runtime::Seccomp;

use super::apparmor;
use super::seccomp::{Facts, Profile};
use crate::{Error, Settings};

/// `--security-opt`, read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Security {
    pub(crate) no_new_privileges: bool,
    /// The cgroup file system is mounted read-write: as for a privileged container, unless it was said.
    pub(crate) writable_cgroups: Option<bool>,
    seccomp: SystemCalls,
    /// The profile that was asked for by name; empty: the default.
    apparmor: String,
    /// What is asked for of SELinux's labels.
    pub(crate) labels: Vec<String>,
}

/// Which system calls a container may make.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum SystemCalls {
    /// Nothing was said.
    #[default]
    Default,
    BuiltIn,
    Unconfined,
    Own(Box<Profile>),
}

/// Reads `--security-opt`.
///
/// # Errors
/// An unknown option, in Docker's words, or one that this host cannot honour.
pub(crate) fn read(options: &[String]) -> Result<Security, Error> {
    let mut security = Security::default();
    for option in options {
        let wrong = |place: u8| Error::Invalid(format!("invalid --security-opt {place}: {option:?}"));
        match option.as_str() {
            "no-new-privileges" => security.no_new_privileges = true,
            "writable-cgroups" => security.writable_cgroups = Some(true),
            // The older spelling of label=disable.
            "disable" => security.labels.push("disable".into()),
            _ => {
                let separator = if option.contains('=') { '=' } else { ':' };
                let (key, value) = option.split_once(separator).ok_or_else(|| wrong(1))?;
                match key {
                    "no-new-privileges" => {
                        security.no_new_privileges = flag(value).ok_or_else(|| wrong(2))?
                    }
                    "writable-cgroups" => {
                        security.writable_cgroups = Some(flag(value).ok_or_else(|| wrong(2))?);
                    }
                    "seccomp" => security.seccomp = system_calls(value)?,
                    "apparmor" => security.apparmor = apparmor::wanted(value)?,
                    "label" => security.labels.push(value.to_owned()),
                    _ => return Err(wrong(2)),
                }
            }
        }
    }
    Ok(security)
}

/// What `info` shows of the daemon.
pub(crate) fn options(settings: &Settings, selinux: bool, remapped: bool) -> Vec<String> {
    let seccomp = match settings.seccomp_profile.as_str() {
        "" => "builtin",
        "unconfined" => "unconfined",
        _ => "custom",
    };
    let mut options = Vec::new();
    if apparmor::is_here() {
        options.push("name=apparmor".into());
    }
    options.push(format!("name=seccomp,profile={seccomp}"));
    if selinux {
        options.push("name=selinux".into());
    }
    if remapped {
        options.push("name=userns".into());
    }
    if settings.no_new_privileges {
        options.push("name=no-new-privileges".into());
    }
    options.push("name=cgroupns".into());
    options
}

/// A truth value as Go reads it.
fn flag(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn system_calls(value: &str) -> Result<SystemCalls, Error> {
    Ok(match value {
        "unconfined" => SystemCalls::Unconfined,
        "builtin" => SystemCalls::BuiltIn,
        "" => SystemCalls::Default,
        json => SystemCalls::Own(Box::new(Profile::read(json)?)),
    })
}

impl Security {
    /// Whether it is the built-in filter that [`Security::filter`] gives.
    pub(crate) fn has_built_in(&self, privileged: bool) -> bool {
        match self.seccomp {
            SystemCalls::Default => !privileged,
            SystemCalls::BuiltIn => true,
            SystemCalls::Unconfined | SystemCalls::Own(_) => false,
        }
    }

    /// The filter of a container with these capabilities. A privileged one has only a filter of its own.
    pub(crate) fn filter(&self, privileged: bool, facts: Facts<'_>) -> Option<Seccomp> {
        match &self.seccomp {
            SystemCalls::Unconfined => None,
            SystemCalls::Default if privileged => None,
            SystemCalls::Default | SystemCalls::BuiltIn => {
                Some(defaults::default_profile(facts.capabilities))
            }
            SystemCalls::Own(profile) => Some(profile.resolve(facts)),
        }
    }

    /// The AppArmor profile to run under; empty where there is no AppArmor.
    pub(crate) fn apparmor(&self, privileged: bool) -> String {
        match self.apparmor.as_str() {
            _ if !apparmor::is_here() => String::new(),
            "" if privileged => apparmor::UNCONFINED.into(),
            "" => apparmor::DEFAULT.into(),
            own => own.to_owned(),
        }
    }
}

/// The capabilities of a container: Docker's default with `--cap-drop` taken and `--cap-add` given; all when
/// privileged. In the kernel's order.
///
/// # Errors
/// A name that is no capability, in Docker's words.
pub(crate) fn capabilities(host: &HostConfig) -> Result<Vec<String>, Error> {
    let read = |list: &[String], field: &str| -> Result<Vec<String>, Error> {
        list.iter()
            .map(|name| capability(name).map_err(|why| Error::Invalid(format!("invalid {field}: {why}"))))
            .collect()
    };
    let (add, drop) = (read(&host.cap_add, "CapAdd")?, read(&host.cap_drop, "CapDrop")?);
    let all = |list: &[String]| list.iter().any(|c| c == "ALL");
    let keeps = |name: &str| {
        let named = |list: &[String]| list.iter().any(|c| c == name);
        if host.privileged {
            return true;
        }
        match (all(&add), all(&drop)) {
            (true, _) => !named(&drop),
            (false, true) => named(&add),
            (false, false) => named(&add) || (CAPABILITIES.contains(&name) && !named(&drop)),
        }
    };
    Ok(ALL_CAPABILITIES.iter().filter(|name| keeps(name)).map(|name| (*name).to_owned()).collect())
}

/// `net_admin`, `CAP_NET_ADMIN` or `ALL`, in the form in which it is recorded.
fn capability(name: &str) -> Result<String, String> {
    let upper = name.to_ascii_uppercase();
    if upper == "ALL" {
        return Ok(upper);
    }
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    if ALL_CAPABILITIES.contains(&full.as_str()) {
        Ok(full)
    } else {
        Err(format!("unknown capability: {full:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(options: &[&str]) -> Result<Security, Error> {
        super::read(&options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read() {
        let facts = Facts { capabilities: &[], kernel: (6, 1) };
        for (options, no_new_privileges, writable_cgroups) in [
            (&[][..], false, None),
            (&["no-new-privileges"], true, None),
            (&["no-new-privileges=true", "writable-cgroups"], true, Some(true)),
            (&["no-new-privileges:true", "no-new-privileges=false", "label=disable"], false, None),
            (&["writable-cgroups=false", "apparmor=unconfined", "disable"], false, Some(false)),
        ] {
            let security = read_all(options).unwrap();
            assert_eq!(security.no_new_privileges, no_new_privileges, "{options:?}");
            assert_eq!(security.writable_cgroups, writable_cgroups, "{options:?}");
            assert!(security.filter(false, facts).is_some() && security.filter(true, facts).is_none());
        }
        // Where there is no SELinux, whatever is said of labels means nothing.
        let labels = read_all(&["label=type:x", "label:y", "disable"]).unwrap().labels;
        assert_eq!(labels, ["type:x", "y", "disable"]);
        assert_eq!(read_all(&["seccomp=unconfined"]).unwrap().filter(false, facts), None);
        assert!(read_all(&["seccomp=builtin"]).unwrap().filter(false, facts).is_some());
        let own = r#"seccomp={"defaultAction":"SCMP_ACT_ALLOW"}"#;
        let filter = read_all(&[own]).unwrap().filter(true, facts).unwrap();
        assert_eq!(filter.default_action, "SCMP_ACT_ALLOW");
        for (option, text) in [
            ("foo", "invalid --security-opt 1: \"foo\""),
            ("foo=bar", "invalid --security-opt 2: \"foo=bar\""),
            ("no-new-privileges=x", "invalid --security-opt 2: \"no-new-privileges=x\""),
            ("seccomp=x", "Decoding seccomp profile failed"),
        ] {
            let error = read_all(&[option]).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn capabilities_are_added_and_dropped() {
        let with = |add: &[&str], drop: &[&str]| {
            let list = |l: &[&str]| l.iter().map(|c| (*c).to_owned()).collect();
            let host = HostConfig { cap_add: list(add), cap_drop: list(drop), ..HostConfig::default() };
            capabilities(&host).unwrap()
        };
        assert_eq!(with(&[], &[]).len(), 14);
        assert_eq!(with(&["net_admin"], &["CAP_CHOWN"]).len(), 14);
        assert_eq!(with(&["NET_ADMIN"], &["ALL"]), ["CAP_NET_ADMIN"]);
        assert_eq!(with(&["all"], &["CHOWN"]).len(), 40);
        assert_eq!(with(&["chown"], &["chown"]).len(), 14);
        assert_eq!(with(&["ALL"], &["ALL"]).len(), 41);
        assert_eq!(
            capabilities(&HostConfig { privileged: true, ..HostConfig::default() }).unwrap().len(),
            41
        );
        assert!(capability("SYS_FOO").is_err());
    }
}
