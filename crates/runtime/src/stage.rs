//! A process between the caller and init, for what init could not do by itself.
//!
//! A process in a new user namespace has no rights over the host any more: neither to open what is to be mounted,
//! nor to join what belongs to the host. And clocks are set before the first process runs by them. So a copy of the
//! caller opens and joins all that, makes init as the caller's child (CLONE_PARENT), writes its id maps, and ends.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;

use spec::oci::runtime::{IdMapping, TimeOffset};
use sys::namespace::{self, Namespaces};
use sys::process::{self, Clone, Spawned};

use crate::failure::{at, failed};
use crate::init::{self, Order};
use crate::namespaces::User;
use crate::sources::Sources;
use crate::{Failure, handshake, host, root, terminal};

/// Makes init through a stage.
pub(crate) fn spawn(
    order: &Order<'_>,
    caller: handshake::Caller,
    child: handshake::Child,
) -> Result<(handshake::Caller, Spawned), Failure> {
    let (mut caller, mut child) = (Some(caller), Some(child));
    let options = Clone { namespaces: Namespaces::empty(), cgroup: None, sibling: false };
    let stage = process::clone_child(&options, || {
        // So that init notices the caller's death.
        drop(caller.take());
        let Some(child) = child.take() else { return 1 };
        match make(order, child) {
            Ok(()) => 0,
            Err((child, failure)) => {
                child.failed(&failure);
                1
            }
        }
    })
    .map_err(at("clone"))?;
    // The copies of the two are the only ones that are left, so their end is heard.
    drop(child);
    let mut caller = caller.take().expect("only the child takes it from its copy");
    let made = caller.wait_made();
    process::reap(stage.pidfd.as_fd()).map_err(at("clone"))?;
    let pidfd = made?;
    let pid = process::pidfd_pid(pidfd.as_fd()).map_err(at("clone"))?;
    Ok((caller, Spawned { pid, pidfd }))
}

/// The stage's life. On success init has the child's end of the handshake.
fn make(order: &Order<'_>, child: handshake::Child) -> Result<(), (handshake::Child, Failure)> {
    let prepared = prepare(order);
    let sources = match prepared {
        Ok(sources) => sources,
        Err(failure) => return Err((child, failure)),
    };
    let made = match order.plan.user {
        Some(User::New) => order.plan.made.with(Namespaces::USER),
        Some(User::Joined(_)) | None => order.plan.made,
    };
    let (mapped, tell) = match std::io::pipe() {
        Ok(pair) => pair,
        Err(error) => return Err((child, failed("clone", "pipe")(error))),
    };
    let options = Clone { namespaces: made, cgroup: order.cgroup.unified(), sibling: true };
    let (mut taken, mut mapped, mut tell) = (Some((child, sources)), Some(mapped), Some(tell));
    let init = process::clone_child(&options, || {
        drop(tell.take());
        let Some((child, sources)) = taken.take() else { return 1 };
        let Some(mapped) = mapped.take() else { return 1 };
        match settle(order, mapped) {
            Ok(true) => init::run(order, child, Some(sources)),
            Ok(false) => 1,
            Err(failure) => {
                child.failed(&failure);
                1
            }
        }
    });
    drop(mapped);
    let (child, sources) = taken.take().expect("only init takes it from its copy");
    drop(sources);
    let told = init.map_err(at("clone")).and_then(|init| {
        if matches!(order.plan.user, Some(User::New)) {
            let linux = &order.request.spec.linux;
            write_maps(init.pid, &linux.uid_mappings, &linux.gid_mappings)?;
        }
        child.made(init.pidfd.as_fd())
    });
    match (told, tell.take()) {
        (Ok(()), Some(mut tell)) => {
            // An init that has ended is found dead by the caller.
            let _ = tell.write_all(b"m");
            Ok(())
        }
        // Init reads the pipe's end, and ends.
        (Err(failure), _) => Err((child, failure)),
        (Ok(()), None) => unreachable!("only init's copy is taken from"),
    }
}

/// With the host's rights: everything that is the host's.
fn prepare(order: &Order<'_>) -> Result<Sources, Failure> {
    let (spec, plan) = (order.request.spec, order.plan);
    order.limit()?;
    host::settle(spec, order.process)?;
    namespace::unshare(Namespaces::MOUNT).map_err(at("namespace"))?;
    plan.join(order.network)?;
    let sources = Sources::open(order)?;
    crate::limits::set_all(order.process)?;
    if let Some((uid, gid)) =
        crate::namespaces::root_ids(&spec.linux).filter(|_| crate::cgroup::is_writable(spec))
    {
        crate::cgroup::delegate(order.cgroup, uid, gid)?;
    }
    // Init finds it by this: as another user it may not be able to walk there.
    root::go_there(spec)?;
    if let Some((uid, gid)) = crate::namespaces::root_ids(&spec.linux) {
        terminal::hand_over(&order.request.io, uid, gid);
    }
    if let Some(pid) = &plan.pid {
        namespace::join(pid.as_fd(), Namespaces::PID).map_err(at("namespace"))?;
    }
    if plan.time {
        namespace::unshare(Namespaces::TIME).map_err(at("namespace"))?;
        if let Some(offsets) = &spec.linux.time_offsets {
            let line = |clock: &str, offset: Option<TimeOffset>| {
                offset.map(|o| format!("{clock} {} {}\n", o.secs, o.nanosecs)).unwrap_or_default()
            };
            let text = line("monotonic", offsets.monotonic) + &line("boottime", offsets.boottime);
            if !text.is_empty() {
                sys::file::write(Path::new("/proc/self/timens_offsets"), text.as_bytes())
                    .map_err(at("namespace"))?;
            }
        }
    }
    if let Some(User::Joined(user)) = &plan.user {
        namespace::join(user.as_fd(), Namespaces::USER).map_err(at("namespace"))?;
    }
    Ok(sources)
}

/// Init's first steps: it waits for its ids, and becomes root by them. False when the stage has ended.
fn settle(order: &Order<'_>, mut mapped: impl Read) -> Result<bool, Failure> {
    let mut word = [0];
    if !matches!(mapped.read(&mut word), Ok(1)) {
        return Ok(false);
    }
    if order.plan.user.is_some() {
        sys::caps::become_user(0, 0, &[]).map_err(at("user"))?;
    }
    Ok(true)
}

/// Writes the maps of a process in a new user namespace.
pub(crate) fn write_maps(pid: i32, uids: &[IdMapping], gids: &[IdMapping]) -> Result<(), Failure> {
    let text = |mappings: &[IdMapping]| -> String {
        mappings.iter().map(|m| format!("{} {} {}\n", m.container_id, m.host_id, m.size)).collect()
    };
    for (file, mappings) in [("uid_map", uids), ("gid_map", gids)] {
        let path = format!("/proc/{pid}/{file}");
        sys::file::write(Path::new(&path), text(mappings).as_bytes()).map_err(at("namespace"))?;
    }
    Ok(())
}
