//! The standard streams: the caller's, or a terminal of the container's own devpts.

use std::os::fd::{AsFd, OwnedFd};

use spec::oci::runtime::ConsoleSize;
use sys::mount::{Depth, Mount};
use sys::pty;
use sys::root::Root;

use crate::failure::{at, at_path};
use crate::{Failure, Io};

/// Whether the terminal becomes /dev/console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Console {
    /// It does: init's.
    Bind,
    /// It does not: an exec's.
    Leave,
}

/// Gives the streams to the root of a user namespace, who can hand them on: ids of the host's are nobody's there.
pub(crate) fn hand_over(io: &Io, uid: u32, gid: u32) {
    match io {
        Io::Streams(stdio) => {
            let streams = [stdio.stdin.as_fd(), stdio.stdout.as_fd(), stdio.stderr.as_fd()];
            streams.into_iter().for_each(|fd| pty::give_pipe(fd, uid, Some(gid)));
        }
        Io::Inherited => pty::give_own_pipes(uid, Some(gid)),
        Io::Terminal => {}
    }
}

/// Wires fds 0, 1 and 2; gives the controlling end of a new terminal. The streams belong to `uid` then, so that
/// the user can open them again by `/dev/stdout`.
pub(crate) fn wire(
    root: &Root,
    io: &Io,
    uid: u32,
    size: Option<ConsoleSize>,
    console: Console,
) -> Result<Option<OwnedFd>, Failure> {
    let pair = match io {
        Io::Streams(stdio) => {
            let streams = [stdio.stdin.as_fd(), stdio.stdout.as_fd(), stdio.stderr.as_fd()];
            if uid != 0 {
                // /dev/null and files of the host stay as they are.
                streams.into_iter().for_each(|fd| pty::give_pipe(fd, uid, None));
            }
            pty::set_standard(streams[0], streams[1], streams[2]).map_err(at("stdio"))?;
            return Ok(None);
        }
        Io::Inherited => {
            if uid != 0 {
                pty::give_own_pipes(uid, None);
            }
            return Ok(None);
        }
        Io::Terminal => {
            let devpts = root.dir("/dev/pts").map_err(at_path("terminal", "/dev/pts"))?;
            pty::open(devpts.as_fd()).map_err(at_path("terminal", "/dev/pts"))?
        }
    };
    if let Some(size) = size.filter(|size| size.height > 0 && size.width > 0) {
        pty::resize(pair.controller.as_fd(), size.height, size.width).map_err(at("terminal"))?;
    }
    pty::give(pair.terminal.as_fd(), uid).map_err(at("terminal"))?;
    if console == Console::Bind {
        let failed = at_path("terminal", "/dev/console");
        let copy = Mount::copy_of(pair.terminal.as_fd(), "terminal", Depth::One).map_err(&failed)?;
        let target = root.touch("/dev/console", 0o755, 0o600).map_err(&failed)?;
        copy.attach(target.as_fd()).map_err(&failed)?;
    }
    pty::control(pair.terminal.as_fd()).map_err(at("terminal"))?;
    let terminal = pair.terminal.as_fd();
    pty::set_standard(terminal, terminal, terminal).map_err(at("stdio"))?;
    Ok(Some(pair.controller))
}
