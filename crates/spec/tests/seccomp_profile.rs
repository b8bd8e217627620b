//! Our default seccomp profile decides as Docker's published one does.
//!
//! The profile is data of the developers' shared folder. A user's checkout does not have it: there the test says so
//! and does nothing; in CI its absence is a failure.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use spec::defaults::{ALL_CAPABILITIES, CAPABILITIES, default_profile};

/// Name → the conditions under which it is allowed, each a text; an unconditional one is empty.
type Decisions = BTreeMap<String, BTreeSet<String>>;

fn ours(capabilities: &[&str]) -> Decisions {
    let capabilities: Vec<String> = capabilities.iter().map(|c| (*c).to_owned()).collect();
    let mut decisions = Decisions::new();
    for rule in default_profile(&capabilities).syscalls {
        let condition = match rule.action.as_str() {
            "SCMP_ACT_ALLOW" => rule.args.first().map_or_else(String::new, |a| {
                format!("{} {} {} {}", a.index, a.value, a.value_two.unwrap_or(0), a.op)
            }),
            action => format!("{action} {:?}", rule.errno_ret),
        };
        for name in rule.names {
            decisions.entry(name).or_default().insert(condition.clone());
        }
    }
    decisions
}

fn published(profile: &Value, capabilities: &[&str]) -> Decisions {
    let words = |v: &Value| -> Vec<String> {
        v.as_array().into_iter().flatten().filter_map(|w| w.as_str().map(str::to_owned)).collect()
    };
    let mut decisions = Decisions::new();
    for rule in profile["syscalls"].as_array().unwrap() {
        let has = |name: &String| capabilities.contains(&name.as_str());
        let here = |name: &String| name == "amd64";
        let (includes, excludes) = (&rule["includes"], &rule["excludes"]);
        let wanted = words(&includes["caps"]);
        let wanted_here = words(&includes["arches"]);
        if (!wanted.is_empty() && !wanted.iter().any(has))
            || (!wanted_here.is_empty() && !wanted_here.iter().any(here))
            || words(&excludes["caps"]).iter().any(has)
            || words(&excludes["arches"]).iter().any(here)
        {
            continue;
        }
        let condition = match rule["action"].as_str().unwrap() {
            "SCMP_ACT_ALLOW" => rule["args"].get(0).map_or_else(String::new, |a| {
                let number = |key: &str| a[key].as_u64().unwrap_or(0);
                format!(
                    "{} {} {} {}",
                    number("index"),
                    number("value"),
                    number("valueTwo"),
                    a["op"].as_str().unwrap()
                )
            }),
            action => format!("{action} {:?}", rule["errnoRet"].as_u64()),
        };
        for name in words(&rule["names"]) {
            decisions.entry(name).or_default().insert(condition.clone());
        }
    }
    decisions
}

#[test]
#[cfg(target_arch = "x86_64")]
fn decides_as_the_published_profile() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/spec/seccomp-default.json");
    let Ok(text) = std::fs::read_to_string(&file) else {
        assert!(std::env::var_os("CI").is_none(), "CI has the shared folder: {} is missing", file.display());
        eprintln!("not checked: {} is not here", file.display());
        return;
    };
    let profile: Value = serde_json::from_str(&text).unwrap();
    for capabilities in [&CAPABILITIES[..], &[], &ALL_CAPABILITIES[..], &["CAP_SYS_PTRACE", "CAP_SYSLOG"]] {
        assert_eq!(ours(capabilities), published(&profile, capabilities), "with {capabilities:?}");
    }
}
