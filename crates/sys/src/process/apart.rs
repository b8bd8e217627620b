//! What a child in this process's memory has for itself (clone(2), CLONE_VM): a stack, and no signals.

#![allow(unsafe_code)]

use std::ffi::c_void;

use crate::{Error, Result};

/// The stack of a child in this memory: what it does needs a few hundred bytes. The lowest page is a guard.
#[derive(Debug)]
pub(super) struct Stack {
    base: *mut c_void,
}

impl Stack {
    const SIZE: usize = 64 << 10;

    pub(super) fn new() -> Result<Self> {
        // SAFETY: a new private mapping, at an address of the kernel's choice.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                Self::SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(Error::new("mmap", "", std::io::Error::last_os_error()));
        }
        // SAFETY: the first page of the mapping made above; a failure only loses the guard.
        unsafe { libc::mprotect(base, 4096, libc::PROT_NONE) };
        Ok(Self { base })
    }

    pub(super) fn top(&self) -> *mut c_void {
        self.base.wrapping_byte_add(Self::SIZE)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; the child that ran on it has executed or exited.
        unsafe { libc::munmap(self.base, Self::SIZE) };
    }
}

/// All signals masked in this thread, until it is dropped.
pub(super) struct MaskedSignals {
    before: libc::sigset_t,
}

impl MaskedSignals {
    pub(super) fn new() -> Self {
        // SAFETY: sigset_t is plain bits; both sets are valid for the calls, which cannot fail with SIG_SETMASK.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            Self { before }
        }
    }
}

impl Drop for MaskedSignals {
    fn drop(&mut self) {
        // SAFETY: puts back the mask that `new` took.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut()) };
    }
}
