//! The configuration's seccomp profile, compiled.

use std::os::fd::AsRawFd;

use spec::oci::runtime::{Seccomp, SeccompArg, SeccompRule};
use sys::seccomp::{self, Action, Comparison, Condition, Instruction, Profile, Rule};

use crate::failure::at;
use crate::{Failure, handshake};

/// SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, which is for filters with a listener only.
const WAIT_KILLABLE: u32 = 1 << 5;

/// A compiled profile. Compiling takes half a millisecond: who makes many containers of one profile keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    program: Vec<Instruction>,
    flags: u32,
    /// Whoever decides about calls with `SCMP_ACT_NOTIFY`.
    pub(crate) listener: Option<Listener>,
}

/// A supervisor's socket, and what it is told beside the container's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listener {
    pub(crate) path: String,
    pub(crate) metadata: String,
}

impl Filter {
    /// Compiles a profile that is valid otherwise.
    ///
    /// # Errors
    /// A word that is not known; step `seccomp`.
    pub fn compile(profile: &Seccomp) -> Result<Self, Failure> {
        let default = action(&profile.default_action, profile.default_errno_ret)?;
        let mut rules = Vec::new();
        for one in &profile.syscalls {
            rules.extend(these_rules(one)?);
        }
        let listed = |name: &&'static str| profile.architectures.iter().any(|listed| listed == name);
        // Without a list it is this machine's own alone, as in runc.
        let other_abis = sys::seccomp::ARCHITECTURES.into_iter().filter(listed).collect();
        let program = seccomp::compile(&Profile { default, rules, other_abis });
        let flags = profile.flags.iter().try_fold(0, |bits, name| Ok(bits | flag(name)?))?;
        let notifies = profile.syscalls.iter().any(|rule| rule.action == "SCMP_ACT_NOTIFY");
        let listener = notifies.then(|| Listener {
            path: profile.listener_path.clone(),
            metadata: profile.listener_metadata.clone(),
        });
        Ok(Self { program, flags, listener })
    }

    /// The bytes by which another process of this machine knows it; without a listener.
    pub fn to_bytes(&self) -> Vec<u8> {
        let program = self.program.iter().flat_map(|one| one.to_bytes());
        self.flags.to_ne_bytes().into_iter().chain(program).collect()
    }

    /// The filter of these bytes; `None` if they are none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (flags, program) = bytes.split_first_chunk()?;
        let (program, rest) = program.as_chunks();
        let program: Vec<_> = program.iter().map(|one| Instruction::from_bytes(*one)).collect();
        let filter = Self { program, flags: u32::from_ne_bytes(*flags), listener: None };
        (rest.is_empty() && !filter.program.is_empty()).then_some(filter)
    }

    /// From now on every system call of this process passes through it. What a listener would decide is ENOSYS.
    pub(crate) fn load_alone(&self) -> Result<(), Failure> {
        seccomp::load(&self.program, self.flags & !WAIT_KILLABLE).map_err(at("seccomp"))
    }

    /// From now on every system call of this process passes through it. The listener's descriptor is given to the
    /// caller, who sends it on.
    pub(crate) fn load(&self, caller: &handshake::Child) -> Result<(), Failure> {
        if self.listener.is_none() {
            return seccomp::load(&self.program, self.flags).map_err(at("seccomp"));
        }
        let fd = seccomp::load_with_listener(&self.program, self.flags).map_err(at("seccomp"))?;
        caller.listen(fd.as_raw_fd()).map_err(crate::failure::failed("seccomp", "listener"))?;
        // The caller copies it until this process has executed its program, which closes it here.
        std::mem::forget(fd);
        Ok(())
    }
}

fn unknown(what: &str, name: &str) -> Failure {
    Failure::new("seccomp", name, format!("unknown {what}"))
}

/// All conditions of a rule must hold; but where two are on one argument, any of them is enough, as in runc.
fn these_rules(rule: &SeccompRule) -> Result<Vec<Rule>, Failure> {
    let conditions = rule.args.iter().map(condition).collect::<Result<Vec<_>, _>>()?;
    let arguments: std::collections::BTreeSet<u8> = conditions.iter().map(|c| c.argument).collect();
    let action = action(&rule.action, rule.errno_ret)?;
    let with = |conditions| Rule { names: rule.names.clone(), action, conditions };
    Ok(match arguments.len() == conditions.len() {
        true => vec![with(conditions)],
        false => conditions.into_iter().map(|condition| with(vec![condition])).collect(),
    })
}

fn action(name: &str, number: Option<u32>) -> Result<Action, Failure> {
    const EPERM: u16 = 1;
    let number = match number {
        None => EPERM,
        Some(number) => u16::try_from(number).map_err(|_| unknown("errno", &number.to_string()))?,
    };
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_ERRNO" => Action::Errno(number),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_TRACE" => Action::Trace(number),
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_NOTIFY" => Action::Notify,
        other => return Err(unknown("action", other)),
    })
}

fn condition(arg: &SeccompArg) -> Result<Condition, Failure> {
    let argument = u8::try_from(arg.index).ok().filter(|index| *index < 6);
    let argument = argument.ok_or_else(|| unknown("argument", &arg.index.to_string()))?;
    let comparison = match arg.op.as_str() {
        "SCMP_CMP_EQ" => Comparison::Equal(arg.value),
        "SCMP_CMP_NE" => Comparison::NotEqual(arg.value),
        "SCMP_CMP_LT" => Comparison::Less(arg.value),
        "SCMP_CMP_LE" => Comparison::LessOrEqual(arg.value),
        "SCMP_CMP_GT" => Comparison::Greater(arg.value),
        "SCMP_CMP_GE" => Comparison::GreaterOrEqual(arg.value),
        "SCMP_CMP_MASKED_EQ" => Comparison::MaskedEqual(arg.value, arg.value_two.unwrap_or(0)),
        other => return Err(unknown("comparison", other)),
    };
    Ok(Condition { argument, comparison })
}

/// linux/seccomp.h: SECCOMP_FILTER_FLAG_…
pub(crate) fn flag(name: &str) -> Result<u32, Failure> {
    Ok(match name {
        "SECCOMP_FILTER_FLAG_TSYNC" => 1,
        "SECCOMP_FILTER_FLAG_LOG" => 1 << 1,
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => 1 << 2,
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => WAIT_KILLABLE,
        other => return Err(unknown("flag", other)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiled_profile_travels() {
        let profile = spec::defaults::default_profile(&["CAP_SYS_ADMIN".to_owned()]);
        let filter = Filter::compile(&profile).unwrap();
        let bytes = filter.to_bytes();
        assert_eq!(Filter::from_bytes(&bytes), Some(filter));
        assert_eq!(Filter::from_bytes(&bytes[1..]), None);
        assert_eq!(Filter::from_bytes(&bytes[..4]), None);
    }

    #[test]
    fn conditions_on_one_argument_are_alternatives() {
        let argument = |index, value| SeccompArg { index, value, value_two: None, op: "SCMP_CMP_EQ".into() };
        let rules = |args: &[SeccompArg]| {
            let rule = SeccompRule {
                names: vec!["read".into()],
                action: "SCMP_ACT_ALLOW".into(),
                args: args.to_vec(),
                errno_ret: None,
            };
            these_rules(&rule).unwrap().iter().map(|rule| rule.conditions.len()).collect::<Vec<_>>()
        };
        assert_eq!(rules(&[]), [0]);
        assert_eq!(rules(&[argument(0, 1), argument(1, 2)]), [2]);
        assert_eq!(rules(&[argument(0, 1), argument(0, 2), argument(1, 3)]), [1, 1, 1]);
    }
}
