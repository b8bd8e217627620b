//! Resource limits of the container's processes (setrlimit(2)).
//!
//! Raising a hard limit takes CAP_SYS_RESOURCE. Without it a limit is what it may be at most: a container that asks
//! for more descriptors than this host gives still runs, and who made it is told by [`lowered`].

use std::fmt;

use spec::oci::runtime::{Process, Rlimit};
use sys::process::Limit;

use crate::Failure;
use crate::failure::at_path;

const SYS_RESOURCE: u32 = 24;

/// A limit that is lower than what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lowered {
    /// `RLIMIT_NOFILE` and so on.
    pub name: String,
    /// The hard limit that was asked for; `u64::MAX` is unlimited.
    pub asked: u64,
    /// The hard limit that the process gets.
    pub given: u64,
}

impl fmt::Display for Lowered {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, asked, given } = self;
        match *asked {
            u64::MAX => write!(out, "{name} stays at {given}: removing the limit takes CAP_SYS_RESOURCE"),
            asked => write!(out, "{name} stays at {given}: raising it to {asked} takes CAP_SYS_RESOURCE"),
        }
    }
}

/// The limits of `process` that this process could not raise.
///
/// # Errors
/// Step `rlimit` for an unknown name, step `capabilities` when capget(2) fails.
pub fn lowered(process: &Process) -> Result<Vec<Lowered>, Failure> {
    let mut lowered = Vec::new();
    for limit in &process.rlimits {
        let given = allowed(limit)?;
        if given.hard < limit.hard {
            lowered.push(Lowered { name: limit.r#type.clone(), asked: limit.hard, given: given.hard });
        }
    }
    Ok(lowered)
}

/// Sets them for this process, and with it for all that come from it.
pub(crate) fn set_all(process: &Process) -> Result<(), Failure> {
    for limit in &process.rlimits {
        let Rlimit { soft, hard, .. } = allowed(limit)?;
        sys::process::set_limit(by_name(limit)?, soft, hard).map_err(at_path("rlimit", &limit.r#type))?;
    }
    Ok(())
}

/// As far as this process may.
fn allowed(limit: &Rlimit) -> Result<Rlimit, Failure> {
    let (_, highest) = sys::process::limit(by_name(limit)?);
    if limit.hard <= highest {
        return Ok(limit.clone());
    }
    let held = sys::caps::current().map_err(crate::failure::at("capabilities"))?.effective;
    let highest = if held.has(SYS_RESOURCE) { u64::MAX } else { highest };
    Ok(Rlimit { soft: limit.soft.min(highest), hard: limit.hard.min(highest), ..limit.clone() })
}

fn by_name(limit: &Rlimit) -> Result<Limit, Failure> {
    Limit::by_name(&limit.r#type).ok_or_else(|| Failure::new("rlimit", &limit.r#type, "unknown limit"))
}
