//! Kernel parameters of the container's own namespaces.

use std::io::Write;

use spec::oci::runtime::Spec;
use sys::namespace::Namespaces;
use sys::root::{Access, Root};

use crate::Failure;
use crate::failure::{at_path, errno_text};
use crate::namespaces::Plan;

/// Parameters of the ipc namespace (namespaces(7)), beside all of `fs.mqueue.`.
const IPC: [&str; 9] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
    "kernel.msg_next_id",
];

/// Refuses parameters that are not the container's own.
pub(crate) fn check_all(spec: &Spec, plan: &Plan) -> Result<(), Failure> {
    spec.linux.sysctl.keys().try_for_each(|name| check(name, plan))
}

/// Writes them through a procfs that nobody else can reach.
pub(crate) fn set_all(proc: &Root, spec: &Spec) -> Result<(), Failure> {
    for (name, value) in &spec.linux.sysctl {
        let path = format!("/sys/{}", path_of(name));
        let mut file = proc.open_file(&path, Access::Write, 0).map_err(at_path("sysctl", name))?;
        file.write_all(value.as_bytes()).map_err(|error| Failure {
            step: "sysctl".into(),
            errno: error.raw_os_error().unwrap_or(0),
            path: name.clone(),
            detail: format!("write {value:?}: {}", errno_text(&error)),
        })?;
    }
    Ok(())
}

/// A parameter that no namespace of the container's own owns would change the host.
fn check(name: &str, plan: &Plan) -> Result<(), Failure> {
    let dotted = name.replace('/', ".");
    let owned = if IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
        plan.has(Namespaces::IPC)
    } else if dotted.starts_with("net.") {
        plan.has(Namespaces::NETWORK)
    } else if matches!(dotted.as_str(), "kernel.domainname" | "kernel.hostname") {
        plan.has(Namespaces::UTS)
    } else {
        false
    };
    if owned { Ok(()) } else { Err(Failure::new("sysctl", name, "is not in a separate kernel namespace")) }
}

/// `net.ipv4.conf.eth0/1.forwarding` is `net/ipv4/conf/eth0.1/forwarding` (sysctl.d(5)): whichever separator
/// comes first is the separator, the other stands for itself.
fn path_of(name: &str) -> String {
    if name.find(['.', '/']).is_some_and(|at| name.as_bytes()[at] == b'/') {
        return name.to_owned();
    }
    let swap = |letter| match letter {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    name.chars().map(swap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_paths() {
        assert_eq!(path_of("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(path_of("net/ipv4/conf/eth0.1/forwarding"), "net/ipv4/conf/eth0.1/forwarding");
        assert_eq!(path_of("net.ipv4.conf.eth0/1.forwarding"), "net/ipv4/conf/eth0.1/forwarding");
    }
}
