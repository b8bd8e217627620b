//! The allocator's unused memory goes back to the kernel (malloc_trim(3)).

#![allow(unsafe_code)]

/// Gives back the pages that hold no allocated object. For small processes that have had a burst of work and
/// will be idle; with another C library than glibc it does nothing.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes and returns plain numbers, and moves no object that is allocated.
    unsafe {
        libc::malloc_trim(0);
    }
}
