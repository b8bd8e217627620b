//! Copying files between here and containers, as `docker cp` does it.
//!
//! A copy is a tar on its way. [`rules`] decide, from what the user wrote and what is there, into which directory
//! it is unpacked and what its first component is called; [`pack`] makes a tar of local files, [`unpack`] makes
//! local files of a tar, [`relay`] passes one container's tar on to another;
//! [`stream`] joins them to connections.

pub(crate) mod pack;
pub(crate) mod relay;
pub(crate) mod rules;
pub(crate) mod stream;
pub(crate) mod unpack;

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Where a container's extended attributes are kept in a tar.
const XATTR: &str = "SCHILY.xattr.";
/// The attribute that gives a program some of root's powers.
const CAPABILITY: &str = "security.capability";

/// Adds a link. Its target is kept as it is, where the library would tidy it.
fn append_link<W: Write>(
    tar: &mut tar::Builder<W>,
    header: &mut tar::Header,
    name: &Path,
    target: &[u8],
) -> io::Result<()> {
    if target.len() > header.as_old().linkname.len() {
        return tar.append_link(header, name, Path::new(OsStr::from_bytes(target)));
    }
    header.set_link_name_literal(target)?;
    tar.append_data(header, name, io::empty())
}

/// The path in front of an error.
fn at(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    let path = path.to_owned();
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
