//! The allocator's unused memory goes back to the kernel (malloc_trim(3)), and it keeps less of it (mallopt(3)).

#![allow(unsafe_code)]

/// Lets all threads share so many arenas. Without it each of the first eight a processor gets one of its own, and keeps in it
/// what it once needed. For before the first thread; with another C library than glibc it does nothing.
pub fn limit_arenas(count: u16) {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes and returns plain numbers; no allocation moves.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, count.into());
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = count;
}

/// Gives back the pages that hold no allocated object. For small processes that have had a burst of work and
/// will be idle; with another C library than glibc it does nothing.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes and returns plain numbers, and moves no object that is allocated.
    unsafe {
        libc::malloc_trim(0);
    }
}
