//! Hashing what passes.

use sha2::{Digest as _, Sha256};
use spec::Digest;

/// The digest of some bytes.
pub(crate) fn of(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}
