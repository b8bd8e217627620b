//! One more process in a running container.

use std::os::fd::AsFd;

use spec::oci::runtime::Process;
use sys::namespace::{self, Namespaces};
use sys::process::{self, Clone};
use sys::root::Root;

use crate::failure::at;
use crate::namespaces::with_pid_namespace;
use crate::process::Prepared;
use crate::{Child, Container, Failure, Io, handshake, root, terminal, user};

/// All that a process can join by itself. Joining one that it is in already changes nothing.
const JOINED: Namespaces = Namespaces::MOUNT
    .with(Namespaces::NETWORK)
    .with(Namespaces::IPC)
    .with(Namespaces::UTS)
    .with(Namespaces::CGROUP);

impl Container {
    /// Runs one more process in the container; returns when its `execve` has succeeded.
    ///
    /// # Errors
    /// As [`Container::start`]; step `namespace` with ESRCH when init has ended. No process is left then.
    pub fn exec(&self, process: &Process, io: Io) -> Result<Child, Failure> {
        // A copy of this process must not be traceable by what runs in the container (CVE-2016-9962).
        process::set_dumpable(false).map_err(at("clone"))?;
        let (caller, child) = handshake::pair()?;
        let options = Clone { namespaces: Namespaces::empty(), cgroup: self.cgroup.unified() };
        let (mut caller, mut child, mut io) = (Some(caller), Some(child), Some(io));
        let spawned = with_pid_namespace(Some(self.init.as_fd()), || {
            process::clone_child(&options, || {
                drop(caller.take());
                let (Some(mut child), Some(io)) = (child.take(), io.take()) else { return 1 };
                self.run(process, &mut child, io)
            })
            .map_err(at("clone"))
        })?;
        drop((child, io));
        let mut caller = caller.take().expect("only the child takes it from its copy");
        let executed = self.cgroup.add(spawned.pid, false).map_err(at("cgroup")).and_then(|()| {
            caller.joined();
            let console = caller.wait_ready()?;
            caller.go();
            caller.wait_executed()?;
            Ok(console)
        });
        match executed {
            Ok(console) => Ok(Child { pid: spawned.pid, pidfd: spawned.pidfd, console }),
            Err(failure) => {
                drop(caller);
                crate::kill::end(&spawned);
                Err(failure)
            }
        }
    }

    /// Becomes the process. Comes back only when that fails, with the exit code.
    fn run(&self, process: &Process, caller: &mut handshake::Child, io: Io) -> i32 {
        let failure = match self.enter(process, caller, io) {
            Ok(prepared) => match caller.wait_go() {
                Ok(()) => prepared.execute(self.seccomp.as_ref()),
                Err(_) => return 1,
            },
            Err(failure) => failure,
        };
        caller.failed(&failure);
        1
    }

    fn enter(&self, process: &Process, caller: &mut handshake::Child, io: Io) -> Result<Prepared, Failure> {
        process::become_session_leader().map_err(at("init"))?;
        // In the cgroups before in the namespaces: nothing runs in the container that its limits do not hold.
        caller.wait_joined()?;
        namespace::join(self.init.as_fd(), JOINED).map_err(at("namespace"))?;
        let root = Root::open(std::path::Path::new("/")).map_err(at("namespace"))?;
        let proc = root::private_proc()?;
        let user = user::resolve(&root, &process.user)?;
        let console = terminal::wire(&root, io, user.uid, process.console_size, terminal::Console::Leave)?;
        let prepared = crate::process::prepare(&proc, process, &user, self.seccomp.is_some())?;
        caller.ready(console.as_ref().map(AsFd::as_fd))?;
        Ok(prepared)
    }
}
