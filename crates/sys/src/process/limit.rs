//! Resource limits of this process (getrlimit(2)).

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
