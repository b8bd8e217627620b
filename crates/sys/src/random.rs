//! Random bytes (getrandom(2)).

/// `N` random bytes, from the kernel's generator.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut buffer = [0; N];
    let mut filled = 0;
    while filled < N {
        // getrandom without flags blocks until the pool is ready and then fails only with EINTR.
        if let Ok(n) = rustix::rand::getrandom(&mut buffer[filled..], rustix::rand::GetRandomFlags::empty()) {
            filled += n;
        }
    }
    buffer
}
