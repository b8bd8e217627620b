//! Who has what we want: the process behind a taken socket, by pid and name. For messages.

use std::net::SocketAddr;
use std::path::Path;

/// `nginx (pid 12)`, when the process can be seen.
pub(crate) fn process(pid: i32) -> Option<String> {
    let name = read(&format!("/proc/{pid}/comm"))?;
    Some(format!("{} (pid {pid})", name.trim()))
}

/// The process that listens on a TCP port (proc_pid_net(5), proc_pid_fd(5)).
pub(crate) fn of_port(address: SocketAddr) -> Option<String> {
    let inode = ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .iter()
        .filter_map(|table| read(table))
        .find_map(|table| table.lines().find_map(|line| listener(line, address.port())))?;
    let socket = format!("socket:[{inode}]");
    let pids =
        sys::file::list(Path::new("/proc")).ok()?.into_iter().filter_map(|name| name.parse::<i32>().ok());
    let holds = |pid: &i32| {
        let directory = Path::new("/proc").join(pid.to_string()).join("fd");
        // Processes come and go, and some are not ours to see.
        let numbers = sys::file::list(&directory).unwrap_or_default();
        numbers
            .iter()
            .any(|n| std::fs::read_link(directory.join(n)).is_ok_and(|to| to.as_os_str() == &*socket))
    };
    process(pids.into_iter().find(holds)?)
}

/// The inode of a line of `/proc/net/tcp` that listens (0A) on this port.
fn listener(line: &str, port: u16) -> Option<u64> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    let (_, local_port) = local.rsplit_once(':')?;
    (*state == "0A" && u16::from_str_radix(local_port, 16) == Ok(port)).then(|| inode.parse().ok())?
}

fn read(path: &str) -> Option<String> {
    Some(String::from_utf8_lossy(&sys::file::read(Path::new(path)).ok()?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_port_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let holder = of_port(listener.local_addr().unwrap()).unwrap();
        assert!(holder.ends_with(&format!("(pid {})", std::process::id())), "{holder}");
        drop(listener);
    }
}
