//! One more process in a running container.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};

use spec::oci::runtime::Process;
use sys::cgroup::Cgroup;
use sys::namespace::{self, Namespaces};
use sys::process::{self, Clone};
use sys::root::Root;

use crate::failure::at;
use crate::namespaces::with_pid_namespace;
use crate::process::{Prepared, Settings};
use crate::{Child, Container, Failure, Io, handshake, host, rdt, root, terminal, user};

const EBUSY: i32 = 16;

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
        self.exec_below(process, io, &BTreeMap::new())
    }

    /// The same in cgroups below the container's: paths by controller, `""` for all there are.
    ///
    /// # Errors
    /// As [`Container::exec`]; step `cgroup` for one that is not there, or not below.
    pub fn exec_below(
        &self,
        process: &Process,
        io: Io,
        places: &BTreeMap<String, String>,
    ) -> Result<Child, Failure> {
        // A copy of this process must not be traceable by what runs in the container (CVE-2016-9962).
        process::set_dumpable(false).map_err(at("clone"))?;
        process.validate().map_err(|invalid| Failure::new("spec", invalid.field, invalid.reason))?;
        host::check_process(process)?;
        if !places.is_empty() {
            let cgroup = self.cgroup.below(places).map_err(at("cgroup"))?;
            return self.exec_in(&cgroup, cgroup.unified(), process, &io);
        }
        match self.exec_in(&self.cgroup, self.cgroup.unified(), process, &io) {
            // A container that has made cgroups of its own (systemd does) may have no process in its top one any
            // more: then where init is.
            Err(failure) if failure.step == "clone" && failure.errno == EBUSY => {
                let unified = self.cgroup.unified_of(self.init_pid).map_err(at("cgroup"))?;
                self.exec_in(&self.cgroup, Some(unified.as_fd()), process, &io)
            }
            done => done,
        }
    }

    fn exec_in(
        &self,
        cgroup: &Cgroup,
        unified: Option<BorrowedFd<'_>>,
        process: &Process,
        io: &Io,
    ) -> Result<Child, Failure> {
        let (caller, child) = handshake::pair()?;
        let options = Clone { namespaces: Namespaces::empty(), cgroup: unified, sibling: false };
        let (mut caller, mut child) = (Some(caller), Some(child));
        let spawned = with_pid_namespace(Some(self.init.as_fd()), || {
            process::clone_child(&options, || {
                drop(caller.take());
                let Some(child) = child.take() else { return 1 };
                self.run(cgroup, process, &child, io)
            })
            .map_err(at("clone"))
        })?;
        drop(child);
        let mut caller = caller.take().expect("only the child takes it from its copy");
        let executed = caller.wait_ready().and_then(|console| {
            caller.go();
            caller.wait_executed(|fd| self.notify(&spawned.pidfd, fd)).map(|()| console)
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
    fn run(&self, cgroup: &Cgroup, process: &Process, caller: &handshake::Child, io: &Io) -> i32 {
        let failure = match self.enter(cgroup, process, caller, io) {
            Ok(prepared) if caller.wait_go() => prepared.execute(self.seccomp.as_ref(), caller),
            Ok(_) => return 1,
            Err(failure) => failure,
        };
        caller.failed(&failure);
        1
    }

    fn enter(
        &self,
        cgroup: &Cgroup,
        process: &Process,
        caller: &handshake::Child,
        io: &Io,
    ) -> Result<Prepared, Failure> {
        process::become_session_leader().map_err(at("init"))?;
        if let Some(affinity) = process.exec_cpu_affinity.as_ref().filter(|a| !a.initial.is_empty()) {
            sys::process::set_cpus(&host::mask(&affinity.initial)).map_err(at("execCPUAffinity"))?;
        }
        // In the cgroups before in the namespaces: nothing runs in the container that its limits do not hold.
        cgroup.enter_v1().map_err(at("cgroup"))?;
        self.class.as_ref().map_or(Ok(()), rdt::Class::enter)?;
        host::settle_process(process)?;
        self.habits.settle()?;
        match process.exec_cpu_affinity.as_ref() {
            Some(affinity) if !affinity.last.is_empty() => {
                sys::process::set_cpus(&host::mask(&affinity.last)).map_err(at("execCPUAffinity"))?;
            }
            Some(_) => {}
            None => host::use_all_cpus(),
        }
        let in_user_namespace = self.joined.contains(Namespaces::USER);
        if in_user_namespace {
            // With the host's rights: the container's root has none over limits.
            crate::limits::set_all(process)?;
        }
        if let Some((uid, gid)) = self.root {
            terminal::hand_over(io, uid, gid);
        }
        namespace::join(self.init.as_fd(), JOINED.with(self.joined)).map_err(at("namespace"))?;
        if in_user_namespace {
            sys::caps::become_user(0, 0, &[]).map_err(at("user"))?;
        }
        let root = Root::open(std::path::Path::new("/")).map_err(at("namespace"))?;
        let proc = root::private_proc()?;
        let user = user::resolve(&root, &process.user)?;
        let console = terminal::wire(&root, io, user.uid, process.console_size, terminal::Console::Leave)?;
        let settings = Settings {
            filtered: self.seccomp.is_some(),
            limited: in_user_namespace,
            preserved: self.preserved,
            ..Settings::default()
        };
        let prepared = crate::process::prepare(&proc, process, &user, settings)?;
        caller.ready(console.as_ref().map(AsFd::as_fd))?;
        Ok(prepared)
    }
}
