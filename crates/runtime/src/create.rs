//! The caller's half of making a container.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;

use spec::oci::runtime::{CgroupDriver, Resources, Spec, State};
use sys::process::{self, Clone, Spawned};

use crate::failure::at;
use crate::handshake::{Heard, Settled};
use crate::namespaces::{self, Plan};
use crate::{
    Ahead, Child, Container, Failure, Filter, Io, cgroup, handshake, hooks, host, init, net_devices, rdt,
    stage, sysctl,
};

/// What the container's first process is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FirstProcess {
    /// The program itself.
    #[default]
    Program,
    /// One that forwards signals to the program, reaps orphans, and ends with the program's code (`--init`).
    Reaper,
}

/// What is to be made, and how.
#[derive(Debug)]
pub struct Request<'a> {
    /// The configuration.
    pub spec: &'a Spec,
    /// What the first process is.
    pub first: FirstProcess,
    /// How init is wired to the caller.
    pub io: Io,
    /// The seccomp filter; without it, what the configuration has is compiled.
    pub filter: Option<&'a Filter>,
    /// Who the container is to its hooks and to a seccomp listener.
    pub state: State,
    /// With it, init waits for [`Container::start_through`] on a connection to this socket, whoever makes it;
    /// without, for [`Container::start`] of the value that [`create_with`] gives, and ends with that.
    pub gate: Option<&'a UnixListener>,
    /// How many of the caller's descriptors from 3 on init keeps.
    pub preserved: u32,
    /// Stay in the caller's session keyring.
    pub keep_keyring: bool,
    /// Who makes its cgroup.
    pub cgroups: CgroupDriver,
    /// The old root is covered, not left: for a host whose root cannot be pivoted away.
    pub no_pivot: bool,
}

impl<'a> Request<'a> {
    /// A container with this configuration, that is started by who made it.
    pub fn new(spec: &'a Spec, io: Io) -> Self {
        let annotations = spec.annotations.clone();
        let state = State { oci_version: spec.oci_version.clone(), annotations, ..State::default() };
        Self {
            spec,
            first: FirstProcess::Program,
            io,
            filter: None,
            state,
            gate: None,
            preserved: 0,
            keep_keyring: false,
            cgroups: CgroupDriver::Cgroupfs,
            no_pivot: false,
        }
    }
}

/// Makes the sandbox of `spec` and leaves its init waiting for [`Container::start`].
///
/// On failure nothing of the container is left.
///
/// # Errors
/// The first step that failed.
pub fn create(spec: &Spec, io: Io) -> Result<(Container, Child), Failure> {
    create_with(&Request::new(spec, io))
}

/// As [`create`], with all that can be asked for.
///
/// # Errors
/// The first step that failed; step `spec` for a configuration that is refused, with the member's JSON path, before
/// anything is made.
pub fn create_with(request: &Request<'_>) -> Result<(Container, Child), Failure> {
    create_ahead(request, Ahead::default(), |_| ())
}

/// As [`create_with`], with what was begun before. `born` is told init's pid while that makes its sandbox.
///
/// # Errors
/// As there.
pub fn create_ahead(
    request: &Request<'_>,
    mut ahead: Ahead,
    born: impl FnOnce(i32),
) -> Result<(Container, Child), Failure> {
    let spec = request.spec;
    spec.validate().map_err(|invalid| Failure::new("spec", invalid.field, invalid.reason))?;
    let Some(process) = &spec.process else {
        return Err(Failure::new("spec", "process", "a container needs a process"));
    };
    host::check(spec, process)?;
    let plan = Plan::of(spec, ahead.promises_network())?;
    sysctl::check_all(spec, &plan)?;
    let class = rdt::Class::of(spec, &request.state.id)?;
    if let (Some(class), Some(rdt)) = (&class, &spec.linux.intel_rdt) {
        class.check(rdt)?;
    }
    ahead.begin_missing(spec)?;
    let filter = match (request.filter, &spec.linux.seccomp) {
        (Some(filter), _) => Some(filter.clone()),
        (None, Some(profile)) => Some(Filter::compile(profile)?),
        (None, None) => None,
    };
    // A copy of this process must not be traceable by what runs in the container (CVE-2016-9962).
    process::set_dumpable(false).map_err(at("clone"))?;
    let place = cgroup::Place::of(&spec.linux.cgroups_path, request.cgroups, &request.state.id)?;
    let none = Resources::default();
    let (cgroup, keeper) = place.make(spec.linux.resources.as_ref().unwrap_or(&none))?;
    let order = init::Order {
        request,
        process,
        plan: &plan,
        filter: filter.as_ref(),
        cgroup: &cgroup,
        class: class.as_ref(),
        network: None,
        root: None,
    };
    let mut oom_kills = None;
    // Init has enough to do now: what the caller has to do takes no time.
    let begun = begin(&order, ahead, |pid| {
        oom_kills = Some(cgroup::OomKills::from_now(&cgroup, place.scope.as_ref()));
        born(pid);
    });
    // Init is in it now, or there will be none.
    drop(keeper);
    match begun {
        Ok((waiting, child)) => {
            let init = child
                .pidfd
                .try_clone()
                .map_err(|e| Failure::new("clone", "pidfd", crate::failure::errno_text(&e)))?;
            let container = Container {
                init,
                init_pid: child.pid,
                cgroup,
                class,
                scope: place.scope,
                joined: Plan::joined_by_exec(spec),
                waiting: Some(waiting),
                oom_kills: oom_kills.expect("init was born"),
                seccomp: filter,
                habits: host::Habits::of(spec),
                root: namespaces::root_ids(&spec.linux),
                hooks: spec.hooks.clone(),
                preserved: 0,
                state: State { pid: Some(child.pid), ..request.state.clone() },
            };
            Ok((container, child))
        }
        Err(failure) => {
            // The first failure is the one to report; what runs, if anything, was reaped in `begin`.
            let _ = cgroup.kill();
            let _ = place.scope.map(|scope| cgroup::systemd::stop_scope(&scope.unit));
            let _ = cgroup.remove();
            Err(failure)
        }
    }
}

/// On failure nobody runs, and the class is as it was; the cgroup is the caller's to remove.
fn begin(
    order: &init::Order<'_>,
    ahead: Ahead,
    born: impl FnOnce(i32),
) -> Result<(handshake::Caller, Child), Failure> {
    let (Some(class), Some(rdt)) = (order.class, &order.request.spec.linux.intel_rdt) else {
        return begin_limited(order, ahead, born);
    };
    class.make(rdt)?;
    begin_limited(order, ahead, born).inspect_err(|_| {
        // The first failure is the one to report.
        let _ = class.remove();
    })
}

fn begin_limited(
    order: &init::Order<'_>,
    ahead: Ahead,
    born: impl FnOnce(i32),
) -> Result<(handshake::Caller, Child), Failure> {
    let init::Order { request, plan, cgroup, .. } = *order;
    let spec = request.spec;
    let none = Resources::default();
    let resources = spec.linux.resources.as_ref().unwrap_or(&none);
    crate::cgroup::limit(cgroup, resources)?;
    crate::cgroup::allow(cgroup, &resources.devices)?;
    let (network, root) = ahead.finish()?;
    let order = &init::Order { network: network.as_ref().map(AsFd::as_fd), root: root.as_ref(), ..*order };
    let (caller, child) = handshake::pair()?;
    let (mut caller, mut child) = (Some(caller), Some(child));
    let spawned = if plan.is_staged() {
        let (ours, theirs) = (caller.take().expect("just set"), child.take().expect("just set"));
        let (ours, spawned) = stage::spawn(order, ours, theirs)?;
        caller = Some(ours);
        spawned
    } else {
        let options = Clone { namespaces: plan.made, cgroup: cgroup.unified(), sibling: false };
        namespaces::with_pid_namespace(plan.pid.as_ref().map(AsFd::as_fd), || {
            process::clone_child(&options, || {
                // The child's copies: its end of the socket only, so that it notices the caller's death.
                drop(caller.take());
                let Some(child) = child.take() else { return 1 };
                init::run(order, child, None)
            })
            .map_err(at("clone"))
        })?
    };
    drop(child);
    let mut caller = caller.take().expect("only the child takes it from its copy");
    born(spawned.pid);
    match serve(request, &mut caller, &spawned) {
        Ok(console) => Ok((caller, Child { pid: spawned.pid, pidfd: spawned.pidfd, console })),
        Err(failure) => {
            drop(caller);
            crate::kill::end(&spawned);
            Err(failure)
        }
    }
}

/// Does the caller's part while init makes its sandbox; the terminal's controlling end when it is ready.
fn serve(
    request: &Request<'_>,
    caller: &mut handshake::Caller,
    init: &Spawned,
) -> Result<Option<OwnedFd>, Failure> {
    let spec = request.spec;
    let mut devices = Some(&spec.linux.net_devices);
    // Whatever it says first: it is in its network namespace then.
    let mut move_devices = || devices.take().map_or(Ok(()), |all| net_devices::move_all(all, init.pid));
    loop {
        match caller.hear()? {
            Heard::Ready(console) => return move_devices().map(|()| console),
            Heard::Hooks => {
                move_devices()?;
                let state = State { status: "creating".into(), pid: Some(init.pid), ..request.state.clone() };
                hooks::run_all("prestart", &spec.hooks.prestart, &state)?;
                hooks::run_all("createRuntime", &spec.hooks.create_runtime, &state)?;
                caller.go();
            }
            Heard::End => return Err(Failure::new("init", "", "the process ended before it was ready")),
        }
    }
}

impl Container {
    /// Lets init wait on without its maker: from now on it does not end with this process, and is started through
    /// [`Request::gate`].
    ///
    /// # Errors
    /// Step `start` when it was started before.
    pub fn release(&mut self) -> Result<(), Failure> {
        match self.waiting.take() {
            Some(init) => {
                init.go();
                init.wait_settled().map(|Settled| ())
            }
            None => Err(Failure::new("start", "", "the container was started before")),
        }
    }
}
