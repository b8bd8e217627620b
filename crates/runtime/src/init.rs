//! The child's half of making a container: the order of its steps until it is ready, and the last ones.

use std::os::fd::{AsFd, BorrowedFd};

use spec::oci::runtime::{NamespaceKind, Process, Spec, State};
use sys::cgroup::Cgroup;
use sys::mount::Mount;
use sys::namespace::Namespaces;

use crate::failure::at;
use crate::namespaces::Plan;
use crate::process::{Prepared, Settings};
use crate::sources::Sources;
use crate::{
    Failure, FirstProcess, Request, devices, handshake, hooks, host, mounts, paths, process, rdt, reaper,
    root, seccomp, sysctl, terminal, user,
};

/// What is to be made.
pub(crate) struct Order<'a> {
    pub(crate) request: &'a Request<'a>,
    pub(crate) process: &'a Process,
    pub(crate) plan: &'a Plan,
    pub(crate) filter: Option<&'a seccomp::Filter>,
    pub(crate) cgroup: &'a Cgroup,
    pub(crate) class: Option<&'a rdt::Class>,
    /// The network namespace that was made beside, if the plan has one.
    pub(crate) network: Option<BorrowedFd<'a>>,
    /// The root's mount, if it is made.
    pub(crate) root: Option<&'a Mount>,
}

impl Order<'_> {
    /// This process is limited as the container's are, and with it all that come from it.
    pub(crate) fn limit(&self) -> Result<(), Failure> {
        self.cgroup.enter_v1().map_err(at("cgroup"))?;
        self.class.map_or(Ok(()), rdt::Class::enter)
    }
}

/// Becomes init. Comes back only when that fails, with the exit code. `sources`: what a stage has opened.
pub(crate) fn run(order: &Order<'_>, caller: handshake::Child, sources: Option<Sources>) -> i32 {
    let prepared = match set_up(order, &caller, sources) {
        Ok(prepared) => prepared,
        Err(failure) => {
            caller.failed(&failure);
            return 1;
        }
    };
    // Otherwise the caller has ended, and nobody waits for this process any more.
    let Some(starter) = wait_to_start(order.request, caller) else { return 1 };
    let failure = match start_hooks(order.request, &prepared) {
        Ok(()) => match order.request.first {
            FirstProcess::Program => prepared.execute(order.filter, &starter),
            FirstProcess::Reaper => reaper::run(prepared, order.filter, &starter),
        },
        Err(failure) => failure,
    };
    starter.failed(&failure);
    1
}

/// Whoever starts the container: the caller, or the one who comes through the gate.
fn wait_to_start(request: &Request<'_>, caller: handshake::Child) -> Option<handshake::Child> {
    if !caller.wait_go() {
        return None;
    }
    let Some(gate) = request.gate else { return Some(caller) };
    caller.settled().ok()?;
    drop(caller);
    loop {
        // Who only looks whether we are still here, closes without a word.
        let starter = handshake::Child::from(gate.accept().ok()?.0);
        if starter.wait_go() {
            return Some(starter);
        }
    }
}

/// They run as the program is going to, and with its environment unless they have one.
fn start_hooks(request: &Request<'_>, prepared: &Prepared) -> Result<(), Failure> {
    let mut hooks = request.spec.hooks.start_container.clone();
    if hooks.is_empty() {
        return Ok(());
    }
    for hook in hooks.iter_mut().filter(|hook| hook.env.is_empty()) {
        hook.env = prepared.env().iter().map(|entry| entry.to_string_lossy().into_owned()).collect();
    }
    hooks::run_all("startContainer", &hooks, &state(request, "created"))
}

/// As the container's own processes see it: init is 1, or whatever it is there.
fn state(request: &Request<'_>, status: &str) -> State {
    let pid = i32::try_from(std::process::id()).ok();
    State { status: status.into(), pid, ..request.state.clone() }
}

fn set_up(
    order: &Order<'_>,
    caller: &handshake::Child,
    sources: Option<Sources>,
) -> Result<Prepared, Failure> {
    let request = order.request;
    let spec = request.spec;
    sys::process::become_session_leader().map_err(at("init"))?;
    // What is made in the sandbox has the modes that are asked for.
    sys::process::set_umask(0);
    let staged = sources.is_some();
    if !staged {
        order.limit()?;
        order.plan.join(order.network)?;
        host::settle(spec, order.process)?;
    }
    order.plan.make_cgroup_namespace()?;
    let sources = match sources {
        Some(sources) => sources,
        None => Sources::open(order)?,
    };
    let Sources { root: root_mount, mut mounts, devices } = sources;
    // Hooks see the host's tree with the container's in its place; and in a user namespace the kernel lets a new
    // procfs or sysfs be mounted only where one can be seen.
    let late = staged
        || !(spec.hooks.prestart.is_empty()
            && spec.hooks.create_runtime.is_empty()
            && spec.hooks.create_container.is_empty());
    let root = if late {
        if !staged {
            root::go_there(spec)?;
        }
        root::attach(&root_mount)?
    } else {
        root::enter(&root_mount, request.no_pivot)?
    };
    // One of our own costs a file system, and to close it a grace period of RCU.
    let own_mounts = order.plan.made.contains(Namespaces::MOUNT);
    let proc = own_mounts.then(|| mounts::make_proc(&mut mounts)).transpose()?.flatten();
    let proc = proc.map_or_else(root::private_proc, Ok)?;
    if request.first == FirstProcess::Reaper {
        reaper::take_name(&proc, &order.process.args);
    }
    if spec.linux.has(NamespaceKind::Uts) {
        set_names(spec)?;
    }
    let mounted = mounts::mount_all(&root, mounts)?;
    devices::make_all(&root, &spec.linux.devices, devices)?;
    if late {
        if !(spec.hooks.prestart.is_empty() && spec.hooks.create_runtime.is_empty()) {
            caller.hooks()?;
        }
        hooks::run_all("createContainer", &spec.hooks.create_container, &state(request, "creating"))?;
        root::enter(&root_mount, request.no_pivot)?;
    }
    let user = user::resolve(&root, &order.process.user)?;
    let size = order.process.console_size;
    let console = terminal::wire(&root, &request.io, user.uid, size, terminal::Console::Bind)?;
    sysctl::set_all(&proc, spec)?;
    process::make_cwd(&root, &order.process.cwd);
    paths::mask(&root, &mounted, &spec.linux.masked_paths)?;
    paths::make_read_only(&root, &mounted, &spec.linux.readonly_paths)?;
    mounted.finish()?;
    root::finish(spec)?;
    let settings = Settings {
        filtered: order.filter.is_some(),
        keep_keyring: request.keep_keyring,
        preserved: request.preserved,
        limited: staged,
        forks: request.first == FirstProcess::Reaper,
    };
    let prepared = process::prepare(&proc, order.process, &user, settings)?;
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
