//! The caller's half of making a container.

use std::os::fd::{AsFd, BorrowedFd};

use spec::oci::runtime::{Resources, Spec};
use sys::cgroup::Cgroup;
use sys::process::{self, Clone};

use crate::failure::at;
use crate::namespaces::{self, Plan};
use crate::{Child, Container, Failure, Io, handshake, init, seccomp};

/// What the container's first process is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FirstProcess {
    /// The program itself.
    #[default]
    Program,
    /// One that forwards signals to the program, reaps orphans, and ends with the program's code (`--init`).
    Reaper,
}

/// [`create_as`] with the program as the first process.
///
/// # Errors
/// As [`create_as`].
pub fn create(spec: &Spec, netns: Option<BorrowedFd<'_>>, io: Io) -> Result<(Container, Child), Failure> {
    create_as(FirstProcess::Program, spec, netns, io)
}

/// Makes the sandbox of `spec` and leaves its init waiting for [`Container::start`].
///
/// `netns`: the network namespace to join; overrides the path in `spec`.
/// On failure nothing of the container is left.
///
/// # Errors
/// The first step that failed.
pub fn create_as(
    first: FirstProcess,
    spec: &Spec,
    netns: Option<BorrowedFd<'_>>,
    io: Io,
) -> Result<(Container, Child), Failure> {
    let Some(process) = &spec.process else {
        return Err(Failure::new("spec", "process", "a container needs a process"));
    };
    let plan = Plan::of(spec, netns)?;
    let filter = spec.linux.seccomp.as_ref().map(seccomp::Filter::compile).transpose()?;
    // A copy of this process must not be traceable by what runs in the container (CVE-2016-9962).
    process::set_dumpable(false).map_err(at("clone"))?;
    let cgroup = Cgroup::create(&spec.linux.cgroups_path).map_err(at("cgroup"))?;
    match begin(
        &init::Order { first, spec, process, plan: &plan, filter: filter.as_ref(), cgroup: &cgroup },
        &io,
    ) {
        Ok((waiting, child)) => {
            let init = child
                .pidfd
                .try_clone()
                .map_err(|e| Failure::new("clone", "pidfd", crate::failure::errno_text(&e)))?;
            let oom_kills_before = crate::cgroup::oom_kills(&cgroup);
            let container = Container {
                init,
                init_pid: child.pid,
                cgroup,
                waiting: Some(waiting),
                oom_kills_before,
                seccomp: filter,
            };
            Ok((container, child))
        }
        Err(failure) => {
            // The first failure is the one to report; what runs, if anything, was reaped in `begin`.
            let _ = cgroup.kill();
            let _ = cgroup.remove();
            Err(failure)
        }
    }
}

fn begin(order: &init::Order<'_>, io: &Io) -> Result<(handshake::Caller, Child), Failure> {
    let init::Order { spec, plan, cgroup, .. } = order;
    let none = Resources::default();
    let resources = spec.linux.resources.as_ref().unwrap_or(&none);
    crate::cgroup::limit(cgroup, resources)?;
    crate::cgroup::allow(cgroup, &resources.devices)?;
    let (caller, child) = handshake::pair()?;
    let options = Clone { namespaces: plan.made, cgroup: cgroup.unified() };
    let (mut caller, mut child) = (Some(caller), Some(child));
    let spawned = namespaces::with_pid_namespace(plan.pid.as_ref().map(AsFd::as_fd), || {
        process::clone_child(&options, || {
            // The child's copies: its end of the socket only, so that it notices the caller's death.
            drop(caller.take());
            let Some(child) = child.take() else { return 1 };
            init::run(order, &child, io)
        })
        .map_err(at("clone"))
    })?;
    drop(child);
    let mut caller = caller.take().expect("only the child takes it from its copy");
    match caller.wait_ready() {
        Ok(console) => Ok((caller, Child { pid: spawned.pid, pidfd: spawned.pidfd, console })),
        Err(failure) => {
            drop(caller);
            crate::kill::end(&spawned);
            Err(failure)
        }
    }
}
