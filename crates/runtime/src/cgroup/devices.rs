//! Which devices a container may make, read and write.
//!
//! The rules of the configuration apply one after the other, as if each were written to v1's files. They are
//! folded into what the kernel keeps of them: a default and its exceptions. That is then written (v1) or
//! compiled (v2).

use spec::oci::runtime::DeviceRule;
use sys::cgroup::{Cgroup, DeviceAccess, DeviceException, DeviceKind, DevicePolicy, Version};

use crate::Failure;
use crate::failure::at;

/// Every container may make any node (which alone opens nothing), and use the standard devices, its terminals
/// and their multiplexer.
const ALWAYS: [(DeviceKind, Option<u32>, Option<u32>, DeviceAccess); 10] = [
    (DeviceKind::Character, None, None, DeviceAccess::MAKE),
    (DeviceKind::Block, None, None, DeviceAccess::MAKE),
    (DeviceKind::Character, Some(1), Some(3), DeviceAccess::ALL),
    (DeviceKind::Character, Some(1), Some(5), DeviceAccess::ALL),
    (DeviceKind::Character, Some(1), Some(7), DeviceAccess::ALL),
    (DeviceKind::Character, Some(1), Some(8), DeviceAccess::ALL),
    (DeviceKind::Character, Some(1), Some(9), DeviceAccess::ALL),
    (DeviceKind::Character, Some(5), Some(0), DeviceAccess::ALL),
    (DeviceKind::Character, Some(5), Some(2), DeviceAccess::ALL),
    (DeviceKind::Character, Some(136), None, DeviceAccess::ALL),
];

/// Lets the cgroup's processes use what the rules allow.
pub(crate) fn allow(cgroup: &Cgroup, rules: &[DeviceRule]) -> Result<(), Failure> {
    let policy = policy(rules)?;
    match cgroup.version() {
        Version::V1 if !cgroup.has("devices") => Ok(()),
        Version::V1 => {
            let (first, rest) = if policy.allow_by_default {
                ("devices.allow", "devices.deny")
            } else {
                ("devices.deny", "devices.allow")
            };
            cgroup.write("devices", first, "a").map_err(at("cgroup"))?;
            if policy.exceptions.is_empty() {
                return Ok(());
            }
            let lines: Vec<String> = policy.exceptions.iter().map(ToString::to_string).collect();
            cgroup.write_each("devices", rest, &lines).map_err(at("cgroup"))
        }
        Version::V2 => cgroup.restrict_devices(&policy).map_err(at("cgroup")),
    }
}

fn policy(rules: &[DeviceRule]) -> Result<DevicePolicy, Failure> {
    let mut policy = DevicePolicy { allow_by_default: false, exceptions: Vec::new() };
    for rule in rules {
        let access = access(&rule.access)?;
        let (major, minor) = (number(rule.major)?, number(rule.minor)?);
        let kinds: &[DeviceKind] = match rule.r#type.as_str() {
            "c" | "u" => &[DeviceKind::Character],
            "b" => &[DeviceKind::Block],
            "a" | "" if major.is_none() && minor.is_none() => {
                policy = DevicePolicy { allow_by_default: rule.allow, exceptions: Vec::new() };
                continue;
            }
            "a" | "" => &[DeviceKind::Character, DeviceKind::Block],
            other => return Err(Failure::new("cgroup", other, "is not a type of device")),
        };
        for kind in kinds {
            apply(&mut policy, rule.allow, DeviceException { kind: *kind, major, minor, access });
        }
    }
    for (kind, major, minor, access) in ALWAYS {
        apply(&mut policy, true, DeviceException { kind, major, minor, access });
    }
    Ok(policy)
}

/// As the kernel's devices controller does it: a rule that says what the default says removes from the
/// exception of the same device, another one adds to it.
fn apply(policy: &mut DevicePolicy, allow: bool, rule: DeviceException) {
    let same = |e: &DeviceException| (e.kind, e.major, e.minor) == (rule.kind, rule.major, rule.minor);
    let found = policy.exceptions.iter_mut().find(|e| same(e));
    match (found, allow == policy.allow_by_default) {
        (Some(exception), true) => exception.access = exception.access.without(rule.access),
        (Some(exception), false) => exception.access = exception.access.with(rule.access),
        (None, true) => {}
        (None, false) => policy.exceptions.push(rule),
    }
    policy.exceptions.retain(|exception| !exception.access.is_empty());
}

fn access(text: &str) -> Result<DeviceAccess, Failure> {
    text.chars().try_fold(DeviceAccess::empty(), |access, letter| {
        Ok(access.with(match letter {
            'r' => DeviceAccess::READ,
            'w' => DeviceAccess::WRITE,
            'm' => DeviceAccess::MAKE,
            _ => return Err(Failure::new("cgroup", text, "is not an access to a device (some of rwm)")),
        }))
    })
}

fn number(number: Option<i64>) -> Result<Option<u32>, Failure> {
    match number {
        // -1 is another way to say any.
        None | Some(-1) => Ok(None),
        Some(number) => u32::try_from(number)
            .map(Some)
            .map_err(|_| Failure::new("cgroup", number.to_string(), "is not a device number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: bool, kind: &str, major: Option<i64>, minor: Option<i64>, access: &str) -> DeviceRule {
        DeviceRule { allow, r#type: kind.into(), major, minor, access: access.into() }
    }

    fn text(rules: &[DeviceRule]) -> (bool, Vec<String>) {
        let policy = policy(rules).unwrap();
        (policy.allow_by_default, policy.exceptions.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn without_rules_the_standard_devices_remain() {
        let (allow, exceptions) = text(&[]);
        assert!(!allow);
        assert_eq!(exceptions.len(), ALWAYS.len());
        assert_eq!(exceptions[..3], ["c *:* m", "b *:* m", "c 1:3 rwm"]);
    }

    #[test]
    fn the_last_rule_on_a_device_counts() {
        let rules = [
            rule(false, "a", None, None, "rwm"),
            rule(true, "c", Some(10), Some(229), "rw"),
            rule(true, "b", Some(8), None, "r"),
            rule(false, "c", Some(10), Some(229), "w"),
        ];
        let (allow, exceptions) = text(&rules);
        assert!(!allow);
        assert_eq!(exceptions[..2], ["c 10:229 r", "b 8:* r"]);
    }

    #[test]
    fn a_privileged_container_has_no_exceptions() {
        assert_eq!(text(&[rule(true, "a", None, None, "rwm")]), (true, vec![]));
    }
}
