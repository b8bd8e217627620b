//! Resource limits of this process (getrlimit(2)).

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Resource, Rlimit};

use crate::{Error, Result};

/// A kind of limit.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    name: &'static str,
    resource: Resource,
}

const LIMITS: [(&str, Resource); 16] = [
    ("RLIMIT_AS", Resource::As),
    ("RLIMIT_CORE", Resource::Core),
    ("RLIMIT_CPU", Resource::Cpu),
    ("RLIMIT_DATA", Resource::Data),
    ("RLIMIT_FSIZE", Resource::Fsize),
    ("RLIMIT_LOCKS", Resource::Locks),
    ("RLIMIT_MEMLOCK", Resource::Memlock),
    ("RLIMIT_MSGQUEUE", Resource::Msgqueue),
    ("RLIMIT_NICE", Resource::Nice),
    ("RLIMIT_NOFILE", Resource::Nofile),
    ("RLIMIT_NPROC", Resource::Nproc),
    ("RLIMIT_RSS", Resource::Rss),
    ("RLIMIT_RTPRIO", Resource::Rtprio),
    ("RLIMIT_RTTIME", Resource::Rttime),
    ("RLIMIT_SIGPENDING", Resource::Sigpending),
    ("RLIMIT_STACK", Resource::Stack),
];

impl Limit {
    /// By its name in getrlimit(2): `RLIMIT_NOFILE`.
    pub fn by_name(name: &str) -> Option<Self> {
        LIMITS
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(name, resource)| Self { name, resource: *resource })
    }
}

/// The soft and the hard limit; `u64::MAX` is unlimited.
pub fn limit(limit: Limit) -> (u64, u64) {
    let now = rustix::process::getrlimit(limit.resource);
    (now.current.unwrap_or(u64::MAX), now.maximum.unwrap_or(u64::MAX))
}

/// Sets both; `u64::MAX` is unlimited.
///
/// # Errors
/// setrlimit(2)'s: EPERM for a higher hard limit without CAP_SYS_RESOURCE.
pub fn set_limit(limit: Limit, soft: u64, hard: u64) -> Result<()> {
    let bound = |value| (value != u64::MAX).then_some(value);
    rustix::process::setrlimit(limit.resource, Rlimit { current: bound(soft), maximum: bound(hard) })
        .map_err(|errno| Error::new("setrlimit", limit.name, errno))
}

/// The soft limit of descriptors before [`raise_descriptor_limit`]; 0 while it is as it was.
static SOFT_DESCRIPTORS: AtomicU64 = AtomicU64::new(0);

/// Lets this process have as many descriptors as it may. Programs that [`spawn`](super::spawn) starts, and with them
/// all containers, get the soft limit that was there before: some programs are slow with a large one (they close every
/// number up to it), others (select(2)) break.
///
/// # Errors
/// setrlimit(2)'s.
pub fn raise_descriptor_limit() -> Result<()> {
    let now = rustix::process::getrlimit(Resource::Nofile);
    if now.current == now.maximum {
        return Ok(());
    }
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum })
        .map_err(|errno| Error::new("setrlimit", "RLIMIT_NOFILE", errno))?;
    SOFT_DESCRIPTORS.store(now.current.unwrap_or(0), Ordering::Relaxed);
    Ok(())
}

/// Soft and hard limit of descriptors for a new program, when they are not this process's own.
pub(super) fn descriptors_of_children() -> Option<(u64, u64)> {
    match SOFT_DESCRIPTORS.load(Ordering::Relaxed) {
        0 => None,
        soft => Some((soft, rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX))),
    }
}
