//! A new tmpfs begins with what the image has at its place.

use std::io;

use sys::mount::Mount;
use sys::root::{Access, Dir, Kind, OpenFile, Root};

/// As deep as a tree may be; deeper is an attack on our stack.
const DEPTH: usize = 64;

/// Copies what is below `from` to the top of a mount that is attached nowhere yet.
pub(super) fn copy(from: &Dir, to: &Mount) -> Result<(), sys::Error> {
    let to = Root::from_fd(to.open_top()?, "tmpfs");
    descend(from, to.top(), 0)
}

fn descend(from: &Dir, to: &Dir, depth: usize) -> Result<(), sys::Error> {
    if depth == DEPTH {
        return Err(sys::Error::new("copy up", "too deep", io::Error::from_raw_os_error(40)));
    }
    for entry in from.entries()? {
        let name = &entry.name;
        let found = from.metadata(name)?;
        match found.kind {
            Kind::Directory => {
                let made = to.create_dir_or_open(name, found.mode & 0o7777)?;
                descend(&from.dir(name)?, &made, depth + 1)?;
                made.set_owner(found.uid, found.gid)?;
                made.set_mode(found.mode & 0o7777)?;
            }
            Kind::File => {
                let mut source = from.open_file(name, Access::Read, 0)?;
                let mut target = to.open_file(name, Access::CreateNew, 0o600)?;
                io::copy(&mut source, &mut target)
                    .map_err(|e| sys::Error::new("copy up", name.to_string_lossy(), e))?;
                target.set_owner(found.uid, found.gid)?;
                target.set_mode(found.mode & 0o7777)?;
            }
            Kind::Symlink => {
                to.symlink(&from.read_link(name)?, name)?;
                to.chown(name, found.uid, found.gid)?;
            }
            kind => {
                to.make_node(name, kind, found.mode & 0o7777, found.major, found.minor)?;
                to.chown(name, found.uid, found.gid)?;
            }
        }
    }
    Ok(())
}
