//! A container's terminal: handed to whoever asked for it, or shown on our own.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use runtime::Child;
use sys::poll::{self, Epoll, Interest, Ready};
use sys::pty::{self, Raw};
use sys::scm::{self, Wait};

use super::words;

/// Where the controlling end goes.
pub(super) enum Target {
    /// There is none, or it stays here.
    Here,
    /// Through this socket.
    Socket(PathBuf),
}

impl Target {
    pub(super) fn of(socket: Option<&str>, wanted: bool, foreground: bool) -> Result<Self, String> {
        match socket.filter(|path| !path.is_empty()) {
            Some(path) if wanted => Ok(Self::Socket(path.into())),
            Some(_) => Err("cannot use console socket if runtime will not detach or allocate tty".into()),
            None if wanted && !foreground => {
                Err("cannot allocate tty if runtime will detach without setting console socket".into())
            }
            None => Ok(Self::Here),
        }
    }

    /// Hands it over.
    pub(super) fn send(&self, child: &Child) -> Result<(), String> {
        let (Self::Socket(path), Some(console)) = (self, &child.console) else { return Ok(()) };
        let socket = scm::connect(Path::new(path)).map_err(words)?;
        scm::send(&socket, b"/dev/ptmx", &[console.as_fd()], Wait::Yes).map(drop).map_err(words)
    }
}

const CONSOLE: u64 = 2;
const INPUT: u64 = 3;

/// Our own terminal shows the container's.
pub(super) struct Screen {
    console: File,
    buffer: Vec<u8>,
    /// Our terminal's settings come back with the value's end.
    _raw: Option<Raw>,
}

impl Screen {
    pub(super) fn open(console: OwnedFd, epoll: &Epoll) -> Result<Self, String> {
        poll::set_nonblocking(&console).map_err(words)?;
        pty::keep_newlines(console.as_fd()).map_err(words)?;
        epoll.add(&console, CONSOLE, Interest::READ).map_err(words)?;
        // A file is always ready, and epoll does not take it; it is read when there is nothing else.
        let _ = epoll.add(std::io::stdin(), INPUT, Interest::READ);
        let raw = Raw::enter(std::io::stdin().as_fd()).ok();
        let screen = Self { console: File::from(console), buffer: vec![0; 8192], _raw: raw };
        screen.resize();
        Ok(screen)
    }

    /// The container's terminal gets our size.
    pub(super) fn resize(&self) {
        if let Some((rows, columns)) = pty::size(std::io::stdin().as_fd()) {
            let _ = pty::resize(self.console.as_fd(), rows, columns);
        }
    }

    pub(super) fn serve(&mut self, event: Ready, epoll: &Epoll) -> Result<(), String> {
        match event.token {
            CONSOLE if !self.show()? => epoll.remove(&self.console).map_err(words),
            INPUT => {
                let length = std::io::stdin().read(&mut self.buffer).unwrap_or(0);
                if length == 0 {
                    return epoll.remove(std::io::stdin()).map_err(words);
                }
                // A container that does not read loses what is typed, as on a real terminal.
                let _ = self.console.write_all(&self.buffer[..length]);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What has come since.
    pub(super) fn drain(&mut self) -> Result<(), String> {
        self.show().map(drop)
    }

    /// Shows what there is; false at the end.
    fn show(&mut self) -> Result<bool, String> {
        loop {
            match self.console.read(&mut self.buffer) {
                Ok(0) => return Ok(false),
                Ok(length) => {
                    let mut screen = std::io::stdout();
                    let shown = screen.write_all(&self.buffer[..length]).and_then(|()| screen.flush());
                    shown.map_err(|e| format!("standard output: {e}"))?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // EIO: the last process on it has ended.
                Err(_) => return Ok(false),
            }
        }
    }
}
