//! The seccomp profile: its words, and what a listener needs.

use super::{Outcome, fail};
use crate::oci::runtime::Seccomp;

/// What happens to a system call.
pub const ACTIONS: [&str; 9] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];
/// How an argument is compared.
pub const OPERATORS: [&str; 7] = [
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];
/// How the filter is loaded.
pub const FLAGS: [&str; 4] = [
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];
/// All that the specification knows; a machine runs a few of them.
pub const ARCHITECTURES: [&str; 23] = [
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
];

/// The kernel's largest errno (linux/err.h).
const MAX_ERRNO: u32 = 4095;
const NOTIFY: &str = "SCMP_ACT_NOTIFY";

pub(super) fn validate(profile: &Seccomp) -> Outcome {
    let known = |table: &[&str], word: &str, at: String| {
        if table.contains(&word) { Ok(()) } else { fail(at, format!("unknown value {word:?}")) }
    };
    let errno = |number: Option<u32>, at: String| match number {
        Some(number) if number > MAX_ERRNO => fail(at, format!("{number} is no errno")),
        Some(_) | None => Ok(()),
    };
    known(&ACTIONS, &profile.default_action, "linux.seccomp.defaultAction".into())?;
    errno(profile.default_errno_ret, "linux.seccomp.defaultErrnoRet".into())?;
    if profile.default_action == NOTIFY {
        return fail(
            "linux.seccomp.defaultAction",
            "SCMP_ACT_NOTIFY would have the start itself wait for the listener",
        );
    }
    for (index, word) in profile.architectures.iter().enumerate() {
        known(&ARCHITECTURES, word, format!("linux.seccomp.architectures[{index}]"))?;
    }
    for (index, word) in profile.flags.iter().enumerate() {
        known(&FLAGS, word, format!("linux.seccomp.flags[{index}]"))?;
    }
    let mut notifies = false;
    for (index, rule) in profile.syscalls.iter().enumerate() {
        let at = format!("linux.seccomp.syscalls[{index}]");
        if rule.names.is_empty() {
            return fail(format!("{at}.names"), "is empty");
        }
        known(&ACTIONS, &rule.action, format!("{at}.action"))?;
        errno(rule.errno_ret, format!("{at}.errnoRet"))?;
        notifies |= rule.action == NOTIFY;
        for (number, argument) in rule.args.iter().enumerate() {
            let at = format!("{at}.args[{number}]");
            if argument.index > 5 {
                return fail(format!("{at}.index"), format!("{} is not within 0 and 5", argument.index));
            }
            known(&OPERATORS, &argument.op, format!("{at}.op"))?;
        }
    }
    if !profile.listener_path.is_empty() && !profile.listener_path.starts_with('/') {
        return fail("linux.seccomp.listenerPath", "is not absolute");
    }
    if notifies && profile.listener_path.is_empty() {
        return fail("linux.seccomp.listenerPath", "is missing, and a rule has SCMP_ACT_NOTIFY");
    }
    if !profile.listener_metadata.is_empty() && profile.listener_path.is_empty() {
        return fail("linux.seccomp.listenerMetadata", "is of no use without a listenerPath");
    }
    let waits = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV";
    if let (false, Some(index)) = (notifies, profile.flags.iter().position(|flag| flag == waits)) {
        return fail(format!("linux.seccomp.flags[{index}]"), "is of no use without SCMP_ACT_NOTIFY");
    }
    Ok(())
}
