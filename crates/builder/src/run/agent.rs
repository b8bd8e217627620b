//! `RUN --mount=type=ssh`: a socket for one step, behind which is the client's agent.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Result;
use crate::graph::Bits;

/// The socket. Dropped: closed, with every connection through it.
#[derive(Debug)]
pub(crate) struct Agent {
    path: PathBuf,
    closed: Arc<AtomicBool>,
}

impl Agent {
    /// Listens at `path` for the agent at `behind`.
    pub(crate) fn listen(path: &Path, behind: &Path, bits: Bits) -> Result<Self> {
        // Said now rather than by ssh: nobody may listen there.
        drop(sys::scm::connect(behind)?);
        let listener = sys::scm::listen(path)?;
        let (dir, name) = sys::root::Root::open(path.parent().unwrap_or(path))?
            .parent(path.file_name().unwrap_or_default())?;
        dir.chown(&name, bits.uid, bits.gid)?;
        dir.chmod(&name, bits.mode)?;
        let closed = Arc::new(AtomicBool::new(false));
        let agent = Self { path: path.to_owned(), closed: closed.clone() };
        let behind = behind.to_owned();
        std::thread::Builder::new()
            .name("build-agent".into())
            .spawn(move || accept(&listener, &behind, &closed))
            .map_err(|e| sys::Error::new("spawn", "a thread for the ssh agent", e))?;
        Ok(agent)
    }

    /// Where it listens.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Release);
        // Wakes the thread that accepts; when nobody listens any more, it has ended already.
        let _ = sys::scm::connect(&self.path);
    }
}

fn accept(listener: &UnixListener, behind: &Path, closed: &AtomicBool) {
    for client in listener.incoming() {
        if closed.load(Ordering::Acquire) {
            return;
        }
        let Ok(client) = client else { continue };
        let behind = behind.to_owned();
        let relayed = std::thread::Builder::new().name("build-agent".into()).spawn(move || {
            if let Err(error) = relay(&client, &behind) {
                tracing::debug!(%error, "an ssh agent's connection ended");
            }
        });
        if let Err(error) = relayed {
            tracing::warn!(%error, "an ssh agent's connection is refused");
        }
    }
}

/// Both directions until either end closes.
fn relay(client: &UnixStream, behind: &Path) -> std::io::Result<()> {
    let agent = sys::scm::connect(behind).map_err(|e| e.source)?;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The other direction says what went wrong.
            let _ = pump(client, &agent);
            let _ = agent.shutdown(Shutdown::Both);
        });
        let pumped = pump(&agent, client);
        let _ = client.shutdown(Shutdown::Both);
        pumped
    })
}

fn pump(mut from: &UnixStream, mut to: &UnixStream) -> std::io::Result<()> {
    let mut buffer = [0; 8 << 10];
    loop {
        match from.read(&mut buffer)? {
            0 => return to.shutdown(Shutdown::Write),
            read => to.write_all(&buffer[..read])?,
        }
    }
}
