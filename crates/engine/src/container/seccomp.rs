//! Seccomp profiles in Docker's format: one profile for all machines and capabilities, of which a container gets the
//! part that holds for it.

use serde::{Deserialize, Deserializer};
use spec::oci::runtime::{Seccomp, SeccompArg, SeccompRule, seccomp};

use crate::Error;

/// A profile as a user writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(deserialize_with = "nullable")]
    architectures: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    arch_map: Vec<Architecture>,
    #[serde(deserialize_with = "nullable")]
    flags: Vec<String>,
    listener_path: String,
    listener_metadata: String,
    #[serde(deserialize_with = "nullable")]
    syscalls: Vec<Rule>,
}

/// An architecture and those whose system calls it understands too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Architecture {
    architecture: String,
    #[serde(deserialize_with = "nullable")]
    sub_architectures: Vec<String>,
}

/// What happens to some system calls, where `includes` and `excludes` say that it does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Rule {
    /// The older spelling of one name.
    name: String,
    #[serde(deserialize_with = "nullable")]
    names: Vec<String>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(deserialize_with = "nullable")]
    args: Vec<SeccompArg>,
    #[serde(deserialize_with = "nullable")]
    includes: Filter,
    #[serde(deserialize_with = "nullable")]
    excludes: Filter,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Filter {
    #[serde(deserialize_with = "nullable")]
    caps: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    arches: Vec<String>,
    min_kernel: Option<String>,
}

/// Go writes an empty list as `null`.
fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// What a profile's conditions are about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// The bounding set, as `CAP_…`.
    pub(crate) capabilities: &'a [String],
    /// Major and minor version.
    pub(crate) kernel: (u32, u32),
}

/// Go's and libseccomp's name of this machine's architecture.
const ARCHITECTURE: (&str, &str) = if cfg!(target_arch = "aarch64") {
    ("arm64", "SCMP_ARCH_AARCH64")
} else if cfg!(target_arch = "riscv64") {
    ("riscv64", "SCMP_ARCH_RISCV64")
} else {
    ("amd64", "SCMP_ARCH_X86_64")
};

impl Profile {
    /// Reads and checks a profile.
    ///
    /// # Errors
    /// It is no JSON, contradicts itself, or has words that libseccomp does not have.
    pub(crate) fn read(json: &str) -> Result<Self, Error> {
        let wrong = |why: String| Error::Invalid(format!("Decoding seccomp profile failed: {why}"));
        let profile: Self = serde_json::from_str(json).map_err(|e| wrong(e.to_string()))?;
        let known = |table: &[&str], word: &str, what: &str| {
            if table.contains(&word) { Ok(()) } else { Err(wrong(format!("unknown {what} {word:?}"))) }
        };
        known(&seccomp::ACTIONS, &profile.default_action, "action")?;
        if !profile.architectures.is_empty() && !profile.arch_map.is_empty() {
            return Err(Error::Invalid(
                "both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'".into(),
            ));
        }
        for flag in &profile.flags {
            known(&seccomp::FLAGS, flag, "flag")?;
        }
        for rule in &profile.syscalls {
            if !rule.name.is_empty() && !rule.names.is_empty() {
                return Err(Error::Invalid(
                    "both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'".into(),
                ));
            }
            known(&seccomp::ACTIONS, &rule.action, "action")?;
            for arg in &rule.args {
                known(&seccomp::OPERATORS, &arg.op, "operator")?;
                if arg.index > 5 {
                    return Err(wrong(format!("a system call has no argument {}", arg.index)));
                }
            }
            for filter in [&rule.includes, &rule.excludes] {
                if let Some(version) = &filter.min_kernel
                    && kernel(version).is_none()
                {
                    return Err(wrong(format!(
                        "invalid kernel version: {version}, expected \"<kernel>.<major>\""
                    )));
                }
            }
        }
        Ok(profile)
    }

    /// The part that holds here.
    pub(crate) fn resolve(&self, facts: Facts<'_>) -> Seccomp {
        let own = self.arch_map.iter().find(|a| a.architecture == ARCHITECTURE.1);
        let architectures = match own {
            Some(own) => [std::slice::from_ref(&own.architecture), &own.sub_architectures].concat(),
            None => self.architectures.clone(),
        };
        let syscalls = self
            .syscalls
            .iter()
            .filter(|rule| !rule.excludes.any(facts) && rule.includes.all(facts))
            .map(|rule| SeccompRule {
                names: if rule.name.is_empty() { rule.names.clone() } else { vec![rule.name.clone()] },
                action: rule.action.clone(),
                errno_ret: rule.errno_ret,
                args: rule.args.clone(),
            })
            .collect();
        Seccomp {
            default_action: self.default_action.clone(),
            default_errno_ret: self.default_errno_ret,
            architectures,
            flags: self.flags.clone(),
            listener_path: self.listener_path.clone(),
            listener_metadata: self.listener_metadata.clone(),
            syscalls,
        }
    }
}

impl Filter {
    fn is_since(&self, facts: Facts<'_>) -> Option<bool> {
        let least = kernel(self.min_kernel.as_deref()?)?;
        Some(facts.kernel >= least)
    }

    /// One of the conditions holds.
    fn any(&self, facts: Facts<'_>) -> bool {
        self.arches.iter().any(|a| a == ARCHITECTURE.0)
            || self.caps.iter().any(|c| facts.capabilities.contains(c))
            || self.is_since(facts) == Some(true)
    }

    /// All of the conditions hold: one of the architectures, every capability, the kernel.
    fn all(&self, facts: Facts<'_>) -> bool {
        (self.arches.is_empty() || self.arches.iter().any(|a| a == ARCHITECTURE.0))
            && self.caps.iter().all(|c| facts.capabilities.contains(c))
            && self.is_since(facts) != Some(false)
    }
}

/// The first two numbers of a kernel's version.
pub(crate) fn kernel(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(['.', '-', '+']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_decide_what_holds() {
        let profile = Profile::read(
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
                "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
                            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": null}],
                "syscalls": [
                  {"name": "read", "action": "SCMP_ACT_ALLOW", "args": null, "comment": "x"},
                  {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
                  {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
                  {"names": ["s390"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390x"]}},
                  {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
                  {"names": ["later"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "9.0"}}]}"#,
        )
        .unwrap();
        let names = |capabilities: &[String]| -> Vec<String> {
            let part = profile.resolve(Facts { capabilities, kernel: (6, 1) });
            assert_eq!(part.default_errno_ret, Some(38));
            part.syscalls.into_iter().flat_map(|r| r.names).collect()
        };
        assert_eq!(names(&[]), ["read", "clone", "ptrace"]);
        assert_eq!(names(&["CAP_SYS_ADMIN".into()]), ["read", "mount", "ptrace"]);
        let part = profile.resolve(Facts { capabilities: &[], kernel: (6, 1) });
        if cfg!(target_arch = "x86_64") {
            assert_eq!(part.architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (json, text) in [
            ("", "Decoding seccomp profile failed"),
            ("{}", "unknown action \"\""),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"action":"ALLOW"}]}"#,
                "unknown action \"ALLOW\"",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["b"],"action":"SCMP_ACT_LOG"}]}"#,
                "both 'name' and 'names'",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"x"}]}"#,
                "both 'architectures' and 'archMap'",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"action":"SCMP_ACT_LOG","includes":{"minKernel":"x"}}]}"#,
                "invalid kernel version: x",
            ),
        ] {
            let error = Profile::read(json).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn kernels_are_compared_by_number() {
        assert_eq!(kernel("6.18.5-amd64"), Some((6, 18)));
        assert_eq!(kernel("4.8"), Some((4, 8)));
        assert_eq!(kernel("x"), None);
    }
}
