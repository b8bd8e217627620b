//! ADD's archives: told by content, unpacked into the destination.

use std::fs::File;
use std::io::Seek;

use store::archive::{Existing, Owners, Reader, Unpack, Whiteouts, unpack};
use store::inflate;
use sys::root::Root;

use super::place::Plan;
use super::tree::Source;
use crate::error::{Error, Result};

impl Plan {
    /// Unpacks a source that is an archive below the destination; `false` when it is none.
    pub(crate) fn unpack(&self, root: &Root, source: &Source) -> Result<bool> {
        let Some(mut file) = source.open()? else { return Ok(false) };
        if !is_archive(&mut file) {
            return Ok(false);
        }
        file.rewind().map_err(|e| sys::Error::new("seek", source.path.clone(), e))?;
        let (_, inflated) =
            inflate(&mut file).map_err(|e| sys::Error::new("inflate", source.path.clone(), e))?;
        self.create_dirs(root, &self.destination)?;
        let how = Unpack {
            base: &self.destination,
            whiteouts: Whiteouts::Literal,
            owner: self.owner,
            owners: Owners::default(),
            existing: Existing::GivesWay,
        };
        unpack(inflated, root, &how).map_err(Error::from)?;
        Ok(true)
    }
}

/// Whether a file, inflated, begins with an archive's entry.
fn is_archive(file: &mut File) -> bool {
    let Ok((_, inflated)) = inflate(file) else { return false };
    matches!(Reader::new(inflated).entry(), Ok(Some(_)))
}
