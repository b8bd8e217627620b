//! How a process is scheduled, and what else the kernel keeps for it and hands on to its children.

use std::ffi::c_long;

use rustix::io::Errno;

use super::check;
use crate::{Error, Result};

/// What sched_setattr(2) sets.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scheduling {
    /// SCHED_… of linux/sched.h.
    pub policy: u32,
    /// SCHED_FLAG_… of linux/sched.h.
    pub flags: u64,
    /// For the policies that are neither real-time nor deadline.
    pub nice: i32,
    /// For the real-time policies.
    pub priority: u32,
    /// Nanoseconds, as the two that follow; for the deadline policy.
    pub runtime: u64,
    /// See `runtime`.
    pub deadline: u64,
    /// See `runtime`.
    pub period: u64,
}

/// Sets the calling process's policy.
///
/// # Errors
/// sched_setattr(2)'s: EPERM without CAP_SYS_NICE.
pub fn set_scheduling(scheduling: Scheduling) -> Result<()> {
    /// `struct sched_attr` of linux/sched/types.h, as of Linux 3.14.
    #[repr(C)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    let Scheduling { policy, flags, nice, priority, runtime, deadline, period } = scheduling;
    let size = size_of::<Attributes>() as u32;
    let attr = Attributes { size, policy, flags, nice, priority, runtime, deadline, period };
    // SAFETY: the kernel reads a struct that says its own size.
    check("sched_setattr", unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) }).map(drop)
}

/// A class (1 real-time, 2 best effort, 3 idle) and a level in it, 0 to 7.
#[derive(Debug, Clone, Copy)]
pub struct IoPriority {
    /// The class.
    pub class: u16,
    /// The level; 0 is the highest.
    pub level: u16,
}

/// Sets the calling process's input and output priority.
///
/// # Errors
/// ioprio_set(2)'s: EPERM for the real-time class without CAP_SYS_ADMIN.
pub fn set_io_priority(priority: IoPriority) -> Result<()> {
    const WHO_PROCESS: c_long = 1;
    let value = c_long::from(priority.class) << 13 | c_long::from(priority.level);
    // SAFETY: plain numbers.
    check("ioprio_set", unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, value) }).map(drop)
}

/// Sets the execution domain: personality(2).
///
/// # Errors
/// personality(2)'s.
pub fn set_personality(domain: u32) -> Result<()> {
    // SAFETY: a plain number.
    check("personality", unsafe { libc::personality(domain.into()) }.into()).map(drop)
}

/// Sets the calling thread's memory policy: the mode with its flags, and the nodes as a bit mask.
///
/// # Errors
/// set_mempolicy(2)'s.
pub fn set_memory_policy(mode: i32, nodes: &[u64]) -> Result<()> {
    // No mask, and not an empty one, is what modes without nodes take.
    let (mask, bits) =
        if nodes.is_empty() { (std::ptr::null(), 0) } else { (nodes.as_ptr(), nodes.len() * 64 + 1) };
    // SAFETY: the kernel reads `bits - 1` bits of the mask, which are there.
    let answer = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) };
    check("set_mempolicy", answer).map(drop)
}

/// Lets the calling thread run on these processors only: a bit mask.
///
/// # Errors
/// sched_setaffinity(2)'s: EINVAL when none of them is online and allowed.
pub fn set_cpus(mask: &[u64]) -> Result<()> {
    if mask.is_empty() {
        return Err(Error::new("sched_setaffinity", "no processors", Errno::INVAL));
    }
    // SAFETY: the kernel reads the mask's bytes.
    let answer = unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(mask), mask.as_ptr()) };
    check("sched_setaffinity", answer).map(drop)
}
