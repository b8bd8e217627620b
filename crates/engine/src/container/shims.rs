//! Shims that run before there is a container for them: a start needs not wait until a program has been loaded, listens
//! and answers. Each has a directory, which is given the container's name when there is one. All are copies of one, the template,
//! which has the program loaded already.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use shim::client::{Connection, Error, Program, Spawned, Template, Watch};
use spec::Id;

/// How many wait. One is enough for starts one after the other, and each takes memory.
const READY: usize = 1;
/// What their names begin with; they are as long as an id.
const WAITS: &str = "ready-";

/// A shim, with both connections that a daemon has to one.
#[derive(Debug)]
pub(crate) struct Shim {
    pub(crate) connection: Connection,
    pub(crate) watch: Watch,
    pub(crate) spawned: Spawned,
}

/// What makes shims.
#[derive(Debug)]
pub(crate) struct Shims {
    program: Arc<Program>,
    /// `<exec root>/shim`.
    root: PathBuf,
    ready: Mutex<Vec<(Shim, PathBuf)>>,
    template: Mutex<Option<Arc<Template>>>,
}

impl Shims {
    pub(crate) fn new(program: Arc<Program>, root: PathBuf) -> Self {
        Self { program, root, ready: Mutex::default(), template: Mutex::default() }
    }

    /// The program that they run.
    pub(crate) fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Where a container's shim has its socket.
    pub(crate) fn directory(&self, id: &Id) -> PathBuf {
        self.root.join(id.as_str())
    }

    /// The shim of a container: one that is ready, or a new one. Blocking.
    ///
    /// # Errors
    /// It cannot be spawned; nothing is left.
    pub(crate) fn get(&self, id: &Id) -> Result<Shim, Error> {
        let directory = self.directory(id);
        // The next one may be well.
        while let Some((shim, waited)) = self.lock().pop() {
            if let Some(shim) = moved(shim, &waited, &directory) {
                return Ok(shim);
            }
        }
        self.spawn(id.as_str(), &directory)
    }

    /// Makes those that are missing. Blocking.
    ///
    /// # Errors
    /// One cannot be spawned.
    pub(crate) fn make_ready(&self) -> Result<(), Error> {
        if self.template().is_none() {
            // Without one they are spawned, which takes longer.
            let template = Template::spawn(&self.program, &self.root, Id::LENGTH);
            let told = template.inspect_err(|error| tracing::warn!("shims cannot be copied: {error}"));
            *self.template() = told.ok().map(Arc::new);
        }
        while self.lock().len() < READY {
            let id = Id::from_bytes(sys::random::bytes());
            let name = format!("{WAITS}{}", &id.as_str()[WAITS.len()..]);
            let directory = self.root.join(&name);
            let shim = self.spawn(&name, &directory)?;
            self.lock().push((shim, directory));
        }
        Ok(())
    }

    fn spawn(&self, name: &str, directory: &Path) -> Result<Shim, Error> {
        let (connection, spawned) = match self.copy(directory) {
            Some(copied) => copied,
            None => self.program.spawn(name, directory)?,
        };
        // The second connection is made before anything can end, so that no wake-up is missed.
        match Connection::connect(directory).and_then(Connection::watch) {
            Ok(watch) => Ok(Shim { connection, watch, spawned }),
            Err(error) => {
                end(connection, &spawned, directory);
                Err(error)
            }
        }
    }

    /// By the template, if there is one. One that fails is given up: the next is made when there is time.
    fn copy(&self, directory: &Path) -> Option<(Connection, Spawned)> {
        let template = self.template().clone()?;
        match template.copy(directory) {
            Ok(copied) => copied,
            Err(error) => {
                tracing::warn!("a shim is spawned, as it cannot be copied: {error}");
                // Another start may have given it up before, and there is a new one.
                self.template().take_if(|current| Arc::ptr_eq(current, &template));
                None
            }
        }
    }

    fn template(&self) -> std::sync::MutexGuard<'_, Option<Arc<Template>>> {
        // It is replaced as a whole.
        self.template.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Shim, PathBuf)>> {
        // Whole shims only are pushed and popped.
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shims {
    fn drop(&mut self) {
        for (Shim { connection, watch, spawned }, directory) in self.lock().drain(..) {
            drop(watch);
            end(connection, &spawned, &directory);
        }
    }
}

/// Moves a shim that was ready to its container's directory, which it is told when the container is made. One that has ended, for
/// whatever reason, or cannot be moved is of no use.
fn moved(mut shim: Shim, waited: &Path, directory: &Path) -> Option<Shim> {
    // Its end would be there to be read.
    let runs = matches!(shim.watch.try_next(), Ok(Poll::Pending));
    if runs && sys::file::rename(waited, directory).is_ok() {
        shim.connection.moved(directory);
        return Some(shim);
    }
    end(shim.connection, &shim.spawned, waited);
    None
}

/// Ends a shim that has no container. What it leaves is in its directory, which goes with it.
fn end(connection: Connection, spawned: &Spawned, directory: &Path) {
    // Without a connection it would end by itself; this is sooner.
    let _ = sys::process::pidfd_send_signal(spawned.pidfd.as_fd(), spec::signal::KILL);
    let _ = sys::process::reap(spawned.pidfd.as_fd());
    drop(connection);
    let _ = sys::file::remove_tree(directory);
}
