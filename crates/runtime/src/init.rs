//! The child's half of making a container: the order of its steps until it is ready, and the last ones.

use std::os::fd::AsFd;

use spec::oci::runtime::{Process, Spec};
use sys::cgroup::Cgroup;

use crate::failure::at;
use crate::namespaces::Plan;
use crate::process::Prepared;
use crate::{
    Failure, FirstProcess, Io, devices, handshake, mounts, paths, process, reaper, root, seccomp, sysctl,
    terminal, user,
};

/// What is to be made.
pub(crate) struct Order<'a> {
    pub(crate) first: FirstProcess,
    pub(crate) spec: &'a Spec,
    pub(crate) process: &'a Process,
    pub(crate) plan: &'a Plan,
    pub(crate) filter: Option<&'a seccomp::Filter>,
    pub(crate) cgroup: &'a Cgroup,
}

/// Becomes init. Comes back only when that fails, with the exit code.
pub(crate) fn run(order: &Order<'_>, caller: &handshake::Child, io: &Io) -> i32 {
    let failure = match set_up(order, caller, io) {
        Ok(prepared) if caller.wait_go() => match order.first {
            FirstProcess::Program => prepared.execute(order.filter),
            FirstProcess::Reaper => reaper::run(prepared, order.filter, caller),
        },
        // The caller has ended, and nobody waits for this process any more.
        Ok(_) => return 1,
        Err(failure) => failure,
    };
    caller.failed(&failure);
    1
}

fn set_up(order: &Order<'_>, caller: &handshake::Child, io: &Io) -> Result<Prepared, Failure> {
    let spec = order.spec;
    sys::process::become_session_leader().map_err(at("init"))?;
    // What is made in the sandbox has the modes that are asked for.
    sys::process::set_umask(0);
    order.cgroup.enter_v1().map_err(at("cgroup"))?;
    order.plan.join()?;
    let sources = mounts::open_sources(spec, order.cgroup)?;
    let root = root::enter(spec)?;
    let proc = root::private_proc()?;
    if order.first == FirstProcess::Reaper {
        reaper::take_name(&proc, &order.process.args);
    }
    if spec.linux.namespaces.iter().any(|n| n.r#type == spec::oci::runtime::NamespaceKind::Uts) {
        set_names(spec)?;
    }
    mounts::mount_all(&root, sources)?;
    devices::make_all(&root, &spec.linux.devices)?;
    let user = user::resolve(&root, &order.process.user)?;
    let console = terminal::wire(&root, io, user.uid, order.process.console_size, terminal::Console::Bind)?;
    sysctl::set_all(&proc, spec, order.plan)?;
    process::make_cwd(&root, &order.process.cwd);
    paths::mask(&root, &spec.linux.masked_paths)?;
    paths::make_read_only(&root, &spec.linux.readonly_paths)?;
    root::finish(spec)?;
    let prepared = process::prepare(&proc, order.process, &user, order.filter.is_some())?;
    caller.ready(console.as_ref().map(AsFd::as_fd))?;
    Ok(prepared)
}

fn set_names(spec: &Spec) -> Result<(), Failure> {
    if !spec.hostname.is_empty() {
        sys::namespace::set_host_name(&spec.hostname).map_err(at("hostname"))?;
    }
    if !spec.domainname.is_empty() {
        sys::namespace::set_domain_name(&spec.domainname).map_err(at("hostname"))?;
    }
    Ok(())
}
