//! ADD's archives: told by content, unpacked into the destination.

use sys::root::Root;

use super::place::Plan;
use super::tree::Source;
use crate::error::Result;

impl Plan {
    /// Unpacks a source that is an archive below the destination; `false` when it is none.
    pub(crate) fn unpack(&self, _root: &Root, _source: &Source) -> Result<bool> {
        Ok(false)
    }
}
