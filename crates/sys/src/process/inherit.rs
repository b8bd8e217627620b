//! Descriptors that this process was started with.

use std::os::fd::OwnedFd;

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use crate::{Error, Result};

/// A copy of the descriptor of this number, close-on-exec. The original stays open, and is not inherited by programs
/// that [`spawn`](super::spawn) starts.
///
/// # Errors
/// pidfd_getfd(2)'s (Linux 5.6): EBADF when there is no such descriptor.
pub fn inherited(number: i32) -> Result<OwnedFd> {
    let failed = |errno| Error::new("pidfd_getfd", number.to_string(), errno);
    // The kernel makes the copy, so nobody else's descriptor is taken over.
    let this = pidfd_open(getpid(), PidfdFlags::empty()).map_err(failed)?;
    pidfd_getfd(this, number, PidfdGetfdFlags::empty()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_copied_and_a_missing_one_told() {
        inherited(2).unwrap();
        assert_eq!(inherited(9999).unwrap_err().errno(), rustix::io::Errno::BADF.raw_os_error());
    }
}
