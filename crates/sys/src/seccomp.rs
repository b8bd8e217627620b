//! A seccomp profile becomes a BPF filter, and is loaded (seccomp(2)).
//!
//! The filter is one program for all ABIs of the architecture. It looks at the ABI, then finds the system call's
//! number by bisection over ranges of numbers with the same decision, so that a call costs about eight
//! instructions; the kernel (5.11) also remembers which numbers are always allowed. Numbers newer than any this
//! room knows answer ENOSYS where the default is an errno, so that programs fall back to older calls.

#![allow(unsafe_code)]

mod compile;
mod tables;

use std::os::fd::{FromRawFd, OwnedFd};

use crate::{Error, Result};

pub use compile::compile;

/// What happens to a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is carried out.
    Allow,
    /// It answers this errno.
    Errno(u16),
    /// Its thread is killed.
    KillThread,
    /// Its process is killed.
    KillProcess,
    /// Its thread gets SIGSYS.
    Trap,
    /// A tracer decides; this is its message. Without a tracer: ENOSYS.
    Trace(u16),
    /// It is carried out and logged.
    Log,
    /// A listener decides (SECCOMP_RET_USER_NOTIF).
    Notify,
}

/// How an argument is compared, as an unsigned 64-bit number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Equal to.
    Equal(u64),
    /// Not equal to.
    NotEqual(u64),
    /// Less than.
    Less(u64),
    /// Less than or equal to.
    LessOrEqual(u64),
    /// Greater than.
    Greater(u64),
    /// Greater than or equal to.
    GreaterOrEqual(u64),
    /// With this mask, equal to this value.
    MaskedEqual(u64, u64),
}

/// One condition on one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// 0 to 5.
    pub argument: u8,
    /// What must hold of it.
    pub comparison: Comparison,
}

/// What happens to the named system calls when all conditions hold. Several rules for one call: the first whose
/// conditions hold decides; one without conditions comes last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Names; those unknown on an ABI are left out there.
    pub names: Vec<String>,
    /// What happens.
    pub action: Action,
    /// All must hold.
    pub conditions: Vec<Condition>,
}

/// A whole profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// For calls that no rule decides.
    pub default: Action,
    /// The rules.
    pub rules: Vec<Rule>,
    /// Of the ABIs that this machine runs beside its own ([`ARCHITECTURES`]), those whose calls the rules are for
    /// too. Calls of the others kill the process.
    pub other_abis: Vec<&'static str>,
}

/// The ABIs whose calls a filter can tell apart on this machine, by libseccomp's names.
#[cfg(target_arch = "x86_64")]
pub const ARCHITECTURES: [&str; 3] = ["SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"];
/// The ABIs whose calls a filter can tell apart on this machine, by libseccomp's names.
#[cfg(target_arch = "aarch64")]
pub const ARCHITECTURES: [&str; 1] = ["SCMP_ARCH_AARCH64"];

/// One instruction of classic BPF (linux/filter.h, `sock_filter`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    code: u16,
    jump_true: u8,
    jump_false: u8,
    k: u32,
}

impl Instruction {
    /// Its eight bytes, as another process of this machine reads them with [`Instruction::from_bytes`].
    pub fn to_bytes(self) -> [u8; 8] {
        let ([a, b], [c, d, e, f]) = (self.code.to_ne_bytes(), self.k.to_ne_bytes());
        [a, b, self.jump_true, self.jump_false, c, d, e, f]
    }

    /// The instruction of these bytes.
    pub fn from_bytes([a, b, jump_true, jump_false, c, d, e, f]: [u8; 8]) -> Self {
        let (code, k) = (u16::from_ne_bytes([a, b]), u32::from_ne_bytes([c, d, e, f]));
        Self { code, jump_true, jump_false, k }
    }
}

/// As [`load`]; the answer is a descriptor on which a supervisor is told of calls with [`Action::Notify`]
/// (seccomp_unotify(2)), close-on-exec.
///
/// # Errors
/// As [`load`]'s; EBUSY when a filter with such a descriptor is loaded already.
pub fn load_with_listener(program: &[Instruction], flags: u32) -> Result<OwnedFd> {
    const NEW_LISTENER: u32 = 1 << 3;
    let fd = load_any(program, flags | NEW_LISTENER)?;
    // SAFETY: with this flag the answer is a new descriptor, which is ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Which of the SECCOMP_FILTER_FLAG_ bits this kernel knows, asked with a filter at an invalid address (EFAULT).
pub fn knows_flag(flag: u32) -> bool {
    // SAFETY: the null filter is refused before it is read; nothing is loaded.
    let answer = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flag, std::ptr::null::<u8>())
    };
    answer < 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

/// Loads a filter for the calling thread. Its children inherit it; it cannot be removed.
///
/// `flags`: SECCOMP_FILTER_FLAG_ bits, such as LOG or SPEC_ALLOW. The thread needs no_new_privs or CAP_SYS_ADMIN.
///
/// # Errors
/// seccomp(2)'s: EACCES without either, EINVAL for a program that the kernel refuses.
pub fn load(program: &[Instruction], flags: u32) -> Result<()> {
    load_any(program, flags).map(drop)
}

fn load_any(program: &[Instruction], flags: u32) -> Result<i32> {
    #[repr(C)]
    struct SockFprog {
        len: u16,
        filter: *const Instruction,
    }
    let len = u16::try_from(program.len())
        .map_err(|_| Error::new("seccomp", "a filter of too many instructions", rustix::io::Errno::INVAL))?;
    let fprog = SockFprog { len, filter: program.as_ptr() };
    // SAFETY: `fprog` has the layout of struct sock_fprog and points at `len` instructions with the layout of
    // struct sock_filter, all alive during the call; the kernel copies them.
    let answer =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const fprog) };
    if answer < 0 {
        return Err(Error::new("seccomp", "", std::io::Error::last_os_error()));
    }
    Ok(answer as i32)
}
