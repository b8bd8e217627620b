//! Capabilities of a process (capabilities(7)), and the change of user that goes with them.

use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::{Error, Result};

/// A set of capabilities: bit n is capability number n (linux/capability.h).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Set(pub u64);

impl Set {
    /// With this capability too.
    #[must_use]
    pub const fn with(self, number: u32) -> Self {
        Self(self.0 | 1 << number)
    }

    /// Whether this one is in the set.
    pub const fn has(self, number: u32) -> bool {
        self.0 & 1 << number != 0
    }

    /// Those that are in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// The calling thread's sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sets {
    /// What counts now.
    pub effective: Set,
    /// What can be made effective.
    pub permitted: Set,
    /// What execve keeps for programs with file capabilities.
    pub inheritable: Set,
}

/// The sets of the calling thread.
///
/// # Errors
/// capget(2)'s.
pub fn current() -> Result<Sets> {
    let sets = rustix::thread::capabilities(None).map_err(|errno| Error::new("capget", "", errno))?;
    Ok(Sets {
        effective: Set(sets.effective.bits()),
        permitted: Set(sets.permitted.bits()),
        inheritable: Set(sets.inheritable.bits()),
    })
}

/// Sets them.
///
/// # Errors
/// capset(2)'s.
pub fn set(sets: Sets) -> Result<()> {
    let bits = |set: Set| CapabilitySet::from_bits_retain(set.0);
    let sets = CapabilitySets {
        effective: bits(sets.effective),
        permitted: bits(sets.permitted),
        inheritable: bits(sets.inheritable),
    };
    rustix::thread::set_capabilities(None, sets).map_err(|errno| Error::new("capset", "", errno))
}

/// Takes everything but `keep` from the bounding set: no later execve can give it back.
///
/// # Errors
/// prctl(2)'s: EPERM without CAP_SETPCAP.
pub fn bound(keep: Set) -> Result<()> {
    for number in (0..64).filter(|n| !keep.has(*n)) {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            // The first number that this kernel does not know.
            Err(Errno::INVAL) => return Ok(()),
            Err(errno) => return Err(Error::new("prctl", "PR_CAPBSET_DROP", errno)),
        }
    }
    Ok(())
}

/// Makes the ambient set exactly this; each must be permitted and inheritable.
///
/// # Errors
/// prctl(2)'s.
pub fn set_ambient(ambient: Set) -> Result<()> {
    let failed = |errno| Error::new("prctl", "PR_CAP_AMBIENT", errno);
    rustix::thread::clear_ambient_capability_set().map_err(failed)?;
    for number in (0..64).filter(|n| ambient.has(*n)) {
        let one = CapabilitySet::from_bits_retain(1 << number);
        rustix::thread::configure_capability_in_ambient_set(one, true).map_err(failed)?;
    }
    Ok(())
}

/// Becomes another user, by raw system calls (the C library's wait for other threads). Permitted capabilities
/// stay: the caller narrows them with [`set`] next.
///
/// # Errors
/// setgroups(2)'s, setresgid(2)'s, setresuid(2)'s.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Result<()> {
    let failed = |step| move |errno| Error::new(step, "", errno);
    let groups: Vec<Gid> = groups.iter().map(|g| Gid::from_raw(*g)).collect();
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::thread::set_keep_capabilities(true).map_err(failed("prctl"))?;
    rustix::thread::set_thread_groups(&groups).map_err(failed("setgroups"))?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(failed("setresgid"))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(failed("setresuid"))?;
    rustix::thread::set_keep_capabilities(false).map_err(failed("prctl"))
}

/// Becomes another user of the file system: what the thread makes from now on belongs to that user. It may all that it
/// could before, and can become root again.
///
/// # Errors
/// setresuid(2)'s and capset(2)'s.
pub fn act_as(uid: u32, gid: u32) -> Result<()> {
    let failed = |step| move |errno| Error::new(step, "", errno);
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let before = current()?;
    // The real and the saved user stay: who may send it signals, and the permitted capabilities.
    rustix::thread::set_thread_res_gid(Gid::ROOT, gid, Gid::ROOT).map_err(failed("setresgid"))?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, uid, Uid::ROOT).map_err(failed("setresuid"))?;
    set(before)
}

/// Does something as another user of the file system ([`act_as`]), in a thread of its own.
///
/// # Errors
/// As of [`act_as`].
pub fn acting_as<T: Send>(uid: u32, gid: u32, work: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| act_as(uid, gid).map(|()| work()));
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// From now on execve gives no privilege that this process has not (PR_SET_NO_NEW_PRIVS).
///
/// # Errors
/// prctl(2)'s.
pub fn set_no_new_privileges() -> Result<()> {
    rustix::thread::set_no_new_privs(true).map_err(|errno| Error::new("prctl", "PR_SET_NO_NEW_PRIVS", errno))
}
