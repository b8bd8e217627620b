//! `Create`: the log, the streams, the sandbox, and usually the start, in one request.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::PoisonError;

use runtime::{Ahead, Failure, Filter, FirstProcess, Holder, Request, foreign};
use shim::log::write::{self as log, Writer};
use shim::message::Incoming;
use shim::promise::{self, Promised};
use shim::proto::{Create, Ids, LOG_SERVER};
use spec::signal;
use sys::namespace::Namespaces;

use super::kernel::Kernel;
use super::process::Wiring;
use super::request::{also, errno, failure, refusal};
use super::{Container, Supervisor, attach};

/// What another runtime needs, in our directory.
const BUNDLE: &str = "bundle";

/// Init's number among our processes.
const INIT: u32 = 0;

impl Supervisor {
    /// Namespaces that have to be there before the container: the pid of who holds them.
    pub(super) fn hold(&mut self, ids: &Ids) -> Result<i32, Failure> {
        if self.container.is_some() {
            return Err(refusal("namespace", errno::EEXIST, "this shim has a container"));
        }
        let holder = match ids {
            Ids::Own { uids, gids } => Holder::new(uids, gids, Namespaces::NETWORK)?,
            Ids::Of { pid } => {
                let path = format!("/proc/{pid}/ns/user");
                let user = sys::file::open(Path::new(&path))
                    .map_err(|error| failure("namespace", &error.object, &error.source))?;
                Holder::within(user.as_fd(), Namespaces::NETWORK)?
            }
        };
        let pid = holder.pid();
        self.holder = Some(holder);
        Ok(pid)
    }

    /// Init's pid. On failure nothing of the container is left.
    pub(super) fn create(&mut self, mut create: Create, incoming: &mut Incoming) -> Result<i32, Failure> {
        // What it holds is the container's from here on, or nobody's.
        let _held = self.holder.take();
        // All fds first: what is left in `incoming` would be taken for the next request's.
        let filter = if create.filter { Some(filter(incoming)?) } else { None };
        let promise = if create.promise { Some(promised(incoming)?) } else { None };
        let sockets: Vec<UnixStream> =
            create.attach.iter().map(|_| attach::socket(incoming)).collect::<Result<_, _>>()?;
        if self.container.is_some() {
            return Err(refusal("create", errno::EEXIST, "this shim has a container"));
        }
        if create.netns && promise.is_none() {
            return Err(refusal(
                "create",
                errno::EINVAL,
                "a network namespace comes with a promise, and there is none",
            ));
        }
        let moved = create.dir.take().map(|dir| {
            self.place.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&dir);
            std::mem::replace(&mut self.dir, dir)
        });
        if let Some(process) = &mut create.spec.process {
            process.oom_score_adj = process.oom_score_adj.or(self.oom_score);
        }
        let log = create.log.as_ref().map(Writer::open).transpose().map_err(|error| match error {
            log::Error::Files(error) => failure("log", &error.object, &error.source),
            // The whole sentence, for the client: Docker's.
            log::Error::Remote(error) => {
                Failure { detail: error.to_string(), ..failure(LOG_SERVER, "", &error.source) }
            }
        })?;
        let wiring = Wiring {
            terminal: create.spec.process.as_ref().is_some_and(|process| process.terminal),
            open_stdin: create.open_stdin,
            stdin_once: create.stdin_once,
            discard: false,
            log,
        };
        let (io, ends) = wiring.ends()?;
        let cgroups = create.cgroups;
        let first = if create.reaper { FirstProcess::Reaper } else { FirstProcess::Program };
        // The directory is named after the container.
        let id = self.dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let (kernel, child) = match &create.runtime {
            None => {
                let mut request =
                    Request { first, filter: filter.as_ref(), cgroups, ..Request::new(&create.spec, io) };
                // Hooks are told, and a class of its own is named after it.
                id.clone_into(&mut request.state.id);
                let mut ahead = Ahead::default();
                if let Some(promise) = promise {
                    ahead.promise(create.netns, Box::new(move || kept(&promise)));
                }
                Kernel::own(&request, ahead)?
            }
            Some(runtime) => {
                let promised = promise.as_ref().map(kept).transpose()?.unwrap_or_default();
                let netns = promised.network.as_ref().map(AsFd::as_fd);
                let directory = self.dir.join(BUNDLE);
                let spec = &create.spec;
                Kernel::foreign(foreign::Request { runtime, id, directory, spec, first, netns, cgroups, io })?
            }
        };
        let served = wiring.process(INIT, child, ends).and_then(|mut init| {
            for (wants, socket) in create.attach.into_iter().zip(sockets) {
                init.streams.attach(wants, socket).map_err(|e| failure("attach", "", &e))?;
            }
            Ok(init)
        });
        let init = match served {
            Ok(init) => init,
            Err(failure) => {
                // The waiting init ends, and is reaped like any other child.
                let _ = kernel.kill(signal::KILL, false);
                return Err(also(failure, kernel.delete()));
            }
        };
        let pid = init.pid;
        let overlay = create.spec.root.as_ref().and_then(|root| root.overlay.as_ref());
        if overlay.is_some_and(|overlay| !overlay.volatile) {
            // Without it all works, only more slowly.
            self.root = sys::file::open(Path::new(&format!("/proc/{pid}/root"))).ok();
        }
        self.container = Some(Container {
            kernel,
            init,
            started: false,
            paused: false,
            execs: BTreeMap::new(),
            exit_file: create.exit_file,
            exit: None,
            unwritten: None,
            oom_killed: false,
            oom_told: false,
        });
        if create.start {
            self.start()?;
        }
        // Nobody waits for it: the program runs.
        if let Some(old) = moved {
            self.show(&old);
        }
        Ok(pid)
    }

    /// Has our directory's name among our arguments instead of that of the old one, for people who look at `ps`.
    fn show(&self, old: &Path) {
        if let (Some(old), Some(new)) = (old.file_name(), self.dir.file_name()) {
            let _ = sys::process::replace_in_arguments(&[(old.as_bytes(), new.as_bytes())]);
        }
    }
}

fn filter(incoming: &mut Incoming) -> Result<Filter, Failure> {
    let missing = || refusal("create", errno::EINVAL, "no seccomp filter came with the request");
    shim::filter(incoming.fd().ok_or_else(missing)?).map_err(|e| failure("seccomp", "the filter", &e))
}

fn promised(incoming: &mut Incoming) -> Result<OwnedFd, Failure> {
    incoming.fd().ok_or_else(|| refusal("create", errno::EINVAL, "no end of a promise came with the request"))
}

/// What was promised, once all of it is there.
fn kept(promise: &OwnedFd) -> Result<Promised, Failure> {
    promise::wait(promise).map_err(|e| failure("create", "what was promised", &e))
}
